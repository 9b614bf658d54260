-- SPDX-License-Identifier: MIT

--- `require "carton"`: gathers the modules, each loaded at its first use.
-- @module carton
-- @usage local carton = require "carton"
if _VERSION ~= "Lua 5.4" then
  error("carton: Lua 5.4 needed, this is " .. _VERSION, 0)
end
local core = require("carton.core")

local carton = {
  version = core.version,
  exec = core.exec,
  privilege = core.privilege,
  host = core.host,
  error = core.error,
  check = core.check,
  try = core.try,
}

local tables = { namespace = true, mount = true } -- of the core, which makes them at their first use
local modules = {
  capability = true, cgroup = true, devices = true, doctor = true, hint = true, idmap = true, landlock = true,
  learn = true, limits = true, loop = true, mounts = true, plan = true, rootfs = true, seccomp = true, stdio = true,
  systemd = true, terminal = true, trace = true,
}

--- Join lists of steps into one layout.
-- @tparam {table,...} ... layouts, lists of steps, or single steps; nil and false are left out
-- @treturn {table,...} a new list; what a layout says of itself (`readonly`, `idmap`) is kept
-- @usage carton.steps(carton.rootfs.empty(), { { "mount.mkdir", target = "/data" } })
function carton.steps(...)
  local joined = {}
  for i = 1, select("#", ...) do
    local list = select(i, ...)
    if list and type(list[1]) == "string" then
      list = { list }
    end
    local before = #joined
    for _, step in ipairs(list or {}) do
      joined[#joined + 1] = step
    end
    for key, value in pairs(list or {}) do
      if type(key) == "string" then
        joined[key] = value
      elseif math.type(key) ~= "integer" or key < 1 or key > #joined - before then
        core.misuse(("steps: the list has a hole before item %s"):format(tostring(key)))
      end
    end
  end
  return joined
end

--- Describe a container; `carton.container` tells its fields and what can be done with it.
-- @function carton.container
-- @tparam table fields
-- @treturn container
function carton.container(fields)
  return require("carton.container").new(fields)
end

--- Tell whether something is a container.
-- @param value anything
-- @treturn boolean
function carton.is_container(value)
  local module = package.loaded["carton.container"]
  return module ~= nil and module.is_container(value)
end

--- Wait until one of several containers ends, feeding and reading all of them meanwhile.
-- @tparam {container,...} containers started ones
-- @tparam[opt] number timeout seconds
-- @treturn ?container the one that ended, nil when time is up
-- @treturn ?table its status
-- @see carton.container
function carton.wait_any(containers, timeout)
  return require("carton.wait").any(containers, timeout)
end

return setmetatable(carton, {
  __index = function(_, name)
    if modules[name] or tables[name] then
      local module = tables[name] and core[name] or require("carton." .. name)
      rawset(carton, name, module)
      return module
    end
  end,
})
