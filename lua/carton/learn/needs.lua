-- SPDX-License-Identifier: MIT

--- Which capabilities the kernel would ask for, told at the entry of a call from what is called, with what, by whom,
-- and on which file. Permissions of files are looked at in `carton.learn.files`.
--
-- Nothing watches the kernel here, which takes privileges: it is the manual pages' and the sources' knowledge in a
-- table, and a replay shows whether it was enough.
-- @module carton.learn.needs
-- @see capabilities(7)
local calls = require("carton.learn.calls")
local int = calls.int
local needs = {}

local S_ISGID <const> = 1024
local NEW <const> = 0x6e020080 -- CLONE_NEWNS, NEWTIME, NEWCGROUP, NEWUTS, NEWIPC, NEWPID, NEWNET
local NEWUSER <const> = 0x10000000
local SOCK_RAW <const> = 3
local IMMUTABLE <const> = 0x30 -- FS_IMMUTABLE_FL, FS_APPEND_FL
local RANGE <const> = { NEW = 0, DELETE = 1, SET = 3 } -- of a message of rtnetlink(7), its type modulo 4

--- What only the first user namespace is asked for: in another one the kernel says no, whoever has it there.
needs.initial = { SYS_NICE = true, SYS_TIME = true, SYS_RESOURCE = true, MKNOD = true, SYS_RAWIO = true,
  SYS_MODULE = true, SYSLOG = true, SYS_PACCT = true, SYS_TTY_CONFIG = true, LINUX_IMMUTABLE = true }

--- What needs the same, whatever its arguments.
needs.always = {
  SYS_ADMIN = [[mount umount umount2 pivot_root move_mount fsopen fsmount fspick mount_setattr sethostname setdomainname
    quotactl swapon swapoff fanotify_init setns lookup_dcookie]],
  SYS_CHROOT = "chroot",
  SETGID = "setgroups setgroups32",
  SYS_TIME = "settimeofday clock_settime clock_settime64 stime",
  SYS_RAWIO = "iopl ioperm",
  SYS_MODULE = "init_module finit_module delete_module",
  SYS_BOOT = "reboot kexec_load kexec_file_load",
  SYS_PACCT = "acct",
  SYS_TTY_CONFIG = "vhangup",
  SYSLOG = "syslog",
  DAC_READ_SEARCH = "open_by_handle_at",
  BPF = "bpf",
  PERFMON = "perf_event_open",
}

-- Give each name of a list the same function.
local by_name = {}
local function add(names, ask)
  for name in names:gmatch("%S+") do
    by_name[name] = ask
  end
end

for name, list in pairs(needs.always) do
  add(list, function(who)
    who.need(name)
  end)
end

local function is_any(id, ...)
  for i = 1, select("#", ...) do
    if id == select(i, ...) then
      return true
    end
  end
  return false
end

-- Ask for one of SETUID and SETGID when an id is none of those that everybody may take.
local function ask_id(who, kind, value, ...)
  local id = int(value)
  if id ~= -1 and not is_any(who:outside(kind, id & 0xffffffff), ...) then
    who.need(kind == "Uid" and "SETUID" or "SETGID")
  end
end

for kind, letter in pairs { Uid = "u", Gid = "g" } do
  local function named(format, ask)
    local name = format:format(letter)
    add(name .. " " .. name .. "32", function(who, call)
      ask(who, call.args, who:ids()[kind])
    end)
  end
  named("set%sid", function(who, args, ids) -- with the capability it sets all of them, without only one
    local id = who:outside(kind, args[1] & 0xffffffff)
    if not (id == ids.real and id == ids.saved) and not (is_any(id, ids.real, ids.saved) and id == ids.effective) then
      who.need(kind == "Uid" and "SETUID" or "SETGID")
    end
  end)
  named("setre%sid", function(who, args, ids)
    ask_id(who, kind, args[1], ids.real, ids.effective)
    ask_id(who, kind, args[2], ids.real, ids.effective, ids.saved)
  end)
  named("setres%sid", function(who, args, ids)
    for i = 1, 3 do
      ask_id(who, kind, args[i], ids.real, ids.effective, ids.saved)
    end
  end)
  named("setfs%sid", function(who, args, ids)
    ask_id(who, kind, args[1], ids.real, ids.effective, ids.saved, ids.fs)
  end)
end

-- Whose a file is changed only by its owner, and only to groups of his: chown(2).
local function chown(first)
  return function(who, call, found)
    local stat, ids = found[1], who:ids()
    if not (stat and stat.uid) then
      return
    end
    local uid, gid = int(call.args[first]), int(call.args[first + 1])
    local own = ids.Uid.fs == stat.uid
    local new_uid = uid ~= -1 and who:outside("Uid", uid & 0xffffffff) or uid == -1 and stat.uid
    local new_gid = gid ~= -1 and who:outside("Gid", gid & 0xffffffff) or gid == -1 and stat.gid
    if not new_uid or not new_gid then
      return -- it has no such id
    elseif (uid ~= -1 and not (own and new_uid == stat.uid))
      or (gid ~= -1 and not (own and (new_gid == stat.gid or who:is_member(new_gid)))) then
      who.need("CHOWN", stat)
    end
  end
end
add("chown lchown chown32 lchown32 fchown fchown32", chown(2))
add("fchownat", chown(3))

local function ask_owner(who, stat)
  if stat and stat.uid and who:ids().Uid.fs ~= stat.uid then
    who.need("FOWNER", stat)
  end
end

local function chmod(place)
  return function(who, call, found)
    local stat = found[1]
    ask_owner(who, stat)
    if stat and stat.gid and call.args[place] & S_ISGID ~= 0 and not who:is_member(stat.gid) then
      who.need("FSETID", stat)
    end
  end
end
add("chmod fchmod", chmod(2))
add("fchmodat fchmodat2", chmod(3))

local function utime(place)
  return function(who, call, found)
    if call.args[place] ~= 0 then -- other times than now
      ask_owner(who, found[1])
    end
  end
end
add("utime utimes", utime(2))
add("utimensat utimensat_time64 futimesat", utime(3))

local function xattr(place)
  return function(who, call, found)
    local name = call:string(place, 256) or ""
    if name == "security.capability" then
      who.need("SETFCAP", found[1])
    elseif name:find("^trusted%.") or name:find("^security%.") then
      who.need("SYS_ADMIN")
    elseif name:find("^system%.posix_acl") then
      ask_owner(who, found[1])
    end
  end
end
add("setxattr lsetxattr fsetxattr removexattr lremovexattr", xattr(2))
add("setxattrat removexattrat", xattr(4))

local function mknod(place)
  return function(who, call)
    local kind = call.args[place] & 0xf000
    if (kind == 0x2000 and call.args[place + 1] ~= 0) or kind == 0x6000 then -- 0:0 is a whiteout
      who.need("MKNOD")
    end
  end
end
add("mknod", mknod(2))
add("mknodat", mknod(3))

add("bind", function(who, call)
  local address = call:sockaddr(2, 3)
  local port = (address.family == "inet" or address.family == "inet6") and address.port
  if port and port > 0 and port < who.container.low_ports then
    who.need("NET_BIND_SERVICE")
  end
end)

add("socket", function(who, call)
  local domain, kind = int(call.args[1]), call.args[2] & 0xf
  if domain == 17 or (kind == SOCK_RAW and (domain == 2 or domain == 10)) then
    who.need("NET_RAW")
  elseif domain == 16 then
    who.container.netlink = true
  end
end)

-- Changes of interfaces, addresses and routes are messages: rtnetlink(7).
local function ask_message(who, bytes)
  if #bytes < 16 then
    return
  end
  local length, kind = string.unpack("=I4I2", bytes)
  local change = kind % 4
  if length >= 16 and length < 65536 and kind >= 16 and kind < 128
    and (change == RANGE.NEW or change == RANGE.DELETE or change == RANGE.SET) then
    who.need("NET_ADMIN")
  end
end

add("sendto send", function(who, call)
  if who.container.netlink and call.args[3] >= 16 then
    ask_message(who, call:bytes(2, 16))
  end
end)

add("sendmsg", function(who, call)
  if not who.container.netlink or call.arch == "i386" or call.arch == "arm" then
    return
  end
  local vector, count = string.unpack("=I8I8", call:bytes(2, 32), 17)
  if count > 0 and vector ~= 0 then
    local listener = call.supervisor.listener
    local first = listener:read(call.id, call.pid, vector, 16)
    local base, length = string.unpack("=I8I8", first or ("\0"):rep(16))
    local bytes = length >= 16 and listener:read(call.id, call.pid, base, 16)
    ask_message(who, bytes or "")
  end
end)

local SOL_SOCKET <const>, SOL_IP <const> = 1, 0
local OPTIONS <const> = {
  [SOL_SOCKET] = { [1] = true, [32] = true, [33] = true, [36] = true }, -- SO_DEBUG, SNDBUFFORCE, RCVBUFFORCE, MARK
  [SOL_IP] = { [19] = true, [64] = true, [65] = true }, -- IP_TRANSPARENT, IPT_SO_SET_REPLACE, ADD_COUNTERS
}

add("setsockopt", function(who, call)
  local level = OPTIONS[int(call.args[2])]
  if level and level[int(call.args[3])] then
    who.need("NET_ADMIN")
  end
end)

local NET_REQUESTS <const> = { [0x890b] = true, [0x890c] = true, [0x8914] = true, [0x8916] = true, [0x8918] = true,
  [0x891a] = true, [0x891c] = true, [0x8922] = true, [0x8923] = true, [0x8924] = true, [0x8931] = true,
  [0x8932] = true, [0x8946] = true, [0x89a0] = true, [0x89a1] = true, [0x89a2] = true, [0x89a3] = true,
  [0x400454ca] = true } -- SIOCADDRT ... SIOCBRDELIF, TUNSETIFF: netdevice(7)

add("ioctl", function(who, call)
  local request = call.args[2] & 0xffffffff
  if NET_REQUESTS[request] then
    who.need("NET_ADMIN")
  elseif (request == 0x40086602 or request == 0x40046602)
    and string.unpack("=I4", call:bytes(3, 4)) & IMMUTABLE ~= 0 then -- FS_IOC_SETFLAGS
    who.need("LINUX_IMMUTABLE")
  end
end)

-- The ids of another process, as the caller's own procfs has it.
local function ids_of(who, pid)
  local listener = who.call.supervisor.listener
  local found = listener:look(who.call.id, who.pid, ("/proc/%d/status"):format(pid), true, 4096)
  local real, saved = (found and found.head or ""):match("\nUid:%s+(%d+)%s+%d+%s+(%d+)")
  return tonumber(real), tonumber(saved)
end

local function ask_target(who, pid, name)
  if pid <= 0 then
    return
  end
  local ids = who:ids().Uid
  local real, saved = ids_of(who, pid)
  if real and not (is_any(ids.effective, real, saved) or is_any(ids.real, real, saved)) then
    who.need(name)
  end
end

add("kill tkill rt_sigqueueinfo tgkill rt_tgsigqueueinfo", function(who, call)
  if who:has("KILL") then
    ask_target(who, int(call.args[call.name:find("tg") and 2 or 1]), "KILL")
  end
end)

add("pidfd_send_signal", function(who)
  if who:has("KILL") then -- of whom the descriptor is, is in its fdinfo
    local pid = who:file("fdinfo/" .. int(who.call.args[1])):match("\nNSpid:[^\n]-(%d+)\n")
    ask_target(who, tonumber(pid or 0), "KILL")
  end
end)

add("ptrace", function(who, call)
  if (call.args[1] == 16 or call.args[1] == 0x4206) and who:has("SYS_PTRACE") then -- ATTACH, SEIZE
    ask_target(who, int(call.args[2]), "SYS_PTRACE")
  end
end)

add("process_vm_readv process_vm_writev kcmp", function(who, call)
  if who:has("SYS_PTRACE") then
    ask_target(who, int(call.args[1]), "SYS_PTRACE")
  end
end)

local function nice_of(who, pid)
  local stat = pid == 0 and who:file("stat") or ""
  local fields, n = {}, 0
  for word in (stat:match("^.*%) (.*)$") or ""):gmatch("%S+") do
    n = n + 1
    fields[n] = word
  end
  return tonumber(fields[17]) or 0
end

add("setpriority", function(who, call)
  if int(call.args[3]) < nice_of(who, int(call.args[2])) then
    who.need("SYS_NICE")
  end
end)

add("nice", function(who, call)
  if int(call.args[1]) < 0 then
    who.need("SYS_NICE")
  end
end)

add("sched_setscheduler", function(who, call)
  local policy = call.args[2] & 0xff
  if policy == 1 or policy == 2 then -- FIFO, RR
    who.need("SYS_NICE")
  end
end)

add("sched_setattr", function(who, call)
  local bytes = call:bytes(2, 24)
  local policy, _, nice = string.unpack("=I4I8i4", bytes, 5)
  if policy == 1 or policy == 2 or policy == 6 or (policy == 0 and nice < nice_of(who, int(call.args[1]))) then
    who.need("SYS_NICE")
  end
end)

add("ioprio_set", function(who, call)
  if call.args[3] >> 13 & 7 == 1 then -- the real-time class
    who.need("SYS_NICE")
  end
end)

-- One of the lines of /proc/PID/limits, which are in the order of their numbers.
local function limit_of(who, resource)
  local n = -1
  for soft, hard in who:file("limits"):gmatch("\n.-%s%s+(%w+)%s+(%w+)[^\n]*") do
    n = n + 1
    if n == resource then
      return soft == "unlimited" and math.huge or tonumber(soft), hard == "unlimited" and math.huge or tonumber(hard)
    end
  end
end

local function set_limit(place, pointer)
  return function(who, call)
    if call.args[pointer] == 0 or call.arch == "i386" or call.arch == "arm" then
      return
    end
    local new = string.unpack("=i8", call:bytes(pointer, 16), 9)
    local _, hard = limit_of(who, int(call.args[place]))
    if hard and (new < 0 and math.huge or new) > hard then
      who.need("SYS_RESOURCE")
    end
  end
end
add("setrlimit", set_limit(1, 2))
add("prlimit64", set_limit(2, 3))

local MEMLOCK <const> = 8
local function lock(size)
  return function(who, call)
    local soft = limit_of(who, MEMLOCK)
    if soft and size(who, call) > soft then
      who.need("IPC_LOCK")
    end
  end
end
add("mlock mlock2", lock(function(_, call) return call.args[2] end))
add("mlockall", lock(function(who) return who:ids().size end))

local PR_CAPBSET_DROP <const>, PR_SET_SECUREBITS <const>, PR_SET_MM <const>, PR_SET_SECCOMP <const> = 24, 28, 35, 22

add("prctl", function(who, call)
  local operation = call.args[1] & 0xffffffff
  if operation == PR_CAPBSET_DROP or operation == PR_SET_SECUREBITS then
    who.need("SETPCAP")
  elseif operation == PR_SET_MM then
    who.need("SYS_RESOURCE")
  elseif operation == PR_SET_SECCOMP and call.args[2] == 2 and not who:ids().no_new_privs then
    who.need("SYS_ADMIN")
  end
end)

add("seccomp", function(who, call)
  if call.args[1] & 0xffffffff == 1 and not who:ids().no_new_privs then
    who.need("SYS_ADMIN")
  end
end)

add("capset", function(who, call)
  local version = string.unpack("=I4", call:bytes(1, 8))
  local wide = version ~= 0x19980330
  local effective, permitted, inheritable = string.unpack("=I4I4I4", call:bytes(2, wide and 24 or 12))
  if wide then
    local e, p, i = string.unpack("=I4I4I4", call:bytes(2, 24), 13)
    effective, permitted, inheritable = effective | e << 32, permitted | p << 32, inheritable | i << 32
  end
  local ids = who:ids()
  for _, name in ipairs(require("carton.learn.caller").names(effective | permitted)) do
    who.need(name) -- what it wants to keep, it has to have
  end
  if inheritable & ~(ids.CapInh | ids.CapPrm) ~= 0 then
    who.need("SETPCAP")
  end
end)

local function namespaces(flags)
  if flags & NEW ~= 0 and flags & NEWUSER == 0 then
    return "SYS_ADMIN"
  end
end
add("unshare", function(who, call)
  who.need(namespaces(call.args[1]))
end)
add("clone", function(who, call)
  who.need(namespaces(call.args[1] & ~0x80)) -- where it has a signal
end)
add("clone3", function(who, call)
  who.need(namespaces((string.unpack("=I8", call:bytes(1, 8)))))
end)
add("open_tree", function(who, call)
  if call.args[3] & 1 ~= 0 then -- OPEN_TREE_CLONE
    who.need("SYS_ADMIN")
  end
end)

--- Ask for the capabilities that a call takes.
-- @tparam caller who with `need`, which is told a name and the file that it is about, or nil for none
-- @tparam {table,...} found what its paths are, as of `carton.learn.files`
-- @raise the answer to the call where its memory can't be read
function needs.ask(who, found)
  local ask = by_name[who.call.name]
  if ask then
    ask(who, who.call, found)
  end
end

--- Tell whether there is something to ask about a call.
-- @tparam string name
-- @treturn boolean
function needs.is_known(name)
  return by_name[name] ~= nil
end

return needs
