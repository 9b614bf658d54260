-- SPDX-License-Identifier: MIT
-- Whoever may, ends one of us at any moment: nothing lives on, nothing is left.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local exec, host = carton.exec, carton.host

local container = attack.container

describe("an end at any moment #userns", function()
  local function rehearse(body)
    local before = helper.world()
    for i = 1, 40 do
      local reader <close>, writer = exec.pipe()
      io.stdout:flush()
      local parent = posix.fork()
      if parent == 0 then
        reader:close()
        pcall(body, writer, i)
        posix._exit(0)
      end
      writer:close()
      host.sleep(math.random() * 0.02)
      posix.kill(parent, posix.SIGKILL)
      posix.wait(parent)
      -- whoever is left holds our pipe, before its program as well as in it
      local gone = exec.poll({ { reader, "r" } }, 10)
      assert.equal(1, #gone, "somebody lives on after round " .. i)
      assert.is_nil(reader:read())
    end
    assert.same(before, helper.world())
  end
  it("of the caller ends a container with it, with and without an init", function()
    rehearse(function(writer, i)
      container({ stdout = writer, init = i % 2 == 0 or nil }):run()
    end)
  end)
  it("of the caller ends it when it does not ask for that, but before it runs", function()
    rehearse(function(writer)
      exec.spawn { namespaces = { helper.is_root and "mnt" or "user" }, steps = { { "sync", name = "wait" },
        { "exec.descriptors", fds = { 0, writer, 2 } }, { "exec.exec", args = { "/bin/sleep", "60" } } },
        sync = { wait = function() host.sleep(60) end } }
    end)
  end)
  it("of the caller ends what it entered a container with", function()
    local c <close> = container()
    c:start()
    rehearse(function(writer)
      while true do
        c:exec({ args = { "sleep", "60" }, stdin = "null", stdout = writer, stderr = "null" })
      end
    end)
  end)
  it("of the caller ends what has undone its tie to the caller", function()
    local image = attack.image()
    local args = { "payload", "outlive" }
    local home <close> = container { rootfs = image }
    home:start()
    for what, start in pairs {
      first = function(out) return container({ rootfs = image, args = args, stdout = out }):start() end,
      init = function(out) return container({ rootfs = image, args = args, stdout = out, init = true }):start() end,
      user = function(out) return container({ rootfs = image, args = args, stdout = out, user = "0:0" }):start() end,
      exec = function(out) return home:exec { args = args, stdin = "null", stdout = out, stderr = "null" } end,
      pod = function(out)
        return carton.container({ rootfs = image, args = args, stdin = "null", stdout = out, stderr = "null",
          namespaces = { pid = home } }):start()
      end,
    } do
      local before = helper.world()
      local reader <close>, writer = exec.pipe()
      io.stdout:flush()
      local parent = posix.fork()
      if parent == 0 then
        reader:close()
        local ok, c = pcall(start, writer)
        if not ok then
          writer:write(tostring(c))
        end
        writer:close()
        host.sleep(60)
        posix._exit(0)
      end
      writer:close()
      assert.equal(1, #exec.poll({ { reader, "r" } }, 20), what)
      assert.equal("ready\n", reader:read(), what)
      posix.kill(parent, posix.SIGKILL)
      posix.wait(parent)
      assert.equal(1, #exec.poll({ { reader, "r" } }, 10), what .. " lives on")
      assert.is_nil(reader:read())
      if what == "exec" or what == "pod" then
        assert.is_true(home:is_running())
      end
      reader:close()
      assert.same(before, helper.world())
    end
  end)
  it("of the child is told, and leaves nothing", function()
    local before = helper.world()
    local own = posix.getpid("pid")
    local killer = posix.fork()
    if killer == 0 then
      local children = ("/proc/%d/task/%d/children"):format(own, own)
      local began = host.monotonic()
      while host.monotonic() - began < 30 do
        for pid in helper.read(children):gmatch("%d+") do
          if tonumber(pid) ~= posix.getpid("pid") then
            posix.kill(tonumber(pid), posix.SIGKILL)
          end
        end
        host.sleep(math.random() * 0.004)
      end
      posix._exit(0)
    end
    local started, raised = 0, 0
    for i = 1, 150 do
      local c <close> = container { init = i % 3 == 0 or nil }
      local ok, err = pcall(c.start, c)
      if ok then
        started = started + 1
        assert.equal("SIGKILL", c:wait(10).signal)
      else
        raised = raised + 1
        assert.equal("EINTR", err.code, tostring(err))
        assert.matches("was killed before", tostring(err))
      end
    end
    posix.kill(killer, posix.SIGKILL)
    posix.wait(killer)
    assert.is_true(started > 0 and raised > 0, started .. " started, " .. raised .. " raised")
    assert.is_true(helper.eventually(function() return #helper.children() == 0 end))
    assert.same(before, helper.world())
  end)
end)

teardown(helper.cleanup)
