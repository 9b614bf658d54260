-- SPDX-License-Identifier: MIT

--- Why a step failed, found by looking: one sentence that says what to do.
-- @module carton.hint
local core = require("carton.core")
local host = core.host
local hint = {}

local function read(path)
  local file <close> = io.open(path)
  return file and file:read("l")
end

-- The first part of a path that is missing, or that we may not search.
local function walk(path)
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
    return nil
  end
  local at = ""
  for part in path:gmatch("[^/]+") do
    if at ~= "" and not host.access(at, "x") and host.stat(at) then
      return ("%s may not be searched by this user; chmod a+x %s"):format(at, at)
    end
    at = at .. "/" .. part
    local _, _, errno = host.stat(at)
    if errno == core.errno.ENOENT then
      local link = host.readlink(at)
      return link and ("%s is a link to %s, which does not exist"):format(at, link)
        or ("%s does not exist"):format(at)
    elseif errno == core.errno.ENOTDIR then
      return ("%s is below something that is no directory"):format(at)
    end
  end
end

--- The field that was meant by one that there is not.
-- @param name what was written
-- @tparam table known the fields that there are, as keys
-- @treturn string `" (did you mean 'args'?)"`; empty when none is near
function hint.meant(name, known)
  local best, most = nil, 0
  for other in pairs(type(name) == "string" and known or {}) do
    local head, tail = 0, 0 -- the longest common run of the two from either end
    while head < #name and name:byte(head + 1) == other:byte(head + 1) do
      head = head + 1
    end
    while tail < #name - head and name:byte(-1 - tail) == other:byte(-1 - tail) do
      tail = tail + 1
    end
    local swapped = #name == #other and head + tail == #name - 2
      and name:sub(head + 1, head + 2) == other:sub(head + 1, head + 2):reverse()
    local near = (head + tail + (swapped and 1 or 0)) / math.max(#name, #other)
    if near > most or (near == most and best and other < best) then
      best, most = other, near
    end
  end
  local is_near = most > 0.5 or (best and #name > 2 and best:sub(1, #name) == name)
  return is_near and (" (did you mean '%s'?)"):format(best) or ""
end

--- What keeps a host from making user namespaces.
-- @treturn ?string
function hint.user_namespaces()
  if read("/proc/sys/user/max_user_namespaces") == "0" then
    return "user namespaces are switched off; sysctl user.max_user_namespaces=15000"
  elseif host.euid() ~= 0 and read("/proc/sys/kernel/unprivileged_userns_clone") == "0" then
    return "unprivileged user namespaces are switched off; sysctl kernel.unprivileged_userns_clone=1"
  elseif host.euid() ~= 0
    and read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" then
    return "AppArmor restricts unprivileged user namespaces; "
      .. "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile that allows userns"
  end
end

local function is_overmounted(prefix)
  for _, mount in ipairs(core.mount.list()) do
    if mount.target:sub(1, #prefix + 1) == prefix .. "/" then
      return mount.target
    end
  end
end

local function layers_of(fields)
  return type(fields.lower) == "table" and fields.lower or { fields.lower }
end

local function id_of(fields)
  return fields.user or fields.uid or fields.gid
end

local versions = { clone3 = "5.3", openat2 = "5.6", mount_setattr = "5.12", close_range = "5.11",
  open_tree = "5.2", move_mount = "5.2", fsopen = "5.2" }

-- By call: `rules[call]` or by step; each gets the error and gives a sentence or nil.
local by_code = {}

local NO_LANDLOCK <const> = "Linux 5.13 has Landlock where it is built in and \"landlock\" is among those of the boot "
  .. "parameter lsm=; optional = true does without it"

-- A container's own filter answers in the kernel's place.
local function is_filtered()
  local file <close> = io.open("/proc/self/status")
  return file and file:read("a"):find("\nSeccomp:%s+2") ~= nil
end

local FILTERED <const> = "a seccomp filter of the container that this runs in is in the way; run the outer container "
  .. "with nestable = true, or seccomp = false (docker and podman: --security-opt seccomp=unconfined; in a service of "
  .. "systemd, RestrictNamespaces= and SystemCallFilter= are such filters)"

-- Calls that a filter cannot look into, for which settings of systemd therefore answer that there is none.
local SERVICE <const> = { openat2 = "RestrictSUIDSGID= and DynamicUser= of a service of systemd are such filters" }

function by_code.ENOSYS(err)
  if err.call == "landlock_create_ruleset" then
    return NO_LANDLOCK
  elseif err.call == "keyctl" then
    return "the kernel has no keys, so there is nothing to hide: optional = true"
  elseif err.call == "clone3" and is_filtered() then
    return FILTERED
  end
  local version = versions[err.call]
  if version and is_filtered() then
    return ("a seccomp filter around this process denies %s%s"):format(err.call,
      SERVICE[err.call] and "; " .. SERVICE[err.call] or "")
  end
  return version and ("the kernel (%s) lacks %s, which Linux %s has"):format(host.uname().release,
    err.call, version) or nil
end

function by_code.EOPNOTSUPP(err)
  if err.call == "landlock_create_ruleset" then
    return NO_LANDLOCK
  elseif err.step == "privilege.landlock" then
    return "optional = true, beside it, does without"
  elseif err.step == "privilege.label" then
    return "active are " .. (read("/sys/kernel/security/lsm") or "those of /sys/kernel/security/lsm")
  end
end

function by_code.EDQUOT(err)
  return err.call == "keyctl" and ("the user has too many keys: see /proc/sys/kernel/keys/maxkeys (%s) and maxbytes; "
    .. "keyring = \"inherit\" makes none"):format(read("/proc/sys/kernel/keys/maxkeys") or "unknown") or nil
end

function by_code.EEXIST(err)
  return err.step == "privilege.no_userns"
    and "the user namespace that is joined has no such limit: its own container needs no_userns, too" or nil
end

function by_code.E2BIG(err)
  if err.step == "mount.overlay" then
    return "before Linux 6.5 there is room for some 60 layers"
  elseif err.step == "exec.exec" then
    return "arguments and environment may take a quarter of the stack, and at most 6 MiB: see ulimit -s"
  end
  return err.call == "landlock_restrict_self" and "rules can be added 16 times at most" or nil
end

function by_code.EPERM(err)
  if err.call == "clone3" or err.call == "unshare" then
    return hint.user_namespaces()
      or (not host.probe("clone3") and FILTERED) -- then it was clone(2), into which a filter can look
      or (host.euid() ~= 0 and "without root, a user namespace has to be among the new ones")
      or "this process lacks CAP_SYS_ADMIN: is it in a container itself? idmap = \"single\" does without"
  elseif err.call == "its flags for the whole machine can't be told" then
    return "no mount of cgroup2 is seen here: use a new cgroup namespace, or name the flags in `data`"
  elseif err.step == "mount.proc" or err.step == "mount.sysfs" then
    local target = is_overmounted(err.step == "mount.proc" and "/proc" or "/sys")
    return target and ("the kernel allows it only where the outer one is not masked, and %s is; "
      .. "run the outer container with nestable = true, or bind the outer one"):format(target)
      or nil
  elseif err.call == "write" and (err.text or ""):find("id_map$") then
    return "without root, a process may map only its own id; idmap = \"auto\" uses /etc/subuid"
  elseif err.call == "setgroups" then
    return "supplementary groups can't be set in a user namespace with a single id"
  elseif err.call == "prctl" or err.call == "capset" then
    return "a capability was asked for that this process itself does not have"
  elseif err.step == "privilege.rlimits" then
    return "a limit is raised above its hard one only with CAP_SYS_RESOURCE: see ulimit -H -a"
  elseif err.step == "mount.device" then
    return "device nodes take CAP_MKNOD, outside of any user namespace; bind = true binds the host's"
  elseif err.call == "keyctl" then
    return "a filter of an outer container forbids it; keyring = \"inherit\" leaves the caller's"
  elseif err.call == "landlock_restrict_self" then
    return "no_new_privs has to be set before"
  elseif err.step and err.step:find("^mount%.") then
    return "mounts take CAP_SYS_ADMIN, and can't be changed after privilege.landlock"
  end
end

function by_code.EACCES(err)
  if err.call == "is on a noexec mount" then
    return nil -- which says it all
  elseif err.op == "guard" or err.op == "init" then
    return "Carton's own part of a container is a program in memory, which the kernel parameter vm.memfd_noexec = 2 "
      .. "forbids"
  elseif err.call == "seccomp" then
    return "a filter takes no_new_privs or CAP_SYS_ADMIN"
  elseif err.step == "exec.exec" then
    return "is it executable, and may that user search its directories? With landlock, `execute` has to hold it "
      .. "and its loader"
  end
  return walk(err.source or err.text) or walk(err.path)
end

function by_code.ENOENT(err)
  if err.step == "exec.exec" then
    if err.call == "interpreter is missing" then
      if (err.text or ""):find("\r", 1, true) then
        return "the program's first line ends as lines of Windows do: sed -i 's/\\r$//' removes that"
      end
      return "the program's first line names an interpreter that is not in this root"
    elseif (err.call or ""):find("ELF interpreter", 1, true) then
      return "the program is there, but the loader that it needs is not in this root: "
        .. "is the image of another distribution or architecture?"
    end
    return "it is not in the root file system, or not in its PATH"
  elseif err.step == "exec.chdir" then
    return "the working directory has to exist inside"
  elseif err.call == "has no such user" or err.call == "has no such group" then
    return "names are looked up in the files of the root file system; a number needs no entry there"
  end
  return walk(err.text) or walk(err.source)
end

function by_code.EINVAL(err)
  if err.step == "privilege.notify" then
    return "the kernel can't ask (Linux 5.0 can), or does not take these instructions"
  elseif err.call == "seccomp" then
    return "the kernel does not take these instructions; carton seccomp check says more of a file"
  elseif err.step == "namespace.hostname" then
    return "a host name has at most 64 bytes"
  elseif err.call == "setresuid" or err.call == "setresgid" or err.call == "setgroups" then
    return ("%s is not in the id map; idmap = \"auto\" maps the ids of /etc/subuid"):format(
      tostring(err.fields and id_of(err.fields) or "it"))
  elseif err.call == "open_tree" and err.fields and not err.fields.recursive then
    return "what is mounted below can't be uncovered; use recursive = true"
  elseif err.step == "mount.overlay" then
    for _, layer in ipairs(host.euid() ~= 0 and err.fields and layers_of(err.fields) or {}) do
      local below = is_overmounted((layer:gsub("/+$", "")))
      if below then
        return ("%s is mounted in the layer %s, and without root an overlay takes no layer with mounts in it"):format(
          below, layer)
      end
    end
    return "layers have to be directories, upper and work empty or on one file system that is no overlay"
  elseif err.call == "pivot_root" then
    return "the new root has to be a mount of its own"
  elseif err.step == "mount.propagation" then
    return "it is no mount, as below chroot(2), whose directory is made one by `mount --bind DIR DIR` before"
  elseif err.call == "mount_setattr" and err.fields and err.fields.idmap then
    return "its file system takes no idmap: ext4 and vfat do since Linux 5.12, btrfs since 5.15, tmpfs since 6.3"
  elseif err.op == "bind" and err.path == "tree" then
    return "a tree of mount.create can be bound only once before Linux 6.15; one of open_tree is copied anew each time"
  elseif err.step == "mount.bind" and err.call == "move_mount" then
    local stat = err.source and host.stat(err.source)
    return stat and ("a directory goes on a directory, a file on a file: %s is a %s"):format(err.source, stat.type)
  end
end

function by_code.EINTR(err)
  return (err.text or err.message or ""):find("killed before", 1, true)
    and "if nobody did it by hand, the limit on memory is too small to start at all" or nil
end

function by_code.ENOEXEC(err)
  return err.step == "exec.exec"
    and "it is neither a program of this machine nor a script with #! in its first line" or nil
end

function by_code.EBUSY(err)
  if err.step == "privilege.notify" then
    return "an outer container has on_syscall already: the kernel has one listener for all filters of a process"
  end
  return err.call == "pivot_root" and "the new root has to be a mount of its own" or nil
end

function by_code.ENOSPC(err)
  if err.call == "clone3" or err.call == "unshare" then
    return hint.user_namespaces()
      or "too many namespaces (see /proc/sys/user/max_*_namespaces), or nested 32 deep"
  end
  return "no space left there, or no inodes"
end

function by_code.EROFS()
  return "the root is read-only and the place is not there: make it in the image, or use an overlay"
end

function by_code.EAGAIN(err)
  return (err.call == "clone3" or err.call == "setresuid" or err.op == "guard")
    and "too many processes: see ulimit -u and pids.max of the cgroup" or nil
end

function by_code.EFBIG()
  return "files may not become so large: see ulimit -f"
end

function by_code.EMFILE()
  return "too many open descriptors: see ulimit -n"
end

function by_code.ENODEV(err)
  return (err.call == "fsopen" or err.call == "fsconfig")
    and ("the kernel has no file system '%s'; modprobe %s"):format(err.text or "?", err.text or "?")
    or nil
end

function by_code.ELOOP(err)
  if err.step == "mount.overlay" and err.call ~= "openat2" then
    return "its layers overlap: one of them is another, or lies in it"
  elseif err.step == "privilege.landlock" then
    return "a rule follows no symbolic link, which an image may point anywhere; name what it leads to, or say "
      .. "{ path =, nofollow = false }"
  end
  return err.step and err.step:find("^mount") and "a symbolic link stands in the place of a mount point"
    or nil
end

function by_code.ESRCH(err)
  return err.step == "exec.die_with_parent" and "the process that started it is gone" or nil
end

--- Look for why a step failed.
-- @tparam table err a `carton.error`
-- @treturn ?string a sentence, nil when there is nothing to add
function hint.find(err)
  local rule = type(err) == "table" and not err.hint and by_code[err.code]
  if not rule then
    return nil
  end
  local ok, text = pcall(rule, err)
  return ok and text or nil
end

return hint
