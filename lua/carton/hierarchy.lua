-- SPDX-License-Identifier: MIT

--- Where cgroups are made: which hierarchies a host has, the subtree that is ours, controllers, names, and what
-- is left behind there. Directories in, directories out; `carton.cgroup` is what users call.
-- @module carton.hierarchy
local core = require("carton.core")
local host = core.host
local open_directory = core.cgroup.open_directory
local hierarchy = {}

local MOUNT <const> = "/sys/fs/cgroup"
local PREFIX <const> = "carton-"
local MOST <const> = 1 << 18 -- cgroups below one that are visited: the kernel has 65535 of v2
local OURS <const> = "^carton%-.+%-" .. ("%x"):rep(8) .. "$"

--- Read a file of the kernel's.
-- @tparam string path
-- @treturn string its content, empty when it is not there
function hierarchy.text(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

--- Raise a `carton.error` of a cgroup.
-- @tparam string path of the level that it is about
-- @tparam string message
-- @tparam[opt] string hint
-- @tparam[opt="EACCES"] string code
function hierarchy.fail(path, message, hint, code)
  core.error { op = "cgroup", path = path, code = code or "EACCES", message = message, hint = hint }
end

-- The hierarchies of v1, as they were when this was mounted there.
local known = {}

--- Tell how this host groups processes.
-- @treturn table `{ version = 1 | 2, controllers = { memory = "/sys/fs/cgroup/memory", ... } }`; with version 2
--   all are in one place, and `version` is 1 where any controller is bound to v1
function hierarchy.layout()
  local statfs = host.statfs(MOUNT)
  if statfs and statfs.type == "cgroup2" then
    local controllers = {}
    for name in hierarchy.text(MOUNT .. "/cgroup.controllers"):gmatch("%S+") do
      controllers[name] = MOUNT
    end
    return { version = 2, controllers = controllers }
  end
  local stat = host.stat(MOUNT)
  if stat and known.layout and stat.dev == known.dev and stat.ino == known.ino and stat.links == known.links then
    return known.layout
  end
  local controllers = {}
  for names in hierarchy.text("/proc/self/cgroup"):gmatch("%d+:([%w_,]+):[^\n]*") do
    local together = host.stat(MOUNT .. "/" .. names)
    for name in names:gmatch("[^,]+") do
      controllers[name] = MOUNT .. "/" .. (together and names or name)
    end
  end
  local layout = { version = 1, controllers = controllers }
  if stat then
    known = { layout = layout, dev = stat.dev, ino = stat.ino, links = stat.links }
  end
  return layout
end

--- Tell whether a cgroup namespace keeps its processes from the limits of its own root.
-- @treturn boolean
-- @see cgroups(7)
function hierarchy.is_nsdelegate()
  return hierarchy.text("/proc/self/mountinfo"):find(" %- cgroup2 [^\n]*[ ,]nsdelegate") ~= nil
end

--- Call a method of a directory that may be gone meanwhile; nil then. Who lives in a group may divide it
-- further, and undo that.
function hierarchy.present(directory, method, ...)
  local ok, result = pcall(directory[method], directory, ...)
  if ok then
    return result
  elseif type(result) == "table" and (result.code == "ENOENT" or result.code == "ENODEV") then
    return nil
  end
  error(result, 0)
end

-- All that is below a directory, the deepest first. Two directories are open at a time, however deep the tree is:
-- `levels` holds names, and the way up leads through "..".
local function descend(directory, visit, open)
  local levels = { { left = hierarchy.present(directory, "children") or {} } }
  local count = 0
  while true do
    local level = levels[#levels]
    local name = table.remove(level.left)
    local child = name and hierarchy.present(open.here, "open", name)
    if child then
      count = count + 1
      if count > MOST then -- somebody makes them faster than they are visited
        hierarchy.fail(name, "it has too many cgroups below it", nil, "EBUSY")
      end
      open.move(child)
      levels[#levels + 1] = { name = name, left = hierarchy.present(child, "children") or {} }
    elseif not name then
      if #levels == 1 then
        return
      end
      table.remove(levels)
      local above = #levels > 1 and hierarchy.present(open.here, "above", levels[#levels].name)
      visit(open.here)
      if #levels > 1 and not above then -- it is gone, and all that was in it
        return
      end
      open.move(above or directory)
    end
  end
end

--- Visit all that is below a directory, the deepest first.
function hierarchy.walk(directory, visit)
  local open = { here = directory }
  function open.move(to)
    if open.here ~= directory then
      open.here:close()
    end
    open.here = to
  end
  local ok, err = pcall(descend, directory, visit, open)
  open.move(directory)
  if not ok then
    error(err, 0)
  end
end

--- The text of cgroup.procs. A threaded cgroup does not tell: its processes are told of by its domain, above.
function hierarchy.procs(directory)
  local ok, text = pcall(hierarchy.present, directory, "read", "cgroup.procs")
  if ok then
    return text or ""
  elseif type(text) == "table" and text.code == "EOPNOTSUPP" then
    return ""
  end
  error(text, 0)
end

--- Tell whether a process is in a directory or below it.
function hierarchy.is_populated(directory)
  local events = hierarchy.present(directory, "read", "cgroup.events") -- of v2
  if events then
    return events:find("populated 1", 1, true) ~= nil
  end
  local found = hierarchy.procs(directory) ~= ""
  hierarchy.walk(directory, function(child)
    found = found or hierarchy.procs(child) ~= ""
  end)
  return found
end

-- With v1 a process that was killed while it was frozen waits for a thaw: let it go.
local function bury(child)
  local state = child:read("freezer.state")
  if not state or state:find("^THAWED") then
    return
  end
  for pid in hierarchy.procs(child):gmatch("%d+") do
    local pending = hierarchy.text("/proc/" .. pid .. "/status"):match("\nShdPnd:%s*(%x+)")
    if pending and tonumber(pending, 16) & 0x100 ~= 0 then -- SIGKILL
      pcall(child.write, child, "freezer.state", "THAWED")
    end
  end
  for _ = 1, 100 do
    if hierarchy.procs(child) == "" then
      return
    end
    core.exec.poll({}, 0.005)
  end
end

--- Remove all that is below a directory.
-- @tparam directory directory
-- @raise `carton.error`: `EBUSY` processes are in one of them
function hierarchy.remove_below(directory)
  hierarchy.walk(directory, function(child) child:remove() end)
end

-- Remove what cartons that were killed left behind: it has a name that `create_in` gives, nobody holds its lock
-- any more, and nobody lives in it.
local swept = {}
local function sweep(directory)
  local path = directory:name()
  if swept[path] then
    return
  end
  swept[path] = true
  for _, name in ipairs(directory:children()) do
    if name:find(OURS) then
      pcall(function()
        local child <close> = directory:open(name)
        if child:lock() then
          bury(child)
          if not hierarchy.is_populated(child) then
            hierarchy.remove_below(child)
            child:remove()
          end
        end
      end)
    end
  end
end

-- Make a group with a name that nobody has.
local function create_in(directory, label)
  sweep(directory)
  label = PREFIX .. (label or "group"):gsub("[^%w_.%-]", "_"):sub(1, 100)
  while true do
    local ok, made = pcall(directory.create, directory,
      ("%s-%08x"):format(label, math.random(0) & 0xffffffff))
    if ok then
      return made
    elseif type(made) ~= "table" or made.code ~= "EEXIST" then
      error(made, 0)
    end
  end
end

--- Split a text into a set of words.
function hierarchy.words(text)
  local set = {}
  for word in (text or ""):gmatch("%S+") do
    set[word] = true
  end
  return set
end

-- Say which level has a controller and does not pass it on.
local function fail_controller(path, name)
  while path ~= MOUNT do
    path = path:match("^(.*)/")
    if hierarchy.words(hierarchy.text(path .. "/cgroup.controllers"))[name] then
      hierarchy.fail(path, ("controller '%s' is not enabled for what is below it"):format(name),
        ("echo +%s > %s/cgroup.subtree_control"):format(name, path), "ENOENT")
    end
  end
  hierarchy.fail(path, ("controller '%s' is not there"):format(name),
    "the kernel lacks it, it is bound to cgroup v1, or a container around this one does not pass it on", "ENOENT")
end

local function enable(directory, path, controllers)
  local available, on = hierarchy.words(directory:read("cgroup.controllers")),
    hierarchy.words(directory:read("cgroup.subtree_control"))
  for _, name in ipairs(controllers) do
    if not available[name] then
      fail_controller(path, name)
    elseif not on[name] then
      directory:write("cgroup.subtree_control", "+" .. name)
    end
  end
end

local function controllers_of(files, version)
  local list, seen = {}, { cgroup = true, devices = version == 2 } -- for which v2 has programs
  for _, entry in ipairs(files) do
    local name = entry.file:match("^[^.]+")
    if not seen[name] then
      seen[name], list[#list + 1] = true, name
    end
  end
  return list, seen
end

local function make2(directory, path, name, files)
  local needed, seen = controllers_of(files, 2)
  enable(directory, path, needed)
  local available = hierarchy.words(directory:read("cgroup.controllers"))
  for _, extra in ipairs { "memory", "pids", "cpu" } do -- for what is told of it at the end
    if available[extra] and not seen[extra] then
      pcall(enable, directory, path, { extra })
    end
  end
  return create_in(directory, name)
end

--- Make the directory of a group with cgroup v2.
-- @tparam ?string name a part of the directory's
-- @tparam {table,...} files as of `carton.limits.files`, whose controllers it needs
-- @tparam[opt] string manager as of `carton.subtree.find`
-- @treturn table `{ version = 2, unified = directory, owner = pid, scope = what is held of systemd's, if anything }`
function hierarchy.create2(name, files, manager)
  local directory <close>, path, scope = require("carton.subtree").find(manager)
  local group = { version = 2, owner = host.pid(), scope = scope, unified = false } -- what is made takes no memory then
  local ok, made = pcall(make2, directory, path, name, files)
  if not ok then
    if scope then
      scope:release()
    end
    error(made, 0)
  end
  group.unified = made
  return group
end

-- What a group of v1 is made of besides what its limits need: told of at the end, frozen, killed, changed later.
local USEFUL <const> = { "memory", "cpuacct", "pids", "cpu", "devices" }

local READONLY <const> = { EACCES = true, EPERM = true, EROFS = true }

local function fail_v1(controller)
  local unified = MOUNT .. "/unified"
  if hierarchy.words(hierarchy.text(unified .. "/cgroup.controllers"))[controller] then
    hierarchy.fail(unified, ("controller '%s' is bound to cgroup v2, others to v1"):format(controller),
      "boot with all of them in one place: systemd.unified_cgroup_hierarchy=1", "ENOENT")
  end
  hierarchy.fail(MOUNT, ("controller '%s' is not there"):format(controller),
    "the kernel lacks it, or it is not mounted", "ENOENT")
end

local function make1(group, name, files, layout)
  local needed, seen = controllers_of(files)
  if not seen.freezer and (layout.controllers.freezer or #files == 0) then -- first: what is left may have to be thawed
    table.insert(needed, 1, "freezer") -- without files it is there to be ended by, and needs one
  end
  for _, extra in ipairs(#files > 0 and USEFUL or {}) do
    if layout.controllers[extra] and not seen[extra] then
      needed[#needed + 1] = extra
    end
  end
  local made = {}
  for _, controller in ipairs(needed) do
    local v1 = controller == "io" and "blkio" or controller
    local path = layout.controllers[v1]
    if not path then
      fail_v1(controller)
    end
    if not made[path] then
      local parent <close> = open_directory(path)
      local place = #group.list + 1
      made[path], group.list[place] = false, false -- their places first: what is made takes no memory then
      local ok, result = pcall(create_in, parent, name)
      if not ok and type(result) == "table" and READONLY[result.code] then
        hierarchy.fail(path, "this user may not write there",
          "limits without root take cgroup v2: with v1 nothing is delegated")
      elseif not ok then
        error(result, 0)
      end
      made[path], group.list[place] = result, result
      if v1 == "cpuset" then -- an empty set takes no process: cpuset(7)
        made[path]:write("cpuset.mems", (parent:read("cpuset.mems"):gsub("%s+$", "")))
        made[path]:write("cpuset.cpus", (parent:read("cpuset.cpus"):gsub("%s+$", "")))
      end
    end
    group.dirs[controller] = made[path]
  end
end

--- Make the directories of a group with cgroup v1, one of each hierarchy, or none of them.
-- @tparam ?string name a part of the directories'
-- @tparam {table,...} files as of `carton.limits.files`, whose controllers it needs
-- @tparam table layout as of `layout`
-- @treturn table `{ version = 1, dirs = { memory = directory, ... }, list = {directories}, owner = pid }`
function hierarchy.create1(name, files, layout)
  local group = { version = 1, dirs = {}, list = {}, owner = host.pid() }
  local ok, err = pcall(make1, group, name, files, layout)
  if not ok then
    for _, directory in ipairs(group.list) do
      if directory then
        pcall(directory.remove, directory)
        directory:close()
      end
    end
    error(err, 0)
  end
  return group
end

--- Leave out what is optional and known not to be there.
-- @tparam {table,...} files as of `carton.limits.files`
-- @tparam table layout as of `layout`
-- @treturn {table,...}
function hierarchy.available(files, layout)
  local list = {}
  for _, entry in ipairs(files) do
    local path = layout.version == 2 or layout.controllers[entry.file:match("^[^.]+")]
    if not entry.optional or path == true or (path and host.access(path, "w")) then
      list[#list + 1] = entry
    end
  end
  return list
end

--- Do without something that is optional and has failed: as the group above has it.
-- @tparam table group as of `create1` or `create2`
-- @tparam string controller
-- @treturn boolean false where that is not possible
function hierarchy.forgo(group, controller)
  local mine = group.version == 1 and group.dirs[controller]
  for name, directory in pairs(mine and group.dirs or {}) do
    if directory == mine and name ~= controller then
      return false
    end
  end
  for i, directory in ipairs(mine and group.list or {}) do
    if directory == mine then
      table.remove(group.list, i)
      group.dirs[controller] = nil
      directory:remove()
      directory:close()
      break
    end
  end
  return true
end

--- Tell which controllers a group with v1 would have.
-- @tparam {table,...} files as of `carton.limits.files`
-- @treturn table a set of names
function hierarchy.controllers(files)
  local _, set = controllers_of(files)
  set.cgroup = nil
  local layout = hierarchy.layout()
  set.freezer = layout.controllers.freezer and true
  for _, extra in ipairs(#files > 0 and USEFUL or {}) do
    set[extra] = set[extra] or layout.controllers[extra] and true
  end
  return set
end

return hierarchy
