#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a layout of one's own. A layout is a list of steps; this one has a root in memory with nothing but one
-- program's needs: /usr read-only, one writable directory with a limit, no /proc, no /sys.
-- Needs: nothing, root or not.
local carton = require "carton"

-- Write a function that gives steps, and it is as good as any of Carton's own.
local function sealed(scratch)
  local steps = {
    { "mount.tmpfs", target = "/", mode = "0755", size = "1m", inodes = 64 },
    { "mount.bind", source = "/usr", target = "/usr", recursive = true,
      options = { "ro", "nosuid", "nodev" } },
    { "mount.tmpfs", target = "/scratch", mode = "0700", size = scratch,
      options = { "nosuid", "nodev", "noexec" } },
    { "mount.write", target = "/etc/motd", content = "Nothing else is here.\n", mode = "0444" },
  }
  for _, name in ipairs { "bin", "lib", "lib64" } do
    steps[#steps + 1] = { "mount.symlink", path = "/" .. name, target = "usr/" .. name }
  end
  steps.readonly = true -- the root itself, after the last mount
  return steps
end

-- Lists join: the parts of `carton.rootfs.system` that are wanted come from there.
return carton.container {
  name = "sealed",
  rootfs = carton.steps(
    sealed("8m"),
    carton.rootfs.system { proc = false, sys = false, mqueue = false, mask = false }
  ),
  args = { "sh", "-c", [[
    cat /etc/motd
    echo "at the root:" $(ls /)
    touch /new 2>/dev/null && echo "the root can be written" || echo "the root can't be written"
    head -c 20m /dev/zero > /scratch/big 2>/dev/null || echo "8 MiB of scratch, and no more"
  ]] },
}
