-- SPDX-License-Identifier: MIT

--- Which devices a container may open and make nodes of: rules in the runtime spec's words, in their order, the last
-- that speaks of a kind of access has its way. With cgroup v2 they become a program, with v1 exceptions.
-- @module carton.devices
local core = require("carton.core")
local host = core.host
local devices = {}

local MOST <const> = 256 -- rules
local BITS <const> = { m = 1, r = 2, w = 4 } -- linux/bpf.h: BPF_DEVCG_ACC_*
local HIGHEST <const> = { major = (1 << 12) - 1, minor = (1 << 20) - 1 } -- of the kernel's dev_t
local known = { allow = true, type = true, major = true, minor = true, access = true }

--- What is allowed where it is not said otherwise: nodes may be made of all, and these may be opened. The console is
-- not among them: it is the host's, and a container's /dev/console is a terminal of its own.
devices.default = {
  "c *:* m", "b *:* m",
  "c 1:3 rwm", -- null
  "c 1:5 rwm", -- zero
  "c 1:7 rwm", -- full
  "c 1:8 rwm", -- random
  "c 1:9 rwm", -- urandom
  "c 5:0 rwm", -- tty
  "c 5:2 rwm", -- ptmx
  "c 136:* rwm", -- pts
}

local function fail(format, ...)
  core.misuse("limits: field 'devices': " .. format:format(...))
end

local function number(value, name, i)
  if value == nil or value == -1 then
    return nil
  end
  local whole = type(value) == "number" and math.tointeger(value)
  if not whole or whole < 0 or whole > HIGHEST[name] then
    fail("rule %d: %s: a whole number from 0 to %d expected, or nothing for each", i, name, HIGHEST[name])
  end
  return whole
end

local function access(value, i)
  if type(value) ~= "string" or #value > 3 or not value:find("^[rwm]+$") then
    fail("rule %d: access: some of \"rwm\" expected", i)
  end
  local bits = 0
  for letter in value:gmatch(".") do
    bits = bits | BITS[letter]
  end
  return bits
end

-- In the words of cgroup v1: c 1:3 rwm
local function from_text(text, i)
  local kind, major, minor, letters = text:match("^([abc]) (%*?%d*):(%*?%d*) ([rwm]+)$")
  local numbers = {}
  for name, part in pairs { major = major, minor = minor } do
    numbers[name] = part ~= "*" and (math.tointeger(tonumber(part))
      or fail("rule %d: %s: a number or * expected", i, name)) or nil
  end
  if not kind then
    fail("rule %d: a text such as \"c 1:3 rwm\" expected, got '%s'", i, text)
  end
  return { allow = true, type = kind, major = numbers.major, minor = numbers.minor, access = letters }
end

local function rule_of(given, i)
  local wish = type(given) == "string" and from_text(given, i) or given
  if type(wish) ~= "table" then
    fail("rule %d: a table or a text such as \"c 1:3 rwm\" expected, got %s", i, type(wish))
  end
  for key in pairs(wish) do
    if not known[key] then
      fail("rule %d: unknown field '%s'%s", i, tostring(key), require("carton.hint").meant(key, known))
    end
  end
  if type(wish.allow) ~= "boolean" then
    fail("rule %d: allow: true or false expected", i)
  end
  local kind = wish.type == nil and "a" or wish.type
  if kind ~= "a" and kind ~= "b" and kind ~= "c" then
    fail("rule %d: type: \"a\", \"b\" or \"c\" expected", i)
  end
  local rule = { allow = wish.allow, type = kind, major = number(wish.major, "major", i),
    minor = number(wish.minor, "minor", i), bits = access(wish.access == nil and "rwm" or wish.access, i) }
  if kind == "a" and (rule.major or rule.minor) then
    fail("rule %d: type \"a\" has no numbers: say \"b\" or \"c\"", i)
  end
  return rule
end

-- "c 1:3", and with what it may be done: "rwm"
local function place(rule)
  return ("%s %s:%s"):format(rule.type, rule.major or "*", rule.minor or "*")
end

local function letters_of(bits)
  local text = ""
  for letter in ("rwm"):gmatch(".") do
    text = text .. (bits & BITS[letter] ~= 0 and letter or "")
  end
  return text
end

--- Write rules down, a line each, with which a group is told of them.
-- @tparam string|{table,...} wish `"default"`, or rules that are added to the default ones: the runtime spec's
--   `{ allow = true | false, type = "a" | "b" | "c", major =, minor =, access = "rwm" }`, or `"c 1:3 rwm"` for one that
--   allows; `{ allow = false }` first leaves nothing of the default ones
-- @tparam[opt] {string,...} nodes as of `nodes`, allowed besides
-- @treturn string `"deny a *:* rwm\nallow c 1:3 rwm\n..."`
-- @raise a string that names what is wrong with which rule
-- @see cgroups(7)
-- @usage devices.text({ { allow = true, type = "b", major = 7, access = "rw" } })
function devices.text(wish, nodes)
  if wish ~= "default" and type(wish) ~= "table" then
    fail("\"default\", false or a list of rules expected")
  end
  local lines = { "deny a *:* rwm" }
  local function add(list)
    for i, given in ipairs(list) do
      local rule = rule_of(given, i)
      lines[#lines + 1] = ("%s %s %s"):format(rule.allow and "allow" or "deny", place(rule), letters_of(rule.bits))
    end
  end
  add(devices.default)
  add(nodes or {})
  if wish ~= "default" then
    for key in pairs(wish) do
      if math.type(key) ~= "integer" or key < 1 or key > #wish then
        fail("a list of rules expected, got the key '%s'", tostring(key))
      end
    end
    if #wish > MOST then
      fail("more than %d rules", MOST)
    end
    add(wish)
  end
  return table.concat(lines, "\n")
end

--- What stands for no control at all.
devices.all = "allow a *:* rwm"

--- Read rules that are written down.
-- @tparam string text as of `text`
-- @treturn {table,...} `{ allow =, type =, major = ?int, minor = ?int, bits = int }`: 1 to make nodes, 2 to read, 4
--   to write
-- @raise a string that says which line is none
function devices.parse(text)
  local rules = {}
  for line in text:gmatch("[^\n]*") do
    local verb, rest = line:match("^(%l+) (.*)$")
    if verb ~= "allow" and verb ~= "deny" then
      fail("line %d: allow or deny expected", #rules + 1)
    end
    rules[#rules + 1] = rule_of(rest, #rules + 1)
    rules[#rules].allow = verb == "allow"
  end
  return rules
end

-- Steps that give a container a node, wherever they stand.
local function node_steps(fields)
  local steps = {}
  for _, list in ipairs { type(fields.rootfs) == "table" and fields.rootfs or {}, fields.mounts or {} } do
    for _, step in ipairs(list) do
      if type(step) == "table" and step[1] == "mount.device" then
        steps[#steps + 1] = step
      end
    end
  end
  for _, device in ipairs(fields.devices or {}) do
    steps[#steps + 1] = type(device) == "table" and device or { path = device }
  end
  return steps
end

--- Tell of the nodes that a container is given beyond the default ones; what is no device here is left to the step
-- that wants it.
-- @tparam table fields as of `carton.container`
-- @treturn {string,...} `"c 10:229 rw"`, each once
function devices.nodes(fields)
  local list, seen = {}, {}
  for _, text in ipairs(devices.default) do
    seen[text:match("^%l %d+:%d+") or text] = true
  end
  for _, step in ipairs(node_steps(fields)) do
    local source = step.source or step.path
    local found = type(source) == "string" and not (step.type and step.major and step.minor) and host.stat(source) or {}
    local kind = step.type or found.type
    local major, minor = step.major or found.major, step.minor or found.minor
    if (kind == "char" or kind == "block") and math.type(major) == "integer" and math.type(minor) == "integer" then
      local text = ("%s %d:%d"):format(kind:sub(1, 1), major, minor)
      if not seen[text] then
        seen[text], list[#list + 1] = true, text .. " rw"
      end
    end
  end
  return list
end

--- Tell whether the caller is of the first user namespace, in which making a node of any device is making it reachable.
-- @function is_first_userns
-- @treturn boolean
-- @see user_namespaces(7)
devices.is_first_userns = require("carton.userns").is_first

-- Load rules as a program, and put it in the place of the one that a group of cgroup v2 has.
local function attach(group, rules)
  local loaded, program = pcall(core.cgroup.load_devices, require("carton.ebpf").devices(rules))
  local ok, err = loaded, program
  if loaded then
    ok, err = pcall(core.cgroup.attach_devices, group.unified, program, group.program)
  end
  if not ok then
    if loaded then
      program:close()
    end
    if type(err) == "table" and err.code == "EPERM" then
      err.hint = "it takes root outside of user namespaces; limits = { devices = false } does without"
    end
    error(err, 0)
  end
  if group.program then
    group.program:close()
  end
  group.program = program
end

local function overlaps(a, b)
  return a.type == b.type and (not a.major or not b.major or a.major == b.major)
    and (not a.minor or not b.minor or a.minor == b.minor)
end

local function covers(a, b)
  return a.type == b.type and (not a.major or a.major == b.major) and (not a.minor or a.minor == b.minor)
end

local function add_exception(map, rule, bits)
  local key = place(rule)
  local entry = map[key] or { type = rule.type, major = rule.major, minor = rule.minor, bits = 0 }
  map[key] = entry
  local changed = entry.bits | bits ~= entry.bits
  entry.bits = entry.bits | bits
  return changed
end

local function take_exceptions(map, rule)
  for key, entry in pairs(map) do
    if overlaps(rule, entry) and entry.bits & rule.bits ~= 0 then
      if not covers(rule, entry) then
        core.error { op = "write", path = "devices", code = "EOPNOTSUPP",
          message = ("cgroup v1 can't say %s %s without %s"):format(key, letters_of(entry.bits), place(rule)),
          hint = 'a host with cgroup v2 can; access = "rw" leaves the making of nodes out of it' }
      end
      entry.bits = entry.bits & ~rule.bits
      map[key] = entry.bits ~= 0 and entry or nil
    end
  end
end

-- v1 wants one exception that covers reading and writing, where two may do so together.
local function join_exceptions(map)
  local list = {}
  for _, entry in pairs(map) do
    list[#list + 1] = entry
  end
  for i = 1, #list do
    for j = i + 1, #list do
      local a, b = list[i], list[j]
      local both = (a.bits | b.bits) & 6
      if both == 6 and a.bits & 6 ~= 6 and b.bits & 6 ~= 6 and overlaps(a, b) and add_exception(map,
        { type = a.type, major = a.major or b.major, minor = a.minor or b.minor }, both) then
        return join_exceptions(map)
      end
    end
  end
end

--- Tell what rules are with cgroup v1: all or nothing, but for exceptions.
-- @tparam {table,...} rules as of `parse`
-- @treturn boolean whether all is allowed
-- @treturn table exceptions: `{ ["c 1:3"] = "rwm" }`
-- @raise `carton.error`: `EOPNOTSUPP` an exception from an exception
function devices.exceptions(rules)
  local allow, map = false, {}
  for _, rule in ipairs(rules) do
    if rule.type == "a" and rule.bits == 7 then
      allow, map = rule.allow, {}
    end
    for kind in (rule.type == "a" and rule.bits ~= 7 and "bc" or rule.type ~= "a" and rule.type or ""):gmatch(".") do
      local one = { type = kind, major = rule.major, minor = rule.minor, bits = rule.bits }
      if rule.allow ~= allow then
        add_exception(map, one, one.bits)
      else
        take_exceptions(map, one)
      end
    end
  end
  if not allow then
    join_exceptions(map)
  end
  for key, entry in pairs(map) do
    map[key] = letters_of(entry.bits)
  end
  return allow, map
end

--- Set which devices a group may use.
-- @tparam group group of `carton.cgroup`
-- @tparam string text as of `text`
-- @raise `carton.error`: `EPERM` not root, or a group above is against it; `EOPNOTSUPP` cgroup v1 can't say it;
--   `EINVAL` with what the kernel's verifier says
function devices.set(group, text)
  local rules = devices.parse(text)
  if group.version == 2 then
    attach(group, rules)
  else
    require("carton.cgroup1").set_devices(group, devices.exceptions(rules))
  end
  group.devices = text
end

return devices
