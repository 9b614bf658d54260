-- SPDX-License-Identifier: MIT
-- Mounts as people write them: what each form becomes, in words and in a container.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local mounts = carton.mounts
local output, shell = helper.output, helper.shell

describe("mounts.parse", function()
  it("reads source, target and options", function()
    assert.same({ source = "/a", target = "/b", options = { "ro", "nosuid" } }, mounts.parse("/a:/b:ro,nosuid"))
    assert.same({ source = "/a", target = "/b", options = {} }, mounts.parse("/a:/b"))
    assert.same({ source = "/a", target = "/a", options = {} }, mounts.parse("/a"))
    assert.same({ source = "/a:b\\c\n", target = "/d", options = {} }, mounts.parse("/a\\:b\\\\c\n:/d:"))
  end)
  it("refuses what is none", function()
    for _, text in ipairs { "", ":", "/a:", ":/b", "/a:/b:ro:x", "/a\\" } do
      assert.matches("mounts_spec.lua:%d+: mounts: '.*'", helper.raises(function() mounts.parse(text) end))
    end
  end)
end)

describe("mounts.parse_tmpfs", function()
  it("reads target and options, and keeps set-user-ID programs and devices out", function()
    assert.same({ type = "tmpfs", target = "/t", options = { "nosuid", "nodev" } }, mounts.parse_tmpfs("/t"))
    assert.same({ "mount.tmpfs", target = "/a:b", size = "1m", options = { "noexec", "dev", "nosuid" } },
      mounts.step(mounts.parse_tmpfs("/a\\:b:size=1m,noexec,dev")))
    for _, text in ipairs { "", ":size=1m", "/t:ro:x", "/t\\" } do
      assert.matches("mounts: '.*'", helper.raises(mounts.parse_tmpfs, text))
    end
  end)
end)

describe("mounts.step", function()
  local step = mounts.step
  it("makes a bind of a string or a table, recursive unless it is told otherwise", function()
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = true, options = { "ro", "nodev" } },
      step "/a:/b:ro")
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = false, propagation = "rslave",
      optional = true, nofollow = true, options = { "nodev" } },
      step { type = "bind", source = "/a", target = "/b", options = { "bind", "rslave", "optional", "nofollow" } })
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = true, options = { "nodev" } },
      step { type = "none", source = "/a", target = "/b", options = { "rbind", "defaults" } })
    for _, text in ipairs { "/dev/fuse:/b", "/dev:/b" } do -- devices are what is asked for
      assert.is_nil(step(text).options)
    end
    assert.same({ "dev" }, step("/a:/b:dev").options)
    for _, source in ipairs { "/dev/../srv", "/dev/..", "/devices" } do
      assert.same({ "nodev" }, step { source = source, target = "/b" }.options)
    end
  end)
  it("makes file systems, with their parameters as fields", function()
    assert.same({ "mount.tmpfs", target = "/t", size = "1m", mode = "1777", inodes = "9", options = { "noexec" } },
      step { type = "tmpfs", source = "tmpfs", target = "/t",
        options = { "size=1m", "mode=1777", "noexec", "nr_inodes=9" } })
    assert.same({ "mount.devpts", target = "/p", gid = "5" },
      step { type = "devpts", target = "/p", options = { "newinstance", "gid=5" } })
    assert.same({ "mount.filesystem", type = "ext4", source = "/dev/x", target = "/d",
      data = { data = "ordered", acl = true }, options = { "ro" } },
      step { type = "ext4", source = "/dev/x", target = "/d", options = { "ro", "acl" }, data = { data = "ordered" } })
  end)
  it("makes an overlay", function()
    assert.same({ "mount.overlay", lower = { "/a", "/b" }, temporary = true, target = "/o",
      options = { "nodev" } }, step { type = "overlay", lower = { "/a", "/b" }, temporary = true, target = "/o" })
  end)
  it("leaves a step as it is", function()
    local own = { "mount.mkdir", target = "/x" }
    assert.equal(own, step(own))
  end)
  it("refuses what would mean nothing, by name", function()
    for pattern, mount in pairs {
      ["unknown field 'sauce'"] = { sauce = "/a", target = "/b" },
      ["field 'target': string expected"] = { source = "/a" },
      ["field 'options': list expected, got string"] = { source = "/a", target = "/b", options = "ro" },
      ["bind mount on /b has no source"] = { target = "/b" },
      ["unknown option 'rw0' of a bind mount"] = { source = "/a", target = "/b", options = { "rw0" } },
      ["unknown option 'sise' of tmpfs on /t"] = { type = "tmpfs", target = "/t", options = { "sise=1" } },
      ["string or table expected, got number"] = 1,
      ["field 'data' means nothing for bind on /b"] = { source = "/a", target = "/b", data = { x = 1 } },
      ["field 'optional' means nothing for tmpfs"] = { type = "tmpfs", target = "/t", optional = true },
      ["option 'rshared' means nothing for tmpfs"] = { type = "tmpfs", target = "/t", options = { "rshared" } },
      ["field 'tree' means nothing for proc"] = { type = "proc", target = "/t", tree = 1 },
      ["field 'lower' means nothing for bind"] = { source = "/a", target = "/b", lower = { "/" } },
      ["option 'nofollow' means nothing for overlay"] = { type = "overlay", lower = { "/" }, target = "/t",
        options = { "nofollow" } },
      ["'options': a list of words expected, got boolean for 'ro'"] = { source = "/a", target = "/b",
        options = { ro = true } },
      ["'slave' and 'private' contradict each other"] = "/a:/b:slave,private",
      ["'bind' and 'rbind' contradict"] = "/a:/b:bind,rbind",
      ["option 'size' is given twice"] = { type = "tmpfs", target = "/t", options = { "size=1m", "size=2m" } },
      ["'mode' of tmpfs on /t is in 'data' and in 'options'"] = { type = "tmpfs", target = "/t",
        options = { "mode=0700" }, data = { mode = "0755" } },
      ["'inodes' of tmpfs on /t is given twice"] = { type = "tmpfs", target = "/t",
        options = { "inodes=1" }, data = { nr_inodes = "2" } },
    } do
      assert.matches("mounts_spec.lua:%d+: mounts: .*" .. pattern, helper.raises(function() step(mount) end))
    end
  end)
  it("says which relative path is not there", function()
    local err = helper.raises_code("ENOENT", step, "no/such/place:/b")
    assert.equal("no/such/place", err.path)
    local before = posix.getcwd()
    posix.chdir("/usr")
    local made = step("lib:/b")
    posix.chdir(before)
    assert.matches("^/usr/lib", made.source)
  end)
end)

describe("mounts of a container #userns", function()
  local function options_at(place, fields)
    local seen = output("cat /proc/self/mountinfo", fields)
    return (seen .. "\n"):match(" " .. place .. " (%S+) [^\n]*\n[^/]*$") or seen:match(" " .. place .. " (%S+)")
  end
  it("bind, with attributes that hold below, too", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "seen")
    assert.equal("seen", output("cat /data/file", { mounts = { dir .. ":/data:ro" } }))
    assert.matches("Read%-only", shell("echo x > /data/file", { mounts = { dir .. ":/data:ro" } }).stderr)
    assert.equal("", output("echo changed > /data/deep/er/file", { mounts = { dir .. ":/data/deep/er" } }))
    assert.equal("changed\n", helper.read(dir .. "/file"))
    local options = options_at("/data", { mounts = { { source = dir, target = "/data",
      options = { "nosuid", "nodev", "noexec", "ro" } } } })
    for _, word in ipairs { "ro", "nosuid", "nodev", "noexec" } do
      assert.is_truthy(("," .. options .. ","):find("," .. word .. ",", 1, true), options)
    end
  end)
  it("bind a file, in a place that is not there yet", function()
    local file = helper.write(helper.tmpdir() .. "/f", "one file")
    assert.equal("one file", output("cat /made/here/f", { mounts = { file .. ":/made/here/f" },
      rootfs = carton.rootfs.overlay { lower = { helper.rootfs() } } }))
  end)
  it("tmpfs, and a step of one's own, in the order of the list", function()
    assert.equal("1777 x 0", output("echo $(stat -c %a /tmp) $(cat /tmp/sub/x) $(ls /tmp/hidden | wc -l)", { mounts = {
      { type = "tmpfs", target = "/tmp", options = { "mode=1777", "size=64k" } },
      { "mount.write", target = "/tmp/hidden/x", content = "x" },
      { "mount.write", target = "/tmp/sub/x", content = "x" },
      { type = "tmpfs", target = "/tmp/hidden" },
    } }))
  end)
  it("an optional one that is not there is left out, others are not", function()
    assert.equal("none", output("test -e /opt || echo none",
      { mounts = { { source = "/no/such", target = "/opt", optional = true } } }))
    local err = helper.raises_code("ENOENT", output, "true", { mounts = { "/no/such:/opt" } })
    assert.equal("/no/such", err.source)
  end)
  it("of another tree, prepared once, for several #root", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "tree")
    local tree <close> = carton.mount.open_tree(dir, { options = { "ro" } })
    for _ = 1, 2 do
      assert.equal("tree", output("cat /data/file", { mounts = { { tree = tree, target = "/data" } } }))
    end
  end)
  it("devices of the host", function()
    assert.equal("1:3 works", output("echo x > /dev/mine && echo $(stat -c %t:%T /dev/mine) works",
      { devices = { { path = "/dev/mine", source = "/dev/null" } } }))
    assert.equal("1:7", output("stat -c %t:%T /dev/full", { rootfs = carton.rootfs.dir { path = helper.rootfs(),
      system = { dev = true } }, mounts = { { "mount.tmpfs", target = "/dev" } }, devices = { "/dev/full" } }))
    local err = helper.raises(output, "true", { devices = { "/etc/passwd" } })
    assert.equal("mount.device", err.step)
    assert.matches("'paht'", tostring(helper.raises(output, "true", { devices = { { paht = "/dev/null" } } })))
  end)
end)

teardown(helper.cleanup)
