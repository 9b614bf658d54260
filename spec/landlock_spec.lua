-- SPDX-License-Identifier: MIT
-- Landlock: what a program may still do with files, ports and other processes, and what rules can't be tricked into.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local core = require("carton.core")
local output, shell, privilege = helper.output, helper.shell, core.privilege

local abi, why = privilege.landlock_abi()

--- A test that a kernel has to have that much of Landlock for.
local function with_abi(needed, name, test)
  it(name, function()
    if abi < needed then
      return pending(abi == 0 and "this kernel has no Landlock: " .. tostring(why)
        or ("this kernel's Landlock is of ABI %d, and %d is needed"):format(abi, needed))
    end
    return test()
  end)
end

--- All rights to files, as many as this kernel has.
local function files(wish)
  wish.optional = abi < 5 or nil
  return { landlock = wish }
end

local function fields_of(wish, more)
  local fields = files(wish)
  for key, value in pairs(more or {}) do
    fields[key] = value
  end
  return fields
end

--- A root that may be changed, with a place to write in.
local function place()
  local root = helper.rootfs(true)
  posix.mkdir(root .. "/data")
  posix.chmod(root .. "/data", "rwxrwxrwx")
  helper.write(root .. "/data/old", "old\n")
  helper.write(root .. "/secret", "secret\n")
  return root
end

local has_strace = os.execute("command -v strace >/dev/null") and helper.run { "strace", "-f", "-o", "/dev/null",
  "true" }.code == 0

--- The program, with answers of the kernel changed; newgidmap can do nothing there, so a user has a single id.
local function injected(what, command, ...)
  return helper.run { "strace", "-f", "-o", "/dev/null", "-e", "inject=" .. what, helper.program, command,
    table.unpack(command == "run" and not helper.is_root and { "--idmap", "single", ... } or { ... }) }
end

describe("landlock: files #userns", function()
  with_abi(1, "can be executed and read where that is allowed, and nowhere else", function()
    local fields = files { execute = { "/bin" }, read = { "/etc/group" } }
    assert.matches("^root:x:0:", output("cat /etc/group", fields))
    assert.matches("can't open '/etc/passwd': Permission denied", shell("cat /etc/passwd", fields).stderr)
    assert.matches("ls: can't open '/usr'", shell("ls /usr", fields).stderr)
    assert.equal("busybox", output("ls /bin | grep busybox", fields))
  end)
  with_abi(1, "can be changed where that is allowed, and nowhere else", function()
    local root = place()
    local fields = fields_of({ execute = { "/bin" }, write = { "/data" } }, { rootfs = root })
    assert.equal("new", output("echo new > /data/new; cat /data/new; mkdir /data/dir; rm /data/old", fields))
    assert.is_nil(posix.stat(root .. "/data/old"))
    for _, script in ipairs { "echo x > /secret", "rm /secret", "mkdir /dir", "touch /file", "rm /bin/ls",
      "echo x > /etc/passwd" } do
      local status = shell(script, fields)
      assert.not_equal(0, status.code, script)
      assert.matches("[Pp]ermission denied", status.stderr)
    end
    assert.equal("secret\n", helper.read(root .. "/secret"))
    assert.is_nil(posix.stat(root .. "/dir") or posix.stat(root .. "/file"))
  end)
  with_abi(1, "that may be read can't be written or executed", function()
    local root = place()
    local fields = fields_of({ execute = { "/bin/busybox" }, read = { "/" } }, { rootfs = root })
    assert.equal("secret", output("/bin/busybox cat /secret", fields))
    assert.matches("Permission denied", shell("/bin/busybox true; echo x >> /secret", fields).stderr)
    assert(os.execute(("cp '%s/bin/busybox' '%s/data/copy'"):format(root, root)))
    assert.equal(126, shell("/data/copy true", fields).code)
  end)
  with_abi(1, "are all closed with an empty list", function()
    local err = helper.raises_code("EACCES", shell, "true", files { read = {} })
    assert.equal("exec.exec", err.step)
    assert.matches("`execute` has to hold it", carton.hint.find(err))
  end)
  with_abi(1, "are closed for its children and for those of an init, too", function()
    for _, init in ipairs { true, false } do
      local fields = fields_of({ execute = { "/bin" } }, { init = init })
      assert.equal("closed", output("sh -c 'sh -c \"cat /etc/passwd\"' 2>/dev/null || echo closed", fields))
    end
  end)
  with_abi(1, "stay open where no right to files is asked for", function()
    assert.matches("^root", output("cat /etc/passwd", files { handled = { "make_char" } }))
  end)
  with_abi(1, "of an overlay and of a mount below a path are meant, too", function()
    local root = place()
    local fields = fields_of({ execute = { "/bin" }, write = { "/data", "/tmp" } },
      { rootfs = carton.rootfs.overlay { lower = { root } }, mounts = { { type = "tmpfs", target = "/tmp/deep" } } })
    if not pcall(output, "true", { rootfs = fields.rootfs }) then
      return pending("no overlay can be made of what temporary files are on")
    end
    assert.equal("x", output("echo x > /data/x; cat /data/x > /tmp/deep/y; cat /tmp/deep/y", fields))
    assert.is_nil(posix.stat(root .. "/data/x"))
    assert.matches("Permission denied", shell("echo x > /secret", fields).stderr)
  end)
  with_abi(1, "of the host are meant in a shared root", function()
    local dir = helper.tmpdir()
    posix.chmod(dir, "rwxrwxrwx")
    local fields = fields_of({ execute = { "/usr" }, read = { "/" }, write = { dir } },
      { rootfs = carton.rootfs.host(), mounts = { dir .. ":" .. dir } })
    assert.equal("2", output("echo 2 > " .. dir .. "/f; cat " .. dir .. "/f", fields))
  end)
  with_abi(2, "can be moved between directories only where both allow it", function()
    local root = place()
    posix.mkdir(root .. "/data/a")
    posix.mkdir(root .. "/data/b")
    local fields = fields_of({ execute = { "/bin" }, write = { "/data" } }, { rootfs = root })
    assert.equal("old", output("/bin/busybox mv /data/old /data/a/moved; cat /data/a/moved", fields))
    fields.landlock.write = { "/data/a", "/data/b" }
    assert.equal("old", output("/bin/busybox mv /data/a/moved /data/b/; cat /data/b/moved", fields))
    fields.landlock.write = { "/data/a" }
    shell("/bin/busybox ln /secret /data/a/link; /bin/busybox mv /data/b/moved /data/a", fields)
    assert.is_nil(posix.stat(root .. "/data/a/link") or posix.stat(root .. "/data/a/moved"))
  end)
  with_abi(3, "can't be truncated where they may only be written", function()
    local root = place()
    local status = shell(": > /data/old", fields_of({ execute = { "/bin" },
      rules = { { path = "/data", access = { "write_file" } } } }, { rootfs = root }))
    assert.matches("Permission denied", status.stderr)
    assert.equal("old\n", helper.read(root .. "/data/old"))
  end)
  with_abi(5, "that are devices take their own right to be controlled", function()
    local c = "/bin/busybox stty -F /dev/ptmx 2>&1"
    local open = output(c .. " | head -1", { landlock = { execute = { "/bin" }, device = { "/dev" } } })
    local status = shell(c, { landlock = { execute = { "/bin" }, rules = { { path = "/dev",
      access = { "read_file", "write_file" } } } } })
    assert.not_matches("Permission", open)
    assert.matches("Permission denied", status.stdout)
  end)
end)

describe("landlock: ports and scopes #userns", function()
  local listen = "nc() { /bin/busybox nc -w 1 \"$@\" < /dev/null 2>&1; }; nc -l -p %d; nc 127.0.0.1 %d; true"
  with_abi(4, "only those ports can be bound and connected to that are listed", function()
    local function try(wish)
      return output(listen:format(8080, 443), { landlock = { tcp = wish } })
    end
    assert.matches("Connection refused", try { bind = { 8080 }, connect = { 443 } })
    assert.not_matches("ermission denied", try { bind = { 8080 }, connect = { 443 } })
    assert.matches("bind: Permission denied", try { bind = {} })
    assert.matches("bind: Permission denied", try { bind = { 8081, 80, 65535, 0 } })
    assert.matches("127.0.0.1.*Permission denied", try { connect = { 444 } })
    assert.not_matches("bind: Permission denied", try { connect = {} })
  end)
  with_abi(6, "nothing outside can be signalled or reached by an abstract socket", function()
    local outer <close> = carton.container { rootfs = helper.rootfs(), stdin = "null",
      args = { "sh", "-c", "sleep 60 & wait" } }:start()
    local script = "kill -0 1 && echo reached"
    local free = outer:exec { args = { "sh", "-c", script }, stdin = "null", stdout = "capture" }:wait()
    assert.equal("reached\n", free.stdout)
    local held = outer:exec { args = { "sh", "-c", script }, stdin = "null", stdout = "capture", stderr = "capture",
      landlock = { scopes = { "signal", "abstract_unix_socket" } } }:wait()
    assert.equal("", held.stdout)
    assert.matches("Operation not permitted", held.stderr)
    assert.equal(0, shell("sleep 9 & kill $!", { landlock = { scopes = { "signal" } } }).code)
  end)
end)

describe("landlock: further programs #userns", function()
  with_abi(1, "are held to the rules of their container", function()
    local c <close> = carton.container(fields_of({ execute = { "/bin" }, write = { "/tmp" } },
      { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" })):start()
    local function run(script, fields)
      fields = fields or {}
      fields.args, fields.stdin, fields.stdout, fields.stderr = { "sh", "-c", script }, "null", "capture", "capture"
      return c:exec(fields):wait()
    end
    assert.equal("x\n", run("echo x > /tmp/x; cat /tmp/x").stdout)
    assert.matches("Permission denied", run("cat /etc/passwd").stderr)
    assert.matches("^root", run("cat /etc/passwd", files { execute = { "/bin" }, read = { "/etc" } }).stdout)
  end)
  with_abi(1, "fail when a path of the rules is gone", function()
    local root = place()
    local c <close> = carton.container(fields_of({ execute = { "/bin" }, write = { "/data" } },
      { rootfs = root, args = { "sleep", "60" }, stdin = "null" })):start()
    assert(os.rename(root .. "/data", root .. "/gone"))
    local err = helper.raises_code("ENOENT", c.exec, c, { args = { "true" }, stdin = "null" })
    assert.equal("privilege.landlock", err.step)
    posix.link("/", root .. "/data", true) -- and when it leads elsewhere by now
    err = helper.raises_code("ELOOP", c.exec, c, { args = { "true" }, stdin = "null" })
    assert.equal("/data", err.text)
  end)
end)

describe("landlock: attacks #userns", function()
  with_abi(1, "a link of the image widens nothing", function()
    local root = place()
    for name, target in pairs { open = "/", up = "..", far = "../../../../../..", bin2 = "bin", loop = "loop" } do
      posix.link(target, root .. "/" .. name, true)
    end
    for _, path in ipairs { "/open", "/open/", "/up", "/far", "/loop", "/bin2", "/bin2/sh", "/open/data" } do
      local err = helper.raises_code("ELOOP", shell, "true", fields_of({ execute = { "/bin" }, write = { path } },
        { rootfs = root }))
      assert.equal("privilege.landlock", err.step)
      assert.equal(path, err.text)
      assert.matches("follows no symbolic link", carton.hint.find(err))
    end
    local fields = fields_of({ execute = { { path = "/bin2", nofollow = false } } }, { rootfs = root })
    assert.matches("Permission denied", shell("cat /secret", fields).stderr) -- followed, inside of the root
    fields.landlock.read = { { path = "/far/secret", nofollow = false } }
    assert.equal("secret", output("cat /secret", fields))
  end)
  with_abi(1, "a link that is followed never leaves the root", function()
    local root, outside = place(), helper.tmpdir()
    helper.write(outside .. "/file", "outside\n")
    posix.link(outside, root .. "/leave", true)
    local err = helper.raises_code("ENOENT", shell, "true", fields_of({ execute = { "/bin" },
      read = { { path = "/leave", nofollow = false } } }, { rootfs = root }))
    assert.equal("/leave", err.text)
    err = helper.raises_code("ENOENT", shell, "true", fields_of({ execute = { "/bin" },
      read = { "/../../../.." .. outside } }, { rootfs = root }))
    assert.equal("privilege.landlock", err.step)
  end)
  with_abi(1, "a path that is missing is an error, unless it is optional", function()
    local err = helper.raises_code("ENOENT", shell, "true", files { execute = { "/bin" }, read = { "/nope/x" } })
    assert.equal("privilege.landlock", err.step)
    assert.equal("/nope/x", err.text)
    assert.matches("landlock: No such file or directory %(ENOENT%): /nope/x", tostring(err))
    local fields = files { execute = { "/bin" }, read = { { path = "/nope", optional = true } } }
    assert.matches("denied", shell("cat /etc/passwd", fields).stderr)
    helper.raises_code("ENOTDIR", shell, "true", files { execute = { "/bin" },
      read = { { path = "/etc/passwd/x", optional = true } } })
  end)
  with_abi(1, "a right that only directories have is none for a file", function()
    local err = helper.raises_code("ENOTDIR", shell, "true", files { execute = { "/bin" },
      rules = { { path = "/etc/passwd", access = { "make_reg", "remove_file" } } } })
    assert.equal("/etc/passwd", err.text)
    assert.matches("^root", output("cat /etc/passwd", files { execute = { "/bin" }, write = { "/etc/passwd" } }))
  end)
  with_abi(1, "a payload can't undo it by mounts, another root, or user namespaces", function()
    local fields = fields_of({ execute = { "/bin" }, write = { "/tmp" } },
      { capabilities = "all", rootfs = place(), idmap = helper.is_root and "single" or nil })
    for _, script in ipairs { "mount -t tmpfs none /tmp", "mount --bind / /tmp", "umount /proc",
      "/bin/busybox unshare -m mount -t tmpfs none /tmp", "/bin/busybox unshare -Urm mount --bind / /tmp",
      "/bin/busybox chroot / cat /secret", "mkdir /tmp/r; /bin/busybox pivot_root /tmp /tmp/r",
      "cat /proc/1/root/secret", "cat /tmp/../secret", "cat < /dev/fd/../../../secret" } do
      local status = shell(script .. " && cat /secret", fields)
      assert.not_equal(0, status.code, script)
      assert.not_matches("secret\n", status.stdout)
    end
  end)
  with_abi(1, "what comes too late is an error with its name: mounts after rules", function()
    local rules = { "privilege.landlock", rules = { { path = "/", access = { "execute", "read_file" } } },
      optional = true }
    local err = helper.raises_code("EPERM", shell, "true", { rootfs = carton.steps(
      carton.rootfs.dir(helper.rootfs()), { { "privilege.no_new_privs" }, rules,
        { "mount.tmpfs", target = "/tmp" } }) })
    assert.equal("mount.tmpfs", err.step)
    assert.matches("after privilege.landlock", carton.hint.find(err))
    err = helper.raises_code("EPERM", shell, "true", { rootfs = carton.steps(carton.rootfs.dir(helper.rootfs()),
      { { "privilege.no_new_privs" }, rules }) })
    assert.equal("mount.pivot_root", err.step)
  end)
  with_abi(1, "without no_new_privs it takes a privilege that a payload does not have", function()
    local err = helper.raises_code("EPERM", shell, "true", fields_of({ execute = { "/bin" } },
      { no_new_privs = false }))
    assert.equal("landlock_restrict_self", err.call)
    assert.matches("no_new_privs", carton.hint.find(err))
  end)
  with_abi(1, "more of it can only narrow, 16 times", function()
    local rule = { "privilege.landlock", rules = { { path = "/", access = { "execute", "read_file", "read_dir" } } },
      optional = true }
    local steps = { { "privilege.no_new_privs" } }
    for i = 1, 17 do
      steps[1 + i] = rule
    end
    local err = helper.raises_code("E2BIG", core.exec.spawn, { steps = steps })
    assert.equal("landlock_restrict_self", err.call)
    assert.equal(18, err.index)
    assert.matches("16 times", carton.hint.find(err))
    local process <close> = core.exec.spawn { steps = { steps[1], rule, { "privilege.landlock", optional = true,
      rules = { { path = "/usr", access = { "execute", "read_file", "write_file" } } } },
      { "exec.exec", args = { "/usr/bin/sh", "-c", "exec 2>&-; cat /etc/passwd" } } } }
    assert.not_equal(0, process:wait().code)
  end)
  with_abi(1, "as many rules as a list holds are fine, and more an error", function()
    local rules = { { path = "/bin", access = { "execute", "read_file" } } }
    for i = 2, 3000 do
      rules[i] = { path = i % 2 == 0 and "/etc" or "/usr", access = { "read_dir" } }
    end
    assert.equal("fine", output("echo fine", files { rules = rules }))
  end)
  it("a table of rules that is too long is refused", function()
    local rules = {}
    for i = 1, 65537 do
      rules[i] = { path = "/", access = { "execute" } }
    end
    assert.matches("list of more than 65536 entries", tostring(helper.raises(privilege.landlock, { rules = rules })))
  end)
end)

describe("privilege.landlock", function()
  local function refused(pattern, fields)
    local err = helper.raises(privilege.landlock, fields)
    assert.matches(pattern, tostring(err))
    local step = { "privilege.landlock" }
    for key, value in pairs(fields) do
      step[key] = value
    end
    err = helper.raises(core.exec.spawn, { steps = { step } })
    assert.matches("step 1, privilege.landlock: .*" .. pattern, tostring(err))
  end
  it("refuses ports that are none, and never cuts them off", function()
    for _, port in ipairs { -1, 65536, 65536 + 80, 1 << 32, (1 << 32) + 80, math.mininteger, math.maxinteger, 80.5,
      "80", true } do
      refused("port from 0 to 65535 expected", { tcp = { bind = { port } } })
      refused("port from 0 to 65535 expected", { tcp = { connect = { 80, port } } })
    end
    refused("list expected", { tcp = { bind = 80 } })
    refused("bind or connect is missing", { tcp = {} })
    refused("bind or connect is missing", { tcp = { optional = true } })
    refused("unknown field 'binds'", { tcp = { binds = { 80 } } })
    refused("not a list", { tcp = { 80 } })
  end)
  it("refuses rights, scopes and fields that do not exist", function()
    refused("unknown name 'read'.*read_file", { rules = { { path = "/", access = { "read" } } } })
    refused("unknown name 'EXECUTE'", { handled = { "EXECUTE" } })
    refused("unknown name 'signals'", { scopes = { "signals" } })
    refused("is empty", { scopes = {} })
    refused("is empty", { handled = {} })
    refused("unknown field 'opt'", { scopes = { "signal", opt = true } })
    refused("optional: boolean", { scopes = { "signal", optional = 1 } })
    refused("access is empty", { rules = { { path = "/", access = {} } } })
    refused("path is empty", { rules = { { path = "", access = { "execute" } } } })
    refused("is missing", { rules = { { access = { "execute" } } } })
    refused("is missing", { rules = { { path = "/" } } })
    refused("not a list", { rules = { { "/", access = { "execute" } } } })
    refused("not a list", { rules = { { path = "/", access = { "execute" }, "x" } } })
    refused("unknown field 'paths'", { rules = { { paths = "/", access = { "execute" } } } })
    refused("table expected", { rules = { "/" } })
    refused("NUL", { rules = { { path = "/\0x", access = { "execute" } } } })
    refused("allows what is not handled", { handled = { "execute" }, rules = { { path = "/",
      access = { "read_file" } } } })
    refused("unknown field 'rule'", { rule = {} })
  end)
  it("refuses to do nothing", function()
    helper.raises_code("EINVAL", privilege.landlock)
    helper.raises_code("EINVAL", privilege.landlock, { optional = true })
    local err = helper.raises_code("EINVAL", core.exec.spawn, { steps = { { "privilege.landlock" } } })
    assert.equal("privilege.landlock", err.step)
  end)
  with_abi(1, "works as a function", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "x")
    helper.isolated(function()
      privilege.no_new_privs()
      privilege.landlock { optional = true, rules = { { path = "/proc", access = { "read_file", "read_dir" } } } }
      assert(not io.open(dir .. "/file"))
      assert(io.open("/proc/self/status"))
    end)
    assert.equal("x", helper.read(dir .. "/file"))
  end)
  with_abi(1, "looks paths up in a root that is given", function()
    local root = place()
    helper.isolated(function()
      local handle = core.mount.open_root(root)
      privilege.no_new_privs()
      privilege.landlock { root = handle, optional = true, rules = { { path = "/data", access = { "read_file" } } } }
      assert(io.open(root .. "/data/old"))
      assert(not io.open(root .. "/secret"))
    end)
  end)
end)

describe("landlock: what a kernel lacks #userns", function()
  local all = { { 2, "refer", "5.19" }, { 3, "truncate", "6.2" }, { 5, "ioctl_dev", "6.10" } }
  local function expect_missing(run)
    for _, case in ipairs(all) do
      local message = run(case[1] - 1, { "--landlock", "execute=/bin" })
      assert.matches(("privilege.landlock.*%s, which Linux %s has %%(Landlock ABI %d%%); optional = true"):format(
        case[2], case[3], case[1]), message)
    end
  end
  it("is named with the version that has it", function()
    if abi == 0 or not has_strace then
      return pending("it takes a kernel with Landlock, and strace that changes its answers")
    end
    local root = helper.rootfs()
    local function run(version, options)
      local result = injected(("landlock_create_ruleset:retval=%d:when=1"):format(version), "run",
        table.unpack(table.move({ root, "true" }, 1, 2, #options + 1, options)))
      assert.equal(125, result.code)
      return "privilege.landlock " .. result.stderr
    end
    expect_missing(run)
    assert.matches("bind_tcp, which Linux 6.7 has", run(3, { "--landlock", "bind=80" }))
    assert.matches("connect_tcp, which Linux 6.7 has", run(3, { "--landlock", "connect=80" }))
    assert.matches("signal, which Linux 6.12 has", run(5, { "--landlock", "scope=signal" }))
  end)
  it("is done without when that is allowed, and the rest is not", function()
    if abi == 0 or not has_strace then
      return pending("it takes a kernel with Landlock, and strace that changes its answers")
    end
    for version = 1, math.min(abi, 6) do
      local result = injected(("landlock_create_ruleset:retval=%d:when=1"):format(version), "run", "-T", "--landlock",
        "execute=/bin", "--landlock", "optional=yes", "--landlock", "connect=80", "--landlock", "scope=signal",
        helper.rootfs(), "cat", "/etc/passwd")
      assert.equal(1, result.code, result.stderr)
      assert.matches("Permission denied", result.stderr)
    end
  end)
  it("may be all of it", function()
    if not has_strace then
      return pending("it takes strace that changes the kernel's answers")
    end
    for _, code in ipairs { "ENOSYS", "EOPNOTSUPP" } do
      local what = "landlock_create_ruleset:error=" .. code
      local result = injected(what, "run", "--landlock", "execute=/bin", helper.rootfs(), "true")
      assert.equal(125, result.code)
      assert.matches("landlock: .*%(" .. code .. "%); Linux 5.13 has Landlock", result.stderr)
      result = injected(what, "run", "-T", "--landlock", "execute=/bin", "--landlock", "optional=yes",
        helper.rootfs(), "echo", "ran")
      assert.equal("ran\n", result.stdout)
      result = injected(what, "run", "--landlock", "connect=1", helper.rootfs(), "true")
      assert.equal(125, result.code)
      assert.matches("note +landlock +" .. code, injected(what, "doctor").stdout)
    end
  end)
  it("is what this kernel says", function()
    if abi == 0 or abi >= 5 then
      return pending("it takes a kernel with Landlock before ABI 5: make it run in a virtual machine")
    end
    local err = helper.raises_code("EOPNOTSUPP", shell, "true", { landlock = { execute = { "/bin" } } })
    assert.matches("which Linux [%d.]+ has", err.text)
    assert.equal("privilege.landlock", err.step)
    err = helper.raises_code("EOPNOTSUPP", shell, "true", { landlock = { scopes = { "signal" } } })
    assert.equal("signal, which Linux 6.12 has (Landlock ABI 6)", err.text)
  end)
end)

describe("carton.landlock", function()
  local function refused(pattern, wish)
    assert.matches(pattern, tostring(helper.raises(function()
      carton.container { rootfs = "/", args = { "x" }, landlock = wish }:compile()
    end)))
  end
  it("comes right before the program, after no_new_privs", function()
    local steps = carton.container { rootfs = "/", args = { "x" }, landlock = { read = { "/usr" } } }:compile().steps
    assert.equal("exec.exec", steps[#steps][1])
    assert.equal("privilege.seccomp", steps[#steps - 1][1]) -- which need not allow it
    assert.equal("privilege.landlock", steps[#steps - 2][1])
    local at
    for i, step in ipairs(steps) do
      at = step[1] == "privilege.no_new_privs" and i or at
    end
    assert.is_true(at < #steps - 1)
    assert.same({ { path = "/usr", nofollow = true, access = { "read_file", "read_dir" } } }, steps[#steps - 2].rules)
  end)
  it("refuses what it does not know", function()
    refused("unknown field 'reed'", { reed = { "/" } })
    refused("read: a list of paths expected, got number", { read = 1 })
    refused("read: a path expected, got number", { read = { 1 } })
    refused("read: a list of paths expected, got the key 'path'", { read = { path = "/" } })
    refused("write: a list of paths expected, got the key '3'", { write = { "/a", [3] = "/b" } })
    refused("rules: a list expected, got the key 'path'", { rules = { path = "/" } })
    refused("read: unknown field 'acess' of a path", { read = { { path = "/", acess = {} } } })
    refused("it says nothing", {})
    refused("it says nothing", { optional = true })
    refused("rules: a list expected", { rules = "x" })
    refused("unknown name 'x'", { rules = { { path = "/", access = { "x" } } } })
    refused("table expected, got string", "/usr")
  end)
  it("has groups of rights that the core knows", function()
    for name, rights in pairs(carton.landlock.groups) do
      local ok, err = pcall(core.validate, { { "privilege.landlock", rules = { { path = "/", access = rights } } } })
      assert.is_true(ok, name .. tostring(err))
    end
  end)
  it("says what the kernel has", function()
    local version, lacking = carton.landlock.abi()
    assert.equal(abi, version)
    assert.equal(math.max(0, 6 - abi), #lacking)
    assert.matches(abi > 0 and "landlock +ABI " .. abi or "landlock", helper.carton("doctor").stdout)
  end)
end)

describe("carton run --landlock", function()
  it("refuses what is none of its words", function()
    for _, case in ipairs { { "nope=/x", "is not read, write" }, { "read", "is not read, write" },
      { "read=", "is not read, write" }, { "bind=x", "is not a port" }, { "bind=1.5", "is not a port" },
      { "bind=65536", "port from 0 to 65535" }, { "connect=99999999999999999999", "is not a port" },
      { "scope=x", "unknown name 'x'" } } do
      local result = helper.carton("run", "--landlock", case[1], helper.rootfs(), "true")
      assert.equal(125, result.code)
      assert.matches(case[2], result.stderr)
    end
  end)
  with_abi(5, "holds the program to it #userns", function()
    local function run(...)
      local args = { "run", "-T", ... }
      table.move({ helper.rootfs(), "sh", "-c", "cat /etc/group; echo x > /tmp/x && cat /tmp/x" }, 1, 4, #args + 1,
        args)
      return helper.carton(table.unpack(args))
    end
    assert.equal("x\n", run("--landlock", "execute=/bin", "--landlock", "write=/tmp").stdout)
    assert.matches("^root", run("--landlock", "execute=/bin", "--landlock", "read=/etc").stdout)
  end)
end)

teardown(helper.cleanup)
