-- SPDX-License-Identifier: MIT

--- What cgroup a container's fields ask for, and what it may do with it.
-- @module carton.group
local core = require("carton.core")
local host = core.host
local group = {}

--- Tell whether root inside could make nodes of the host's devices and open them.
-- @tparam table fields as of `carton.container`
-- @tparam boolean has_userns it has a user namespace that is not the host's
-- @treturn boolean
function group.has_mknod(fields, has_userns)
  if not fields.capabilities or host.euid() ~= 0 then
    return false
  end
  for _, name in ipairs(require("carton.capability").resolve(fields.capabilities)) do
    if name == "MKNOD" then
      return not has_userns and require("carton.userns").is_first()
    end
  end
  return false
end

--- What the limits of a container are to the kernel.
-- @tparam table fields as of `carton.container`
-- @tparam boolean has_userns as of `has_mknod`
-- @treturn ?{table,...} as of `carton.limits.files`; nil when nothing asks for a cgroup
function group.files(fields, has_userns)
  local wish = fields.limits or {}
  local free = wish.devices == false
  local mknod = not free and wish.devices == nil and group.has_mknod(fields, has_userns)
  local has_limits = fields.limits and not (free and next(wish) == "devices" and next(wish, "devices") == nil)
  if not (has_limits or fields.cgroup or fields.delegate or mknod) then
    return nil
  end
  local is_told = wish.devices or not free and host.euid() == 0 and core.privilege.has("SYS_ADMIN")
  local devices = is_told and require("carton.devices")
  local nodes = devices and devices.nodes(fields)
  local files = require("carton.limits").files(fields.limits, fields.cgroup, nodes)
  if devices and not wish.devices then
    table.insert(files, { file = "devices", value = devices.text("default", nodes), optional = not mknod or nil })
  end
  return files
end

-- How far a container may divide what was handed over to it: the kernel has 65535 for all.
local DIVISIONS <const> = { ["cgroup.max.depth"] = 32, ["cgroup.max.descendants"] = 1000 }

-- Whether a container could write the limits of the group that is handed over to it: their files belong to this
-- process's user. The kernel denies it to a cgroup namespace that begins there, where it is told so.
local function could_raise(facts)
  if facts.new.cgroup and require("carton.hierarchy").is_nsdelegate() then
    return false
  end
  for _, entry in ipairs(facts.map and facts.map.uids or {}) do
    if host.euid() >= entry.host_id and host.euid() < entry.host_id + entry.size then
      return true
    end
  end
  return facts.map == nil
end

--- Hand a cgroup over to the root of its container.
-- @tparam table fields as of `carton.container`
-- @tparam function gather gives the facts of its namespaces
-- @tparam group directory of `carton.cgroup`
-- @raise `carton.error`: `EOPNOTSUPP` cgroup v1 cannot be delegated safely; `EPERM` it could raise its own limits
function group.hand_over(fields, gather, directory)
  if directory.version ~= 2 then
    core.error { op = "delegate", code = "EOPNOTSUPP", message = "cgroup v1 can't be handed over",
      hint = "a host with cgroup v2 can" }
  end
  local facts = gather(fields)
  local map = facts.map
  if could_raise(facts) then
    core.error { op = "delegate", code = "EPERM", message = "the container could raise its own limits", hint =
      facts.new.cgroup and "use an idmap without this user, or mount cgroup2 with the option nsdelegate"
      or "give it a cgroup namespace of its own" }
  end
  local function outside(entries, default)
    for _, entry in ipairs(entries or {}) do
      if entry.container_id == 0 then
        return entry.host_id
      end
    end
    return default
  end
  for file, most in pairs(DIVISIONS) do
    if not (fields.cgroup and fields.cgroup[file]) then
      directory:write(file, most)
    end
  end
  directory.unified:chown(outside(map and map.uids, host.euid()), outside(map and map.gids, host.egid()))
end

--- For a plan that is only looked at: which directories of v1 would be entered.
-- @tparam {table,...} files as of `files`
-- @treturn {table,...}
function group.foresee(files)
  local cgroup = require("carton.cgroup")
  local host_layout = cgroup.layout()
  files = cgroup.available(files, host_layout)
  if host_layout.version == 1 then
    files.v1 = {}
    for controller in pairs(cgroup.controllers(files)) do
      table.insert(files.v1, controller)
    end
    table.sort(files.v1)
  end
  return files
end

return group
