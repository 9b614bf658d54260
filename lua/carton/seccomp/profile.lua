-- SPDX-License-Identifier: MIT

--- Profiles as data, and their compiler: rules become a tree over ranges of system call numbers.
-- The kernel tries a new filter on every number at once; a list of comparisons costs it far more than a tree.
-- @module carton.seccomp.profile
local bpf = require("carton.seccomp.bpf")
local syscalls = require("carton.seccomp.syscalls")
local profile = {}

local X32 <const> = 0x40000000 -- numbers from here on enter x86_64 by its x32 convention
local LAST <const> = 0xffffffff
local MOST <const> = 4096 -- instructions
local FAR <const> = 255 -- a jump's reach
local CHAIN <const> = 2 -- single numbers that are tried one after the other before the tree divides again

local OPERATORS <const> = { ["=="] = true, ["!="] = true, ["<"] = true, ["<="] = true, [">"] = true, [">="] = true }
local FIELDS <const> = { default = true, newer = true, architectures = true, rules = true, flags = true, name = true }
local RULE <const> = { names = true, action = true, args = true, caps = true, without = true, min_kernel = true,
  before_kernel = true, why = true }
local ARG <const> = { index = true, op = true, value = true, mask = true }

local function fail(format, ...)
  require("carton.core").misuse("seccomp: " .. format:format(...))
end

local function refuse_unknown(value, known, what)
  if type(value) ~= "table" then
    fail("%s: a table expected, got %s", what, type(value))
  end
  for key in pairs(value) do
    if not known[key] then
      fail("%s: unknown field '%s'", what, tostring(key))
    end
  end
end

local function errno_of(name, given, what)
  local number = math.type(name) == "integer" and name
    or (given or require("carton.core").errno)[name]
  if math.type(number) ~= "integer" or number < 0 or number > 4095 then
    fail("%s: unknown errno '%s'", what, tostring(name))
  end
  return number
end

-- What a filter returns for an action as a profile writes it: `"allow"` or `{ "errno", "ENOSYS" }`.
local function action_of(action, options, what)
  local name, data = action, nil
  if type(action) == "table" then
    name, data = action[1], action[2]
  end
  if name == "notify" and not options.notify then
    fail("%s: notify: somebody has to answer; the container has no on_syscall", what)
  elseif type(name) ~= "string" or not bpf.encode(name) then
    fail("%s: unknown action '%s' (allow, errno, kill, kill_thread, trap, trace, log, notify)", what, tostring(name))
  end
  if name == "errno" then
    data = errno_of(data or "EPERM", options.errno, what)
  elseif data ~= nil and (math.type(data) ~= "integer" or data < 0 or data > 0xffff) then
    fail("%s: a number from 0 to 65535 expected", what)
  end
  return bpf.encode(name, data)
end

local function version(text)
  local major, minor = tostring(text):match("^(%d+)%.(%d+)")
  if not major then
    fail("'%s' is not a kernel's version", tostring(text))
  end
  return tonumber(major) * 1000 + tonumber(minor)
end

local function check_arg(arg, what)
  refuse_unknown(arg, ARG, what)
  if math.type(arg.index) ~= "integer" or arg.index < 0 or arg.index > 5 then
    fail("%s: index: a number from 0 to 5 expected", what)
  elseif not OPERATORS[arg.op or "=="] then
    fail("%s: unknown operator '%s' (== != < <= > >=)", what, tostring(arg.op))
  elseif arg.mask ~= nil and (math.type(arg.mask) ~= "integer" or not (arg.op or "=="):find("^[=!]=$")) then
    fail("%s: a mask is an integer and goes with == and !=", what)
  end
  for _, value in ipairs(type(arg.value) == "table" and arg.value or { arg.value or false }) do
    if math.type(value) ~= "integer" then
      fail("%s: value: an integer expected, got %s", what, type(value))
    elseif arg.mask and value & ~arg.mask ~= 0 then
      fail("%s: value %#x has bits outside of the mask %#x and would never match", what, value, arg.mask)
    end
  end
  if type(arg.value) == "table" and (#arg.value == 0 or (arg.op or "==") ~= "==") then
    fail("%s: a list of values goes with == and is not empty", what)
  end
end

-- What is no list would be one without items.
local function check_list(list, kind, what)
  if type(list) ~= "table" then
    fail("%s: a list expected, got %s", what, type(list))
  end
  for key, item in pairs(list) do
    if math.type(key) ~= "integer" or key < 1 or key > #list then
      fail("%s: a list expected, got the key '%s'", what, tostring(key))
    elseif type(item) ~= kind then
      fail("%s: a list of %ss expected, got %s", what, kind, type(item))
    end
  end
end

local function check_rule(rule, what)
  refuse_unknown(rule, RULE, what)
  if rule.why ~= nil and type(rule.why) ~= "string" then
    fail("%s: why: a string expected, got %s", what, type(rule.why))
  end
  check_list(rule.args or {}, "table", what .. ": args")
  check_list(rule.caps or {}, "string", what .. ": caps")
  check_list(rule.without or {}, "string", what .. ": without")
  if type(rule.names) ~= "table" or #rule.names == 0 then
    fail("%s: names: a list of at least one expected", what)
  end
  check_list(rule.names, "string", what .. ": names")
  for _, name in ipairs { "min_kernel", "before_kernel" } do
    if rule[name] ~= nil then
      version(rule[name])
    end
  end
  for i, arg in ipairs(rule.args or {}) do
    check_arg(arg, ("%s, argument test %d"):format(what, i))
  end
end

--- Look whether a profile is well-formed.
-- @tparam table data as of `carton.seccomp`
-- @raise a string that says what is wrong
function profile.check(data)
  refuse_unknown(data, FIELDS, "profile")
  if data.default == nil then
    fail("profile: default is missing")
  end
  check_list(data.rules or {}, "table", "profile: rules")
  check_list(data.architectures or {}, "string", "profile: architectures")
  check_list(data.flags or {}, "string", "profile: flags")
  for _, arch in ipairs(data.architectures or {}) do
    if not syscalls.architectures[arch] then
      fail("profile: unknown architecture '%s'", tostring(arch))
    end
  end
  for i, rule in ipairs(data.rules or {}) do
    check_rule(rule, ("rule %d"):format(i))
  end
end

local function count_of(list, set)
  local count = 0
  for _, name in ipairs(list or {}) do
    count = count + (set[name] and 1 or 0)
  end
  return count
end

--- Give the capabilities on which a profile depends.
-- @tparam table data
-- @treturn {string,...} sorted
function profile.capabilities(data)
  local set, names = {}, {}
  for _, rule in ipairs(data.rules or {}) do
    for _, list in ipairs { rule.caps or {}, rule.without or {} } do
      for _, name in ipairs(list) do
        if not set[name] then
          set[name], names[#names + 1] = true, name
        end
      end
    end
  end
  table.sort(names)
  return names
end

local function is_meant(rule, options)
  return count_of(rule.caps, options.capabilities) == #(rule.caps or {})
    and count_of(rule.without, options.capabilities) == 0
    and not (rule.min_kernel and version(options.kernel) < version(rule.min_kernel))
    and not (rule.before_kernel and version(options.kernel) >= version(rule.before_kernel))
end

-- A list of values stands for as many tests, one of which has to hold: one alternative for each.
local function alternatives(args, what)
  local list = { {} }
  for _, arg in ipairs(args) do
    local longer = {}
    for _, value in ipairs(type(arg.value) == "table" and arg.value or { arg.value }) do
      for _, tests in ipairs(list) do
        local copy = table.move(tests, 1, #tests, 1, {})
        copy[#copy + 1] = { index = arg.index, op = arg.op or "==", value = value, mask = arg.mask or -1 }
        longer[#longer + 1] = copy
        if #longer > MOST then
          fail("%s: its arguments' values are more than a program has instructions", what)
        end
      end
    end
    list = longer
  end
  return list
end

local function chain_key(chain)
  local parts = {}
  for i, link in ipairs(chain) do
    parts[i] = ("%x"):format(link.action)
    for _, test in ipairs(link.tests) do
      parts[i] = parts[i] .. (",%d%s%x&%x"):format(test.index, test.op, test.value, test.mask)
    end
  end
  return table.concat(parts, ";")
end

--- What is done with each number of an architecture: a chain of `{ tests, action, rule }`, of which the first whose
-- tests all hold decides; the last has none.
-- @tparam table data a checked profile
-- @tparam string arch
-- @tparam table options `capabilities` (a set by name), `kernel` (its version), `errno` (numbers by name)
-- @treturn table chain by number
-- @treturn table the chain of all other numbers up to the last
-- @treturn int the last number that the profile has a rule for
-- @treturn table the chain of all other numbers above that
function profile.chains(data, arch, options)
  local numbers = syscalls.numbers(arch)
  local chains, closed, last = {}, {}, -1
  local default = { { tests = {}, action = action_of(data.default, options, "default") } }
  for i, rule in ipairs(data.rules or {}) do
    local action = action_of(rule.action, options, ("rule %d"):format(i))
    local links = {}
    for n, tests in ipairs(is_meant(rule, options) and alternatives(rule.args or {}, ("rule %d"):format(i))
      or {}) do
      links[n] = { tests = tests, action = action, rule = i }
    end
    local closes = links[1] ~= nil and #links[1].tests == 0
    for _, name in ipairs(rule.names) do
      local number = numbers[name]
      if number and number < 0xf0000 and number > last then
        last = number
      end
      if number and links[1] and not closed[number] then
        closed[number] = closes
        if closes and not chains[number] then
          chains[number] = links -- the same for all of them
        else
          chains[number] = table.move(links, 1, #links, #(chains[number] or {}) + 1, chains[number] or {})
        end
      end
    end
  end
  for number, chain in pairs(chains) do
    if not closed[number] then
      chain[#chain + 1] = default[1]
    end
  end
  local newer = data.newer and { { tests = {}, action = action_of(data.newer, options, "newer") } } or default
  if options.notify then
    default, newer = require("carton.seccomp.notify").apply(chains, default, newer, last, arch, options.notify)
  end
  return chains, default, last, newer
end

-- The same as a list of ranges: `{ from =, chain =, key = }`, each up to the next.
local function ranges(data, arch, options)
  local chains, default, last, newer = profile.chains(data, arch, options)
  local x32 = { { tests = {}, action = action_of({ "errno", "ENOSYS" }, options, "x32") } }
  local order, list, keys = {}, {}, {}
  for number in pairs(chains) do
    order[#order + 1] = number
  end
  table.sort(order)
  local function add(from, chain)
    local key = keys[chain] or chain_key(chain)
    keys[chain] = key
    if list[#list] and list[#list].from == from then
      list[#list] = nil
    end
    if not (list[#list] and list[#list].key == key) then
      list[#list + 1] = { from = from, chain = chain, key = key }
    end
  end
  add(0, default)
  for _, number in ipairs(order) do
    if number > last then -- what belongs to the processor, far above all others
      add(last + 1, newer)
      last = LAST
    end
    add(number, chains[number])
    add(number + 1, number < last and last < LAST and default or newer)
  end
  if last < LAST then
    add(last + 1, newer)
  end
  if arch == "x86_64" then
    add(X32, x32)
  end
  return list
end

-- Ranges that a single number interrupts stay one: `{ from =, key =, chain =, except = {...} }`.
local function units(list)
  local joined, i = {}, 1
  while i <= #list do
    local unit = { from = list[i].from, key = list[i].key, chain = list[i].chain, except = {} }
    while #unit.except < CHAIN and list[i + 2] and list[i + 2].key == unit.key
      and list[i + 2].from == list[i + 1].from + 1 do
      table.insert(unit.except, { number = list[i + 1].from, chain = list[i + 1].chain, key = list[i + 1].key })
      i = i + 2
    end
    joined[#joined + 1] = unit
    -- a range that is interrupted more often goes on in a unit of its own, where the last exception ended
    local goes_on = #unit.except == CHAIN and list[i + 2] and list[i + 2].key == unit.key
      and list[i + 2].from == list[i + 1].from + 1
    i = goes_on and i or i + 1
  end
  return joined
end

-- Code is made from its end to its beginning, where all that is jumped to is known already. A place is counted
-- from the end: 1 is the last instruction.
local function emitter()
  local code, returns = {}, {}
  local self = { code = code }

  function self.put(op, jt, jf, k)
    code[#code + 1] = { op, jt, jf, k }
    return #code
  end

  -- How far it is to a place from the instruction that is put next.
  local function distance(place)
    return #code - place
  end

  -- The place of a target that can be reached even when `more` instructions come in between: one that was made,
  -- or another of its kind.
  local function reach(target, more)
    local place = target.value and returns[target.value] or target.place
    if place and distance(place) + more <= FAR then
      return place
    elseif target.value then
      returns[target.value] = self.put(bpf.RETURN, 0, 0, target.value)
      return returns[target.value]
    end
    return self.put(bpf.JUMP, 0, 0, distance(target.place))
  end

  --- Put a test that goes to one of two targets, `{ value = }` to return or `{ place = }`.
  function self.test(op, k, yes, no)
    local second = reach(no, 1) -- one more may come in between
    local first = reach(yes, 0)
    return { place = self.put(op, distance(first), distance(second), k) }
  end

  function self.load(offset)
    return { place = self.put(bpf.LOAD, 0, 0, offset) }
  end

  --- Have a target come next in the code.
  function self.follow(target)
    if target.value then
      if code[#code] and code[#code][1] == bpf.RETURN and code[#code][4] == target.value then
        return
      end
      returns[target.value] = self.put(bpf.RETURN, 0, 0, target.value)
    elseif target.place ~= #code then
      self.put(bpf.JUMP, 0, 0, distance(target.place))
    end
  end

  return self
end

-- Half of an argument that has to be equal, up to a mask.
local function emit_half(out, test, high, wide, yes, no)
  local shift = high and 32 or 0
  local mask, value = test.mask >> shift & LAST, test.value >> shift & LAST
  if high and not wide then
    return yes
  elseif mask == 0 then
    return value == 0 and yes or no
  elseif value & ~mask ~= 0 then
    return no
  end
  out.test(bpf.EQ, value, yes, no)
  if mask ~= LAST then
    out.put(bpf.AND, 0, 0, mask)
  end
  return out.load(bpf.argument(test.index, high))
end

-- One test of an argument; gives where it begins.
local function emit_test(out, test, wide, yes, no)
  local op = test.op
  if op == "!=" or op == "<" or op == "<=" then
    op, yes, no = op == "!=" and "==" or op == "<" and ">=" or ">", no, yes
  end
  if op == "==" then
    local low = emit_half(out, test, false, wide, yes, no)
    return emit_half(out, test, true, wide, low, no)
  end
  out.test(op == ">" and bpf.GT or bpf.GE, test.value & LAST, yes, no)
  local low = out.load(bpf.argument(test.index, false))
  if not wide then
    return low
  end
  local high = test.value >> 32 & LAST
  local equal = out.test(bpf.EQ, high, low, no)
  out.test(bpf.GT, high, yes, equal)
  return out.load(bpf.argument(test.index, true))
end

-- A chain of rules; gives where it begins.
local function emit_chain(out, chain, wide)
  local target = { value = chain[#chain].action }
  for i = #chain - 1, 1, -1 do
    local no, yes = target, { value = chain[i].action }
    for t = #chain[i].tests, 1, -1 do
      yes = emit_test(out, chain[i].tests[t], wide, yes, no)
    end
    target = yes
  end
  return target
end

local function emit_architecture(out, list, wide)
  local made = {}
  local function target_of(item)
    made[item.key] = made[item.key] or emit_chain(out, item.chain, wide)
    return made[item.key]
  end
  for _, item in ipairs(list) do -- what looks at arguments first, at the end
    if #item.chain > 1 then
      target_of(item)
    end
  end
  local function leaf(unit)
    local target = target_of(unit)
    for i = #unit.except, 1, -1 do
      target = out.test(bpf.EQ, unit.except[i].number, target_of(unit.except[i]), target)
    end
    return target
  end
  local all = units(list)
  local function tree(first, last)
    if first == last then
      return leaf(all[first])
    end
    local middle = (first + last + 1) // 2
    local upper = tree(middle, last)
    local lower = tree(first, middle - 1)
    return out.test(bpf.GE, all[middle].from, upper, lower)
  end
  out.follow(tree(1, #all))
  return out.load(bpf.NUMBER)
end

--- Give the architectures that a profile is about, the kernel's own first.
-- @tparam table data
-- @tparam string arch the kernel's own
-- @treturn {string,...}
function profile.architectures(data, arch)
  local known = syscalls.architectures[arch] or fail("unknown architecture '%s'", tostring(arch))
  local companion = known.companion
  for _, name in ipairs(data.architectures or { companion }) do
    if name == companion then
      return { arch, companion }
    end
  end
  return { arch }
end

--- Compile a profile.
-- @tparam table data a checked one
-- @tparam table options `arch`, `capabilities` (a set by name), `kernel` (its version), `errno` (numbers by name)
-- @treturn string program
function profile.compile(data, options)
  local out = emitter()
  local archs, begin = profile.architectures(data, options.arch), {}
  for i = #archs, 1, -1 do
    begin[i] = emit_architecture(out, ranges(data, archs[i], options),
      syscalls.architectures[archs[i]].bits == 64)
  end
  local target = { value = bpf.encode("kill") } -- an architecture that nobody thought of
  for i = #archs, 1, -1 do
    target = out.test(bpf.EQ, syscalls.architectures[archs[i]].audit, begin[i], target)
  end
  out.follow(target)
  out.load(bpf.ARCH)
  local forward = {}
  for i = #out.code, 1, -1 do
    forward[#forward + 1] = out.code[i]
  end
  if #forward > MOST then
    fail("the profile needs %d instructions; %d are possible", #forward, MOST)
  end
  return bpf.assemble(forward)
end

local function holds(test, args, wide)
  local a, value, mask = args[test.index + 1] or 0, test.value, test.mask
  if not wide then
    a, value, mask = a & LAST, value & LAST, mask & LAST
  end
  if test.op == "==" then
    return a & mask == value
  elseif test.op == "!=" then
    return a & mask ~= value
  elseif test.op == "<" then
    return math.ult(a, value)
  elseif test.op == "<=" then
    return not math.ult(value, a)
  elseif test.op == ">" then
    return math.ult(value, a)
  end
  return not math.ult(a, value)
end

--- Say what a profile does with one call, by its rules and without the compiler.
-- @tparam table data a checked profile
-- @tparam table call `{ number =, arch = (a name), args = {...} }`
-- @tparam table options as of `compile`
-- @treturn int what the filter has to return
-- @treturn ?int the rule that decides; nil: none, or no rule at all is for that number
-- @treturn {table,...} the chain of that number
function profile.decide(data, call, options)
  local known = false
  for _, name in ipairs(profile.architectures(data, options.arch)) do
    known = known or name == call.arch
  end
  if not known then
    return bpf.encode("kill"), nil, {}
  elseif call.arch == "x86_64" and call.number >= X32 then
    return action_of({ "errno", "ENOSYS" }, options, "x32"), nil, {}
  end
  local chains, default, last, newer = profile.chains(data, call.arch, options)
  local chain = chains[call.number] or (call.number > last and newer or default)
  for _, link in ipairs(chain) do
    local all = true
    for _, test in ipairs(link.tests) do
      all = all and holds(test, call.args or {}, syscalls.architectures[call.arch].bits == 64)
    end
    if all then
      return link.action, link.rule, chain
    end
  end
end

return profile
