-- SPDX-License-Identifier: MIT
-- The fields of a container, each seen from inside or in /proc.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local output = helper.output

local KINDS = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" }

local function link(pid, kind)
  return posix.readlink(("/proc/%s/ns/%s"):format(pid, kind))
end

--- A container that sleeps, started.
local function sleeper(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all):start()
end

--- One line of /proc/self/status, for each name.
local function status_of(fields, ...)
  local text = output("cat /proc/self/status", fields)
  local values = {}
  for i, name in ipairs { ... } do
    values[i] = text:match(name .. ":%s+([^\n]*)")
  end
  return table.unpack(values)
end

local bits = { CHOWN = 0, DAC_OVERRIDE = 1, FOWNER = 3, FSETID = 4, KILL = 5, SETGID = 6, SETUID = 7,
  SETPCAP = 8, NET_BIND_SERVICE = 10, NET_RAW = 13, SYS_CHROOT = 18, SYS_ADMIN = 21, SETFCAP = 31 }

local function mask(...)
  local number = 0
  for _, name in ipairs { ... } do
    number = number | 1 << bits[name]
  end
  return ("%016x"):format(number)
end

describe("container: environment and place #userns", function()
  it("inherits no environment", function()
    posix.setenv("CARTON_SPEC_SECRET", "s3cret")
    assert.equal("HOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      output("env | grep -v -e ^PWD= -e ^SHLVL= -e ^OLDPWD= | sort"))
  end)
  it("takes env as a table, as a list, and leaves out what is false", function()
    local env = { "PATH=/bin", A = "1 2", HOME = false, EMPTY = "" }
    local seen = output("exec env", { env = env })
    assert.matches("A=1 2", seen)
    assert.matches("PATH=/bin", seen)
    assert.matches("EMPTY=\n", seen .. "\n")
    assert.is_nil(seen:find("HOME=", 1, true))
  end)
  it("refuses what is no variable", function()
    assert.matches("container_spec.lua:%d+: .*field 'env': 'x' is not NAME=VALUE",
      helper.raises(function() carton.container { rootfs = "/", args = { "x" }, env = { "x" } }:compile() end))
    assert.matches("env", tostring(helper.raises(output, "true", { env = { ["A=B"] = "1" } })))
    assert.matches("env", tostring(helper.raises(output, "true", { env = { A = "1\0002" } })))
    assert.matches("env", tostring(helper.raises(output, "true", { env = { A = {} } })))
  end)
  it("goes to cwd as its user, and says when it is not there", function()
    assert.equal("/usr", output("pwd", { cwd = "/usr" }))
    assert.equal("/", output("pwd"))
    local err = helper.raises_code("ENOENT", output, "true", { cwd = "/nonexistent" })
    assert.equal("exec.chdir", err.step)
    assert.equal("/nonexistent", err.path)
  end)
  it("executes path with another argv[0]", function()
    assert.equal("works", output("", { path = "/bin/busybox", args = { "echo", "works" } }))
  end)
  it("has the host and domain name that it is told", function()
    assert.equal("one", output("hostname", { hostname = "one", name = "two" }))
    assert.equal("two", output("hostname", { name = "two" }))
    assert.equal("carton", output("hostname"))
    assert.equal("example.org", output("cat /proc/sys/kernel/domainname", { domainname = "example.org" }))
  end)
end)

describe("container: user #userns", function()
  local show = "echo $(id -u):$(id -g):$(id -G)"
  it("is root inside by default", function()
    assert.equal("0:0:0", output(show))
  end)
  local mapped = pcall(output, "true", { user = "33:34" })
  local function with_ids(name, test)
    it(name, function()
      if not mapped then
        return pending("no subordinate ids are granted to this user")
      end
      test()
    end)
  end
  with_ids("is a name of the root's own passwd, with its groups", function()
    assert.equal("33:34:34 35", output(show, { user = "web" }))
  end)
  with_ids("has its HOME from the root's own passwd, unless that is said", function()
    local root = helper.rootfs(true)
    helper.write(root .. "/etc/passwd", "root:x:0:0::/rooted:/bin/sh\nweb:x:33:34::/srv/web:/bin/sh\n"
      .. "odd:x:35:34::relative:/bin/sh\nlong:x:36:34::/" .. ("x"):rep(300) .. ":/bin/sh\n")
    for user, home in pairs { web = "/srv/web", ["33"] = "/srv/web", ["33:34"] = "/srv/web", root = "/rooted",
      odd = "/", long = "/", ["77"] = "/" } do
      for _, init in ipairs { false, true } do
        assert.equal(home, output("echo $HOME", { rootfs = root, user = user, init = init }), user)
      end
    end
    assert.equal("/srv/web", output("echo $HOME", { rootfs = root, user = { uid = 33, gid = 34 } }))
    assert.equal("/mine", output("echo $HOME", { rootfs = root, user = "web", env = { HOME = "/mine" } }))
    assert.equal("/mine", output("echo $HOME", { rootfs = root, user = "web", env = { "HOME=/mine" } }))
    assert.equal("none", output("echo ${HOME-none}", { rootfs = root, user = "web", env = { HOME = false } }))
    assert.equal("/root", output("echo $HOME", { rootfs = root }))
    local c <close> = sleeper { rootfs = root }
    local function home(fields)
      fields.args, fields.stdout = { "sh", "-c", "echo ${HOME-none}" }, "capture"
      return (c:exec(fields):wait().stdout:gsub("\n$", ""))
    end
    assert.same({ "/root", "/srv/web", "/x" }, { home {}, home { user = "web" },
      home { user = "web", env = { HOME = "/x" } } })
  end)
  with_ids("owns its pipes and its terminal, but no file of the caller's", function()
    assert.equal("33 33 err", output("stat -L -c %u /proc/self/fd/0; stat -L -c %u /proc/self/fd/1; "
      .. "echo err > /dev/stderr", { user = "web", stdin = "x", stderr = "stdout" }):gsub("\n", " "), nil)
    assert.matches("^33%s+33%s+seen", helper.run({ helper.program, "run", "-t", "--user", "web", helper.rootfs(), "sh",
      "-c", "stat -c %u /dev/console; stat -L -c %u /proc/self/fd/2; echo seen > /dev/stderr" }).stdout)
    local path = helper.write(helper.tmpdir() .. "/file", "x")
    local before = carton.host.stat(path).uid
    helper.shell("true", { user = "web", stdout = { path = path } })
    assert.equal(before, carton.host.stat(path).uid)
  end)
  with_ids("is numbers, or name and group", function()
    assert.equal("33:34:34", output(show, { user = "33:34" }))
    assert.equal("12:0:0", output(show, { user = "12" }))
    assert.equal("12:0:0", output(show, { user = 12 }))
    assert.equal("33:35:35", output(show, { user = "33:logs" }))
    assert.equal("33:34:34", output(show, { user = "web:34" }), "no others where a group is said")
    assert.equal("1:0:0", output(show, { user = "1" }), "never the user whose name is a number")
  end)
  with_ids("is a table", function()
    assert.equal("7:8:8 9 10", output(show, { user = { uid = 7, gid = 8, groups = { "9", "10" } } }))
    assert.equal("33:34:34 35", output(show, { user = { user = "web" } }))
    assert.equal("33:34:34", output(show, { user = { uid = 33 } }), "its group is not the caller's")
    assert.equal("33:35:35", output(show, { user = { user = "web", group = "logs", groups = {} } }))
  end)
  it("says who is not there", function()
    local err = helper.raises_code("ENOENT", output, "true", { user = "nobody-here" })
    assert.equal("privilege.user", err.step)
    assert.matches("has no such user", tostring(err))
    helper.raises_code("ENOENT", output, "true", { user = "root:no-group" })
    assert.matches("'uuid'", tostring(helper.raises(output, "true", { user = { uuid = 3 } })))
    helper.raises(output, "true", { user = "-1" })
    helper.raises(output, "true", { user = "4294967295" })
  end)
end)

describe("container: namespaces #userns", function()
  it("are all new by default, but for time and root's user", function()
    local c <close> = sleeper()
    for _, kind in ipairs(KINDS) do
      local shared = kind == "time" or (kind == "user" and helper.is_root)
      assert.equal(shared, link("self", kind) == link(c:pid(), kind), kind)
    end
  end)
  for _, kind in ipairs { "cgroup", "ipc", "net", "pid", "uts" } do
    it("can be the host's: " .. kind, function()
      if kind == "pid" and not helper.can_share_pid() then
        assert.matches("by which all of it can be killed",
          helper.raises_code("EACCES", sleeper, { namespaces = { pid = "host" } }).hint)
        return
      end
      local c <close> = sleeper { namespaces = { [kind] = "host" } }
      assert.equal(link("self", kind), link(c:pid(), kind))
      assert.not_equal(link("self", "mnt"), link(c:pid(), "mnt"))
    end)
  end
  it("can be joined: a handle, a path and a container", function()
    local first <close> = sleeper { name = "first" }
    local wish = { net = first, ipc = first }
    if helper.is_root then
      wish = { ipc = "/proc/" .. first:pid() .. "/ns/ipc", uts = first,
        net = carton.namespace.open(first:pid(), "net") }
    end
    local second <close> = sleeper { namespaces = wish }
    for kind in pairs(wish) do
      assert.equal(link(first:pid(), kind), link(second:pid(), kind), kind)
    end
    assert.not_equal(link(first:pid(), "mnt"), link(second:pid(), "mnt"))
    assert.not_equal(link(first:pid(), "pid"), link(second:pid(), "pid"))
    if helper.is_root then
      assert.equal("net", wish.net:kind(), "a handle that was given stays open")
      wish.net:close()
    end
  end)
  it("a pod shares pid, net and ipc, and each has a root of its own", function()
    local first <close> = sleeper()
    local seen = output("ps; hostname", { name = "pod", namespaces = { pid = first, net = first, ipc = first } })
    assert.matches("sleep 60", seen)
    assert.matches("pod$", seen)
  end)
  it("can be all of another container's, also the mounts", function()
    local first <close> = sleeper { hostname = "shared" }
    local wish = {}
    for _, kind in ipairs(KINDS) do
      wish[kind] = kind ~= "time" and (kind ~= "user" or not helper.is_root) and first or nil
    end
    local c <close> = carton.container { args = { "sh", "-c", "hostname; cat /proc/self/oom_score_adj; ps" },
      namespaces = wish, stdin = "null", stdout = "capture", oom_score_adj = 300 }
    assert.matches("^shared\n300\n.*sleep 60", c:run().stdout)
  end)
  it("of a container that does not run are refused", function()
    local first = sleeper()
    first:close()
    assert.matches("'namespaces.%a+': the container is not running",
      helper.raises(sleeper, { namespaces = { net = first } }))
    helper.raises_code("ENOENT", sleeper, { namespaces = { net = "/proc/1073741824/ns/net" } })
  end)
  it("are refused by kind and by type", function()
    for pattern, wish in pairs {
      ["unknown kind 'nett'"] = { nett = true }, ["unknown kind '1'"] = { "net" },
      ["'namespaces.net'"] = { net = 1 }, ["'namespaces.pid'"] = { pid = {} },
      ["'namespaces.ipc'"] = { ipc = false },
    } do
      assert.matches("container_spec.lua:%d+: .*" .. pattern, helper.raises(function()
        carton.container { rootfs = "/", args = { "x" }, namespaces = wish }
      end))
    end
    assert.matches("namespace", tostring(helper.raises(sleeper, { namespaces = { net = io.stdout } })))
    local uts = carton.namespace.open(0, "uts")
    local function join()
      carton.container { rootfs = "/", args = { "x" }, namespaces = { net = uts } }
    end
    assert.matches("'namespaces.net': an open net namespace expected, got one of kind uts", helper.raises(join))
    uts:close()
    assert.matches("'namespaces.net': an open net namespace expected", helper.raises(join))
    helper.raises_code("EINVAL", sleeper, { namespaces = { net = "/proc/self/ns/uts" } })
  end)
  it("have a loopback that is up", function()
    assert.matches("<LOOPBACK,UP", output("ip link show lo"))
  end)
end)

describe("container: what only a new namespace can have", function()
  local function refused(pattern, fields)
    fields.args, fields.rootfs = { "true" }, fields.rootfs == nil and "/" or fields.rootfs or nil
    assert.matches("container_spec.lua:%d+: .*" .. pattern,
      tostring(helper.raises(function() carton.container(fields):compile() end)))
  end
  it("is refused where the namespace is shared", function()
    refused("'hostname'", { hostname = "x", namespaces = { uts = "host" } })
    refused("'domainname'", { domainname = "x", namespaces = { uts = "host" } })
    refused("'time_offsets'", { time_offsets = { boottime = 1 }, namespaces = { time = "host" } })
    refused("'idmap'", { idmap = "single", namespaces = { user = "host" } })
    refused("'mounts'", { mounts = { "/a" }, rootfs = false, namespaces = { mnt = "host" } })
    refused("'devices'", { devices = { "/dev/null" }, rootfs = false, namespaces = { mnt = "host" } })
    refused("'readonly'", { readonly = true, rootfs = false, namespaces = { mnt = "host" } })
    refused("'network'", { network = "none", namespaces = { net = "host" } })
    refused("'network'", { network = "none", namespaces = { net = "/proc/1/ns/net" } })
    refused("'time_offsets': unknown field 'realtime'", { time_offsets = { realtime = 1 } })
    refused("'timeout'", { timeout = math.huge })
  end)
  it("a kernel parameter of the host is never set", function()
    local before = helper.read("/proc/sys/net/ipv4/ip_forward")
    local other = before:match("0") and "1" or "0"
    refused("'sysctl'.*net.ipv4.ip_forward", { sysctl = { ["net.ipv4.ip_forward"] = other },
      namespaces = { net = "host" } })
    refused("'sysctl'.*net/ipv4/ip_forward", { sysctl = { ["net/ipv4/ip_forward"] = other }, network = "host" })
    refused("'sysctl'.*kernel.shmmni", { sysctl = { ["kernel.shmmni"] = "4000" }, namespaces = { ipc = "host" } })
    assert.equal(before, helper.read("/proc/sys/net/ipv4/ip_forward"))
  end)
end)

describe("container: capabilities #userns", function()
  local names = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" }
  local function sets(capabilities, fields)
    fields = fields or {}
    fields.capabilities = capabilities
    return { status_of(fields, table.unpack(names)) }
  end
  local none = mask()
  local usual = mask("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
  it("are the usual small set, and none is inheritable", function()
    assert.same({ none, usual, usual, usual, none }, sets())
  end)
  it("are added and dropped, whatever their spelling", function()
    local expected = ("%016x"):format(tonumber(usual, 16) & ~(1 << bits.KILL) | 1 << bits.NET_RAW)
    assert.same({ none, expected, expected, expected, none },
      sets { add = { "cap_net_raw" }, drop = { "KILL" } })
    local one = mask "NET_RAW"
    assert.same({ none, one, one, one, none }, sets { drop = "all", add = { "NET_RAW" } })
  end)
  it("are none", function()
    assert.same({ none, none, none, none, none }, sets "none")
  end)
  it("are all that the caller may pass on", function()
    local list = carton.privilege.get().bounding
    local set = sets "all"
    local count = 0
    for i = 0, 63 do
      count = count + (tonumber(set[4], 16) >> i & 1)
    end
    assert.equal(#list, count)
    assert.same({ none, set[4], set[4], set[4], none }, set)
  end)
  it("are ambient for a user without privileges", function()
    local map = pcall(output, "true", { user = "33:34" }) and "33:34" or nil
    local one = mask "NET_BIND_SERVICE"
    assert.same({ one, map and one or usual, map and one or usual, usual, one },
      sets({ ambient = { "CAP_net_bind_service" } }, { user = map }))
    if map then
      assert.same({ none, none, none, usual, none }, sets(nil, { user = map }))
    end
  end)
  it("are refused when nobody knows them, or the caller has them not", function()
    assert.matches("NO_SUCH", tostring(helper.raises(sets, { add = { "NO_SUCH" } })))
    assert.matches("'adds'", tostring(helper.raises(sets, { adds = {} })))
    assert.matches("capabilities", tostring(helper.raises(sets, "some")))
    assert.matches("list of names", tostring(helper.raises(sets, { add = 1 })))
    local err = helper.raises_code("EPERM", sets, { drop = { "NET_RAW" }, ambient = { "NET_RAW" } })
    assert.equal("privilege.capabilities", err.step)
  end)
end)

describe("container: privileges and limits #userns", function()
  it("has no_new_privs unless it is switched off", function()
    assert.equal("1", (status_of({}, "NoNewPrivs")))
    assert.equal("0", (status_of({ no_new_privs = false }, "NoNewPrivs")))
  end)
  it("rlimits", function()
    assert.equal("77 99 0", output("echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c)",
      { rlimits = { nofile = { soft = 77, hard = 99 }, core = 0 } }))
    for _, init in ipairs { false, true } do -- fewer descriptors than a launch itself needs
      assert.matches("^0\n[48]$", output("ulimit -n; ulimit -c",
        { rlimits = { nofile = 0, core = 4096 }, init = init }))
    end
    assert.matches("nofiles", tostring(helper.raises(output, "true", { rlimits = { nofiles = 1 } })))
    assert.matches("soft is above hard", tostring(helper.raises(output, "true",
      { rlimits = { nofile = { soft = 2, hard = 1 } } })))
  end)
  it("sysctl of its own namespaces", function()
    assert.equal("1 4000", output("echo $(cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni)",
      { sysctl = { ["net.ipv4.ip_forward"] = 1, ["kernel/shmmni"] = "4000" } }))
    local err = helper.raises(output, "true", { sysctl = { ["kernel.panic"] = 1 } })
    assert.matches("sysctl.*kernel.panic", tostring(err))
    assert.matches("sysctl", tostring(helper.raises(output, "true", { sysctl = { ["net/../kernel/panic"] = 1 } })))
    helper.raises_code("EINVAL", output, "true", { sysctl = { ["net.ipv4.ip_forward"] = "plenty" } })
  end)
  it("time_offsets", function()
    local c <close> = sleeper { time_offsets = { monotonic = 86400, boottime = 864000 } }
    assert.not_equal(link("self", "time"), link(c:pid(), "time"))
    local up = tonumber(helper.read("/proc/uptime"):match("^%d+"))
    local inside = tonumber(output("cat /proc/uptime", { time_offsets = { boottime = 864000 } }):match("^%d+"))
    assert.is_true(inside - up >= 863999 and inside - up < 864600, inside - up)
  end)
  it("umask, oom_score_adj, personality", function()
    assert.equal("0027", output("umask", { umask = "0027" }))
    assert.equal("500", output("cat /proc/self/oom_score_adj", { oom_score_adj = 500 }))
    assert.equal("00040000", output("cat /proc/self/personality", { personality = "no_randomize" }))
  end)
  it("scheduler, ioprio, affinity", function()
    local c <close> = sleeper { scheduler = { policy = "batch", nice = 5 }, affinity = "0",
      ioprio = { class = "idle" } }
    local stat = helper.read("/proc/" .. c:pid() .. "/stat"):match("%) (.*)")
    local fields = {}
    for word in stat:gmatch("%S+") do
      fields[#fields + 1] = word
    end
    assert.equal("5", fields[17])
    assert.equal("3", fields[39]) -- SCHED_BATCH
    assert.matches("Cpus_allowed_list:%s+0\n", helper.read("/proc/" .. c:pid() .. "/status"))
    assert.equal("idle", output("ionice", { args = { "busybox", "ionice" }, ioprio = { class = "idle" } }))
  end)
end)

describe("container: descriptors #userns", function()
  it("are 0, 1 and 2 alone, whatever the caller leaks", function()
    local leaked = {}
    for i = 1, 100 do
      leaked[i] = posix.open("/etc/passwd", posix.O_RDONLY) -- without O_CLOEXEC
    end
    local seen = output("ls /proc/self/fd | tr '\\n' ' '")
    local c <close> = sleeper()
    local there = posix.dir("/proc/" .. c:pid() .. "/fd")
    for _, fd in ipairs(leaked) do
      posix.close(fd)
    end
    assert.equal("0 1 2 3 ", seen .. (seen:sub(-1) == " " and "" or " ")) -- 3 is the directory that ls reads
    table.sort(there)
    assert.same({ ".", "..", "0", "1", "2" }, there)
  end)
  it("are given by name, in the order of the names", function()
    local dir = helper.tmpdir()
    local a <close> = carton.exec.open(dir .. "/a", "w")
    local b <close> = carton.exec.open(dir .. "/b", "w")
    local seen = output("echo first >&3; echo second >&4; ls /proc/self/fd | wc -l; "
      .. "echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$", { descriptors = { zeta = b, alpha = a } })
    assert.equal("6\n2 alpha:zeta 1 1", seen)
    assert.equal("first\n", helper.read(dir .. "/a"))
    assert.equal("second\n", helper.read(dir .. "/b"))
    assert.equal("2 2", output("echo $LISTEN_PID $$", { descriptors = { a = a }, init = true }))
  end)
  it("go with a terminal, too", function()
    local dir = helper.tmpdir()
    local file <close> = carton.exec.open(dir .. "/a", "w")
    local c <close> = carton.container { rootfs = helper.rootfs(), terminal = true,
      descriptors = { file = file }, args = { "sh", "-c", "test -t 0 && echo kept >&3" } }
    c:start()
    assert.equal(0, c:wait(20).code)
    assert.equal("kept\n", helper.read(dir .. "/a"))
  end)
  it("have names that the program can read", function()
    for _, name in ipairs { "a:b", "", "a\nb", 1 } do
      assert.matches("'descriptors'", tostring(helper.raises(output, "true",
        { descriptors = { [name] = carton.exec.null() } })))
    end
  end)
end)

describe("container: terminal #userns", function()
  local function typed(fields)
    fields.rootfs, fields.terminal = helper.rootfs(), fields.terminal or true
    local c <close> = carton.container(fields):start()
    local said = {}
    for data in function() return c.terminal:read() end do
      said[#said + 1] = data
    end
    c:wait()
    return (table.concat(said):gsub("\r", ""))
  end
  it("is standard input, output, error, /dev/console and controlling", function()
    assert.equal("/dev/pts/0\nyes\n12 34\n136\nxterm\n", typed { terminal = { rows = 12, columns = 34 },
      args = { "sh", "-c", "tty; test -t 1 && test -t 2 && echo yes; stty size; echo $((0x$(stat -c %t /dev/console)))"
        .. "; echo $TERM > /dev/tty" } })
  end)
  it("excludes other connections, and unknown words", function()
    for name, value in pairs { stdin = "null", stdout = "capture", stderr = "stdout" } do
      assert.matches(name, helper.raises(carton.container,
        { rootfs = "/", args = { "x" }, terminal = true, [name] = value }))
    end
    assert.matches("colums", tostring(helper.raises(carton.container,
      { rootfs = "/", args = { "x" }, terminal = { colums = 3 } })))
  end)
end)

teardown(helper.cleanup)
