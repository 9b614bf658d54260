-- SPDX-License-Identifier: MIT
-- The event loop: descriptors, processes, containers and timers, and that it sleeps in between.
local carton = require("carton")
local helper = require("spec.helper")
local exec = carton.exec

local function spawn(script)
  return exec.spawn { steps = { { "exec.exec", args = { "/bin/sh", "-c", script },
    env = { PATH = "/usr/bin:/bin" } } } }
end

local function container(script, fields)
  local all = { rootfs = helper.rootfs(), args = { "sh", "-c", script }, stdin = "null", stdout = "capture" }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all):start()
end

describe("loop", function()
  it("is the same by default, another one when made", function()
    assert.equal(carton.loop.default(), carton.loop.default())
    assert.not_equal(carton.loop.default(), carton.loop.new())
  end)
  it("comes back at once with nothing to do", function()
    local loop = carton.loop.new()
    loop:run()
    loop:step()
    assert.is_false(loop:run_until(function() return false end))
    assert.is_true(loop:run_until(function() return true end))
  end)
  it("calls for descriptors that are ready, until they are watched no longer", function()
    local loop = carton.loop.new()
    local r <close>, w = exec.pipe()
    local seen = {}
    loop:watch(r, "r", function(token)
      local data = r:read()
      if data == nil then
        loop:unwatch(token)
        loop:unwatch(token)
      end
      seen[#seen + 1] = data or "end"
    end)
    w:write("one")
    loop:step()
    w:write("two")
    loop:step(10)
    w:close()
    loop:run()
    assert.same({ "one", "two", "end" }, seen)
  end)
  it("does not call a watcher that an earlier one has taken away", function()
    local loop = carton.loop.new()
    local r <close>, w = exec.pipe()
    local calls, second = 0, nil
    loop:watch(r, "r", function(token)
      calls = calls + 1
      loop:unwatch(token)
      loop:unwatch(second)
    end)
    second = loop:watch(r, "r", function() calls = calls + 10 end)
    w:write("x")
    loop:run()
    assert.equal(1, calls)
    w:close()
  end)
  it("calls timers in order, repeats those that repeat, and forgets those taken away", function()
    local loop = carton.loop.new()
    local order, count = {}, 0
    loop:timer(0.06, function() order[#order + 1] = "second" end)
    loop:timer(0.01, function() order[#order + 1] = "first" end)
    local never = loop:timer(0.02, function() order[#order + 1] = "never" end)
    loop:unwatch(never)
    loop:timer(0.005, function(token)
      count = count + 1
      if count == 3 then
        loop:unwatch(token)
      end
    end, true)
    loop:run()
    assert.same({ "first", "second" }, order)
    assert.equal(3, count)
  end)
  it("raises what a called function raises, and can go on", function()
    local loop = carton.loop.new()
    local done = false
    loop:timer(0, function() error({ "mine" }) end)
    assert.same({ "mine" }, helper.raises(loop.run, loop))
    loop:timer(0, function() done = true end)
    loop:run()
    assert.is_true(done)
  end)
  it("tells how processes ended", function()
    local loop = carton.loop.new()
    local codes = {}
    local a <close> = spawn "exit 3"
    local b <close> = spawn "kill -TERM $$"
    for _, process in ipairs { a, b } do
      loop:process(process, function(status) codes[#codes + 1] = status.code end)
    end
    loop:run()
    table.sort(codes)
    assert.same({ 3, 143 }, codes)
  end)
  it("sleeps while nothing happens", function()
    local loop = carton.loop.new()
    local p <close> = spawn "sleep 0.5"
    local r <close>, w = exec.pipe()
    loop:watch(r, "r", function() error("nothing was written") end)
    local ended = false
    loop:process(p, function() ended = true end)
    local before = os.clock()
    assert.is_false(loop:run_until(function() return ended end, 0.1))
    assert.is_true(loop:run_until(function() return ended end, 20))
    assert.is_true(os.clock() - before < 0.2, "it is busy")
    w:close()
  end)
end)

describe("loop and containers #userns", function()
  it("feed and read several, and tell how each ended", function()
    local loop = carton.loop.new()
    local seen = {}
    for i = 1, 3 do
      loop:container(container("cat; head -c 200000 /dev/zero; exit " .. i, { stdin = ("x"):rep(100000) }),
        function(status, c)
          seen[status.code] = #status.stdout
          assert.equal(status, c.status)
          c:close()
        end)
    end
    loop:run()
    assert.same({ 300000, 300000, 300000 }, seen)
  end)
  it("end one whose time is up", function()
    local loop = carton.loop.new()
    local cause
    local c <close> = container("sleep 60", { timeout = 0.1 })
    loop:container(c, function(status) cause = status.cause end)
    loop:run()
    assert.equal("timeout", cause)
  end)
  it("are not called for one that is watched no longer", function()
    local loop = carton.loop.new()
    local c <close> = container("true")
    local token = loop:container(c, function() error("called") end)
    loop:unwatch(token)
    loop:run()
    assert.equal(0, c:wait(20).code)
  end)
  it("come to an end when others still are in the container", function()
    local loop = carton.loop.new()
    local c <close> = container("sleep 60")
    local other <close> = c:exec { args = { "sleep", "60" }, stdin = "null" }
    local pod <close> = container("sleep 60", { namespaces = { pid = c } })
    local ended
    loop:container(c, function(status) ended = status.signal end)
    c:kill("SIGTERM")
    assert.is_true(loop:run_until(function() return ended end, 20))
    assert.equal("SIGTERM", ended)
    assert.equal("SIGKILL", other:wait(20).signal)
    assert.equal("SIGKILL", pod:wait(20).signal)
  end)
  it("are called once for one that has ended already, and refuse one that was not started", function()
    local loop = carton.loop.new()
    local exits, calls = 0, 0
    local c <close> = container("exit 3", { on = { exited = function() exits = exits + 1 end } })
    loop:container(c, function(status) calls = calls + status.code end)
    assert.equal(3, c:wait(20).code)
    loop:container(c, function(status) calls = calls + status.code end)
    loop:run()
    assert.same({ 1, 6 }, { exits, calls })
    assert.matches("was not started", helper.raises(loop.container, loop,
      carton.container { rootfs = "/", args = { "x" } }, print))
  end)
  it("leave nothing behind", function()
    local before = helper.world()
    local loop = carton.loop.new()
    local c = container("echo x")
    loop:container(c, function() c:close() end)
    loop:run()
    assert.same(before, helper.world())
  end)
end)

teardown(helper.cleanup)
