-- SPDX-License-Identifier: MIT

--- Changes to the default set of capabilities, as `carton.capability` documents them.
-- @module carton.capability.changes
local core = require("carton.core")
local changes = {}

local FIELDS <const> = { add = true, drop = true, ambient = true }

local known -- made when it is needed first

-- A name that there is not is refused: to drop it would leave what was meant.
local function bare(name)
  if type(name) ~= "string" then
    core.misuse("capabilities: a name is a string, got " .. type(name))
  end
  if not known then
    known = { ALL = true }
    for _, each_name in ipairs(core.privilege.capability_names()) do
      known[each_name] = true
    end
  end
  local word = name:upper():gsub("^CAP_", "")
  if not known[word] then
    core.misuse(("capabilities: there is no capability '%s'%s"):format(name,
      require("carton.hint").meant(word, known)))
  end
  return word
end

local function each(list, apply)
  if type(list) == "string" then
    list = { list }
  elseif type(list) ~= "table" then
    core.misuse("capabilities: a list of names expected, got " .. type(list))
  end
  local key = require("carton.list").stray(list)
  if key ~= nil then
    core.misuse(("capabilities: a list of names expected, got the key '%s'"):format(tostring(key)))
  end
  for _, name in ipairs(list) do
    apply(bare(name))
  end
end

local function has_all(list)
  local found = false
  each(list, function(name) found = found or name == "ALL" end)
  return found
end

--- Work out a set.
-- @tparam table|string wish as of `carton.capability.resolve`
-- @tparam {string,...} default
-- @treturn {string,...} names without `CAP_`, sorted
-- @raise a string that says what is wrong with the wish
function changes.resolve(wish, default)
  if wish == "all" then
    wish = { add = "all" }
  elseif wish == "none" then
    return {}
  elseif type(wish) ~= "table" then
    core.misuse("capabilities: table, \"all\" or \"none\" expected, got " .. type(wish))
  end
  for key in pairs(wish) do
    if math.type(key) == "integer" then
      core.misuse("capabilities: a list does not tell what to do with them: { add = names, drop = names } expected")
    elseif not FIELDS[key] then
      core.misuse(("capabilities: unknown field '%s'%s"):format(tostring(key),
        require("carton.hint").meant(key, FIELDS)))
    end
  end
  local set, names, dropped = {}, {}, {}
  local add, drop = wish.add or {}, wish.drop or {}
  if has_all(add) then
    each(core.privilege.get().bounding, function(name) set[name] = true end)
  elseif not has_all(drop) then
    each(default, function(name) set[name] = true end)
  end
  each(drop, function(name)
    set[name], dropped[name] = nil, true
  end)
  each(add, function(name)
    if dropped[name] and (name == "ALL" or not dropped.ALL) then
      core.misuse(("capabilities: %s is in both 'add' and 'drop'"):format(name))
    end
    set[name] = name ~= "ALL" or nil
  end)
  for name in pairs(set) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Work out the ambient set.
-- @tparam table wish as of `carton.capability.resolve`
-- @treturn {string,...} names without `CAP_`
function changes.ambient(wish)
  local names = {}
  each(wish.ambient or {}, function(name) names[#names + 1] = name end)
  return names
end

return changes
