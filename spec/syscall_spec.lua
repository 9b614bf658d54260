-- SPDX-License-Identifier: MIT
-- Calls that functions answer: what programs really get, what is really done, and payloads that are out for trouble.
local posix = require("posix")
local carton = require("carton")
local core = require("carton.core")
local helper = require("spec.helper")
local bpf = require("carton.seccomp.bpf")
local syscalls = require("carton.seccomp.syscalls")

local payload

--- A root with the program of syscall_payload.c as /bin/payload.
local function root()
  if not payload then
    payload = helper.rootfs(true)
    assert(os.execute(("cc -static -O1 -pthread -D_GNU_SOURCE -o '%s/bin/payload' spec/syscall_payload.c")
      :format(payload)))
  end
  return payload
end

--- Run the payload in a container whose calls are answered; gives its status.
local function run(args, on_syscall, fields)
  local all = { rootfs = root(), args = args, stdin = "null", stdout = "capture", stderr = "capture", timeout = 60,
    on_syscall = on_syscall }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  local c <close> = carton.container(all)
  return c:run()
end

local function shell(script, on_syscall, fields)
  return run({ "sh", "-c", script }, on_syscall, fields)
end

local function continue(call)
  return call:continue()
end

local function refused(pattern, on_syscall, fields)
  assert.matches(pattern, tostring(helper.raises(run, { "true" }, on_syscall, fields)))
end

describe("on_syscall #userns", function()
  before_each(function()
    collectgarbage()
  end)
  teardown(function()
    payload = nil
    helper.cleanup()
  end)

  it("refuses what it does not know, by name", function()
    refused("there is no system call 'mout' %(did you mean 'mount'%?%)", { mout = continue })
    refused("on_syscall.mount': function expected, got boolean", { mount = true })
    refused("on_syscall.denied': function expected", { denied = "EPERM" })
    refused("on_syscall.timeout': a number of seconds above 0 expected", { timeout = 0, mount = continue })
    refused("a handler expected", {})
    refused("a handler expected", { timeout = 1 })
    refused("there is no system call '5'", { [5] = continue })
    refused("field 'on_syscall': table expected, got function", continue)
  end)

  it("returns numbers and errnos, and lets the kernel go on", function()
    local made = {}
    local status = shell("mkdir /tmp/a; mkdir /tmp/b; mkdir /tmp/c; ls /tmp", { mkdir = function(call)
      made[#made + 1] = call.name .. " " .. call:string(1) .. " " .. call.arch
      if call:string(1) == "/tmp/a" then
        return 0
      elseif call:string(1) == "/tmp/b" then
        return nil, "ENOSPC"
      end
      return call:continue()
    end }, { mounts = { { type = "tmpfs", target = "/tmp" } } })
    assert.same({ "mkdir /tmp/a " .. core.architecture, "mkdir /tmp/b " .. core.architecture,
      "mkdir /tmp/c " .. core.architecture }, made)
    assert.equal("c\n", status.stdout)
    assert.equal("mkdir: can't create directory '/tmp/b': No space left on device\n", status.stderr)
  end)

  it("gives numbers as large as they are, and arguments as they were", function()
    local args
    local status = run({ "payload" }, { getppid = function(call)
      args = call.args
      return 1 << 40
    end })
    assert.equal("getppid 1099511627776 \n", status.stdout)
    assert.equal(6, #args)
  end)

  it("answers what the profile denies, but never lets it through", function()
    local verdict
    local status = shell("mount -t tmpfs none /tmp && echo mounted; grep -c ' /tmp ' /proc/self/mounts; "
      .. "mount -t tmpfs none /mnt", { mount = function(call)
      verdict = call:verdict()
      if call:string(2) == "/tmp" then
        return 0
      end
      return call:continue()
    end }, { capabilities = { add = { "SYS_ADMIN" } }, rootfs = carton.steps(carton.rootfs.dir(root())),
      seccomp = { default = "allow", rules = { { names = { "mount" }, action = { "errno", "EXDEV" } } } } })
    assert.equal("EXDEV", verdict)
    assert.equal("mounted\n0\n", status.stdout)
    assert.matches("Invalid cross%-device link", status.stderr)
  end)

  it("denies when a handler returns nothing, and where nobody is", function()
    assert.equal("getppid -1 EPERM\n", run({ "payload" }, { getppid = function() end }).stdout)
    assert.equal("getppid -1 EPERM\n", run({ "payload" }, { getppid = function() return nil end }).stdout)
  end)

  it("denies when a handler raises, and raises it where the recipe waits", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function() error("broken") end } }
    c:start()
    assert.matches("broken", tostring(helper.raises(c.wait, c)))
    assert.equal("getppid -1 EPERM\n", c:wait().stdout)
  end)

  it("denies when a handler returns what is none", function()
    for _, answer in ipairs { { "x" }, { nil, "ENOTHING" }, { nil, 5 }, { 1.5 }, { {} } } do
      local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
        on_syscall = { getppid = function() return table.unpack(answer, 1, 2) end } }
      c:start()
      assert.matches("getppid: ", tostring(helper.raises(c.wait, c)))
      assert.equal("getppid -1 EPERM\n", c:wait().stdout)
    end
  end)

  it("denies when time is up: in a loop without end, late, or put off for ever", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { timeout = 0.1, getppid = function() while true do end end } } -- luacheck: ignore
    c:start()
    assert.matches("the handler of getppid took longer than 0.1 s", tostring(helper.raises(c.wait, c)))
    assert.equal("getppid -1 EPERM\n", c:wait().stdout)
    assert.is_nil(debug.gethook())
    assert.equal("getppid -1 EPERM\n", run({ "payload" }, { timeout = 0.1, getppid = function()
      core.exec.poll({}, 0.2)
      return 42
    end }).stdout)
    assert.equal("getppid -1 EPERM\n", run({ "payload" }, { timeout = 0.1, getppid = function(call)
      call:defer()
    end }).stdout)
  end)

  it("denies when time is up in a coroutine, or in what catches errors", function()
    local function spin()
      while true do end -- luacheck: ignore
    end
    local older, oldest = coroutine.create(spin), coroutine.wrap(spin)
    local resume, wrap = coroutine.resume, coroutine.wrap
    for name, handler in pairs {
      wrap = function() wrap(spin)() end,
      resume = function() resume(older) end,
      older = function() oldest() end,
      nested = function()
        wrap(function()
          while true do
            resume(coroutine.create(spin))
          end
        end)()
      end,
      pcall = function()
        while true do
          pcall(spin)
        end
      end,
      all = function()
        while true do
          pcall(function() wrap(spin)() end)
          pcall(pcall, spin)
        end
      end,
      swallowed = function() return pcall(spin) and 1 or 2 end,
    } do
      local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture", timeout = 30,
        on_syscall = { timeout = 0.1, getppid = handler } }
      c:start()
      assert.matches("the handler of getppid took longer than 0.1 s", tostring(helper.raises(c.wait, c)), name)
      assert.equal("getppid -1 EPERM\n", c:wait().stdout, name)
      assert.is_nil(debug.gethook())
    end
    assert.is_nil(debug.gethook(coroutine.create(spin)))
  end)

  it("has a handler close its container, whoever waits for it", function()
    for _, how in ipairs { "wait", "wait_any", "loop" } do
      local before, c = helper.fds(), nil
      local other <close> = carton.container { rootfs = root(), args = { "sleep", "30" } }
      c = carton.container { rootfs = root(), args = { "payload", "times", "9" }, stdout = "capture", timeout = 30,
        on_syscall = { getppid = function()
          c:close()
          return 0
        end } }
      c:start()
      local pid, status = c:pid(), nil
      if how == "wait" then
        status = c:wait()
      elseif how == "wait_any" then
        local first
        other:start()
        first, status = carton.wait_any { other, c }
        assert.equal(c, first)
      else
        local loop = carton.loop.new()
        loop:container(c, function(result) status = result end)
        loop:run()
      end
      assert.equal("SIGKILL", status.signal)
      assert.is_false(c:is_running())
      assert.is_nil(posix.access("/proc/" .. pid))
      other:close()
      assert.same(before, helper.fds())
    end
  end)

  it("closes what a handler had open when its time was up", function()
    local kept, closed
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture", timeout = 30,
      on_syscall = { timeout = 0.1, getppid = function()
        local null <close> = core.exec.null()
        kept = null
        local own <close> = setmetatable({}, { __close = function() closed = true end }) -- luacheck: ignore own
        local endless <close> = setmetatable({}, { __close = function() -- luacheck: ignore endless
          while true do end -- luacheck: ignore
        end })
        while true do end -- luacheck: ignore
      end } }
    c:start()
    assert.matches("took longer than 0.1 s", tostring(helper.raises(c.wait, c)))
    assert.equal("getppid -1 EPERM\n", c:wait().stdout)
    assert.is_true(closed)
    assert.matches("closed descriptor", tostring(helper.raises(kept.fileno, kept)))
  end)

  it("denies when a handler yields, and goes on with the others", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload", "times", "3" }, stdout = "capture",
      timeout = 30, on_syscall = { getppid = function() return coroutine.yield() end } }
    local other <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture", timeout = 30,
      on_syscall = { getppid = function() return 4 end } }
    c:start()
    other:start()
    local errors, status = {}, nil
    local thread = coroutine.wrap(function()
      repeat
        local ok, result = pcall(c.wait, c)
        if ok then
          status = result
        else
          errors[#errors + 1] = result
        end
      until status
      return "done"
    end)
    assert.equal("done", thread())
    assert.equal(3, #errors)
    assert.matches("yield", tostring(errors[1]))
    assert.equal("times -3 ", (status.stdout:gsub("%u*\n", "")))
    assert.equal("getppid 4 \n", other:wait().stdout)
  end)

  it("answers later, from a loop", function()
    local loop, kept, status = carton.loop.new(), nil, nil
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function(call)
        call:defer()
        kept = call
        loop:timer(0.02, function() call:reply(7) end)
      end } }
    c:start()
    loop:container(c, function(result) status = result end)
    loop:run()
    assert.equal("getppid 7 \n", status.stdout)
    assert.is_false(kept:is_valid())
    assert.matches("answered already", tostring(helper.raises(kept.reply, kept, 1)))
  end)

  it("keeps no more than so many for later, and none of the dead", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload", "dying" }, stdout = "capture",
      on_syscall = { timeout = 30, getppid = function(call) call:defer() end } }
    c:start()
    c.supervisor.most = 10
    local highest, close = 0, c.supervisor.close
    c.supervisor.close = function(self)
      highest = math.max(highest, self.count)
      close(self)
    end
    assert.equal("dying 0 \n", c:wait().stdout)
    assert.is_true(highest <= 10 and highest > 0, highest)
    local threads <close> = carton.container { rootfs = root(), args = { "payload", "threads" }, stdout = "capture",
      on_syscall = { timeout = 30, getppid = function(call) call:defer() end } }
    threads:start()
    threads.supervisor.most = 7 -- of 8
    assert.equal(9, threads:wait().code)
  end)

  it("fails with ENOSYS when nobody answers any more", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function() error("not asked") end } }
    c:start()
    c.supervisor:close()
    assert.equal("getppid -1 ENOSYS\n", c:wait().stdout)
  end)

  it("leaves a payload whose recipe was killed with ENOSYS, not for ever", function()
    local place = helper.tmpdir()
    local recipe = helper.write(place .. "/recipe.lua", ([[
      local carton = require("carton")
      local c = carton.container { rootfs = %q, args = { "sh", "-c", "payload > /out/first; payload > /out/second" },
        mounts = { %q }, die_with_parent = false, on_syscall = { getppid = function() return 1 end } }
      c:start()
      os.execute("kill -KILL $PPID")
    ]]):format(root(), place .. ":/out"))
    helper.run { helper.program, recipe }
    assert.is_true(helper.eventually(function()
      return posix.access(place .. "/second") and helper.read(place .. "/second") ~= ""
    end))
    assert.equal("getppid -1 ENOSYS\n", helper.read(place .. "/first"))
    assert.equal("getppid -1 ENOSYS\n", helper.read(place .. "/second"))
  end)

  it("asks one handler about everything, another about what is denied", function()
    local seen, denied, program = {}, {}, "mkdir /tmp/x; mount -t tmpfs none /tmp; true | true"
    local status = shell(program, { ["*"] = function(call)
      seen[call.name] = call:verdict()
      return call:continue()
    end, denied = function(call)
      denied[call.name] = call:verdict()
    end })
    assert.equal("allow", seen.execve or seen.mkdir)
    assert.equal("allow", seen.mkdir)
    assert.is_nil(seen.mount)
    assert.equal("EPERM", denied.mount)
    assert.is_nil(denied.mkdir)
    assert.matches("mount: .*[Pp]ermission denied", status.stderr)
    seen = {}
    shell(program, { ["*"] = function(call)
      seen[call.name] = true
      return call:continue()
    end, mkdir = function() return 0 end })
    assert.is_nil(seen.mkdir)
    assert.is_nil(seen.mount)
  end)

  it("does not ask about what starts the program, whatever is asked about", function()
    for _, fields in ipairs { {}, { init = true }, { seccomp = false }, { terminal = true, stdin = false,
      stdout = false, stderr = false } } do
      for key, value in pairs(fields) do
        fields[key] = value or nil
      end
      local first
      local c <close> = carton.container { rootfs = root(), args = { "payload", "descriptors" }, init = fields.init,
        seccomp = fields.seccomp, terminal = fields.terminal, timeout = 30,
        stdout = not fields.terminal and "capture" or nil,
        on_syscall = { ["*"] = function(call)
          first = first or call.name
          return call:continue()
        end, execve = function() return nil, "EACCES" end } }
      c:start()
      assert.equal(0, c:wait().code)
      assert.is_true(first == "brk" or first == "arch_prctl" or first == "set_tid_address", first)
    end
  end)

  it("says which step failed, also when everything is asked about", function()
    for _, init in ipairs { false, true } do
      local err = helper.raises_code("ENOENT", run, { "/nonexistent" }, { ["*"] = continue }, { init = init })
      assert.equal("exec.exec", err.step)
    end
  end)

  it("asks about the program's own execve", function()
    local status = shell("/bin/payload; echo $?", { execve = function(call)
      return call:string(1) == "/bin/payload" and call:errno("EACCES") or call:continue()
    end })
    assert.equal("126\n", status.stdout)
  end)

  it("gives the payload no descriptor to answer itself", function()
    for _, init in ipairs { false, true } do
      assert.equal("descriptors 0 \n", run({ "payload", "descriptors" }, { getppid = continue },
        { init = init }).stdout)
    end
    local listing = shell("ls -l /proc/1/fd /proc/self/fd", { getppid = continue }).stdout
    assert.is_nil(listing:find("seccomp", 1, true), listing)
  end)

  it("reads one consistent string while it is changed", function()
    local wrong, changed = 0, 0
    local status = run({ "payload", "toctou" }, { mkdir = function(call)
      local path = call:string(1)
      wrong = wrong + (path == call:string(1) and 0 or 1)
      if changed < 3 and helper.eventually(function()
        call.known = {} -- what reading it anew would have given
        return path ~= call:string(1)
      end) then
        changed = changed + 1
      end
      return 0
    end })
    assert.equal("toctou 0 \n", status.stdout)
    assert.equal(0, wrong)
    assert.equal(3, changed, "the payload did not get to change anything")
  end)

  it("answers hostile pointers as the kernel does", function()
    local paths = {}
    local status = run({ "payload", "edges" }, { mkdir = function(call)
      paths[#paths + 1] = call:string(1) or "null"
      return call:string(1) and 0 or call:errno("EFAULT")
    end })
    assert.equal("edge 0 \nendless -1 ENAMETOOLONG\nnull -1 EFAULT\nnowhere -1 EFAULT\n",
      (status.stdout:gsub("endless %-1 EFAULT", "endless -1 ENAMETOOLONG")))
    assert.same({ "/tmp/edge", "null" }, paths)
  end)

  it("says what can't be injected", function()
    local file <close> = assert(io.open("/dev/null"))
    refused("on_syscall: getppid: inject: a handle .* expected, got file; posix", { getppid = function(call)
      return call:inject(file)
    end }, { args = { "payload" } })
  end)

  it("takes no harm from sizes that a payload chooses", function()
    assert.equal("getppid -1 ENOMEM\n", run({ "payload" }, { getppid = function(call)
      return #call:bytes(1, -1)
    end }).stdout)
    assert.equal("getppid -1 EBADF\n", run({ "payload" }, { getppid = function(call)
      return call:descriptor(-1):fileno()
    end }).stdout)
    assert.equal("getppid -1 EBADF\n", run({ "payload" }, { getppid = function(call)
      local null <close> = core.exec.null()
      return call:inject(null, { at = 1 << 30 })
    end }).stdout)
  end)

  it("survives callers that die while they wait, and forgets them", function()
    local before, gone = helper.fds(), 0
    local status = run({ "payload", "dying" }, { getppid = function(call)
      core.exec.poll({}, 0.002)
      if not call:is_valid() then
        gone = gone + 1
        assert(call:continue() == false)
        local ok, why = pcall(call.bytes, call, 1, 1)
        assert(not ok and tostring(why):find("getppid: "))
        return
      end
      call:defer()
    end })
    assert.equal("dying 0 \n", status.stdout)
    assert.is_true(gone > 0)
    assert.same(before, helper.fds())
  end)

  it("never takes another process for one that has ended", function()
    local kept
    local c <close> = carton.container { rootfs = root(), stdin = "null", stderr = "null",
      args = { "sh", "-c", "payload edges & sleep 0.1; kill -9 $!; wait; sleep 30" },
      on_syscall = { mkdir = function(call)
        kept = call
        call:defer()
      end } }
    c:start()
    assert.is_true(helper.eventually(function()
      c:wait(0.01)
      return kept and not kept:is_valid()
    end))
    -- as if its number were ours by now
    local listener, own = c.process:listener(), posix.getpid("pid")
    local address = tonumber(helper.read("/proc/self/maps"):match("(%x+)%-%x+ rw"), 16)
    local byte = assert(io.open("/proc/self/mem", "rb"))
    byte:seek("set", address)
    local before = byte:read(8)
    for _, refused_call in ipairs { { "read", address, 8 }, { "read", address, 8, true },
      { "write", address, "overwrit" }, { "directory", "root" }, { "directory", "cwd" },
      { "process" }, { "descriptor", 0 } } do
      local name = refused_call[1]
      local value, why = listener[name](listener, kept.id, own, table.unpack(refused_call, 2))
      assert.is_nil(value, name)
      assert.equal("ENOENT", why, name)
    end
    byte:seek("set", address)
    assert.equal(before, byte:read(8))
    byte:close()
    assert.is_nil(listener:add_descriptor(kept.id, 0))
    assert.is_false(listener:reply(kept.id, 1))
    assert.is_false(listener:deny(kept.id, 1))
    assert.is_false(listener:continue(kept.id))
    c:close()
    assert.matches("closed listener", tostring(helper.raises(listener.receive, listener)))
    assert.equal("mkdir: ESRCH", tostring(helper.raises(kept.string, kept, 2, 7)))
    assert.is_false(kept:reply(1))
  end)

  it("asks about the call that gave the listener away, when the program makes it", function()
    local asked = 0
    local status = run({ "payload", "sendmsg" }, { sendmsg = function()
      asked = asked + 1
      return 7
    end })
    assert.equal("sendmsg 7 \nsendmsg 7 \n", status.stdout)
    assert.equal(2, asked)
  end)

  it("does not take the program's first call for its launch, below an init", function()
    for _ = 1, 20 do
      local asked = 0
      assert.equal("getppid 4 \n", run({ "payload" }, { ["*"] = function(call)
        asked = asked + (call.name == "brk" and 1 or 0)
        return call:continue()
      end, getppid = function() return 4 end }, { init = true }).stdout)
      assert.is_true(asked >= 2)
    end
  end)

  it("lets nobody make the init call what the init is not asked about", function()
    local status = run({ "payload", "attach" }, { kill = continue }, { init = true, seccomp = false })
    assert.equal("attach -1 EPERM\n", status.stdout)
    local c <close> = carton.container { rootfs = root(), args = { "sleep", "30" }, init = true,
      on_syscall = { ["*"] = continue } }
    c:start()
    assert.equal("7\n", c:exec { args = { "sh", "-c", "echo 7" }, stdout = "capture" }:wait().stdout)
    c:kill("SIGTERM")
    assert.equal(143, c:wait().code)
  end)

  it("has one listener, and says so", function()
    local program = carton.seccomp.notify_steps(false, {}, false, { handlers = { getppid = continue } })[1].program
    local step = { "privilege.notify", program = program }
    local err = helper.raises_code("EBUSY", core.exec.spawn, { steps = { { "privilege.no_new_privs" }, step, step,
      { "exec.exec", args = { "/bin/true" } } } })
    assert.equal(3, err.index)
    assert.matches("an outer container has on_syscall already", require("carton.hint").find(err))
  end)

  it("answers threads, and callers with signals on their way", function()
    assert.equal("threads 0 \n", run({ "payload", "threads" }, { getppid = function() return 42 end }).stdout)
    assert.equal("signals 0 \n", run({ "payload", "signals" }, { getppid = function() return 42 end }).stdout)
  end)

  it("is not kept from the rest by a bomb of callers", function()
    local asked = 0
    local c <close> = carton.container { rootfs = root(), args = { "payload", "bomb" }, stdout = "capture",
      rlimits = { nproc = 4096 }, on_syscall = { getppid = function()
        asked = asked + 1
        return 1
      end } }
    local other <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function() return 5 end } }
    c:start()
    other:start()
    assert.equal("getppid 5 \n", other:wait().stdout)
    assert.equal("bomb 0 \n", c:wait().stdout)
    assert.is_true(asked > 200)
  end)

  it("answers several containers at once, whichever is waited for", function()
    local list = {}
    for i = 1, 4 do
      list[i] = carton.container { rootfs = root(), args = { "payload", "times", "50" }, stdout = "capture",
        on_syscall = { getppid = function() return i end } }
      list[i]:start()
    end
    for i = 4, 1, -1 do
      assert.equal(("times %d \n"):format(50 * i), list[i]:wait().stdout)
      list[i]:close()
    end
  end)

  it("answers thousands without keeping anything", function()
    local before = helper.fds()
    assert.equal("times 2500 \n", run({ "payload", "times", "500" }, { getppid = function(call)
      local null <close> = core.exec.null()
      call:inject(null, { at = 50 })
      local own <close> = call:descriptor(1) -- luacheck: ignore
      local process <close> = call:process() -- luacheck: ignore
      return 5
    end }).stdout)
    collectgarbage()
    local memory = collectgarbage("count")
    assert.equal("times 25000 \n", run({ "payload", "times", "5000" }, { getppid = function() return 5 end }).stdout)
    collectgarbage()
    assert.is_true(collectgarbage("count") - memory < 100)
    assert.same(before, helper.fds())
  end)

  it("writes into the caller's memory", function()
    local status = run({ "payload", "written" }, { getrandom = function(call)
      call:write(1, "by the recipe\0")
      return 14
    end })
    assert.equal("written 14 \nby the recipe\n", status.stdout)
  end)

  it("gives the caller a descriptor, at once with the answer", function()
    for _, cloexec in ipairs { false, true } do
      local secret = helper.write(helper.tmpdir() .. "/secret", "secret")
      local function open(call)
        if call:string(call.name == "open" and 1 or 2) ~= "/etc/secret" then
          return call:continue()
        end
        local file <close> = core.exec.open(secret)
        call:inject(file, { reply = true, cloexec = cloexec })
      end
      local status = run({ "payload", "injected" }, { open = open, openat = open })
      assert.equal(("secret %s\ninjected 3 \n"):format(cloexec and "cloexec" or "kept"), status.stdout)
    end
  end)

  it("reaches the caller's own root and directory, and nothing of the host", function()
    local fresh = helper.rootfs(true)
    assert(os.execute(("ln -s / '%s/tmp/host'"):format(fresh)))
    local where
    local status = shell("cd /tmp; mkdir made; mkdir /tmp/host/usr/deep; ls -d /tmp/made /usr/deep",
      { mkdir = function(call)
        local path, start <close> = call:path(1)
        where = path
        local root_of <close> = call:root()
        assert(start)
        carton.mount.mkdir { root = root_of, target = path:sub(1, 1) == "/" and path or "/tmp/" .. path }
        return 0
      end }, { rootfs = fresh })
    assert.equal("/tmp/made\n/usr/deep\n", status.stdout, status.stderr)
    assert.equal("/tmp/host/usr/deep", where)
    assert.is_nil(posix.access("/usr/deep"))
  end)

  it("reads socket addresses", function()
    local seen = {}
    local status = shell("nc -w 1 127.0.0.1 8080; nc -w 1 ::1 81; nc -w 1 local:/run/x; true", {
      connect = function(call)
        local address = call:sockaddr(2, 3)
        seen[#seen + 1] = ("%s %s %s"):format(address.family, address.address, address.port)
        return nil, "ECONNREFUSED"
      end }, { args = { "busybox", "sh", "-c", "busybox nc -w 1 127.0.0.1 8080; busybox nc -w 1 ::1 81; true" } })
    assert.equal(0, status.code, status.stderr)
    assert.equal("inet 127.0.0.1 8080", seen[1])
    assert.equal("inet6 ::1 81", seen[2])
  end)

  it("performs steps for the caller where it is, and answers what fails there", function()
    local status = shell("mkdir /tmp/a && echo made; grep -c ' /tmp ' /proc/self/mounts; mkdir /tmp/b/c", {
      mkdir = function(call)
        call:perform { { "mount.tmpfs", target = "/tmp" },
          { "mount.mkdir", target = call:string(1), parents = false } }
        return 0
      end }, { rootfs = helper.rootfs(true) })
    assert.equal("made\n1\n", status.stdout)
    assert.matches("can't create directory '/tmp/b/c': No such file", status.stderr)
    local mounts = {}
    for i, mount in ipairs(core.mount.list()) do
      mounts[i] = mount.target
    end
    assert.is_nil(table.concat(mounts, "\n"):find("carton-spec", 1, true))
    local c <close> = carton.container { rootfs = root(), args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function(call) call:perform { { "mount.nothing" } } end } }
    c:start()
    assert.matches("no primitive 'mount.nothing'", tostring(helper.raises(c.wait, c)))
  end)

  it("answers further programs of a container by its handlers, or by their own", function()
    local c <close> = carton.container { rootfs = root(), args = { "sleep", "30" },
      on_syscall = { getppid = function() return 11 end } }
    c:start()
    local status = c:exec { args = { "payload" }, stdout = "capture" }:wait()
    assert.equal("getppid 11 \n", status.stdout)
    status = c:exec { args = { "payload" }, stdout = "capture",
      on_syscall = { getppid = function() return 12 end } }:wait()
    assert.equal("getppid 12 \n", status.stdout)
  end)

  it("lets nobody inside look into what executes a further program, whose calls go on", function()
    local c <close> = carton.container { rootfs = root(), args = { "payload", "peek" }, stdout = "capture",
      on_syscall = { getppid = continue } }
    c:start()
    for _ = 1, 15 do
      c:exec { args = { "payload", "times", "100" }, stdout = "null", on_syscall = { ["*"] = continue } }:wait()
    end
    c:kill("SIGKILL")
    assert.equal("program\n", c:wait().stdout)
  end)

  it("does not begin below an init that can't hold the program back, or hide", function()
    for _, name in ipairs { "read", "prctl" } do
      local program = carton.seccomp.compile { default = "allow", rules = { { names = { name }, action = "errno" } } }
      local err = helper.raises_code("EPERM", run, { "true" }, { getppid = continue },
        { init = true, seccomp = { program = program } })
      assert.equal("exec.exec", err.step)
    end
  end)

  it("goes on after a handler whose time is up wherever it is", function()
    local count, hook = 0, debug.gethook()
    local c <close> = carton.container { rootfs = root(), args = { "payload", "times", "120" }, stdout = "capture",
      timeout = 30, on_syscall = { timeout = 0.001, getppid = function()
        count = count + 1
        for _ = 1, 9890 + count do end -- up to a look at the clock: here, or where the handler returns to
        core.exec.poll({}, 0.002)
      end } }
    c:start()
    local ok, status
    repeat
      ok, status = pcall(c.wait, c)
    until ok
    assert.equal("times -120 ", (status.stdout:gsub("%u*\n", "")))
    assert.equal(120, count)
    assert.equal(hook, debug.gethook())
  end)

  it("works on a terminal, below an init, with a filter of instructions, and with none", function()
    local function answered(fields)
      return run({ "payload" }, { getppid = function() return 6 end }, fields).stdout
    end
    assert.equal("getppid 6 \n", answered { init = true })
    assert.equal("getppid 6 \n", answered { seccomp = false })
    assert.equal("getppid 6 \n", answered { seccomp = { program = carton.seccomp.compile("default") } })
    assert.equal("getppid 6 \n", answered { no_new_privs = false })
    local all = { default = "allow", rules = { { names = { "getppid" }, action = { "errno", "EDOM" } } } }
    assert.equal("getppid -1 EDOM\n", answered { seccomp = { program = carton.seccomp.compile(all) } })
    assert.equal("getppid 6 \n", answered { seccomp = all })
  end)

  it("leaves what kills as it is", function()
    local kill = { default = "allow", rules = { { names = { "getppid" }, action = "kill" } } }
    local status = run({ "payload" }, { getppid = function() return 6 end, ["*"] = continue }, { seccomp = kill })
    assert.equal("SIGSYS", status.signal)
  end)

  it("answers where a profile asks, and refuses one that asks about what nobody answers", function()
    local asking = { defaultAction = "SCMP_ACT_ALLOW", syscalls = {
      { names = { "getppid" }, action = "SCMP_ACT_NOTIFY" } } }
    assert.equal("getppid 8 \n", run({ "payload" }, { getppid = function() return 8 end },
      { seccomp = asking }).stdout)
    refused("rule 1 asks about getppid, for which on_syscall has no handler", { mkdir = continue },
      { seccomp = asking })
    refused("on_syscall has no handler '%*'", { mkdir = continue }, { seccomp = { default = "notify" } })
    local c = carton.container { rootfs = root(), args = { "payload" }, seccomp = asking }
    assert.matches("somebody has to answer", tostring(helper.raises(c.compile, c)))
  end)

  it("has a plan that says what is asked about", function()
    local c = carton.container { rootfs = root(), args = { "payload" }, on_syscall = { mount = continue,
      connect = continue, ["*"] = continue } }
    local text = carton.plan.text(c:compile())
    assert.matches('privilege.notify name=default calls="%*",connect,mount program="%d+ instructions, %x+"\n', text)
    assert.equal(text, carton.plan.text(c:compile()))
  end)
end)

describe("a filter that asks", function()
  local ALLOW <const>, NOTIFY <const>, ENOSYS <const> = 0x7fff0000, 0x7fc00000, 0x00050000 | core.errno.ENOSYS

  --- What it returns for a call.
  local function returned(handlers, call, args, arch, options)
    options = options or {}
    local steps = carton.seccomp.notify_steps(options.profile or false, {}, false,
      { handlers = handlers, all = options.all, denied = options.denied })
    arch = arch or "x86_64"
    local number = math.tointeger(call) or syscalls.numbers(arch)[call]
    return (bpf.run(steps[1].program, { number = number, arch = syscalls.architectures[arch].audit, args = args }))
  end

  if core.architecture ~= "x86_64" then
    it("has other ways into the kernel", function()
      pending("of x86_64 only")
    end)
    return
  end
  it("asks by every way into the kernel", function()
    local h = { connect = true, chown = true, semop = true }
    assert.equal(NOTIFY, returned(h, "connect"))
    assert.equal(ALLOW, returned(h, "bind"))
    assert.equal(NOTIFY, returned(h, "connect", nil, "i386"))
    assert.equal(NOTIFY, returned(h, "chown32", nil, "i386"))
    assert.equal(ENOSYS, returned(h, "socketcall", { 3 }, "i386"))
    assert.equal(ALLOW, returned(h, "socketcall", { 2 }, "i386"))
    assert.equal(ENOSYS, returned(h, "ipc", { 0x10001 }, "i386"))
    assert.equal(ALLOW, returned(h, "ipc", { 2 }, "i386"))
    assert.equal(ENOSYS, returned(h, 0x40000000 | syscalls.numbers("x86_64").connect))
    assert.equal(ENOSYS, returned(h, "io_uring_setup"))
    assert.equal(ENOSYS, returned(h, "io_uring_enter", nil, "i386"))
    assert.equal(NOTIFY, returned({ io_uring_setup = true }, "io_uring_setup"))
    assert.equal(NOTIFY, returned({}, "io_uring_setup", nil, nil, { all = true }))
  end)
  it("asks about numbers without a name when it asks about all", function()
    assert.equal(NOTIFY, returned({}, 9999, nil, nil, { all = true }))
    assert.equal(ENOSYS, returned({}, 9999, nil, nil, { all = true, profile = "default" }))
    assert.equal(NOTIFY, returned({}, 9999, nil, nil, { denied = true, profile = "default" }))
    assert.equal(NOTIFY, returned({}, "mount", nil, nil, { denied = true, profile = "default" }))
    assert.equal(ALLOW, returned({}, "read", nil, nil, { denied = true, profile = "default" }))
  end)
  it("has what is above the last rule follow `newer`", function()
    local profile = { default = "kill", newer = { "errno", "ENOSYS" }, rules = {
      { names = { "read" }, action = "allow" } } }
    assert.equal(NOTIFY, returned({ getppid = true }, "getppid", nil, nil, { profile = profile }))
    assert.equal(ENOSYS, returned({ getppid = true }, "getpid", nil, nil, { profile = profile }))
    assert.equal(ENOSYS, returned({ getppid = true }, "io_uring_setup", nil, nil, { profile = profile }))
    assert.equal(ENOSYS, returned({ connect = true }, "socketcall", { 2 }, "i386", { profile = profile }))
    profile = { default = "allow", newer = "kill", rules = profile.rules }
    assert.equal(0x80000000, returned({ getppid = true }, "getppid", nil, nil, { profile = profile }))
    assert.equal(0x80000000, returned({ getppid = true }, "io_uring_setup", nil, nil, { profile = profile }))
    assert.equal(0x80000000, returned({ connect = true }, "socketcall", { 2 }, "i386", { profile = profile }))
  end)
  it("changes nothing else of a profile", function()
    local plain = carton.seccomp.compile("default", {})
    local steps = carton.seccomp.notify_steps("default", {}, false, { handlers = { getppid = true } })
    for number = 0, 600 do
      local call = { number = number, arch = 0xC000003E, args = { 1, 2, 3 } }
      local expected = number == syscalls.numbers("x86_64").getppid and NOTIFY or bpf.run(plain, call)
      assert.equal(expected, (bpf.run(steps[1].program, call)))
    end
  end)
end)
