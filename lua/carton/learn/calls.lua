-- SPDX-License-Identifier: MIT

--- What is looked at of a system call while learning: its paths, and the argument that a profile pins.
-- @module carton.learn.calls
local calls = {}

local INT <const> = 0xffffffff -- the kernel looks at no more of an int
local NAMESPACES <const> = 0x7e020000 -- CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
local NEWTIME <const> = 0x80

--- Which argument says what a call is about: its place from 0, and the bits that are compared. What is pinned is a
-- choice among a few that a program makes where it is written, not a size, an address or a number that chance gives.
calls.pinned = {
  socket = { index = 0, mask = INT, why = "by domain" },
  socketpair = { index = 0, mask = INT, why = "by domain" },
  setsockopt = { index = 1, mask = INT, why = "by level" },
  clone = { index = 0, mask = NAMESPACES, why = "by the namespaces that it makes" },
  unshare = { index = 0, mask = NAMESPACES | NEWTIME, why = "by the namespaces that it makes" },
  setns = { index = 1, mask = INT, why = "by kind" },
  prctl = { index = 0, mask = INT, why = "by operation" },
  arch_prctl = { index = 0, mask = INT, why = "by operation" },
  ioctl = { index = 1, mask = INT, why = "by request" },
  fcntl = { index = 1, mask = INT, why = "by command" },
  fcntl64 = { index = 1, mask = INT, why = "by command" },
  personality = { index = 0, mask = INT, why = "by persona" },
  keyctl = { index = 0, mask = INT, why = "by operation" },
  ptrace = { index = 0, mask = INT, why = "by request" },
  seccomp = { index = 0, mask = INT, why = "by operation" },
  bpf = { index = 0, mask = INT, why = "by command" },
  modify_ldt = { index = 0, mask = INT, why = "by function" },
}

--- What is allowed unseen. What executes the program once the filter is there, `carton.seccomp` says in words (and
-- hearing of the parent while on_syscall is prepared); the init before it; what comes first without no_new_privs. What
-- only chance calls: ends of programs, the kernel's own ways out of a signal, and what threads do when they meet.
-- Values are those of the pinned argument.
calls.start = {
  program = { execve = true, execveat = true, rt_sigaction = true, rt_sigprocmask = true, fcntl = { 2 },
    read = true, close = true, exit = true, exit_group = true, rt_sigreturn = true, restart_syscall = true }, -- F_SETFD
  init = { clone = { 0 }, close_range = true, exit = true, ioctl = { 0x5410 }, kill = true, rt_sigtimedwait = true,
    setpgid = true, wait4 = true, pipe2 = true, prctl = { 4 } }, -- TIOCSPGRP, PR_SET_DUMPABLE
  privileges = { capget = true, capset = true, prctl = { 1, 4, 23, 24, 47 }, ppoll = true }, -- PR_SET_PDEATHSIG, ...
  threads = { futex = true, madvise = true, munmap = true, rt_sigprocmask = true, sched_yield = true },
}

-- An entry says where a path is, from 1: `dir` the descriptor that it begins at, `how` it is used, `flags` where AT_*
-- or O_* flags are, `nofollow`: a link that it ends in is meant itself.
local function at(path, dir, how, more)
  local entry = { path = path, dir = dir, how = how }
  for key, value in pairs(more or {}) do
    entry[key] = value
  end
  return entry
end

local function paths(how, more, names)
  for name in names:gmatch("%S+") do
    calls.paths[name] = { at(1, nil, how, more) }
  end
end

--- The paths of a call, by its name.
calls.paths = {
  open = { at(1, nil, "open", { open = 2 }) },
  openat = { at(2, 1, "open", { open = 3 }) },
  openat2 = { at(2, 1, "open", { how2 = 3 }) },
  creat = { at(1, nil, "open", { bits = 0x241 }) }, -- O_WRONLY, O_CREAT, O_TRUNC
  execve = { at(1, nil, "execute") },
  execveat = { at(2, 1, "execute", { flags = 5 }) },
  uselib = { at(1, nil, "execute") },
  newfstatat = { at(2, 1, "look", { flags = 4 }) },
  fstatat64 = { at(2, 1, "look", { flags = 4 }) },
  statx = { at(2, 1, "look", { flags = 3 }) },
  faccessat = { at(2, 1, "look") },
  faccessat2 = { at(2, 1, "look", { flags = 4 }) },
  readlinkat = { at(2, 1, "look", { nofollow = true, empty = true }) },
  name_to_handle_at = { at(2, 1, "look", { flags = 5, nofollow = true }) },
  getxattrat = { at(2, 1, "look", { flags = 3 }) },
  listxattrat = { at(2, 1, "look", { flags = 3 }) },
  inotify_add_watch = { at(2, nil, "look") },
  fanotify_mark = { at(5, 4, "look") },
  file_getattr = { at(2, 1, "look", { flags = 5 }) },
  mkdirat = { at(2, 1, "make_dir", { nofollow = true }) },
  mknodat = { at(2, 1, "mknod", { nofollow = true, mode = 3 }) },
  mknod = { at(1, nil, "mknod", { nofollow = true, mode = 2 }) },
  symlink = { at(2, nil, "make_sym", { nofollow = true }) },
  symlinkat = { at(3, 2, "make_sym", { nofollow = true }) },
  unlink = { at(1, nil, "remove_file", { nofollow = true }) },
  rmdir = { at(1, nil, "remove_dir", { nofollow = true }) },
  unlinkat = { at(2, 1, "unlinkat", { nofollow = true, bits_at = 3 }) },
  rename = { at(1, nil, "rename", { nofollow = true, to = at(2, nil, "target", { nofollow = true }) }) },
  renameat = { at(2, 1, "rename", { nofollow = true, to = at(4, 3, "target", { nofollow = true }) }) },
  renameat2 = { at(2, 1, "rename", { nofollow = true, bits_at = 5, to = at(4, 3, "target", { nofollow = true }) }) },
  link = { at(1, nil, "link", { nofollow = true, to = at(2, nil, "target", { nofollow = true }) }) },
  linkat = { at(2, 1, "link", { follow_flag = 5, to = at(4, 3, "target", { nofollow = true }) }) },
  chown = { at(1, nil, "attribute") },
  lchown = { at(1, nil, "attribute", { nofollow = true }) },
  fchownat = { at(2, 1, "attribute", { flags = 5 }) },
  fchmodat = { at(2, 1, "attribute") },
  fchmodat2 = { at(2, 1, "attribute", { flags = 4 }) },
  utimensat = { at(2, 1, "attribute", { flags = 4, fd = true }) },
  futimesat = { at(2, 1, "attribute", { fd = true }) },
  setxattrat = { at(2, 1, "attribute", { flags = 3 }) },
  removexattrat = { at(2, 1, "attribute", { flags = 3 }) },
  file_setattr = { at(2, 1, "attribute", { flags = 5 }) },
  pivot_root = { at(1, nil, "look"), at(2, nil, "look") },
  mount = { at(2, nil, "look") },
}
paths("look", nil, "stat access chdir chroot statfs getxattr listxattr stat64 statfs64 umount2 umount quotactl")
paths("look", { nofollow = true }, "lstat readlink lgetxattr llistxattr lstat64")
paths("make_dir", { nofollow = true }, "mkdir")
paths("attribute", nil, "chmod utime utimes setxattr removexattr")
paths("attribute", { nofollow = true }, "lsetxattr lremovexattr")
paths("truncate", nil, "truncate truncate64")
for wide, name in pairs { chown32 = "chown", lchown32 = "lchown", utimensat_time64 = "utimensat" } do
  calls.paths[wide] = calls.paths[name]
end

--- Calls about a descriptor whose file may need a right of its own, or a capability.
calls.descriptors = { ioctl = "ioctl_dev", ftruncate = "truncate", ftruncate64 = "truncate", fchown = "attribute",
  fchown32 = "attribute", fchmod = "attribute", fsetxattr = "attribute" }

--- What stands for a port that the kernel had chosen, among those that are seen.
calls.CHOSEN = -1

--- Calls after which a path may lead elsewhere than before: `"names"`, and those that also change whom a directory lets
-- in, `"all"`.
calls.moving = {}
for what, names in pairs {
  names = "link linkat symlink symlinkat unlink mkdir mkdirat mknod mknodat bind creat",
  all = [[rename renameat renameat2 unlinkat rmdir mount umount umount2 move_mount mount_setattr pivot_root chroot setns
    unshare chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat chown32 fchown32 lchown32 fsmount open_tree
    setxattr]],
} do
  for name in names:gmatch("%S+") do
    calls.moving[name] = what
  end
end

--- Calls that change mounts, which a process held by Landlock can't do.
calls.mounting = { mount = true, umount = true, umount2 = true, pivot_root = true, move_mount = true,
  mount_setattr = true, fsmount = true, open_tree_attr = true }

--- An int of C, which is what a register's lower half says.
-- @tparam int value
-- @treturn int
function calls.int(value)
  value = value & INT
  return value >= 0x80000000 and value - 0x100000000 or value
end

return calls
