-- SPDX-License-Identifier: MIT

--- From the paths that were seen to the smallest rules of Landlock that allow them.
--
-- Rules are exact files, with these exceptions:
--
-- - What the program makes itself is allowed in the directory that was there before, for all below it.
-- - A directory in which more than eight names are made is one entry, `DIRECTORY/*`, for all below it.
-- - A directory in which more than eight files are read, or executed, is one rule for all below it. The root and the
--   directories in it (/etc, /usr) never are; those below are (/usr/lib), which goes on upwards.
-- - What is below /proc/PID is a rule for /proc, as numbers of processes are others each time; so for /dev/pts.
-- - What is renamed or linked from one directory to another gets, where it was, the rights that it has where it goes:
--   Landlock refuses a move that gains any.
-- @module carton.learn.rules
-- @see landlock(7)
local files = require("carton.learn.files")
local rules = {}

local MANY <const> = 8
local MADE <const> = { "make_reg", "make_dir", "make_sym", "make_sock", "make_fifo", "make_char", "make_block" }
local OF_DIRECTORY <const> = { remove_file = true, remove_dir = true, refer = true }
local NOTHING <const> = { look = true, attribute = true } -- takes no right
local PARTS <const> = { read_file = true, read_dir = true, execute = true } -- of what may become a whole directory
local OF_FILE <const> = { execute = true, write_file = true, read_file = true, truncate = true, ioctl_dev = true }

for _, use in ipairs(MADE) do
  OF_DIRECTORY[use] = true
end

--- A set's keys in order.
-- @tparam table set
-- @treturn list
function rules.sorted(set)
  local list = {}
  for key in pairs(set) do
    list[#list + 1] = key
  end
  table.sort(list)
  return list
end
local sorted = rules.sorted

local function parent_of(path)
  local parent = path:match("^(.*)/[^/]*$")
  return (parent == nil or parent == "") and "/" or parent
end

local function is_pattern(path)
  return path:sub(-2) == "/*"
end

-- Whether it is not there before the program makes it.
local function is_made(paths, path)
  local uses = paths[path]
  for _, use in ipairs(not is_pattern(path) and uses and MADE or {}) do
    if uses[use] then
      return true
    end
  end
  return is_pattern(path)
end

-- Directories in which names are chance. The root is none: its entry would be all that there is.
local function chance_of(paths)
  local count, chance = {}, {}
  for path in pairs(paths) do
    local parent = parent_of(path)
    count[parent] = (count[parent] or 0) + (is_pattern(path) and MANY + 1 or is_made(paths, path) and 1 or 0)
    chance[parent] = count[parent] > MANY or nil
  end
  chance["/"] = nil
  return chance
end

-- The entry of a path: that of the uppermost directory in which names are chance, or its own.
local function entry_of(chance, path)
  local directory, name = path, path
  while directory ~= "/" do
    directory = parent_of(directory)
    name = chance[directory] and directory .. "/*" or name
  end
  return name
end

--- Make one entry of all below a directory in which many names are made. To fold what was folded, with more, gives the
-- same as to fold all of it at once.
-- @tparam table paths uses by path, as of `carton.learn.observation`
-- @tparam table moves
-- @treturn table sets of uses by path
-- @treturn {table,...} `{ kind =, from =, to = }` in order
function rules.fold(paths, moves)
  local chance, folded, keys, list = chance_of(paths), {}, {}, {}
  for path, uses in pairs(paths) do
    local entry = entry_of(chance, path)
    folded[entry] = folded[entry] or {}
    for use in pairs(uses) do
      folded[entry][use] = true
    end
  end
  for _, move in pairs(moves) do
    local from, to = entry_of(chance, move.from), entry_of(chance, move.to)
    if from ~= to then
      keys[("%s\0%s\0%s"):format(from, to, move.kind)] = { kind = move.kind, from = from, to = to }
    end
  end
  for i, key in ipairs(sorted(keys)) do
    list[i] = keys[key]
  end
  return folded, list
end

-- The directory that is there before, of a path; what was found is kept in `known`.
local function place_of(paths, path, known)
  local parent = parent_of(path)
  if not known[parent] then
    known[parent] = parent ~= "/" and is_made(paths, parent) and place_of(paths, parent, known) or parent
  end
  return known[parent]
end

-- Where a file itself is allowed: by its name where it is there before, otherwise by its directory.
local function own_of(paths, path, known)
  local place = place_of(paths, path, known)
  if path:find("^/proc/self") or path:find("^/proc/PID") then
    return "/proc"
  elseif path == "/dev/pts/N" or path:find("^/dev/pts/%d+$") then
    return "/dev/pts"
  elseif is_made(paths, path) or place ~= parent_of(path) then
    return place
  end
  return path
end

--- Go through the rights that uses of paths take.
-- @tparam table paths uses by path
-- @tparam function f is told the path, the use, and the path of the rule that has to allow it
function rules.each(paths, f)
  local known = {}
  for path, uses in pairs(paths) do
    for use in pairs(uses) do
      if OF_DIRECTORY[use] then
        f(path, use, place_of(paths, path, known))
      elseif not NOTHING[use] then
        f(path, use, own_of(paths, path, known))
      end
    end
  end
end

local function add_right(made, path, right)
  made[path] = made[path] or {}
  local is_new = not made[path][right]
  made[path][right] = true
  return is_new
end

-- Rights by path, of each use.
local function rights_of(paths)
  local made = {}
  rules.each(paths, function(_, use, where)
    add_right(made, where, use)
    if use == "execute" or (where == "/proc" and use == "read_dir") then
      add_right(made, where, "read_file") -- which executing takes, too
    elseif where == "/proc" and use == "read_file" then
      add_right(made, where, "read_dir")
    end
  end)
  return made
end

-- Whether the program takes a name away that was there before, or a directory above it: another time it may be gone.
local function is_gone(paths, path)
  while path ~= "/" do
    local uses = paths[path]
    if uses and (uses.remove_file or uses.remove_dir) and not is_made(paths, path) then
      return true
    end
    path = parent_of(path)
  end
  return false
end

local function is_within(outer, rights)
  for right in pairs(rights) do
    if not (outer and outer[right]) then
      return false
    end
  end
  return true
end

--- Give what rules allow for a path: its own, and those above.
-- @tparam table made sets of rights by path
-- @tparam string path
-- @tparam[opt] table known what was found is kept there
-- @treturn table a set of rights
function rules.given(made, path, known)
  known = known or {}
  if not known[path] then
    local above = path ~= "/" and rules.given(made, parent_of(path), known) or {}
    known[path] = above
    if made[path] then
      known[path] = {}
      for _, rights in ipairs { above, made[path] } do
        for right in pairs(rights) do
          known[path][right] = true
        end
      end
    end
  end
  return known[path]
end

--- Give what a move would gain, for which Landlock refuses it.
-- @tparam table made sets of rights by path
-- @tparam table move `kind`, and `from` and `to` as rules have them
-- @tparam ?string own where the file itself is allowed, if not by its name
-- @tparam[opt] table known as of `given`
-- @treturn {string,...} rights in order
function rules.gained(made, move, own, known)
  local before, gained = rules.given(made, own or move.from, known), {}
  for _, right in ipairs(sorted(rules.given(made, parent_of(move.to), known))) do
    if not before[right] and (move.kind == "make_dir" or OF_FILE[right]) then
      gained[#gained + 1] = right
    end
  end
  return gained
end

--- Where a file that is moved is allowed before.
-- @tparam table paths uses by path
-- @tparam table move
-- @treturn string the path of a rule
function rules.source(paths, move)
  local own = own_of(paths, move.from, {})
  return own == move.from and move.kind ~= "make_reg" and parent_of(own) or own
end

-- A directory that is moved takes its rules, and those of files in it, with it: they are given to where it goes.
local function carry(made, directories)
  local changed = false
  for _, path in ipairs(sorted(made)) do
    local above = path
    while above ~= "/" do
      for _, place in ipairs(directories[above] or {}) do
        for right in pairs(made[path]) do
          changed = add_right(made, place, right) or changed
        end
      end
      above = parent_of(above)
    end
  end
  return changed
end

-- Give what is moved the rights that it will have, before.
local function balance(made, paths, moves)
  local directories, known = {}, {}
  for _, move in ipairs(moves) do
    if move.kind == "make_dir" then
      directories[move.from] = directories[move.from] or {}
      table.insert(directories[move.from], place_of(paths, move.to, known))
    end
  end
  repeat
    local changed = carry(made, directories)
    known = {}
    for _, move in ipairs(moves) do
      local source = rules.source(paths, move)
      for _, right in ipairs(rules.gained(made, move, source, known)) do
        add_right(made, source, right)
        changed, known = true, {}
      end
    end
  until not changed
end

-- Leave out what a directory above allows already.
local function subsume(made)
  local known = {}
  for _, path in ipairs(sorted(made)) do
    if path ~= "/" and is_within(rules.given(made, parent_of(path), known), made[path]) then
      made[path] = nil
    end
  end
end

local function depth_of(path)
  local _, slashes = path:gsub("/", "")
  return path == "/" and 0 or slashes
end

-- Make one rule of many in a directory, from the deepest upwards.
local function generalise(made)
  local deepest, levels, whole = 0, {}, {}
  local function add(path)
    local depth = depth_of(path)
    deepest = math.max(deepest, depth)
    levels[depth] = levels[depth] or {}
    levels[depth][path] = true
  end
  for path in pairs(made) do
    add(path)
  end
  for depth = deepest, 3, -1 do
    local children = {}
    for path in pairs(levels[depth] or {}) do
      if is_within(PARTS, made[path]) then
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
          for right in pairs(made[path]) do
            add_right(made, parent, right)
          end
          made[path], whole[path] = nil, nil
        end
      end
    end
  end
  return whole
end

-- Whether a path is used as a file by its own name.
local function is_used(uses)
  for use in pairs(uses or {}) do
    if OF_FILE[use] then
      return true
    end
  end
  return false
end

--- Make the rules.
-- @tparam table paths as of `fold`
-- @tparam {table,...} moves likewise
-- @treturn table `read`, `execute` and `rules` as of `carton.landlock`
function rules.make(paths, moves)
  local made = rights_of(paths)
  subsume(made)
  local whole = generalise(made)
  balance(made, paths, moves)
  subsume(made)
  local wish = { read = {}, execute = {}, rules = {} }
  for _, path in ipairs(sorted(made)) do
    local rights, gone = sorted(made[path]), is_gone(paths, path) or nil
    local is_file = not whole[path] and not gone and is_used(paths[path])
    local name = files.unescape(path)
    if is_file and #rights == 1 and rights[1] == "read_file" then
      table.insert(wish.read, name)
    elseif is_file and made[path].execute and is_within({ execute = true, read_file = true }, made[path]) then
      table.insert(wish.execute, name)
    else
      table.insert(wish.rules, { path = name, access = rights, optional = gone, nofollow = true })
    end
  end
  for name, list in pairs(wish) do
    wish[name] = #list > 0 and list or nil
  end
  wish.rules = wish.rules or {}
  return wish
end

return rules
