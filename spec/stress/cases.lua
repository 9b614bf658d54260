-- SPDX-License-Identifier: MIT

-- Launches that between them use what the core can do, for faults to be injected into: each is a function of a
-- root file system that has the program /witness, and gives what that told of how it is locked up.
local carton = require "carton"
local cases = {}

-- All groups of this process have a name of its own: others run as well.
cases.label = "stress" .. carton.host.pid()

local namespaces = {}
for _, kind in ipairs { "cgroup", "ipc", "mnt", "net", "pid", "user", "uts" } do
  namespaces[#namespaces + 1] = carton.host.readlink("/proc/self/ns/" .. kind) or "?"
end
local HOST <const> = table.concat(namespaces, " ")

local function fields_of(root, more)
  local fields = { rootfs = root, name = cases.label, hostname = "stress", args = { "/witness" }, stdin = "null",
    stdout = "capture", timeout = 20, env = { HOST_NAMESPACES = HOST } }
  for key, value in pairs(more or {}) do
    fields[key] = value
  end
  return fields
end

-- What it told, or how it ended instead.
local function told(status)
  return status.code == 0 and status.stdout or ("%s %d"):format(status.cause, status.code)
end

local function run(root, more)
  local c <close> = carton.container(fields_of(root, more))
  return told(c:run())
end

local function each(list)
  return function(root)
    return run(root, list)
  end
end

cases.list = {}

function cases.list.plain(root)
  return run(root)
end

function cases.list.overlay(root)
  return run(root, { rootfs = carton.rootfs.overlay { lower = { root } }, env = { HOST_NAMESPACES = HOST, A = "b" } })
end

cases.list.limits = each { limits = { memory = "64M", pids = 16 } }
cases.list.init = each { init = true }
cases.list.user_namespace = each { namespaces = { user = true }, no_userns = true,
  idmap = { uids = { { container_id = 0, host_id = 100000, size = 1000 } },
    gids = { { container_id = 0, host_id = 100000, size = 1000 } } } }
cases.list.confined = each { user = "web", umask = "0077", rlimits = { nofile = 64 }, oom_score_adj = 500,
  capabilities = "none", sysctl = { ["kernel.shm_rmid_forced"] = "1" },
  mounts = { { type = "tmpfs", target = "/tmp", options = { "ro" } } },
  landlock = { read = { "/" }, execute = { "/" } }, readonly = true }
cases.list.missing = each { args = { "/missing" } }
cases.list.refused = each { mounts = { "/nowhere/at/all:/tmp" } }

function cases.list.exec(root)
  local c <close> = carton.container(fields_of(root, { args = { "/witness", "stay" }, stdout = "null" })):start()
  local child <close> = c:exec { args = { "/witness" }, stdin = "null", stdout = "capture" }
  return told(child:wait())
end

function cases.list.terminal(root)
  local fields = fields_of(root, { terminal = { rows = 10, columns = 40 } })
  fields.stdin, fields.stdout = nil, nil
  local c <close> = carton.container(fields):start()
  local list = {}
  while true do
    local data = c.terminal:read()
    if not data then
      break
    end
    list[#list + 1] = data
  end
  local status = c:wait()
  status.stdout = table.concat(list)
  return told(status)
end

function cases.list.update(root)
  local c <close> = carton.container(fields_of(root, { args = { "/witness", "stay" }, limits = { pids = 16 },
    stdout = "null" })):start()
  c:update { pids = 20 }
  local max = c:stats().pids.max
  c:kill()
  local status = c:wait()
  return ("pids.max %s\n%s\n"):format(max, status.signal)
end

function cases.list.hooks(root)
  local seen = {}
  local c <close> = carton.container(fields_of(root, { stdin = "some words", trace = true, on = {
    created = function() seen[#seen + 1] = "created" end,
    started = function() seen[#seen + 1] = "started" end,
    exited = function() seen[#seen + 1] = "exited" end,
  } }))
  local status = c:run()
  return table.concat(seen, " ") .. "\n" .. told(status)
end

cases.names = {}
for name in pairs(cases.list) do
  cases.names[#cases.names + 1] = name
end
table.sort(cases.names)

local function descriptors()
  local list = {}
  for number = 0, 64 do
    local target = carton.host.readlink("/proc/self/fd/" .. number)
    if target then
      list[#list + 1] = number .. " " .. target
    end
  end
  return table.concat(list, "\n")
end

local function groups()
  local list = {}
  for _, path in pairs(carton.cgroup.layout().controllers) do
    local directory <close> = carton.cgroup.open_directory(path)
    for _, name in ipairs(directory:children()) do
      if name:find("carton-" .. cases.label, 1, true) then
        list[#list + 1] = path .. "/" .. name
      end
    end
  end
  table.sort(list)
  return table.concat(list, "\n")
end

local function children()
  local file <close> = assert(io.open(("/proc/self/task/%d/children"):format(carton.host.pid())))
  return file:read("a")
end

local function mounts()
  local file <close> = assert(io.open("/proc/self/mountinfo"))
  local _, count = file:read("a"):gsub("\n", "")
  return tostring(count)
end

--- What a launch has to leave as it was.
function cases.world()
  collectgarbage()
  collectgarbage()
  return ("descriptors:\n%s\ngroups: %s\nchildren: %s\nmounts: %s\n"):format(descriptors(), groups(), children(),
    mounts())
end

--- Whether an error is one that Carton means to raise: of the kernel, of a field, for want of memory.
function cases.is_orderly(err)
  if type(err) == "table" then
    return err.op ~= nil and (err.code ~= nil or err.message ~= nil)
  end
  err = tostring(err)
  return not (err:find("attempt to", 1, true) or err:find("bad argument", 1, true) or err:find("overflow", 1, true))
end

return cases
