-- SPDX-License-Identifier: MIT

--- From a container's fields to a plan: the order of the steps, each with why it stands there.
-- @module carton.compile
local core = require("carton.core")
local capability = require("carton.capability")
local stdio = require("carton.stdio")
local host = core.host
local compile = {}

local NONE <const> = {}
local KINDS <const> = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" }
local PATH <const> = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local USER <const> = { uid = true, gid = true, user = true, group = true, groups = true }
local LOOPBACK <const> = { "namespace.network_up", interface = "lo" }

local home

-- Root without these can do what any user can, which takes a user namespace: in a container, or in a service.
local function is_privileged(has_net)
  local has = core.privilege.has
  return host.euid() == 0 and has("SYS_ADMIN") and has("SETUID") and has("SETGID") and has("SETPCAP")
    and (not has_net or has("NET_ADMIN"))
end

-- Sort the kinds of namespaces into new ones and joined ones; shared ones are in neither. `homes`: as of `home`.
local function namespaces(fields, homes)
  local wish = fields.namespaces or {}
  local new, joined = {}, {}
  for _, kind in ipairs(KINDS) do
    local value = wish[kind]
    if value == nil and kind == "net" and fields.network == "host" then
      value = "host"
    elseif value == nil and kind == "user" then
      value = fields.idmap ~= nil or not is_privileged(new.net)
    elseif value == nil and kind == "time" then
      value = fields.time_offsets ~= nil
    elseif value == nil then
      value = true
    end
    if value == true or value == "new" then
      new[kind] = true
    elseif value and value ~= "host" then
      joined[kind] = value
    end
  end
  -- what belongs to another user namespace can be entered only from inside of that one
  homes = homes or {}
  for _, kind in ipairs(wish.user == nil and next(joined) and KINDS or NONE) do
    local value = joined[kind]
    if type(value) == "table" and value.fields and home(value, homes) then
      if fields.idmap then
        core.misuse(("container: field 'idmap': namespaces.%s joins the user namespace of "
          .. "%s, which has a map already"):format(kind, value.name or "a container"))
      elseif joined.user and home(joined.user, homes) ~= home(value, homes) then
        core.misuse(("container: field 'namespaces': %s and %s are in different user namespaces; "
          .. "namespaces.user says which one is joined"):format(joined.user.name or "one container",
          value.name or "another"))
      end
      new.user, joined.user = nil, joined.user or value
    end
  end
  return new, joined
end

-- The container that was started with a new user namespace in which this one is, too; false when there is none.
-- `homes` keeps the answers: several kinds may be joined of each container in a chain of them.
function home(c, homes)
  local owner = c.parent or c
  if homes[owner] == nil then
    local new, joined = namespaces(owner.fields, homes)
    local other = type(joined.user) == "table" and joined.user
    homes[owner] = new.user and owner or other and other.fields and home(other, homes) or false
  end
  return homes[owner]
end

--- Tell whether a container can leave processes behind when its first process ends: it has no pid namespace of its
-- own, nor shares that of a container which has one. Such a container gets a cgroup, by which all of it is killed.
-- @tparam table fields as of `carton.container`
-- @treturn boolean
function compile.is_loose(fields)
  local wish = fields.namespaces and fields.namespaces.pid
  if type(wish) == "table" then
    return compile.is_loose((wish.parent or wish).fields)
  end
  return not (wish == nil or wish == true or wish == "new")
end

-- The container whose pid namespace is joined, if it is one.
local function pid_owner(fields)
  local wish = fields.namespaces and fields.namespaces.pid
  return type(wish) == "table" and (wish.parent or wish) or nil
end

--- Tell whether a container is a member of a pod that gets a cgroup only to be ended by, where there is one to be had.
-- @tparam table fields as of `carton.container`
-- @treturn boolean
function compile.is_member(fields)
  return fields.namespaces and is_privileged() and not (fields.limits or fields.cgroup or fields.delegate)
    and pid_owner(fields) ~= nil
end

-- Until its set-up is over, a process that enters a pid namespace has all of the caller's privileges. A program inside
-- that may trace it can use them: refuse to enter there.
local function check_tracers(fields)
  local owner = pid_owner(fields)
  if not owner then
    return
  end
  local new, joined = namespaces(owner.fields)
  for _, name in ipairs(not (new.user or joined.user) and capability.resolve(owner.fields.capabilities) or NONE) do
    if name == "SYS_PTRACE" then
      core.error { op = "start", code = "EPERM", message = ("programs of %s could trace the process that enters its "
        .. "pid namespace"):format(owner.name or "the container"), hint = "give it an idmap, or no SYS_PTRACE" }
    end
  end
end

-- A set of kinds as the kernel's words, in a fixed order.
local function names(set)
  local list = {}
  for _, kind in ipairs(KINDS) do
    if set[kind] then
      list[#list + 1] = kind
    end
  end
  return list
end

-- Facts that decide how a step has to be done.
local function gather(fields)
  local new, joined = namespaces(fields)
  local facts = { new = new, joined = joined, has_join = next(joined) ~= nil }
  -- what is new has to belong to the joined user namespace, and what is joined may be closed to a new one:
  -- both are entered first
  facts.late = facts.has_join and (new.user or joined.user) and true or false
  if new.user then
    local layout = type(fields.rootfs) == "table" and fields.rootfs.idmap
    facts.map = require("carton.idmap").resolve(fields.idmap or layout or nil, not is_privileged(new.net))
  end
  facts.ownroot = new.mnt
  if fields.no_userns then
    require("carton.confine").check_userns(fields, facts)
  end
  for _, rule in ipairs(fields.limits and type(fields.limits.devices) == "table" and fields.limits.devices or {}) do
    facts.binds_nodes = facts.binds_nodes or type(rule) == "table" and rule.allow == false
  end
  facts.nestable = type(fields.rootfs) == "table" and fields.rootfs.nestable
  return facts
end

local MOUNTS <const> = { ["mount.attach"] = true, ["mount.bind"] = true, ["mount.cgroup"] = true,
  ["mount.devpts"] = true, ["mount.filesystem"] = true, ["mount.move"] = true, ["mount.mqueue"] = true,
  ["mount.overlay"] = true, ["mount.proc"] = true, ["mount.sysfs"] = true, ["mount.tmpfs"] = true,
  ["mount.unmount"] = true }

-- A path as its names in a row, "/dev/null/"; nil when it climbs.
local function components(path)
  path = tostring(path)
  path = (path:sub(1, 1) == "/" and "" or "/") .. path .. "/"
  if path:find("//", 1, true) or path:find("/.", 1, true) then
    path = path:gsub("/%./", "/"):gsub("/+", "/")
    return not path:find("/../", 1, true) and path or nil
  end
  return path
end

local function is_fresh_mount(step)
  local options = type(step.options) == "table" and step.options or {}
  for _, option in ipairs(options) do
    if option == "nodev" then
      return false
    end
  end
  return step[1] == "mount.tmpfs"
end

-- Whether a path lies in a file system that is made for the container: a node there can be opened, and disappears with
-- the container. Anywhere else the node would stay on the host, and usually could not be opened.
local function is_fresh(path, facts)
  path = components(path)
  for i = path and #facts.mounted or 0, 1, -1 do
    local mount = facts.mounted[i]
    if mount[1] then -- a step that was not looked at yet
      mount = { place = components(mount.target), fresh = is_fresh_mount(mount) }
      facts.mounted[i] = mount
    end
    if not mount.place or path:sub(1, #mount.place) == mount.place then
      return mount.place ~= nil and mount.fresh
    end
  end
  return false
end

-- Whether the kernel refuses what it takes for the host's root alone; looked up when a step depends on it.
local function in_userns(facts)
  if facts.userns == nil then
    facts.userns = facts.new.user or facts.joined.user ~= nil or host.euid() ~= 0
      or not require("carton.userns").is_first()
  end
  return facts.userns
end

local ADAPTED <const> = { ["mount.device"] = true, ["mount.devpts"] = true, ["mount.mqueue"] = true,
  ["mount.overlay"] = true, ["mount.proc"] = true, ["mount.sysfs"] = true }

-- Steps that the kernel refuses in a user namespace, or for what is shared with the host, done otherwise. The devices
-- of the usual system are made on its own /dev.
local function adapt(step, facts, on_own_dev)
  local name, changed = step[1], nil
  if not ADAPTED[name] then
    return step
  elseif name == "mount.device" and step.bind == nil
    and (in_userns(facts) or facts.binds_nodes or not (on_own_dev or is_fresh(step.path, facts))) then
    changed = { bind = true } -- mknod(2) is refused there, or makes what nobody can open
  elseif not in_userns(facts) then
    if name == "mount.devpts" and step.gid == nil then
      changed = { gid = "5" } -- group tty, which has to be mapped: pts(4)
    end
  elseif name == "mount.overlay" then
    changed = { data = { userxattr = true } }
    for key, value in pairs(step.data or {}) do
      changed.data[key] = value
    end
  elseif (name == "mount.proc" and not (facts.new.pid or facts.joined.pid))
    or (name == "mount.sysfs" and not (facts.new.net or facts.joined.net)) then
    return { "mount.bind", source = name == "mount.proc" and "/proc" or "/sys", target = step.target, recursive = true,
      nofollow = step.nofollow ~= false, options = step.options }
  elseif name == "mount.mqueue" and not (facts.new.ipc or facts.joined.ipc) then
    return { "mount.bind", source = "/dev/mqueue", target = step.target, optional = true }
  end
  if not changed then
    return step
  end
  for key, value in pairs(step) do
    if changed[key] == nil then
      changed[key] = value
    end
  end
  return changed
end

-- The steps that make the root, and whether those of the usual system come after them.
local function layout(fields, facts)
  local rootfs = fields.rootfs
  if type(rootfs) ~= "string" then
    return rootfs or {}, false
  elseif facts.given then
    return { require("carton.rootfs").place(rootfs) }, true
  end
  return require("carton.rootfs").dir(rootfs), false
end

-- What the program gets, and whether its HOME is to be looked up: that of its user, unless one was said. `outer`: the
-- fields of the container, for a further program.
local function environment(fields, extra, outer)
  local env = { PATH = PATH }
  for _, given in ipairs { outer or NONE, fields } do
    env.TERM = env.TERM or (given.terminal and "xterm") or nil
    for key, value in pairs(given.env or NONE) do
      local name = key
      if math.type(key) == "integer" then
        local text = tostring(value)
        name, value = text:match("^([^=]+)=(.*)$")
        if not name then
          core.misuse(("container: field 'env': '%s' is not NAME=VALUE"):format(text))
        end
      end
      env[name] = value
    end
  end
  local looks = env.HOME == nil
  if looks then
    local is_root = fields.user == nil or fields.user == "root" or fields.user == "0"
    env.HOME = is_root and "/root" or "/"
  end
  for key, value in pairs(env) do
    env[key] = value or nil -- false: not even a default
  end
  for key, value in pairs(extra) do
    env[key] = value
  end
  return env, looks and fields.user ~= nil or nil
end

local function user_step(user, map)
  user = user or (map and map.user)
  if user == nil then
    return { "privilege.user", uid = 0, gid = 0 }
  elseif type(user) == "table" then
    for key in pairs(user) do
      if not USER[key] then
        core.misuse(("container: field 'user': unknown field '%s'"):format(tostring(key)))
      end
    end
    if user.uid == nil and user.user == nil then
      core.misuse("container: field 'user': uid or user is missing")
    end
    local step = { "privilege.user" }
    for key, value in pairs(user) do -- all of them: the primitive refuses what it does not know
      step[key] = value
    end
    if math.type(step.uid) == "integer" and not step.user then
      step.user, step.uid = ("%d"):format(step.uid), nil -- or its group and home are not looked up
    end
    return step
  end
  local name, group = tostring(user):match("^([^:]*):(.*)$")
  return { "privilege.user", user = name or tostring(user), group = group }
end

-- The list of descriptors, and what tells the program their names: sd_listen_fds(3).
local function descriptors(fields, fds, facts)
  local list, labels = { fds[1], fds[2], fds[3] }, {}
  for name in pairs(fields.descriptors or {}) do
    labels[#labels + 1] = name
  end
  if #labels == 0 then
    return list, {}
  end
  table.sort(labels)
  for i, name in ipairs(labels) do
    list[3 + i] = fields.descriptors[name]
  end
  return list, {
    LISTEN_FDS = tostring(#labels),
    LISTEN_FDNAMES = table.concat(labels, ":"),
    LISTEN_PID = facts.new.pid and (fields.init and "2" or "1") or nil,
  }
end

-- With cgroup v1 a process enters its groups itself, before anything else; a cgroup namespace begins
-- where it is when it is made.
local function add_cgroup(add, facts, group)
  local directories = group and group.list or facts.files and facts.files.v1
  if directories then
    add { "cgroup.enter", cgroups = directories }
    if facts.new.cgroup and not facts.late then
      facts.new.cgroup = nil
      add { "namespace.unshare", kinds = { "cgroup" } }
      facts.entered = true
    end
  end
end

local function add_namespaces(add, fields, facts, handles)
  local new, joined = facts.new, facts.joined
  if facts.has_join then
    add { "namespace.enter", namespaces = handles }
  end
  if facts.late then
    add { "namespace.unshare", kinds = names(new) }
  end
  if joined.pid or (facts.late and new.pid) then
    add { "exec.fork" } -- only a child is inside
  end
  if new.user then
    if facts.map.single then -- which the process may write itself: user_namespaces(7)
      add { "namespace.idmap", uids = facts.map.uids, gids = facts.map.gids }
    else
      add { "sync", name = "idmap" }
    end
  end
  if new.user and fields.no_userns then -- while it has CAP_SYS_RESOURCE there, and /proc
    add { "privilege.no_userns" }
  end
  if new.time then -- before the ids change: /proc/self is somebody else's then
    local offsets = fields.time_offsets or {}
    add { "namespace.time_offsets", monotonic = offsets.monotonic, boottime = offsets.boottime }
  end
  if joined.user or (new.user and facts.map.root and not facts.map.single) then
    add { "privilege.user", uid = 0, gid = 0 } -- who makes files below has to be mapped
  end
  if new.uts then
    add { "namespace.hostname", name = fields.hostname or fields.name or "carton" }
    if fields.domainname then
      add { "namespace.domainname", name = fields.domainname }
    end
  end
  if new.net then
    add(LOOPBACK)
  end
end

-- What a layout mounts before it has made the root would be made in the host's.
local function check_first(list)
  for _, step in ipairs(list) do
    local name = type(step) == "table" and tostring(step[1]) or ""
    if name:find("^mount%.") and name ~= "mount.propagation" then
      local place = step.path or step.target
      if type(place) == "string" and not place:find("^/+$") then
        core.misuse(("container: field 'rootfs': the first step makes the root, with target = \"/\"; "
          .. "%s on %s comes before that"):format(name, place))
      end
      return
    end
  end
end

local SLAVE <const> = { slave = true, rslave = true }

-- The steps of `rootfs` and `mounts`, and whether any mount follows the host's.
local function mount_steps(list, fields, facts)
  local steps = {}
  for _, step in ipairs(list) do
    if type(step) ~= "table" then
      core.misuse(("container: field 'rootfs': a step is a table, got %s"):format(type(step)))
    end
    steps[#steps + 1] = step
  end
  for _, mount in ipairs(fields.mounts or {}) do
    steps[#steps + 1] = require("carton.mounts").step(mount)
  end
  for _, step in ipairs(steps) do
    if SLAVE[step.propagation] and require("carton.slave").check(step, facts.given) then
      facts.follows = true
    end
  end
  return steps
end

local systems = {}

-- What the steps of the usual system become depends on these facts alone.
local function system_key(fields, facts)
  local new, joined = facts.new, facts.joined
  return (in_userns(facts) and 1 or 0) | (facts.binds_nodes and 2 or 0) | (facts.follows and 4 or 0)
    | ((new.pid or joined.pid) and 8 or 0) | ((new.net or joined.net) and 16 or 0)
    | ((new.ipc or joined.ipc) and 32 or 0) | (facts.shows_cgroup and 64 or 0) | (fields.delegate and 128 or 0)
end

-- Add the usual system to the root of a container that starts: steps that are made once, and that a launch only reads.
local function add_system(steps, place, fields, facts)
  local key, mounted = system_key(fields, facts), facts.mounted
  local system = systems[key]
  if system then
    table.move(system.steps, 1, #system.steps, #steps + 1, steps)
    table.move(system.mounted, 1, #system.mounted, #mounted + 1, mounted)
  else
    local first, uppermost = #steps + 1, #mounted + 1
    for _, step in ipairs(require("carton.rootfs").system { mask = false }) do
      place(step, true)
    end
    systems[key] = { steps = table.move(steps, first, #steps, 1, {}),
      mounted = table.move(mounted, uppermost, #mounted, 1, {}) }
  end
end

-- Gives the step that masks what is mounted; it comes last.
local function add_root(plan, fields, facts)
  local list, is_usual = layout(fields, facts)
  check_first(list)
  local readonly = fields.readonly
  if readonly == nil then
    readonly = list.readonly
  end
  local steps, walls = mount_steps(list, fields, facts), require("carton.walls")
  local collected = walls.new()
  facts.mounted = {}
  -- nothing below reaches the host, and nothing that the host mounts reaches a bind but where that is asked for
  plan[#plan + 1] = { "mount.propagation", propagation = facts.follows and "rslave" or "rprivate" }
  local function add(step)
    if MOUNTS[step[1]] then
      facts.mounted[#facts.mounted + 1] = step -- the last one is the uppermost
    end
    if facts.follows and step[1] == "mount.bind" and not step.propagation then
      local private = { propagation = "rprivate" }
      for key, value in pairs(step) do
        private[key] = value
      end
      step = private
    end
    plan[#plan + 1] = step
  end
  local function place(step, of_system)
    add(adapt(step, facts, of_system))
    if step[1] == "mount.sysfs" and facts.shows_cgroup then -- programs ask there what they may use
      add { "mount.cgroup", target = step.target .. "/fs/cgroup",
        options = { "nosuid", "nodev", "noexec", not fields.delegate and "ro" or nil } }
    end
  end
  for i, step in ipairs(steps) do
    if not collected.take(step) then
      place(walls.harden(step))
    end
    if readonly and walls.brings_mounts(step) then -- others are as their steps say
      add { "mount.setattr", target = "/", below = true, options = { "ro" } }
    end
    if is_usual and i == #list then -- hardened as it is, and what it masks is collected
      local rootfs = require("carton.rootfs")
      add_system(plan, place, fields, facts)
      collected.take { "mount.mask", paths = rootfs.masked } -- which a recipe may have changed
      collected.take { "mount.readonly", paths = rootfs.readonly }
    end
  end
  for _, device in ipairs(fields.devices or {}) do
    local step = type(device) == "table" and device or { path = device }
    local copy = { "mount.device" }
    for key, value in pairs(step) do
      copy[key] = value
    end
    add(adapt(copy, facts))
  end
  if readonly then -- after the last mount, which may have needed a place to be made
    add { "mount.setattr", target = "/", options = { "ro" } }
  end
  return collected.step()
end

local function add_parameters(add, fields)
  local names_of = {}
  for name in pairs(fields.sysctl or {}) do
    names_of[#names_of + 1] = name
  end
  table.sort(names_of)
  for _, name in ipairs(names_of) do
    add { "privilege.sysctl", name = name, value = tostring(fields.sysctl[name]) }
  end
end

-- Connect the program: to a terminal, or to three descriptors; the named ones follow.
local function add_descriptors(add, fields, list, console, placed)
  if not fields.terminal then
    add { "exec.setsid" } -- away from the caller's terminal
    if not placed then
      add { "exec.descriptors", fds = list }
    end
    return
  end
  local size = type(fields.terminal) == "table" and fields.terminal or {}
  add { "exec.terminal", console = console, rows = size.rows, columns = size.columns }
  if #list > 3 then
    add { "exec.descriptors", fds = table.move(list, 4, #list, 4, { false, false, false }) }
  end
end

local FEW <const> = 16 -- descriptors: fewer than a launch itself needs

-- The limits to set at first, while there is the privilege to raise them, and those to set when all else is done.
local function split_limits(fields)
  local limits = type(fields.rlimits) == "table" and fields.rlimits or {}
  local files = limits.nofile
  local most = type(files) == "table" and files.soft or files
  if math.type(most) ~= "integer" or most >= FEW then
    return fields.rlimits, nil
  end
  local first = {}
  for name, value in pairs(limits) do
    first[name] = name ~= "nofile" and value or nil
  end
  return next(first) and first, { nofile = files }
end

local function add_process(add, fields)
  local limits = split_limits(fields)
  if limits then
    add { "privilege.rlimits", limits = limits }
  end
  add { "privilege.umask", mask = fields.umask or "0022" }
  for _, name in ipairs { "scheduler", "ioprio" } do
    if fields[name] then
      local step = { "privilege." .. name }
      for key, value in pairs(fields[name]) do
        step[key] = value
      end
      add(step)
    end
  end
  if fields.affinity then
    add { "privilege.affinity", cpus = fields.affinity }
  end
  if fields.personality then
    add { "privilege.personality", persona = fields.personality }
  end
  if fields.keyring ~= "inherit" then -- while it counts against root's quota, not against that of its user
    add { "privilege.session_keyring", optional = true }
  end
end

local function filter(wish, capabilities, nestable)
  local program = (wish == nil or wish == "default")
    and require("carton.seccomp.ready").program(capabilities, nestable)
  return program and { "privilege.seccomp", name = "default", program = program }
    or require("carton.seccomp").step(wish, capabilities, nestable)
end

local function add_privileges(add, fields, facts)
  local set = capability.resolve(fields.capabilities)
  local ambient = capability.ambient(fields.capabilities)
  if not facts.surrendered then
    add { "privilege.capabilities", bounding = set } -- takes CAP_SETPCAP: before the user
  end
  add(user_step(fields.user, facts.map))
  if not (facts.ownroot and (fields.cwd or "/") == "/") then
    add { "exec.chdir", path = fields.cwd or "/" } -- as that user
  end
  local filters = fields.on_syscall and require("carton.syscall").steps(fields, set, facts)
    or { filter(fields.seccomp, set, facts.nestable) }
  if filters[1] and fields.no_new_privs == false then -- then it takes CAP_SYS_ADMIN, which the next sets may lack
    add { "privilege.capabilities", effective = { "SYS_ADMIN" } }
    add(filters[1])
    add(filters[2])
  end
  add { "privilege.capabilities", permitted = set, effective = set, inheritable = ambient,
    ambient = ambient }
  for _, step in ipairs(fields.label and require("carton.confine").labels(fields.label) or {}) do
    add(step) -- before Landlock, which may keep it from /proc
  end
  if fields.no_new_privs ~= false then
    add { "privilege.no_new_privs" }
  end
  if fields.die_with_parent ~= false then
    add { "exec.die_with_parent" } -- again: a change of ids has undone it
  end
  local _, limits = split_limits(fields)
  if limits then
    add { "privilege.rlimits", limits = limits }
  end
  if fields.no_userns then -- with what the program will have
    add { "privilege.no_userns", check = true }
  end
  if fields.landlock then -- last: it takes no_new_privs, and nothing can be mounted afterwards
    add(require("carton.landlock").step(fields.landlock))
  end
  if fields.no_new_privs ~= false then -- last: they need not allow what is done before
    add(filters[1])
    add(filters[2])
  end
end

-- Whether a container has a user namespace that is not the host's.
local function has_userns(fields)
  local new, joined = namespaces(fields)
  return (new.user or joined.user) ~= nil
end

--- What the limits of a container are to the kernel.
-- @tparam table fields as of `carton.container`
-- @treturn ?{table,...} as of `carton.limits.files`; nil when it needs no cgroup of its own, an empty list when it
--   needs one only to be ended by. For root it is told which devices it may use; that is optional unless it was asked
--   for, or nodes of any device could be made.
function compile.files(fields)
  if fields.limits or fields.cgroup or fields.delegate or fields.capabilities then
    local files = require("carton.group").files(fields, has_userns(fields))
    if files then
      return files
    end
  end
  return (compile.is_loose(fields) or compile.is_member(fields)) and {} or nil
end

--- Hand a cgroup over to the root of its container.
-- @tparam table fields as of `carton.container`
-- @tparam group group of `carton.cgroup`
-- @raise `carton.error`: `EOPNOTSUPP` cgroup v1 cannot be delegated safely; `EPERM` it could raise its own limits
function compile.delegate(fields, group)
  require("carton.group").hand_over(fields, gather, group)
end

--- Compile fields into a plan.
-- @tparam table fields as of `carton.container`
-- @tparam[opt] table given what a start has opened: `fds` (three), and `open(joined)`, which gives handles;
--   without it the plan is one to look at, and needs no privilege
-- @treturn table `{ steps = {...}, namespaces = {kinds}, files = ?table, unified = ?directory, map = ?table,
--   facts = table }`
function compile.plan(fields, given)
  local facts = gather(fields)
  if facts.has_join then
    check_tracers(fields)
  end
  local steps = {}
  local function add(step)
    steps[#steps + 1] = step
  end
  facts.given = given ~= nil
  facts.files = compile.files(fields)
  if facts.files and not given then
    facts.files = require("carton.group").foresee(facts.files)
  end
  local group = given and given.group
  facts.shows_cgroup = facts.new.cgroup and facts.files and next(facts.files)
    and not (facts.files.v1 or group and group.list)
  local fds = given and given.fds or {
    stdio.word("stdin", fields.stdin), stdio.word("stdout", fields.stdout),
    stdio.word("stderr", fields.stderr) }
  local handles = given and given.open(facts.joined) or compile.joined(facts.joined)
  local list, listen = descriptors(fields, fds, facts)

  if fields.die_with_parent ~= false then
    add { "exec.die_with_parent" } -- first: nobody would finish what follows
  end
  if fields.oom_score_adj then -- while /proc/self is our own
    add { "privilege.oom_score_adj", value = fields.oom_score_adj }
  end
  add_cgroup(add, facts, group)
  add_namespaces(add, fields, facts, handles)
  local masks = facts.ownroot and add_root(steps, fields, facts)
  add_parameters(add, fields)
  if fields.on and fields.on.created then
    add { "sync", name = "created" }
  end
  if facts.ownroot then
    add { "mount.pivot_root" }
    add(masks or nil) -- after the last mount, whatever it is and wherever, and with no mount of the host's to look at
  end
  add_descriptors(add, fields, list, facts.ownroot and "/dev/console" or nil)
  add_process(add, fields)
  add_privileges(add, fields, facts)
  local env, looks_up = environment(fields, listen)
  add { "exec.exec", args = fields.args, env = env, home = looks_up, path = fields.path, init = fields.init or nil,
    shield = not fields.init or nil }
  return { steps = steps, namespaces = facts.late and {} or names(facts.new), map = facts.map,
    facts = facts, files = facts.files, unified = group and group.unified }
end

--- Name the namespaces that are joined, for a plan that is only looked at.
-- @tparam table joined kind -> what was given
-- @treturn list
function compile.joined(joined)
  local list = {}
  for _, kind in ipairs(names(joined)) do
    local value = joined[kind]
    if type(value) == "table" then
      value = ("%s of %s"):format(kind, value.name or "container")
    end
    list[#list + 1] = value
  end
  return list
end

-- Capabilities that the steps after exec.fork need: for ids, limits and priorities.
local ENTERED <const> = { SETUID = true, SETGID = true, SYS_RESOURCE = true, SYS_NICE = true }

-- Have no more than the program will, before somebody inside takes it who has SYS_PTRACE. In a user namespace nobody
-- can, as the memory of who enters belongs to ours.
local function add_surrender(add, fields, list, given)
  local set, keep, kept = capability.resolve(fields.capabilities), {}, {}
  for i, name in ipairs(set) do
    keep[i], kept[name] = name, true
  end
  for _, name in ipairs(core.privilege.permitted()) do
    if (ENTERED[name] or name == "SYS_ADMIN" and fields.no_new_privs == false) and not kept[name] then
      keep[#keep + 1] = name
    end
  end
  local fds = table.move(list, 1, #list, 1, {})
  if fields.terminal and given.null then -- it takes their places, inside
    fds[1] = given.null()
    fds[2], fds[3] = fds[1], fds[1]
  end
  add { "exec.descriptors", fds = fds }
  add { "privilege.capabilities", bounding = set, permitted = keep, effective = keep }
end

--- Compile a further program of a running container: `container:exec`.
-- @tparam table fields of that program
-- @tparam container c the running one
-- @tparam table given `fds`; `null()`, which opens /dev/null
-- @treturn table `{ steps = {...}, namespaces = {} }`
function compile.exec(fields, c, given)
  local facts, limits = gather(c.fields), c.fields.limits or {}
  if limits.devices ~= false and fields.capabilities and not (given.group and given.group.devices)
    and require("carton.group").has_mknod(fields, has_userns(c.fields)) then
    core.error { op = "exec", code = "EPERM", message = "MKNOD, where nothing says which devices may be opened",
      hint = 'limits = { devices = "default" } of the container says it' }
  end
  local steps = {}
  local function add(step)
    steps[#steps + 1] = step
  end
  local entered = {}
  for kind in pairs(facts.new) do
    entered[kind] = true
  end
  for kind in pairs(facts.joined) do
    entered[kind] = true
  end
  local list, listen = descriptors(fields, given.fds, facts)
  if given.group and given.group.list then
    add { "cgroup.enter", cgroups = given.group.list }
  end
  add { "exec.die_with_parent" }
  add { "namespace.enter", process = c.process, kinds = names(entered) }
  facts.surrendered = entered.pid and not entered.user
  if facts.surrendered then
    add_surrender(add, fields, list, given)
    for i = 1, #list do -- they have their numbers
      list[i] = i - 1
    end
  end
  if entered.pid then
    add { "exec.fork" }
  end
  if entered.user then
    add(user_step(nil, facts.map)) -- before, it is an id from outside
  end
  add_descriptors(add, fields, list, nil, facts.surrendered)
  add_process(add, fields)
  facts.ownroot = false
  if fields.no_userns then -- as the further program's capabilities may be others
    require("carton.confine").check_userns(fields, facts)
  end
  add_privileges(add, fields, facts)
  listen.LISTEN_PID = nil
  local env, looks_up = environment(fields, listen, c.fields)
  add { "exec.exec", args = fields.args, path = fields.path, shield = true, env = env, home = looks_up }
  local unified = given.group and given.group.unified
  if unified and c.fields.delegate then
    unified = given.group:directory_of(c.process:pid())
  end
  return { steps = steps, namespaces = {}, facts = facts, unified = unified }
end

return compile
