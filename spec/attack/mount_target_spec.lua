-- SPDX-License-Identifier: MIT
-- CVE-2019-18837: mount targets of every kind are links of an image that lead out of it.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local places = require("spec.attack.places")
local mount, exec, host = carton.mount, carton.exec, carton.host
local snapshot, place, operations, expect = places.snapshot, places.make, places.operations, places.expect

--- What each kind of mount is asked for, on a target: as fields of a container.
local function kinds(target)
  return {
    { mounts = { { source = "/usr", target = target, options = { "ro" } } } },
    { mounts = { { source = "/usr", target = target .. "/deep/made" } } },
    { mounts = { { type = "tmpfs", target = target } } },
    { mounts = { { type = "tmpfs", target = target .. "/made" } } },
    { cwd = target },
  }
end

local PLACES <const> = { "/etc", "/tmp/vol", "/dev/shm", "/dev/mqueue", "/dev/pts", "/dev/null", "/sys/fs" }

--- Put a link in a place of an image.
local function link(root, at, target)
  os.execute(("rm -rf '%s%s'; mkdir -p '%s%s'"):format(root, at, root, at:match("(.*)/")))
  assert(posix.link(target, root .. at, true))
end

attack.any("mounts, masks and the working directory follow links of the image", { "CVE-2019-18837" }, function(r)
  local path, look = attack.canary()
  local root = attack.image()
  posix.link(path, root .. "/chain", true)
  local before, starts = look(), 0
  for _, at in ipairs(PLACES) do
    for i, target in ipairs { path, "../../../../../../.." .. path, "/chain", at, path .. "/nowhere",
      "/proc/self/root" .. path } do
      link(root, at, target)
      for k, fields in ipairs(kinds(at)) do
        if (i + k) % (r.name == "Carton" and 2 or 5) == 0 then
          fields.rootfs, fields.args = root, { "sh", "-c", "echo in > /etc/evil; echo x > " .. at }
          r:run(fields)
          starts = starts + 1
        end
      end
      attack.holds(look() == before, "%s -> %s: %s", at, target, look())
      attack.holds(not (host.stat("/etc/evil") or host.stat("/usr/deep")), "%s -> %s", at, target)
    end
    os.remove(root .. at)
  end
  link(root, "/tmp/vol", "/bin")
  local result = r:run { rootfs = root, args = { "/bin/busybox", "cat", "/bin/passwd" },
    mounts = { { source = path .. "/passwd", target = "/tmp/vol/passwd" } } }
  assert(result.stdout:find("canary"), "a harmless link is not followed: " .. result.stderr)
  return starts .. " starts"
end)

describe("a lookup in a root", function()
  it("never leaves it, by no link and no primitive", function()
    helper.isolated(function()
      local base, path, canary, names = place()
      mount.bind { source = base, target = base, recursive = true }
      pcall(mount.bind, { source = "/proc", target = path .. "/proc", recursive = true })
      posix.chdir(base)
      local out = posix.open(canary, posix.O_RDONLY)
      posix.dup2(out, 9) -- for /proc/self/fd/9
      local before = snapshot(canary)
      for _, name in ipairs(names) do
        for i, operation in ipairs(operations) do
          local root <close> = mount.open_root(path)
          pcall(operation, name, root)
          pcall(operation, "/" .. name .. "/", root)
          expect(snapshot(canary) == before, ("operation %d left by %s:\n%s\n%s"):format(i, name, before,
            snapshot(canary)))
        end
      end
      expect(helper.read(path .. "/file") == "root\n", "beside the target")
    end)
  end)
  it("does its work in a root that is not hostile, so that the specs here mean something", function()
    helper.isolated(function()
      local skipped = 0
      for i, operation in ipairs(operations) do
        local base, path = place()
        mount.bind { source = base, target = base, recursive = true }
        mount.tmpfs { target = path .. "/dir" }
        helper.write(path .. "/dir/file", "x")
        local root <close> = mount.open_root(path)
        local ok, err = pcall(operation, "dir", root)
        skipped = skipped + (ok and 0 or 1)
        -- what has to be a file, or cannot be there twice
        expect(ok or (" EINVAL EEXIST EPERM ELOOP "):find(err.code, 1, true), i .. " " .. tostring(err))
      end
      expect(skipped <= 7, skipped .. " of them did nothing")
    end)
  end)
  it("refuses links of procfs, and says so", function()
    helper.isolated(function()
      local _, path, canary = place()
      mount.bind { source = "/proc", target = path .. "/proc", recursive = true }
      local root <close> = mount.open_root(path)
      for _, target in ipairs { "magic", "init", "/proc/self/root/x", "/proc/self/cwd/x", "/proc/1/root/x" } do
        local ok, err = pcall(mount.write, { root = root, target = target, content = "x" })
        expect(not ok and (" ELOOP EACCES "):find(err.code, 1, true), target .. " " .. tostring(err))
      end
      expect(helper.read(canary .. "/file") == "canary\n")
    end)
  end)
  it("writes no file by which procfs or sysfs acts", function()
    helper.isolated(function()
      local _, path = place()
      mount.bind { source = "/proc", target = path .. "/proc", recursive = true }
      posix.link("/proc/self/comm", path .. "/hosts", true)
      posix.link("/proc/sys/kernel/core_pattern", path .. "/pattern", true)
      local root <close> = mount.open_root(path)
      for _, target in ipairs { "hosts", "pattern", "/proc/self/oom_score_adj" } do
        local ok, err = pcall(mount.write, { root = root, target = target, content = "5" })
        expect(not ok and err.call == "is not a regular file", target .. " " .. tostring(err))
      end
    end)
  end)
  it("ends, whatever loops", function()
    helper.isolated(function()
      local _, path = place()
      local root <close> = mount.open_root(path)
      local deep = path
      for i = 1, 45 do
        posix.link(i == 1 and "dir" or "l" .. (i - 1), path .. "/l" .. i, true)
      end
      expect(deep)
      for _, target in ipairs { "loop", "self", "loop/x", "l45" } do
        local ok, err = pcall(mount.tmpfs, { root = root, target = target, nofollow = false })
        expect(not ok and err.code == "ELOOP", target .. " " .. tostring(err))
      end
      for length, code in pairs { [300] = "ENAMETOOLONG", [5000] = "ENAMETOOLONG", [100000] = "ENAMETOOLONG" } do
        local ok, err = pcall(mount.mkdir, { root = root, target = ("x"):rep(length), parents = true })
        expect(not ok and err.code == code, tostring(err))
        ok, err = pcall(mount.mkdir, { root = root, target = ("x/"):rep(length), parents = true })
        expect(length == 300 and ok or not ok and err.code == code, tostring(err))
      end
    end)
  end)
end)

local idmap = not helper.is_root and "single" or nil

describe("a root full of links #userns", function()
  local all = { "/proc", "/dev", "/sys", "/etc", "/tmp", "/dev/pts", "/dev/shm", "/dev/null", "/dev/ptmx",
    "/dev/console", "/proc/self", "/sys/fs" }
  local never = { ["/proc"] = true, ["/dev"] = true, ["/sys"] = true } -- links there are refused
  for _, at in ipairs(all) do
    it("may have a link to anywhere in place of " .. at, function()
      local path, look = attack.canary()
      local before, world = look(), helper.world()
      local root, outcomes = helper.rootfs(true), {}
      for _, target in ipairs { path, "../../../../../../.." .. path, "/", "..", "/bin", at,
        "/nowhere/at/all", "/proc/self/root" .. path } do
        link(root, at, target)
        for _, mounts in ipairs { {}, { at .. "/extra", at } } do
          local fields = { rootfs = root, idmap = idmap, mounts = {},
            devices = { { path = "/dev/node", source = "/dev/null" } } }
          for i, target_of in ipairs(mounts) do
            fields.mounts[i] = "/usr:" .. target_of .. ":ro"
          end
          local ok, status = pcall(helper.shell,
            "echo in > /etc/canary; echo x > " .. at .. "; ls /proc /dev /sys /etc", fields)
          if not ok then
            assert.equal("table", type(status), tostring(status))
            assert.is_truthy(status.step and status.code, tostring(status))
          end
          outcomes[ok] = true
        end
        assert.equal(before, look(), at .. " -> " .. target)
        assert.same(world.mounts, helper.world().mounts)
        assert.is_nil(host.stat("/etc/canary"))
        assert.is_nil(host.stat("/usr/extra"))
      end
      assert.equal(not never[at], outcomes[true] or false)
    end)
  end
  it("whose program is a link out of it finds none", function()
    local root = helper.rootfs(true)
    posix.link("../../../../../../../../usr/bin/env", root .. "/bin/outside", true)
    helper.raises_code("ENOENT", helper.shell, "true", { rootfs = root, idmap = idmap, args = { "outside" } })
  end)
end)

describe("exec.chroot", function()
  it("enters through no link that leads out #userns", function()
    helper.isolated(function()
      local _, path, canary = place()
      carton.exec.chroot { path = path }
      local ok, err = pcall(exec.chroot, { path = "relative" })
      expect(not ok and err.code == "ENOENT", tostring(err))
      expect(not carton.host.stat(canary))
    end)
  end)
end)

teardown(helper.cleanup)
