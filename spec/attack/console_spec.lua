-- SPDX-License-Identifier: MIT
-- CVE-2025-52565: /dev/console or /dev/pts/N is exchanged for a link while the terminal is bound to it.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local pty = require("spec.pty")
local carton = require("carton")
local host = carton.host

attack.any("/dev/console is exchanged while the terminal is bound", { "CVE-2025-52565" }, function(r)
  local path, look = attack.canary()
  local root, volume, before = attack.image(), helper.tmpdir(), look()
  helper.write(volume .. "/console", "")
  for _, target in ipairs { "/proc/sys/kernel/core_pattern", path .. "/file" } do
    os.remove(volume .. "/other")
    os.remove(volume .. "/console")
    helper.write(volume .. "/console", "")
    posix.link(target, volume .. "/other", true)
    posix.mkdir(volume .. "/pts")
    posix.link("pts/ptmx", volume .. "/ptmx", true)
    local a <close> = r:start { rootfs = attack.image(), mounts = { { source = volume, target = "/vol" } },
      args = { "payload", "swap", "/vol/console", "/vol/other", "/vol/count" } }
    local race <close> = attack.swapper(volume .. "/console", volume .. "/other", { counter = volume .. "/count",
      process = a })
    local words = r:command { rootfs = root, terminal = true, mounts = { { source = volume, target = "/dev" },
      { type = "devpts", source = "devpts", target = "/dev/pts", options = { "ptmxmode=0666" } } },
      args = { "sh", "-c", "payload write /proc/sys/kernel/core_pattern /proc/sysrq-trigger;"
      .. " grep -c ' /proc/sys/kernel/core_pattern ' /proc/self/mountinfo" } }
    local tries, began = 0, host.monotonic()
    while tries < 20 and host.monotonic() - began < r.seconds / 2 do
      tries = tries + 1
      race:look()
      local t <close> = pty.spawn(table.unpack(words))
      local _, text = t:finish()
      attack.holds(not text:find("wrote") and not text:find("opened") and not text:find("^1"), "%s", text)
    end
    race:assert_live(tries)
    os.execute(("rm -rf '%s/count'"):format(volume))
  end
  attack.holds(look() == before, "%s", look())
end)

describe("the terminal's place #userns", function()
  it("is never what a link leads to, 1000 times", function()
    local volume, root = helper.tmpdir(), helper.rootfs(true)
    local path, look = attack.canary()
    local before = look()
    helper.write(volume .. "/console", "")
    posix.link(path .. "/file", volume .. "/other", true)
    local race <close> = attack.swapper(volume .. "/console", volume .. "/other")
    local layout = carton.steps(carton.rootfs.dir(root), { { "mount.bind", source = volume, target = "/dev" },
      { "mount.devpts", target = "/dev/pts", ptmxmode = "0666" } })
    posix.link("pts/ptmx", volume .. "/ptmx", true)
    posix.mkdir(volume .. "/pts")
    local done, refused = 0, 0
    for _ = 1, attack.STARTS do
      race:look()
      local c <close> = carton.container { rootfs = layout, args = { "/nothing" }, terminal = true,
        namespaces = { net = "host" }, idmap = not helper.is_root and "single" or nil }
      local err = helper.raises(c.start, c)
      done = done + (err.step == "exec.exec" and 1 or 0)
      refused = refused + (err.step == "exec.terminal" and 1 or 0)
    end
    race:assert_live(attack.STARTS)
    assert.equal(attack.STARTS, done + refused)
    assert.is_true(done > 10 and refused > 10, done .. " done, " .. refused .. " refused")
    assert.equal(before, look())
  end)
  it("is refused where /dev/ptmx is none", function()
    local root = helper.rootfs(true)
    for _, target in ipairs { "null", "/proc/self/exe", "/etc/passwd" } do
      local layout = carton.steps(carton.rootfs.dir(root), { { "mount.tmpfs", target = "/dev" },
        { "mount.device", path = "/dev/null" }, { "mount.symlink", path = "/dev/ptmx", target = target } })
      local c <close> = carton.container { rootfs = layout, args = { "true" }, terminal = true,
        idmap = not helper.is_root and "single" or nil }
      local err = helper.raises(c.start, c)
      assert.equal("exec.terminal", err.step, tostring(err))
    end
  end)
end)

teardown(helper.cleanup)
