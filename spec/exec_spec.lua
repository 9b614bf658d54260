-- SPDX-License-Identifier: MIT
-- Processes: spawning, plans, turns, descriptors, terminals, signals, waiting.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local exec = carton.exec

--- Spawn with the output in a pipe; gives the process and what it wrote.
local function output(steps, fields)
  local reader <close>, writer = exec.pipe()
  fields = fields or {}
  fields.steps = steps
  table.insert(steps, #steps, { "exec.descriptors", fds = { exec.null(), writer, writer } })
  local process <close> = exec.spawn(fields)
  writer:close()
  local said = {}
  for text in function() return reader:read() end do
    said[#said + 1] = text
  end
  return (table.concat(said):gsub("\n$", "")), process:wait()
end

local function sh(script)
  return { "exec.exec", args = { "/bin/sh", "-c", script }, env = { PATH = "/usr/bin:/bin" } }
end

describe("exec.spawn", function()
  it("ends a process that does not come to its end in time, and says at which step", function()
    local before = helper.world()
    local err = helper.raises_code("ETIMEDOUT", exec.spawn, { timeout = 0.2, steps = { { "sync", name = "stop" },
      { "exec.setsid" }, { "exec.exec", args = { "/bin/true" } } },
      sync = { stop = function(process) process:kill("SIGSTOP") end } })
    assert.equal("sync", err.step)
    assert.same(before, helper.world())
    exec.spawn { timeout = 0.9, steps = { { "exec.exec", args = { "/bin/sleep", "0" } } } }:wait() -- no whole second
    for _, timeout in ipairs { 0, -1, "1", 0 / 0 } do
      assert.matches("timeout", helper.raises(exec.spawn, { timeout = timeout, steps = {} }))
    end
  end)
  it("runs a program and tells how it ended", function()
    local p <close> = exec.spawn { steps = { sh "exit 7" } }
    local status = p:wait()
    assert.equal(7, status.code)
    assert.equal("exited", status.cause)
    assert.is_true(status.usage.maxrss > 0)
    local q <close> = exec.spawn { steps = { sh "kill -TERM $$" } }
    status = q:wait()
    assert.equal(143, status.code)
    assert.equal("signalled", status.cause)
    assert.equal("SIGTERM", status.signal)
  end)
  it("leaves no descriptor and no child behind, after errors too", function()
    local before = helper.world()
    for _ = 1, 5 do
      exec.spawn({ steps = { sh "true" } }):wait()
      pcall(exec.spawn, { steps = { { "exec.exec", args = { "/nonexistent" } } } })
      pcall(exec.spawn, { steps = { { "sync", name = "x" }, sh "true" },
        sync = { x = function() error("no") end } })
      pcall(exec.spawn, { steps = { { "sync", name = "none" }, sh "true" } })
      pcall(exec.spawn, { steps = { { "nonsense" } } })
      pcall(exec.spawn, { steps = { { "exec.chdir", path = "/nonexistent" }, sh "true" } })
    end
    assert.same(before, helper.world())
  end)
  it("ends without a program when the plan has none", function()
    local p <close> = exec.spawn { steps = { { "privilege.umask", mask = "0022" } } }
    assert.equal(0, p:wait().code)
  end)
  it("names step, index, subject and reason of what failed", function()
    local err = helper.raises_code("ENOENT", exec.spawn, { steps = {
      { "privilege.umask", mask = "0022" }, { "exec.chdir", path = "/nonexistent" }, sh "true" } })
    assert.equal("exec.chdir", err.step)
    assert.equal("chdir", err.op)
    assert.equal(2, err.index)
    assert.equal("/nonexistent", err.path)
    assert.matches("chdir /nonexistent: No such file or directory %(ENOENT%)", tostring(err))
  end)
  it("passes no handler and no blocked signal on, but ignored ones, as nohup does", function()
    local signals <close> = exec.signals { "SIGUSR1" }
    local action = posix.signal(posix.SIGHUP, posix.SIG_IGN)
    local handled = posix.signal(posix.SIGUSR2, function() end)
    local text = output { sh "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status" }
    posix.signal(posix.SIGUSR2, handled)
    posix.signal(posix.SIGHUP, action)
    exec.unblock { "SIGUSR1" }
    assert.matches("SigBlk:%s+0000000000000000", text)
    assert.matches("SigIgn:%s+%x+[13579bdf]\n", text .. "\n")
    assert.matches("SigCgt:%s+%x+[0-7]00\n", text .. "\n") -- SIGSEGV is grep's
    assert.is_truthy(signals)
  end)
  it("knows the real-time signals by name", function()
    for name, number in pairs { SIGTERM = 15, TERM = 15, SIGRTMIN = 34, ["SIGRTMIN+3"] = 37, ["RTMAX-1"] = 63,
      SIGRTMAX = 64, ["SIGRTMIN+30"] = 64 } do
      assert.equal(number, exec.signal_number(name))
    end
    assert.same({ "SIGRTMIN", "SIGRTMIN+3", "SIGKILL" }, { exec.signal_name(34), exec.signal_name(37),
      exec.signal_name(9) })
    assert.is_nil(exec.signal_name(33))
    for _, name in ipairs { "RTMIN-1", "RTMIN+31", "RTMIN+", "RTMAX+1", "RTMIN+ 3", "RTMINX", "SIG", "" } do
      assert.matches("unknown signal", helper.raises(exec.signal_number, name))
    end
    local p <close> = exec.spawn { steps = { { "exec.exec", args = { "/bin/sleep", "9" } } } }
    p:kill("SIGRTMIN+3")
    local status = p:wait()
    assert.same({ 165, "SIGRTMIN+3" }, { status.code, status.signal })
  end)
  it("gives the program the environment that is named, and argv[0]", function()
    assert.equal("A=1\nB=x y", output { { "exec.exec", args = { "/usr/bin/env" },
      env = { B = "x y", A = "1" } } })
    assert.equal("A=1", output { { "exec.exec", args = { "/usr/bin/env" }, env = { "A=1" } } })
    assert.equal("zero one", output { { "exec.exec", path = "/bin/sh",
      args = { "zero", "-c", "echo $0 $1", "zero", "one" } } })
  end)
  it("takes as many arguments as the kernel does", function()
    local args = { "/bin/sh", "-c", "echo $#", "sh" }
    for i = 1, 100000 do
      args[#args + 1] = tostring(i)
    end
    assert.equal("100000", output { { "exec.exec", args = args } })
    for i = 1, 800000 do
      args[#args + 1] = tostring(i)
    end
    helper.raises_code("E2BIG", output, { { "exec.exec", args = args } })
  end)
  it("searches PATH of that environment, but not the working directory", function()
    assert.equal("found", output { { "exec.exec", args = { "echo", "found" },
      env = { PATH = "/nonexistent:/usr/bin:/bin" } } })
    local dir = helper.tmpdir()
    helper.write(dir .. "/mine", "#!/bin/sh\necho mine\n", "rwxr-xr-x")
    helper.raises_code("ENOENT", exec.spawn, { steps = { { "exec.chdir", path = dir },
      { "exec.exec", args = { "mine" }, env = { PATH = ".::" } } } })
    helper.raises_code("ENOENT", exec.spawn, { steps = { { "exec.exec", args = { "" } } } })
  end)
  it("says why a program that is there cannot be executed", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/script", "#!/nonexistent/interpreter -x\n", "rwxr-xr-x")
    helper.write(dir .. "/plain", "text", "rw-r--r--")
    helper.write(dir .. "/garbage", "\1\2\3\4", "rwxr-xr-x")
    local function try(name)
      return helper.raises(exec.spawn, { steps = { { "exec.exec", args = { dir .. "/" .. name } } } })
    end
    local err = try "script"
    assert.equal("ENOENT", err.code)
    assert.matches("interpreter is missing.*/nonexistent/interpreter$", tostring(err))
    for i, interpreter in ipairs { "/bin/sh\r", "/nope/\u{e9}t\u{e9}", "/nope/bell\7" } do
      helper.write(dir .. "/named" .. i, "#!" .. interpreter .. "\n", "rwxr-xr-x")
      assert.equal(interpreter, try("named" .. i).text)
    end
    assert.equal("EACCES", try("plain").code)
    assert.equal("ENOEXEC", try("garbage").code)
    assert.equal("EACCES", try("").code)
    assert.equal("ENOTDIR", try("plain/x").code)
  end)
  it("says that a program's ELF interpreter is missing", function()
    local dir = helper.tmpdir()
    local program = helper.read("/usr/bin/env")
    local loader = program:match("/lib[%w/]*/ld%-linux[%w%-%.]+")
    local changed = program:gsub((loader:gsub("%p", "%%%0")),
      ("/nope/" .. ("x"):rep(#loader - 6)))
    helper.write(dir .. "/env", changed, "rwxr-xr-x")
    local err = helper.raises_code("ENOENT", exec.spawn,
      { steps = { { "exec.exec", args = { dir .. "/env" } } } })
    assert.matches("ELF interpreter is missing", tostring(err))
    assert.matches("^/nope/", err.text)
  end)
  it("refuses empty, mistyped and unknown fields by name", function()
    for pattern, step in pairs {
      ["field 'args'.-empty"] = { "exec.exec", args = {} },
      ["field 'args'"] = { "exec.exec", args = "true" },
      ["'args'.*missing"] = { "exec.exec" },
      ["unknown field 'arg'"] = { "exec.exec", arg = {} },
      ["field 'env'"] = { "exec.exec", args = { "x" }, env = { "NOVALUE" } },
      ["NUL"] = { "exec.exec", args = { "a\0b" } },
      ["no primitive 'exec.exek'"] = { "exec.exek" },
    } do
      assert.matches(pattern, tostring(helper.raises(exec.spawn, { steps = { step } })))
    end
    assert.matches("list of steps", tostring(helper.raises(exec.spawn, {})))
    assert.matches("a step is a table", tostring(helper.raises(exec.spawn, { steps = { 1 } })))
    local recursive = { "exec.exec", args = {} }
    recursive.args[1] = recursive
    assert.matches("string", tostring(helper.raises(exec.spawn, { steps = { recursive } })))
    local many = {}
    for i = 1, 1024 * 1024 + 1 do
      many[i] = "x"
    end
    assert.matches("more than", tostring(helper.raises(exec.spawn,
      { steps = { { "exec.exec", args = many } } })))
  end)
  it("says E2BIG of arguments that the kernel does not take", function()
    local args = { "/bin/true" }
    for i = 1, 60000 do
      args[i + 1] = ("x"):rep(100)
    end
    helper.raises_code("E2BIG", exec.spawn, { steps = { { "exec.exec", args = args } } })
  end)
end)

describe("sync", function()
  it("has the parent do something while the child waits", function()
    local dir, order = helper.tmpdir(), {}
    local p <close> = exec.spawn {
      steps = { { "sync", name = "first" }, { "sync", name = "second" },
        sh("test -e " .. dir .. "/made") },
      sync = {
        first = function(process)
          order[#order + 1] = "first"
          assert.is_true(process:is_alive())
          helper.write(dir .. "/made", "")
        end,
        second = function() order[#order + 1] = "second" end,
      },
    }
    assert.equal(0, p:wait().code)
    assert.same({ "first", "second" }, order)
  end)
  it("ends the child when the function raises, and raises the same", function()
    local pid
    local err = helper.raises(exec.spawn, { steps = { { "sync", name = "x" }, sh "exec sleep 60" },
      sync = { x = function(process)
        pid = process:pid()
        error({ mine = true })
      end } })
    assert.is_true(err.mine)
    assert.is_nil(carton.host.stat("/proc/" .. pid))
  end)
  it("names a function that is missing", function()
    assert.matches("no function 'x'", tostring(helper.raises(exec.spawn,
      { steps = { { "sync", name = "x" } } })))
  end)
end)

describe("descriptors", function()
  it("gives the program those of the list, and no other", function()
    local dir = helper.tmpdir()
    local extra <close> = exec.open(dir .. "/extra", "w")
    local leak = posix.open("/etc/passwd", posix.O_RDONLY) -- without O_CLOEXEC
    local text = output { sh "ls /proc/self/fd | tr '\\n' ' '" }
    posix.close(leak)
    assert.equal("0 1 2 3 ", text .. (text:sub(-1) == " " and "" or " "))
    local p <close> = exec.spawn { steps = {
      { "exec.descriptors", fds = { exec.null(), exec.null(), 2, extra, extra } },
      sh "echo three >&3; echo four >&4" } }
    p:wait()
    assert.equal("three\nfour\n", helper.read(dir .. "/extra"))
  end)
  it("can exchange descriptors", function()
    local a_read <close>, a = exec.pipe()
    local b_read <close>, b = exec.pipe()
    local na, nb = a:fileno(), b:fileno()
    local fds = { exec.null(), exec.null(), 2 }
    for i = 4, math.max(na, nb) + 1 do
      fds[i] = false
    end
    fds[na + 1], fds[nb + 1] = b, a
    local p <close> = exec.spawn { steps = { { "exec.descriptors", fds = fds },
      sh(("echo to-a >/proc/self/fd/%d; echo to-b >/proc/self/fd/%d"):format(nb, na)) } }
    a:close()
    b:close()
    assert.equal("to-a\n", a_read:read())
    assert.equal("to-b\n", b_read:read())
    p:wait()
  end)
  it("takes 256 of them", function()
    local fds = {}
    local null <close> = exec.null()
    for i = 1, 256 do
      fds[i] = null
    end
    fds[3] = 2
    local p <close> = exec.spawn { steps = { { "exec.descriptors", fds = fds },
      sh "test -e /proc/self/fd/255 && ! test -e /proc/self/fd/256" } }
    assert.equal(0, p:wait().code)
    fds[257] = null
    helper.raises_code("E2BIG", exec.spawn, { steps = { { "exec.descriptors", fds = fds },
      sh "true" } })
  end)
  it("says that there are no more", function()
    helper.isolated(function()
      posix.setrlimit("nofile", 40, 40)
      local held = {}
      local ok, err
      repeat
        ok, err = pcall(exec.null)
        held[#held + 1] = ok and err or nil
      until not ok
      assert(err.code == "EMFILE", tostring(err))
      ok, err = pcall(exec.spawn, { steps = { { "exec.exec", args = { "/bin/true" } } } })
      assert(not ok and err.code == "EMFILE", tostring(err))
      assert(#held > 20)
    end)
  end)
end)

describe("waiting", function()
  it("has a time-out", function()
    local p <close> = exec.spawn { steps = { sh "exec sleep 60" } }
    assert.is_nil(p:wait(0.05))
    assert.is_true(p:is_alive())
    assert.is_true(p:kill())
    assert.equal("SIGKILL", p:wait().signal)
    assert.is_false(p:is_alive())
    assert.is_false(p:kill())
    assert.equal("SIGKILL", p:wait().signal)
  end)
  it("takes several at once", function()
    local slow <close> = exec.spawn { steps = { sh "exec sleep 60" } }
    local quick <close> = exec.spawn { steps = { sh "exit 4" } }
    local place, status = exec.wait_any({ slow, quick }, 10)
    assert.equal(2, place)
    assert.equal(4, status.code)
    assert.is_nil(exec.wait_any({ slow }, 0.05))
    slow:kill("TERM")
    assert.equal("SIGTERM", slow:wait().signal)
  end)
  it("watches a process that is not a child, and cannot reap it", function()
    local own <close> = exec.open_process(0)
    assert.is_true(own:is_alive())
    helper.raises_code("ECHILD", own.wait, (exec.open_process(1)))
    helper.raises_code("ESRCH", exec.open_process, 1 << 22)
  end)
  it("signals a process group", function()
    local p <close> = exec.spawn { steps = { { "exec.setpgid" }, sh "sleep 60 & sleep 60" } }
    p:kill("SIGKILL", { group = true })
    assert.equal("SIGKILL", p:wait().signal)
  end)
end)

describe("die_with_parent", function()
  it("ends the program when its parent is killed", function()
    local reader, writer = posix.pipe()
    local parent = posix.fork()
    if parent == 0 then
      local p = exec.spawn { steps = { { "exec.die_with_parent" }, sh "exec sleep 60" } }
      posix.write(writer, tostring(p:pid()))
      posix.sleep(60)
    end
    posix.close(writer)
    local pid = tonumber(posix.read(reader, 20))
    posix.close(reader)
    local process <close> = exec.open_process(pid)
    posix.kill(parent, posix.SIGKILL)
    posix.wait(parent)
    assert.equal(1, #exec.poll({ { process, "r" } }, 10))
  end)
end)

describe("the built-in init #userns", function()
  local kinds = helper.is_root and { "pid" } or { "user", "pid" }
  local function run(script)
    local step = sh(script)
    step.init = true
    return { namespaces = kinds, steps = { step } }
  end
  it("is process 1 and passes the status on", function()
    local step = sh "echo $$; exit 9"
    step.init = true
    local text, status = output({ step }, { namespaces = kinds })
    assert.equal("2", text)
    assert.equal(9, status.code)
    step = sh "kill -KILL $$"
    step.init = true
    text, status = output({ step }, { namespaces = kinds })
    assert.equal("", text)
    assert.equal(137, status.code)
  end)
  it("reaps what others left", function()
    local steps = { { "mount.propagation", propagation = "rprivate" },
      { "mount.proc", target = "/proc" },
      sh [[for i in 1 2 3; do (true & ) ; done; i=0
           while grep -qs "^State:.Z" /proc/[0-9]*/status && [ $i -lt 100 ]; do
             i=$((i + 1)); sleep 0.02
           done
           grep -qs "^State:.Z" /proc/[0-9]*/status && echo zombies || echo reaped]] }
    steps[3].init = true
    local with_mnt = table.move(kinds, 1, #kinds, 1, {})
    with_mnt[#with_mnt + 1] = "mnt"
    assert.equal("reaped", (output(steps, { namespaces = with_mnt })))
  end)
  it("passes signals on", function()
    local reader <close>, writer = exec.pipe()
    local fields = run "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    table.insert(fields.steps, 1, { "exec.descriptors", fds = { exec.null(), writer, 2 } })
    local p <close> = exec.spawn(fields)
    writer:close()
    assert.equal("ready\n", reader:read())
    p:kill("SIGTERM")
    assert.equal(5, p:wait(10).code)
  end)
  it("says that the program is not there", function()
    local err = helper.raises_code("ENOENT", exec.spawn, { namespaces = kinds, steps = {
      { "exec.exec", args = { "/nonexistent" }, init = true } } })
    assert.equal("exec.exec", err.step)
    assert.same({}, helper.children())
  end)
  it("holds no pipe open that the program closed", function()
    local reader <close>, writer = exec.pipe()
    local fields = run "exec >&-; sleep 60"
    table.insert(fields.steps, 1, { "exec.descriptors", fds = { exec.null(), writer, exec.null() } })
    local p <close> = exec.spawn(fields)
    writer:close()
    assert.is_nil(reader:read())
    p:kill()
    p:wait()
  end)
end)

describe("descriptor", function()
  it("reads, writes, and says when it would block", function()
    local r, w = exec.pipe()
    r:nonblocking()
    assert.is_false(r:read())
    assert.equal(3, w:write("abc"))
    assert.equal(1, w:write("abc", 3))
    assert.equal("abcc", r:read())
    w:nonblocking()
    while w:write(("x"):rep(65536)) do -- luacheck: ignore 542
    end
    assert.is_false(w:write("x"))
    w:close()
    while r:read() do -- luacheck: ignore 542
    end
    assert.is_nil(r:read())
    r:close()
  end)
  it("says EPIPE instead of ending the program", function()
    local r, w = exec.pipe()
    r:close()
    helper.raises_code("EPIPE", w.write, w, "x")
    w:close()
  end)
  it("is a terminal with a size and settings", function()
    local near, far = exec.terminal_pair()
    assert.is_true(far:is_terminal())
    near:resize(12, 34)
    assert.same({ 12, 34 }, { far:size() })
    local saved = far:raw()
    assert.is_true(saved ~= far:raw())
    far:restore(saved)
    assert.equal(saved:sub(1, 12), far:raw():sub(1, 12)) -- input, output and control modes
    local null <close> = exec.null()
    assert.is_false(null:is_terminal())
    helper.raises_code("ENOTTY", null.size, null)
  end)
  it("receives signals", function()
    local signals <close> = exec.signals { "SIGUSR1" }
    assert.is_nil(signals:read_signal())
    posix.kill(posix.getpid("pid"), posix.SIGUSR1)
    local name, pid = signals:read_signal()
    assert.equal("SIGUSR1", name)
    assert.equal(posix.getpid("pid"), pid)
    exec.unblock { "SIGUSR1" }
  end)
  it("opens files as it is told", function()
    local path = helper.tmpdir() .. "/f"
    local w = exec.open(path, "x")
    w:write("one")
    w:close()
    helper.raises_code("EEXIST", exec.open, path, "x")
    local a = exec.open(path, "a")
    a:write("two")
    a:close()
    local r <close> = exec.open(path)
    assert.equal("onetwo", r:read())
    helper.raises_code("ENOENT", exec.open, "/nonexistent/f")
    helper.raises_code("EBADF", exec.descriptor, 999)
  end)
end)

describe("exec.chdir", function()
  it("refuses a place outside of the root #root", function()
    helper.isolated(function()
      local dir = helper.tmpdir()
      local outside = posix.open("/", posix.O_RDONLY)
      carton.exec.chroot { path = dir }
      local ok, err = pcall(carton.exec.chdir, { path = "/proc/self/fd/" .. outside })
      assert(not ok, tostring(err))
      local there = carton.try(carton.exec.chdir, { path = "/" })
      assert(there == nil)
      posix.close(outside)
    end)
  end)
end)

describe("exec.replace", function()
  it("becomes the program", function()
    local result = helper.carton("-e",
      [[require("carton").exec.replace{ args = { "/bin/sh", "-c", "echo $A; exit 6" }, env = { A = "became" } }]])
    assert.equal("became\n", result.stdout)
    assert.equal(6, result.code)
  end)
end)

describe("trace", function()
  it("knows each step, in order, with its time", function()
    local p <close> = exec.spawn { trace = true, steps = {
      { "privilege.umask", mask = "0022" }, { "exec.chdir", path = "/" }, sh "true" } }
    local trace = p:trace()
    assert.equal(3, #trace)
    for i, entry in ipairs(trace) do
      assert.equal(i, entry.step)
      assert.is_true(i == 1 or entry.began >= trace[i - 1].began + trace[i - 1].took)
    end
    assert.is_nil(trace[3].took)
    p:wait()
  end)
end)

teardown(helper.cleanup)
