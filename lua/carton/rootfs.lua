-- SPDX-License-Identifier: MIT

--- Layouts: what a root file system usually is, as lists of steps.
-- A layout is an ordinary list; what it says of itself stands in it by name: `readonly` (the root is made read-only
-- after all mounts, with the mounts that come along with it) and `idmap` (the id map that suffices for it).
-- @module carton.rootfs
local core = require("carton.core")
local rootfs = {}

local SAFE <const> = { "nosuid", "nodev", "noexec" }

--- What tells about the host, or changes it: hidden, as other engines do. Below /proc and /sys it counts in every
-- procfs and sysfs of a container, and a `*` stands for the rest of a name.
rootfs.masked = {
  "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
  "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
  "/proc/timer_stats", "/sys/dev/block", "/sys/devices/system/cpu/cpu*/thermal_throttle",
  "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
}

--- What may be read but not written, likewise.
rootfs.readonly = {
  "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys",
}

local devices = {
  { "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 },
  { "tty", 0, major = 5 },
}

local function check(layout, fields, known)
  if type(fields) ~= "table" then
    core.misuse(("rootfs.%s: a table of fields expected, got %s"):format(layout, type(fields)))
  end
  for key, value in pairs(fields) do
    if not known[key] then
      core.misuse(("rootfs.%s: unknown field '%s'%s"):format(layout, tostring(key),
        require("carton.hint").meant(key, known)))
    elseif not known[key]:find(type(value), 1, true) then
      core.misuse(("rootfs.%s: field '%s': %s expected, got %s"):format(layout, key, known[key]:gsub(" ", " or "),
        type(value)))
    end
  end
end

local function absolute(path)
  return path:sub(1, 1) == "/" and path or require("carton.mounts").absolute(path)
end

local function append(list, ...)
  for i = 1, select("#", ...) do
    for _, step in ipairs(select(i, ...)) do
      list[#list + 1] = step
    end
  end
  return list
end

local function proc()
  return { { "mount.proc", target = "/proc", options = SAFE } }
end

local function sys()
  return { { "mount.sysfs", target = "/sys", options = { "nosuid", "nodev", "noexec", "ro" } } }
end

local function dev()
  local steps = {
    { "mount.tmpfs", target = "/dev", nofollow = true, mode = "0755", size = "65536k",
      options = { "nosuid" } },
  }
  for _, device in ipairs(devices) do
    steps[#steps + 1] = { "mount.device", path = "/dev/" .. device[1], type = "char",
      major = device.major or 1, minor = device[2] }
  end
  return append(steps, {
    { "mount.symlink", path = "/dev/fd", target = "/proc/self/fd" },
    { "mount.symlink", path = "/dev/stdin", target = "/proc/self/fd/0" },
    { "mount.symlink", path = "/dev/stdout", target = "/proc/self/fd/1" },
    { "mount.symlink", path = "/dev/stderr", target = "/proc/self/fd/2" },
    { "mount.devpts", target = "/dev/pts", ptmxmode = "0666", mode = "0620",
      options = { "nosuid", "noexec" } },
    { "mount.symlink", path = "/dev/ptmx", target = "pts/ptmx" },
  })
end

local function shm()
  return { { "mount.tmpfs", target = "/dev/shm", mode = "1777", size = "65536k", options = SAFE } }
end

local function mqueue()
  return { { "mount.mqueue", target = "/dev/mqueue", options = SAFE } }
end

--- The file systems that programs expect of any system: /proc, /dev, /dev/shm, /dev/mqueue, /sys.
-- @tparam[opt] table fields each of `proc`, `dev`, `shm`, `mqueue`, `sys`, `mask` can be false to leave it out;
--   `nestable = true` leaves /proc and /sys unmasked and, as part of a root, has the default seccomp profile allow
--   namespaces and mounts, which is what containers inside need
-- @treturn {table,...} steps; what they mask and protect is done after the last mount of the container, in every
--   procfs and sysfs that it has: `carton.mount.protect`
-- @see proc(5), sysfs(5), pts(4), shm_overview(7), mq_overview(7)
-- @usage carton.steps({ { "mount.tmpfs", target = "/" } }, carton.rootfs.system{ sys = false })
function rootfs.system(fields)
  fields = fields or {}
  check("system", fields, { proc = "boolean", dev = "boolean", shm = "boolean", mqueue = "boolean",
    sys = "boolean", mask = "boolean", nestable = "boolean" })
  if fields.mask and fields.nestable then
    core.misuse("rootfs.system: fields 'mask' and 'nestable' exclude each other")
  end
  local steps = {}
  for _, part in ipairs { { "proc", proc }, { "dev", dev }, { "shm", shm },
    { "mqueue", mqueue }, { "sys", sys } } do
    if fields[part[1]] ~= false then
      append(steps, part[2]())
    end
  end
  if fields.mask ~= false and not fields.nestable then
    steps[#steps + 1] = { "mount.mask", paths = rootfs.masked }
    steps[#steps + 1] = { "mount.readonly", paths = rootfs.readonly }
  end
  return steps
end

local function add_system(steps, fields)
  if fields.system ~= false then
    local wish = {}
    for key, value in pairs(type(fields.system) == "table" and fields.system or {}) do
      wish[key] = value
    end
    if fields.nestable ~= nil then
      wish.nestable = fields.nestable
    end
    append(steps, rootfs.system(wish))
  end
  steps.readonly = fields.readonly or nil
  steps.nestable = fields.nestable or type(fields.system) == "table" and fields.system.nestable or nil
  return steps
end

--- A directory as the root, with nothing in it but what lies there: the first step of `dir`.
-- @tparam string path
-- @treturn table a step
function rootfs.place(path)
  return { "mount.bind", source = absolute(path), target = "/", recursive = true, create = false,
    options = { "nodev" } }
end

--- A directory as the root. Device nodes that lie in it are none (nodev): they are who made the image's, not ours.
-- @tparam string|table fields the path, or `{ path =, readonly = false, system = true, nestable = false }`;
--   `system` as of `rootfs.system`, or false
-- @treturn {table,...} steps
-- @usage carton.rootfs.dir("/srv/debian")
function rootfs.dir(fields)
  if type(fields) == "string" then
    fields = { path = fields }
  end
  check("dir", fields, { path = "string", readonly = "boolean", system = "boolean table", nestable = "boolean" })
  if type(fields.path) ~= "string" then
    core.misuse("rootfs.dir: field 'path' is missing")
  end
  return add_system({ rootfs.place(fields.path) }, fields)
end

--- Layers as the root, the uppermost first; device nodes in them are none, as of `dir`.
-- @tparam table fields `lower` (paths), `upper` and `work` (paths of one file system; without them what is
--   written goes to memory, and away with the container), `size` (of that memory, `"512m"`),
--   `readonly`, `system`, `nestable` as of `dir`
-- @treturn {table,...} steps
-- @see mount(8) overlay
-- @usage carton.rootfs.overlay{ lower = { "/srv/app", "/srv/debian" } }
function rootfs.overlay(fields)
  check("overlay", fields, { lower = "string table", upper = "string", work = "string", size = "string number",
    readonly = "boolean", system = "boolean table", nestable = "boolean" })
  local lower = type(fields.lower) == "string" and { fields.lower } or fields.lower
  if type(lower) ~= "table" or #lower == 0 or require("carton.list").stray(lower) ~= nil then
    core.misuse("rootfs.overlay: field 'lower' is a list of paths")
  end
  for present, missing in pairs { upper = "work", work = "upper" } do
    if fields[present] and not fields[missing] then
      core.misuse(("rootfs.overlay: field '%s' is missing, which goes with '%s'"):format(missing, present))
    end
  end
  if fields.upper and fields.size then
    core.misuse("rootfs.overlay: fields 'size' and 'upper' exclude each other: 'size' limits changes kept in memory")
  end
  local layers = {}
  for i, path in ipairs(lower) do
    layers[i] = absolute(path)
  end
  return add_system({
    { "mount.overlay", lower = layers, upper = fields.upper and absolute(fields.upper),
      work = fields.work and absolute(fields.work), temporary = not fields.upper,
      size = fields.size, target = "/", options = { "nodev" } },
  }, fields)
end

--- Nothing but an empty root in memory.
-- @tparam[opt] table fields `size` (`"64m"`), `mode` (`"0755"`), `readonly`, `system`, `nestable` as of `dir`
-- @treturn {table,...} steps
-- @usage carton.steps(carton.rootfs.empty(), { { "mount.bind", source = "/opt/tool", target = "/tool" } })
function rootfs.empty(fields)
  fields = fields or {}
  check("empty", fields, { size = "string number", mode = "string", readonly = "boolean", system = "boolean table",
    nestable = "boolean" })
  return add_system({
    { "mount.tmpfs", target = "/", mode = fields.mode or "0755", size = fields.size },
  }, fields)
end

--- The host's own /usr and its links, read-only, with fresh /etc, /tmp, /run, /root, /dev, /proc: no image needed.
-- @tparam[opt] table fields `network = true` adds the host's resolv.conf; `readonly = false` leaves the
--   root itself (in memory) writable; `system`, `nestable` as of `dir`
-- @treturn {table,...} steps
-- @usage carton.container{ rootfs = carton.rootfs.host(), args = { "make", "-C", "/src" }, mounts = { "/me:/src" } }
function rootfs.host(fields)
  fields = fields or {}
  check("host", fields, { network = "boolean", readonly = "boolean", system = "boolean table",
    nestable = "boolean" })
  local steps = require("carton.borrowed").steps(fields.network)
  add_system(steps, { system = fields.system, nestable = fields.nestable,
    readonly = fields.readonly ~= false })
  steps.idmap = "single"
  return steps
end

return rootfs
