-- SPDX-License-Identifier: MIT
-- `carton run`: every option, seen from inside; status files, traces and time-outs.
local posix = require("posix")
local cjson = require("cjson")
local helper = require("spec.helper")

local ROOT -- the busybox root, made when it is first needed

--- Run a shell command with options; gives the result.
local function run(options, script, more)
  ROOT = helper.rootfs()
  local args = { "run", "-T" }
  table.move(options, 1, #options, 3, args)
  args[#args + 1] = options.root or ROOT
  table.move({ "sh", "-c", script, more }, 1, more and 4 or 3, #args + 1, args)
  return helper.carton(table.unpack(args))
end

--- What it prints, without the last newline.
local function says(options, script)
  local result = run(options, script)
  assert.equal(0, result.code, result.stderr .. result.stdout)
  return (result.stdout:gsub("\n$", ""))
end

local function refused(...)
  local result = helper.carton("run", ...)
  assert.equal(125, result.code, result.stdout .. result.stderr)
  return result.stderr
end

describe("carton run #userns", function()
  it("--env, a clean environment otherwise", function()
    assert.equal("HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PWD=/ SHLVL=1",
      says({}, "env | sort | tr '\\n' ' '"):gsub(" $", ""))
    assert.equal("1 a=b ", says({ "-e", "A=1", "--env=B=a=b", "-eC=" }, "echo $A $B \"$C\""))
    assert.matches("'A' is not NAME=VALUE", refused("-e", "A", "/", "true"))
  end)
  it("--cwd", function()
    assert.equal("/tmp", says({ "--cwd", "/tmp" }, "pwd"))
    assert.equal("/", says({}, "pwd"))
    local result = run({ "-w", "/nope" }, "true")
    assert.equal(125, result.code)
    assert.matches("chdir /nope: No such file or directory %(ENOENT%); the working directory has to exist inside",
      result.stderr)
  end)
  it("--user, as the root file system knows it", function()
    if not helper.is_root and not require("carton").idmap.granted() then
      return pending("takes subordinate ids")
    end
    assert.equal("0:0", says({}, "echo $(id -u):$(id -g)"))
    assert.equal("33:34 35", says({ "-u", "web" }, "echo $(id -u):$(id -g) $(id -G | tr ' ' '\\n' | grep 35)"))
    assert.equal("33:0", says({ "--user", "33:root" }, "echo $(id -u):$(id -g)"))
    assert.equal("1000:1001", says({ "--user=1000:1001" }, "echo $(id -u):$(id -g)"))
    assert.matches("nobody%-here", run({ "--user", "nobody-here" }, "true").stderr)
  end)
  it("--hostname and --name", function()
    assert.equal("box", says({ "--hostname", "box" }, "hostname"))
    assert.equal("called", says({ "--name", "called" }, "hostname"))
    assert.equal("carton", says({}, "hostname"))
  end)
  it("--mount binds, with options", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "content")
    assert.equal("content", says({ "-v", dir .. ":/data" }, "cat /data/file; touch /data/new"))
    assert.is_truthy(posix.stat(dir .. "/new"))
    assert.equal("content no", says({ "--mount", dir .. ":/data:ro" },
      "cat /data/file; touch /data/other 2>/dev/null && echo ' yes' || echo ' no'"))
    assert.is_nil(posix.stat(dir .. "/other"))
    assert.equal(125, run({ "-v", "/nonexistent:/data" }, "true").code)
  end)
  it("--tmpfs", function()
    assert.matches("tmpfs on /tmp type tmpfs %(rw,nosuid,nodev", says({ "--tmpfs", "/tmp" }, "mount | grep ' /tmp '"))
    assert.matches("'' is not TARGET%[:OPTIONS%]", refused("--tmpfs", "", "/", "true"))
    local seen = says({ "--tmpfs", "/tmp:size=64k,mode=0700,noexec" }, "mount | grep ' /tmp '; ls / | grep size; true")
    for _, word in ipairs { "nosuid", "nodev", "noexec", "size=64k", "mode=700" } do
      assert.is_truthy(seen:find(word, 1, true), word .. " is missing in " .. seen)
    end
    assert.is_nil(seen:find("\n"))
    assert.matches("'size': .* got '0'", refused("--tmpfs", "/tmp:size=0", "/", "true"))
    assert.matches("unknown option 'sise' of tmpfs on /tmp", refused("--tmpfs", "/tmp:sise=1m", "/", "true"))
  end)
  it("--mount and --tmpfs in the order of their places, each once", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "content")
    assert.equal("content tmpfs", says({ "-v", dir .. ":/tmp/a/b", "--tmpfs", "/tmp/a" },
      "echo $(cat /tmp/a/b/file) $(grep -o '/tmp/a tmpfs' /proc/mounts | cut -d ' ' -f 2)"))
    for _, other in ipairs { "--tmpfs=/x/", "-v/usr://x", "--mount=/usr:/./x" } do
      assert.matches("x/? is given twice", refused("-v", dir .. ":/x", other, "/", "true"))
    end
  end)
  it("--device", function()
    if helper.is_root or posix.access("/dev/kmsg", "r") then
      assert.equal("1:b", says({ "--device", "/dev/kmsg" }, "stat -c %t:%T /dev/kmsg"))
      assert.equal("1:3", says({ "--device", "/dev/null" }, "stat -c %t:%T /dev/null"))
    end
    assert.equal(125, run({ "--device", "/nonexistent" }, "true").code)
  end)
  it("--overlay and --lower write to memory", function()
    local lower = helper.tmpdir()
    helper.write(lower .. "/below", "")
    assert.equal("", says({ "--overlay" }, "touch /written && rm /etc/group"))
    assert.is_nil(posix.stat(ROOT .. "/written"))
    assert.is_truthy(posix.stat(ROOT .. "/etc/group"))
    assert.equal("/below", says({ "--lower", lower }, "ls /below"))
    assert.matches("not with 'host'", refused("--overlay", "host", "true"))
  end)
  it("--read-only", function()
    assert.equal("no", says({ "--read-only" }, "touch /written 2>/dev/null && echo yes || echo no"))
    assert.equal("yes", says({ root = helper.rootfs(true) }, "touch /written && echo yes"))
  end)
  it("--bare mounts nothing but the root", function()
    assert.equal("0 0 0", says({ "--bare" }, "echo $(ls /proc | wc -l) $(ls /sys | wc -l) $(ls /dev | wc -l)"))
    assert.is_true(tonumber(says({}, "ls /proc | wc -l")) > 20)
  end)
  it("--nestable unmasks /proc", function()
    assert.matches("/proc/sys", says({}, "mount | grep /proc/ || true"))
    assert.equal("", says({ "--nestable" }, "mount | grep ' /proc/' || true"))
  end)
  it("--share leaves namespaces as they are", function()
    for _, kind in ipairs { "net", "uts", "ipc" } do
      local outside = posix.readlink("/proc/self/ns/" .. kind)
      assert.equal(outside, says({ "--share", kind }, "readlink /proc/self/ns/" .. kind))
      assert.not_equal(outside, says({}, "readlink /proc/self/ns/" .. kind))
    end
    assert.matches("unknown kind 'nope'", run({ "--share", "nope" }, "true").stderr)
  end)
  it("by a caller that ignores SIGCHLD", function()
    local result = helper.run { "sh", "-c", "trap '' CHLD; exec \"$@\"", "sh", helper.program, "run", "-T",
      helper.rootfs(), "sh", "-c", "exit 3" }
    assert.equal(3, result.code, result.stderr)
  end)
  it("in a user namespace of somebody else's making, as its root", function()
    local reader <close> = assert(io.open("/proc/sys/user/max_user_namespaces"))
    if reader:read("n") == 0 then
      return pending("takes user namespaces")
    end
    local result = helper.run { "unshare", "-Ur", helper.program, "run", "-T", helper.rootfs(), "sh", "-c",
      "echo x > /dev/null && test -c /dev/zero && ls /.." }
    assert.equal(0, result.code, result.stderr)
    assert.matches("^bin\n", result.stdout)
  end)
  it("--idmap", function()
    local own = tostring(posix.geteuid())
    local map = says({ "--idmap", "single" }, "cat /proc/self/uid_map | tr -s ' '")
    assert.equal(" 0 " .. own .. " 1", map)
    if not helper.is_root then
      assert.equal(own, says({ "--idmap", "keep-id" }, "id -u"))
    end
    assert.equal(125, run({ "--idmap", "nope" }, "true").code)
  end)
  it("--cap-add, --cap-drop and --new-privileges", function()
    local function bits(options)
      return tonumber(says(options, "grep CapEff /proc/self/status"):match("%x+$"), 16)
    end
    local usual = bits {}
    assert.is_true(usual & 1 << 0 ~= 0 and usual & 1 << 21 == 0) -- CHOWN, SYS_ADMIN
    assert.is_true(bits { "--cap-add", "SYS_ADMIN" } & 1 << 21 ~= 0)
    assert.equal(usual & ~1, bits { "--cap-drop", "CAP_CHOWN" })
    assert.equal(0, bits { "--cap-drop", "all" })
    assert.equal(1 << 10, bits { "--cap-drop", "all", "--cap-add", "net_bind_service" })
    assert.equal("NoNewPrivs:\t1", says({}, "grep NoNewPrivs /proc/self/status"))
    assert.equal("NoNewPrivs:\t0", says({ "--new-privileges" }, "grep NoNewPrivs /proc/self/status"))
    assert.matches("NOPE", run({ "--cap-add", "NOPE" }, "true").stderr)
  end)
  it("--rlimit", function()
    assert.equal("64 128", says({ "--rlimit", "nofile=64:128" }, "echo $(ulimit -Sn) $(ulimit -Hn)"))
    assert.equal("64 64", says({ "--rlimit=nofile=64" }, "echo $(ulimit -Sn) $(ulimit -Hn)"))
    assert.matches("not NAME=VALUE", refused("--rlimit", "nofile", "/", "true"))
    assert.equal(125, run({ "--rlimit", "nope=1" }, "true").code)
  end)
  it("--sysctl, of its own namespaces only", function()
    assert.equal("1024", says({ "--sysctl", "net.core.somaxconn=1024" }, "cat /proc/sys/net/core/somaxconn"))
    assert.equal(125, run({ "--sysctl", "kernel.panic=1" }, "true").code)
  end)
  it("--init has the program below it", function()
    assert.equal("2", says({ "--init" }, "echo $$"))
    assert.equal("1", says({}, "echo $$"))
  end)
  it("--timeout", function()
    local began = require("carton").host.monotonic()
    local late = run({ "--timeout", "0.2" }, "sleep 60")
    assert.same({ 137, "carton: killed after its time-out of 0.2 s\n" }, { late.code, late.stderr })
    assert.is_true(require("carton").host.monotonic() - began < 20)
    assert.equal(0, run({ "--timeout", "60" }, "true").code)
    assert.matches("is not a number of seconds", refused("--timeout", "soon", "/", "true"))
    assert.matches("above 0", refused("--timeout", "0", "/", "true"))
  end)
  it("--terminal and --no-terminal", function()
    assert.equal("no tty", says({}, "tty >/dev/null || echo no tty"))
    local result = helper.carton("run", "-t", helper.rootfs(), "tty")
    assert.matches("^/dev/%w", result.stdout)
    assert.matches("exclude each other", refused("-t", "-T", "/", "true"))
  end)
  it("runs in the host's own tree", function()
    assert.equal("box 1", says({ root = "host", "--hostname", "box" }, "echo $(hostname) $$"))
  end)
  it("stops looking for options at the root, and at --", function()
    local result = helper.carton("run", "-T", "--", helper.rootfs(), "echo", "-e", "--name", "x")
    assert.equal("--name x\n", result.stdout)
  end)
end)

describe("carton run's mistakes", function()
  it("are named", function()
    assert.matches("unknown option '%-%-nope'; see carton help run", refused("--nope", "/", "true"))
    assert.matches("unknown option '%-x'", refused("-x", "/", "true"))
    for option, instead in pairs(require("carton.command.run").options.others) do
      local text = refused(option, "/", "true")
      assert.is_truthy(text:find(("unknown option '%s'; %s; see"):format(option, instead), 1, true), text)
    end
    assert.matches("unknown option '%-i'", refused("-it", "/", "true"))
    assert.matches("one path expected, got '/dev/null:/dev/null:rw'", refused("--device", "/dev/null:/dev/null:rw", "/",
      "true"))
    assert.matches("default, none or a file .* got 'unconfined'", refused("--seccomp", "unconfined", "/", "true"))
    assert.matches("'%-%-cwd' needs DIR", refused("--cwd"))
    assert.matches("'%-%-init' takes no value", refused("--init=yes", "/", "true"))
    assert.matches("a root file system is missing", refused())
    assert.matches("a command is missing", refused("/"))
    assert.matches("'json' or 'svg'", refused("--trace=png", "/", "true"))
    assert.matches("goes with %-%-trace", refused("--trace-file", "/dev/null", "/", "true"))
  end)
  it("include an option that is given twice", function()
    for _, option in ipairs(require("carton.command.run").options) do
      for name in option[1]:gmatch("%S+") do
        local value = option.arg and "1" or option.optional and name == "--trace" and "json"
        if value and not option.many then
          local last = "--" .. option[1]:match("%-%-(%S+)")
          local text = refused(name .. (name:sub(2, 2) == "-" and "=" or "") .. value,
            last .. "=" .. (option.arg and value or "svg"), "/", "true")
          assert.is_truthy(text:find(("option '%s' is given twice"):format(last), 1, true), name .. ": " .. text)
        end
      end
    end
    for option, value in pairs { ["--rlimit"] = "nofile=9", ["--sysctl"] = "net.x=1",
      ["--cgroup"] = "memory.low=1", ["--label"] = "selinux=x" } do
      assert.matches(value:match("^[^=]+") .. " is given twice", refused(option, value, option, value, "/", "true"))
    end
    assert.equal("2", says({ "--init", "--init", "-eA=1", "-eA=2" }, "echo $A")) -- flags and variables may be
    assert.matches("'9:' is not a limit", refused("--rlimit", "nofile=9:", "/", "true"))
  end)
  it("are told before anything runs", function()
    local dir = helper.tmpdir()
    for _, options in ipairs { { "--status-file", "/nonexistent/file" }, { "--trace=png" },
      { "--trace", "--trace-file", "/nonexistent/file" } } do
      table.move({ "-v", dir .. ":/data" }, 1, 2, #options + 1, options)
      assert.equal(125, run(options, "touch /data/ran").code)
      assert.is_nil(posix.stat(dir .. "/ran"))
    end
  end)
  it("include options that a recipe would ignore", function()
    local path = helper.write(helper.tmpdir() .. "/r.lua", "print('ran')")
    for _, option in ipairs { "--read-only", "--env=A=1", "--timeout=1", "-t" } do
      local text = refused(option, path)
      assert.matches("goes with a root file system, not with a recipe", text)
    end
    assert.equal("ran\n", helper.carton("run", path).stdout)
  end)
end)

describe("--status-file #userns", function()
  local function status(options, script, root)
    local path = helper.tmpdir() .. "/status"
    local all = { "--status-file", path, root = root }
    table.move(options, 1, #options, 3, all)
    local result = run(all, script)
    local read = cjson.decode(helper.read(path))
    assert.equal(result.code, read.code)
    return read
  end
  it("says how it ended", function()
    local read = status({}, "exit 3")
    assert.same({ "exited", 3 }, { read.cause, read.code })
    assert.is_true(read.usage.maxrss > 0)
    read = status({ "--init" }, "sleep 60 & kill -KILL $$")
    assert.equal(137, read.code)
    read = status({ "--timeout", "0.1" }, "sleep 60")
    assert.same({ "timeout", 137, "SIGKILL" }, { read.cause, read.code, read.signal })
  end)
  it("says that nothing ran, and why", function()
    local read = status({ "--cwd", "/nope" }, "true")
    assert.same({ "setup", 125 }, { read.cause, read.code })
    assert.matches("^chdir /nope: ", read.message)
    read = status({}, "true", "/nonexistent-root")
    assert.same({ "setup", 125 }, { read.cause, read.code })
  end)
  it("is written of a recipe, too", function()
    local dir = helper.tmpdir()
    for text, expected in pairs {
      ["return 7"] = { "exited", 7 },
      ["error('no')"] = { "setup", 125 },
      ["return require('carton').container { rootfs = 'ROOT', args = { 'false' } }"] = { "exited", 1 },
    } do
      local path = helper.write(dir .. "/r.lua", (text:gsub("ROOT", helper.rootfs())))
      local result = helper.carton("run", "--status-file", dir .. "/status", path)
      local read = cjson.decode(helper.read(dir .. "/status"))
      assert.same(expected, { read.cause, read.code }, text)
      assert.equal(expected[2], result.code)
    end
  end)
  it("has to be written", function()
    local result = run({ "--status-file", "/dev/full" }, "true")
    assert.equal(125, result.code)
    assert.matches("write /dev/full: No space left on device %(ENOSPC%)", result.stderr)
  end)
end)

teardown(helper.cleanup)
