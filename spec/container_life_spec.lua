-- SPDX-License-Identifier: MIT
-- A container's life: connections, hooks, ends of each kind, further programs, and what is left behind: nothing.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local output, shell = helper.output, helper.shell

local function sleeper(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all):start()
end

--- Poll until something holds.
local function soon(holds)
  for _ = 1, 500 do
    if holds() then
      return true
    end
    carton.exec.poll({}, 0.02)
  end
  return false
end

local function is_there(pid)
  return posix.access("/proc/" .. pid) ~= nil
end

describe("container: connections #userns", function()
  it("captures both outputs, or one in the other", function()
    local status = shell("echo out; echo err >&2")
    assert.same({ "out\n", "err\n" }, { status.stdout, status.stderr })
    status = shell("echo out; echo err >&2", { stderr = "stdout" })
    assert.equal("out\nerr\n", status.stdout)
    assert.is_nil(status.stderr)
  end)
  it("feeds a string, of any size and any bytes", function()
    assert.equal("5", output("wc -c", { stdin = "a\0b\255\n" }))
    assert.equal("3000000", output("wc -c", { stdin = ("x"):rep(3000000) }))
    assert.equal("0", output("wc -c", { stdin = "" }))
    assert.equal("null", output("cat", { stdin = { data = "null" } }))
  end)
  it("feeds what a function gives, an empty string too", function()
    local parts = { "one ", "", "two" }
    assert.equal("one two", output("cat", { stdin = function() return table.remove(parts, 1) end }))
    local big = 0
    assert.equal("6400000", output("wc -c", { stdin = function()
      big = big + 1
      return big <= 100 and ("y"):rep(64000) or nil
    end }))
    assert.matches("'stdin'.*table", tostring(helper.raises(output, "cat", { stdin = function() return {} end })))
  end)
  it("raises what such a function raises", function()
    local before = helper.world()
    assert.matches("source broke", tostring(helper.raises(shell, "cat", { stdin = function()
      error("source broke")
    end })))
    assert.matches("sink broke", tostring(helper.raises(shell, "echo x", { stdout = function()
      error("sink broke")
    end })))
    assert.same(before, helper.world())
  end)
  it("does not mind a program that does not read", function()
    assert.equal("done", output("exec <&-; echo done", { stdin = ("x"):rep(1000000) }))
  end)
  it("passes 4 MiB to a function while both pipes are busy", function()
    local got = 0
    local status = shell("dd if=/dev/zero bs=65536 count=16 >&2 2>/dev/null & cat; wait", {
      stdin = ("z"):rep(4 << 20), stdout = function(text) got = got + #text end })
    assert.equal(4 << 20, got)
    assert.equal(1 << 20, #status.stderr)
  end)
  it("reads from and writes to files, and handles", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/in", "from a file")
    shell("cat; echo; echo to", { stdin = { path = dir .. "/in" }, stdout = { path = dir .. "/out" } })
    assert.equal("from a file\nto\n", helper.read(dir .. "/out"))
    shell("echo more", { stdout = { path = dir .. "/out", mode = "a" } })
    assert.equal("from a file\nto\nmore\n", helper.read(dir .. "/out"))
    do
      local handle <close> = carton.exec.open(dir .. "/handle", "w")
      shell("echo by handle", { stdout = handle })
      assert.equal(1, handle:write("\n"), "it stays its owner's")
    end
    assert.equal("by handle\n\n", helper.read(dir .. "/handle"))
  end)
  it("captures no more than is asked for, takes the rest, and says so", function()
    local status = shell("head -c 100 /dev/zero; echo err >&2", { stdout = { capture = 99 }, stderr = { capture = 4 } })
    assert.same({ 99, "err\n" }, { #status.stdout, status.stderr })
    assert.same({ stdout = true }, status.truncated)
    status = shell("echo x; echo y >&2", { stdout = { capture = 0 } })
    assert.same({ "", "y\n", { stdout = true } }, { status.stdout, status.stderr, status.truncated })
    status = shell("head -c 20000000 /dev/zero; head -c 16777216 /dev/zero >&2")
    assert.same({ 16 << 20, 16 << 20, { stdout = true } }, { #status.stdout, #status.stderr, status.truncated })
    assert.is_nil(shell("echo x").truncated)
    for _, wrong in ipairs { { capture = -1 }, { capture = "1" }, { capture = 1, path = "/x" } } do
      assert.matches("'stdout'", tostring(helper.raises(shell, "x", { stdout = wrong })))
    end
    assert.matches("'stdin'", tostring(helper.raises(shell, "x", { stdin = { capture = 1 } })))
  end)
  it("refuses what means nothing, and leaves nothing open", function()
    local before = helper.world()
    assert.matches("'stdout': \"inherit\".* expected, got 'captured'",
      tostring(helper.raises(shell, "x", { stdout = "captured" })))
    assert.matches("'stderr'", tostring(helper.raises(shell, "x", { stderr = true })))
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
      assert.matches("'" .. name .. "': a file of io.open has a buffer of its own",
        tostring(helper.raises(shell, "x", { [name] = io.stderr })))
    end
    assert.matches("'stdin'.*'file'", tostring(helper.raises(shell, "x", { stdin = { path = "/x", file = 1 } })))
    helper.raises_code("ENOENT", shell, "x", { stdout = { path = "/nonexistent/x" } })
    assert.same(before, helper.world())
  end)
end)

describe("container: ends #userns", function()
  it("are told with code, cause and usage", function()
    local status = shell("exit 3")
    assert.same({ 3, "exited" }, { status.code, status.cause })
    assert.is_true(status.usage.maxrss > 0)
    status = shell("exit 137")
    assert.same({ 137, "exited" }, { status.code, status.cause })
  end)
  it("are told below init as without: by which signal, and whether it left a core", function()
    for name, script in pairs { SIGKILL = "kill -KILL $$", SIGTERM = "kill -TERM $$", SIGRTMIN = "kill -34 $$" } do
      local status = shell(script, { init = true })
      assert.same({ "signalled", name, 128 + carton.exec.signal_number(name) },
        { status.cause, status.signal, status.code })
    end
    for _, code in ipairs { 9, 137, 143, 255 } do
      local status = shell("exit " .. code, { init = true })
      assert.same({ code, "exited" }, { status.code, status.cause })
      assert.is_nil(status.signal)
    end
  end)
  it("come by time-out, also of a program that ignores signals", function()
    local before = helper.world()
    local status = shell("trap '' TERM INT; echo started; sleep 60", { timeout = 0.3 })
    assert.same({ 137, "timeout", "SIGKILL" }, { status.code, status.cause, status.signal })
    assert.equal("started\n", status.stdout)
    assert.same(before, helper.world())
    for _, timeout in ipairs { 0, -1, 0 / 0 } do
      assert.matches("'timeout'", helper.raises(sleeper, { timeout = timeout }))
    end
  end)
  it("come by kill, with the signal that was asked for", function()
    for _, name in ipairs { "TERM", "SIGINT", "SIGKILL" } do
      local c <close> = sleeper()
      assert.is_true(c:is_running())
      assert.is_true(c:kill(name))
      local status = c:wait(20)
      assert.same({ "signalled", "SIG" .. name:gsub("^SIG", "") }, { status.cause, status.signal })
      assert.is_false(c:kill())
      assert.is_false(c:is_running())
    end
    local c <close> = sleeper()
    helper.raises(c.kill, c, "SIGNONSENSE")
    assert.is_true(c:is_running())
  end)
  --- Kill a program when it has said "ready"; gives its code, cause and all that it said.
  local function told(fields, signal)
    local said = ""
    fields.stdin, fields.stdout = "null", function(text) said = said .. text end
    local c <close> = carton.container(fields)
    c:start()
    assert.is_true(soon(function()
      c:wait(0)
      return said:find("ready")
    end))
    c:kill(signal)
    local status = c:wait(20)
    return { status.code, status.cause, said }
  end
  it("are left to a handler of the program", function()
    assert.same({ 4, "exited", "ready\ncaught\n" }, told({ rootfs = helper.rootfs(), args = { "sh", "-c",
      "trap 'echo caught; exit 4' TERM; echo ready; while :; do sleep 0.05; done" } }, "SIGTERM"))
  end)
  it("are left to a program that blocks the signal and takes it by descriptor", function()
    assert.same({ 4, "exited", "ready\nSIGTERM\n" }, told({ rootfs = carton.rootfs.host(), mounts = {
      helper.program .. ":/carton:ro" }, args = { "/carton", "-e", [[
        local exec = require("carton").exec
        local signals = exec.signals { "SIGTERM" }
        io.write("ready\n")
        io.flush()
        exec.poll({ { signals, "r" } }, 20)
        io.write(signals:read_signal(), "\n")
        os.exit(4)]] } }, "SIGTERM"))
  end)
  it("are passed on by init", function()
    assert.same({ 143, "signalled", "ready\n" }, told({ rootfs = helper.rootfs(), init = true, args = { "sh", "-c",
      "echo ready; exec sleep 60" } }, "SIGTERM"))
  end)
  it("wait has a time-out and says nothing when it is up", function()
    local c <close> = sleeper()
    assert.is_nil(c:wait(0.05))
    assert.is_true(c:is_running())
    assert.matches("running already", helper.raises(c.start, c))
  end)
  it("close ends it, at the end of a block too, and twice", function()
    local before = helper.world()
    local pid
    do
      local c <close> = sleeper { stdout = "capture" }
      pid = c:pid()
      assert.is_true(is_there(pid))
    end
    assert.is_false(is_there(pid))
    local c = sleeper()
    c:close()
    c:close()
    assert.is_false(c:is_running())
    assert.matches("not started", tostring(helper.raises(c.wait, carton.container {
      rootfs = "/", args = { "x" } })))
    assert.same(before, helper.world())
  end)
  it("is reported, not waited for, where a process that was killed does not end", function()
    local wait = require("carton.wait")
    local grace = wait.grace
    local stuck <close> = carton.exec.spawn { steps = { { "exec.exec", args = { "sleep", "5" } } } } -- nobody kills it
    wait.grace = 0.1
    local err = helper.raises_code("ETIMEDOUT", wait.process, stuck, "one")
    wait.grace = grace
    assert.matches("one %(%d+%)", err.path)
    stuck:kill("SIGKILL")
    wait.process(stuck)
  end)
  it("a collection ends what nobody refers to, and leaves nothing", function()
    local before = helper.world()
    local pids = {}
    for i = 1, 3 do
      pids[i] = sleeper { stdout = "capture" }:pid()
    end
    collectgarbage()
    collectgarbage()
    for _, pid in ipairs(pids) do
      assert.is_false(is_there(pid))
    end
    assert.same(before, helper.world())
  end)
  it("one that is to live on is not ended by a collection", function()
    local pid = sleeper { die_with_parent = false }:pid()
    collectgarbage()
    collectgarbage()
    assert.is_true(is_there(pid))
    posix.kill(pid, posix.SIGKILL)
    posix.wait(pid)
  end)
  it("comes with the end of whoever started it", function()
    -- a change of ids or of capabilities must not undo that
    for _, user in ipairs { "0", pcall(output, "true", { user = "33:34" }) and "33:34" or nil } do
      local result = helper.carton("-e", ([[
        local c = require("carton").container { rootfs = %q, args = { "sleep", "60" }, stdin = "null",
          stdout = "null", user = %q }
        c:start()
        io.write(c:pid())
        io.flush()
        require("carton").exec.open_process(0):kill("SIGKILL")
      ]]):format(helper.rootfs(), user))
      assert.equal("SIGKILL", result.signal)
      assert.is_true(soon(function() return not is_there(assert(tonumber(result.stdout), result.stderr)) end))
    end
  end)
  it("can be followed by another run of the same", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), stdin = "again",
      stdout = "capture", args = { "cat" } }
    local before
    for i = 1, 3 do
      assert.equal("again", c:run().stdout)
      local now = helper.world()
      before = before or now
      assert.same({ #before.fds, before.mounts, {} }, { #now.fds, now.mounts, now.children }, i)
    end
  end)
  it("init reaps what others left", function()
    assert.equal("reaped", output([[for i in 1 2 3; do (true & ) ; done; i=0
      while grep -qs "^State:.Z" /proc/[0-9]*/status && [ $i -lt 200 ]; do i=$((i + 1)); sleep 0.02; done
      grep -qs "^State:.Z" /proc/[0-9]*/status && echo zombies || echo reaped]], { init = true }))
    assert.equal("2", output("echo $$", { init = true }))
    assert.equal("1", output("echo $$"))
  end)
end)

describe("container: a further program that fails #root", function()
  it("leaves no child, at whatever descriptor it runs out of them", function()
    helper.isolated(function()
      local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" },
        stdin = "null", stdout = "null", stderr = "null" }:start()
      local failed, limit = 0, 3
      repeat
        carton.privilege.rlimits { limits = { nofile = { soft = limit, hard = 4096 } } }
        local ok, result = pcall(c.exec, c, { args = { "true" }, stdin = "null" })
        carton.privilege.rlimits { limits = { nofile = { soft = 4096, hard = 4096 } } }
        assert(#helper.children() == (ok and 2 or 1), "a child is left at " .. limit)
        failed, limit = failed + (ok and 0 or 1), limit + 1
        if ok then
          result:close()
        end
      until ok
      assert(failed > 3, "it did not fail")
      c:kill()
      assert(c:wait(20), "its first process waits for somebody whom nobody reaps")
    end)
  end)
end)

describe("container: a further program #userns", function()
  it("that comes while the container ends is told so", function()
    for i = 1, 10 do
      local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", tostring(i / 500) },
        stdin = "null" }:start()
      local ok, err
      repeat
        ok, err = pcall(function() c:exec { args = { "true" } }:wait() end)
      until not ok
      assert.equal("the container has ended meanwhile", err.hint, tostring(err))
      assert.equal(0, c:wait().code)
    end
  end)
end)

describe("container: waiting #userns", function()
  it("looks for what others left to us now and then, not at each event", function()
    local core = require("carton.core")
    local readlink, looks = core.host.readlink, 0
    local home <close> = sleeper()
    home:exec { args = { "true" }, stdin = "null" }:wait()
    core.host.readlink = function(path)
      looks = looks + (path:find("/ns/pid$") and 1 or 0)
      return readlink(path)
    end
    local events = 0
    local e <close> = home:exec { args = { "sh", "-c", "for i in $(seq 200); do echo $i; sleep 0.005; done" },
      stdin = "null", stdout = function() events = events + 1 end }
    local ok, status = pcall(e.wait, e)
    core.host.readlink = readlink
    assert(ok, status)
    assert.is_true(events > 100 and looks < events / 2, ("%d looks at %d events"):format(looks, events))
  end)
  it("for several gives the first that ends, and all outputs whole", function()
    local list = {}
    for i = 1, 3 do
      list[i] = carton.container { rootfs = helper.rootfs(), stdin = "null", stdout = "capture",
        args = { "sh", "-c", ("head -c 300000 /dev/zero; echo %d; exit %d"):format(i, i) } }:start()
    end
    local left, seen = table.move(list, 1, 3, 1, {}), 0
    while #left > 0 do
      local c, status = carton.wait_any(left, 30)
      assert.equal(300002, #status.stdout)
      assert.equal(c, list[status.code])
      seen = seen + status.code
      for i, other in ipairs(left) do
        if other == c then
          table.remove(left, i)
          break
        end
      end
    end
    assert.equal(6, seen)
    assert.equal(list[1], (carton.wait_any(list)), "who has ended is given at once")
  end)
  it("has a time-out, and takes no time of the processor", function()
    local a <close> = sleeper { stdout = "capture" }
    local b <close> = sleeper { stdout = "capture", stderr = "capture" }
    local before = os.clock()
    assert.is_nil(carton.wait_any({ a, b }, 0.5))
    assert.is_true(os.clock() - before < 0.2, "it is busy")
  end)
  it("is not busy when a pipe was closed early, and a feed has to wait", function()
    local before = os.clock()
    assert.equal("4", output("exec 2>&-; sleep 0.6; head -c 4 | wc -c", { stdin = ("x"):rep(1 << 20) }))
    assert.is_true(os.clock() - before < 0.3, "it is busy")
  end)
  it("reaps what ends between two looks", function()
    local has_ended = false -- from the first look on
    local function look()
      local before = has_ended
      has_ended = true
      return before
    end
    local process = { is_alive = function() return not look() end,
      wait = function() return look() and { code = 3 } or nil end }
    assert.equal(3, require("carton.wait").process(process).code)
  end)
  it("does without those that a collection has closed", function()
    local wait = require("carton.wait")
    local c <close> = sleeper()
    local lost = carton.exec.spawn { steps = { { "exec.exec", args = { "/bin/sleep", "60" } } } }
    wait.enter({ process = lost }, true)
    wait.attend(lost) -- as if its tracer had its end
    lost:kill("SIGKILL")
    lost:wait()
    lost:close()
    assert.equal(0, c:exec { args = { "true" } }:wait().code)
    local pid = sleeper { die_with_parent = false }:pid()
    collectgarbage()
    assert.equal(0, c:exec { args = { "true" } }:wait().code)
    posix.kill(pid, posix.SIGKILL)
    posix.wait(pid)
  end)
  it("refuses nothing, and what is no container", function()
    assert.matches("list of containers", helper.raises(carton.wait_any, {}))
    assert.matches("list of containers", helper.raises(carton.wait_any, nil))
    assert.matches("list of containers", helper.raises(carton.wait_any, { 1 }))
    assert.matches("'timeout'", helper.raises(carton.wait_any, { sleeper() }, "x"))
  end)
end)

teardown(helper.cleanup)
