#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a sandbox for a tool that is not trusted, an agent for example: the rest of the host can be read (as far as
-- this user can), one directory can be written, there is no network, and time is limited.
-- Needs: nothing, root or not. Arguments: DIRECTORY COMMAND [ARG...]; without them, a demonstration.
local carton = require "carton"

local directory, command = arg[1], { table.unpack(arg, 2) }
local temporary
if not directory then
  temporary = os.tmpname()
  os.remove(temporary)
  os.execute(("mkdir '%s'"):format(temporary))
  directory = temporary
end
if #command == 0 then
  command = { "sh", "-c", [[
    echo "I can write here" > notes && cat notes
    touch /etc/owned 2>/dev/null || echo "I can't write to /etc"
    touch /usr/owned 2>/dev/null || echo "nor to /usr"
    ls /sys/class/net | grep -v lo || echo "there is no network"
    ls -d /proc/[0-9]* | wc -l | { read n; [ $n -lt 10 ] && echo "I see no process but my own"; }
  ]] }
end

-- The host's whole tree, read-only and without set-user-ID programs; /proc, /dev and /tmp are the container's own.
local layout = carton.steps({
  { "mount.bind", source = "/", target = "/", recursive = true,
    options = { "ro", "nosuid", "nodev" }, propagation = "rprivate" },
}, carton.rootfs.system { sys = false, mask = true }, {
  { "mount.tmpfs", target = "/tmp", mode = "1777", options = { "nosuid", "nodev" } },
  { "mount.sysfs", target = "/sys", options = { "ro", "nosuid", "nodev", "noexec" } },
  { "mount.bind", source = directory, target = "/tmp/work", recursive = true,
    options = { "nosuid", "nodev" } },
})

local status = carton.container {
  name = "tool",
  rootfs = layout,
  args = command,
  cwd = "/tmp/work",
  env = { HOME = "/tmp/work" },
  capabilities = "none",
  rlimits = { nproc = 4096, core = 0 },
  timeout = 60,
}:run()

if temporary then
  os.execute(("rm -rf '%s'"):format(temporary))
end
if status.cause == "timeout" then
  io.stderr:write("the tool took too long\n")
end
return status
