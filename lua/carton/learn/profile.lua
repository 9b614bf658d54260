-- SPDX-License-Identifier: MIT

--- From what was seen to the smallest profile that allows it: a filter, capabilities, rules of Landlock.
--
-- Landlock's rules are exact files, with these exceptions:
--
-- - What the program makes itself is allowed in the directory that was there before, for all below it.
-- - A directory in which more than eight files are read, or executed, is one rule for all below it. The root and the
--   directories in it (/etc, /usr) never are; those below are (/usr/lib), which goes on upwards.
-- - What is below /proc/PID is a rule for /proc, as numbers of processes are others each time; so for /dev/pts.
-- @module carton.learn.profile
local calls = require("carton.learn.calls")
local profile = {}

local MANY <const> = 8
local PATH_MAX <const> = 8192 -- a path and what stands in it for others
local MADE <const> = { "make_reg", "make_dir", "make_sym", "make_sock", "make_fifo", "make_char", "make_block" }
local OF_DIRECTORY <const> = { remove_file = true, remove_dir = true, refer = true }
local NOTHING <const> = { look = true, attribute = true } -- takes no right
local PARTS <const> = { read_file = true, read_dir = true, execute = true } -- of what may become a whole directory

for _, use in ipairs(MADE) do
  OF_DIRECTORY[use] = true
end

--- A set's keys in order.
-- @tparam table set
-- @treturn list
function profile.sorted(set)
  local list = {}
  for key in pairs(set) do
    list[#list + 1] = key
  end
  table.sort(list)
  return list
end
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

local function parent_of(path)
  local parent = path:match("^(.*)/[^/]*$")
  return parent == "" and "/" or parent
end

-- What of all this is not there before the program makes it.
local function is_made(paths, path)
  local uses = paths[path]
  for _, use in ipairs(path:sub(-2) ~= "/*" and uses and MADE or {}) do
    if uses[use] then
      return true
    end
  end
  return path:sub(-2) == "/*"
end

-- The directory that is there before, of one; what was found is kept in `known`.
local function place_of(paths, path, known)
  local parent = parent_of(path)
  if not known[parent] then
    known[parent] = parent ~= "/" and is_made(paths, parent) and place_of(paths, parent, known) or parent
  end
  return known[parent]
end

local function add_right(rules, path, right)
  rules[path] = rules[path] or {}
  rules[path][right] = true
end

-- Rights by path, of each use.
local function rights_of(paths)
  local rules, gone, known = {}, {}, {}
  for path, uses in pairs(paths) do
    local made, place = is_made(paths, path), place_of(paths, path, known)
    local own = made and place or path:gsub("/%[%*%]$", "/*")
    if path:find("^/proc/self") or path:find("^/proc/PID") then
      own = "/proc"
    elseif path:find("^/dev/pts/%d+$") then
      own = "/dev/pts"
    elseif not made and place ~= parent_of(path) then
      own = place
    end
    for use in pairs(uses) do
      if OF_DIRECTORY[use] then
        add_right(rules, place, use)
      elseif not NOTHING[use] then
        add_right(rules, own, use)
        if use == "execute" or (own == "/proc" and use == "read_dir") then
          add_right(rules, own, "read_file") -- which executing takes, too
        elseif own == "/proc" and use == "read_file" then
          add_right(rules, own, "read_dir")
        end
      end
    end
    gone[path] = uses.remove_file and not made or nil
  end
  return rules, gone
end

local function is_within(outer, rights)
  for right in pairs(rights) do
    if not (outer and outer[right]) then
      return false
    end
  end
  return true
end

-- What a directory and those above allow, kept in `known`.
local function given_by(rules, path, known)
  if not known[path] then
    local above = path ~= "/" and given_by(rules, parent_of(path), known) or {}
    known[path] = above
    if rules[path] then
      known[path] = {}
      for _, rights in ipairs { above, rules[path] } do
        for right in pairs(rights) do
          known[path][right] = true
        end
      end
    end
  end
  return known[path]
end

-- Leave out what a directory above allows already.
local function subsume(rules)
  local known = {}
  for _, path in ipairs(sorted(rules)) do
    if path ~= "/" and is_within(given_by(rules, parent_of(path), known), rules[path]) then
      rules[path] = nil
    end
  end
end

local function depth_of(path)
  local _, slashes = path:gsub("/", "")
  return path == "/" and 0 or slashes
end

-- Make one rule of many in a directory, from the deepest upwards.
local function generalise(rules)
  local deepest, levels, whole = 0, {}, {}
  local function add(path)
    local depth = depth_of(path)
    deepest = math.max(deepest, depth)
    levels[depth] = levels[depth] or {}
    levels[depth][path] = true
  end
  for path in pairs(rules) do
    add(path)
  end
  for depth = deepest, 3, -1 do
    local children = {}
    for path in pairs(levels[depth] or {}) do
      if is_within(PARTS, rules[path]) then
        local parent = parent_of(path)
        children[parent] = children[parent] or {}
        table.insert(children[parent], path)
      end
    end
    for parent, list in pairs(children) do
      if #list > MANY then
        whole[parent] = true
        add(parent)
        for _, path in ipairs(list) do
          for right in pairs(rules[path]) do
            add_right(rules, parent, right)
          end
          rules[path], whole[path] = nil, nil
        end
      end
    end
  end
  return whole
end

--- Make the rules of Landlock.
-- @tparam observation seen
-- @tparam int abi of the kernel's Landlock
-- @treturn ?table as of `carton.landlock`; nil: the kernel has none, mounts are changed, which
--   it forbids, or it was started without no_new_privs, which it takes
function profile.landlock(seen, abi)
  if abi == 0 or seen.notes.mounts or seen.starts.privileges then
    return nil
  end
  local rules, gone = rights_of(seen.paths)
  subsume(rules)
  local whole = generalise(rules)
  subsume(rules)
  local wish = { read = {}, execute = {}, rules = {} }
  for _, path in ipairs(sorted(rules)) do
    local rights = sorted(rules[path])
    local is_file = not whole[path] and seen.paths[path] ~= nil and not gone[path]
      and not is_within(rules[path], { read_dir = true })
    if is_file and #rights == 1 and rights[1] == "read_file" then
      table.insert(wish.read, path)
    elseif is_file and rules[path].execute and is_within({ execute = true, read_file = true }, rules[path]) then
      table.insert(wish.execute, path)
    else
      table.insert(wish.rules, { path = path, access = rights, optional = gone[path], nofollow = true })
    end
  end
  for name, list in pairs(wish) do
    if #list == 0 then
      wish[name] = nil
    end
  end
  wish.rules = wish.rules or {}
  if abi >= 4 then
    wish.tcp = { bind = sorted(seen.bind), connect = sorted(seen.connect) }
  end
  wish.optional = abi < 5 or nil -- this kernel lacks some rights
  return wish
end

-- The paths with their uses; of many that are made in one directory, the directory.
local function list_paths(paths)
  local made, list = {}, {}
  for path in pairs(paths) do
    if is_made(paths, path) and path:sub(-2) ~= "/*" then
      local parent = parent_of(path)
      made[parent] = (made[parent] or 0) + 1
    end
  end
  for path, uses in pairs(paths) do
    local parent = parent_of(path)
    local all = (parent == "/" and "" or parent) .. "/*"
    local name = is_made(paths, path) and (paths[all] or (made[parent] or 0) > MANY) and all or path
    list[name] = list[name] or {}
    for use in pairs(uses) do
      list[name][use] = true
    end
  end
  for path, uses in pairs(list) do
    list[path] = sorted(uses)
  end
  return list
end

--- Make a profile.
-- @tparam observation seen
-- @tparam string arch this machine's
-- @tparam int abi of its Landlock
-- @treturn table `seccomp`, `capabilities`, `landlock` (as of `carton.container`), `paths` (uses by path), `starts`,
--   `notes`
function profile.make(seen, arch, abi)
  local ambient = {}
  for name in pairs(seen.ambient) do
    ambient[name] = seen.capabilities[name]
  end
  return {
    seccomp = profile.seccomp(seen, arch),
    capabilities = { drop = "all", add = sorted(seen.capabilities), ambient = next(ambient) and sorted(ambient) },
    landlock = profile.landlock(seen, abi),
    paths = list_paths(seen.paths),
    starts = sorted(seen.starts),
    notes = sorted(seen.notes),
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
    seen.ambient[name] = true
  end
  for path, uses in pairs(table_of(made.paths, "paths")) do
    if type(path) ~= "string" or path:sub(1, 1) ~= "/" or #path > PATH_MAX then
      fail("paths: '%s' is none that was learned", tostring(path))
    end
    for _, use in ipairs(list_of(uses, "paths", is_use)) do
      seen:add_path(path, use, "learned")
    end
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
