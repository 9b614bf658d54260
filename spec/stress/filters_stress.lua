-- SPDX-License-Identifier: MIT

-- Random profiles: the compiled program, run by an interpreter that is no part of Carton, does what the rules say,
-- read by an evaluator that is none either; and of OCI profiles what libseccomp's program does. STRESS_FILTERS says how
-- many of each kind, STRESS_SEED which; a profile that fails is printed as small as it still fails.
local helper = require("spec.helper")
local core = require("carton.core")
local json = require("carton.json")
local seccomp = require("carton.seccomp")
local syscalls = require("carton.seccomp.syscalls")
local cjson = require("cjson")

local COUNT <const> = math.tointeger(os.getenv("STRESS_FILTERS") or 4000)
local SEED <const> = math.tointeger(os.getenv("STRESS_SEED") or os.time())
local HELPER <const> = (os.getenv("BUILD") or "build") .. "/stress/libseccomp"
local LOADS_NUMBER <const> = "2000000000000000"
local LAST <const>, CALLS <const> = 0xffffffff, 40 -- calls that are tried of each profile
local ARCHES <const> = { { "x86_64", 0xC000003E }, { "i386", 0x40000003 } }
local ACTIONS <const> = { allow = { "SCMP_ACT_ALLOW", 0x7fff0000, 8 }, log = { "SCMP_ACT_LOG", 0x7ffc0000, 7 },
  trace = { "SCMP_ACT_TRACE", 0x7ff00000, 6 }, errno = { "SCMP_ACT_ERRNO", 0x00050000, 4 },
  trap = { "SCMP_ACT_TRAP", 0x00030000, 3 }, kill_thread = { "SCMP_ACT_KILL", 0x00000000, 2 },
  kill = { "SCMP_ACT_KILL_PROCESS", 0x80000000, 1 } }
local OPERATORS <const> = { ["=="] = "EQ", ["!="] = "NE", ["<"] = "LT", ["<="] = "LE", [">"] = "GT", [">="] = "GE",
  ["&"] = "MASKED_EQ" }
local VALUES <const> = { 0, 1, 2, 3, 5, 8, 0x5412, 0x7fffffff, 0x80000000, LAST, 1 << 32, (1 << 32) + 1, 1 << 33 | 5,
  math.maxinteger, math.mininteger, -1, -2, -8, -100, ~7, 0x7e020000, 0xff00, 0xffff, 0xffffffff00000000 }
-- Old ones that both know, those that i386 knows two ways to, and one that i386 has by socketcall(2) alone.
local NAMES <const> = { "read", "write", "open", "close", "ioctl", "mmap", "clone", "unshare", "personality", "socket",
  "connect", "accept", "semop", "shmat", "msgget", "socketcall", "ipc", "mount", "openat", "clone3", "close_range",
  "renameat2", "keyctl", "ptrace", "bpf" }
local MUXED <const> = { socketcall = { "socket", "bind", "connect", "listen", "accept" },
  ipc = { "semop", [13] = "msgget", [21] = "shmat" } }

local function any(list)
  return list[math.random(#list)]
end

-- The digits of an unsigned number.
local function unsigned(n)
  local tens = (n >> 1) // 5
  return n >= 0 and tostring(n) or ("%d%d"):format(tens, n - tens * 10)
end

local function action_value(action)
  return ACTIONS[action.name][2] | (action.data or 0)
end

local function random_action()
  local name = any { "allow", "allow", "allow", "errno", "errno", "errno", "log", "trace", "trap", "kill_thread",
    "kill" }
  return { name = name, data = (name == "errno" or name == "trace") and any { 1, 2, 38, 97 } or nil }
end

local function random_value()
  return any(VALUES) + (math.random(5) == 1 and math.random(-1, 1) or 0)
end

-- A profile as neither face writes it: `{ default =, i386 =, rules = { { names =, action =, args = { { index =, op =,
-- value =, mask = } } } } }`; `&` compares what the mask leaves.
local function random_profile(is_own)
  local profile = { default = random_action(), newer = is_own and math.random(2) == 1 and random_action() or nil,
    i386 = math.random(2) == 1, rules = {} }
  local pool = {}
  for i = 1, math.random(6) do
    pool[i] = any(NAMES)
  end
  local is_large = math.random(6) == 1 -- libseccomp's time and space grow by powers with the tests of one call
  for i = 1, is_large and 60 or math.random(0, 8) do
    local rule = { names = {}, action = random_action(), args = {} }
    for n = 1, is_large and 1 or math.random(3) do
      rule.names[n] = any(is_large and NAMES or pool)
    end
    for n = 1, math.random(2) == 1 and math.random(is_large and 1 or 3) or 0 do
      local op = any { "==", "!=", "<", "<=", ">", ">=", "&", "==", "&" }
      local arg = { index = math.random(0, math.random(3) == 1 and 5 or 1), op = op, value = random_value() }
      if op == "&" then
        arg.mask = random_value()
        arg.value = (is_own or math.random(4) > 1) and arg.value & arg.mask or arg.value
      end
      rule.args[n] = arg
    end
    rule.list = is_own and math.random(3) == 1 and { random_value(), random_value() } or nil
    profile.rules[i] = rule
  end
  return profile
end

-- The two faces.
local function as_own(profile)
  local made = { default = { profile.default.name, profile.default.data }, rules = {},
    newer = profile.newer and { profile.newer.name, profile.newer.data },
    architectures = profile.i386 and { "x86_64", "i386" } or { "x86_64" } }
  for i, rule in ipairs(profile.rules) do
    local args = {}
    for n, arg in ipairs(rule.args) do
      args[n] = { index = arg.index, op = arg.op ~= "&" and arg.op or nil, value = arg.value, mask = arg.mask }
    end
    if rule.list then
      args[#args + 1] = { index = 2, value = rule.list }
    end
    made.rules[i] = { names = rule.names, action = { rule.action.name, rule.action.data }, args = args }
  end
  return made
end

local function as_oci(profile)
  local function action(made, word, errno)
    return ('"%s": "%s"%s'):format(word, ACTIONS[made.name][1],
      made.data and (', "%s": %d'):format(errno, made.data) or "")
  end
  local rules = {}
  for i, rule in ipairs(profile.rules) do
    local args = {}
    for n, arg in ipairs(rule.args) do
      args[n] = ('{"index": %d, "op": "SCMP_CMP_%s", "value": %s, "valueTwo": %s}'):format(arg.index,
        OPERATORS[arg.op], unsigned(arg.mask or arg.value), unsigned(arg.mask and arg.value or 0))
    end
    rules[i] = ('{"names": ["%s"], %s, "args": [%s]}'):format(table.concat(rule.names, '", "'),
      action(rule.action, "action", "errnoRet"), table.concat(args, ", "))
  end
  return ('{%s, "architectures": ["SCMP_ARCH_X86_64"%s], "syscalls": [\n  %s]}'):format(
    action(profile.default, "defaultAction", "defaultErrnoRet"), profile.i386 and ', "SCMP_ARCH_X86"' or "",
    table.concat(rules, ",\n  "))
end

-- What runc tells libseccomp.
local function as_library(profile, arch)
  local lines = { ("p %#x %s"):format(action_value(profile.default), arch) }
  local function add(name, rule, from, to)
    local words = { "r", name, ("%#x"):format(action_value(rule.action)) }
    for n = from, to do
      local arg = rule.args[n]
      words[#words + 1] = ("%d %s %#x %#x"):format(arg.index, arg.op, arg.mask or arg.value,
        arg.mask and arg.value or 0)
    end
    lines[#lines + 1] = table.concat(words, " ")
  end
  for _, rule in ipairs(profile.rules) do
    local seen, is_twice = {}, false
    for _, arg in ipairs(rule.args) do
      is_twice = is_twice or seen[arg.index] or false
      seen[arg.index] = true
    end
    for _, name in ipairs(action_value(rule.action) ~= action_value(profile.default) and rule.names or {}) do
      for n = 1, is_twice and #rule.args or 1 do
        add(name, rule, is_twice and n or 1, is_twice and n or #rule.args)
      end
    end
  end
  return table.concat(lines, "\n") .. "\n\n"
end

-- The independent evaluator: one test, and what the rules of one call say.
local function holds(arg, args, is_wide)
  local a, b, mask = args[arg.index + 1], arg.value, arg.mask or -1
  if not is_wide then
    a, b, mask = a & LAST, b & LAST, mask & LAST
  end
  if arg.op == "&" or arg.op == "==" or arg.op == "!=" then
    return (a & mask == b & mask) == (arg.op ~= "!=")
  elseif a == b then
    return arg.op == "<=" or arg.op == ">="
  end
  return math.ult(a, b) == (arg.op:sub(1, 1) == "<")
end

local function all_hold(rule, args, is_wide)
  for _, arg in ipairs(rule.args) do
    if not holds(arg, args, is_wide) then
      return false
    end
  end
  local list = rule.list
  local function equal(value)
    return holds({ index = 2, op = "==", value = value }, args, is_wide)
  end
  return not list or equal(list[1]) or equal(list[2])
end

local function names_it(rule, name)
  for _, other in ipairs(rule.names) do
    if other == name then
      return true
    end
  end
  return false
end

-- The last number that a rule is for; `joint`: also as a part of socketcall(2) or ipc(2).
local function last_number(profile, arch, joint)
  local last = -1
  for _, rule in ipairs(profile.rules) do
    for _, name in ipairs(rule.names) do
      last = math.max(last, syscalls.numbers(arch)[name] or -1)
      for other, members in pairs(joint and MUXED or {}) do
        for _, member in pairs(members) do
          last = member == name and math.max(last, syscalls.numbers(arch)[other] or -1) or last
        end
      end
    end
  end
  return last
end

-- What a profile of Carton's own says: the first rule that applies.
local function say_own(profile, arch, number, args)
  local name = syscalls.names(arch)[number]
  for _, rule in ipairs(profile.rules) do
    if names_it(rule, name) and all_hold(rule, args, arch == "x86_64") then
      return { action_value(rule.action) }
    end
  end
  return { action_value(number > last_number(profile, arch) and profile.newer or profile.default) }
end

-- What an OCI profile says: the values that are right; of several, the first is the strictest. nil: Carton is stricter
-- than libseccomp on purpose.
local function say_oci(profile, arch, number, args)
  local name, default = syscalls.names(arch)[number], action_value(profile.default)
  local found, seen = {}, {}
  local function add(rule)
    local value = action_value(rule.action)
    if not seen[value] then
      seen[value], found[#found + 1] = true, { value, ACTIONS[rule.action.name][3], #found }
    end
  end
  local member = arch == "i386" and MUXED[name] and MUXED[name][args[1] & (name == "ipc" and 0xffff or LAST)]
  for _, rule in ipairs(profile.rules) do
    if action_value(rule.action) ~= default then
      local seen_index, is_twice, any_holds = {}, false, false
      for _, arg in ipairs(rule.args) do
        is_twice = is_twice or seen_index[arg.index] or false
        seen_index[arg.index] = true
        any_holds = any_holds or holds(arg, args, arch == "x86_64")
      end
      local is_open, masks = #rule.args == 0, 0 -- libseccomp leaves a test out that looks at no bit
      for _, arg in ipairs(rule.args) do
        masks = masks | (arg.mask or -1)
        is_open = is_open or is_twice and arg.mask == 0
      end
      is_open = is_open or masks == 0
      if names_it(rule, name) and is_open then
        return { action_value(rule.action) }
      elseif names_it(rule, name) and (is_twice and any_holds
        or not is_twice and all_hold(rule, args, arch == "x86_64")) then
        add(rule)
      end
      if member and names_it(rule, member) and (is_open
        or ACTIONS[rule.action.name][3] < ACTIONS[profile.default.name][3]) then
        add(rule)
      end
    end
  end
  table.sort(found, function(a, b)
    return a[2] < b[2] or a[2] == b[2] and a[3] < b[3]
  end)
  local values = {}
  for i, entry in ipairs(found) do
    values[i] = entry[1]
  end
  if #values == 0 then
    values[1] = default
    if default & 0xffff0000 == 0x50000 and profile.rules[1] and number > last_number(profile, arch) then
      -- what is refused either way may count as known
      values = { 0x50000 | core.errno.ENOSYS, any = true,
        number <= last_number(profile, arch, true) and default or nil }
    end
  end
  return values
end

-- An interpreter of what both compilers write: loads, jumps, masks and returns.
local function interpret(program, arch, number, args)
  local data = string.pack("=I4I4I8i8i8i8i8i8i8", number, arch, 0, table.unpack(args))
  local a, at = 0, 1
  while true do
    local code, jt, jf, k = string.unpack("=I2BBI4", program, at)
    at = at + 8
    if code == 0x20 then
      a = string.unpack("=I4", data, k + 1)
    elseif code == 0x54 then
      a = a & k
    elseif code == 0x05 then
      at = at + 8 * k
    elseif code == 0x15 then
      at = at + 8 * (a == k and jt or jf)
    elseif code == 0x25 then
      at = at + 8 * (a > k and jt or jf)
    elseif code == 0x35 then
      at = at + 8 * (a >= k and jt or jf)
    elseif code == 0x06 then
      return k
    else
      error(("instruction %#x"):format(code), 0)
    end
  end
end

-- Calls that have a chance to tell rules apart: near the numbers of one.
local function random_call(profile, arch)
  local rule = profile.rules[1] and any(profile.rules)
  local number = syscalls.numbers(arch)[any(rule and rule.names or NAMES)]
  if not number or math.random(6) == 1 then
    number = math.random(0, 470)
  end
  local args = {}
  for i = 1, 6 do
    args[i] = random_value()
  end
  for _, arg in ipairs(rule and math.random(4) > 1 and rule.args or {}) do
    args[arg.index + 1] = arg.value + (math.random(4) == 1 and math.random(-1, 1) or 0)
      | (arg.mask and math.random(2) == 1 and ~arg.mask & random_value() or 0)
  end
  if rule and rule.list and math.random(2) == 1 then
    args[3] = any(rule.list)
  end
  if arch == "i386" and MUXED[syscalls.names(arch)[number]] and math.random(4) > 1 then
    args[1] = math.random(24)
  end
  return number, args
end

local function describe_call(arch, number, args)
  local digits = {}
  for i, value in ipairs(args) do
    digits[i] = ("%#x"):format(value)
  end
  return ("%s %s(%s)"):format(arch, syscalls.names(arch)[number] or number, table.concat(digits, ", "))
end

local function library(profiles)
  local path = helper.tmpdir() .. "/profiles"
  local parts, programs, count = {}, {}, 0
  for i, profile in ipairs(profiles) do
    parts[i] = as_library(profile, "x86_64") .. as_library(profile, "x86")
  end
  helper.write(path, table.concat(parts))
  local pipe <close> = assert(io.popen(("'%s' < '%s'"):format(HELPER, path)))
  for line in pipe:lines() do
    local i, arch = count // 2 + 1, ARCHES[count % 2 + 1][1]
    count = count + 1
    programs[i] = programs[i] or {}
    -- where it shares code, libseccomp 2.5.4 at times does not load the number of the call after the architecture
    programs[i][arch] = line:find("^" .. ("%x"):rep(32) .. LOADS_NUMBER) and line:gsub("%x%x", function(digits)
      return string.char(tonumber(digits, 16))
    end) or nil
  end
  assert.equal(2 * #profiles, count)
  return programs
end

local function has(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end

-- Whether libseccomp's answer for a call can be trusted. Not where it compares the pointers of a call of i386 with what
-- is meant for the call that goes through it; where, on i386, it takes a test of upper halves for none; and where
-- several tests of one call are about more than equal values: libseccomp 2.5.4 joins tests of one argument wrongly.
local function has_opinion(profile, arch, number)
  local name, tests, is_plain = syscalls.names(arch)[number], 0, true
  for _, rule in ipairs(profile.rules) do
    for _, arg in ipairs(names_it(rule, name) and rule.args or {}) do
      tests, is_plain = tests + 1, is_plain and (arg.op == "==" or arg.op == "&")
      if arch == "i386" and arg.mask and arg.mask & LAST == 0 and arg.mask ~= 0 then
        return false
      end
    end
  end
  return (tests <= 1 or is_plain) and not (arch == "i386" and MUXED[name])
    and number <= last_number(profile, arch)
end

-- What is wrong with what is made of a profile, on one call; nil: nothing. `made` has the program, libseccomp's
-- `other`, and how often that was asked.
local function compare(profile, say, made, call)
  local arch, number, args = call.arch, call.number, call.args
  local right = say(profile, arch[1], number, args)
  local got = interpret(made.program, arch[2], number, args)
  if got ~= right[1] and not (right.any and has(right, got)) then
    return ("%s: %#x, the rules say %#x"):format(describe_call(arch[1], number, args), got, right[1])
  elseif made.other and made.other[arch[1]] and has_opinion(profile, arch[1], number) then
    local theirs = interpret(made.other[arch[1]], arch[2], number, args)
    made.asked = (made.asked or 0) + 1
    if not has(right, theirs) then
      return ("%s: %#x, libseccomp says %#x"):format(describe_call(arch[1], number, args), got, theirs)
    end
  end
end

local function random_calls(profile)
  local calls = {}
  for n = 1, CALLS do
    local arch = ARCHES[profile.i386 and n % 2 + 1 or 1]
    local number, args = random_call(profile, arch[1])
    calls[n] = { arch = arch, number = number, args = args }
  end
  return calls
end

-- Take rules, names and tests away as long as it still fails.
local function shrink(profile, fails)
  local function without(list, i)
    local copy = table.move(list, 1, #list, 1, {})
    table.remove(copy, i)
    return copy
  end
  local function with(source, key, value)
    local copy = {}
    for k, v in pairs(source) do
      copy[k] = v
    end
    copy[key] = value
    return copy
  end
  local function try(smaller)
    profile = fails(smaller) and smaller or profile
  end
  for i = #profile.rules, 1, -1 do
    try(with(profile, "rules", without(profile.rules, i)))
  end
  for i = 1, #profile.rules do
    for _, key in ipairs { "names", "args" } do
      for n = #profile.rules[i][key], key == "names" and 2 or 1, -1 do
        local rules = table.move(profile.rules, 1, #profile.rules, 1, {})
        rules[i] = with(rules[i], key, without(rules[i][key], n))
        try(with(profile, "rules", rules))
      end
    end
  end
  return profile
end

-- The first profile that is not what it says fails, as small as it still does.
local function check(is_own)
  local say, path = is_own and say_own or say_oci, helper.tmpdir() .. "/profile.json"
  local function compile(profile)
    return seccomp.compile(is_own and as_own(profile) or helper.write(path, as_oci(profile)), {}, "x86_64")
  end
  local profiles, took, asked = {}, 0, 0
  for i = 1, COUNT do
    profiles[i] = random_profile(is_own)
  end
  local programs = is_own and {} or library(profiles)
  for i, profile in ipairs(profiles) do
    local made = { program = compile(profile), other = programs[i] }
    for _, call in ipairs(random_calls(profile)) do
      local wrong = compare(profile, say, made, call)
      if wrong then
        local small = shrink(profile, function(smaller)
          return compare(smaller, say, { program = compile(smaller),
            other = not is_own and library({ smaller })[1] or nil }, call)
        end)
        error(("profile %d of seed %d: %s\n%s"):format(i, SEED, wrong, is_own and json.encode(as_own(small))
          or as_oci(small)), 0)
      end
    end
    took, asked = took + (made.other and made.other.x86_64 and 1 or 0), asked + (made.asked or 0)
  end
  return took, asked
end

describe("random profiles #stress", function()
  if core.architecture ~= "x86_64" then
    it("are compared on x86_64", function() pending("libseccomp is asked for its own architecture") end)
    return
  end
  setup(function() print(("STRESS_SEED=%d STRESS_FILTERS=%d"):format(SEED, COUNT)) end)
  before_each(function() math.randomseed(SEED) end)
  teardown(helper.cleanup)

  it("of Carton's own kind are compiled to what their rules say", function()
    check(true)
  end)
  it("of OCI are compiled to what their rules say, and libseccomp", function()
    local took, asked = check(false)
    print(("libseccomp took %d of %d profiles, and was asked about %d calls"):format(took, COUNT, asked))
    assert.is_true(took > COUNT // 2 and asked > COUNT * CALLS // 8)
  end)
  it("are the same values to another reader of JSON", function()
    for _ = 1, 200 do
      local text = as_oci(random_profile(false)):gsub("(%d%d%d%d%d%d%d%d%d%d%d%d%d%d)%d+", "%1")
      assert.same(cjson.decode(text), json.decode(text))
    end
  end)
end)
