-- SPDX-License-Identifier: MIT
-- Control groups: limits that really hold, what is told of them, nothing left behind. Those with the tag cgroup2
-- need a host with cgroup v2 (`make test-vm`); all others hold on v1 and v2 alike.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

local hierarchy = require("carton.hierarchy")
local eventually = helper.eventually

local MIB <const> = 1 << 20

local groups, start = helper.groups, helper.start

local function run(script, limits, fields)
  fields = fields or {}
  fields.limits = limits
  local c <close> = start(script, fields)
  return c:wait()
end

describe("limits #cgroup", function()
  it("end what takes more memory than it may, and say so", function()
    local status = run("exec tail /dev/zero", { memory = 32 * MIB, swap = 0 }, { rootfs = carton.rootfs.host() })
    assert.equal("oom", status.cause)
    assert.equal(137, status.code)
    assert.is_true(status.stats.memory.oom_kill >= 1)
    assert.equal(32 * MIB, status.stats.memory.max)
    assert.is_true(status.stats.memory.peak <= 32 * MIB)
    assert.equal("", groups())
  end)
  it("do not take a SIGKILL for want of memory, nor the end of another process", function()
    local small = { memory = 32 * MIB, swap = 0 }
    for _, init in ipairs { false, true } do
      local status = run("sh -c 'kill -KILL $$'; exit 137", { memory = "64M" }, { init = init })
      assert.same({ 137, "exited" }, { status.code, status.cause })
      assert.equal(0, status.stats.memory.oom_kill or 0)
      status = run("tail /dev/zero; exit 137", small, { init = init, rootfs = carton.rootfs.host() })
      assert.same({ 137, "exited" }, { status.code, status.cause })
      assert.is_true(status.stats.memory.oom_kill >= 1)
      status = run("exec tail /dev/zero", small, { init = init, rootfs = carton.rootfs.host() })
      assert.same({ 137, "oom", "SIGKILL" }, { status.code, status.cause, status.signal })
    end
    local c <close> = start("tail /dev/zero; echo over; sleep 60", { limits = small, rootfs = carton.rootfs.host() })
    assert.is_true(eventually(function() return (c:stats().memory.oom_kill or 0) >= 1 end))
    c:kill()
    assert.equal("signalled", c:wait().cause)
  end)
  it("are told of a further program, too, and of that alone", function()
    local c <close> = start("sleep 60", { limits = { memory = 32 * MIB, swap = 0 }, rootfs = carton.rootfs.host() })
    local function ended(script)
      return c:exec({ args = { "sh", "-c", script }, stdin = "null", stderr = "null" }):wait().cause
    end
    assert.equal("oom", ended("exec tail /dev/zero"))
    assert.equal("signalled", ended("kill -KILL $$"))
    assert.equal("exited", ended("tail /dev/zero; exit 137"))
    local other = c:exec { args = { "sleep", "60" }, stdin = "null" }
    other:kill()
    assert.equal("signalled", other:wait().cause)
    c.process:kill("SIGKILL") -- which is nobody's want of memory
    assert.equal("signalled", c:wait().cause)
  end)
  it("end a fork bomb at the number of processes that is allowed", function()
    local status = run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done 2>&1; exit 3", { pids = 6 })
    assert.is_true(status.stats.pids.refused >= 1)
    assert.equal(6, status.stats.pids.max)
    assert.is_true((status.stats.pids.peak or 6) <= 6)
  end)
  it("hold processor time back", function()
    local c <close> = start("while :; do :; done", { limits = { cpus = 0.2 }, timeout = 20 })
    assert.is_true(eventually(function() return (c:stats().cpu.throttled_periods or 0) >= 3 end))
    local before, began = c:stats().cpu.usage, carton.host.monotonic()
    carton.exec.poll({}, 1.5)
    local share = (c:stats().cpu.usage - before) / (carton.host.monotonic() - began)
    assert.is_true(share < 0.35, "it had " .. share)
    c:kill()
    assert.is_true(c:wait().stats.cpu.throttled > 0)
  end)
  it("keep it on its processors", function()
    local status = run("grep Cpus_allowed_list /proc/self/status", { cpuset = "0" })
    assert.equal("Cpus_allowed_list:\t0\n", status.stdout)
  end)
  it("are set before the program runs, and hold for what is run inside later", function()
    local c <close> = start("sleep 60", { limits = { pids = 17 } })
    assert.equal("17", c.group:read("pids.max"))
    local inside <close> = c:exec { args = { "sleep", "60" } }
    local found = {}
    for _, pid in ipairs(c.group:processes()) do
      found[pid] = true
    end
    assert.is_true(found[c:pid()])
    assert.is_true(found[inside:pid()])
  end)
  it("change while it runs, all of them or none", function()
    local c <close> = start("sleep 60", { limits = { memory = "64M", pids = 17 } })
    c:update { memory = "80M", pids = 20 }
    assert.matches("update: tables expected", helper.raises(c.update, c, "64M"))
    assert.matches("update: field 'manager'", helper.raises(c.update, c, { manager = "systemd" }))
    assert.equal(80 * MIB, c:stats().memory.max)
    assert.equal(20, c:stats().pids.max)
    local err = helper.raises(c.update, c, { memory = "90M" }, { ["pids.max"] = "banana" })
    assert.matches("pids.max%)?: .*%(EINVAL%): banana$", tostring(err))
    assert.equal(80 * MIB, c:stats().memory.max)
    assert.equal(20, c:stats().pids.max)
  end)
  it("name file and value of what the kernel refuses, and leave nothing", function()
    local before = helper.world()
    for file, value in pairs { ["pids.max"] = "banana", ["cpu.max"] = "1 1", ["cpuset.cpus"] = "999" } do
      local err = helper.raises(start, "true", { cgroup = { [file] = value } })
      assert.equal("carton.error", getmetatable(err).__name)
      assert.matches(value:gsub("%p", "%%%0"), tostring(err))
    end
    local err = helper.raises(start, "true", { cgroup = { ["memory.nonsense"] = 1 } })
    assert.matches("memory.nonsense", tostring(err))
    err = helper.raises(start, "true", { cgroup = { ["nonsense.max"] = 1 } })
    assert.matches("controller 'nonsense' is not there", tostring(err))
    helper.raises(start, "true", { limits = { pids = 5 }, cwd = "/nonexistent" })
    assert.equal("", groups())
    assert.same(before, helper.world())
  end)
  it("freeze and thaw", function()
    local c <close> = start("i=0; while :; do i=$((i+1)); echo $i > /dev/shm/n; done", { limits = { pids = 10 } })
    local function used() return c:stats().cpu.usage end
    assert.is_true(eventually(function() return used() > 0.02 end))
    c:freeze()
    assert.matches("exec: spec is frozen", helper.raises(c.exec, c, { args = { "true" } }))
    local before = used()
    carton.exec.poll({}, 0.3)
    assert.is_true(used() - before < 0.01)
    c:thaw()
    assert.is_true(eventually(function() return used() > before + 0.02 end))
  end)
  it("say at once why a call that is being answered keeps them from freezing", function()
    local kept, inside
    local c <close> = start("mkdir /dev/shm/a; mkdir /dev/shm/b; sleep 60", { limits = { pids = 10 }, on_syscall = {
      mkdir = function(call)
        if call:string(1) == "/dev/shm/a" then
          inside = { pcall(call.supervisor.container.freeze, call.supervisor.container) }
          return 0
        end
        kept = call
        call:defer()
      end } })
    assert.is_true(eventually(function()
      c:wait(0.01)
      return kept
    end))
    assert.matches("cannot be frozen while on_syscall answers mkdir of process %d+", tostring(inside[2]))
    local err = helper.raises_code("EBUSY", c.freeze, c)
    assert.matches("while on_syscall answers mkdir of process " .. kept.pid, tostring(err))
    assert.is_false(c.group:is_frozen())
    kept:reply(0)
    c:freeze()
    assert.is_true(c.group:is_frozen())
    c:thaw()
  end)
  it("take down what is frozen", function()
    local c = start("sleep 60", { limits = { pids = 10 } })
    c:freeze()
    c:close()
    assert.equal("", groups())
  end)
  it("take along what is left behind outside of a pid namespace", function()
    local c <close> = start("sleep 4242 & echo $!; exit 0", { limits = { pids = 10 },
      namespaces = { pid = "host" }, stdout = "capture", stderr = "null" })
    local status = c:wait()
    local pid = tonumber(status.stdout)
    assert.is_true(eventually(function()
      local file = io.open("/proc/" .. pid .. "/stat")
      local text = file and file:read("a") or ""
      if file then
        file:close()
      end
      return text == "" or text:find(") Z ", 1, true) ~= nil
    end))
    assert.equal("", groups())
  end)
  it("are hidden from it by its cgroup namespace", function()
    for line in run("cat /proc/self/cgroup", { pids = 10, memory = "64M" }).stdout:gmatch("[^\n]+") do
      assert.is_nil(line:find("carton-", 1, true), line)
    end
  end)
  it("leave nothing after the launcher is killed, once the next one comes", function()
    local script = [[local carton = require "carton"
      local c = carton.container { rootfs = carton.rootfs.host(), args = { "sleep", "60" }, limits = { pids = 9 } }
      c:start()
      print(c:pid()) io.stdout:flush() c:wait()]]
    local reader, writer = carton.exec.pipe()
    local p <close> = carton.exec.spawn { steps = {
      { "exec.descriptors", fds = { carton.exec.null(), writer, 2 } },
      { "exec.exec", args = { helper.program, "-e", script }, env = { PATH = os.getenv("PATH") } } } }
    writer:close()
    local payload <close> = carton.exec.open_process(math.tointeger(tonumber(reader:read())))
    assert.not_equal("", groups())
    p:kill("SIGKILL")
    p:wait()
    carton.exec.poll({ { payload, "r" } }, 10)
    local status = helper.run { helper.program, "-e", [[local carton = require "carton"
      local g <close> = carton.cgroup.create { files = carton.limits.files { pids = 9 } }]] }
    assert.equal(0, status.code, status.stderr)
    assert.equal("", groups())
  end)
  it("do not touch the group of another that lives", function()
    local c <close> = start("sleep 60", { limits = { pids = 17 } })
    local status = helper.run { helper.program, "-e", [[local carton = require "carton"
      local g <close> = carton.cgroup.create { files = carton.limits.files { pids = 9 } }]] }
    assert.equal(0, status.code, status.stderr)
    assert.equal("17", c.group:read("pids.max"))
  end)
  it("are options of carton run", function()
    local file = helper.tmpdir() .. "/status"
    local status = helper.carton("run", "--memory", "32M", "--pids", "9", "--cpus", "0.5", "--cgroup",
      "cpu.weight=50", "--status-file", file, helper.rootfs(), "true")
    assert.equal(0, status.code, status.stderr)
    assert.matches('"max": 33554432', helper.read(file))
    assert.equal(125, helper.carton("run", "--memory", "lots", helper.rootfs(), "true").code)
  end)
end)

describe("cgroup directories #cgroup", function()
  it("are entered by a step that fails by its name", function()
    local top <close> = carton.cgroup.open_directory(carton.cgroup.layout().controllers.pids)
    local gone <close> = top:create("carton-test-gone-" .. posix.getpid("pid"))
    gone:remove()
    local err = helper.raises(carton.exec.spawn, { steps = { { "cgroup.enter", cgroups = { gone } } } })
    assert.equal("cgroup.enter", err.step)
    assert.is_true(err.code == "ENOENT" or err.code == "ENODEV", tostring(err))
    assert.is_false(gone:remove())
  end)
  it("lead nowhere else by name, and take no NUL", function()
    local layout = carton.cgroup.layout()
    local path = layout.controllers.pids
    local top <close> = carton.cgroup.open_directory(path)
    for _, name in ipairs { "..", ".", "a/b", "", "a\0b", "/etc" } do
      assert.is_false(pcall(top.create, top, name))
      assert.is_false(pcall(top.read, top, name))
      assert.is_false(pcall(top.write, top, name, "1"))
    end
    helper.raises_code("EINVAL", carton.cgroup.open_directory, "/tmp")
    helper.raises_code("ENOENT", carton.cgroup.open_directory, "/nonexistent")
    assert.is_nil(top:read("nonsense"))
  end)
  it("are removed with all below them, deeper than there are descriptors", function()
    local result = helper.run { "prlimit", "--nofile=40", helper.program, "-e", [[
      local carton, hierarchy = require "carton", require "carton.hierarchy"
      local top <close> = carton.cgroup.open_directory(carton.cgroup.layout().controllers.pids)
      local group <close> = top:create("carton-test-deep-" .. carton.host.pid())
      local here = group
      for level = 1, 1100 do
        local below = here:create("l" .. level % 7)
        if level % 100 == 0 then
          here:create("beside"):close()
        end
        if here ~= group then
          here:close()
        end
        here = below
      end
      here:close()
      local seen = 0
      local walked = pcall(hierarchy.walk, group, function() seen = seen + 1 end)
      local removed, err = pcall(hierarchy.remove_below, group)
      print(walked, seen, removed, removed and group:remove() or err)]] }
    assert.equal("true\t1111\ttrue\ttrue\n", result.stdout, result.stderr)
  end)
  it("are visited while somebody removes and makes them", function()
    local top <close> = carton.cgroup.open_directory(carton.cgroup.layout().controllers.pids)
    local group <close> = top:create("carton-test-race-" .. posix.getpid("pid"))
    local a <close> = group:create("a")
    local b <close> = a:create("b")
    b:create("c"):close()
    hierarchy.walk(group, function(child) -- all of it goes while it is in the deepest
      if child:name() == "c" then
        child:remove()
        b:remove()
        a:remove()
      end
    end)
    group:create("late"):close()
    hierarchy.remove_below(group)
    assert.is_true(group:remove())
  end)
  it("close twice, and say so when they are used then", function()
    local top = carton.cgroup.open_directory(carton.cgroup.layout().controllers.pids)
    local before = helper.fds()
    top:close()
    top:close()
    assert.equal(#before - 1, #helper.fds())
    assert.matches("closed cgroup", helper.raises(top.read, top, "x"))
  end)
end)

describe("cgroup v1 #root", function()
  it("says what it has no words for", function()
    if carton.cgroup.layout().version == 2 then
      return pending("this host has cgroup v2")
    end
    for _, limits in ipairs { { memory_high = "32M" }, { memory_low = "1M" }, { swap = 0 } } do
      local err = helper.raises(start, "true", { limits = limits })
      assert.equal("EOPNOTSUPP", err.code, tostring(err))
    end
    assert.equal("EOPNOTSUPP", helper.raises(start, "true", { limits = { pids = 5 }, delegate = true }).code)
  end)
end)

describe("cgroup v2 #cgroup2", function()
  it("has it born in its group", function()
    local c <close> = start("sleep 60", { limits = { pids = 10 } })
    local steps = {}
    for _, step in ipairs(c.compiled.steps) do
      steps[step[1]] = true
    end
    assert.is_nil(steps["cgroup.enter"])
    assert.matches("/carton%-spec%-%x+\n", helper.read("/proc/" .. c:pid() .. "/cgroup"))
  end)
  it("limits with all of its files", function()
    local c <close> = start("sleep 60", { cgroup = { ["memory.oom.group"] = 1 }, limits = { memory = "64M",
      memory_high = "48M", memory_low = "1M", swap = "8M", cpu_weight = 42, cpu_burst = 0.01, cpus = 1,
      io_weight = 200 } })
    local g = c.group
    assert.equal(tostring(48 * MIB), g:read("memory.high"))
    assert.equal(tostring(8 * MIB), g:read("memory.swap.max"))
    assert.equal("42", g:read("cpu.weight"))
    assert.equal("10000", g:read("cpu.max.burst"))
    assert.equal("100000 100000", g:read("cpu.max"))
    assert.equal("1", g:read("memory.oom.group"))
    assert.equal("default 200", g:read("io.weight"))
  end)
  it("kills all at once", function()
    local c <close> = start("for i in 1 2 3 4 5; do sleep 60 & done; wait", { limits = { pids = 20 },
      namespaces = { pid = "host" } })
    assert.is_true(eventually(function() return #c.group:processes() >= 6 end))
    c.group:kill()
    assert.equal(0, #c.group:processes())
    assert.equal("SIGKILL", c:wait().signal)
  end)
  it("hands a group over to the root of its container, which divides it", function()
    for _, idmap in ipairs { false, { uids = { { container_id = 0, host_id = 200000, size = 1000 } },
      gids = { { container_id = 0, host_id = 200000, size = 1000 } } } } do
      local status = run([[set -e
        cd /sys/fs/cgroup; mkdir leaf; echo $$ > leaf/cgroup.procs
        echo +pids > cgroup.subtree_control; mkdir sub; echo 3 > sub/pids.max; cat sub/pids.max
        echo max > pids.max 2>/dev/null && echo escaped || echo held]], { pids = 20 },
        { delegate = true, idmap = idmap or nil })
      assert.equal("3\nheld\n", status.stdout, status.stderr)
      assert.equal("", groups())
    end
  end)
  it("hands no group over whose limits the container could raise", function()
    local function refused(hint, fields)
      fields.delegate = true
      local err = helper.raises_code("EPERM", run, "true", { pids = 20 }, fields)
      assert.matches("could raise its own limits %(EPERM%); .*" .. hint, tostring(err))
      assert.equal("", groups())
    end
    local function is_held(idmap)
      local status = run("echo max > /sys/fs/cgroup/pids.max 2>/dev/null && echo escaped || echo held", { pids = 20 },
        { delegate = true, idmap = idmap, capabilities = "all" })
      assert.equal("held\n", status.stdout, status.stderr)
    end
    local function map(host_id)
      local entries = { { container_id = 0, host_id = host_id, size = 1000 } }
      return { uids = entries, gids = entries }
    end
    refused("a cgroup namespace", { namespaces = { cgroup = "host" } })
    is_held()
    local function remount(option) -- of the whole hierarchy: cgroups(7)
      assert.equal(0, helper.run({ "mount", "-o", "remount," .. option, "cgroup2", "/sys/fs/cgroup" }).code)
      return option == "nsdelegate" == hierarchy.is_nsdelegate()
    end
    assert.is_true(remount("rw"))
    local ok, err = pcall(function()
      refused("an idmap", {})
      refused("an idmap", { idmap = map(0) })
      is_held(map(200000))
    end)
    assert.is_true(remount("nsdelegate"))
    assert(ok, err)
  end)
  it("keeps its flags when it is mounted in the first cgroup namespace once more", function()
    local mount = carton.mount
    local function flags()
      for _, each in ipairs(mount.list()) do
        if each.target == "/sys/fs/cgroup" then
          return each.data
        end
      end
    end
    local before = flags()
    assert.matches("nsdelegate", before)
    helper.isolated(function()
      for _, data in ipairs { false, { memory_localevents = true } } do
        local place = helper.tmpdir()
        mount.cgroup { target = place, data = data or nil }
        mount.filesystem { type = "cgroup2", target = place }
      end
    end)
    assert.matches("nsdelegate", flags())
    assert.matches("memory_localevents", flags())
    assert.equal(0, helper.run({ "mount", "-o", "remount,nsdelegate", "cgroup2", "/sys/fs/cgroup" }).code)
    assert.equal(before, flags())
    helper.isolated(function() -- nothing tells them
      mount.unmount { target = "/sys/fs/cgroup", detach = true }
      local err = helper.raises_code("EPERM", mount.cgroup, { target = helper.tmpdir() })
      assert.matches("use a new cgroup namespace", carton.hint.find(err))
      mount.cgroup { target = helper.tmpdir(), data = { nsdelegate = true } }
    end)
    assert.equal(before, flags())
  end)
  it("runs further programs in it, and removes it, however deep it was divided", function()
    local result = helper.run { "prlimit", "--nofile=60", helper.program, "-e", [[
      local carton = require "carton"
      collectgarbage("stop")
      local c <close> = carton.container { rootfs = carton.rootfs.host(), stdin = "null", stdout = "null",
        delegate = true, cgroup = { ["cgroup.max.depth"] = 1000 }, args = { "sh", "-c",
        "cd /sys/fs/cgroup; for i in $(seq 300); do mkdir l; cd l; done; echo 0 > cgroup.procs; " ..
        "echo > /tmp/done; sleep 60" } }
      c:start()
      local inside <close> = c:exec { args = { "sh", "-c",
        "until test -e /tmp/done; do sleep 0.1; done" }, stdin = "null", stdout = "null" }
      inside:wait()
      local deep <close> = c:exec { args = { "cat", "/proc/self/cgroup" }, stdin = "null", stdout = "capture" }
      local _, depth = deep:wait().stdout:gsub("/l", "")
      io.write(depth)]] }
    assert.equal("300", result.stdout, result.stderr)
    assert.equal("", groups())
  end)
  it("shows the group read-only to who it is not handed over to", function()
    local status = run("cat /sys/fs/cgroup/pids.max; mkdir /sys/fs/cgroup/x 2>/dev/null || echo refused", { pids = 20 })
    assert.equal("20\nrefused\n", status.stdout, status.stderr)
  end)
  it("calls when memory is short", function()
    local c <close> = start("x=; while :; do x=$(head -c 20000000 /dev/zero | tr '\\0' x); done",
      { limits = { memory = "24M", swap = 0, memory_high = "16M" }, timeout = 60 })
    local loop, seen = carton.loop.new(), nil
    local ok, token = pcall(c.group.on_pressure, c.group, loop, "memory", { some = 0.05, window = 1 },
      function(pressure) seen = pressure end)
    if not ok then
      return pending("the kernel has no pressure information: " .. tostring(token))
    end
    loop:run_until(function() return seen ~= nil or not c:is_running() end, 40)
    assert.is_table(seen and seen.some)
    assert.is_true(seen.some.total > 0)
  end)
  it("makes none to end a container by where there is nothing to end it by", function()
    local err = helper.raises_code("ENOENT", hierarchy.create1, "x", {}, { version = 1, controllers = {} })
    assert.matches("'freezer' is not there", tostring(err))
  end)
  it("says which level lacks which controller", function()
    local top <close> = carton.cgroup.open_directory("/sys/fs/cgroup")
    local mine <close> = top:create("carton-test-level-" .. posix.getpid("pid"))
    local sub <close> = mine:create("sub")
    assert.is_nil(sub:read("memory.max"))
    sub:remove()
    mine:remove()
  end)
end)
