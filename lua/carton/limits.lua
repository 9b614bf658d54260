-- SPDX-License-Identifier: MIT

--- Readable limits, turned into the files of cgroup v2 and what is written to them.
-- @module carton.limits
local core = require("carton.core")
local limits = {}

local PERIOD <const> = 100000 -- microseconds, the kernel's own default
local UNITS <const> = { [""] = 1.0, K = 0x1p10, M = 0x1p20, G = 0x1p30, T = 0x1p40 }

local function fail(format, ...)
  core.misuse("limits: " .. format:format(...))
end

--- Read a size.
-- @tparam int|string size bytes, or a number with K, M, G or T (powers of 1024), as `"512M"`; `"max"` for none
-- @tparam[opt] string name of the field, for messages
-- @treturn int|string bytes, or `"max"`
-- @raise a string that says what is wrong with it
function limits.size(size, name)
  if size == "max" then
    return size
  elseif math.type(size) == "integer" and size >= 0 then
    return size
  end
  local number, unit = tostring(size):upper():match("^(%d+%.?%d*)([KMGT]?)I?B?$")
  local bytes = type(size) == "string" and number and tonumber(number) * UNITS[unit]
  if not bytes or bytes >= 0x1p62 then
    fail("field '%s': a size such as 1048576, \"512M\" or \"max\" expected, got %s", name or "size",
      type(size) == "string" and ("'%s'"):format(size) or tostring(size))
  end
  return math.floor(bytes)
end

local function integer(value, name, low, high)
  if value == "max" and high == math.huge then
    return value
  end
  value = math.tointeger(value)
  if not value or value < low or value > high then
    fail("field '%s': a whole number from %d%s expected", name, low,
      high == math.huge and ", or \"max\"," or " to " .. high)
  end
  return value
end

local function cpus(value)
  if value == "max" then
    return "max " .. PERIOD
  elseif type(value) ~= "number" or not (value >= 0.01 and value <= 1e6) then
    fail("field 'cpus': a number of processors from 0.01, or \"max\", expected")
  end
  return ("%d %d"):format(math.floor(value * PERIOD + 0.5), PERIOD)
end

local function burst(value)
  if type(value) ~= "number" or not (value >= 0 and value <= 1e6) then
    fail("field 'cpu_burst': seconds expected")
  end
  return math.floor(value * 1e6)
end

local function set(name)
  return function(value)
    local items = type(value) == "table" and value or {}
    local is_list = require("carton.list").stray(items) == nil
    for _, item in ipairs(items) do
      is_list = is_list and (type(item) == "string" or math.type(item) == "integer")
    end
    if not is_list then
      fail("field '%s': a list such as \"0-2,4\" expected", name)
    end
    value = type(value) == "table" and table.concat(value, ",") or value
    value = math.type(value) == "integer" and tostring(value) or value
    if type(value) ~= "string" or not value:find("^[%d,%-]+$") then
      fail("field '%s': a list such as \"0-2,4\" expected", name)
    end
    return value
  end
end

-- The device that a path or "MAJOR:MINOR" names.
local function device(name)
  if name:find("^%d+:%d+$") then
    return name
  end
  local stat = core.host.stat(name)
  if not stat or stat.type ~= "block" then
    fail("field 'io': '%s' is neither a block device nor MAJOR:MINOR", name)
  end
  return ("%d:%d"):format(stat.major, stat.minor)
end

local RATES <const> = { "rbps", "wbps", "riops", "wiops" }

local function check_names(map, field)
  if type(map) ~= "table" then
    fail("field '%s': a table expected, got %s", field, type(map))
  end
  for key in pairs(map) do
    if type(key) ~= "string" then
      fail("field '%s': names expected, got '%s'", field, tostring(key))
    end
  end
end

local function sorted(map, field)
  check_names(map, field)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function add_io(add, io)
  for _, name in ipairs(sorted(io, "io")) do
    check_names(io[name], "io")
    local words, left = { device(name) }, {}
    for key, value in pairs(io[name]) do
      left[key] = value
    end
    for _, rate in ipairs(RATES) do
      if left[rate] then
        words[#words + 1] = rate .. "=" .. limits.size(left[rate], "io." .. rate)
        left[rate] = nil
      end
    end
    if left.weight then
      add("io.weight", words[1] .. " " .. integer(left.weight, "io.weight", 1, 10000))
      left.weight = nil
    end
    if next(left) then
      fail("field 'io': unknown name '%s'", tostring(next(left)))
    elseif next(io[name]) == nil then
      fail("field 'io': no limit for %s", name)
    elseif #words > 1 then
      add("io.max", table.concat(words, " "))
    end
  end
end

-- What each limit is called by the kernel, in the order in which they are set.
local simple = {
  { "cpuset_mems", "cpuset.mems", set("cpuset_mems") },
  { "cpuset", "cpuset.cpus", set("cpuset") },
  { "memory", "memory.max", function(v) return limits.size(v, "memory") end },
  { "memory_high", "memory.high", function(v) return limits.size(v, "memory_high") end },
  { "memory_low", "memory.low", function(v) return limits.size(v, "memory_low") end },
  { "swap", "memory.swap.max", function(v) return limits.size(v, "swap") end },
  { "cpus", "cpu.max", cpus },
  { "cpu_burst", "cpu.max.burst", burst },
  { "cpu_weight", "cpu.weight", function(v) return integer(v, "cpu_weight", 1, 10000) end },
  { "pids", "pids.max", function(v) return integer(v, "pids", 1, math.huge) end },
  { "io_weight", "io.weight", function(v) return "default " .. integer(v, "io_weight", 1, 10000) end },
}

-- Files of cgroup.* that limit; the others move, stop or end processes, or change what the group is.
local CORE <const> = { ["cgroup.max.depth"] = true, ["cgroup.max.descendants"] = true }

local known = { io = true, hugetlb = true, devices = true, manager = true }
for _, row in ipairs(simple) do
  known[row[1]] = true
end

--- Turn limits into files and values.
-- @tparam ?table wish `memory`, `memory_high`, `memory_low`, `swap` (sizes; swap beside the memory), `cpus`
--   (processors, 1.5), `cpu_burst` (seconds), `cpu_weight` (1 to 10000, 100 is usual), `cpuset`, `cpuset_mems`
--   (`"0-2"`), `pids`, `io` (by device: `{ rbps =, wbps =, riops =, wiops =, weight = }`), `io_weight`,
--   `hugetlb` (by page size: `{ ["2MB"] = "64M" }`), `devices` (rules: see `carton.devices`);
--   `manager` says who makes the cgroup (see `carton.subtree`)
-- @tparam[opt] table raw file -> value of cgroup v2, for everything else: `{ ["memory.oom.group"] = 1 }`; a file of a
--   controller that `wish` does not set, or `cgroup.max.depth` and `cgroup.max.descendants`
-- @tparam[opt] {string,...} nodes that a container is given: see `carton.devices.nodes`
-- @treturn {table,...} `{ file =, value = string }` in the order in which they are written; `devices` is no file of
--   the kernel's, and has a rule a line
-- @raise a string that says what is wrong with a limit
-- @see cgroups(7)
-- @usage limits.files{ memory = "512M", cpus = 1.5, pids = 128 }
function limits.files(wish, raw, nodes)
  local list = {}
  local function add(file, value)
    list[#list + 1] = { file = file, value = tostring(value) }
  end
  for name in pairs(wish or {}) do
    if not known[name] then
      fail("unknown field '%s'%s", tostring(name), require("carton.hint").meant(name, known))
    end
  end
  for _, row in ipairs(simple) do
    if wish and wish[row[1]] ~= nil then
      add(row[2], row[3](wish[row[1]]))
    end
  end
  if wish and wish.io then
    add_io(add, wish.io)
  end
  for _, size in ipairs(sorted(wish and wish.hugetlb or {}, "hugetlb")) do
    if not size:find("^%d+[KMG]B$") then
      fail("field 'hugetlb': a page size such as 2MB expected, got '%s'", size)
    end
    add(("hugetlb.%s.max"):format(size), limits.size(wish.hugetlb[size], "hugetlb"))
  end
  if wish and wish.manager ~= nil then
    require("carton.subtree").manager(wish.manager)
  end
  if wish and wish.devices then
    add("devices", require("carton.devices").text(wish.devices, nodes))
  end
  local set_already = {}
  for _, entry in ipairs(list) do
    set_already[entry.file] = true
  end
  for _, file in ipairs(sorted(raw or {}, "cgroup")) do
    local value = raw[file]
    if not file:find("^%l[%w_]*%.[%w_.]+$") or file:find("^cgroup%.") and not CORE[file] then
      fail("field 'cgroup': '%s' is not a file of a cgroup controller", file)
    elseif set_already[file] then
      fail("field 'cgroup': %s is set by the field 'limits', too", file)
    elseif type(value) ~= "string" and math.type(value) ~= "integer" then
      fail("field 'cgroup': %s: a string or a whole number expected, got %s", file, tostring(value))
    end
    add(file, value)
  end
  return list
end

return limits
