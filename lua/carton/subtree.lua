-- SPDX-License-Identifier: MIT

--- The subtree of cgroup v2 in which groups are made: what was delegated to this process, a scope that systemd makes,
-- or the top for root who was given nothing.
-- @module carton.subtree
local core = require("carton.core")
local hierarchy = require("carton.hierarchy")
local host = core.host
local open_directory = core.cgroup.open_directory
local subtree = {}

local MOUNT <const> = "/sys/fs/cgroup"
local LEAF <const> = "supervisor"

-- Processes and controllers do not go together: all that is in the group moves into a leaf of it.
local function move_aside(directory)
  if not directory:read("cgroup.type") then -- which the first of all lacks, and there they do
    return
  end
  for _ = 1, 10 do -- somebody may fork meanwhile
    local pids = hierarchy.words(directory:read("cgroup.procs"))
    if not next(pids) then
      return
    end
    local ok, leaf = pcall(directory.create, directory, LEAF)
    if not ok then
      leaf = directory:open(LEAF)
    end
    for pid in pairs(pids) do
      pcall(leaf.write, leaf, "cgroup.procs", pid)
    end
    leaf:close()
  end
end

local function is_delegated(path)
  return host.access(path, "w") and host.access(path .. "/cgroup.procs", "w")
end

-- The subtree that this process is in and may divide; nil and where it is when there is none.
local function own_subtree()
  local own = hierarchy.text("/proc/self/cgroup"):match("0::(/[^\n]*)") or "/"
  local path = (MOUNT .. own):gsub("/+$", "")
  local above = path:match("^(.*)/" .. LEAF .. "$") -- where we have been before
  if above and is_delegated(above) then
    return above
  end
  return is_delegated(path) and path or nil, path
end

local function fail(path, failure)
  hierarchy.fail(path, "this cgroup is not delegated to this user" .. (failure and "; " .. failure.message or ""),
    host.euid() == 0 and "the container around this one needs delegate = true"
    or failure and failure.hint or "systemd-run --user --scope -p Delegate=yes carton ...")
end

-- A scope that this user's systemd makes for this process: a user may make processes only in cgroups with which it
-- has one of its own in common, so it has to be in there itself: cgroups(7).
local function enter_scope(path)
  local systemd = require("carton.systemd")
  if not systemd.is_running() then
    fail(path)
  end
  local ok, result = pcall(systemd.start, host.pid())
  if not ok then
    fail(path, type(result) == "table" and result or error(result, 0))
  end
  return MOUNT .. result
end

-- What a service or scope that root is in was given: systemd marks that, as root may write everywhere. A user's
-- systemd was given its service, but what it makes there is for whom it says.
local function given_subtree()
  local path = own_subtree()
  local above = path
  while above and #above > #MOUNT do
    local directory <close> = open_directory(above)
    if directory:attribute("trusted.delegate") == "1" then
      return (above == path or not above:find("/user@%d+%.service$")) and path or nil
    end
    above = above:match("^(.*)/")
  end
end

-- Where it is, and what has to be released when it is not needed any more.
local function choose(manager)
  local root <close> = open_directory(MOUNT)
  if host.euid() == 0 and not root:read("cgroup.type") then
    local scope = manager == "systemd" and require("carton.systemd").hold()
    return scope and MOUNT .. scope.path or given_subtree() or MOUNT, scope or nil
  end
  local path, own = own_subtree()
  if not path and manager == "cgroupfs" then
    fail(own)
  elseif not path or (manager == "systemd" and not path:find("/carton%-[^/]+%.scope$")) then
    path = enter_scope(path or own)
  end
  return path
end

--- Tell who makes the cgroups that groups are made in.
-- @tparam ?string wish `"systemd"` or `"cgroupfs"`; by default what the environment variable CARTON_CGROUP_MANAGER
--   says, and otherwise nobody: what is delegated is used, and systemd asked only by a user who has nothing
-- @treturn ?string
-- @raise a string that says what is wrong with it
function subtree.manager(wish)
  local manager = wish or os.getenv("CARTON_CGROUP_MANAGER")
  if manager and manager ~= "systemd" and manager ~= "cgroupfs" then
    core.misuse(('limits: field \'manager\': "systemd" or "cgroupfs" expected, got \'%s\''):format(tostring(manager)))
  end
  return manager
end

--- Find the subtree, with nobody in it but in a leaf.
-- @tparam[opt] string manager as of `manager`
-- @treturn directory
-- @treturn string its path
-- @treturn ?scope what to release when the last group in it is gone
-- @raise `carton.error`: `EACCES` nothing is delegated, and why systemd does not either
function subtree.find(manager)
  local path, scope = choose(subtree.manager(manager))
  local ok, directory = pcall(function()
    local opened = open_directory(path)
    move_aside(opened)
    return opened
  end)
  if not ok then
    if scope then
      scope:release()
    end
    error(directory, 0)
  end
  return directory, path, scope
end

return subtree
