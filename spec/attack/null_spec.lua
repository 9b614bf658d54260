-- SPDX-License-Identifier: MIT
-- CVE-2025-31133: /dev/null is exchanged for a link in a volume, and what should be masked becomes what it leads to.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")
local host = carton.host

local SECRETS <const> = { "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/kcore", "/proc/keys",
  "/proc/timer_list", "/proc/sys/kernel/modprobe", "/sys/firmware", "/proc/sys/vm/panic_on_oom" }

attack.any("/dev/null is exchanged while paths are masked", { "CVE-2025-31133" }, function(r)
  local root, volume = attack.image(), helper.tmpdir()
  local before = helper.read("/proc/sys/kernel/core_pattern")
  helper.write(volume .. "/null", "")
  posix.link("/proc/sys/kernel/core_pattern", volume .. "/other", true)
  local a <close> = r:start { rootfs = attack.image(), mounts = { { source = volume, target = "/vol" } },
    args = { "payload", "swap", "/vol/null", "/vol/other", "/vol/count" } }
  local race <close> = attack.swapper(volume .. "/null", volume .. "/other", { counter = volume .. "/count",
    process = a })
  local args, ran, tries, began = { "payload", "write", table.unpack(SECRETS) }, 0, 0, host.monotonic()
  while tries < r.tries and host.monotonic() - began < r.seconds do
    tries = tries + 1
    race:look()
    local result = r:run { rootfs = root, args = args, mounts = { { source = volume, target = "/dev" } } }
    attack.holds(result.stdout == "", "%s", result.stdout)
    ran = ran + (result.code == 0 and 1 or 0)
  end
  attack.holds(helper.read("/proc/sys/kernel/core_pattern") == before, "core_pattern was changed")
  return ("%d starts, %d ran, %d exchanges"):format(tries, ran, race:assert_live(tries))
end)

describe("what masks a path #userns", function()
  it("is the null device of the host, by number, and empty directories", function()
    local text = helper.output([[for f in /proc/kcore /proc/keys /proc/timer_list; do stat -L -c '%F %t:%T' $f; done
      ls /proc/acpi /sys/firmware 2>/dev/null | grep -v :]], { idmap = not helper.is_root and "single" or nil })
    for line in text:gmatch("[^\n]+") do
      assert.equal("character special file 1:3", line)
    end
    assert.is_truthy(text ~= "")
  end)
  it("is no way to the host's node: its mode, owner and times stay", function()
    local function node()
      local stat = host.stat("/dev/null")
      local times = helper.run { "stat", "-c", "%y", "/dev/null" }.stdout
      return ("%o %d %d %s"):format(stat.mode, stat.uid, stat.gid, times)
    end
    local before = node()
    local script = [[for f in /proc/keys /proc/timer_list /proc/kcore /proc/interrupts /dev/null; do
      [ -c $f ] && { chmod 600 $f; chown 12:34 $f; touch $f; echo x > $f || echo unwritable; }; done 2>/dev/null]]
    local stat = host.stat("/dev/null")
    local text = helper.output(script, { idmap = not helper.is_root and "single" or nil })
    local after = node()
    if after ~= before and helper.is_root then -- others need it as it was
      helper.run { "chown", ("%d:%d"):format(stat.uid, stat.gid), "/dev/null" }
      helper.run { "chmod", ("%o"):format(stat.mode & 4095), "/dev/null" }
    end
    assert.equal(before, after)
    assert.equal("", text)
  end)
  it("and what is read-only stay so for who has all capabilities", function()
    local root = attack.image()
    local args = { "payload", "write", table.unpack(SECRETS) }
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local status = helper.shell("", { rootfs = root, args = args, seccomp = false, capabilities = "all",
      idmap = helper.is_root and { uids = ids, gids = ids } or "single" })
    assert.equal("", status.stdout)
    status = helper.shell("", { rootfs = carton.rootfs.dir { path = root, nestable = true }, args = args,
      idmap = not helper.is_root and "single" or nil })
    assert.equal(helper.is_root, status.stdout ~= "") -- so that the spec can fail
  end)
end)

teardown(helper.cleanup)
