-- SPDX-License-Identifier: MIT
-- Mounts: each primitive as a function in a namespace of its own, and as a step.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local mount, exec = carton.mount, carton.exec

--- The uppermost mount at a place, as mountinfo has it.
local function at(target)
  local found
  for _, entry in ipairs(mount.list()) do
    if entry.target == target then
      found = entry
    end
  end
  return found
end

local function expect(value, message)
  if not value then
    error(message or "expectation failed", 2)
  end
  return value
end

--- Run steps, the last of which enter a busybox root, and then a shell command there; gives what it wrote.
local function run(steps, command)
  local list = table.move(steps, 1, #steps, 2, { { "mount.propagation", propagation = "rprivate" } })
  local reader <close>, writer = exec.pipe()
  list[#list + 1] = { "exec.descriptors", fds = { exec.null(), writer, writer } }
  list[#list + 1] = { "exec.exec", args = { "/bin/sh", "-c", command },
    env = { PATH = "/bin" } }
  local kinds = { "mnt", "pid", "ipc", "net" }
  if not helper.is_root then
    table.insert(list, 1, { "namespace.idmap",
      uids = { { container_id = 0, host_id = posix.geteuid(), size = 1 } },
      gids = { { container_id = 0, host_id = posix.getegid(), size = 1 } } })
    kinds[#kinds + 1] = "user"
  end
  local ok, process = pcall(exec.spawn, { namespaces = kinds, steps = list })
  writer:close()
  if not ok then
    error(process, 0)
  end
  local said = {}
  for text in function() return reader:read() end do
    said[#said + 1] = text
  end
  process:wait()
  process:close()
  return (table.concat(said):gsub("\n$", ""))
end

--- Run steps in a busybox root and then a shell command there.
local function inside(steps, command, root)
  local list = { { "mount.bind", source = root or helper.rootfs(), target = "/", recursive = true } }
  table.move(steps, 1, #steps, 2, list)
  list[#list + 1] = { "mount.pivot_root" }
  return run(list, command)
end

describe("mount.bind #userns", function()
  it("makes a directory visible at another place, with its attributes", function()
    helper.isolated(function()
      local a, b = helper.tmpdir(), helper.tmpdir()
      mount.tmpfs { target = a }
      helper.write(a .. "/file", "x")
      mount.bind { source = a, target = b, options = { "ro", "nosuid", "nodev", "noexec", "noatime",
        "nosymfollow" } }
      expect(helper.read(b .. "/file") == "x")
      local options = expect(at(b)).options
      for _, word in ipairs { "ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow" } do
        expect((options .. ","):find(word .. ",", 1, true), word .. " is missing in " .. options)
      end
      expect(not io.open(b .. "/new", "w"), "it can be written")
      mount.unmount { target = b }
      expect(not at(b))
    end)
  end)
  it("makes each atime mode", function()
    helper.isolated(function()
      local a, b = helper.tmpdir(), helper.tmpdir()
      mount.tmpfs { target = a }
      for _, mode in ipairs { "noatime", "relatime", "nodiratime" } do
        mount.bind { source = a, target = b, options = { mode } }
        expect(at(b).options:find(mode, 1, true), mode .. ": " .. at(b).options)
        mount.unmount { target = b }
      end
      mount.bind { source = a, target = b, options = { "strictatime" } }
      expect(not at(b).options:find("atime", 1, true), at(b).options)
    end)
  end)
  it("takes what is mounted below along only when it is recursive", function()
    helper.isolated(function()
      local a, b, c = helper.tmpdir(), helper.tmpdir(), helper.tmpdir()
      mount.tmpfs { target = a }
      mount.tmpfs { target = a .. "/sub" }
      helper.write(a .. "/sub/file", "x")
      mount.bind { source = a, target = b, recursive = true, options = { "ro" } }
      expect(at(b .. "/sub").options:find("^ro"), "the attributes are not recursive")
      expect(helper.read(b .. "/sub/file") == "x")
      mount.bind { source = a, target = c }
      expect(not at(c .. "/sub"))
    end)
  end)
  it("makes a missing target as what the source is", function()
    assert.equal("regular empty file\ndirectory", inside({
      { "mount.tmpfs", target = "/tmp" },
      { "mount.bind", source = "/etc/passwd", target = "/tmp/a/b/file" },
      { "mount.write", target = "/tmp/seen", content = "" },
      { "mount.bind", source = "/usr", target = "/tmp/c/d/dir" },
    }, "stat -c %F /tmp/seen /tmp/c/d/dir"))
  end)
  it("does nothing about an optional source that is not there", function()
    assert.equal("none", inside({
      { "mount.bind", source = "/nonexistent/x", target = "/tmp/x", optional = true },
    }, "test -e /tmp/x && echo some || echo none"))
  end)
  it("attaches a handle's tree any number of times", function()
    helper.isolated(function()
      local tree <close> = mount.create { type = "tmpfs", data = { size = "64k" } }
      local a, b = helper.tmpdir(), helper.tmpdir()
      mount.bind { tree = tree, target = a }
      mount.bind { tree = tree, target = b }
      helper.write(a .. "/file", "shared")
      expect(helper.read(b .. "/file") == "shared")
    end)
  end)
  it("attaches a created tree in a container, and copies of it where the kernel can #root", function()
    local function bound(...)
      local tree <close> = mount.create { type = "tmpfs", data = { size = "64k" } }
      local steps = { { "mount.tmpfs", target = "/tmp" } }
      for _, target in ipairs { ... } do
        steps[#steps + 1] = { "mount.bind", tree = tree, target = target }
      end
      return inside(steps, "for d in /tmp/?; do stat -f -c %b $d; done")
    end
    assert.equal("16", bound("/tmp/a"))
    if helper.kernel_is(6, 15) then
      assert.equal("16\n16", bound("/tmp/a", "/tmp/b"))
    else
      assert.matches("only once before Linux 6.15",
        carton.hint.find(helper.raises_code("EINVAL", bound, "/tmp/a", "/tmp/b")))
    end
  end)
  it("says what is missing, and where", function()
    local _, err = pcall(function() mount.bind { source = "/nonexistent/x", target = "/etc" } end)
    assert.equal("bind", err.op)
    assert.equal("/nonexistent/x", err.source)
    assert.equal("/etc", err.path)
    if helper.is_root then
      assert.equal("ENOENT", err.code)
      assert.matches("mount_spec.lua:%d+: bind /nonexistent/x on /etc: No such file", tostring(err))
    end
  end)
end)

describe("mount.attach #userns", function()
  it("attaches a detached tree, once", function()
    helper.isolated(function()
      local a = helper.tmpdir()
      local tree <close> = mount.create { type = "tmpfs", options = { "noexec" } }
      mount.attach { tree = tree, target = a }
      expect(at(a).options:find("noexec"))
    end)
  end)
  it("takes one tree, prepared once, into several containers #root", function()
    local tree <close> = mount.open_tree("/etc", { options = { "ro" } })
    for _ = 1, 2 do
      assert.equal(helper.read("/etc/hostname"), inside({
        { "mount.bind", tree = tree, target = "/usr" } }, "cat /usr/hostname") .. "\n")
    end
  end)
end)

describe("file systems #userns", function()
  it("mounts tmpfs with size, mode and inodes", function()
    helper.isolated(function()
      local a = helper.tmpdir()
      mount.tmpfs { target = a, size = "1m", mode = "0710", inodes = 17 }
      local entry = at(a)
      expect(entry.type == "tmpfs")
      expect(entry.data:find("size=1024k", 1, true) and entry.data:find("nr_inodes=17", 1, true),
        entry.data)
      expect(carton.host.stat(a).mode == "0710", carton.host.stat(a).mode)
    end)
  end)
  it("mounts proc with subset and hidepid", function()
    local seen = inside({
      { "mount.proc", target = "/proc", hidepid = "invisible", subset = "pid" },
    }, "grep ' /proc ' /proc/self/mounts; ls /proc")
    assert.matches("hidepid=invisible", seen)
    assert.matches("subset=pid", seen)
    assert.is_nil(seen:find("meminfo"))
  end)
  it("mounts sysfs, devpts, mqueue", function()
    assert.equal("devpts mqueue sysfs", inside({
      { "mount.sysfs", target = "/sys" },
      { "mount.tmpfs", target = "/dev" },
      { "mount.devpts", target = "/dev/pts", ptmxmode = "0666" },
      { "mount.mqueue", target = "/dev/mqueue" },
      { "mount.proc", target = "/proc" },
    }, "grep -o -w -e '^sysfs' -e '^devpts' -e '^mqueue' /proc/mounts | sort | tr '\\n' ' '"):gsub(" $", ""), nil)
  end)
  it("mounts cgroup2 #root", function()
    assert.matches("cgroup.procs", inside({ { "mount.cgroup", target = "/sys" } },
      "ls /sys"))
  end)
  it("mounts any other type, and passes the kernel's words on", function()
    assert.equal("ramfs", inside({
      { "mount.filesystem", type = "ramfs", target = "/tmp", data = { mode = "0700" } },
      { "mount.proc", target = "/proc" },
    }, "grep ' /tmp ' /proc/mounts | head -n 1 | { read a b c d; echo $c; }"))
    local err = helper.raises_code("ENODEV", inside, {
      { "mount.filesystem", type = "nosuchfs", target = "/tmp" } }, "true")
    assert.equal("nosuchfs", err.text)
    err = helper.raises_code("EINVAL", inside, {
      { "mount.filesystem", type = "tmpfs", target = "/tmp", data = { size = "plenty" } } }, "true")
    assert.matches("tmpfs", err.text)
  end)
  it("mount.mqueue and mount.proc follow no link that an image left in their place", function()
    local root = helper.rootfs(true)
    posix.rmdir(root .. "/proc")
    posix.link("/tmp", root .. "/proc", true)
    local err = helper.raises_code("ELOOP", inside, { { "mount.proc", target = "/proc" } }, "true",
      root)
    assert.equal("mount.proc", err.step)
  end)
end)

describe("mount.overlay #userns", function()
  local function layers()
    local a, b = helper.rootfs(true), helper.tmpdir()
    helper.write(b .. "/top", "upper layer")
    return a, b
  end
  local data = not helper.is_root and { userxattr = true } or nil
  it("lays layers over each other, with what is written thrown away", function()
    local a, b = layers()
    assert.equal("upper layer/written", inside({
      { "mount.overlay", lower = { b, a }, temporary = true, target = "/", data = data },
    }, "echo written > /bin/new && echo $(cat /top)/$(cat /bin/new)", a))
    assert.is_nil(carton.host.stat(a .. "/bin/new"))
  end)
  it("keeps what is written in an upper directory", function()
    local a = layers()
    local upper, work = helper.tmpdir(), helper.tmpdir()
    os.remove(work)
    work = upper .. "-work"
    posix.mkdir(work)
    inside({ { "mount.overlay", lower = { a }, upper = upper, work = work, target = "/",
      data = data } }, "echo kept > /kept", a)
    assert.equal("kept\n", helper.read(upper .. "/kept"))
    os.execute("rm -rf " .. work)
  end)
  it("takes layers of any name, and of long ones", function()
    local long = helper.tmpdir() .. "/" .. ("x"):rep(200) .. "/" .. ("y"):rep(100)
    for _, base in ipairs { helper.tmpdir() .. "/a b,c:d\\e", long } do
      assert.is_true(os.execute(("mkdir -p '%s/low' '%s/up' '%s/work'"):format(base, base, base)))
      helper.write(base .. "/low/file", "x")
      assert.equal("file new", inside({ { "mount.overlay", lower = { base .. "/low", layers() }, upper = base .. "/up",
        work = base .. "/work", target = "/", data = data } }, "echo > /new; echo $(ls /file /new | tr -d /)",
        layers()))
      assert.is_truthy(posix.access(base .. "/up/new"))
      assert.equal("file", inside({ { "mount.overlay", lower = { base .. "/low", layers() }, temporary = true,
        target = "/", data = data } }, "ls /file | tr -d /", layers()))
    end
  end)
  it("takes 100 layers", function()
    local a = layers()
    local lower = {}
    local base = helper.tmpdir()
    for i = 1, 99 do
      lower[i] = ("%s/layer%02d"):format(base, i)
      posix.mkdir(lower[i])
      helper.write(lower[i] .. "/from" .. i, "x")
    end
    lower[100] = a
    local function count()
      return inside({ { "mount.overlay", lower = lower, temporary = true, target = "/", data = data } },
        "ls / | grep -c from", a)
    end
    if helper.kernel_is(6, 5) then
      assert.equal("99", count())
    else -- which has one line of text for all
      assert.matches("room for some 60 layers", carton.hint.find(helper.raises_code("E2BIG", count)))
      lower = table.move(lower, 41, 100, 1, {})
      assert.equal("59", count())
    end
  end)
  it("takes layers whose names hold a colon, a comma and a backslash", function()
    local a = layers()
    local odd = helper.tmpdir() .. "/a:b,c\\d"
    posix.mkdir(odd)
    helper.write(odd .. "/odd", "odd")
    assert.equal("odd", inside({
      { "mount.overlay", lower = { odd, a }, temporary = true, target = "/", data = data },
    }, "cat /odd", a))
  end)
  it("limits what is written to memory", function()
    local a = layers()
    assert.matches("No space left", inside({
      { "mount.overlay", lower = { a }, temporary = true, size = "1m", target = "/", data = data },
    }, "dd if=/bin/busybox of=/big bs=64k; seq 1 400000 > /big2", a))
  end)
  it("names a layer that is missing", function()
    local err = helper.raises_code("ENOENT", inside, {
      { "mount.overlay", lower = { "/nonexistent" }, temporary = true, target = "/" } }, "true")
    assert.equal("/nonexistent", err.text)
  end)
end)

describe("mount.setattr #userns", function()
  it("sets and clears attributes", function()
    helper.isolated(function()
      local a = helper.tmpdir()
      mount.tmpfs { target = a }
      mount.tmpfs { target = a .. "/sub" }
      mount.setattr { target = a, options = { "ro", "nosuid" }, recursive = true }
      expect(at(a .. "/sub").options:find("^ro.*nosuid"))
      mount.setattr { target = a, options = { "rw", "suid" } }
      expect(at(a).options:find("^rw") and not at(a).options:find("nosuid"))
      expect(at(a .. "/sub").options:find("^ro"))
    end)
  end)
  it("maps ids of a mount #root", function()
    helper.isolated(function()
      local a, b = helper.tmpdir(), helper.tmpdir()
      local ids = { { container_id = 0, host_id = 4242, size = 1000 } }
      local user <close> = carton.namespace.create("user", nil)
      user:close()
      local mapped = carton.namespace.create({ "user" }, nil).user
      mapped:close()
      local set
      local process <close> = exec.spawn { namespaces = { "user" }, sync = {
        idmap = function(p)
          carton.namespace.idmap { pid = p:pid(), uids = ids, gids = ids, setgroups = true }
          set = carton.namespace.open(p, "user")
        end,
      }, steps = { { "sync", name = "idmap" } } }
      process:wait()
      mount.tmpfs { target = a }
      helper.write(a .. "/file", "x")
      if not helper.kernel_is(6, 3) then
        local err = helper.raises_code("EINVAL", mount.bind, { source = a, target = b, idmap = set })
        expect(carton.hint.find(err):find("tmpfs since 6.3", 1, true), tostring(err))
        set:close()
        return
      end
      mount.bind { source = a, target = b, idmap = set }
      expect(carton.host.stat(b .. "/file").uid == 4242, "not mapped")
      expect(carton.host.stat(a .. "/file").uid == 0)
      set:close()
    end)
  end)
end)

describe("mount.propagation #userns", function()
  it("sets each kind", function()
    helper.isolated(function()
      local a = helper.tmpdir()
      mount.tmpfs { target = a }
      mount.propagation { target = a, propagation = "shared" }
      expect(at(a).propagation:find("shared:"), at(a).propagation)
      mount.propagation { target = a, propagation = "private" }
      expect(at(a).propagation == "", at(a).propagation)
      mount.propagation { target = a, propagation = "unbindable" }
      expect(at(a).propagation == "unbindable", at(a).propagation)
    end)
  end)
end)

describe("mount.move, mount.unmount #userns", function()
  it("moves a mount", function()
    helper.isolated(function()
      local a, b = helper.tmpdir(), helper.tmpdir()
      mount.tmpfs { target = a, size = "64k" }
      mount.move { source = a, target = b }
      expect(not at(a) and at(b))
      mount.unmount { target = b, detach = true }
      expect(not at(b))
      local ok, err = pcall(mount.unmount, { target = b })
      expect(not ok and err.code == "EINVAL", tostring(err))
    end)
  end)
  it("says that a mount is in use", function()
    helper.isolated(function()
      local a = helper.tmpdir()
      mount.tmpfs { target = a }
      local held = io.open(a .. "/file", "w")
      local ok, err = pcall(mount.unmount, { target = a })
      expect(not ok and err.code == "EBUSY", tostring(err))
      held:close()
      mount.unmount { target = a }
    end)
  end)
end)

describe("mount.pivot_root #userns", function()
  it("leaves nothing of the old root", function()
    local seen = inside({ { "mount.proc", target = "/proc" } },
      "cat /proc/self/mountinfo | { n=0; while read a b c d e f; do echo $e; done; }")
    assert.equal("/\n/proc", seen)
  end)
  it("leaves nothing of it below or above any number of roots, for an exec too", function()
    local root = helper.rootfs(true)
    local bind = { "mount.bind", source = root, target = "/", recursive = true }
    local tmpfs, host = { "mount.tmpfs", target = "/" }, { "mount.bind", source = "/", target = "/", recursive = true }
    local overlay = { "mount.overlay", target = "/", lower = { root }, temporary = true }
    local volume = { "mount.bind", source = root, target = "/tmp" }
    local look = [[ test "$(ls -a /)" = "$(ls -a /..)" && stat -c %d:%i / /.. /proc/self/root/.. | sort -u | wc -l
      grep -c '^[^ ]* [^ ]* [^ ]* [^ ]* / ' /proc/self/mountinfo ]]
    for name, layout in pairs { overlay = { overlay }, roots = { bind, tmpfs, bind }, host = { host, bind },
      covered = { overlay, bind, overlay }, volume = { tmpfs, bind, volume } } do
      for _, step in ipairs(carton.rootfs.system()) do
        layout[#layout + 1] = step
      end
      layout[#layout + 1] = { "mount.tmpfs", target = "/tmp" }
      local c <close> = helper.start("sleep 60", { rootfs = layout })
      local status = c:exec { args = { "sh", "-c", look }, stdout = "capture", stderr = "stdout" }:wait()
      assert.equal("1\n1\n", status.stdout, name)
      assert.equal("1\n1\n", helper.output(look, { rootfs = layout }) .. "\n", name)
    end
  end)
  it("is not in what is bound: a source is the caller's, by whatever way it is named", function()
    local place = helper.tmpdir()
    helper.write(place .. "/canary", "host\n")
    posix.link("../" .. ("../"):rep(20) .. place:sub(2), place .. "/link", true)
    local up = "/tmp" .. ("/.."):rep(20)
    for _, source in ipairs { place, up .. place, place .. "/link" } do
      assert.equal("host", helper.output("cat /mnt/canary", { mounts = { source .. ":/mnt" },
        rootfs = carton.rootfs.overlay { lower = helper.rootfs() } }), source)
    end
    local own = carton.host.statfs("/").type == "overlay" and 1 or 0 -- as in our virtual machine
    for _, source in ipairs { "/", up } do
      assert.equal("host\n" .. own, helper.output(
        ("cat /mnt%s/canary; grep -c '^[^-]* /mnt[^-]* - overlay' /proc/self/mountinfo || :"):format(place),
        { mounts = { source .. ":/mnt:ro" }, rootfs = carton.rootfs.overlay { lower = helper.rootfs() } }), source)
    end
  end)
  it("keeps it below put_old when that is asked for", function()
    local root = helper.rootfs(true)
    posix.mkdir(root .. "/old")
    assert.equal("yes", inside({
      { "mount.pivot_root", new_root = nil, put_old = "old" },
      { "mount.mkdir", target = "/tmp/x" },
      { "mount.bind", source = "/", target = "/", recursive = true },
    }, "test -d /old/proc && echo yes", root))
  end)
  it("leaves a relative source what it was before the first mount on /", function()
    local place, before = helper.tmpdir(), posix.getcwd()
    helper.write(place .. "/canary", "host")
    posix.chdir(place)
    local ok, seen = pcall(inside, { { "mount.bind", source = ".", target = "/mnt" } }, "cat /mnt/canary")
    posix.chdir(before)
    assert.equal("host", ok and seen or tostring(seen))
  end)
  it("leaves nothing on the root where the old one is kept, whatever was bound", function()
    local root = helper.rootfs(true)
    posix.mkdir(root .. "/old")
    assert.equal("yes", run({
      { "mount.bind", source = root, target = "/", recursive = true },
      { "mount.bind", source = helper.tmpdir(), target = "/mnt" },
      { "mount.pivot_root", put_old = "old" },
    }, "test -d /old/proc && test -d /../bin && echo yes"))
  end)
  it("makes the new root what later places are looked up in", function()
    local root = helper.rootfs(true)
    assert.equal("there", run({
      { "mount.bind", source = root, target = root, recursive = true },
      { "mount.pivot_root", new_root = root },
      { "mount.tmpfs", target = "/tmp" },
    }, "echo there > /tmp/file; cat /tmp/file"))
    assert.is_nil(posix.stat(root .. "/tmp/file"))
  end)
end)

describe("what lies in a root #userns", function()
  local tmp = { "mount.tmpfs", target = "/tmp", mode = "1777" }
  it("mkdir makes directories with their mode, whatever the umask", function()
    local before = carton.privilege.get().umask
    carton.privilege.umask { mask = "0077" }
    local seen = inside({ tmp, { "mount.mkdir", target = "/tmp/a/b", mode = "1773" } },
      "stat -c %a /tmp/a/b")
    carton.privilege.umask { mask = before }
    assert.equal("1773", seen)
  end)
  it("what is made leaves the program the caller's umask, where the plan says none", function()
    local before = carton.privilege.get().umask
    carton.privilege.umask { mask = "0027" }
    local seen = inside({ tmp, { "mount.mkdir", target = "/tmp/a" } }, "umask")
    carton.privilege.umask { mask = before }
    assert.equal("0027", seen)
  end)
  it("a link is made in what was mounted since the one before it", function()
    local seen = inside({ tmp, { "mount.symlink", path = "/tmp/a", target = "x" }, tmp,
      { "mount.symlink", path = "/tmp/b", target = "x" } }, "ls /tmp")
    assert.equal("b", seen)
  end)
  it("mkdir says EEXIST when that matters", function()
    local err = helper.raises_code("EEXIST", inside,
      { { "mount.mkdir", target = "/etc", optional = false } }, "true")
    assert.equal("mount.mkdir", err.step)
    helper.raises_code("ENOTDIR", inside, { { "mount.mkdir", target = "/etc/passwd" } }, "true")
    helper.raises_code("ENOENT", inside,
      { tmp, { "mount.mkdir", target = "/tmp/a/b", parents = false } }, "true")
  end)
  it("write makes, replaces and appends", function()
    assert.equal("640 two\nthree", inside({ tmp,
      { "mount.write", target = "/tmp/f/x", content = "one longer", mode = "0640" },
      { "mount.write", target = "/tmp/f/x", content = "two\n" },
      { "mount.write", target = "/tmp/f/x", content = "three\n", append = true },
    }, "echo $(stat -c %a /tmp/f/x) $(head -n 1 /tmp/f/x); head -n 2 /tmp/f/x | grep three"))
  end)
  it("write keeps bytes as they are, and 1 MiB of them", function()
    local big = ("0123456789abcdef"):rep(65536)
    assert.equal("1048576 3", inside({ tmp,
      { "mount.write", target = "/tmp/big", content = big },
      { "mount.write", target = "/tmp/nul", content = "a\0b" },
    }, "echo $(wc -c < /tmp/big) $(wc -c < /tmp/nul)"))
  end)
  it("write opens no FIFO and no device", function()
    local root = helper.rootfs(true)
    posix.mkfifo(root .. "/etc/fifo")
    local err = helper.raises_code("EINVAL", inside,
      { { "mount.write", target = "/etc/fifo", content = "x" } }, "true", root)
    assert.matches("not a regular file", tostring(err))
  end)
  it("symlink, chown, chmod", function()
    assert.equal("/bin/sh -> busybox 711", inside({ tmp,
      { "mount.symlink", path = "/tmp/link", target = "busybox" },
      { "mount.symlink", path = "/tmp/link", target = "busybox", optional = true },
      { "mount.write", target = "/tmp/f", content = "" },
      { "mount.chmod", target = "/tmp/f", mode = "0711" },
      { "mount.chown", target = "/tmp/f", uid = 0, gid = 0 },
    }, "echo /bin/sh '->' $(readlink /tmp/link) $(stat -c %a /tmp/f)"))
    helper.raises_code("EEXIST", inside, { tmp,
      { "mount.symlink", path = "/tmp/link", target = "x" },
      { "mount.symlink", path = "/tmp/link", target = "x" } }, "true")
  end)
  it("symlink is optional only where the one that is there holds the same", function()
    for _, other in ipairs { "busyboxx", "busybo", "/bin/busybox" } do
      helper.raises_code("EEXIST", inside, { tmp,
        { "mount.symlink", path = "/tmp/link", target = "busybox" },
        { "mount.symlink", path = "/tmp/link", target = other, optional = true } }, "true")
    end
    helper.raises_code("EEXIST", inside, { tmp,
      { "mount.write", target = "/tmp/link", content = "busybox" },
      { "mount.symlink", path = "/tmp/link", target = "busybox", optional = true } }, "true")
  end)
  it("mkdir and write give all bits of a mode, and no others", function()
    assert.equal("2755 7777 755 750 6755 600 xyz", inside({ tmp, { "privilege.umask", mask = "0077" },
      { "mount.mkdir", target = "/tmp/a", mode = "2755" }, { "mount.mkdir", target = "/tmp/b", mode = "7777" },
      { "mount.mkdir", target = "/tmp/a/plain" }, { "mount.mkdir", target = "/tmp/a/x", mode = "0750" },
      { "mount.mkdir", target = "/tmp/a/x" }, { "mount.mkdir", target = "/tmp/a", mode = "2755" },
      { "mount.write", target = "/tmp/f", content = "x", mode = "6755" },
      { "mount.write", target = "/tmp/g", content = "x" },
      { "mount.write", target = "/tmp/g", content = "y", mode = "0600" },
      { "mount.write", target = "/tmp/f", content = "y", append = true, mode = "6755" },
      { "mount.chmod", target = "/tmp/g", mode = "0600" }, { "mount.write", target = "/tmp/g", content = "z" },
    }, "stat -c %a /tmp/a /tmp/b /tmp/a/plain /tmp/a/x /tmp/f /tmp/g | tr '\\n' ' '; cat /tmp/f /tmp/g"))
    local err = helper.raises_code("EEXIST", inside, { tmp, { "mount.mkdir", target = "/tmp/a", mode = "0755" },
      { "mount.mkdir", target = "/tmp/a", mode = "0700" } }, "true")
    assert.matches("has another mode", tostring(err))
  end)
  it("says when a set-group-ID bit can't be given #root", function()
    helper.isolated(function()
      local path = helper.tmpdir()
      posix.chown(path, 33, 34)
      mount.chmod { target = path, mode = "2775" }
      carton.privilege.user { uid = 33, gid = 33, groups = {} }
      mount.mkdir { target = path .. "/a", mode = "0750", optional = false } -- takes the bit off that it inherits
      expect(carton.host.stat(path .. "/a").mode == "0750")
      local err = helper.raises_code("EPERM", mount.write, { target = path .. "/b", content = "", mode = "2750" })
      expect(tostring(err):find("has another mode", 1, true), tostring(err))
      helper.raises_code("EPERM", mount.chmod, { target = path .. "/a", mode = "2750" })
    end)
  end)
  it("device makes a node and looks at it again #root", function()
    assert.equal("1:3 666 works", inside({ tmp,
      { "mount.device", path = "/tmp/null", type = "char", major = 1, minor = 3 },
    }, "echo x > /tmp/null && echo $(stat -c '%t:%T %a' /tmp/null) works"))
  end)
  it("device leaves one that is there already, and no other #root", function()
    local function node(minor, mode)
      return { "mount.device", path = "/tmp/null", type = "char", major = 1, minor = minor, mode = mode }
    end
    assert.equal("666", inside({ tmp, node(3), node(3), node(3, "0666") }, "stat -c %a /tmp/null"))
    for _, other in ipairs { node(5), node(3, "0600") } do
      helper.raises_code("EEXIST", inside, { tmp, node(3), other }, "true")
    end
    helper.raises_code("EEXIST", inside, { tmp, { "mount.symlink", path = "/tmp/null", target = "/dev/null" },
      node(3) }, "true")
  end)
  it("device binds the host's node", function()
    assert.equal("1:3 works", inside({ tmp,
      { "mount.device", path = "/tmp/d/null", source = "/dev/null", bind = true },
    }, "echo x > /tmp/d/null && echo $(stat -c '%t:%T' /tmp/d/null) works"))
  end)
  it("device refuses what is not that device", function()
    local err = helper.raises_code("ENODEV", inside, { tmp,
      { "mount.device", path = "/tmp/null", source = "/dev/zero", type = "char", major = 1,
        minor = 3, bind = true } }, "true")
    assert.matches("is not that device", tostring(err))
    helper.raises_code("ENODEV", inside, { tmp,
      { "mount.device", path = "/tmp/x", source = "/etc/passwd", bind = true } }, "true")
  end)
  it("mask hides files and directories, readonly stops writing", function()
    assert.equal("0 0 refused", inside({ tmp,
      { "mount.write", target = "/tmp/secret/key", content = "s3cret" },
      { "mount.write", target = "/tmp/file", content = "s3cret" },
      { "mount.mkdir", target = "/tmp/stone" },
      { "mount.mask", paths = { "/tmp/secret", "/tmp/file", "/tmp/nothing" } },
      { "mount.readonly", paths = { "/tmp/stone", "/tmp/nothing" } },
    }, "echo $(ls /tmp/secret | wc -l) $(wc -c < /tmp/file) $(touch /tmp/stone/x 2>/dev/null || echo refused)"))
  end)
  it("acts inside of a directory that is given as root", function()
    local path = helper.tmpdir()
    local root <close> = mount.open_root(path)
    posix.mkdir(path .. "/etc")
    posix.link("/etc", path .. "/escape", true)
    mount.write { root = root, target = "/escape/canary", content = "x" }
    assert.equal("x", helper.read(path .. "/etc/canary"))
    assert.is_nil(carton.host.stat("/etc/canary"))
  end)
end)

describe("mount.list", function()
  it("knows what mountinfo says", function()
    local list = mount.list()
    local lines = 0
    for _ in io.lines("/proc/self/mountinfo") do
      lines = lines + 1
    end
    assert.equal(lines, #list)
    for _, entry in ipairs(list) do
      assert.is_true(math.type(entry.id) == "integer" and math.type(entry.parent) == "integer")
      assert.equal("string", type(entry.type))
    end
    helper.raises_code("ENOENT", mount.list, 1 << 30)
  end)
  it("unescapes spaces in paths #userns", function()
    helper.isolated(function()
      local a = helper.tmpdir() .. "/a b\tc\\d"
      posix.mkdir(a)
      mount.tmpfs { target = a }
      expect(at(a), "not found")
    end)
  end)
end)

teardown(helper.cleanup)
