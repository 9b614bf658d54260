-- SPDX-License-Identifier: MIT

--- Control groups: one directory with cgroup v2, or one of each v1 hierarchy, behind the same calls.
-- File names and values are those of cgroup v2; `carton.cgroup1` translates them where a host still binds
-- controllers to v1.
-- @module carton.cgroup
local core = require("carton.core")
local hierarchy = require("carton.hierarchy")
local host = core.host
local cgroup = { open_directory = core.cgroup.open_directory, enter = core.cgroup.enter,
  load_devices = core.cgroup.load_devices, attach_devices = core.cgroup.attach_devices,
  layout = hierarchy.layout, controllers = hierarchy.controllers, available = hierarchy.available }

local methods = {}
local meta = { __name = "carton.group", __index = methods }

local IMPOSSIBLE <const> = { EPERM = true, EACCES = true, EINVAL = true, ENOSYS = true, EOPNOTSUPP = true }

-- Set a limit of a new group. With v1 one that is optional and half done leaves no directory behind it.
local function set(group, entry)
  local ok, err = pcall(group.write, group, entry.file, entry.value)
  if not ok and not (entry.optional and IMPOSSIBLE[err.code] and hierarchy.forgo(group, entry.file)) then
    error(err, 0)
  end
end

--- Make a group and set its limits, all of them or none.
-- @tparam table fields `name` (a part of the directory's), `files` as of `carton.limits.files`; what is `optional` of
--   them is done without where it can't be had; `manager` (see `carton.subtree`)
--   With the field `outlives` of the group set, what lives in there goes on when nobody refers to the group any more.
-- @treturn group
-- @raise `carton.error`: `EACCES` not delegated, `ENOENT` which level lacks which controller, `EINVAL` what the
--   kernel does not take: file and value
-- @usage local group <close> = carton.cgroup.create{ name = "web", files = carton.limits.files{ pids = 64 } }
function cgroup.create(fields)
  local layout = cgroup.layout()
  local files = hierarchy.available(fields.files or {}, layout)
  if layout.version == 1 and (fields.manager or os.getenv("CARTON_CGROUP_MANAGER")) == "systemd" then
    hierarchy.fail(fields.name or "carton", "systemd hands out no groups of cgroup v1", 'manager = "cgroupfs"',
      "EOPNOTSUPP")
  end
  local group = layout.version == 2 and hierarchy.create2(fields.name, files, fields.manager)
    or hierarchy.create1(fields.name, files, layout)
  setmetatable(group, meta) -- after its handles, so that it is collected before them: Lua manual, 2.5.3
  local ok, err = pcall(function()
    for _, entry in ipairs(files) do
      set(group, entry)
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
  if file == "devices" then
    return require("carton.devices").set(self, value)
  elseif not v1(self) then
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
  if file == "devices" then -- the kernel doesn't tell
    return self.devices or require("carton.devices").all
  elseif v1(self) then
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
    for pid in hierarchy.procs(directory):gmatch("%d+") do
      if not seen[pid] then
        seen[pid], list[#list + 1] = true, math.tointeger(pid)
      end
    end
  end
  for _, directory in each(self) do
    add(directory)
    hierarchy.walk(directory, add)
  end
  return list
end

--- Find the directory that a process of it is in: one that was divided by who lives there takes none itself.
-- @tparam int pid
-- @treturn directory
function methods:directory_of(pid)
  local directory = self.unified
  local own = self:name():gsub("%p", "%%%0")
  local rest = hierarchy.text(("/proc/%d/cgroup"):format(pid)):match("0::[^\n]*/" .. own .. "(/[^\n]+)")
  for name in (rest or ""):gmatch("[^/]+") do
    local below = hierarchy.present(directory, "open", name)
    if directory ~= self.unified then
      directory:close() -- it may be deep
    end
    if not below then
      return self.unified
    end
    directory = below
  end
  return directory
end

-- Sleep until something holds; raise when it takes too long.
local function wait_until(self, what, holds, watch)
  local deadline = host.monotonic() + 10
  local pause = 0.001
  while true do
    local file <close> = watch and self.version == 2 and hierarchy.present(self.unified, "watch", "cgroup.events")
    if file then
      pcall(file.read, file) -- it is ready when it has changed since: cgroups(7)
    end
    if holds() then
      return
    elseif host.monotonic() > deadline then
      hierarchy.fail(self:name(), "it could not be " .. what, nil, "EBUSY")
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

--- Tell whether all in it is stopped.
-- @function group:is_frozen
-- @treturn boolean
function methods:is_frozen()
  return (self:read("cgroup.events") or ""):find("frozen 1", 1, true) ~= nil
end

-- Let what was killed while it was frozen end; with v2 it does so anyway.
function methods:release()
  local freezer = self.version == 1 and self.dirs.freezer
  if freezer and not (freezer:read("freezer.state") or "THAWED"):find("^THAWED") then
    freezer:write("freezer.state", "THAWED")
  end
end

-- With v1, or a kernel before 5.14: one by one. Where they can be frozen, nobody forks meanwhile.
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

--- Give the directory by which all of it can be killed: cgroup.kill of v2, the freezer and the list of v1.
-- @function group:ending
-- @treturn directory
function methods:ending()
  return self.unified or self.dirs.freezer or self.list[1]
end

--- Kill every process in it and below it, and wait until they are gone.
-- @function group:kill
function methods:kill()
  if self.version == 2 and pcall(self.write, self, "cgroup.kill", 1) then
    return wait_until(self, "emptied", function()
      return not hierarchy.is_populated(self.unified)
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
        hierarchy.remove_below(directory)
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

-- Where all has ended there is nothing to kill or to look for; the kernel removes no group that is in use.
local function is_removed(self)
  for _, directory in each(self) do
    local ok, err = pcall(directory.remove, directory)
    if not ok and err.code ~= "EBUSY" then
      error(err, 0)
    elseif not ok then
      return false
    end
  end
  return true
end

local function empty(self)
  if not is_removed(self) then
    self:kill()
    self:remove()
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
    ok, err = pcall(empty, self)
    if not ok and err.code ~= "EBUSY" then -- nobody else would: once more, where it may only have been interrupted
      ok, err = pcall(empty, self)
    end
  end
  for _, directory in each(self) do
    directory:close()
  end
  if self.program then
    self.program:close()
  end
  if self.scope and self.owner == host.pid() then
    self.scope:release()
  end
  if not ok then
    error(err, 0)
  end
end

meta.__close = methods.close
meta.__gc = function(self)
  if not self.outlives then -- or it is removed later, as one that was left behind
    pcall(methods.close, self)
  end
end

--- Tell the name of its directory.
-- @function group:name
-- @treturn string
function methods:name()
  local directory = self.unified or self.list and self.list[1]
  return directory and directory:name() or "cgroup"
end

-- How a file is set back: whole, but for those with a line for each device.
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

--- Tell how many processes in it the kernel has killed for want of memory.
-- @function group:oom_kills
-- @treturn int
function methods:oom_kills()
  return pairs_in(self:read("memory.events")).oom_kill or 0
end

--- Be told when processes in it are held up. A container that was started with limits has its group in `c.group`.
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
    hierarchy.fail(self:name(), "cgroup v1 tells no pressure of groups", nil, "ENOENT")
  end
  local descriptor = self.unified:watch(what .. ".pressure", text)
  return loop:watch(descriptor, "p", function()
    call(pressure(self:read(what .. ".pressure")))
  end)
end

return cgroup
