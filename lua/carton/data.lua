-- SPDX-License-Identifier: MIT

--- Lua files as data: there is no function to call, time and memory are limited, and the result is plain data. Each is
-- evaluated in a Lua state of its own, whose allocator has a limit.
-- @module carton.data
local core = require("carton.core")
local data = {}

local MOST <const> = { memory = 64 << 20, instructions = 10000000, seconds = 5, depth = 32 }

--- Evaluate Lua that is data.
-- @tparam string source
-- @tparam string path it came from, for messages
-- @treturn ?table of strings, numbers, booleans and such tables; nil: it is something else
-- @treturn ?string if nil, the reason: one line without control characters
-- @usage data.load("return { default = 'allow' }", "profile.lua")
function data.load(source, path)
  local value, message = core.bounded.data(source, "@" .. path, MOST)
  if not value then
    return nil, (message:gsub("[%c\127-\255]", "?"))
  end
  return value
end

return data
