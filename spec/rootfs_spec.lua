-- SPDX-License-Identifier: MIT
-- Layouts: what is where in each of them, and that no image leads one of their mounts astray.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local output, shell = helper.output, helper.shell
local rootfs = carton.rootfs

describe("rootfs #userns", function()
  it("has mount points that everybody can pass, whatever the caller's umask", function()
    local before = posix.umask()
    carton.privilege.umask { mask = "0077" }
    local ok, modes = pcall(output, "stat -c %a /a /a/b",
      { rootfs = helper.rootfs(true), mounts = { { type = "tmpfs", target = "/a/b/c" } } })
    posix.umask(before)
    assert.equal("755\n755", modes)
    assert.is_true(ok)
  end)
  it("has the host's procfs and sysfs wherever they go, when their namespace is the host's", function()
    local compiled = carton.container { rootfs = rootfs.empty(), args = { "sh" }, idmap = "single",
      namespaces = { pid = "host", net = "host" },
      mounts = { { type = "proc", target = "/p" }, { type = "sysfs", target = "/s" } } }:compile()
    local sources = {}
    for _, step in ipairs(compiled.steps) do
      if step[1] == "mount.bind" then
        sources[step.target] = step.source
      end
    end
    assert.same({ ["/proc"] = "/proc", ["/sys"] = "/sys", ["/p"] = "/proc", ["/s"] = "/sys" },
      { ["/proc"] = sources["/proc"], ["/sys"] = sources["/sys"], ["/p"] = sources["/p"], ["/s"] = sources["/s"] })
  end)
end)

describe("rootfs.system #userns", function()
  it("mounts /proc, /dev, /dev/shm, /dev/pts, /dev/mqueue and /sys as they are elsewhere", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
    c:start()
    local types, options = {}, {}
    for _, mount in ipairs(carton.mount.list(c:pid())) do
      types[mount.target], options[mount.target] = mount.type, "," .. mount.options .. ","
    end
    local shared_sys = types["/sys"] == "sysfs"
    assert.same({ "proc", "tmpfs", "tmpfs", "devpts", "mqueue", true }, { types["/proc"], types["/dev"],
      types["/dev/shm"], types["/dev/pts"], types["/dev/mqueue"], shared_sys })
    for target, words in pairs { ["/proc"] = "nosuid nodev noexec", ["/sys"] = "ro nosuid nodev noexec",
      ["/dev"] = "nosuid", ["/dev/shm"] = "nosuid nodev noexec", ["/dev/mqueue"] = "nosuid nodev noexec",
      ["/dev/pts"] = "nosuid noexec", ["/proc/sys"] = "ro" } do
      for word in words:gmatch("%w+") do
        assert.is_truthy(options[target]:find("," .. word .. ",", 1, true), target .. " lacks " .. word)
      end
    end
    assert.is_nil(options["/dev"]:find(",nodev,", 1, true))
  end)
  it("gives them their modes and owners", function()
    assert.equal("/proc 555\n/dev 755\n/dev/shm 1777\n/sys 555\n/dev/pts 755",
      output("stat -c '%n %a' /proc /dev /dev/shm /sys /dev/pts"))
    assert.equal("0:0\n0:0\n0:0", output("stat -c %u:%g /proc/1 /dev /dev/shm"))
  end)
  it("makes device nodes that work, and the usual links", function()
    assert.equal("null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666",
      output("cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty"))
    assert.equal("/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 pts/ptmx",
      output("cd /dev; echo $(readlink fd) $(readlink stdin) $(readlink stdout) $(readlink stderr) $(readlink ptmx)"))
    assert.equal("works 4 full", output("echo x > /dev/null; echo works $(head -c 4 /dev/zero | wc -c) "
      .. "$(echo x 2>/dev/null > /dev/full || echo full)"))
    assert.equal("666", output("stat -c %a /dev/pts/ptmx"))
  end)
  it("hides and protects", function()
    assert.equal("end", output([[
      for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
        test -e $p && test $(wc -c < $p) != 0 && echo readable $p
      done
      for p in /proc/acpi /proc/scsi /sys/firmware; do test -d $p && ls $p; done
      for p in /proc/sys/kernel/domainname /proc/sysrq-trigger; do (echo x > $p) 2>/dev/null && echo writable $p; done
      for p in /proc/sys/net /proc/irq /sys; do mkdir $p/x 2>/dev/null && echo made $p; done
      echo end]]))
  end)
  local everywhere <const> = {
    { type = "proc", target = "/proc2" }, { type = "sysfs", target = "/deep/er/sys" },
    { "mount.filesystem", type = "proc", target = "/any" }, { "mount.proc", target = "/again" },
    { "mount.proc", target = "/again" }, "/proc/sys:/bind/sys", "/proc/sys/kernel:/bind/kernel",
    "/proc/sys/kernel/core_pattern:/bind/file", "/proc/interrupts:/bind/interrupts", "/proc:/bind/proc",
    { "mount.proc", target = "/proc" }, "/proc/sys/kernel:/proc/bus",
  }
  local look <const> = [[
    for p in /proc /proc2 /any /again /bind/proc; do
      for f in $p/kcore $p/keys $p/timer_list $p/interrupts; do
        test -e $f && test $(wc -c < $f) != 0 && echo readable $f
      done
      for d in $p/acpi $p/scsi; do test -d $d && ls $d; done
      for f in $p/sys/kernel/core_pattern $p/sysrq-trigger; do (: >> $f) 2>/dev/null && echo writable $f; done
      test -e $p/version || echo no $p
    done
    for f in /bind/sys/kernel/core_pattern /bind/kernel/core_pattern /bind/file /proc/bus/core_pattern; do
      (: >> $f) 2>/dev/null && echo writable $f
    done
    test $(wc -c < /bind/interrupts) = 0 || echo readable /bind/interrupts
    for s in /sys /deep/er/sys; do
      for d in $s/firmware $s/dev/block; do ls $d; done
      test -d $s/kernel || echo no $s
    done
    echo end]]
  it("hides and protects wherever a recipe mounts them, and whatever part", function()
    assert.equal("end", output(look, { rootfs = rootfs.dir(helper.rootfs(true)), mounts = everywhere }))
    local steps = {}
    for i, mount in ipairs(everywhere) do
      steps[i] = carton.mounts.step(mount)
    end
    assert.equal("end", output(look, { rootfs = carton.steps(rootfs.dir(helper.rootfs(true)), steps) }))
    local open = output(look, { rootfs = rootfs.dir { path = helper.rootfs(true), nestable = true },
      mounts = everywhere })
    for _, path in ipairs { "/proc/interrupts", "/proc2/interrupts", "/bind/interrupts" } do
      assert.is_truthy(open:find("readable " .. path, 1, true), open)
    end
  end)
  it("hides and protects among hundreds of mounts #root", function()
    helper.isolated(function()
      local place = helper.tmpdir()
      for i = 1, 300 do
        posix.mkdir(place .. "/" .. i)
        carton.mount.bind { source = place, target = place .. "/" .. i }
      end
      local seen = output("cat /proc2/interrupts; grep -c ' /proc2/sys ro' /proc/self/mountinfo",
        { mounts = { { type = "proc", target = "/proc2" } }, rootfs = rootfs.dir(helper.rootfs(true)) })
      assert(seen == "1", seen)
    end)
  end)
  it("takes no more of a procfs or sysfs than it needs, unless it is told to", function()
    local c <close> = carton.container { rootfs = helper.rootfs(true), args = { "sleep", "60" }, stdin = "null",
      mounts = { { type = "proc", target = "/p" }, { type = "sysfs", target = "/s" }, "/sys:/b",
        { "mount.filesystem", type = "sysfs", target = "/f", options = { "exec" } } } }
    c:start()
    local options = {}
    for _, mount in ipairs(carton.mount.list(c:pid())) do
      options[mount.target] = options[mount.target] or mount.options
    end
    assert.same({ "rw,nosuid,nodev,noexec,relatime", "ro,nosuid,nodev,noexec,relatime", "ro,nosuid,nodev,relatime",
      "ro" }, { options["/p"], options["/s"], options["/f"], options["/b"]:match("^ro") })
    local writable <close> = carton.container { rootfs = helper.rootfs(), args = { "sh", "-c",
      "grep ' /sys rw,' /proc/self/mountinfo" }, stdin = "null", stdout = "capture",
      mounts = { { type = "sysfs", target = "/sys", options = { "rw" } } } }
    assert.equal(0, writable:run().code)
  end)
  it("does not mind what lies on them later, but refuses what may lie on them for a while only", function()
    assert.equal("end", output("ls /proc; ls /sys; echo end", { mounts = { { type = "tmpfs", target = "/proc" },
      { "mount.tmpfs", target = "/sys" } } }))
    local err = helper.raises_code("EBUSY", shell, "true", { rootfs = rootfs.dir(helper.rootfs(true)), mounts = {
      { type = "proc", target = "/a/proc" }, { type = "tmpfs", target = "/a" } } })
    assert.equal("mount.protect", err.step)
    assert.matches("is covered by a mount above it .*/a/proc", tostring(err))
  end)
  it("finds them among hundreds of mounts, and in places of any name", function()
    local mounts = { { type = "proc", target = "/a b\\\n/c" } }
    for i = 1, 300 do
      mounts[#mounts + 1] = { type = "tmpfs", target = ("/many/%d"):format(i) }
    end
    assert.equal(("1:3\n"):rep(2) .. "end",
      output("stat -c %t:%T /proc/keys /a*/c/keys; echo end", { mounts = mounts }))
  end)
  it("leaves no place to write to in what is hidden", function()
    assert.equal("no", output("echo x > /etc/new || echo no", { mounts = { { "mount.mask", paths = { "/etc" } } },
      stderr = "null" }))
  end)
  it("hides what a name with * stands for, in whatever part of a sysfs", function()
    local paths = { "/sys/devices/system/cpu/cpu*/topology", "/sys/devices/system/cpu/cpu*/hotplug" }
    local command = "cd $0; echo $(ls -d cpu[0-9]*/topology cpu[0-9]*/hotplug 2>/dev/null | wc -l) "
      .. "$(ls cpu[0-9]*/topology cpu[0-9]*/hotplug 2>/dev/null | grep -vc ':$\\|^$')"
    for _, place in ipairs { "/sys/devices/system/cpu", "/part/system/cpu" } do
      local count, left = output(command:gsub("$0", place), {
        rootfs = carton.steps(rootfs.dir(helper.rootfs(true)), { { "mount.mask", paths = paths } }),
        mounts = { "/sys/devices:/part" } }):match("^(%d+) (%d+)$")
      assert.is_true(tonumber(count) > 0)
      assert.equal("0", left)
    end
  end)
  it("comes last in a plan, after what is mounted and made by hand", function()
    local layout = carton.steps(rootfs.dir("/x"), { { "mount.mask", paths = { "/secret" } } })
    local steps = carton.container { rootfs = layout, mounts = { { type = "proc", target = "/p" } },
      devices = { "/dev/null" }, args = { "true" }, readonly = true }:compile().steps
    local at = {}
    for i, step in ipairs(steps) do
      at[step[1]] = i
    end
    assert.is_true(at["mount.protect"] > at["mount.device"] and at["mount.protect"] > at["mount.proc"])
    assert.same({ at["mount.protect"] - 2, at["mount.protect"] - 1 }, { at["mount.setattr"], at["mount.pivot_root"] })
    assert.is_nil(at["mount.mask"] or at["mount.readonly"])
    local masked = steps[at["mount.protect"]].masked
    assert.equal("/secret", masked[#masked])
  end)
  it("is made anew for a plan that is looked at: a change to that one changes no launch", function()
    local fields = { rootfs = helper.rootfs(), args = { "true" } }
    carton.container(fields):run()
    for _, step in ipairs(carton.container(fields):compile().steps) do
      step.target = step.target and "/nonexistent"
    end
    assert.equal(0, carton.container(fields):run().code)
  end)
  it("masks what a recipe adds to the list after a launch", function()
    assert.equal("0", helper.output("wc -c < /proc/keys"))
    assert.is_not.equal("0", helper.output("wc -c < /proc/version"))
    table.insert(rootfs.masked, "/proc/version")
    local seen = helper.output("wc -c < /proc/version")
    table.remove(rootfs.masked)
    assert.equal("0", seen)
  end)
  it("leaves out what is false", function()
    local list = rootfs.system { proc = false, dev = false, shm = false, mqueue = false, sys = false, mask = false }
    assert.same({}, list)
    local names = {}
    for _, step in ipairs(rootfs.system { nestable = true }) do
      names[step[1]] = true
    end
    assert.is_nil(names["mount.mask"] or names["mount.readonly"])
    assert.is_true(names["mount.proc"])
    assert.equal("none", output("test -e /proc/self && echo some || echo none",
      { rootfs = rootfs.dir { path = helper.rootfs(), system = { proc = false, mask = false } } }))
  end)
  it("refuses unknown fields by name", function()
    for name, fields in pairs { system = { prok = false }, dir = { path = "/", read_only = true },
      overlay = { lowers = {} }, empty = { sise = "1m" }, host = { net = true } } do
      assert.matches("rootfs_spec.lua:%d+: rootfs." .. name .. ": unknown field '" .. next(
        name == "dir" and { read_only = 1 } or fields), helper.raises(function() rootfs[name](fields) end))
    end
    assert.matches("'prok'", tostring(helper.raises(rootfs.dir, { path = "/", system = { prok = false } })))
    assert.matches("'path'", helper.raises(rootfs.dir, {}))
    assert.matches("'lower'", helper.raises(rootfs.overlay, {}))
    assert.matches("'lower'", helper.raises(rootfs.overlay, { lower = {} }))
    assert.matches("'upper'", tostring(helper.raises(rootfs.overlay, { lower = { "/" }, work = "/tmp" })))
    assert.matches("'work'", tostring(helper.raises(rootfs.overlay, { lower = { "/" }, upper = "/tmp" })))
  end)
end)

describe("a layout as a list", function()
  it("has no names but its own, and no holes", function()
    for text, layout in pairs {
      ["unknown name 'readnoly' (did you mean 'readonly'?)"] = { readnoly = true },
      ["readonly: boolean expected, got string"] = { readonly = "yes" },
      ["nestable: boolean expected, got number"] = { nestable = 0 },
      ["idmap: string or table expected"] = { idmap = 1 },
      ["the list has a hole before item 3"] = { [3] = { "mount.mkdir", target = "/x" } },
    } do
      layout[1] = { "mount.tmpfs", target = "/" }
      local message = helper.raises(function() carton.container { rootfs = layout, args = { "x" } } end)
      assert.is_truthy(message:find("field 'rootfs': " .. text, 1, true), message)
    end
    assert.matches("'lower' is a list of paths", helper.raises(rootfs.overlay, { lower = { "/", below = "/a" } }))
  end)
end)

describe("layouts' fields", function()
  it("are of their types, and do not contradict each other", function()
    for text, make in pairs {
      ["rootfs.dir: field 'readonly': boolean expected, got string"] = { "dir", { path = "/", readonly = "no" } },
      ["rootfs.dir: field 'nestable': boolean expected"] = { "dir", { path = "/", nestable = 0 } },
      ["rootfs.dir: field 'system': boolean or table expected"] = { "dir", { path = "/", system = "bare" } },
      ["rootfs.system: field 'proc': boolean expected"] = { "system", { proc = "no" } },
      ["rootfs.system: fields 'mask' and 'nestable' exclude"] = { "system", { mask = true, nestable = true } },
      ["rootfs.overlay: fields 'size' and 'upper' exclude each other"] = { "overlay", { lower = "/", upper = "/u",
        work = "/w", size = "1m" } },
      ["rootfs.host: field 'network': boolean expected"] = { "host", { network = "no" } },
      ["rootfs.empty: field 'mode': string expected"] = { "empty", { mode = 755 } },
    } do
      local message = helper.raises(rootfs[make[1]], make[2])
      assert.is_truthy(message:find(text, 1, true), message)
    end
  end)
end)

describe("steps", function()
  it("joins layouts, lists and single steps, and keeps what a layout says of itself", function()
    local one, two = { "mount.mkdir", target = "/1" }, { "mount.mkdir", target = "/2" }
    local layout = { one, readonly = true, idmap = "single" }
    assert.same({ one, two, two, readonly = true, idmap = "single" },
      carton.steps(layout, nil, two, false, { two }))
    assert.same({ one, readonly = true, idmap = "single" }, layout)
    assert.same({}, carton.steps())
    assert.same({ readonly = false, one, idmap = "single" }, carton.steps(layout, { readonly = false }))
    assert.matches("steps: the list has a hole before item 3", helper.raises(carton.steps, { one, nil, two }))
  end)
end)

describe("rootfs.dir #userns", function()
  it("is writable, or read-only as a whole", function()
    local root = helper.rootfs(true)
    shell("echo x > /etc/new; mkdir /made", { rootfs = root })
    assert.equal("x\n", helper.read(root .. "/etc/new"))
    local status = shell("echo y > /etc/new; echo z > /dev/shm/z && echo shm", {
      rootfs = rootfs.dir { path = root, readonly = true } })
    assert.matches("Read%-only", status.stderr)
    assert.equal("shm\n", status.stdout)
    assert.matches("Read%-only", shell("echo y > /etc/new", { rootfs = root, readonly = true }).stderr)
    assert.equal("x\n", helper.read(root .. "/etc/new"))
    assert.equal(0, shell("echo y > /etc/new", { rootfs = rootfs.dir { path = root, readonly = true },
      readonly = false }).code)
    assert.equal("y\n", helper.read(root .. "/etc/new"))
  end)
  it("is read-only with the mounts that come along, but not with those that a recipe adds #root", function()
    helper.isolated(function()
      local root, volume = helper.rootfs(true), helper.tmpdir()
      posix.mkdir(root .. "/srv")
      carton.mount.tmpfs { target = root .. "/srv" }
      carton.mount.tmpfs { target = root .. "/srv/deep" }
      local command = "for p in / /srv /srv/deep /new /dev/shm; do (: > $p/x) 2>/dev/null && echo $p; done; echo end"
      local layouts = { rootfs.dir { path = root, readonly = true },
        carton.steps(rootfs.dir(root), { readonly = true }),
        carton.steps({ { "mount.bind", source = root, target = "/", recursive = true } }, rootfs.system(),
          { readonly = true }) }
      for _, layout in ipairs(layouts) do
        local seen = output(command, { rootfs = layout, mounts = { volume .. ":/new" } })
        assert(seen == "/new\n/dev/shm\nend", seen)
      end
      local seen = output(command, { rootfs = rootfs.dir(root), mounts = { volume .. ":/new" } })
      assert(seen:find("/srv/deep\n", 1, true), seen)
    end)
  end)
  it("makes places for mounts in a read-only root", function()
    local root = helper.rootfs(true)
    assert.equal("bash", output("test -d /new/place && echo bash", {
      rootfs = rootfs.dir { path = root, readonly = true }, mounts = { "/usr:/new/place:ro" } }))
  end)
  it("takes a relative path", function()
    local before = posix.getcwd()
    posix.chdir(helper.rootfs())
    local ok, seen = pcall(output, "echo here", { rootfs = "." })
    posix.chdir(before)
    assert.equal("here", ok and seen or tostring(seen))
  end)
end)

describe("rootfs.overlay #userns", function()
  it("throws away what is written, within its size", function()
    local root = helper.rootfs()
    local layout = rootfs.overlay { lower = { root }, size = "1m" }
    assert.equal("written full", output("echo written > /etc/x; echo $(cat /etc/x) "
      .. "$(head -c 2000000 /dev/zero 2>/dev/null > /big || echo full)", { rootfs = layout }))
    assert.is_nil(carton.host.stat(root .. "/etc/x"))
    assert.equal("none", output("test -e /etc/x || echo none", { rootfs = layout }))
  end)
  it("keeps what is written in upper", function()
    local top = helper.tmpdir()
    posix.mkdir(top .. "/upper")
    posix.mkdir(top .. "/work")
    local layout = rootfs.overlay { lower = helper.rootfs(), upper = top .. "/upper", work = top .. "/work" }
    assert.equal("", output("echo kept > /kept; rm /etc/group", { rootfs = layout }))
    assert.equal("kept none", output("echo $(cat /kept) $(test -e /etc/group || echo none)", { rootfs = layout }))
    assert.equal("kept\n", helper.read(top .. "/upper/kept"))
    assert.is_truthy(carton.host.stat(helper.rootfs() .. "/etc/group"))
  end)
  it("takes more layers than the kernel took at once, the uppermost first", function()
    local base, lower = helper.tmpdir(), {}
    for i = 1, 80 do
      lower[i] = base .. "/layer" .. i
      posix.mkdir(lower[i])
      helper.write(lower[i] .. "/top", tostring(i))
      helper.write(lower[i] .. "/from" .. i, "x")
    end
    lower[81] = helper.rootfs()
    assert.equal("1 80", output("echo $(cat /top) $(ls / | grep -c from)", {
      rootfs = rootfs.overlay { lower = lower } }))
  end)
  it("says which layer is missing, and is read-only when told so", function()
    local err = helper.raises(shell, "true", { rootfs = rootfs.overlay { lower = { helper.rootfs(), "/no/layer" } } })
    assert.equal("mount.overlay", err.step)
    assert.matches("/no/layer", tostring(err))
    assert.matches("Read%-only", shell("echo x > /etc/x", {
      rootfs = rootfs.overlay { lower = { helper.rootfs() }, readonly = true } }).stderr)
  end)
end)

describe("rootfs.empty #userns", function()
  it("holds nothing but the system's places", function()
    local layout = carton.steps(rootfs.empty { size = "1m", mode = "0711" },
      { { "mount.bind", source = helper.rootfs() .. "/bin", target = "/bin", options = { "ro" } } })
    assert.equal("bin dev proc sys 711", output("echo $(ls /) $(stat -c %a /)", { rootfs = layout }))
  end)
end)

describe("rootfs.host #userns", function()
  local function host(command, fields)
    fields = fields or {}
    fields.rootfs = rootfs.host(fields.layout)
    fields.layout = nil
    return output(command, fields)
  end
  it("is the host's programs in a root of its own", function()
    assert.equal("root x 700 1777", host("echo $(id -un) $(echo x | sed s/y/z/) $(stat -c %a /root /tmp)"))
    local mine = posix.getpid("pid")
    assert.equal("none", host(("test -e /proc/%d/exe || echo none"):format(mine + 100000)))
  end)
  it("shows nothing of the host's homes, /etc or state", function()
    local seen = host("ls / /etc /root /var /run /tmp")
    for _, name in ipairs { "home", "boot", "srv", "mnt", "shadow", "ssh\n", "subuid", "log", "spool" } do
      assert.is_nil(seen:find("\n" .. name .. "\n", 1, true), name)
    end
  end)
  it("can be changed in nothing but memory", function()
    local status = shell("touch /usr/x; touch /etc/x; touch /x; touch /tmp/x /root/x && echo memory",
      { rootfs = rootfs.host() })
    assert.equal("memory\n", status.stdout)
    assert.is_nil(carton.host.stat("/usr/x"))
    assert.is_nil(carton.host.stat("/tmp/x") and carton.host.stat("/root/x"))
    assert.equal("root", host("touch /x && echo root", { layout = { readonly = false } }))
  end)
  it("has the host's resolv.conf only when told so", function()
    assert.equal("none", host("test -e /etc/resolv.conf || echo none"))
    if carton.host.stat("/etc/resolv.conf") then
      assert.equal("some", host("test -e /etc/resolv.conf && echo some",
        { layout = { network = true }, network = "host" }))
    end
  end)
end)

describe("a root without /proc #userns", function()
  it("is masked all the same, without root, too", function()
    local root = helper.rootfs()
    for _, fields in ipairs {
      { rootfs = rootfs.dir { path = root, system = { proc = false } } },
      { rootfs = root, mounts = { helper.tmpdir() .. ":/proc" } },
    } do
      fields.idmap = "single"
      assert.equal("", helper.output("ls /sys/firmware; echo x > /sys/kernel/uevent_seqnum || true", fields))
    end
  end)
end)

teardown(helper.cleanup)
