-- SPDX-License-Identifier: MIT
-- CVE-2025-52881: what a runtime writes to procfs (labels, parameters) goes elsewhere, by mounts and links that race.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")
local host = carton.host

--- A root whose /proc is exchanged for another directory, which leads to a canary.
local function image(path)
  local root = attack.image()
  assert(os.execute(([[set -e; cd '%s'; mkdir -p fake/sys/net/ipv4 fake/self/attr
    ln -s '%s/file' fake/sys/net/ipv4/ip_forward; ln -s '%s/file' fake/self/attr/exec
    ln -s '%s/file' fake/self/oom_score_adj; ln -s fake/self fake/thread-self]]):format(root, path, path, path)))
  return root
end

attack.any("/proc of the image is exchanged while parameters are written", { "CVE-2025-52881" }, function(r)
  local path, look = attack.canary()
  local root, before = image(path), look()
  local race <close> = attack.swapper(root .. "/proc", root .. "/fake", { state = function()
    return host.stat(root .. "/proc/sys") and "fake" or "empty"
  end })
  local tries, ran, began = 0, 0, host.monotonic()
  while tries < r.tries and host.monotonic() - began < r.seconds do
    tries = tries + 1
    race:look()
    local result = r:run { rootfs = root, sysctl = { ["net.ipv4.ip_forward"] = "1" },
      args = { "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward" } }
    attack.holds(result.code ~= 0 or result.stdout == "1\n", "it was not written: %s", result.stdout)
    ran = ran + (result.code == 0 and 1 or 0)
  end
  attack.holds(look() == before, "%s", look())
  return ("%d starts, %d ran, %d exchanges"):format(tries, ran, race:assert_live(tries))
end)

describe("what is written to procfs #userns", function()
  it("goes to procfs while something else is mounted over it, 1000 times", function()
    local path, look = attack.canary()
    local volume, before = helper.tmpdir(), look()
    for _, name in ipairs { "real", "fake" } do
      assert(os.execute(([[cd '%s' && mkdir -p %s/sys/net/ipv4 && ln -s '%s/file' %s/sys/net/ipv4/ip_forward]]):format(
        volume, name, path, name)))
    end
    assert(os.execute(("cd '%s/real/sys/net/ipv4' && rm ip_forward && echo 0 > ip_forward"):format(volume)))
    local race <close> = attack.swapper(volume .. "/real", volume .. "/fake", { state = function()
      return posix.readlink(volume .. "/real/sys/net/ipv4/ip_forward") and "link" or "file"
    end })
    local layout = carton.steps(carton.rootfs.dir(attack.image()), {
      { "mount.bind", source = volume, target = "/vol" }, { "mount.bind", source = volume .. "/real",
        target = "/proc" } })
    local fields = { rootfs = layout, args = { "/nothing" }, sysctl = { ["net.ipv4.ip_forward"] = 1 },
      idmap = not helper.is_root and "single" or nil }
    for _ = 1, attack.STARTS do
      race:look()
      local c <close> = carton.container(fields)
      local err = helper.raises(c.start, c)
      assert.equal("exec.exec", err.step, tostring(err))
    end
    race:assert_live(attack.STARTS)
    race:close()
    assert.equal(before, look())
    for _, name in ipairs { "real", "fake" } do
      local file = volume .. "/" .. name .. "/sys/net/ipv4/ip_forward"
      assert.is_truthy(posix.readlink(file) or helper.read(file) == "0\n")
    end
  end)
end)

teardown(helper.cleanup)
