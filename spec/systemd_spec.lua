-- SPDX-License-Identifier: MIT
-- Scopes of systemd: those with the tags manager (root) and session (a user who has nothing delegated) run in the
-- virtual machine that systemd runs (`make test-vm`); what it may answer is tried out with a service of our own.
local posix = require("posix")
local carton = require("carton")
local dbus = require("carton.dbus")
local helper = require("spec.helper")
local service = require("spec.service")

local TOP <const> = "/sys/fs/cgroup"
local MIB <const> = 1 << 20

local function scopes()
  return helper.run({ "find", TOP, "-name", "carton-*.scope" }).stdout
end

local function none_left()
  return helper.eventually(function() return scopes() == "" end)
end

local function cgroup_of(pid)
  return helper.read("/proc/" .. pid .. "/cgroup"):match("0::(/[^\n]*)")
end

--- Run Lua in the program, in a process of its own.
local function lua(script, env)
  for _, name in ipairs { "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "CARTON_CGROUP_MANAGER" } do
    env = env or {}
    env[name] = env[name] or os.getenv(name)
  end
  return helper.carton("-e", 'local carton, posix = require "carton", require "posix"\n' .. script, { env = env })
end

local SLEEP <const> = [[local function start(fields)
    return carton.container { rootfs = carton.rootfs.host(), args = { "sleep", "60" }, name = "spec",
      limits = fields or { pids = 9 } }:start()
  end
  local function cgroup(pid)
    return io.open("/proc/" .. pid .. "/cgroup"):read("a"):match("0::(/[^\n]*)")
  end
]]

describe("a user without a delegated cgroup #session", function()
  local own = cgroup_of("self")
  it("has limits that hold, in a scope that its systemd makes and removes", function()
    assert.matches("/session%-1.scope$", own)
    local status = lua [[local status = carton.container { rootfs = carton.rootfs.host(), stderr = "null",
      args = { "tail", "/dev/zero" }, limits = { memory = "32M", swap = 0 } }:run()
      print(status.cause, status.stats.memory.max, status.stats.memory.oom_kill >= 1)]]
    assert.equal("oom\t" .. 32 * MIB .. "\ttrue\n", status.stdout, status.stderr)
    assert.is_true(none_left())
    assert.equal(own, cgroup_of("self"))
  end)
  it("has one scope for all that a script starts, and another for another", function()
    local script = SLEEP .. [[
      local a, b = start(), start()
      local inside = a:exec { args = { "sleep", "60" } }
      print(cgroup("self")) print(cgroup(a:pid())) print(cgroup(b:pid())) print(cgroup(inside:pid()))
      a:update { pids = 11 }
      print(a.group:read("pids.max"))
      a:close() b:close()]]
    local status = lua(script)
    local mine, a, b, inside, pids = status.stdout:match("^(.*)\n(.*)\n(.*)\n(.*)\n(.*)\n$")
    local scope = (mine or ""):match("^(/user.slice/user%-%d+.slice/user@%d+.service/app.slice/carton%-%d+%-%x+.scope)"
      .. "/supervisor$")
    assert.is_string(scope, status.stdout .. status.stderr)
    local escaped = scope:gsub("%p", "%%%0")
    assert.matches("^" .. escaped .. "/carton%-spec%-%x+$", a)
    assert.matches("^" .. escaped .. "/carton%-spec%-%x+$", b)
    assert.equal(a, inside)
    assert.equal("11", pids)
    assert.not_equal(scope, lua(script).stdout:match("^(.-%.scope)"))
    assert.is_true(none_left())
  end)
  it("finds it also without a bus, and by the bus's address", function()
    local place = helper.tmpdir()
    posix.mkdir(place .. "/systemd")
    posix.link(os.getenv("XDG_RUNTIME_DIR") .. "/systemd/private", place .. "/systemd/private", true)
    local script = SLEEP .. 'local c = start() print(cgroup("self")) c:close()'
    for _, env in ipairs { { XDG_RUNTIME_DIR = place, DBUS_SESSION_BUS_ADDRESS = "unix:path=/nonexistent" },
      { XDG_RUNTIME_DIR = "/nonexistent", DBUS_SESSION_BUS_ADDRESS = "unix:abstract=x;unix:path="
        .. os.getenv("XDG_RUNTIME_DIR") .. "/bus,guid=0123" } } do
      local status = lua(script, env)
      assert.matches("/app.slice/carton%-%d+%-%x+.scope/supervisor\n$", status.stdout, nil, status.stderr)
    end
    assert.is_true(none_left())
  end)
  it("leaves nothing when it is killed", function()
    local status = lua(SLEEP .. 'start() posix.kill(posix.getpid("pid"), 9)')
    assert.equal("SIGKILL", status.signal)
    assert.is_true(none_left())
  end)
  it("is told what to do where no systemd of its own runs, or none is to be asked", function()
    local nowhere = { XDG_RUNTIME_DIR = "/nonexistent", DBUS_SESSION_BUS_ADDRESS = "unix:path=/nonexistent" }
    local status = lua(SLEEP .. "start()", nowhere)
    assert.equal(125, status.code)
    assert.matches("session-1.scope: this cgroup is not delegated to this user; no systemd of this user's runs "
      .. "(EACCES); loginctl enable-linger", status.stderr, 1, true)
    status = lua(SLEEP .. 'start { pids = 9, manager = "cgroupfs" }')
    assert.matches("not delegated to this user (EACCES); systemd-run --user", status.stderr, 1, true)
    status = lua("local text = carton.doctor.text(carton.doctor.check()) print(text)")
    assert.matches("cgroup delegation +by systemd: /run/user/%d+/bus", status.stdout)
    status = lua("local text = carton.doctor.text(carton.doctor.check()) print(text)", nowhere)
    assert.matches("loginctl enable-linger", status.stdout, 1, true)
  end)
  it("hears what systemd refuses, in its words", function()
    local err = helper.raises(require("carton.systemd").start, 1)
    assert.matches("^carton%-1%-%x+.scope$", err.path)
    assert.matches("systemd: .+ %(org.freedesktop.DBus.Error[%w.]+%)", tostring(err))
    assert.is_true(none_left())
  end)
  it("could not have its containers there while it is not", function() -- why it goes in itself
    local sleep <close> = carton.exec.spawn { steps = { { "exec.die_with_parent" },
      { "exec.exec", args = { "/bin/sleep", "60" }, env = {} } } }
    local path = require("carton.systemd").start(sleep:pid())
    local scope <close> = carton.cgroup.open_directory(TOP .. path)
    local group <close> = scope:create("sub")
    local err = helper.raises(carton.exec.spawn, { cgroup = group,
      steps = { { "exec.exec", args = { "/bin/true" } } } })
    group:remove()
    sleep:kill("SIGKILL")
    sleep:wait()
    assert.equal("EACCES", err.code)
    assert.is_true(none_left())
  end)
end)

local function container(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, name = "spec", stdin = "null", stdout = "capture",
    stderr = "capture", limits = { pids = 9, manager = "systemd" }, timeout = 60 }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all)
end

describe("root's scopes #manager", function()
  it("are made where that is said, hold limits, and are gone with what was in them", function()
    local before, own = helper.world(), cgroup_of("self")
    do
      local a <close> = container():start()
      local b <close> = container():start()
      local inside <close> = a:exec { args = { "sleep", "60" } }
      local scope = cgroup_of(a:pid()):match("^(/machine.slice/carton%-%d+%-%x+.scope)/carton%-spec%-%x+$")
      assert.is_string(scope, cgroup_of(a:pid()))
      assert.equal(scope, cgroup_of(b:pid()):match("^(.-%.scope)/"))
      assert.equal(cgroup_of(a:pid()), cgroup_of(inside:pid()))
      assert.equal(TOP .. scope .. "\n", scopes())
      assert.equal(own, cgroup_of("self"))
      a:close()
      assert.equal("9", b.group:read("pids.max"))
      assert.equal(TOP .. scope .. "\n", scopes())
    end
    assert.is_true(none_left())
    local status = container({ rootfs = carton.rootfs.host(), args = { "tail", "/dev/zero" },
      limits = { memory = "32M", swap = 0, manager = "systemd" } }):run()
    assert.equal("oom", status.cause)
    helper.raises(container({ cwd = "/nonexistent" }).start, container { cwd = "/nonexistent" })
    helper.raises(container({ cgroup = { ["pids.max"] = "banana" } }).start,
      container { cgroup = { ["pids.max"] = "banana" } })
    assert.is_true(none_left())
    assert.same(before, helper.world())
  end)
  it("are made where the environment says so, and otherwise are not", function()
    local script = SLEEP .. "local c = start() print(cgroup(c:pid())) c:close()"
    assert.matches("^/machine.slice/", lua(script, { CARTON_CGROUP_MANAGER = "systemd" }).stdout)
    assert.matches("^/carton%-spec%-%x+\n$", lua(script).stdout)
    assert.matches("^/carton%-spec%-%x+\n$", lua(SLEEP .. [[local c = start { pids = 9, manager = "cgroupfs" }
      print(cgroup(c:pid())) c:close()]], { CARTON_CGROUP_MANAGER = "systemd" }).stdout)
    local status = lua(script, { CARTON_CGROUP_MANAGER = "dockerd" })
    assert.equal(125, status.code)
    assert.matches("\"systemd\" or \"cgroupfs\" expected, got 'dockerd'", status.stderr)
    assert.is_true(none_left())
  end)
  it("are gone, with the process that holds them, when the launcher is killed", function()
    local status = lua(SLEEP .. [[start { pids = 9, manager = "systemd" }
      local list = io.popen("cat /sys/fs/cgroup/machine.slice/carton-*.scope/supervisor/cgroup.procs"):read("a")
      io.write(list) io.stdout:flush()
      posix.kill(posix.getpid("pid"), 9)]])
    local pid = status.stdout:match("^(%d+)\n$")
    assert.is_string(pid, status.stdout .. status.stderr)
    assert.is_true(none_left())
    assert.is_nil(posix.stat("/proc/" .. pid))
  end)
end)

describe("groups of root #manager", function()
  -- A script in a unit; it says where its container is, and the limits of the directory above.
  local function inside(properties, prepare)
    local script = SLEEP .. (prepare or "") .. [[
      local c = start { memory = "1G", pids = 9 }
      local path = "/sys/fs/cgroup" .. cgroup(c:pid())
      print(path, c.group:read("memory.max"))
      local above = path:match("^(.*)/")
      local file = io.open(above .. "/memory.max")
      print(file and file:read("a"):match("%d+"))
      c:close()]]
    local args = { "systemd-run", "--quiet", "--scope", "--unit=carton-spec-outer" }
    for _, property in ipairs(properties) do
      table.move({ "-p", property }, 1, 2, #args + 1, args)
    end
    table.move({ helper.program, "-e", 'local carton, posix = require "carton", require "posix"\n' .. script }, 1, 3,
      #args + 1, args)
    local result = helper.run(args)
    assert.equal(0, result.code, result.stderr)
    return result.stdout
  end
  it("lie inside of the unit that was given to it, whose limits hold", function()
    local seen = inside { "Delegate=yes", "MemoryMax=64M" }
    assert.matches("/carton%-spec%-outer.scope/carton%-spec%-%x+\t" .. (1 << 30) .. "\n" .. 64 * MIB .. "\n", seen)
    seen = inside({ "Delegate=yes", "MemoryMax=64M" }, [[
      local own = "/sys/fs/cgroup" .. cgroup(posix.getpid("pid")) .. "/sub"
      posix.mkdir(own)
      local file = io.open(own .. "/cgroup.procs", "w") file:write(posix.getpid("pid")) file:close()
      file = io.open(own:match("^(.*)/") .. "/cgroup.subtree_control", "w") file:write("+memory +pids") file:close() ]])
    assert.matches("/carton%-spec%-outer.scope/sub/carton%-spec%-%x+\t", seen)
  end)
  it("lie at the top where nothing was given to it", function()
    assert.matches("^" .. TOP .. "/carton%-spec%-%x+\t" .. (1 << 30) .. "\nnil\n", inside { "MemoryMax=64M" })
  end)
  it("are ended by the unit's limit", function()
    local file = helper.tmpdir() .. "/status"
    local result = helper.run { "systemd-run", "--quiet", "--scope", "--unit=carton-spec-outer", "-p", "Delegate=yes",
      "-p", "MemoryMax=64M", "-p", "MemorySwapMax=0", helper.program, "run", "--memory", "1G", "--status-file", file,
      "host", "tail", "/dev/zero" }
    assert.equal(137, result.code, result.stderr)
    assert.is_true(tonumber(helper.read(file):match('"peak": (%d+)')) < 64 * MIB)
  end)
end)

--- What a bus says on the way to a scope; `start` and `job` answer for systemd.
local function talk(start, job)
  return function(fd)
    service.greet(fd)
    for _, member in ipairs { "Hello", "AddMatch", "Subscribe", "StartTransientUnit" } do
      local serial = service.await(fd, member)
      if member == "StartTransientUnit" then
        service.say(fd, start(serial))
        service.say(fd, job or "")
      else
        service.say(fd, service.message { reply = serial })
      end
    end
    service.receive(fd)
  end
end

local function job_removed(result)
  return service.message { kind = 4, fields = { { 3, "s", "s4", "JobRemoved", "\0" } }, signature = "uoss",
    body = dbus.marshal("uoss", 1, "/job/1", "x.scope", result) }
end

local function job_made(serial)
  return service.message { reply = serial, body = dbus.marshal("o", "/job/1"), signature = "o" }
end

describe("systemd #rootless", function()
  local systemd = require("carton.systemd")
  local is_running = systemd.is_running
  before_each(function() systemd.is_running = function() return true end end)
  after_each(function()
    systemd.is_running = is_running
    posix.setenv("DBUS_SESSION_BUS_ADDRESS", nil)
  end)
  local function fails(code, pattern, ...)
    local path, pid = service.serve(talk(...))
    posix.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=" .. path)
    local before = helper.fds()
    local err = helper.raises(systemd.start, posix.getpid("pid"))
    assert.same(before, helper.fds())
    posix.wait(pid)
    assert.equal(code, err.code, tostring(err))
    assert.matches(pattern, tostring(err))
  end
  it("is not taken at its word, and its own words are passed on", function()
    fails("EIO", "systemd: Unit exists. %(org.freedesktop.systemd1.UnitExists%)", function(serial)
      return service.message { kind = 3, body = dbus.marshal("s", "Unit exists."),
        fields = { { 4, "s", "s4", "org.freedesktop.systemd1.UnitExists", "\0" }, { 5, "u", "I4", serial } } }
    end)
    fails("EIO", "systemd could not start it: failed", job_made, job_removed("failed"))
    fails("EIO", "systemd says it is there, and process %d+ is in /", job_made, job_removed("done"))
    fails("ECONNRESET", "connection was closed", function() posix._exit(0) end)
  end)
  it("is not there on a host that it does not run", function()
    systemd.is_running = function() return false end
    assert.matches("systemd does not run this host", tostring(helper.raises(systemd.start, 1)))
  end)
end)

teardown(helper.cleanup)
