-- SPDX-License-Identifier: MIT

--- Translates files of cgroup v2 into those of v1, for hosts that still bind controllers to it. What v1 cannot
-- say is an error, never something similar.
-- @module carton.cgroup1
local core = require("carton.core")
local cgroup1 = {}

local function refuse(file, why)
  core.error { op = "write", path = file, code = "EOPNOTSUPP",
    message = why or "cgroup v1 has nothing that means this", hint = "a host with cgroup v2 has it" }
end

-- What a value has to look like.
local function matching(file, value, pattern)
  if not value:find(pattern) then
    core.error { op = "write", path = file, code = "EINVAL", text = value }
  end
  return value:match(pattern)
end

local function directory(group, file, controller)
  local found = group.dirs[controller or file:match("^[^.]+")]
  if not found then
    core.error { op = "write", path = file, code = "ENOENT",
      message = "this group was made without that controller" }
  end
  return found
end

local function plain(text)
  return text and (text:gsub("%s+$", ""))
end

local function bytes(value)
  return value == "max" and "-1" or value
end

-- v1 says "no limit" with the largest page-aligned number.
local function from_bytes(text)
  local n = math.tointeger(tonumber(plain(text)))
  return n and (n >= (1 << 62) and "max" or tostring(n)) or nil
end

local UNITS <const> = { [""] = 1.0, K = 0x1p10, M = 0x1p20, G = 0x1p30, T = 0x1p40 }

-- A number of bytes as the kernel reads it.
local function size_of(file, value)
  if value == "max" then
    return value
  end
  local digits, unit = matching(file, value:upper(), "^(%d+)([KMGT]?)$")
  local bytes_of = tonumber(digits) * UNITS[unit]
  return bytes_of < 0x1p62 and math.floor(bytes_of) or "max"
end

local MEMORY <const>, BOTH <const> = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"

-- v1 limits memory and swap together, and never lets memory alone have more: what grows is set first.
local function set_memory(dir, memory, both)
  local before = from_bytes(dir:read(BOTH))
  local grows = before ~= "max" and both > math.tointeger(before)
  dir:write(grows and BOTH or MEMORY, tostring(grows and both or memory))
  dir:write(grows and MEMORY or BOTH, tostring(grows and memory or both))
end

local function memory_max(group, file, value)
  local dir = directory(group, file)
  local memory = size_of(file, value)
  if not group.swap then
    dir:write(MEMORY, tostring(bytes(memory)))
  elseif memory == "max" then
    refuse(file, "cgroup v1 limits swap only together with memory")
  else -- what was said of swap still holds
    set_memory(dir, memory, memory + group.swap)
  end
end

local function swap_max(group, file, value)
  local dir = directory(group, file)
  local memory, swap = from_bytes(dir:read(MEMORY)), size_of(file, value)
  if not dir:read(BOTH) then
    refuse(file, "the kernel does not account swap (swapaccount=1)")
  elseif swap ~= "max" and memory == "max" then
    refuse(file, "cgroup v1 limits swap only together with memory")
  end
  dir:write(BOTH, swap == "max" and "-1" or tostring(math.tointeger(memory) + swap))
  group.swap = swap ~= "max" and swap or nil
end

-- Together they must not be more than the groups above have: what is refused first may do second.
local function cpu_max(group, file, value)
  local dir = directory(group, file)
  local quota, period = matching(file, value, "^(%w+)%s*(%d*)$")
  if period == "" then
    return dir:write("cpu.cfs_quota_us", bytes(quota))
  end
  local later = not pcall(dir.write, dir, "cpu.cfs_period_us", period)
  dir:write("cpu.cfs_quota_us", bytes(quota))
  if later then
    dir:write("cpu.cfs_period_us", period)
  end
end

-- The runtime spec's formula for shares (2 to 262144) and weight (1 to 10000), the other way round.
local function cpu_weight(group, file, value)
  local weight = math.tointeger(tonumber((matching(file, value, "^(%d+)$"))))
  directory(group, file):write("cpu.shares",
    tostring(2 + ((weight - 1) * 262142 + 4999) // 9999))
end

local IO <const> = { rbps = "read_bps", wbps = "write_bps", riops = "read_iops", wiops = "write_iops" }

local function io_max(group, file, value)
  local dir = directory(group, file, "io")
  local device, rest = matching(file, value, "^(%d+:%d+)%s+(%w+=.*)$")
  for word in rest:gmatch("%S+") do
    local key, rate = matching(file, word, "^(%w+)=(%w+)$")
    if not IO[key] then
      refuse(file, ("cgroup v1 has no '%s'"):format(key))
    end
    dir:write(("blkio.throttle.%s_device"):format(IO[key]),
      ("%s %s"):format(device, rate == "max" and "0" or rate))
  end
end

local function weight_file(dir)
  return dir:read("blkio.bfq.weight") and "blkio.bfq.weight" or dir:read("blkio.weight") and "blkio.weight"
end

local function io_weight(group, file, value)
  local dir = directory(group, file, "io")
  local name = weight_file(dir)
  if not name then
    refuse(file, "the kernel's block scheduler has no weights (bfq has)")
  end
  local device, weight = matching(file, value, "^(%S+) (%w+)$")
  if (math.tointeger(tonumber(weight)) or 0) > 1000 then
    refuse(file, "weights of cgroup v1 end at 1000")
  elseif device ~= "default" then
    dir:write(name .. "_device", ("%s %s"):format(device, weight == "default" and "0" or weight))
  else
    dir:write(name, weight)
  end
end

local function freeze(group, file, value)
  directory(group, file, "freezer"):write("freezer.state", value == "1" and "FROZEN" or "THAWED")
end

local function same(group, file, value)
  directory(group, file):write(file, value)
end

local writers = {
  ["memory.max"] = memory_max, ["memory.swap.max"] = swap_max, ["cpu.max"] = cpu_max,
  ["cpu.weight"] = cpu_weight, ["io.max"] = io_max, ["io.weight"] = io_weight,
  ["cgroup.freeze"] = freeze, ["pids.max"] = same, ["cpuset.cpus"] = same, ["cpuset.mems"] = same,
  ["cpu.idle"] = same,
  ["cpu.max.burst"] = function(group, file, value)
    directory(group, file):write("cpu.cfs_burst_us", value)
  end,
}

-- Write what the first map of exceptions has and the second has not.
local function write_difference(dir, file, map, other)
  local rules = {}
  for exception, letters in pairs(map) do
    local left = other[exception] and letters:gsub("[" .. other[exception] .. "]", "") or letters
    if left ~= "" then
      rules[#rules + 1] = exception .. " " .. left
    end
  end
  if #rules > 0 then
    dir:write(file, table.unpack(rules))
  end
end

-- Change the exceptions of a group: what is taken first, so that nothing is open meanwhile that is not before or after.
local function change_devices(dir, allow, now, wanted)
  if not now or now.allow ~= allow then
    dir:write(allow and "devices.allow" or "devices.deny", "a")
    now = { map = {} }
  end
  if allow then
    write_difference(dir, "devices.deny", wanted, now.map)
    write_difference(dir, "devices.allow", now.map, wanted)
  else
    write_difference(dir, "devices.deny", now.map, wanted)
    write_difference(dir, "devices.allow", wanted, now.map)
  end
end

--- Set which devices a group may use.
-- @tparam group group of `carton.cgroup`
-- @tparam boolean allow all of them, but for the exceptions
-- @tparam table exceptions as of `carton.devices.exceptions`
-- @raise `carton.error`: `EPERM` not root, or not allowed to the group above
function cgroup1.set_devices(group, allow, exceptions)
  local dir, now = directory(group, "devices"), group.exceptions
  group.exceptions = nil -- half way nobody knows
  local ok, err = pcall(change_devices, dir, allow, now, exceptions)
  if not ok then
    if type(err) == "table" and err.code == "EPERM" then
      err.hint = "the group above has to allow it, and it takes root outside of user namespaces"
    end
    error(err, 0)
  end
  group.exceptions = { allow = allow, map = exceptions }
end

--- Write what a file of cgroup v2 means.
-- @tparam group group of `carton.cgroup`
-- @tparam string file of cgroup v2
-- @tparam string value
-- @raise `carton.error`: `EOPNOTSUPP` v1 has nothing like it, `EINVAL` what the kernel does not take
function cgroup1.write(group, file, value)
  local size = file:match("^hugetlb%.([%w]+)%.max$")
  if size then
    directory(group, file):write(("hugetlb.%s.limit_in_bytes"):format(size), bytes(value))
  elseif writers[file] then
    writers[file](group, file, value)
  else
    refuse(file)
  end
end

local function of(controller, file, convert)
  return function(group)
    local dir = group.dirs[controller]
    local text = dir and dir:read(file)
    return text and (convert or plain)(text)
  end
end

local function first_number(pattern)
  return function(text)
    return text:match(pattern)
  end
end

local function cpu_stat(group)
  local lines = {}
  local usage = group.dirs.cpuacct and group.dirs.cpuacct:read("cpuacct.usage")
  if usage then
    lines[#lines + 1] = "usage_usec " .. math.tointeger(plain(usage)) // 1000
    lines[#lines + 1] = "user_usec " .. math.tointeger(plain(group.dirs.cpuacct:read("cpuacct.usage_user"))) // 1000
    lines[#lines + 1] = "system_usec " .. math.tointeger(plain(group.dirs.cpuacct:read("cpuacct.usage_sys"))) // 1000
  end
  local throttled = group.dirs.cpu and group.dirs.cpu:read("cpu.stat")
  if throttled then
    lines[#lines + 1] = "nr_periods " .. (throttled:match("nr_periods (%d+)") or 0)
    lines[#lines + 1] = "nr_throttled " .. (throttled:match("nr_throttled (%d+)") or 0)
    lines[#lines + 1] = "throttled_usec " .. (math.tointeger(throttled:match("throttled_time (%d+)")) or 0) // 1000
  end
  return table.concat(lines, "\n")
end

local function memory_events(group)
  local dir = group.dirs.memory
  local control = dir and dir:read("memory.oom_control")
  if not control then
    return nil
  end
  return ("max %s\noom_kill %s"):format(plain(dir:read("memory.failcnt")),
    control:match("oom_kill (%d+)") or 0)
end

local function swap_of(text_of)
  return function(group)
    local dir = group.dirs.memory
    local both = dir and from_bytes(dir:read("memory.memsw." .. text_of .. "_in_bytes"))
    local memory = dir and from_bytes(dir:read("memory." .. text_of .. "_in_bytes"))
    if not both or both == "max" then
      return both
    end
    return tostring(math.max(0, math.tointeger(both) - math.tointeger(memory)))
  end
end

local function io_stat(group)
  local text = group.dirs.io and group.dirs.io:read("blkio.throttle.io_service_bytes")
  local count = group.dirs.io and group.dirs.io:read("blkio.throttle.io_serviced") or ""
  local lines = {}
  for device, amount in (text or ""):gmatch("(%d+:%d+) Read (%d+)") do
    local escaped = device:gsub("%p", "%%%0")
    lines[#lines + 1] = ("%s rbytes=%s wbytes=%s rios=%s wios=%s"):format(device, amount,
      text:match(escaped .. " Write (%d+)") or 0, count:match(escaped .. " Read (%d+)") or 0,
      count:match(escaped .. " Write (%d+)") or 0)
  end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

-- Limits by device, a line each, as io.max has them.
local function io_max_of(group)
  local dir = group.dirs.io
  if not dir then
    return nil
  end
  local lines, rates = {}, {}
  for _, key in ipairs { "rbps", "wbps", "riops", "wiops" } do
    for device, rate in (dir:read(("blkio.throttle.%s_device"):format(IO[key])) or ""):gmatch("(%d+:%d+) (%d+)") do
      if not rates[device] then
        rates[device], lines[#lines + 1] = {}, device
      end
      rates[device][key] = rate
    end
  end
  for i, device in ipairs(lines) do
    local rate = rates[device]
    lines[i] = ("%s rbps=%s wbps=%s riops=%s wiops=%s"):format(device, rate.rbps or "max", rate.wbps or "max",
      rate.riops or "max", rate.wiops or "max")
  end
  return table.concat(lines, "\n")
end

local function io_weight_of(group)
  local dir = group.dirs.io
  local name = dir and weight_file(dir)
  local weight = name and dir:read(name):match("(%d+)")
  local devices = weight and dir:read(name .. "_device") or ""
  for device, own in devices:gmatch("(%d+:%d+) (%d+)") do
    weight = ("%s\n%s %s"):format(weight, device, own)
  end
  return weight and "default " .. weight
end

local function cpu_max_of(group)
  local dir = group.dirs.cpu
  local quota = dir and plain(dir:read("cpu.cfs_quota_us"))
  return quota and ("%s %s"):format(quota == "-1" and "max" or quota, plain(dir:read("cpu.cfs_period_us")))
end

local function events(group)
  local dir = group.dirs.freezer
  return dir and "frozen " .. (plain(dir:read("freezer.state")) == "FROZEN" and 1 or 0)
end

local readers = {
  ["memory.max"] = of("memory", "memory.limit_in_bytes", from_bytes),
  ["memory.current"] = of("memory", "memory.usage_in_bytes"),
  ["memory.peak"] = of("memory", "memory.max_usage_in_bytes"),
  ["memory.swap.max"] = swap_of("limit"), ["memory.swap.current"] = swap_of("usage"),
  ["memory.events"] = memory_events, ["cpu.stat"] = cpu_stat, ["cpu.max"] = cpu_max_of,
  ["cpu.weight"] = of("cpu", "cpu.shares", function(text)
    return tostring(1 + (math.tointeger(plain(text)) - 2) * 9999 // 262142)
  end),
  ["cpu.max.burst"] = of("cpu", "cpu.cfs_burst_us"), ["cpu.idle"] = of("cpu", "cpu.idle"),
  ["pids.max"] = of("pids", "pids.max"), ["pids.current"] = of("pids", "pids.current"),
  ["pids.peak"] = of("pids", "pids.peak"), ["pids.events"] = of("pids", "pids.events", first_number("(max %d+)")),
  ["cpuset.cpus"] = of("cpuset", "cpuset.cpus"), ["cpuset.mems"] = of("cpuset", "cpuset.mems"),
  ["io.stat"] = io_stat, ["io.max"] = io_max_of, ["io.weight"] = io_weight_of, ["cgroup.events"] = events,
}

--- Read what a file of cgroup v2 would say.
-- @tparam group group of `carton.cgroup`
-- @tparam string file of cgroup v2
-- @treturn ?string nil where v1 does not tell
function cgroup1.read(group, file)
  local size, what = file:match("^hugetlb%.(%w+)%.(%w+)$")
  if size then
    local dir = group.dirs.hugetlb
    local text = dir and dir:read(("hugetlb.%s.%s_in_bytes"):format(size, what == "max" and "limit" or "usage"))
    return text and (what == "max" and from_bytes(text) or plain(text))
  end
  return readers[file] and readers[file](group)
end

return cgroup1
