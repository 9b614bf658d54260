-- SPDX-License-Identifier: MIT

--- Sets of capabilities: the default one, and changes to it.
-- @module carton.capability
local capability = {}

--- What root in a container has unless it is said otherwise: the default of Podman.
-- @see capabilities(7)
capability.default = {
  "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
  "SETPCAP", "SETUID", "SYS_CHROOT",
}

--- Work out a set.
-- @tparam ?table|string wish nil: the default; `"all"`, `"none"`, or
--   `{ add = names, drop = names }`, where `"all"` stands for every one that the caller may pass on
-- @treturn {string,...} names without `CAP_`, sorted
-- @raise a string that says what is wrong with the wish
-- @usage capability.resolve{ drop = "all", add = { "NET_BIND_SERVICE" } }
function capability.resolve(wish)
  if wish == nil then
    return capability.default
  end
  return require("carton.capability.changes").resolve(wish, capability.default)
end

--- Work out the ambient set, which a program without privileges keeps.
-- @tparam ?table|string wish as of `resolve`
-- @treturn {string,...} names without `CAP_`; empty unless `ambient` says otherwise
-- @see capabilities(7)
-- @usage capability.ambient{ ambient = { "NET_BIND_SERVICE" } }
function capability.ambient(wish)
  return type(wish) == "table" and require("carton.capability.changes").ambient(wish) or {}
end

return capability
