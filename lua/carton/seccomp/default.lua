-- SPDX-License-Identifier: MIT

--- The default profile: what a program in a container may ask the kernel for.
-- It names what is allowed. What it refuses by name fails with EPERM, as a kernel says it that a program has no
-- right to something; all else, what is newer than this list too, with ENOSYS, by which libraries know that they
-- have to do without. A capability opens what it is for. The first rule that applies decides.
-- @module carton.seccomp.default

local EPERM <const> = { "errno", "EPERM" }

-- By purpose; a name that an architecture lacks is none there.
local allowed = {
  { why = "files: open, read, write, look at", names = [[
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close
    close_range lseek _llseek stat fstat lstat newfstatat stat64 fstat64 lstat64 fstatat64 statx oldstat oldfstat
    oldlstat access faccessat faccessat2 readlink readlinkat getdents getdents64 readdir fcntl fcntl64 flock dup dup2
    dup3 pipe pipe2 sendfile sendfile64 splice tee vmsplice copy_file_range truncate truncate64 ftruncate ftruncate64
    fallocate fsync fdatasync sync syncfs sync_file_range arm_sync_file_range readahead fadvise64
    fadvise64_64 arm_fadvise64_64 cachestat statfs fstatfs statfs64 fstatfs64 name_to_handle_at fanotify_mark
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_create memfd_secret ]] },
  { why = "files: names, owners, attributes; the file system's own permissions hold", names = [[
    chdir fchdir getcwd chroot mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink symlinkat unlink
    unlinkat mknod mknodat umask chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat chown32 fchown32
    lchown32 utime utimes utimensat utimensat_time64 futimesat setxattr lsetxattr fsetxattr setxattrat getxattr
    lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr
    removexattrat file_getattr file_setattr ]] },
  { why = "memory", names = [[
    brk mmap mmap2 munmap mremap mprotect msync madvise process_madvise process_mrelease mincore mlock mlock2 munlock
    mlockall munlockall remap_file_pages mseal map_shadow_stack pkey_alloc pkey_free pkey_mprotect membarrier
    modify_ldt ]] },
  { why = "processes and threads; clone(2) and its kin are below", names = [[
    fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid tgkill tkill kill
    pidfd_open pidfd_send_signal pidfd_getfd set_tid_address set_robust_list get_robust_list rseq futex futex_time64
    futex_waitv futex_wait futex_wake futex_requeue arch_prctl set_thread_area get_thread_area set_tls get_tls
    cacheflush breakpoint prctl getpgid getpgrp setpgid getsid setsid uretprobe uprobe restart_syscall ]] },
  { why = "looking at other processes: the kernel asks who owns them, and since 4.8 a tracer can't get past a filter",
    names = "ptrace process_vm_readv process_vm_writev kcmp" },
  { why = "signals", names = [[
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_sigqueueinfo rt_tgsigqueueinfo sigaction sigprocmask sigreturn sigpending sigsuspend sigaltstack signal
    sgetmask ssetmask pause signalfd signalfd4 ]] },
  { why = "users and privileges: the kernel asks for the capability", names = [[
    getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
    setfsuid setfsgid setgroups getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32 getgroups32 setuid32
    setgid32 setreuid32 setregid32 setresuid32 setresgid32 setfsuid32 setfsgid32 setgroups32 capget capset ]] },
  { why = "further walls, which a program may put up for itself", names = [[
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr lsm_set_self_attr
    lsm_list_modules ]] },
  { why = "waiting for events", names = [[
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_wait
    epoll_pwait epoll_pwait2 eventfd eventfd2 ]] },
  { why = "clocks and timers: reading them; only CAP_SYS_TIME can set one", names = [[
    time times gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
    clock_nanosleep_time64 nanosleep alarm getitimer setitimer timer_create timer_delete timer_gettime timer_settime
    timer_gettime64 timer_settime64 timer_getoverrun timerfd_create timerfd_gettime timerfd_settime timerfd_gettime64
    timerfd_settime64 adjtimex clock_adjtime clock_adjtime64 ]] },
  { why = "scheduling and limits, of what the caller may change", names = [[
    sched_yield sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr
    sched_getaffinity sched_setaffinity sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set getrlimit setrlimit ugetrlimit
    prlimit64 getrusage getcpu sysinfo ]] },
  { why = "names of the system, in a namespace of its own", names = [[
    uname olduname oldolduname sethostname setdomainname ]] },
  { why = "sockets; socket(2) and socketpair(2) are below. socketcall(2) of old 32-bit programs is not here: its "
    .. "arguments are in memory, where no filter can look", names = [[
    bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt send recv sendto recvfrom sendmsg
    recvmsg sendmmsg recvmmsg recvmmsg_time64 shutdown ]] },
  { why = "System V and POSIX messages, in a namespace of their own", names = [[
    shmget shmat shmctl shmdt semget semctl semop semtimedop semtimedop_time64 msgget msgctl msgsnd msgrcv ipc mq_open
    mq_unlink mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64 mq_notify mq_getsetattr ]] },
  { why = "asynchronous input and output of the older kind", names = [[
    io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64 ]] },
  { why = "random bytes", names = "getrandom" },
}

-- What a capability is for, when the container has it; refused without. `nestable` is none: it stands for a root
-- that says so, in which containers shall run without any of the outer one's capabilities.
local privileged = {
  { why = "mounting, which could undo masked paths", caps = { { "SYS_ADMIN" }, { "nestable" } }, names = [[
    mount umount umount2 pivot_root open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick
    mount_setattr ]] },
  { why = "entering other namespaces", caps = { { "SYS_ADMIN" }, { "nestable" } }, names = "setns" },
  { why = "disk quotas and swap of the host", caps = { { "SYS_ADMIN" } },
    names = "quotactl quotactl_fd swapon swapoff" },
  { why = "watching whole file systems", caps = { { "SYS_ADMIN" } }, names = "fanotify_init" },
  { why = "keys: there is one keyring for each user, for all containers together", caps = { { "SYS_ADMIN" } },
    names = "add_key request_key" },
  { why = "programs in the kernel", caps = { { "BPF" }, { "SYS_ADMIN" } }, names = "bpf" },
  { why = "performance counters show what others do", caps = { { "PERFMON" }, { "SYS_ADMIN" } },
    names = "perf_event_open" },
  { why = "opening files by number goes around directories", caps = { { "DAC_READ_SEARCH" } },
    names = "open_by_handle_at" },
  { why = "kernel modules", caps = { { "SYS_MODULE" } }, names = "init_module finit_module delete_module" },
  { why = "another kernel, or none", caps = { { "SYS_BOOT" } }, names = "reboot kexec_load kexec_file_load" },
  { why = "the host's clock", caps = { { "SYS_TIME" } }, names = "settimeofday clock_settime clock_settime64 stime" },
  { why = "the kernel's log tells addresses and the host's business", caps = { { "SYSLOG" }, { "SYS_ADMIN" } },
    names = "syslog" },
  { why = "accounting for the whole host", caps = { { "SYS_PACCT" } }, names = "acct" },
  { why = "hardware", caps = { { "SYS_RAWIO" } },
    names = "iopl ioperm pciconfig_read pciconfig_write pciconfig_iobase" },
  { why = "the terminals of others", caps = { { "SYS_TTY_CONFIG" } }, names = "vhangup" },
  { why = "placing memory on nodes of the machine", caps = { { "SYS_NICE" } }, names = [[
    mbind set_mempolicy get_mempolicy migrate_pages move_pages set_mempolicy_home_node ]] },
}

-- Refused to everybody.
local refused = {
  { why = "page faults handled by the program make races in the kernel easy to win", names = "userfaultfd" },
  { why = "input and output past the filter", names = "io_uring_setup io_uring_enter io_uring_register" },
}

local NAMESPACES <const> = 0x7e020000 -- CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
local NEWTIME <const> = 0x80 -- of unshare(2) alone: clone(2) has a signal there
local INT <const> = 0xffffffff -- of an int or unsigned int the kernel looks at no more; nor may a filter

local JOIN_SESSION_KEYRING <const> = 1
local AF_ALG <const>, AF_VSOCK <const> = 38, 40
local TIOCSTI <const>, TIOCLINUX <const> = 0x5412, 0x541c

local rules = {}

local function words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return list
end

for _, entry in ipairs(allowed) do
  rules[#rules + 1] = { names = words(entry.names), action = "allow", why = entry.why }
end
for _, entry in ipairs(privileged) do
  for _, caps in ipairs(entry.caps) do
    rules[#rules + 1] = { names = words(entry.names), action = "allow", caps = caps, why = entry.why }
  end
  rules[#rules + 1] = { names = words(entry.names), action = EPERM, why = entry.why }
end
for _, entry in ipairs(refused) do
  rules[#rules + 1] = { names = words(entry.names), action = EPERM, why = entry.why }
end

-- What depends on arguments.
for _, rule in ipairs {
  { names = { "clone", "clone3", "unshare", "listmount", "statmount", "listns" }, action = "allow",
    caps = { "SYS_ADMIN" }, why = "new namespaces, for containers inside" },
  { names = { "clone", "clone3", "unshare" }, action = "allow", caps = { "nestable" },
    why = "new namespaces, for containers inside" },
  { names = { "keyctl" }, action = "allow", caps = { "SYS_ADMIN" }, why = "keys" },
  { names = { "keyctl" }, action = "allow", caps = { "nestable" },
    args = { { index = 0, value = JOIN_SESSION_KEYRING, mask = INT } },
    why = "a keyring of its own for each container inside" },
  { names = { "keyctl" }, action = EPERM,
    why = "keys: there is one keyring for each user, for all containers together" },
  { names = { "clone" }, action = "allow", args = { { index = 0, value = 0, mask = NAMESPACES } },
    why = "processes and threads" },
  { names = { "unshare" }, action = "allow", args = { { index = 0, value = 0, mask = NAMESPACES | NEWTIME } },
    why = "what threads share" },
  { names = { "clone", "unshare" }, action = EPERM,
    why = "in a user namespace of its own a program would have every capability" },
  { names = { "clone3" }, action = { "errno", "ENOSYS" },
    why = "its flags are in memory, where no filter can look; libraries use clone(2) then" },
  { names = { "socket", "socketpair" }, action = { "errno", "EAFNOSUPPORT" },
    args = { { index = 0, value = { AF_ALG, AF_VSOCK }, mask = INT } },
    why = "the kernel's ciphers have had many holes; VSOCK leads out of a virtual machine, past all networks" },
  { names = { "socket", "socketpair" }, action = "allow", why = "sockets" },
  { names = { "ioctl" }, action = EPERM, args = { { index = 1, value = { TIOCSTI, TIOCLINUX }, mask = INT } },
    why = "typing into the terminal of whoever started the container" },
  { names = { "ioctl" }, action = "allow", why = "devices and files" },
  { names = { "personality" }, action = "allow",
    args = { { index = 0, value = { 0, 0x8, 0x20000, 0x20008, 0xffffffff }, mask = INT } },
    why = "Linux as it is, or of 32 bits, or by an old version's name; and asking" },
  { names = { "personality" }, action = EPERM, why = "other systems' behaviour, and less safe memory" },
} do
  rules[#rules + 1] = rule
end

return { name = "default", default = { "errno", "ENOSYS" }, rules = rules }
