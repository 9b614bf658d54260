#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: the classic call, `carton ROOTFS COMMAND`, written by hand with primitives only: the tutorial.
-- Needs: luaposix. Arguments: ROOTFS COMMAND [ARG...]; without them, a root is made of the host's /usr.
--
-- A container is an ordinary process that was started after a dozen system calls. Here they are, one by one,
-- in the calling process: what `carton.container` does for you, and what you can do otherwise.
local carton = require "carton"
local unistd = require "posix.unistd"
local wait = require "posix.sys.wait".wait
local mount, namespace, exec, privilege = carton.mount, carton.namespace, carton.exec, carton.privilege

local rootfs, command = arg[1], { table.unpack(arg, 2) }
if #command == 0 then
  command = { "sh", "-c", "echo \"process $$ of $(ls -d /proc/[0-9]* | wc -l), on $(hostname)\"" }
end

-- 1. Leave the host's namespaces for new ones. An ordinary user may do so only together with a new user
--    namespace, in which it is allowed all the rest. See namespaces(7).
local uid, gid = unistd.geteuid(), unistd.getegid()
local kinds = { "mnt", "pid", "uts", "ipc", "net" }
if uid ~= 0 then
  kinds[#kinds + 1] = "user"
end
namespace.unshare { kinds = kinds }

-- 2. In a new user namespace nobody is anybody yet: say that root inside is who we are outside. Carton denies
--    setgroups first, without which the kernel would refuse. See user_namespaces(7).
if uid ~= 0 then
  namespace.idmap {
    uids = { { container_id = 0, host_id = uid, size = 1 } },
    gids = { { container_id = 0, host_id = gid, size = 1 } },
  }
end

-- 3. A new pid namespace begins with the next child, which is its process 1: when that ends, the kernel ends
--    all others in it. So we fork, and the parent only waits.
io.stdout:flush()
local child = unistd.fork()
if child > 0 then
  local _, how, code = wait(child)
  os.exit(how == "exited" and code or 128 + code)
end

-- 4. The mount namespace is a copy, but a copy may still hear of mounts outside, and the other way round, where
--    those are shared. From here on, what we mount is ours alone. See mount_namespaces(7).
mount.propagation { propagation = "rprivate" }

-- 5. pivot_root(2) wants the new root to be a mount point: bind it to itself. Without one we lay out a small
--    root in memory; the mount point is /tmp, which nobody but us sees changing.
local root = rootfs or "/tmp"
if rootfs then
  mount.bind { source = root, target = root, recursive = true }
else
  mount.tmpfs { target = root, mode = "0755" }
  mount.bind { source = "/usr", target = root .. "/usr", recursive = true, options = { "ro" } }
  for _, name in ipairs { "bin", "lib", "lib64", "sbin" } do
    mount.symlink { path = root .. "/" .. name, target = "usr/" .. name }
  end
end

-- 6. /proc shows the processes of the pid namespace that it was mounted in: a new one shows only ours. The
--    target belongs to whoever made the image, so it is looked up inside of the root, by descriptor: a
--    link there can't lead us out. That is what `root` says.
do
  local inside <close> = mount.open_root(root)
  mount.proc { root = inside, target = "/proc", options = { "nosuid", "nodev", "noexec" } }
end

-- 7. Exchange the root, and take the old one off, with everything that was mounted there: no path leads back.
mount.pivot_root { new_root = root }

-- 8. A name of its own, a network with nothing but a loopback, and no privilege that a program can gain.
namespace.hostname { name = "classic" }
namespace.network_up { interface = "lo" }
privilege.no_new_privs()

-- 9. Become the program. Nothing is inherited that we do not name.
exec.replace {
  args = command,
  env = { PATH = "/usr/sbin:/usr/bin:/sbin:/bin", TERM = os.getenv("TERM") or "dumb" },
}
