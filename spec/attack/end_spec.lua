-- SPDX-License-Identifier: MIT
-- A payload that keeps its end from us, or leaves processes behind, stops neither its recipe nor other containers.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local host, container = carton.host, attack.container

describe("an end that is kept from us #userns", function()
  local image = attack.image()
  local wait = require("carton.wait")

  local function home()
    return container { rootfs = image }:start()
  end
  --- Run the payload further in a container, until it says that it is ready.
  local function enter(c, args)
    local said = ""
    local e = c:exec { args = { "payload", table.unpack(args) }, stdin = "null", stderr = "null",
      stdout = function(text) said = said .. text end }
    assert.is_true(helper.eventually(function()
      return said:find("ready") or e:wait(0)
    end))
    return e
  end
  local function soon(f, ...)
    local began = host.monotonic()
    local results = table.pack(f(...))
    assert.is_true(host.monotonic() - began < 8, "it took too long")
    return table.unpack(results)
  end

  it("by children that were left to us does not stop wait, close or a loop", function()
    local before = helper.world()
    for _, stays in ipairs { false, "stay" } do
      for what, finish in pairs {
        wait = function(c)
          c:kill()
          return c:wait(20)
        end,
        ["wait for another"] = function(c)
          c:kill()
          local other <close> = container { args = { "sleep", "0.1" } }:start()
          return carton.wait_any({ other, c }, 20)
        end,
        close = function(c) return c:close() or true end,
        loop = function(c)
          local loop, ended = carton.loop.new(), nil
          loop:container(c, function(status) ended = status end)
          c:kill()
          return loop:run_until(function() return ended end, 20) and ended
        end,
      } do
        local c <close> = home()
        local e <close> = enter(c, { "siblings", "5", stays or nil })
        assert.is_truthy(soon(finish, c), what)
        soon(e.close, e)
        soon(c.close, c)
      end
    end
    assert.same(before, helper.world())
  end)
  it("by such children of another container in its pid namespace does not, either", function()
    local before = helper.world()
    local c <close> = home()
    local pod <close> = carton.container { rootfs = image, args = { "payload", "siblings", "4", "stay" },
      stdin = "null", stdout = "null", stderr = "null", namespaces = { pid = c } }:start()
    host.sleep(0.2)
    soon(c.close, c)
    soon(pod.close, pod)
    assert.same(before, helper.world())
  end)
  it("takes no child of the recipe's own", function()
    io.stdout:flush()
    local own = posix.fork()
    if own == 0 then
      posix._exit(5)
    end
    local c <close> = home()
    local e <close> = enter(c, { "siblings", "3" })
    soon(e.close, e)
    soon(c.close, c)
    assert.same({ own, "exited", 5 }, { posix.wait(own) })
  end)
  it("does not keep a recipe from ending", function()
    local path = helper.write(helper.tmpdir() .. "/recipe.lua", ([[
      local carton = require("carton")
      local c = carton.container { rootfs = %q, args = { "sleep", "60" }, stdin = "null", stdout = "null",
        stderr = "null", idmap = %s }:start()
      c:exec { args = { "payload", "siblings", "4" }, stdin = "null", stdout = "null" }:wait()
    ]]):format(image, helper.is_root and "nil" or '"single"'))
    assert.equal(0, helper.carton(path, { timeout = 20 }).code)
  end)
  it("by somebody who traces it is told, and close does not wait for that", function()
    local before = helper.world()
    local grace = wait.grace
    wait.grace = 0.3
    local ok, err = pcall(function()
      local c <close> = home()
      local e <close> = c:exec { args = { "payload", "hold" }, stdin = "null", stdout = "null", stderr = "null" }
      local failure = helper.raises_code("ETIMEDOUT", soon, e.wait, e, 20)
      assert.matches("tracer", failure.message)
      local f <close> = c:exec { args = { "payload", "hold" }, stdin = "null", stdout = "null", stderr = "null" }
      local loop, other = carton.loop.new(), false
      loop:container(f, function() error("it was reaped") end)
      loop:timer(0.6, function() other = true end)
      helper.raises_code("ETIMEDOUT", soon, loop.run_until, loop, function() return false end, 20)
      assert.is_true(soon(loop.run_until, loop, function() return other end, 20), "others wait, too")
      soon(f.close, f)
      soon(e.close, e)
      assert.is_true(c:is_running())
      soon(c.close, c)
    end)
    wait.grace = grace
    assert.is_true(ok, tostring(err))
    assert.same(before, helper.world())
  end)
end)

describe("a container in the host's pid namespace", function()
  local image = attack.image()
  local shared = { pid = "host" }
  local function groups() -- of others there may be some
    return helper.groups():match("[^\n]*carton%-end%-spec[^\n]*")
  end

  --- Start a shell that leaves a daemon, which holds a pipe as long as it lives; gives the container and the pipe.
  local function start(fields, exec)
    local reader, writer = carton.exec.pipe()
    local all = { rootfs = image, name = "end-spec", namespaces = shared, stdout = writer,
      args = { "sh", "-c", "(payload outlive &) ; sleep 60" } }
    for key, value in pairs(fields) do
      all[key] = value
    end
    local c
    if exec then
      c = container { rootfs = image, name = "end-spec", namespaces = shared }:start()
      c:exec { args = all.args, stdin = "null", stdout = writer, stderr = "null" }
    else
      c = container(all):start()
    end
    writer:close()
    assert.equal(1, #carton.exec.poll({ { reader, "r" } }, 10))
    assert.equal("ready\n", reader:read())
    return c, reader
  end
  local function assert_over(reader, what)
    assert.equal(1, #carton.exec.poll({ { reader, "r" } }, 8), what .. ": its daemon lives on")
    assert.is_nil(reader:read())
    reader:close()
  end

  it("ends with all that is in it, by close, kill, its time and its own end #root", function()
    local before = helper.world()
    for _, init in ipairs { false, true } do
      local c, reader = start { init = init }
      c:close()
      assert_over(reader, "close")
      c, reader = start { init = init }
      c:kill()
      assert_over(reader, "kill")
      assert.equal("SIGKILL", c:wait(10).signal)
      c:close()
      c, reader = start { init = init, timeout = 0.5 }
      assert.equal("timeout", c:wait(10).cause)
      assert_over(reader, "time-out")
      c, reader = start { init = init, args = { "sh", "-c", "(payload outlive &) ; sleep 0.5" } }
      local status = c:wait(10)
      assert.same({ "exited", nil }, { status.cause, status.stats })
      assert_over(reader, "its end")
    end
    local c, reader = start({}, true)
    c:close()
    assert_over(reader, "exec")
    local home <close> = container { rootfs = image, name = "end-spec", namespaces = shared }:start()
    c, reader = start { namespaces = { pid = home } }
    c:close()
    assert_over(reader, "pod")
    home:close()
    assert.is_nil(groups())
    assert.same(before, helper.world())
  end)
  it("or in that of a pod ends with all that is in it, and the pod goes on #root", function()
    local before = helper.world()
    local home <close> = container { rootfs = image, name = "end-spec" }:start()
    for _, way in ipairs { "close", "time-out" } do
      local c, reader = start { namespaces = { pid = home }, timeout = way == "time-out" and 0.5 or nil }
      if way == "time-out" then
        assert.equal("timeout", c:wait(10).cause)
      end
      c:close()
      assert_over(reader, way)
    end
    assert.is_true(home:is_running())
    home:close()
    assert.is_nil(groups())
    assert.same(before, helper.world())
  end)
  it("leaves no children to its recipe #root", function()
    local before = helper.world()
    container({ rootfs = image, name = "end-spec", namespaces = shared, args = { "payload", "siblings", "5" } }):run()
    assert.same(before, helper.world())
  end)
  it("ends with a recipe that is killed #root", function()
    for _, init in ipairs { false, true } do
      local reader <close>, writer = carton.exec.pipe()
      io.stdout:flush()
      local parent = posix.fork()
      if parent == 0 then
        reader:close()
        local c = container { rootfs = image, name = "end-spec", namespaces = shared, stdout = writer, init = init,
          args = { "sh", "-c", "(payload outlive &) ; sleep 60" } }:start()
        writer:close()
        c:wait()
        posix._exit(0)
      end
      writer:close()
      assert.equal(1, #carton.exec.poll({ { reader, "r" } }, 10))
      assert.equal("ready\n", reader:read())
      posix.kill(parent, posix.SIGKILL)
      posix.wait(parent)
      assert.equal(1, #carton.exec.poll({ { reader, "r" } }, 10), "its daemon lives on")
      assert.is_nil(reader:read())
    end
    assert.is_true(helper.eventually(function() -- what is left of its group is removed by another one
      assert.equal(0, helper.carton("run", "-T", "--share", "pid", image, "true").code)
      return groups() == nil
    end))
  end)
  it("lives on without its recipe when that is asked for, also with limits #root", function()
    for _, fields in ipairs { "namespaces = { pid = 'host' }", "limits = { pids = 20 }" } do
      local path = helper.write(helper.tmpdir() .. "/recipe.lua", ([[
        local carton = require("carton")
        local c = carton.container { rootfs = %q, args = { "sleep", "60" }, stdin = "null", stdout = "null",
          stderr = "null", die_with_parent = false, name = "end-spec", %s }:start()
        io.write(c:pid())
      ]]):format(image, fields))
      local said = helper.carton(path)
      local process <close> = carton.exec.open_process(tonumber(said.stdout))
      carton.host.sleep(0.2)
      assert.is_true(process:is_alive(), fields .. said.stderr)
      process:kill()
    end
    assert.is_true(helper.eventually(function()
      assert.equal(0, helper.carton("run", "-T", "--pids", "9", image, "true").code)
      return groups() == nil
    end))
  end)
  it("is refused where it can have no cgroup #rootless", function()
    local before = helper.world()
    local ok, err = pcall(function() return container { namespaces = shared }:run() end)
    if not ok then -- it is not delegated here
      assert.equal("cgroup", err.op)
      assert.matches("pid namespace", err.hint)
    end
    assert.same(before, helper.world())
  end)
end)

describe("the built-in init #userns", function()
  it("can be neither traced nor read by what runs below it", function()
    local image = attack.image()
    local script = [[for name in exe root cwd fd/0 ns/pid; do readlink /proc/1/$name && echo "$name was read"; done
      (cat /proc/1/environ /proc/1/maps) && echo read; payload seize 1]]
    local c <close> = container { rootfs = image, init = true, args = { "sh", "-c", script }, stdout = "capture" }
    local status = c:run()
    assert.equal("EPERM\n", status.stdout)
    local d <close> = container { rootfs = image, init = true }:start()
    local e <close> = d:exec { args = { "id", "-u" }, stdin = "null", stdout = "capture" }
    assert.equal("0\n", e:wait(20).stdout)
  end)
end)

teardown(helper.cleanup)
