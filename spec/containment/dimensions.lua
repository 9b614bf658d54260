-- SPDX-License-Identifier: MIT
-- What containers are combined from: dimensions, their values, the combinations that mean nothing, and the fields of a
-- container for each combination. The first value of a dimension is the plain one, to which a failure is shrunk.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local dimensions = {}

local NAMESPACES <const> = { "cgroup", "ipc", "net", "pid", "uts", "time" }

dimensions.list = {
  { "way", "run", "start", "exec", "exec-user", "pod" },
  { "layout", "dir", "overlay", "layers", "empty", "host", "steps", "stacked", "submounts", "link", "own" },
  { "system", "masked", "nestable", "none" },
  { "mounts", "none", "bind", "bind-ro", "tmpfs", "proc", "sysfs", "nested", "root-bind", "root-tmpfs", "overlay",
    "devpts", "mqueue" },
  { "idmap", "none", "single", "auto", "explicit" },
  { "user", "root", "uid", "name", "groups", "string" },
  { "capabilities", "default", "none", "all", "add", "drop", "ambient" },
  { "readonly", "default", "true" },
  { "init", "false", "true" },
  { "stdio", "capture", "null", "file", "pipe", "terminal", "inherit" },
  { "limits", "none", "pids", "memory" },
  { "process", "plain", "umask", "rlimits", "cwd", "env" },
  { "no_new_privs", "true", "false" },
  { "seccomp", "default", "false" },
  { "die_with_parent", "true", "false" },
  { "keyring", "new", "inherit" },
  { "no_userns", "false", "true" },
  { "caller", "plain", "umask", "ignored", "descriptors", "deleted", "shared", "groups" },
}
for _, kind in ipairs(NAMESPACES) do
  local list = { kind, "new", "host", "joined" }
  if kind == "time" then
    list = { kind, "host", "new", "joined" }
  end
  table.insert(dimensions.list, list)
end

dimensions.plain = {}
for _, dimension in ipairs(dimensions.list) do
  dimensions.plain[dimension[1]] = dimension[2]
end

-- The layouts whose root is the image made below, with its /etc.
local image = { dir = true, overlay = true, layers = true, stacked = true, submounts = true, link = true }

--- Whether this user has been granted ids.
function dimensions.has_auto()
  return carton.idmap.granted() ~= nil
end

local function has_userns(c)
  return c.idmap ~= "none" or not helper.is_root
end

-- Whether there is one id alone: what the host's layout suffices with.
local function has_single(c)
  return c.idmap == "single" or (not helper.is_root and c.idmap == "none" and c.layout == "host")
end

-- Combinations that mean nothing, or that this user cannot ask for: each with its reason. A rule reads no dimension
-- that it can do without: one that misses a value decides nothing yet.
local rules = {
  { "only root can share a mount with others", function(c) return not helper.is_root and c.caller == "shared" end },
  { "only root can mount below a directory", function(c) return not helper.is_root and c.layout == "submounts" end },
  { "only root can set its groups", function(c) return not helper.is_root and c.caller == "groups" end },
  { "a single id has no other user",
    function(c) return has_single(c) and c.user ~= "root" end },
  { "a single id has no other user for a further program",
    function(c) return has_single(c) and c.way == "exec-user" end },
  { "root has no subordinate ids here", function(c) return c.idmap == "auto" and not dimensions.has_auto() end },
  { "no other file system has the users of the image",
    function(c) return c.user == "name" and (not image[c.layout] or c.mounts:find("^root%-")) end },
  { "the limit of no_userns belongs to a user namespace of its own",
    function(c) return c.no_userns == "true" and not has_userns(c) end },
  { "who joins a user namespace has none to limit", function(c) return c.no_userns == "true" and c.way == "pod" end },
  { "with SYS_RESOURCE no_userns does not hold",
    function(c) return c.no_userns == "true" and c.capabilities == "all" end },
  { "a user has no delegated cgroup", function(c) return not helper.is_root and c.limits ~= "none" end },
  { "without a pid namespace of its own a container takes a cgroup",
    function(c) return not helper.is_root and c.pid == "host" end },
  { "what the init needs is not there without a new pid namespace",
    function(c) return c.init == "true" and c.pid ~= "new" end },
  { "the host's own / has its system already", function(c) return c.layout == "own" and c.system ~= "masked" end },
}

for _, kind in ipairs(NAMESPACES) do
  rules[#rules + 1] = { "only a pod joins", function(c) return c[kind] == "joined" and c.way ~= "pod" end }
end

--- Why a combination is left out; nil when it is not. A rule decides nothing about a partial combination whose values
-- it still misses.
function dimensions.forbidden(combination)
  local missing
  local partial = setmetatable({}, { __index = function(_, key)
    missing = missing or combination[key] == nil
    return combination[key] or dimensions.plain[key]
  end })
  for _, rule in ipairs(rules) do
    missing = false
    if rule[2](partial) and not missing then
      return rule[1]
    end
  end
end

--- Whether a namespace of another container is joined.
function dimensions.joins(c)
  for _, kind in ipairs(NAMESPACES) do
    if c[kind] == "joined" then
      return true
    end
  end
  return false
end

-- Combinations that Carton has to refuse, with what it says.
local refusals = {
  { "user: Operation not permitted", -- /proc/self/setgroups says that groups cannot be set, and is not there
    function(c)
      return not helper.is_root and has_single(c) and c.way == "exec"
        and (c.system == "none" or c.mounts:find("^root%-") ~= nil)
    end },
  { "time_offsets: Permission denied", -- in a joined user namespace
    function(c)
      return not helper.is_root and c.way == "pod" and c.time == "new" and dimensions.joins(c)
    end },
  { "terminal: No such file or directory", -- no devpts on /dev/pts
    function(c) return c.stdio == "terminal" and (c.system == "none" or c.mounts:find("^root%-") ~= nil) end },
  { "no_userns: Operation not permitted", -- the filter comes first, and forbids to try
    function(c)
      return c.no_userns == "true" and c.no_new_privs == "false" and c.seccomp == "default" and c.system ~= "nestable"
    end },
}

--- Hold the error of a combination, nil when it ran, against what Carton has to refuse.
-- @return what is wrong with it, nil when nothing is
function dimensions.judge(c, err)
  local expected
  for _, refusal in ipairs(refusals) do
    if refusal[2](c) then
      expected = expected or refusal[1]
      if err and err:find(refusal[1], 1, true) then
        return nil
      end
    end
  end
  return err or expected and ("it ran, although '%s' was expected"):format(expected)
end

-- Places on the host.

local function copy_probe(from, to)
  local input <close> = assert(io.open(from, "rb"))
  local output <close> = assert(io.open(to, "wb"))
  output:write(input:read("a"))
  output:close()
  posix.chmod(to, "rwxr-xr-x")
end

local TARGETS <const> = { "bind", "tmp", "proc", "sys", "nested", "nested/proc", "nested/sys", "over", "pts", "mq" }

local function make_image(path, probe)
  for _, name in ipairs { "", "/etc", "/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/inner", "/targets" } do
    assert(posix.mkdir(path .. name))
  end
  for _, name in ipairs(TARGETS) do
    assert(posix.mkdir(path .. "/targets/" .. name))
  end
  posix.chmod(path .. "/tmp", "rwxrwxrwx")
  copy_probe(probe, path .. "/probe")
  helper.write(path .. "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n")
  helper.write(path .. "/etc/group", "root:x:0:\nweb:x:34:\nlogs:x:35:other,web\n")
end

--- Make what a recipe needs below a directory, owned by whom its root is.
function dimensions.furnish(combination, place, probe)
  make_image(place .. "/image", probe)
  make_image(place .. "/second", probe)
  for _, name in ipairs { "data", "data/inner", "upper", "work", "over", "canary" } do
    assert(posix.mkdir(place .. "/" .. name))
  end
  helper.write(place .. "/data/file", "data\n")
  helper.write(place .. "/canary/file", "canary\n")
  assert(posix.link("image", place .. "/link", true))
  local owner = dimensions.root_owner(combination)
  if owner ~= 0 and helper.is_root then
    assert(os.execute(("chown -R %d:%d '%s/image' '%s/second' '%s/upper' '%s/work' '%s/data' '%s/over'"):format(owner,
      owner, place, place, place, place, place, place)))
  end
end

function dimensions.explicit_map()
  if helper.is_root then
    local entry = { { container_id = 0, host_id = 200000, size = 65536 } }
    return { uids = entry, gids = entry }
  end
  local map = carton.idmap.resolve("auto")
  return { uids = map.uids, gids = map.gids }
end

--- The host's id of the container's root.
function dimensions.root_owner(combination)
  if not helper.is_root then
    return posix.geteuid()
  elseif combination.idmap == "explicit" then
    return 200000
  elseif combination.idmap == "auto" then
    return carton.idmap.resolve("auto").uids[1].host_id
  end
  return 0
end

-- From values to fields; each function is told the fields, the value, and what it may need.

local function system_of(value)
  if value == "none" then
    return false
  end
  return { nestable = value == "nestable" or nil }
end

local layouts = {}

function layouts.dir(at, system)
  return carton.rootfs.dir { path = at.place .. "/image", system = system }
end

function layouts.link(at, system)
  return carton.rootfs.dir { path = at.place .. "/link", system = system }
end

function layouts.overlay(at, system)
  return carton.rootfs.overlay { lower = { at.place .. "/image" }, system = system }
end

function layouts.layers(at, system)
  return carton.rootfs.overlay { lower = { at.place .. "/second", at.place .. "/image" }, upper = at.place .. "/upper",
    work = at.place .. "/work", system = system }
end

function layouts.empty(_, system)
  return carton.rootfs.empty { system = system }
end

function layouts.host(_, system)
  return carton.rootfs.host { system = system, readonly = false }
end

function layouts.steps(at, system)
  return carton.steps({
    { "mount.tmpfs", target = "/", mode = "0755", size = "1m" },
    { "mount.bind", source = at.place .. "/data", target = "/data", recursive = true,
      options = { "ro", "nosuid", "nodev" } },
    { "mount.symlink", path = "/link", target = "data" },
    { "mount.write", target = "/etc/motd", content = "Nothing else is here.\n" },
  }, system ~= false and carton.rootfs.system(system) or nil, { nestable = system and system.nestable })
end

function layouts.stacked(at, system)
  return carton.steps({
    { "mount.tmpfs", target = "/", mode = "0755" },
    { "mount.bind", source = at.place .. "/second", target = "/", recursive = true, options = { "nodev" } },
  }, carton.rootfs.dir { path = at.place .. "/image", system = system })
end

function layouts.submounts(at, system)
  return layouts.dir(at, system) -- on whose /inner something is mounted by then
end

function layouts.own(_, system)
  return carton.rootfs.dir { path = "/", system = system }
end

local mounts = {
  none = function() return {} end,
  bind = function(at) return { { source = at.place .. "/data", target = at.targets .. "/bind" } } end,
  ["bind-ro"] = function(at) return { at.place .. "/data:" .. at.targets .. "/bind:ro,nosuid,nosymfollow" } end,
  tmpfs = function(at)
    return { { type = "tmpfs", target = at.targets .. "/tmp", options = { "nosuid", "nodev", "size=1m" } } }
  end,
  proc = function(at) return { { type = "proc", target = at.targets .. "/proc" } } end,
  sysfs = function(at) return { { type = "sysfs", target = at.targets .. "/sys" } } end,
  nested = function(at)
    return {
      { type = "tmpfs", target = at.targets .. "/nested" },
      { type = "proc", target = at.targets .. "/nested/proc" },
      { type = "sysfs", target = at.targets .. "/nested/sys" },
    }
  end,
  ["root-bind"] = function(at) return { { source = at.place .. "/second", target = "/" } } end,
  ["root-tmpfs"] = function() return { { type = "tmpfs", target = "/", options = { "nodev" } } } end,
  overlay = function(at)
    return { { type = "overlay", target = at.targets .. "/over", lower = { at.place .. "/data" }, temporary = true } }
  end,
  devpts = function(at) return { { type = "devpts", target = at.targets .. "/pts" } } end,
  mqueue = function(at) return { { type = "mqueue", target = at.targets .. "/mq" } } end,
}

local users = {
  root = { nil, { 0, 0, {} } },
  uid = { { uid = 1000, gid = 1001 }, { 1000, 1001, {} } },
  name = { "web", { 33, 34, { 35 } } },
  groups = { { uid = 33, gid = 34, groups = { 35, 36 } }, { 33, 34, { 35, 36 } } },
  string = { "33:34", { 33, 34, {} } },
}

local capabilities = {
  none = "none", all = "all",
  add = { add = { "NET_ADMIN", "SYS_PTRACE" } },
  drop = { drop = { "CHOWN", "SETUID", "SYS_CHROOT" } },
  ambient = { add = { "NET_RAW" }, ambient = { "NET_BIND_SERVICE", "NET_RAW" } },
}

local processes = {
  plain = {},
  umask = { umask = "0027" },
  rlimits = { rlimits = { nofile = { soft = 128, hard = 256 }, core = { soft = 0, hard = 0 } } },
  cwd = { cwd = "/targets" },
  env = { env = { PATH = false, HOME = "/nowhere", WORD = "with = and\nlines" } },
}

--- How a program is connected, and what has to be seen of it: type, node or file of each descriptor.
function dimensions.connect(value, fields, at)
  local char, fifo, file = 8192, 4096, 32768 -- S_IFCHR, S_IFIFO, S_IFREG
  local null = { type = char, node = "1:3" }
  if value == "file" then
    fields.stdin, fields.stderr, fields.stdout = "null", "null", { path = at.report }
    return { [0] = null, { type = file }, null }, 1
  end
  local report = carton.exec.open(at.report, "w")
  at.handles[#at.handles + 1] = report
  fields.descriptors = { report = report }
  if value == "terminal" then
    fields.terminal = true
    local terminal = { type = char, terminal = true }
    return { [0] = terminal, terminal, terminal, { type = file } }, 3
  elseif value == "inherit" then
    local same = { type = char, node = "1:3" } -- as the matrix has it
    return { [0] = same, same, same, { type = file } }, 3
  elseif value == "null" then
    fields.stdin, fields.stdout, fields.stderr = "null", "null", "null"
    return { [0] = null, null, null, { type = file } }, 3
  elseif value == "pipe" then
    fields.stdin, fields.stdout, fields.stderr = { data = "x" }, function() end, "stdout"
    return { [0] = { type = fifo }, { type = fifo }, { type = fifo }, { type = file } }, 3
  end
  fields.stdin, fields.stdout, fields.stderr = "null", "capture", "capture"
  return { [0] = null, { type = fifo }, { type = fifo }, { type = file } }, 3
end

--- Write a container down.
-- @param c the combination
-- @param at `{ place =, token =, report =, handles = {}, joined = ?container }`
-- @return fields, and what is expected of it in the words of the invariants
function dimensions.describe(c, at)
  local fields = { name = at.token, timeout = 20, namespaces = {} }
  at.targets = c.layout == "own" and at.place .. "/image/targets" or "/targets"
  fields.rootfs = layouts[c.layout](at, system_of(c.system))
  fields.mounts = mounts[c.mounts](at)
  local program = at.place .. "/image/probe" -- where the root is the host's own
  if c.mounts == "root-bind" or (image[c.layout] and c.mounts ~= "root-tmpfs") then
    program = "/probe"
  elseif c.layout ~= "own" or c.mounts == "root-tmpfs" then
    program = "/opt/probe"
    table.insert(fields.mounts, { source = at.place .. "/image/probe", target = program, options = { "ro" } })
  end
  for _, kind in ipairs(NAMESPACES) do
    local value = c[kind]
    fields.namespaces[kind] = value == "joined" and at.joined or value
  end
  if c.idmap ~= "none" and not dimensions.joins(c) then
    fields.idmap = c.idmap == "explicit" and dimensions.explicit_map() or c.idmap
  end
  fields.user = users[c.user][1]
  fields.capabilities = capabilities[c.capabilities]
  fields.readonly = c.readonly == "true" or nil
  fields.init = c.init == "true" or nil
  fields.limits = c.limits == "pids" and { pids = 64 } or c.limits == "memory" and { memory = "256M" } or nil
  for key, value in pairs(processes[c.process]) do
    fields[key] = value
  end
  if c.process == "cwd" then
    fields.cwd = program == "/probe" and "/targets" or program == "/opt/probe" and "/opt" or at.targets
  end
  if c.no_new_privs == "false" then
    fields.no_new_privs = false
  end
  if c.seccomp == "false" then
    fields.seccomp = false
  end
  if c.die_with_parent == "false" then
    fields.die_with_parent = false
  end
  if c.no_userns == "true" then
    fields.no_userns = true
  end
  fields.keyring = c.keyring
  return fields, program, { user = users[c.user][2], targets = at.targets }
end

--- The expected identity of a further program's own user.
dimensions.users = users
dimensions.has_userns, dimensions.has_single = has_userns, has_single

return dimensions
