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
  it("takes every option of a mount for one, and any other for a parameter", function()
    for word in ("ro rw nosuid suid nodev dev noexec exec nosymfollow symfollow noatime relatime strictatime "
      .. "nodiratime diratime"):gmatch("%S+") do
      assert.same({ word, "nodev" }, step { source = "/a", target = "/b", options = { word, "nodev" } }.options)
      require("carton.core").validate { { "mount.tmpfs", target = "/", options = { word } } } -- it knows the same
    end
    for word in ("private rprivate slave rslave shared rshared unbindable runbindable"):gmatch("%S+") do
      assert.equal(word, step { source = "/a", target = "/b", options = { word } }.propagation)
    end
    assert.same({ "mount.filesystem", type = "x", target = "/b", data = { nosuidx = true } },
      step { type = "x", target = "/b", options = { "nosuidx" } })
  end)
  it("makes a bind of a string or a table, recursive unless it is told otherwise", function()
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = true, options = { "ro", "nodev" } },
      step "/a:/b:ro")
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = false, propagation = "rslave",
      optional = true, nofollow = true, options = { "nodev" } },
      step { type = "bind", source = "/a", target = "/b", options = { "bind", "rslave", "optional", "nofollow" } })
    assert.same({ "mount.bind", source = "/a", target = "/b", recursive = true, propagation = "rslave" },
      step "/a:/b:rslave,dev")
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
  it("takes a comma for a part of a path where no option follows, or it is escaped", function()
    assert.equal("/b,c", step("/a:/b,c").target)
    assert.equal("/b,ro", step([[/a:/b\,ro]]).target)
    assert.equal("/t,size=1", mounts.parse_tmpfs([[/t\,size=1]]).target)
    assert.matches("options follow a colon, as in '/t:size'", helper.raises(mounts.parse_tmpfs, "/t,size=1m"))
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
      ["'/a:/b,ro': options follow a colon, as in '/b:ro'"] = "/a:/b,ro",
      ["'type=bind,src=/a,dst=/b' is not SOURCE:TARGET"] = "type=bind,src=/a,dst=/b",
      ["unknown option 'z' of a bind mount; labels and owners"] = "/a:/b:z",
      ["unknown option 'rw0' of a bind mount"] = { source = "/a", target = "/b", options = { "rw0" } },
      ["unknown option 'sise' of tmpfs on /t"] = { type = "tmpfs", target = "/t", options = { "sise=1" } },
      ["string or table expected, got number"] = 1,
      ["field 'data' does not apply to bind on /b"] = { source = "/a", target = "/b", data = { x = 1 } },
      ["field 'optional' does not apply to tmpfs"] = { type = "tmpfs", target = "/t", optional = true },
      ["option 'rshared' does not apply to tmpfs"] = { type = "tmpfs", target = "/t", options = { "rshared" } },
      ["field 'tree' does not apply to proc"] = { type = "proc", target = "/t", tree = 1 },
      ["field 'lower' does not apply to bind"] = { source = "/a", target = "/b", lower = { "/" } },
      ["option 'nofollow' does not apply to overlay"] = { type = "overlay", lower = { "/" }, target = "/t",
        options = { "nofollow" } },
      ["'options': a list of strings expected, got boolean at 'ro'"] = { source = "/a", target = "/b",
        options = { ro = true } },
      ["'lower': a list of strings expected, got string at '3'"] = { type = "overlay", target = "/t",
        lower = { "/a", [3] = "/b" } },
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

describe("mounts and the host's later ones #root", function()
  local mount = carton.mount
  --- A shared file system with two directories, in a mount namespace of its own.
  local function shared()
    local path = helper.tmpdir()
    mount.tmpfs { target = path }
    mount.propagation { target = path, propagation = "shared" }
    posix.mkdir(path .. "/late")
    posix.mkdir(path .. "/inner")
    return path
  end
  local function has(target, pid)
    for _, entry in ipairs(mount.list(pid)) do
      if entry.target == target then
        return true
      end
    end
    return false
  end
  local function sleeper(fields)
    for key, value in pairs { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null", seccomp = false,
      capabilities = { add = { "SYS_ADMIN" } } } do
      fields[key] = value
    end
    return carton.container(fields):start()
  end
  --- Mount something in the container; true when it worked.
  local function mount_inside(c, target)
    return c:exec { args = { "mount", "-t", "tmpfs", "none", target } }:wait().code == 0
  end
  it("do not have the container's beside them, though all of the host's are shared", function()
    helper.isolated(function()
      mount.propagation { target = "/", propagation = "rshared" }
      local before = #mount.list()
      for _, rootfs in ipairs { helper.rootfs(), carton.rootfs.overlay { lower = helper.rootfs() } } do
        local c <close> = sleeper { rootfs = rootfs, mounts = { "/usr:/mnt" }, namespaces = { user = "host" } }
        assert(has("/proc", c:pid()))
        assert(#mount.list() == before, "the host has the container's mounts")
      end
    end)
  end)
  it("come in where a bind is a slave and nowhere else; none goes out", function()
    helper.isolated(function()
      mount.propagation { target = "/", propagation = "rshared" } -- also what devices and masks are bound from
      local a, b, top = shared(), shared(), shared()
      mount.bind { source = helper.rootfs(), target = top .. "/inner", recursive = true }
      mount.propagation { target = top .. "/inner", propagation = "shared" }
      for _, d in ipairs { "slave", "one", "other" } do
        posix.mkdir(top .. "/inner/" .. d)
      end
      local c <close> = sleeper { rootfs = top .. "/inner", devices = { { path = "/tmp/null", source = "/dev/null" } },
        mounts = { a .. ":/slave:rslave,dev", b .. ":/one:bind,slave,dev", b .. ":/other", "/dev/zero:/dev/mine" } }
      for _, path in ipairs { a, b } do
        mount.tmpfs { target = path .. "/late" }
      end
      mount.tmpfs { target = top .. "/inner/tmp" } -- on the root's own mount
      assert(has("/slave/late", c:pid()) and has("/one/late", c:pid()), "no slave")
      assert(not has("/other/late", c:pid()), "a bind that is no slave has what the host mounts")
      assert(not has("/tmp", c:pid()), "the root has what the host mounts")
      assert(mount_inside(c, "/slave/inner") and mount_inside(c, "/other/inner") and mount_inside(c, "/usr"))
      assert(not has(a .. "/inner") and not has(b .. "/inner") and not has(top .. "/inner/usr"), "it went out")
      for _, entry in ipairs(mount.list(c:pid())) do
        local is_slave = entry.target:find("^/slave") or entry.target:find("^/one")
        assert(is_slave or entry.propagation == "", entry.target .. " " .. entry.propagation)
        assert(not entry.propagation:find("shared"), entry.target)
      end
    end)
  end)
  it("come in without root, too, below what the host mounted with nodev", function()
    helper.isolated(function()
      local path = helper.tmpdir()
      posix.chmod(path, "rwxr-xr-x")
      mount.tmpfs { target = path, mode = "0755", options = { "nodev", "nosuid" } }
      mount.propagation { target = path, propagation = "shared" }
      local c <close> = sleeper { mounts = { path .. ":/tmp:rslave,dev" }, idmap = "single" }
      mount.tmpfs { target = path .. "/late" }
      assert(has("/tmp/late", c:pid()))
    end)
  end)
  it("a slave is refused where it would have nothing", function()
    helper.isolated(function()
      local path = helper.tmpdir()
      mount.tmpfs { target = path }
      local err = helper.raises_code("EINVAL", sleeper, { mounts = { path .. ":/usr:rslave,dev" } })
      assert.matches("is not shared: mount %-%-make%-shared", tostring(err))
    end)
    local function refused(pattern, mounts_wish)
      assert.matches(pattern, helper.raises(function()
        carton.container { rootfs = "/", args = { "x" }, mounts = mounts_wish }:compile()
      end))
    end
    refused("'slave' covers only the topmost mount", { "/srv:/srv:slave" })
    refused("'nodev' cannot be enforced on a slave: .* options; the option 'dev' accepts that", { "/srv:/srv:rslave" })
    refused("'ro' cannot be enforced on a slave: .* options$", { "/srv:/srv:dev,ro,rslave" })
    refused("a mount without a master cannot be made a slave",
      { { "mount.propagation", target = "/usr", propagation = "rslave" } })
    local tree <close> = mount.open_tree("/etc")
    assert.matches("a tree has no master", helper.raises(sleeper,
      { mounts = { { tree = tree, target = "/usr", options = { "rslave", "dev" } } } }))
  end)
  it("a tree prepared on the host passes nothing back", function()
    helper.isolated(function()
      local path = shared()
      mount.tmpfs { target = path .. "/inner" }
      mount.propagation { target = path .. "/inner", propagation = "shared" }
      posix.mkdir(path .. "/inner/deep")
      local tree <close> = mount.open_tree(path, { recursive = true })
      local c <close> = sleeper { mounts = { { tree = tree, target = "/usr" },
        { "mount.attach", tree = mount.open_tree(path), target = "/tmp" } } }
      for _, target in ipairs { "/usr/late", "/usr/inner/deep", "/tmp/late" } do
        assert(mount_inside(c, target))
      end
      assert(not has(path .. "/late") and not has(path .. "/inner/deep"), "it went out")
    end)
  end)
end)

describe("devices that lie outside of /dev #root", function()
  --- What is left of a node in a host's directory.
  local function left(path)
    local stat = carton.host.stat(path)
    return stat and (stat.type .. " " .. stat.size) or "nothing"
  end
  local command = "echo x > NODE && echo $(stat -c %t:%T NODE) works"
  local function works(path, fields)
    assert.equal("1:3 works", output(command:gsub("NODE", path), fields))
  end
  it("work, and leave no node in the host's directory", function()
    local root, dir = helper.rootfs(true), helper.tmpdir()
    for _, options in ipairs { "", ":dev" } do
      works("/data/null", { mounts = { dir .. ":/data" .. options },
        devices = { { path = "/data/null", source = "/dev/null" } } })
      assert.equal("file 0", left(dir .. "/null"))
      os.remove(dir .. "/null")
    end
    works("/null", { rootfs = root, devices = { { path = "//./null", source = "/dev/null" } } })
    assert.equal("file 0", left(root .. "/null"))
    local bare = carton.rootfs.dir { path = root, system = false }
    works("/dev/null", { rootfs = bare, devices = { "/dev/null" } })
    assert.equal("file 0", left(root .. "/dev/null"))
    works("/dev/below/null", { mounts = { dir .. ":/dev/below" },
      devices = { { path = "/dev/below/null", source = "/dev/null" } } })
    assert.equal("file 0", left(dir .. "/null"))
    works("/null", { rootfs = carton.rootfs.overlay { lower = root },
      devices = { { path = "/null", source = "/dev/null" } } })
    works("/null", { rootfs = carton.rootfs.host { readonly = false }, args = nil,
      devices = { { path = "/null", source = "/dev/null" } } })
  end)
  it("are made only where they can be opened", function()
    local root = helper.rootfs(true)
    local err = helper.raises_code("EACCES", output, "true", { rootfs = root,
      devices = { { path = "/tmp/null", source = "/dev/null", bind = false } } })
    assert.matches("is on a nodev mount", tostring(err))
    assert.equal("nothing", left(root .. "/tmp/null"))
    helper.raises_code("ENOENT", output, "true", { rootfs = root, -- no such node here to bind
      devices = { { path = "/tmp/null", type = "char", major = 1, minor = 3 } } })
  end)
  it("have the mode and numbers that are asked for", function()
    assert.equal("600 1:3", output("stat -c '%a %t:%T' /dev/mine",
      { devices = { { path = "/dev/mine", source = "/dev/null", mode = "0600" } } }))
    helper.raises_code("EPERM", output, "true",
      { devices = { { path = "/tmp/mine", source = "/dev/null", mode = "0600" } } })
    helper.raises_code("ENODEV", output, "true",
      { devices = { { path = "/dev/mine", source = "/dev/zero", type = "char", major = 1, minor = 3 } } })
    helper.raises_code("ENOENT", output, "true", { devices = { { path = "/dev/no-type", major = 1, minor = 3 } } })
    assert.matches("'major': an id is from 0", helper.raises(output, "true",
      { devices = { { path = "/dev/null", major = -5 } } }))
  end)
end)

describe("mounts of a container #userns", function()
  it("are made where a link to nowhere leads, inside the root", function()
    local root, dir = helper.rootfs(true), helper.tmpdir()
    helper.write(dir .. "/file", "bound")
    local outside = helper.tmpdir()
    for link, target in pairs { ["/file"] = "/new/place", ["/etc/up"] = ("../"):rep(30) .. outside:sub(2) .. "/made",
      ["/bin/dir"] = "../far/away", ["/one"] = "two", ["/two"] = "/three/end", ["/round"] = "round" } do
      posix.link(target, root .. link, true)
    end
    for target, place in pairs { ["/file"] = "/new/place", ["/etc/up"] = outside .. "/made", ["/one"] = "/three/end",
      ["/bin/dir/deep"] = "/far/away/deep" } do
      assert.equal("bound", output("cat " .. place, { rootfs = root, mounts = { dir .. "/file:" .. target } }), target)
    end
    assert.equal("file", output("ls /far/away/tree", { rootfs = root, mounts = { dir .. ":/bin/dir/tree" } }))
    assert.equal(2, #posix.dir(outside), "something was made outside")
    helper.raises_code("ELOOP", output, "true", { rootfs = root, mounts = { dir .. ":/round/x" } })
    helper.raises_code("ELOOP", output, "true", { rootfs = root,
      mounts = { { "mount.bind", source = dir, target = "/file", nofollow = true } } })
  end)
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
  it("not on the root by another name, where it would be lost", function()
    local root = helper.rootfs(true)
    posix.link("/", root .. "/whole", true)
    for _, place in ipairs { "/.", "/usr/..", "/whole" } do
      for _, mount in ipairs { { "mount.bind", source = root, target = place, nofollow = false },
        { "mount.tmpfs", target = place, nofollow = false }, { "mount.move", source = "/proc", target = place } } do
        local err = helper.raises_code("EBUSY", output, "true", { rootfs = root, mounts = { mount } })
        assert.equal(mount[1], err.step)
      end
    end
    helper.raises_code("EBUSY", output, "true", { mounts = { root .. ":/usr/.." } })
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
