-- SPDX-License-Identifier: MIT
--- Control groups: one directory with cgroup v2, or one of each v1 hierarchy, behind the same calls.
-- File names and values are those of cgroup v2; `carton.cgroup1` translates them where a host still binds
-- controllers to v1.
-- @module carton.cgroup
local core = require("carton.core")
local host = core.host
local cgroup = { open_directory = core.cgroup.open_directory, enter = core.cgroup.enter }

local MOUNT <const> = "/sys/fs/cgroup"
local PREFIX <const> = "carton-"
local LEAF <const> = "supervisor"
local OURS <const> = "^carton%-.+%-" .. ("%x"):rep(8) .. "$"

local methods = {}
local meta = { __name = "carton.group", __index = methods }

local function read(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

local function fail(path, message, hint, code)
  core.error { op = "cgroup", path = path, code = code or "EACCES", message = message, hint = hint }
end

--- Tell how this host groups processes.
-- @treturn table `{ version = 1 | 2, controllers = { memory = "/sys/fs/cgroup/memory", ... } }`; with version 2
--   all are in one place, and `version` is 1 where any controller is bound to v1
function cgroup.layout()
  local statfs = host.statfs(MOUNT)
  if statfs and statfs.type == "cgroup2" then
    local controllers = {}
    for name in read(MOUNT .. "/cgroup.controllers"):gmatch("%S+") do
      controllers[name] = MOUNT
    end
    return { version = 2, controllers = controllers }
  end
  local controllers = {}
  for names in read("/proc/self/cgroup"):gmatch("%d+:([%w_,]+):[^\n]*") do
    local together = host.stat(MOUNT .. "/" .. names)
    for name in names:gmatch("[^,]+") do
      controllers[name] = MOUNT .. "/" .. (together and names or name)
    end
  end
  return { version = 1, controllers = controllers }
end

--- Call a method of a directory that may be gone meanwhile; nil then. Who lives in a group may divide it
-- further, and undo that.
local function present(directory, method, ...)
  local ok, result = pcall(directory[method], directory, ...)
  if ok then
    return result
  elseif type(result) == "table" and (result.code == "ENOENT" or result.code == "ENODEV") then
    return nil
  end
  error(result, 0)
end

--- Visit all that is below a directory, the deepest first.
local function walk(directory, visit)
  for _, name in ipairs(present(directory, "children") or {}) do
    local child <close> = present(directory, "open", name)
    if child then
      walk(child, visit)
      visit(child)
    end
  end
end

--- The text of cgroup.procs. A threaded cgroup does not tell: its processes are told of by its domain, above.
local function procs(directory)
  local ok, text = pcall(present, directory, "read", "cgroup.procs")
  if ok then
    return text or ""
  elseif type(text) == "table" and text.code == "EOPNOTSUPP" then
    return ""
  end
  error(text, 0)
end

--- Tell whether a process is in a directory or below it.
local function is_populated(directory)
  local events = present(directory, "read", "cgroup.events") -- of v2
  if events then
    return events:find("populated 1", 1, true) ~= nil
  end
  local found = procs(directory) ~= ""
  walk(directory, function(child)
    found = found or procs(child) ~= ""
  end)
  return found
end

--- With v1 a process that was killed while it was frozen waits for a thaw: let it go.
local function bury(child)
  local state = child:read("freezer.state")
  if not state or state:find("^THAWED") then
    return
  end
  for pid in procs(child):gmatch("%d+") do
    local pending = read("/proc/" .. pid .. "/status"):match("\nShdPnd:%s*(%x+)")
    if pending and tonumber(pending, 16) & 0x100 ~= 0 then -- SIGKILL
      pcall(child.write, child, "freezer.state", "THAWED")
    end
  end
  for _ = 1, 100 do
    if procs(child) == "" then
      return
    end
    core.exec.poll({}, 0.005)
  end
end

local function remove_below(directory)
  walk(directory, function(child) child:remove() end)
end

--- Remove what cartons that were killed left behind: it has a name that `create_in` gives, nobody holds its lock
-- any more, and nobody lives in it.
local swept = {}
local function sweep(directory)
  local path = directory:name()
  if swept[path] then
    return
  end
  swept[path] = true
  for _, name in ipairs(directory:children()) do
    if name:find(OURS) then
      pcall(function()
        local child <close> = directory:open(name)
        if child:lock() then
          bury(child)
          if not is_populated(child) then
            remove_below(child)
            child:remove()
          end
        end
      end)
    end
  end
end

--- Make a group with a name that nobody has.
local function create_in(directory, label)
  sweep(directory)
  label = PREFIX .. (label or "group"):gsub("[^%w_.%-]", "_"):sub(1, 100)
  while true do
    local ok, made = pcall(directory.create, directory,
      ("%s-%08x"):format(label, math.random(0) & 0xffffffff))
    if ok then
      return made
    elseif type(made) ~= "table" or made.code ~= "EEXIST" then
      error(made, 0)
    end
  end
end

local function words(text)
  local set = {}
  for word in (text or ""):gmatch("%S+") do
    set[word] = true
  end
  return set
end

--- Processes and controllers do not go together: all that is in the group moves into a leaf of it.
local function move_aside(directory)
  for _ = 1, 10 do -- somebody may fork meanwhile
    local pids = words(directory:read("cgroup.procs"))
    if not next(pids) then
      return
    end
    local ok, leaf = pcall(directory.create, directory, LEAF)
    if not ok then
      leaf = directory:open(LEAF)
    end
    for pid in pairs(pids) do
      pcall(leaf.write, leaf, "cgroup.procs", pid)
    end
    leaf:close()
  end
end

local function is_delegated(path)
  return host.access(path, "w") and host.access(path .. "/cgroup.procs", "w")
end

--- Where groups are made with v2: at the top for root, else in the subtree that was delegated to us.
local function base()
  local root <close> = cgroup.open_directory(MOUNT)
  if host.euid() == 0 and not root:read("cgroup.type") then
    return cgroup.open_directory(MOUNT), MOUNT
  end
  local own = read("/proc/self/cgroup"):match("0::(/[^\n]*)") or "/"
  local path = (MOUNT .. own):gsub("/+$", "")
  local above = path:match("^(.*)/" .. LEAF .. "$") -- where we have been before
  if above and is_delegated(above) then
    path = above
  elseif not is_delegated(path) then
    fail(path, "this cgroup is not delegated to this user", host.euid() == 0
      and "the container around this one needs delegate = true"
      or "systemd-run --user --scope -p Delegate=yes carton ...")
  end
  local directory = cgroup.open_directory(path)
  move_aside(directory)
  return directory, path
end

--- Say which level has a controller and does not pass it on.
local function fail_controller(path, name)
  while path ~= MOUNT do
    path = path:match("^(.*)/")
    if words(read(path .. "/cgroup.controllers"))[name] then
      fail(path, ("controller '%s' is not enabled for what is below it"):format(name),
        ("echo +%s > %s/cgroup.subtree_control"):format(name, path), "ENOENT")
    end
  end
  fail(path, ("controller '%s' is not there"):format(name),
    "the kernel lacks it, it is bound to cgroup v1, or a container around this one does not pass it on", "ENOENT")
end

local function enable(directory, path, controllers)
  local available, on = words(directory:read("cgroup.controllers")),
    words(directory:read("cgroup.subtree_control"))
  for _, name in ipairs(controllers) do
    if not available[name] then
      fail_controller(path, name)
    elseif not on[name] then
      directory:write("cgroup.subtree_control", "+" .. name)
    end
  end
end

local function controllers_of(files)
  local list, seen = {}, { cgroup = true }
  for _, entry in ipairs(files) do
    local name = entry.file:match("^[^.]+")
    if not seen[name] then
      seen[name], list[#list + 1] = true, name
    end
  end
  return list, seen
end

local function create2(name, files)
  local directory <close>, path = base()
  local needed, seen = controllers_of(files)
  enable(directory, path, needed)
  local available = words(directory:read("cgroup.controllers"))
  for _, extra in ipairs { "memory", "pids", "cpu" } do -- for what is told of it at the end
    if available[extra] and not seen[extra] then
      pcall(enable, directory, path, { extra })
    end
  end
  return { version = 2, unified = create_in(directory, name) }
end

--- What a group of v1 is made of besides what its limits need: told of at the end, frozen, killed.
local USEFUL <const> = { "memory", "cpuacct", "pids", "cpu" }

local function fail_v1(controller)
  local unified = MOUNT .. "/unified"
  if words(read(unified .. "/cgroup.controllers"))[controller] then
    fail(unified, ("controller '%s' is bound to cgroup v2, others to v1"):format(controller),
      "boot with all of them in one place: systemd.unified_cgroup_hierarchy=1", "ENOENT")
  end
  fail(MOUNT, ("controller '%s' is not there"):format(controller),
    "the kernel lacks it, or it is not mounted", "ENOENT")
end

local function make1(group, name, files, layout)
  local needed, seen = controllers_of(files)
  if layout.controllers.freezer and not seen.freezer then -- first: what is left behind may have to be thawed
    table.insert(needed, 1, "freezer")
  end
  for _, extra in ipairs(USEFUL) do
    if layout.controllers[extra] and not seen[extra] then
      needed[#needed + 1] = extra
    end
  end
  local made = {}
  for _, controller in ipairs(needed) do
    local v1 = controller == "io" and "blkio" or controller
    local path = layout.controllers[v1]
    if not path then
      fail_v1(controller)
    end
    if not made[path] then
      local parent <close> = cgroup.open_directory(path)
      made[path] = create_in(parent, name)
      group.list[#group.list + 1] = made[path]
      if v1 == "cpuset" then -- an empty set takes no process: cpuset(7)
        made[path]:write("cpuset.mems", (parent:read("cpuset.mems"):gsub("%s+$", "")))
        made[path]:write("cpuset.cpus", (parent:read("cpuset.cpus"):gsub("%s+$", "")))
      end
    end
    group.dirs[controller] = made[path]
  end
end

local function create1(name, files, layout)
  local group = { version = 1, dirs = {}, list = {} }
  local ok, err = pcall(make1, group, name, files, layout)
  if not ok then
    for _, directory in ipairs(group.list) do
      pcall(directory.remove, directory)
      directory:close()
    end
    error(err, 0)
  end
  return group
end

--- Tell which controllers a group with v1 would have.
-- @tparam {table,...} files as of `carton.limits.files`
-- @treturn table a set of names
function cgroup.controllers(files)
  local _, set = controllers_of(files)
  set.cgroup = nil
  local layout = cgroup.layout()
  set.freezer = layout.controllers.freezer and true
  for _, extra in ipairs(USEFUL) do
    set[extra] = set[extra] or layout.controllers[extra] and true
  end
  return set
end

--- Make a group and set its limits, all of them or none.
-- @tparam table fields `name` (a part of the directory's), `files` as of `carton.limits.files`
-- @treturn group
-- @raise `carton.error`: `EACCES` not delegated, `ENOENT` which level lacks which controller, `EINVAL` what the
--   kernel does not take: file and value
-- @usage local group <close> = carton.cgroup.create{ name = "web", files = carton.limits.files{ pids = 64 } }
function cgroup.create(fields)
  local layout = cgroup.layout()
  local files = fields.files or {}
  local group = layout.version == 2 and create2(fields.name, files) or create1(fields.name, files, layout)
  group.owner = host.pid()
  setmetatable(group, meta) -- after its handles, so that it is collected before them: Lua manual, 2.5.3
  local ok, err = pcall(function()
    for _, entry in ipairs(files) do
      group:write(entry.file, entry.value)
    end
  end)
  if not ok then
    pcall(group.close, group)
    error(err, 0)
  end
  return group
end

local function v1(self)
  return self.version == 1 and require("carton.cgroup1")
end

local function each(self)
  return ipairs(self.list or { self.unified })
end

--- Write a file.
-- @function group:write
-- @tparam string file of cgroup v2, `"memory.max"`
-- @tparam string|int value
-- @raise `carton.error` that names file and value
function methods:write(file, value)
  value = tostring(value)
  if not v1(self) then
    return self.unified:write(file, value)
  end
  local ok, err = pcall(v1(self).write, self, file, value)
  if not ok then
    if type(err) == "table" and err.text then -- in the words of whoever wrote it
      err.path, err.text = ("%s (%s)"):format(file, err.path), value
    end
    error(err, 0)
  end
end

--- Read a file.
-- @function group:read
-- @tparam string file of cgroup v2
-- @treturn ?string its content, without the last newline; nil when it is not there
function methods:read(file)
  local text
  if v1(self) then
    text = v1(self).read(self, file)
  else
    text = self.unified:read(file)
  end
  return text and (text:gsub("\n$", ""))
end

--- List the processes in it and below it.
-- @function group:processes
-- @treturn {int,...} pids, each once
function methods:processes()
  local list, seen = {}, {}
  local function add(directory)
    for pid in procs(directory):gmatch("%d+") do
      if not seen[pid] then
        seen[pid], list[#list + 1] = true, math.tointeger(pid)
      end
    end
  end
  for _, directory in each(self) do
    add(directory)
    walk(directory, add)
  end
  return list
end

--- Find the directory that a process of it is in: one that was divided by who lives there takes none itself.
-- @tparam int pid
-- @treturn directory
function methods:directory_of(pid)
  local directory = self.unified
  local own = self:name():gsub("%p", "%%%0")
  local rest = read(("/proc/%d/cgroup"):format(pid)):match("0::[^\n]*/" .. own .. "(/[^\n]+)")
  for name in (rest or ""):gmatch("[^/]+") do
    directory = present(directory, "open", name) or self.unified
  end
  return directory
end

--- Sleep until something holds; raise when it takes too long.
local function wait_until(self, what, holds, watch)
  local deadline = host.monotonic() + 10
  local pause = 0.001
  while true do
    local file <close> = watch and self.version == 2 and present(self.unified, "watch", "cgroup.events")
    if file then
      pcall(file.read, file) -- it is ready when it has changed since: cgroups(7)
    end
    if holds() then
      return
    elseif host.monotonic() > deadline then
      fail(self:name(), "it could not be " .. what, nil, "EBUSY")
    elseif file then
      core.exec.poll({ { file, "p" } }, pause * 50)
    else
      core.exec.poll({}, pause)
    end
    pause = math.min(pause * 2, 0.05)
  end
end

--- Stop all processes in it, until `thaw`.
-- @function group:freeze
-- @raise `carton.error`: `EBUSY` one of them can't be stopped; they go on then
function methods:freeze()
  self:write("cgroup.freeze", 1)
  local ok, err = pcall(wait_until, self, "frozen", function()
    return self:read("cgroup.events"):find("frozen 1", 1, true)
  end, true)
  if not ok then
    pcall(self.write, self, "cgroup.freeze", 0)
    error(err, 0)
  end
end

--- Let them go on.
-- @function group:thaw
function methods:thaw()
  self:write("cgroup.freeze", 0)
  wait_until(self, "thawed", function()
    return self:read("cgroup.events"):find("frozen 0", 1, true)
  end, true)
end

--- Let what was killed while it was frozen end; with v2 it does so anyway.
function methods:release()
  local freezer = self.version == 1 and self.dirs.freezer
  if freezer and not (freezer:read("freezer.state") or "THAWED"):find("^THAWED") then
    freezer:write("freezer.state", "THAWED")
  end
end

--- With v1, or a kernel before 5.14: one by one. Where they can be frozen, nobody forks meanwhile.
local function kill_each(self)
  local opened, freezer = {}, self.version == 1 and self.dirs.freezer
  if freezer and next(self:processes()) then
    pcall(freezer.write, freezer, "freezer.state", "FROZEN")
  end
  for _, pid in ipairs(self:processes()) do
    opened[pid] = core.try(core.exec.open_process, pid)
  end
  local left = self:processes()
  for _, pid in ipairs(left) do
    if opened[pid] then -- still the one: it was opened before it was looked for again
      opened[pid]:kill("SIGKILL")
    end
  end
  for _, process in pairs(opened) do
    process:close()
  end
  self:release()
  return #left == 0
end

--- Kill every process in it and below it, and wait until they are gone.
-- @function group:kill
function methods:kill()
  if self.version == 2 and pcall(self.write, self, "cgroup.kill", 1) then
    return wait_until(self, "emptied", function()
      return not is_populated(self.unified)
    end, true)
  end
  wait_until(self, "emptied", function() return kill_each(self) end)
end

--- Remove it, with all cgroups below it; it has to be empty of processes.
-- @function group:remove
-- @raise `carton.error`: `EBUSY` processes are in it
function methods:remove()
  local failure
  for _, directory in each(self) do
    local ok, err = pcall(wait_until, self, "removed", function()
      local ok, err = pcall(function()
        remove_below(directory)
        directory:remove()
      end)
      if not ok and err.code ~= "EBUSY" then
        error(err, 0)
      end
      return ok
    end)
    failure = failure or not ok and err
  end
  if failure then
    error(failure, 0)
  end
end

--- Kill what is in it, remove it, and close its handles; in a fork of the process that made it, only the latter.
-- @function group:close
function methods:close()
  if self.closed then
    return
  end
  self.closed = true
  local ok, err = true, nil
  if self.owner == host.pid() then
    ok, err = pcall(function()
      self:kill()
      self:remove()
    end)
  end
  for _, directory in each(self) do
    directory:close()
  end
  if not ok then
    error(err, 0)
  end
end

meta.__close = methods.close
meta.__gc = function(self)
  pcall(methods.close, self)
end

--- Tell the name of its directory.
-- @function group:name
-- @treturn string
function methods:name()
  local directory = self.unified or self.list and self.list[1]
  return directory and directory:name() or "cgroup"
end

--- How a file is set back: whole, but for those with a line for each device.
local function before_of(entry, before)
  local device = (entry.file == "io.max" or entry.file == "io.weight") and entry.value:match("^(%S+)")
  if not device then
    return { file = entry.file, value = before }
  end
  for line in (before or ""):gmatch("[^\n]+") do
    if line:match("^(%S+)") == device then
      return { file = entry.file, value = line }
    end
  end
  return { file = entry.file, value = device .. (entry.file == "io.max"
    and " rbps=max wbps=max riops=max wiops=max" or " default") }
end

--- Change limits, all of them or none.
-- @function group:update
-- @tparam {table,...} files as of `carton.limits.files`
-- @raise `carton.error` of the one that could not be set; what was set before it is set back
function methods:update(files)
  local undo = {}
  for _, entry in ipairs(files) do
    local known, before = pcall(self.read, self, entry.file)
    if known and before then -- a file that only takes orders says nothing
      undo[#undo + 1] = before_of(entry, before)
    end
    local ok, err = pcall(self.write, self, entry.file, entry.value)
    if not ok then
      for i = #undo, 1, -1 do -- the one that failed, too: with v1 it may be several writes
        pcall(self.write, self, undo[i].file, undo[i].value)
      end
      error(err, 0)
    end
  end
end

local function number(text)
  return text and (math.tointeger(tonumber(text)) or text == "max" and math.huge or nil)
end

local function pairs_in(text)
  local map = {}
  for key, value in (text or ""):gmatch("([%w_]+) (%d+)") do
    map[key] = math.tointeger(value)
  end
  return map
end

local function seconds(microseconds)
  return microseconds and microseconds / 1e6
end

local function pressure(text)
  if not text then
    return nil
  end
  local map = {}
  for kind, line in text:gmatch("(%a+) ([^\n]+)") do
    map[kind] = {}
    for key, value in line:gmatch("(%w+)=([%d.]+)") do
      map[kind][key] = key == "total" and seconds(tonumber(value)) or tonumber(value)
    end
  end
  return map
end

local function io_stat(text)
  local map
  for device, line in (text or ""):gmatch("(%d+:%d+) ([^\n]+)") do
    map = map or {}
    map[device] = {}
    for key, value in line:gmatch("(%w+)=(%d+)") do
      map[device][key] = math.tointeger(value)
    end
  end
  return map
end

--- Tell what it uses and has used.
-- @function group:stats
-- @treturn table `memory` (`current`, `peak`, `max`, `swap`: bytes; `oom`, `oom_kill`, `high`: how often), `cpu`
--   (`usage`, `user`, `system`, `throttled`: seconds; `periods`, `throttled_periods`), `pids` (`current`, `peak`,
--   `max`, `refused`), `io` (by device: `rbytes`, `wbytes`, `rios`, `wios`), `pressure` (by `cpu`, `memory`, `io`:
--   `some` and `full` with `avg10`, `avg60`, `avg300` in percent and `total` in seconds); nil is what it does not tell
function methods:stats()
  local events, cpu = pairs_in(self:read("memory.events")), pairs_in(self:read("cpu.stat"))
  local stats = {
    memory = { current = number(self:read("memory.current")), peak = number(self:read("memory.peak")),
      max = number(self:read("memory.max")), swap = number(self:read("memory.swap.current")),
      oom = events.oom, oom_kill = events.oom_kill, high = events.high },
    cpu = { usage = seconds(cpu.usage_usec), user = seconds(cpu.user_usec),
      system = seconds(cpu.system_usec), throttled = seconds(cpu.throttled_usec),
      periods = cpu.nr_periods, throttled_periods = cpu.nr_throttled },
    pids = { current = number(self:read("pids.current")), peak = number(self:read("pids.peak")),
      max = number(self:read("pids.max")), refused = pairs_in(self:read("pids.events")).max },
    io = io_stat(self:read("io.stat")),
    pressure = { cpu = pressure(self:read("cpu.pressure")),
      memory = pressure(self:read("memory.pressure")), io = pressure(self:read("io.pressure")) },
  }
  return stats
end

--- Be told when processes in it are held up.
-- @function group:on_pressure
-- @tparam loop loop of `carton.loop`
-- @tparam string what `"memory"`, `"cpu"` or `"io"`
-- @tparam table trigger `{ some = seconds }` or `{ full = seconds }` of stall within `window = seconds` (0.5 to 10)
-- @tparam function call called with the pressure, as in `stats`
-- @treturn table a token, for `loop:unwatch`; its descriptor is closed with it
-- @raise `carton.error`: `EOPNOTSUPP`, `ENOENT` cgroup v1, or a kernel without pressure information
function methods:on_pressure(loop, what, trigger, call)
  local kind = trigger.some and "some" or "full"
  local text = ("%s %d %d"):format(kind, math.floor((trigger[kind] or 0) * 1e6),
    math.floor((trigger.window or 1) * 1e6))
  if v1(self) then
    fail(self:name(), "cgroup v1 tells no pressure of groups", nil, "ENOENT")
  end
  local descriptor = self.unified:watch(what .. ".pressure", text)
  return loop:watch(descriptor, "p", function()
    call(pressure(self:read(what .. ".pressure")))
  end)
end

return cgroup
