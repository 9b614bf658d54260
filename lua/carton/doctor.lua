-- SPDX-License-Identifier: MIT

--- Looks at a host: what it has for containers, what is missing, and what to do about that.
-- @module carton.doctor
local core = require("carton.core")
local host = core.host
local doctor = {}

local CALLS <const> = { "clone3", "close_range", "fsmount", "fsopen", "mount_setattr", "move_mount",
  "open_tree", "openat2", "pidfd_open", "seccomp" }
local NEEDED <const> = { close_range = "5.11", fsmount = "5.2", fsopen = "5.2", mount_setattr = "5.12",
  move_mount = "5.2", open_tree = "5.2", openat2 = "5.6", pidfd_open = "5.3" }
local LESS <const> = { clone3 = "a seccomp filter around this process hides it: no cgroup v2 for a container, and no "
  .. "time namespace" }

local function read(path)
  local file <close> = io.open(path)
  return file and (file:read("a") or ""):gsub("%s+$", "")
end

local function check_kernel(add)
  local name = host.uname()
  local major, minor = name.release:match("^(%d+)%.(%d+)")
  local version = tonumber(major) * 1000 + tonumber(minor)
  add { name = "kernel", ok = version >= 5012, value = name.release .. " " .. name.machine,
    remedy = version < 5012 and "Linux 5.12 or later is needed" or nil }
  for _, call in ipairs(CALLS) do
    local has, why = host.probe(call)
    if not has then
      add { name = "call " .. call, ok = not NEEDED[call] and "warn", reason = why,
        remedy = NEEDED[call] and "Linux " .. NEEDED[call] .. " has it; a seccomp filter of an outer "
          .. "container may hide it" or LESS[call] }
    end
  end
end

-- Really make one of each, in a process that ends at once.
local function check_namespaces(add)
  local root = host.euid() == 0 and core.privilege.has("SYS_ADMIN")
  for _, kind in ipairs { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup" } do
    local kinds = { kind }
    if not root and kind ~= "user" then
      kinds[2] = "user"
    end
    local ok, err = pcall(function()
      local process <close> = core.exec.spawn { namespaces = kinds, steps = {} }
      process:wait()
    end)
    local failed = not ok and (kind == "user" and root and "warn" or false)
    add { name = "namespace " .. kind, ok = ok or failed,
      reason = not ok and (err.code or tostring(err)) or nil,
      remedy = not ok and require("carton.hint").find(err) or nil }
  end
end

local function check_restrictions(add)
  for _, sysctl in ipairs {
    { "/proc/sys/user/max_user_namespaces", bad = "0", set = "user.max_user_namespaces=15000" },
    { "/proc/sys/kernel/unprivileged_userns_clone", bad = "0",
      set = "kernel.unprivileged_userns_clone=1" },
    { "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", bad = "1",
      set = "kernel.apparmor_restrict_unprivileged_userns=0" },
  } do
    local value = read(sysctl[1])
    if value then
      local good = value ~= sysctl.bad
      add { name = sysctl[1]:gsub("^/proc/sys/", ""):gsub("/", "."), value = value,
        ok = good or (host.euid() == 0 and "warn" or false),
        remedy = not good and "sysctl " .. sysctl.set or nil }
    end
  end
end

-- What a launch takes of the place that it begins in.
local function check_place(add)
  local mounts = core.try(core.mount.list)
  if not mounts then
    add { name = "/proc", ok = false, reason = "is not mounted", remedy = "mount -t proc proc /proc" }
    return
  end
  local is_mount = false
  for _, mount in ipairs(mounts) do
    is_mount = is_mount or mount.target == "/"
  end
  add { name = "root", ok = is_mount, reason = not is_mount and "is no mount: this is a chroot" or nil,
    remedy = not is_mount and "mount --bind DIR DIR, before chroot" or nil }
end

local function check_ids(add)
  local granted, why = require("carton.idmap").granted()
  if granted then
    local range = granted.uids[1]
    add { name = "subordinate ids", ok = true,
      value = ("%d from %d"):format(range.count, range.first) }
  else
    add { name = "subordinate ids", ok = "warn", reason = why,
      remedy = "without them a container has a single id, which suffices for many" }
  end
end

local function cgroup_kind()
  local v1, v2 = false, false
  for _, mount in ipairs(core.try(core.mount.list) or {}) do
    v1 = v1 or mount.type == "cgroup"
    v2 = v2 or (mount.type == "cgroup2" and mount.target)
  end
  return v2 and (v1 and "hybrid" or "v2") or v1 and "v1" or nil, v2
end

local function check_cgroup(add)
  local kind, mount = cgroup_kind()
  local lacks = kind and kind ~= "v2" and host.euid() ~= 0 -- nothing of v1 is handed to a user
  add { name = "cgroup", ok = kind and not lacks and true or "warn", value = kind or nil,
    reason = not kind and "no cgroup file system is mounted" or nil,
    remedy = lacks and "this user's containers can have no limits, which without root take cgroup v2; "
      .. "systemd.unified_cgroup_hierarchy=1 on the kernel's command line" or nil }
  if kind ~= "v2" then
    return
  end
  local own = (read("/proc/self/cgroup") or ""):match("0::(%S+)")
  local path = mount .. (own or "")
  local writable = host.access(path .. "/cgroup.procs", "w") and host.access(path, "w")
  local socket, why, remedy
  if not writable then
    socket, why, remedy = require("carton.systemd").find()
  end
  add { name = "cgroup delegation", ok = (writable or socket) and true or "warn",
    value = writable and read(path .. "/cgroup.controllers") or socket and "by systemd: " .. socket.path or nil,
    reason = why and ("%s can't be written by this user; %s"):format(path, why) or nil,
    remedy = remedy }
end

local function check_walls(add)
  local lsm = read("/sys/kernel/security/lsm")
  add { name = "security modules", ok = true, value = lsm or "unknown" }
  local abi, lacking, why = require("carton.landlock").abi()
  add { name = "landlock", ok = abi > 0 or "warn", value = abi > 0 and "ABI " .. abi
    .. (#lacking > 0 and ", without " .. table.concat(lacking, ", ") or "") or nil,
    reason = abi == 0 and why or nil,
    remedy = abi == 0 and "Linux 5.13 has it, with \"landlock\" in the boot parameter lsm=" or nil }
  local actions = read("/proc/sys/kernel/seccomp/actions_avail")
  add { name = "seccomp filters", ok = actions and true or "warn", value = actions }
end

local function check_overlay(add)
  local list = read("/proc/filesystems") or ""
  local has = list:find("\toverlay", 1, true)
  add { name = "overlayfs", ok = has and true or "warn",
    reason = not has and "not loaded" or nil,
    remedy = not has and "modprobe overlay (it may also be loaded when it is first used)" or nil }
end

--- Look at everything.
-- @treturn {table,...} `{ name =, ok = true | false | "warn", value =, reason =, remedy = }`; nothing is changed
function doctor.check()
  local list = {}
  local function add(entry)
    list[#list + 1] = entry
  end
  check_kernel(add)
  check_place(add)
  check_restrictions(add)
  check_namespaces(add)
  check_ids(add)
  check_cgroup(add)
  check_overlay(add)
  check_walls(add)
  return list
end

--- Tell whether containers can run.
-- @tparam {table,...} list from `check`
-- @treturn boolean
function doctor.is_fit(list)
  for _, entry in ipairs(list) do
    if entry.ok == false then
      return false
    end
  end
  return true
end

--- Write it for people.
-- @tparam {table,...} list from `check`
-- @tparam[opt=false] boolean colour
-- @treturn string
function doctor.text(list, colour)
  local words = { [true] = "ok", [false] = "missing", warn = "note" }
  local colours = { [true] = "32", [false] = "31", warn = "33" }
  local lines = {}
  for _, entry in ipairs(list) do
    local word = ("%-8s"):format(words[entry.ok])
    if colour then
      word = ("\27[%sm%s\27[0m"):format(colours[entry.ok], word)
    end
    local line = ("%s%-22s %s"):format(word, entry.name, entry.value or entry.reason or "")
    lines[#lines + 1] = (line:gsub("%s+$", ""))
    if entry.remedy then
      lines[#lines + 1] = "        -> " .. entry.remedy
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Write it for programs: `{ "fit": true, "checks": [...] }`.
-- @tparam {table,...} list from `check`
-- @treturn string
function doctor.json(list)
  return require("carton.json").encode { fit = doctor.is_fit(list), checks = list } .. "\n"
end

return doctor
