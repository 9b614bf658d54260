-- SPDX-License-Identifier: MIT
-- A payload changes the kernel that it shares with the host: core_pattern, sysrq-trigger, modprobe, uevent helpers.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local FILES <const> = { "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
  "/sys/kernel/uevent_helper", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/vm/panic_on_oom",
  "/proc/sys/kernel/panic", "/sys/fs/cgroup/release_agent", "/proc/sys/kernel/hotplug", "/sys/power/state",
  "/proc/scsi/scsi", "/proc/acpi/wakeup",
  "/proc/irq/default_smp_affinity", "/proc/bus/pci/00/00.0", "/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/sda",
  "/dev/vda", "/proc/kcore", "/proc/kmsg", "/proc/timer_list", "/sys/module/kernel/uevent", "/sys/kernel/debug" }

attack.any("a payload writes to what all share", { "core_pattern, sysrq" }, function(r)
  local args = { "sh", "-c", 'payload write "$@"; find /proc/sys /sys -type f -exec payload write {} + 2>/dev/null; '
    .. "mount -o remount,rw /proc/sys && echo remounted; umount /proc/sys && echo unmounted; echo ran", "sh",
    table.unpack(FILES) }
  local root = attack.image()
  local c <close> = r:start { rootfs = root, args = { "sleep", "60" } }
  for _, result in ipairs { r:run { rootfs = root, args = args }, c:exec { args = args } } do
    assert(result.code == 0, result.stderr)
    attack.holds(result.stdout == "ran\n", "%s", result.stdout)
  end
end)

describe("what all containers share #userns", function()
  it("is closed to who has all capabilities, but not of the host", function()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local status = helper.shell("", { rootfs = attack.image(), seccomp = false, capabilities = "all",
      args = { "payload", "write", table.unpack(FILES) },
      idmap = helper.is_root and { uids = ids, gids = ids } or "single" })
    assert.equal("", status.stdout)
  end)
end)

teardown(helper.cleanup)
