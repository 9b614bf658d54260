-- SPDX-License-Identifier: MIT

--- Binds that are to have what the host mounts below their source later: which of them can.
-- @module carton.slave
local core = require("carton.core")
local slave = {}

local OPEN <const> = { rw = true, suid = true, dev = true, exec = true, symfollow = true }

-- Whether a step is a bind that follows later mounts of the host; raises where that cannot work.
local function follows(step)
  if step[1] == "mount.propagation" then
    core.misuse("container: mount.propagation: a mount without a master cannot be made a slave here; set the field "
      .. "'propagation' of mount.bind instead")
  elseif step.recursive and step.propagation == "slave" then
    core.misuse(("container: mount.bind on %s: 'slave' covers only the topmost mount of a recursive bind; use "
      .. "'rslave' for all of them, or 'bind' to bind the one alone"):format(tostring(step.target)))
  end
  for _, option in ipairs(type(step.options) == "table" and step.options or {}) do
    if not OPEN[option] then
      core.misuse(("container: mount.bind on %s: '%s' cannot be enforced on a slave: what the host mounts there later "
        .. "keeps the host's options%s"):format(tostring(step.target), tostring(option), option == "nodev"
        and "; the option 'dev' accepts that" or ""))
    end
  end
  return step[1] == "mount.bind"
end

-- A slave of a mount that is not shared would never receive a mount.
local function check_master(path)
  local real = core.host.realpath(path)
  local found
  for _, mount in ipairs(real and core.mount.list() or {}) do
    local inside = mount.target == "/" or real == mount.target or real:sub(1, #mount.target + 1) == mount.target .. "/"
    if inside and (not found or #mount.target >= #found.target) then
      found = mount
    end
  end
  if found and not (found.propagation:find("shared:", 1, true) or found.propagation:find("master:", 1, true)) then
    core.error { op = "bind", path = path, code = "EINVAL", message = "a slave needs a shared mount as its master",
      hint = ("%s is not shared: mount --make-shared %s"):format(found.target,
        found.target) }
  end
end

--- Check a step whose `propagation` is `slave` or `rslave`.
-- @tparam table step
-- @tparam boolean is_start its source is looked at, too
-- @treturn boolean whether it is a bind
-- @raise a string: what can't hold for a slave; `carton.error`: `EINVAL` its source is no shared mount
function slave.check(step, is_start)
  local is_bind = follows(step)
  if is_bind and is_start and step.source then
    check_master(step.source)
  end
  return is_bind
end

return slave
