-- SPDX-License-Identifier: MIT

--- Profiles of the OCI runtime specification and of engines, turned into the project's own kind.
-- @module carton.seccomp.oci
local oci = {}

local ACTIONS <const> = {
  SCMP_ACT_ALLOW = "allow", SCMP_ACT_ERRNO = "errno", SCMP_ACT_KILL = "kill_thread",
  SCMP_ACT_KILL_THREAD = "kill_thread", SCMP_ACT_KILL_PROCESS = "kill", SCMP_ACT_TRAP = "trap",
  SCMP_ACT_TRACE = "trace", SCMP_ACT_LOG = "log",
  SCMP_ACT_NOTIFY = "notify",
}
local OPERATORS <const> = {
  SCMP_CMP_EQ = "==", SCMP_CMP_NE = "!=", SCMP_CMP_LT = "<", SCMP_CMP_LE = "<=", SCMP_CMP_GT = ">", SCMP_CMP_GE = ">=",
  SCMP_CMP_MASKED_EQ = "==",
}
local ARCHITECTURES <const> = { -- others can't be entered on the machines that Carton knows
  SCMP_ARCH_X86_64 = "x86_64", SCMP_ARCH_X86 = "i386", SCMP_ARCH_AARCH64 = "aarch64", SCMP_ARCH_ARM = "arm",
}
local MACHINES <const> = { x86_64 = "amd64", i386 = "x86", aarch64 = "arm64", arm = "arm" } -- as `arches` has them
local RULE <const> = { names = true, name = true, action = true, args = true, comment = true, includes = true,
  excludes = true, errnoRet = true, errno = true }
local WHERE <const> = { caps = true, arches = true, minKernel = true }
local ARG <const> = { index = true, value = true, valueTwo = true, op = true }
local FLAGS <const> = { SECCOMP_FILTER_FLAG_LOG = "log", SECCOMP_FILTER_FLAG_SPEC_ALLOW = "spec_allow",
  SECCOMP_FILTER_FLAG_TSYNC = "" }

local function fail(format, ...)
  require("carton.core").misuse("seccomp: " .. format:format(...))
end

-- What JSON calls null is nothing.
local function given(value)
  return type(value) ~= "userdata" and value or nil
end

-- What is no list would be one without items, and a rule that nobody sees.
local function list_of(value, what)
  value = given(value) or {}
  if type(value) ~= "table" then
    fail("%s: a list expected, got %s", what, type(value))
  end
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      fail("%s: a list expected, got the name '%s'", what, tostring(key))
    end
  end
  return value
end

-- An object; with `known`, one that has no other field than these.
local function object_of(value, what, known)
  if type(value) ~= "table" then
    fail("%s: an object expected, got %s", what, type(value))
  end
  for key in pairs(known and value or {}) do
    if not known[key] then
      fail("%s: unknown field '%s'", what, tostring(key))
    end
  end
  return value
end

-- JSON has no integers: what is above 2^53 came through a float, and only "all bits" is still sure.
local function integer(value, what)
  local number = math.tointeger(value)
  if value == 2.0 ^ 64 then
    return -1
  elseif not number or (math.type(value) == "float" and math.abs(value) > 2.0 ^ 53) then
    fail("%s: '%s' is no whole number", what, tostring(value))
  end
  return number
end

local function action(name, number, word, what)
  local known = ACTIONS[name]
  if not known then
    fail("%s: unknown action '%s'", what, tostring(name))
  end
  word, number = given(word), given(number)
  if known == "errno" then
    return { "errno", word or (number and integer(number, what)) or "EPERM" }
  elseif known == "trace" then
    return { "trace", number and integer(number, what) or 0 }
  end
  return known
end

local function argument(arg, what)
  object_of(arg, what .. ": args", ARG)
  local op = OPERATORS[arg.op] or fail("%s: unknown operator '%s'", what, tostring(arg.op))
  local value = integer(given(arg.value) or 0, what)
  local test = { index = integer(given(arg.index) or 0, what), op = op, value = value }
  if arg.op == "SCMP_CMP_MASKED_EQ" then
    test.mask, test.value = value, integer(given(arg.valueTwo) or 0, what)
  end
  return test
end

-- The tests of a rule: of one argument tested twice, as engines have it, one test suffices.
local function groups(args, what)
  local tests, seen, twice = {}, {}, false
  for i, arg in ipairs(args) do
    tests[i] = argument(arg, what)
    twice = twice or seen[tests[i].index] or false
    seen[tests[i].index] = true
  end
  if not twice then
    return { #tests > 0 and tests or nil }, #tests == 0
  end
  local list = {}
  for i, test in ipairs(tests) do
    list[i] = { test }
  end
  return list, false
end

local function bare(names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = tostring(name):upper():gsub("^CAP_", "")
  end
  return #list > 0 and list or nil
end

local function has(list, name)
  for _, item in ipairs(list) do
    if item == name then
      return true
    end
  end
  return false
end

local function architectures(profile, arch)
  local names, wanted = {}, list_of(profile.architectures, "architectures")
  for _, entry in ipairs(list_of(profile.archMap, "archMap")) do
    if ARCHITECTURES[object_of(entry, "archMap").architecture or ""] == arch then
      names[#names + 1] = arch
      wanted = list_of(entry.subArchitectures, "subArchitectures")
    end
  end
  for _, name in ipairs(wanted) do
    names[#names + 1] = ARCHITECTURES[name]
  end
  return names
end

--- Turn a decoded profile into one as of `carton.seccomp`.
-- @tparam table profile what JSON holds
-- @tparam string arch of the kernel: what rules say of architectures is decided here
-- @treturn table
-- @raise a string that says what it does not understand
function oci.convert(profile, arch)
  object_of(profile, "profile")
  local default = action(profile.defaultAction, profile.defaultErrnoRet, profile.defaultErrno, "defaultAction")
  local converted = { default = default, architectures = architectures(profile, arch), rules = {}, flags = {} }
  if type(default) == "table" and default[1] == "errno" then
    converted.newer = { "errno", "ENOSYS" } -- libraries fall back when they are told so
  end
  if given(profile.listenerPath) then
    fail("listenerPath: not supported; on_syscall answers")
  end
  for _, flag in ipairs(list_of(profile.flags, "flags")) do
    local name = FLAGS[flag] or fail("unknown flag '%s'", tostring(flag))
    converted.flags[#converted.flags + 1] = name ~= "" and name or nil
  end
  local general = {}
  for i, entry in ipairs(list_of(profile.syscalls, "syscalls")) do
    local what = ("syscalls[%d]"):format(i - 1)
    object_of(entry, what, RULE)
    local includes = object_of(given(entry.includes) or {}, what .. ": includes", WHERE)
    local excludes = object_of(given(entry.excludes) or {}, what .. ": excludes", WHERE)
    local arches = list_of(includes.arches, what)
    if (#arches == 0 or has(arches, MACHINES[arch])) and not has(list_of(excludes.arches, what), MACHINES[arch]) then
      local names = list_of(entry.names, what)
      local list, is_general = groups(list_of(entry.args, what), what)
      for g = 1, math.max(1, #list) do
        local rule = {
          names = #names > 0 and names or { entry.name },
          action = action(entry.action, entry.errnoRet, entry.errno, what),
          args = list[g],
          caps = bare(list_of(includes.caps, what)), without = bare(list_of(excludes.caps, what)),
          min_kernel = given(includes.minKernel), before_kernel = given(excludes.minKernel),
          why = given(entry.comment) ~= "" and given(entry.comment) or nil,
        }
        table.insert(is_general and general or converted.rules, rule)
      end
    end
  end
  table.move(general, 1, #general, #converted.rules + 1, converted.rules)
  return converted
end

return oci
