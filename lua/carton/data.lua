-- SPDX-License-Identifier: MIT

--- Files of Lua that say something and do nothing: they have nothing to call, come to an end, and give plain data.
-- @module carton.data
local data = {}

local STEPS <const> = 10000000 -- instructions of Lua's: millions of entries
local MOST <const> = 1000000 -- entries
local DEPTH <const> = 32 -- of tables in tables

-- Strings bring functions with them, which may take all time and memory.
local function evaluate(chunk)
  local strings, hook = getmetatable(""), { debug.gethook() }
  local methods = strings.__index
  strings.__index = nil
  debug.sethook(function()
    error("it comes to no end", 0)
  end, "", STEPS)
  local ok, value = pcall(chunk)
  debug.sethook(table.unpack(hook, 1, 3))
  strings.__index = methods
  return ok, value
end

-- What is no data in a value; nil: nothing. `left.entries` is counted down.
local function find_other(value, depth, left)
  local kind = type(value)
  if kind ~= "table" then
    return kind ~= "string" and kind ~= "number" and kind ~= "boolean" and "a " .. kind or nil
  elseif depth > DEPTH then
    return "tables that are too deep"
  end
  for key, entry in next, value do
    left.entries = left.entries - 1
    if left.entries < 0 then
      return "too many entries"
    elseif type(key) ~= "string" and math.type(key) ~= "integer" then
      return "a key that is neither a name nor a place"
    end
    local other = find_other(entry, depth + 1, left)
    if other then
      return other
    end
  end
end

--- Evaluate Lua that is data.
-- @tparam string source
-- @tparam string path it came from, for messages
-- @treturn ?table of strings, numbers, booleans and such tables; nil: it is something else
-- @treturn ?string why, then: in one line of harmless bytes
-- @usage data.load("return { default = 'allow' }", "profile.lua")
function data.load(source, path)
  local chunk, message = load(source, "@" .. path, "t", {})
  local ok, value
  if chunk then
    ok, value = evaluate(chunk)
    message = not ok and tostring(value) or type(value) ~= "table" and "it is a " .. type(value) or nil
  end
  if not message then
    local other = find_other(value, 1, { entries = MOST })
    message = other and ("it holds %s, which is no data"):format(other)
  end
  if message then
    return nil, (message:gsub("[%c\127-\255]", "?"))
  end
  return value
end

return data
