-- SPDX-License-Identifier: MIT

--- From what was seen to the smallest profile that allows it: a filter, capabilities, rules of Landlock.
-- @module carton.learn.profile
local calls = require("carton.learn.calls")
local landlock_rules = require("carton.learn.rules")
local profile = {}

local PATH_MAX <const> = 8192 -- a path and what stands in it for others

--- A set's keys in order: see `carton.learn.rules`.
-- @function profile.sorted
profile.sorted = landlock_rules.sorted
local sorted = profile.sorted

-- The calls of an observation with those that start the program, by name: true, or a set of values.
local function all_calls(seen)
  local all = {}
  for name, values in pairs(seen.calls) do
    all[name] = values == true or {}
    for value in pairs(values == true and {} or values) do
      all[name][value] = true
    end
  end
  for start in pairs(seen.starts) do
    for name, values in pairs(calls.start[start]) do
      if values == true or not calls.pinned[name] then
        all[name] = true
      else
        all[name] = all[name] or {}
        for _, value in ipairs(values) do
          all[name][value] = true
        end
      end
    end
  end
  return all
end

--- Make the filter.
-- @tparam observation seen
-- @tparam string arch this machine's
-- @treturn table as of `carton.seccomp`
function profile.seccomp(seen, arch)
  local all, plain = all_calls(seen), {}
  local rules = {}
  for name, values in pairs(all) do
    if values == true then
      plain[#plain + 1] = name
    end
  end
  table.sort(plain)
  if #plain > 0 then
    rules[1] = { names = plain, action = "allow", why = "was called" }
  end
  for _, name in ipairs(sorted(all)) do
    local pin = calls.pinned[name]
    if all[name] ~= true and next(all[name]) ~= nil then
      rules[#rules + 1] = { names = { name }, action = "allow", why = "was called; " .. pin.why,
        args = { { index = pin.index, value = sorted(all[name]), mask = pin.mask } } }
    end
  end
  local by_errno = {}
  for name, errno in pairs(seen.denied) do
    if all[name] ~= true then
      by_errno[errno] = by_errno[errno] or {}
      by_errno[errno][name] = true
    end
  end
  for _, errno in ipairs(sorted(by_errno)) do
    rules[#rules + 1] = { names = sorted(by_errno[errno]), action = { "errno", errno },
      why = "was denied when it was called" }
  end
  local architectures = { arch }
  for _, name in ipairs(sorted(seen.architectures)) do
    if name ~= arch then
      architectures[#architectures + 1] = name
    end
  end
  return { default = { "errno", "ENOSYS" }, architectures = architectures, rules = rules }
end

local function has_use(paths, use)
  for _, uses in pairs(paths) do
    if uses[use] then
      return true
    end
  end
  return false
end

-- Rules of Landlock, and a note where there are none though the kernel has it.
local function landlock(seen, paths, moves, abi)
  if abi == 0 or seen.notes.mounts or seen.starts.privileges then
    return nil
  elseif abi == 1 and has_use(paths, "refer") then
    return nil, "moves"
  end
  local wish = landlock_rules.make(paths, moves)
  if abi >= 4 then
    wish.tcp = { bind = not seen.notes.bind and sorted(seen.bind) or nil,
      connect = not seen.notes.connect and sorted(seen.connect) or nil }
    wish.tcp = next(wish.tcp) and wish.tcp
  end
  wish.optional = abi < 5 or nil -- this kernel lacks some rights
  return wish
end

--- Make the rules of Landlock.
-- @tparam observation seen
-- @tparam int abi of the kernel's Landlock
-- @treturn ?table as of `carton.landlock`; nil: the kernel has none, or none with which files are renamed from one
--   directory to another; mounts are changed, which it forbids; or it was started without no_new_privs, which it takes
function profile.landlock(seen, abi)
  local paths, moves = landlock_rules.fold(seen.paths, seen.moves)
  return (landlock(seen, paths, moves, abi))
end

--- Make a profile.
-- @tparam observation seen
-- @tparam string arch this machine's
-- @tparam int abi of its Landlock
-- @treturn table `seccomp`, `capabilities`, `landlock` (as of `carton.container`), `paths` (uses by path), `moves`,
--   `starts`, `notes`
function profile.make(seen, arch, abi)
  local ambient, uses, notes = {}, {}, {}
  for name in pairs(seen.ambient) do
    ambient[name] = seen.capabilities[name]
  end
  local paths, moves = landlock_rules.fold(seen.paths, seen.moves)
  local wish, note = landlock(seen, paths, moves, abi)
  for path, set in pairs(paths) do
    uses[path] = sorted(set)
  end
  for name in pairs(seen.notes) do
    notes[name] = name ~= "moves" or nil -- of this kernel alone
  end
  notes[note or "moves"] = note and true
  return {
    seccomp = profile.seccomp(seen, arch),
    capabilities = { drop = "all", add = sorted(seen.capabilities), ambient = next(ambient) and sorted(ambient) },
    landlock = wish,
    paths = uses,
    moves = #moves > 0 and moves or nil,
    starts = sorted(seen.starts),
    notes = sorted(notes),
  }
end

-- A rule as profiles that are learned have it.
local function read_rule(seen, rule)
  local errno = type(rule.action) == "table" and rule.action[1] == "errno" and (rule.action[2] or "EPERM")
  local test = rule.args and rule.args[1]
  if errno and type(errno) ~= "string" then
    return false
  end
  for _, name in ipairs(rule.names) do
    local pin = calls.pinned[name]
    if errno and not test then
      seen.denied[name] = errno
    elseif rule.action == "allow" and not test then
      seen.calls[name] = true
    elseif rule.action == "allow" and pin and #rule.args == 1 and test.index == pin.index and test.mask == pin.mask
      and (test.op or "==") == "==" then
      for _, value in ipairs(type(test.value) == "table" and test.value or { test.value }) do
        seen:add_value(name, value)
      end
    else
      return false
    end
  end
  return true
end

local function fail(format, ...)
  error(format:format(...), 0)
end

-- A list in a profile, of which each item is said to be one.
local function list_of(value, what, is_one)
  if type(value) ~= "table" then
    fail("%s: a list expected, got %s", what, type(value))
  end
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      fail("%s: unknown field '%s'", what, tostring(key))
    end
  end
  for _, item in ipairs(value) do
    if not is_one(item) then
      fail("%s: '%s' is none that was learned", what, tostring(item))
    end
  end
  return value
end

local function is_capability(name)
  return type(name) == "string" and name:find("^[%u%d_]+$") ~= nil
end

local function is_use(use)
  return use == "look" or use == "attribute" or type(use) == "string" and use:find("^%l+_?%l*$") ~= nil
end

local function is_path(path)
  return type(path) == "string" and path:sub(1, 1) == "/" and #path <= PATH_MAX
end

local function is_move(move)
  return type(move) == "table" and is_path(move.from) and is_path(move.to) and type(move.kind) == "string"
    and move.kind:find("^make_%l+$") ~= nil
end

local function is_port(port)
  return math.type(port) == "integer" and port >= 0 and port <= 65535
end

local function table_of(value, what)
  if value ~= nil and type(value) ~= "table" then
    fail("%s: a table expected, got %s", what, type(value))
  end
  return value or {}
end

-- What starts and notes there are.
local function known_names(kind)
  local known = kind == "starts" and calls.start or require("carton.learn.text").NOTES
  return function(name)
    return known[name] ~= nil
  end
end

--- Turn a profile back into what was seen, so that more can be added.
-- @tparam table made as of `make`
-- @tparam observation seen filled in
-- @raise a string that says what is none of a learned profile's
function profile.read(made, seen)
  require("carton.seccomp.profile").check(made.seccomp)
  for i, rule in ipairs(made.seccomp.rules or {}) do
    if not read_rule(seen, rule) then
      error(("seccomp, rule %d is none that was learned"):format(i), 0)
    end
  end
  for i, arch in ipairs(made.seccomp.architectures or {}) do
    seen.architectures[arch] = i > 1 or nil
  end
  local capabilities = table_of(made.capabilities, "capabilities")
  for _, name in ipairs(list_of(capabilities.add or {}, "capabilities.add", is_capability)) do
    seen:add_capability(name, "learned")
  end
  for _, name in ipairs(list_of(capabilities.ambient or {}, "capabilities.ambient", is_capability)) do
    seen.ambient[name] = seen.capabilities[name] and true
  end
  for path, uses in pairs(table_of(made.paths, "paths")) do
    if not is_path(path) then
      fail("paths: '%s' is none that was learned", tostring(path))
    end
    for _, use in ipairs(list_of(uses, "paths", is_use)) do
      seen:add_path(path, use, "learned")
    end
  end
  for _, move in ipairs(list_of(made.moves or {}, "moves", is_move)) do
    seen:add_move(move.kind, move.from, move.to, "learned")
  end
  local tcp = table_of(table_of(made.landlock, "landlock").tcp, "landlock.tcp")
  for _, name in ipairs { "bind", "connect" } do
    for _, port in ipairs(list_of(tcp[name] or {}, "landlock.tcp", is_port)) do
      seen:add_port(name, port)
    end
  end
  for _, kind in ipairs { "starts", "notes" } do
    for _, name in ipairs(list_of(made[kind] or {}, kind, known_names(kind))) do
      seen[kind][name] = true
    end
  end
end

return profile
