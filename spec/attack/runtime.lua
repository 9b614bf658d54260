-- SPDX-License-Identifier: MIT
-- One way to ask any runtime for a container: Carton in this process, others by the OCI command line and a bundle.
-- Fields: rootfs, args, env, cwd, uid, gid, user (of exec), mounts, capabilities, seccomp, sysctl, created (a shell
-- command for the hook before the root is entered), host_cgroup, leaked (a directory that the caller has open, often).
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local runtime = {}

local CAPABILITIES <const> = { "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP",
  "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT" }
local PATH <const> = "/bin:/usr/bin"

-- Open a directory often, without O_CLOEXEC, while something is called.
local function with_leak(directory, call, ...)
  local held = {}
  for i = 1, directory and 100 or 0 do
    held[i] = posix.open(directory, posix.O_RDONLY)
  end
  local result = table.pack(pcall(call, ...))
  for _, fd in ipairs(held) do
    posix.close(fd)
  end
  if not result[1] then
    error(result[2], 0)
  end
  return table.unpack(result, 2, result.n)
end

local function outcome(ok, status)
  if ok then
    return { code = status.cause == "timeout" and 124 or status.code, stdout = status.stdout or "",
      stderr = status.stderr or "" }
  end
  return { code = 125, stdout = "", stderr = tostring(status), err = status, refused = true }
end

-- Carton, in this process.

-- What is cheaper than a start is tried more often.
local own = { name = "Carton", tries = helper.is_root and 250 or 50, seconds = 20 }
own.__index = own

local function user_of(fields)
  return fields.user or (fields.uid and { uid = fields.uid, gid = fields.gid or fields.uid, groups = {} }) or nil
end

function own.fields(fields)
  local mounts = {}
  for i, mount in ipairs(fields.mounts or {}) do
    mounts[i] = { type = mount.type or "bind", source = mount.source, target = mount.target, options = mount.options }
  end
  local env = { PATH = PATH }
  for name, value in pairs(fields.env or {}) do
    env[name] = value
  end
  return { rootfs = fields.rootfs, args = fields.args, env = env, cwd = fields.cwd, user = user_of(fields),
    mounts = mounts, sysctl = fields.sysctl, timeout = 60, seccomp = fields.seccomp,
    capabilities = fields.capabilities and { drop = "all", add = fields.capabilities } or nil,
    namespaces = fields.host_cgroup and { cgroup = "host" } or nil,
    idmap = not helper.is_root and "single" or nil,
    on = fields.created and { created = function() os.execute(fields.created) end } or nil,
    stdin = "null", stdout = "capture", stderr = "capture" }
end

function own:run(fields)
  return outcome(with_leak(fields.leaked, pcall, function()
    local c <close> = carton.container(self.fields(fields))
    return c:run()
  end))
end

local own_container = {}
own_container.__index = own_container

function own_container:exec(fields)
  return outcome(with_leak(fields.leaked, pcall, function()
    local env = { PATH = PATH }
    for name, value in pairs(fields.env or {}) do
      env[name] = value
    end
    local e <close> = self.container:exec { args = fields.args, cwd = fields.cwd, env = env, user = user_of(fields),
      capabilities = fields.capabilities and { drop = "all", add = fields.capabilities } or nil,
      timeout = 30, stdin = "null", stdout = "capture", stderr = "capture" }
    return e:wait()
  end))
end

function own_container:close()
  self.container:close()
end
own_container.__close = own_container.close
own_container.kill = own_container.close

function own:start(fields)
  local all = self.fields(fields)
  all.stdout, all.stderr, all.timeout = "null", "null", 600
  return setmetatable({ container = carton.container(all):start() }, own_container)
end

-- A table of strings, numbers, booleans and tables as Lua text.
local function text_of(value)
  if type(value) ~= "table" then
    return ("%q"):format(value)
  end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = ("[%s] = %s"):format(text_of(key), text_of(item))
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- The words of a command line that runs it in the foreground, connected to what the caller has.
function own:command(fields)
  local all = self.fields(fields)
  all.stdin, all.stdout, all.stderr, all.on = nil, nil, nil, nil
  all.terminal = fields.terminal
  return { self.program, helper.write(helper.tmpdir() .. "/recipe.lua",
    ("return require('carton').container %s\n"):format(text_of(all))) }
end

--- Carton as a runtime.
function runtime.carton()
  return setmetatable({ program = helper.program, programs = { helper.program,
    posix.readlink("/proc/self/exe") } }, own)
end

-- A runtime with the OCI command line.

local oci = { tries = 1000, seconds = 10 }
oci.__index = oci

local function capabilities(list)
  local names = {}
  for i, name in ipairs(list or CAPABILITIES) do
    names[i] = "CAP_" .. name
  end
  return { bounding = names, effective = names, permitted = names }
end

local function process_of(fields)
  local env = { "PATH=" .. PATH }
  for name, value in pairs(fields.env or {}) do
    env[#env + 1] = name .. "=" .. value
  end
  return { terminal = fields.terminal or false, user = { uid = fields.uid or 0, gid = fields.gid or fields.uid or 0 },
    args = fields.args, env = env, cwd = fields.cwd or "/", noNewPrivileges = true,
    capabilities = capabilities(fields.capabilities) }
end

local function mounts_of(fields)
  local safe = { "nosuid", "noexec", "nodev" }
  local list = {
    { destination = "/proc", type = "proc", source = "proc", options = safe },
    { destination = "/dev", type = "tmpfs", source = "tmpfs", options = { "nosuid", "mode=755", "size=65536k" } },
    { destination = "/dev/pts", type = "devpts", source = "devpts", options = { "nosuid", "noexec", "newinstance",
      "ptmxmode=0666", "mode=0620", "gid=5" } },
    { destination = "/dev/shm", type = "tmpfs", source = "shm", options = { "nosuid", "noexec", "nodev",
      "mode=1777" } },
    { destination = "/dev/mqueue", type = "mqueue", source = "mqueue", options = safe },
    { destination = "/sys", type = "sysfs", source = "sysfs", options = { "nosuid", "noexec", "nodev", "ro" } },
    { destination = "/sys/fs/cgroup", type = "cgroup", source = "cgroup", options = { "nosuid", "noexec", "nodev",
      "relatime", "ro" } },
  }
  for _, mount in ipairs(fields.mounts or {}) do
    local options = { table.unpack(mount.options or {}) }
    if not mount.type then
      options[#options + 1] = "rbind"
    end
    list[#list + 1] = { destination = mount.target, type = mount.type or "bind", source = mount.source or mount.type,
      options = #options > 0 and options or nil }
  end
  return list
end

local function config_of(fields)
  local namespaces = { { type = "pid" }, { type = "ipc" }, { type = "uts" }, { type = "mount" }, { type = "network" } }
  if not fields.host_cgroup then
    namespaces[#namespaces + 1] = { type = "cgroup" }
  end
  return { ociVersion = "1.0.0", process = process_of(fields), root = { path = fields.rootfs }, hostname = "attack",
    mounts = mounts_of(fields), hooks = fields.created and { createContainer = { { path = "/bin/sh",
      args = { "sh", "-c", fields.created } } } } or nil,
    linux = { namespaces = namespaces, sysctl = fields.sysctl, maskedPaths = carton.rootfs.masked,
      readonlyPaths = carton.rootfs.readonly } }
end

function oci:bundle(fields)
  local path = helper.tmpdir()
  self.number = (self.number or 0) + 1
  helper.write(path .. "/config.json", require("cjson").encode(config_of(fields)))
  return path, ("attack-%d-%d"):format(posix.getpid("pid"), self.number)
end

-- Run the runtime; `leaked` is a directory that it gets many descriptors of.
function oci:call(leaked, ...)
  local words = { self.program, "--root", self.state, ... }
  if leaked then
    words = { "/bin/bash", "-c", 'd=$1; shift; for i in {10..90}; do eval "exec $i<\\"$d\\""; done; exec "$@"', "sh",
      leaked, table.unpack(words) }
  end
  local ok, result = pcall(helper.run, words, { timeout = 60 })
  return ok and result or { code = 124, stdout = "", stderr = tostring(result) }
end

function oci:run(fields)
  local path, id = self:bundle(fields)
  local result = self:call(fields.leaked, "run", "--bundle", path, id)
  self:call(nil, "delete", "--force", id)
  return result
end

function oci:command(fields)
  local path, id = self:bundle(fields)
  return { self.program, "--root", self.state, "run", "--bundle", path, id }
end

local oci_container = {}
oci_container.__index = oci_container

function oci_container:exec(fields)
  local r = self.runtime
  if fields.user then
    return r:call(fields.leaked, "exec", "--user", fields.user, self.id, table.unpack(fields.args))
  end
  local file = helper.write(helper.tmpdir() .. "/process.json", require("cjson").encode(process_of(fields)))
  return r:call(fields.leaked, "exec", "--process", file, self.id)
end

function oci_container:close()
  self.runtime:call(nil, "delete", "--force", self.id)
end
oci_container.__close = oci_container.close
oci_container.kill = oci_container.close

function oci:start(fields)
  local path, id = self:bundle(fields)
  local words = { "/bin/sh", "-c", 'exec "$@" </dev/null >/dev/null 2>' .. path .. "/log", "sh", self.program, "--root",
    self.state, "run", "--detach", "--bundle", path, id }
  local result = helper.run(words, { timeout = 60 })
  if result.code ~= 0 then
    error(helper.read(path .. "/log"), 0)
  end
  return setmetatable({ runtime = self, id = id }, oci_container)
end

--- A runtime by its program, of which a copy is used: the attacks are on it, too.
function runtime.oci(path)
  local place = helper.tmpdir()
  local program = place .. "/" .. path:match("[^/]+$")
  assert(os.execute(("cp '%s' '%s'"):format(path, program)))
  local version = helper.run({ path, "--version" }).stdout
  return setmetatable({ name = ("%s %s"):format(path:match("[^/]+$"), version:match("version ([^%s+]+)") or "?"),
    program = program, programs = { program }, state = place .. "/state" }, oci)
end

return runtime
