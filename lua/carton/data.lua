-- SPDX-License-Identifier: MIT

--- Files of Lua that say something and do nothing: they have nothing to call, come to an end, and give plain data. They
-- are evaluated in a Lua state of their own, whose allocator has a limit.
-- @module carton.data
local core = require("carton.core")
local data = {}

local MOST <const> = { memory = 64 << 20, instructions = 10000000, seconds = 5, depth = 32 }

--- Evaluate Lua that is data.
-- @tparam string source
-- @tparam string path it came from, for messages
-- @treturn ?table of strings, numbers, booleans and such tables; nil: it is something else
-- @treturn ?string why, then: in one line of harmless bytes
-- @usage data.load("return { default = 'allow' }", "profile.lua")
function data.load(source, path)
  local value, message = core.bounded.data(source, "@" .. path, MOST)
  if not value then
    return nil, (message:gsub("[%c\127-\255]", "?"))
  end
  return value
end

return data
