-- SPDX-License-Identifier: MIT

--- Lists as recipes write them: what ipairs does not reach would be left out in silence.
-- @module carton.list
local list = {}

--- Find a key that ipairs does not reach: a name, or an item behind a hole.
-- @tparam table items
-- @tparam[opt] table names keys that may stand beside the items
-- @return ?any the key, nil when there is none
-- @usage list.stray({ "a", nil, "c" }) --> 3
function list.stray(items, names)
  local count = 0
  for i in ipairs(items) do
    count = i
  end
  for key in pairs(items) do
    local is_item = math.type(key) == "integer" and key >= 1 and key <= count
    if not is_item and not (names and names[key]) then
      return key
    end
  end
end

return list
