-- SPDX-License-Identifier: MIT

--- Profiles of the OCI runtime specification and of engines, turned into the project's own kind. The meaning is what
-- libseccomp(3), as runc calls it, makes of the rules:
--
-- - A rule whose action is the default action has no effect.
-- - An unconditional rule for a call wins over every rule with `args`, the first over later ones.
-- - A rule that tests one argument twice stands for as many rules with one test each.
-- - `SCMP_CMP_MASKED_EQ` ignores the bits of `valueTwo` that are not in the mask.
--
-- Where rules with `args` and different actions overlap, the order of libseccomp's own tests decides, which no
-- specification names. Here the strictest action wins, the first of equally strict ones.
--
-- On i386 a rule also holds where the call goes through socketcall(2) or ipc(2), whose arguments no filter can look at:
-- one that is stricter than the default action whatever its `args` are, another one if it has none.
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
-- seccomp(2) gives the one that comes first here precedence when several filters answer.
local STRICTNESS <const> = { kill = 1, kill_thread = 2, trap = 3, errno = 4, notify = 5, trace = 6, log = 7, allow = 8 }
local ARCHITECTURES <const> = { -- false: can't be entered on the machines that Carton knows
  SCMP_ARCH_X86_64 = "x86_64", SCMP_ARCH_X86 = "i386", SCMP_ARCH_AARCH64 = "aarch64", SCMP_ARCH_ARM = "arm",
}
for name in ([[X32 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64
  RISCV64 LOONGARCH64 M68K SH SHEB]]):gmatch("%S+") do
  ARCHITECTURES["SCMP_ARCH_" .. name] = false
end
local MACHINES <const> = { x86_64 = "amd64", i386 = "x86", aarch64 = "arm64", arm = "arm" } -- as `arches` has them
local ARCHES <const> = {}
for name in ([[386 amd64 arm arm64 loong64 loongarch64 m68k mips mips64 mips64le mips64n32 mipsel mipsel64 mipsel64n32
  mipsle parisc parisc64 ppc ppc64 ppc64le riscv64 s390 s390x sh sheb x32 x86]]):gmatch("%S+") do
  ARCHES[name] = true
end
local PROFILE <const> = { defaultAction = true, defaultErrnoRet = true, defaultErrno = true, architectures = true,
  archMap = true, flags = true, listenerPath = true, listenerMetadata = true, syscalls = true,
  process = true } -- capabilities, as `carton learn` writes them beside
local MAPPED <const> = { architecture = true, subArchitectures = true }
local RULE <const> = { names = true, name = true, action = true, args = true, comment = true, includes = true,
  excludes = true, errnoRet = true, errno = true }
local WHERE <const> = { caps = true, arches = true, minKernel = true }
local ARG <const> = { index = true, value = true, valueTwo = true, op = true }
local FLAGS <const> = { SECCOMP_FILTER_FLAG_LOG = "log", SECCOMP_FILTER_FLAG_SPEC_ALLOW = "spec_allow",
  SECCOMP_FILTER_FLAG_TSYNC = "", -- one thread executes the program
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = "" } -- `on_syscall` always has it

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
      fail("%s: a list expected, got the key '%s'", what, tostring(key))
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

-- A whole number of 64 bits without a sign: an integer, or the string of its digits as `carton.json` gives it where
-- the highest bit is set. A float beyond 2^53 stands for several integers.
local function integer(value, what, name)
  if type(value) == "string" and value:find("^%d+$") then
    return require("carton.seccomp.bpf").number(value)
      or fail("%s: %s: '%s' does not fit into 64 bits", what, name, value)
  end
  local number = type(value) == "number" and math.tointeger(value)
  if math.type(value) == "float" and value >= 2.0 ^ 53 then
    fail("%s: %s: '%.0f' was rounded; write it as an integer, or as a string of digits", what, name, value)
  elseif not number or number < 0 then
    fail("%s: %s: a whole number from 0 expected, got '%s'", what, name, tostring(value))
  end
  return number
end

local function text(value, what)
  if given(value) ~= nil and type(value) ~= "string" then
    fail("%s: a string expected, got %s", what, type(value))
  end
  return given(value)
end

local function action(name, number, word, what)
  local known = ACTIONS[name]
  if not known then
    fail("%s: unknown action '%s'", what, tostring(name))
  end
  word, number = text(word, what .. ": errno"), given(number)
  number = number and integer(number, what, "errnoRet")
  if known == "errno" then
    return { "errno", word ~= "" and word or number or "EPERM" }
  elseif known == "trace" then
    return { "trace", number or 1 } -- EPERM, as runc has it
  end
  return known
end

local function argument(arg, what)
  object_of(arg, what .. ": args", ARG)
  local op = OPERATORS[arg.op] or fail("%s: unknown operator '%s'", what, tostring(arg.op))
  local value = integer(given(arg.value) or 0, what, "value")
  local second = integer(given(arg.valueTwo) or 0, what, "valueTwo")
  local test = { index = integer(given(arg.index) or 0, what, "index"), op = op, value = value }
  if arg.op == "SCMP_CMP_MASKED_EQ" then
    test.mask, test.value = value, second & value
  end
  return test
end

-- The tests of a rule, or of the rules that it stands for.
local function groups(args, what)
  local tests, seen, twice, open = {}, {}, false, false
  for _, arg in ipairs(args) do
    local test = argument(arg, what)
    twice = twice or seen[test.index] or false
    seen[test.index] = true
    if test.mask == 0 then
      open = true -- it always holds
    else
      tests[#tests + 1] = test
    end
  end
  if #tests == 0 or twice and open then
    return {}
  elseif not twice then
    return { tests }
  end
  local list = {}
  for i, test in ipairs(tests) do
    list[i] = { test }
  end
  return list
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

local function architecture(name, what)
  local known = ARCHITECTURES[name]
  if known == nil then
    fail("%s: unknown architecture '%s'", what, tostring(name))
  end
  return known or nil
end

local function architectures(profile, arch)
  local names = {}
  for _, name in ipairs(list_of(profile.architectures, "architectures")) do
    names[#names + 1] = architecture(name, "architectures")
  end
  for _, entry in ipairs(list_of(profile.archMap, "archMap")) do
    local own = architecture(object_of(entry, "archMap", MAPPED).architecture, "archMap")
    local mapped = { own }
    for _, name in ipairs(list_of(entry.subArchitectures, "subArchitectures")) do
      mapped[#mapped + 1] = architecture(name, "archMap: subArchitectures")
    end
    names = own == arch and mapped or names
  end
  return names
end

-- `arches` of a rule: a misspelt one would apply a rule that is meant to be left out.
local function machines(where, what)
  local list = list_of(where.arches, what)
  for _, name in ipairs(list) do
    if not ARCHES[name] then
      fail("%s: unknown architecture '%s'", what, tostring(name))
    end
  end
  return list
end

local function strictness(made)
  return STRICTNESS[type(made) == "table" and made[1] or made]
end

-- Add what a rule says of calls that go through another one.
local function add_joined(rules, rule, default)
  local notify, is_stricter = require("carton.seccomp.notify"), strictness(rule.action) < strictness(default)
  for _, joint in ipairs { "socketcall", "ipc" } do
    local numbers = {}
    for number, name in pairs((is_stricter or not rule.args) and notify.joined[joint] or {}) do
      numbers[#numbers + 1] = has(rule.names, name) and number or nil
    end
    if #numbers > 0 then
      table.sort(numbers)
      local copy = {}
      for key, value in pairs(rule) do
        copy[key] = value
      end
      copy.names = { joint }
      copy.args = { { index = 0, value = numbers, mask = is_stricter and notify.masks[joint] or nil } }
      rules[#rules + 1] = copy
    end
  end
end

local function is_same(a, b)
  local errno = require("carton.core").errno
  local function data(made)
    return type(made) == "table" and (type(made[2]) == "string" and errno[made[2]] or made[2]) or 0
  end
  return (type(a) == "table" and a[1] or a) == (type(b) == "table" and b[1] or b) and data(a) == data(b)
end

-- The order in which the first rule that applies is the one that decides: see above.
local function order(rules, default)
  local rank = {}
  for i, rule in ipairs(rules) do
    rank[rule] = i
    if is_same(rule.action, default) then
      rank[rule] = rank[rule] + (#rules + 1) * 10
    elseif rule.args then
      rank[rule] = rank[rule] + (#rules + 1) * strictness(rule.action)
    end
  end
  table.sort(rules, function(a, b) return rank[a] < rank[b] end)
end

--- Turn a decoded profile into one as of `carton.seccomp`.
-- @tparam table profile what JSON holds
-- @tparam string arch of the kernel: what rules say of architectures is decided here
-- @treturn table
-- @raise a string that says what it does not understand
function oci.convert(profile, arch)
  object_of(profile, "profile", PROFILE)
  local default = action(profile.defaultAction, profile.defaultErrnoRet, profile.defaultErrno, "defaultAction")
  local converted = { default = default, architectures = architectures(profile, arch), rules = {}, flags = {} }
  if text(profile.listenerPath, "listenerPath") or text(profile.listenerMetadata, "listenerMetadata") then
    fail("listenerPath and listenerMetadata are not supported; use the field on_syscall")
  end
  for _, flag in ipairs(list_of(profile.flags, "flags")) do
    local name = FLAGS[flag] or fail("unknown flag '%s'", tostring(flag))
    converted.flags[#converted.flags + 1] = name ~= "" and name or nil
  end
  for i, entry in ipairs(list_of(profile.syscalls, "syscalls")) do
    local what = ("syscalls[%d]"):format(i - 1)
    object_of(entry, what, RULE)
    local includes = object_of(given(entry.includes) or {}, what .. ": includes", WHERE)
    local excludes = object_of(given(entry.excludes) or {}, what .. ": excludes", WHERE)
    local arches = machines(includes, what .. ": includes")
    local is_excluded = has(machines(excludes, what .. ": excludes"), MACHINES[arch])
    local names, list = list_of(entry.names, what), groups(list_of(entry.args, what), what)
    local why = text(entry.comment, what .. ": comment")
    for g = 1, math.max(1, #list) do
      local rule = {
        names = #names > 0 and names or { entry.name },
        action = action(entry.action, entry.errnoRet, entry.errno, what),
        args = list[g],
        caps = bare(list_of(includes.caps, what)), without = bare(list_of(excludes.caps, what)),
        min_kernel = given(includes.minKernel), before_kernel = given(excludes.minKernel),
        why = why ~= "" and why or nil,
      }
      if (#arches == 0 or has(arches, MACHINES[arch])) and not is_excluded then
        converted.rules[#converted.rules + 1] = rule
        if has(converted.architectures, "i386") then
          add_joined(converted.rules, rule, default)
        end
      end
    end
  end
  if type(default) == "table" and default[1] == "errno" and #converted.rules > 0 then
    converted.newer = { "errno", "ENOSYS" } -- libraries fall back when they are told so
  end
  order(converted.rules, default)
  return converted
end

return oci
