-- SPDX-License-Identifier: MIT

--- The user namespace of the caller.
-- @module carton.userns
local userns = {}

--- Tell whether the caller is of the first user namespace, in which making a node of any device is making it reachable.
-- @treturn boolean
-- @see user_namespaces(7)
function userns.is_first()
  local file <close> = io.open("/proc/self/uid_map")
  return file ~= nil and file:read("a"):find("^%s*0%s+0%s+4294967295%s*$") ~= nil
end

return userns
