-- SPDX-License-Identifier: MIT
-- CVE-2021-30465, CVE-2024-45310: a mount's target is exchanged for a link in a volume that another container has.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local places = require("spec.attack.places")
local mount, host = carton.mount, carton.host
local snapshot, place, operations, expect = places.snapshot, places.make, places.operations, places.expect

attack.any("a mount's target is exchanged in a shared volume", { "CVE-2021-30465", "CVE-2024-45310" }, function(r)
  local path, look = attack.canary()
  local root, volume = attack.image(), helper.tmpdir()
  posix.mkdir(volume .. "/swap")
  assert(posix.link(path .. "/dir", volume .. "/other", true))
  local before, shared = look(), { { source = volume, target = "/vol" } }
  local a <close> = r:start { rootfs = attack.image(), mounts = shared, args = { "payload", "swap", "/vol/swap",
    "/vol/other", "/vol/count" } }
  local race <close> = attack.swapper(volume .. "/swap", volume .. "/other", { counter = volume .. "/count",
    process = a })
  shared[2] = { type = "tmpfs", target = "/vol/swap/made" }
  local tries, began = 0, host.monotonic()
  while tries < r.tries and host.monotonic() - began < r.seconds do
    tries = tries + 1
    race:look()
    local result = r:run { rootfs = root, mounts = shared, args = { "sh", "-c",
      "grep -q '/made ' /proc/self/mountinfo || echo absent" } }
    attack.holds(result.stdout == "", "the mount is not in the container")
    if tries % 50 == 0 or r.seconds > 20 then
      attack.holds(look() == before, "%s", look())
    end
  end
  attack.holds(look() == before, "%s", look())
  return ("%d starts, %d exchanges"):format(tries, race:assert_live(tries))
end)

describe("a race for a link #userns", function()
  it("is never won by a link, in 1000 tries and more", function()
    helper.isolated(function()
      local base, path, canary = place()
      mount.bind { source = base, target = base, recursive = true }
      posix.mkdir(path .. "/good")
      posix.mkdir(path .. "/good/dir")
      helper.write(path .. "/good/file", "x")
      local before, done, failed = snapshot(canary), 0, 0
      for _, target in ipairs { canary, "../canary", "dir/../../canary", "/../canary", "/proc/self/root" .. canary } do
        for _, name in ipairs { "swap", "other" } do
          os.remove(path .. "/" .. name)
        end
        posix.link("good", path .. "/swap", true)
        posix.link(target, path .. "/other", true)
        local race <close>, tries = attack.swapper(path .. "/swap", path .. "/other"), done + failed
        while done + failed - tries < 400 do
          local root <close> = mount.open_root(path)
          race:look()
          local ok = pcall(operations[math.random(#operations)], math.random(2) == 1 and "swap" or "swap/../swap", root)
          done, failed = done + (ok and 1 or 0), failed + (ok and 0 or 1)
          for _, entry in ipairs(mount.list()) do
            if entry.target:sub(1, #path + 1) == path .. "/" then
              carton.try(mount.unmount, { target = entry.target, detach = true })
            end
          end
          if (done + failed) % 50 == 0 then
            expect(snapshot(canary) == before, "the canary:\n" .. before .. "\n" .. snapshot(canary))
          end
        end
        race:assert_live(400)
      end
      expect(done > 50 and failed > 50, done .. " done, " .. failed .. " failed")
    end)
  end)
  it("is not won while containers start either", function()
    local _, path, canary = place()
    posix.mkdir(path .. "/good")
    for _, name in ipairs { "bin", "sys", "dev", "etc" } do
      posix.mkdir(path .. "/" .. name)
    end
    posix.link("good", path .. "/swap", true)
    posix.link("../canary", path .. "/other", true)
    local before = snapshot(canary)
    local race <close> = attack.swapper(path .. "/swap", path .. "/other")
    for _ = 1, attack.STARTS do
      race:look()
      local c <close> = carton.container { rootfs = carton.rootfs.dir(path), args = { "/nothing" }, idmap = not
        helper.is_root and "single" or nil, mounts = {
          { "mount.tmpfs", target = "/swap/made", nofollow = false },
          { "mount.mkdir", target = "/swap/d", optional = true },
          { "mount.write", target = "/swap/file", content = "evil" },
          { type = "bind", source = "/usr", target = "/swap/usr" },
          { "mount.mask", paths = { "/swap/file", "/swap/dir" } } } }
      local err = helper.raises(c.start, c)
      assert.equal("table", type(err), tostring(err))
      assert.is_truthy(err.step:match("^mount%.") or err.step == "exec.exec", tostring(err))
    end
    assert.equal(before, snapshot(canary))
    race:assert_live(attack.STARTS)
  end)
end)

describe("a race for the directory above a procfs #userns", function()
  it("never leaves it without what it is covered with", function()
    local root = helper.rootfs(true)
    for _, name in ipairs { "swap", "other" } do
      posix.mkdir(root .. "/" .. name)
      posix.mkdir(root .. "/" .. name .. "/proc")
    end
    local race <close> = attack.swapper(root .. "/swap", root .. "/other", { state = function()
      return host.stat(root .. "/swap").ino
    end })
    local tries, held = attack.STARTS // 4, 0
    for _ = 1, tries do
      race:look()
      local ok, status = pcall(helper.shell, "grep -E ' /(swap|other)/proc' /proc/self/mountinfo", { rootfs = root,
        mounts = { { "mount.proc", target = "/swap/proc" } } })
      if ok then
        local covered = {}
        for name, options in status.stdout:gmatch("/proc/([%w-]+) (%w+)[^\n]*") do
          covered[name] = options
        end
        assert.same({ "ro", "ro" }, { covered.sys, covered.interrupts }, status.stdout)
        held = held + 1
      else
        assert.equal("EAGAIN", status.code, tostring(status))
      end
    end
    assert.is_true(held > 0)
    race:assert_live(tries)
  end)
end)

teardown(helper.cleanup)
