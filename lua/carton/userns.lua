-- SPDX-License-Identifier: MIT

--- The user namespace of the caller.
-- @module carton.userns
local host = require("carton.core").host
local userns = {}

local FIRST <const> = "user:[4026531837]" -- PROC_USER_INIT_INO of linux/proc_ns.h

--- Tell whether the caller is of the first user namespace, in which making a node of any device is making it reachable.
-- @treturn boolean
-- @see user_namespaces(7)
function userns.is_first()
  if host.readlink("/proc/self/ns/user") == FIRST then -- a look that is shorter
    return true
  end
  local file <close> = io.open("/proc/self/uid_map")
  return file ~= nil and file:read("a"):find("^%s*0%s+0%s+4294967295%s*$") ~= nil
end

return userns
