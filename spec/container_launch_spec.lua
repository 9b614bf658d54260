-- SPDX-License-Identifier: MIT
-- A container's launch: fields that are refused, hooks, errors in each phase, further programs in a running one.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local output, shell = helper.output, helper.shell

local KINDS = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" }
local SETS = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp" }

local function sleeper(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all):start()
end

local function status_of(pid)
  local text = helper.read("/proc/" .. pid .. "/status")
  local values = {}
  for _, name in ipairs(SETS) do
    values[name] = text:match(name .. ":%s+(%S+)")
  end
  return values
end

describe("container: fields", function()
  local function refused(pattern, fields)
    local message = helper.raises(function() carton.container(fields) end)
    assert.equal("string", type(message))
    assert.matches("^spec/container_launch_spec.lua:%d+: container: .*" .. pattern, (message:gsub("^/.*/spec", "spec")))
  end
  it("are refused by name when unknown", function()
    refused("unknown field 'argz'", { rootfs = "/", args = { "x" }, argz = 1 })
    refused("unknown field '1'", { "x", rootfs = "/", args = { "x" } })
    refused("'on.stopped'.*no such hook", { rootfs = "/", args = { "x" }, on = { stopped = print } })
    refused("'on.start'.*no such hook", { rootfs = "/", args = { "x" }, on = { start = print } })
    refused("'on.started'.*function", { rootfs = "/", args = { "x" }, on = { started = 1 } })
  end)
  it("are refused when they are lists of which some would be left out", function()
    refused("'mounts': a list expected, got the key 'target'",
      { rootfs = "/", args = { "x" }, mounts = { target = "/x" } })
    refused("'devices': a list expected, got the key 'path'",
      { rootfs = "/", args = { "x" }, devices = { path = "/x" } })
    refused("'args': item 3 is there, but item 2 is nil", { rootfs = "/", args = { "x", nil, "z" } })
    assert.is_true(pcall(carton.container, { rootfs = "/", args = { [0] = "script", "x" } }))
  end)
  it("are refused by name when of a wrong type", function()
    for name, value in pairs { args = "x", env = "x", cwd = 1, user = true, hostname = 1, name = {},
      domainname = 1, terminal = 1, namespaces = "x", idmap = 1, mounts = "x", devices = "x",
      capabilities = 1, rlimits = 1, timeout = "1", on = print, init = 1, readonly = 1, umask = 22,
      oom_score_adj = "1", scheduler = "x", ioprio = "x", affinity = 1, personality = 1, sysctl = "x",
      time_offsets = 1, no_new_privs = 1, die_with_parent = 1, descriptors = "x", trace = 1, path = 1,
      keyring = 1, label = "x", landlock = "x", no_userns = 1 } do
      local fields = { rootfs = "/", args = { "x" } }
      fields[name] = value
      refused("field '" .. name .. "': .* expected, got " .. type(value), fields)
    end
    refused("table of fields expected, got string", "x")
    refused("'rootfs'.*got number", { rootfs = 1, args = { "x" } })
    refused("'args': item 2: string expected, got number", { rootfs = "/", args = { "x", 2 } })
    refused("'env.PORT': string expected, got number", { rootfs = "/", args = { "x" }, env = { PORT = 80 } })
    refused("'namespaces.net': .*a path or a container expected",
      { rootfs = "/", args = { "x" }, namespaces = { net = "hots" } })
  end)
  it("needed are rootfs and args", function()
    refused("'rootfs' is missing", { args = { "x" } })
    refused("'rootfs': a path or a list of steps", { rootfs = {}, args = { "x" } })
    refused("'rootfs': a path or a list of steps", { rootfs = { "/srv" }, args = { "x" } })
    refused("'args'", { rootfs = "/" })
    refused("'args'", { rootfs = "/", args = {} })
  end)
  it("hold no NUL byte, and arguments are strings #userns", function()
    for _, fields in ipairs { { args = { "a\0b" } }, { args = { 1 } }, { args = { "x", {} } }, { cwd = "/\0" },
      { hostname = "a\0b" }, { rootfs = "/srv\0x" }, { mounts = { "/etc\0:/x" } } } do
      local err = tostring(helper.raises(sleeper, fields))
      assert.is_truthy(err:find("NUL") or err:find("string"), err)
    end
  end)
  it("a table that is changed later changes nothing", function()
    local fields = { rootfs = "/", args = { "x" }, hostname = "one" }
    local c = carton.container(fields)
    fields.hostname = "two"
    assert.matches("hostname name=one", carton.plan.text(c:compile()))
  end)
end)

describe("container: a root that is none #userns", function()
  it("is said what it is", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/file", "x")
    local err = helper.raises_code("ENOENT", shell, "true", { rootfs = dir .. "/missing" })
    assert.matches(dir:gsub("%-", "%%-") .. "/missing", tostring(err))
    helper.raises_code("ENOENT", shell, "true", { rootfs = "no/such/place" })
    helper.raises_code("ENOENT", shell, "true", { rootfs = "" })
    err = helper.raises_code("ENOTDIR", shell, "true", { rootfs = dir .. "/file" })
    assert.matches(dir:gsub("%-", "%%-") .. "/file", tostring(err))
    posix.mkdir(dir .. "/empty")
    err = helper.raises(shell, "true", { rootfs = dir .. "/empty" })
    assert.equal("exec.exec", err.step)
    assert.equal("ENOENT", err.code)
  end)
  it("may not be searched #rootless", function()
    if posix.access("/root", "x") then
      return pending("this user may search /root")
    end
    local err = helper.raises_code("EACCES", shell, "true", { rootfs = "/root/image" })
    assert.matches("/root/image", tostring(err))
  end)
end)

describe("container: nothing of the host #userns", function()
  it("is in its mountinfo, and nothing of it on the host", function()
    local before = helper.world()
    local c <close> = sleeper()
    local list = carton.mount.list(c:pid())
    local seen = {}
    for _, mount in ipairs(list) do
      seen[mount.target] = true
      assert.is_truthy(mount.target == "/" or mount.target:find("^/proc") or mount.target:find("^/dev")
        or mount.target:find("^/sys"), mount.target)
      assert.is_nil(mount.propagation and mount.propagation:find("shared"))
    end
    assert.is_true(seen["/"] and seen["/proc"] and seen["/dev"] and seen["/sys"])
    assert.same(before.mounts, helper.world().mounts)
  end)
end)

describe("container: hooks #userns", function()
  it("are called in order, created before the root is entered", function()
    local order = {}
    local own = posix.readlink("/proc/self/ns/mnt")
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sh", "-c", "exit 5" }, stdin = "null",
      on = {
        created = function(c)
          order[#order + 1] = "created"
          assert.not_equal(own, posix.readlink("/proc/" .. c:pid() .. "/ns/mnt"))
          assert.not_equal("/bin/busybox", posix.readlink("/proc/" .. c:pid() .. "/exe"))
          assert.equal(posix.stat("/").ino, posix.stat("/proc/" .. c:pid() .. "/root/").ino)
        end,
        started = function(c)
          order[#order + 1] = "started"
          assert.is_true(c:pid() > 0)
        end,
        exited = function(_, status)
          order[#order + 1] = "exited"
          assert.equal(5, status.code)
        end,
      } }
    assert.equal(5, c:run().code)
    assert.same({ "created", "started", "exited" }, order)
  end)
  for _, name in ipairs { "created", "started", "exited" } do
    it("an error in " .. name .. " is raised, and nothing is left", function()
      local before = helper.world()
      local thrown = { "any value" }
      local c = carton.container { rootfs = helper.rootfs(), stdin = "null",
        args = { name == "exited" and "true" or "sleep", "60" },
        on = { [name] = function() error(thrown) end } }
      assert.equal(thrown, helper.raises(c.run, c))
      assert.is_false(c:is_running())
      if name == "exited" then
        assert.equal(0, c.status.code)
        c:close()
      end
      assert.same(before, helper.world())
    end)
  end
  it("may kill what they are called for", function()
    local before = helper.world()
    for _ = 1, 20 do -- it is gone before or after it could read our answer
      local err = helper.raises(shell, "true", { on = { created = function(c) c:kill("SIGKILL") end } })
      assert.matches("killed before it came to exec", tostring(err))
    end
    local status = shell("sleep 60", { on = { started = function(c) c:kill() end } })
    assert.equal("SIGKILL", status.signal)
    assert.same(before, helper.world())
  end)
end)

describe("container: errors in each phase #userns", function()
  local joined
  local function name_of(step)
    return step[1] == "sync" and "sync " .. step.name or step[1]
  end
  it("name the step, and nothing is left over", function()
    joined = sleeper()
    local before = helper.world()
    local phases = {
      ["mount.bind"] = { rootfs = "/nonexistent" },
      ["mount.filesystem"] = { mounts = { { type = "nosuchfs", target = "/tmp" } } },
      ["mount.device"] = { devices = { "/dev/no-such-device" } },
      ["privilege.sysctl"] = { sysctl = { ["net.no.such"] = 1 } },
      ["privilege.oom_score_adj"] = { oom_score_adj = 5000 },
      ["privilege.user"] = { user = "no-such-user" },
      ["exec.chdir"] = { cwd = "/no/such" },
      ["privilege.affinity"] = { affinity = "1000" },
      ["privilege.scheduler"] = { scheduler = { nice = 99 } },
      ["exec.exec"] = { args = { "no-such-program" } },
      ["namespace.hostname"] = { hostname = ("x"):rep(100) },
      ["namespace.time_offsets"] = { time_offsets = { boottime = -1000000000 } },
    }
    for step, fields in pairs(phases) do
      for _, late in ipairs { false, true } do
        local changed = { namespaces = late and { net = joined } or nil }
        for key, value in pairs(fields) do
          changed[key] = value
        end
        local err = helper.raises(shell, "true", changed)
        assert.equal(step, err.step, tostring(err))
        assert.is_truthy(err.code, step)
        assert.same(before, helper.world(), step)
      end
    end
    joined:close()
  end)
  it("SIGKILL in the middle is one of them", function()
    local other = sleeper()
    local before = helper.world()
    for _, net in ipairs { true, other } do
      local err = helper.raises(shell, "true", { namespaces = { net = net },
        on = { created = function(c) posix.kill(c:pid(), posix.SIGKILL) end } })
      assert.equal("sync", err.step)
      assert.matches("killed before it came to exec", tostring(err))
      assert.same(before, helper.world())
    end
    other:close()
  end)
  it("what was opened for a launch is closed at once, not by a collection", function()
    local other <close> = sleeper()
    local function count()
      return #posix.dir("/proc/self/fd")
    end
    collectgarbage()
    collectgarbage()
    collectgarbage("stop")
    local before = count()
    local ok, err = pcall(function()
      shell("true", { namespaces = { net = other, ipc = other } })
      helper.raises(shell, "true", { namespaces = { net = other }, cwd = "/no/such" })
    end)
    local after = count()
    collectgarbage("restart")
    assert.is_true(ok, tostring(err))
    assert.equal(before, after)
  end)
  it("a step of a layout is named with its place in the plan", function()
    local c = carton.container { rootfs = carton.steps(carton.rootfs.dir(helper.rootfs()),
      { { "mount.move", source = "/nowhere", target = "/tmp" } }), args = { "true" } }
    local err = helper.raises(c.run, c)
    assert.equal("mount.move", name_of(c.compiled.steps[err.index]))
    assert.equal("/nowhere", err.source)
  end)
end)

describe("container:exec #userns", function()
  it("is in the same namespaces, root, capabilities", function()
    local c <close> = sleeper { capabilities = { drop = { "KILL" }, add = { "NET_RAW" } }, hostname = "inside",
      rlimits = { nofile = 50 } }
    local other <close> = c:exec { args = { "sleep", "60" }, stdin = "null" }
    for _, kind in ipairs(KINDS) do
      assert.equal(posix.readlink(("/proc/%d/ns/%s"):format(c:pid(), kind)),
        posix.readlink(("/proc/%d/ns/%s"):format(other:pid(), kind)), kind)
    end
    assert.same(status_of(c:pid()), status_of(other:pid()))
    assert.equal(helper.read("/proc/" .. c:pid() .. "/limits"), helper.read("/proc/" .. other:pid() .. "/limits"))
    local status = c:exec { args = { "sh", "-c", "hostname; pwd; ps; exit 6" }, stdout = "capture",
      stdin = "null" }:wait()
    assert.equal(6, status.code)
    assert.matches("^inside\n/\n.*1 .*sleep 60", status.stdout)
  end)
  it("is in those of the container, too, when a further program is asked for it, or joined", function()
    local c <close> = sleeper { idmap = "single" }
    local other <close> = c:exec { args = { "sleep", "60" }, stdin = "null" }
    local third <close> = other:exec { args = { "sleep", "60" }, stdin = "null" }
    for _, kind in ipairs(KINDS) do
      assert.equal(posix.readlink(("/proc/%d/ns/%s"):format(c:pid(), kind)),
        posix.readlink(("/proc/%d/ns/%s"):format(third:pid(), kind)), kind)
    end
    local joint <close> = sleeper { namespaces = { uts = other } }
    assert.equal(posix.readlink(("/proc/%d/ns/user"):format(c:pid())),
      posix.readlink(("/proc/%d/ns/user"):format(joint:pid())))
    c:kill("SIGKILL")
    c:wait()
    assert.matches("is not running", tostring(helper.raises(function()
      other:exec { args = { "true" } }
    end)))
  end)
  it("has no descriptor but 0, 1 and 2", function()
    local c <close> = sleeper()
    local leaked = posix.open("/etc/passwd", posix.O_RDONLY)
    local other <close> = c:exec { args = { "sleep", "60" }, stdin = "null" }
    posix.close(leaked)
    local there = posix.dir("/proc/" .. other:pid() .. "/fd")
    table.sort(there)
    assert.same({ ".", "..", "0", "1", "2" }, there)
  end)
  it("has fields of its own", function()
    local c <close> = sleeper { env = { A = "outer" }, no_new_privs = false }
    local hooks = {}
    local status = c:exec {
      args = { "sh", "-c", "echo $A $(pwd) $(umask) $(ulimit -n) $(id -u) $LISTEN_FDS; cat; "
        .. "grep CapEff /proc/self/status" },
      env = { A = "inner" }, cwd = "/usr", umask = "0077", rlimits = { nofile = 55 }, capabilities = "none",
      stdin = "fed\n", stdout = "capture", timeout = 20, descriptors = { null = carton.exec.null() },
      on = { started = function(p) hooks[1] = p:pid() end, exited = function(_, s) hooks[2] = s.code end },
    }:wait()
    assert.equal("inner /usr 0077 55 0 1\nfed\nCapEff:\t0000000000000000\n", status.stdout)
    assert.is_true(hooks[1] > 0)
    assert.equal(0, hooks[2])
  end)
  it("looks users up in the container", function()
    local c <close> = sleeper()
    assert.is_true(pcall(output, "true", { user = "33:34" }) == pcall(c.exec, c,
      { args = { "true" }, user = "web", stdin = "null" }))
    local err = helper.raises_code("ENOENT", c.exec, c, { args = { "true" }, user = "daemon" }) -- one of the host
    assert.matches("has no such user", tostring(err))
  end)
  it("has a terminal with a size", function()
    local c <close> = sleeper()
    local shell_in <close> = c:exec { args = { "sh", "-c", "stty size; tty" }, terminal = { rows = 7, columns = 9 } }
    local said = ""
    for data in function() return shell_in.terminal:read() end do
      said = said .. data
    end
    assert.equal("7 9\r\n/dev/pts/0\r\n", said)
  end)
  it("has a time-out, and can be killed without the container", function()
    local c <close> = sleeper()
    local status = c:exec { args = { "sleep", "60" }, stdin = "null", timeout = 0.2 }:wait()
    assert.equal("timeout", status.cause)
    local other <close> = c:exec { args = { "sleep", "60" }, stdin = "null" }
    other:kill("TERM")
    assert.equal("SIGTERM", other:wait(20).signal)
    assert.is_true(c:is_running())
  end)
  it("works in a container that joined others", function()
    local first <close> = sleeper { hostname = "first" }
    local second <close> = sleeper { namespaces = { net = first, uts = first, pid = first } }
    local status = second:exec { args = { "sh", "-c", "hostname; ps | grep -c 'sleep 6[0]'" }, stdin = "null",
      stdout = "capture" }:wait()
    assert.equal("first\n2\n", status.stdout)
  end)
  it("refuses fields by name, and says what failed", function()
    local c <close> = sleeper()
    local before = helper.world()
    for pattern, fields in pairs {
      ["exec: unknown field 'rootfs'"] = { args = { "x" }, rootfs = "/" },
      ["exec: field 'timeout': number expected"] = { args = { "x" }, timeout = "1" },
      ["exec: field 'cwd': string expected"] = { args = { "x" }, cwd = 1 },
      ["'args'"] = { args = {} },
      ["'on.created'.*no such hook"] = { args = { "x" }, on = { created = print } },
    } do
      assert.matches("container_launch_spec.lua:%d+: .*" .. pattern,
        helper.raises(function() c:exec(fields) end))
    end
    assert.matches("table of fields", helper.raises(c.exec, c))
    assert.equal("exec.exec", helper.raises_code("ENOENT", c.exec, c, { args = { "no-such" } }).step)
    helper.raises_code("ENOENT", c.exec, c, { args = { "true" }, cwd = "/no/such" })
    helper.raises_code("ENOENT", c.exec, c, { args = { "true" }, user = "no-such" })
    assert.same(before, helper.world())
    assert.is_true(c:is_running())
  end)
  it("is refused in one that does not run", function()
    local c = sleeper()
    c:kill()
    c:wait()
    assert.matches("not running", helper.raises(c.exec, c, { args = { "true" } }))
    c:close()
    local dying <close> = sleeper()
    posix.kill(dying:pid(), posix.SIGKILL)
    carton.exec.poll({ { dying.process, "r" } }, 20)
    local err = helper.raises(dying.exec, dying, { args = { "true" } })
    assert.equal("ESRCH", err.code, tostring(err))
  end)
  it("ends with the container, and leaves nothing", function()
    local before = helper.world()
    local c = sleeper()
    local other = c:exec { args = { "sleep", "60" }, stdin = "null" }
    c:close()
    assert.equal("SIGKILL", other:wait(20).signal)
    other:close()
    assert.same(before, helper.world())
  end)
  it("has no more power than its user when it is executed, as the first program has none", function()
    if not helper.is_root then
      return -- one id is all that there is
    end
    local root = helper.rootfs(true)
    os.execute(("cp '%s/bin/busybox' '%s/bin/private'; chmod 700 '%s/bin/private'"):format(root, root, root))
    local args, ambient = { "/bin/private", "true" }, { ambient = { "DAC_OVERRIDE" } }
    for _, init in ipairs { false, true } do
      local fields = { rootfs = root, args = args, user = "1000", init = init }
      helper.raises_code("EACCES", helper.shell, "", fields)
      fields.user = "0"
      assert.equal(127, helper.shell("", fields).code) -- no such applet: it ran
      fields.user, fields.capabilities = "1000", ambient
      assert.equal(127, helper.shell("", fields).code)
      local c <close> = helper.start("sleep 60", { rootfs = root, init = init })
      helper.raises_code("EACCES", c.exec, c, { args = args, user = "1000" })
      assert.equal(127, c:exec { args = args, stderr = "null" }:wait().code)
      assert.equal(127, c:exec { args = args, user = "1000", capabilities = ambient, stderr = "null" }:wait().code)
    end
  end)
  it("a plain output works beside it", function()
    assert.equal("x", output("echo x"))
  end)
end)

teardown(helper.cleanup)
