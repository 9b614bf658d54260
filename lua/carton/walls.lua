-- SPDX-License-Identifier: MIT

--- The masked and read-only paths of every procfs and sysfs in a container: see `carton.mount.protect`.
-- @module carton.walls
local host = require("carton.core").host
local walls = {}

local SAFE <const> = { { "nosuid", "suid" }, { "nodev", "dev" }, { "noexec", "exec" } }
local ATTRIBUTES <const> = {
  proc = SAFE,
  sysfs = { SAFE[1], SAFE[2], SAFE[3], { "ro", "rw" } },
}

local BY_STEP <const> = { ["mount.proc"] = ATTRIBUTES.proc, ["mount.sysfs"] = ATTRIBUTES.sysfs }

local function says(options, word)
  for _, option in ipairs(options) do
    if option == word then
      return true
    end
  end
  return false
end

-- The attributes that what a step mounts shall have, where that tells of the host.
local function attributes_of(step)
  return step[1] == "mount.filesystem" and ATTRIBUTES[step.type] or BY_STEP[step[1]]
end

--- Give a procfs or sysfs the safe mount options (nosuid, nodev, noexec; a sysfs also ro) unless the step names the
-- opposite.
-- @tparam table step any one
-- @treturn table the step, or a copy of it with further options
function walls.harden(step)
  local attributes, given = attributes_of(step), step.options
  if not attributes or not (given == nil or type(given) == "table") then
    return step
  end
  local options
  for _, pair in ipairs(attributes) do
    if not (given and (says(given, pair[1]) or says(given, pair[2]))) then
      options = options or table.move(given or {}, 1, #(given or {}), 1, {})
      options[#options + 1] = pair[1]
    end
  end
  if not options then
    return step
  end
  local copy = {}
  for key, value in pairs(step) do
    copy[key] = value
  end
  copy.options = options
  return copy
end

-- A sysfs has the same everywhere, but for network devices. To look in a new one for what the host's lacks takes longer
-- than to mask what is there; all processors have the same as the first.
local function is_absent(path)
  if path:sub(1, 5) ~= "/sys/" or path == "/sys/" then
    return false
  end
  local sample = path:find("*", 1, true) and path:gsub("/cpu%*", "/cpu0") or path
  return not sample:find("*", 1, true) and host.sysfs_lacks(sample) -- as which a mask of our own does not count
end

--- Collect the paths to mask and protect until after the last mount, since later mounts would not be covered.
-- @treturn table `take(step)`, which is true when the step is collected; `step()`, which gives one for all of them or
--   nil
function walls.new()
  local masked, readonly, is_writable, collected = {}, {}, false, {}
  local fields = { ["mount.mask"] = masked, ["mount.readonly"] = readonly }

  function collected.take(step)
    local list = fields[step[1]]
    if not list then
      is_writable = is_writable or attributes_of(step) == ATTRIBUTES.sysfs and type(step.options) == "table"
        and says(step.options, "rw")
      return false
    end
    for key in pairs(step) do
      if key ~= 1 and key ~= "paths" then
        return false -- the primitive says what is wrong with it
      end
    end
    local paths = type(step.paths) == "string" and { step.paths } or step.paths
    if type(paths) ~= "table" then
      return false
    end
    table.move(paths, 1, #paths, #list + 1, list)
    return true
  end

  function collected.step()
    local rest, there = {}, {}
    for _, path in ipairs(masked) do
      if type(path) ~= "string" or not is_absent(path) then
        there[#there + 1] = path
      end
    end
    for _, path in ipairs(is_writable and readonly or {}) do
      if path ~= "/sys" then -- a step says so
        rest[#rest + 1] = path
      end
    end
    rest = is_writable and rest or readonly
    return #there + #rest > 0 and { "mount.protect", masked = there, readonly = rest } or nil
  end
  return collected
end

--- Tell whether a step makes a root that brings other mounts along.
-- @tparam table step any one
-- @treturn boolean
function walls.brings_mounts(step)
  local place = step.target
  return type(place) == "string" and place:find("^/+$") ~= nil
    and (step[1] == "mount.attach" or (step[1] == "mount.bind" and (step.recursive or step.tree ~= nil)))
end

return walls
