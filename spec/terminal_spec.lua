-- SPDX-License-Identifier: MIT
-- The program on a pseudo-terminal: size, keys, settings, job control; signals with and without one.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local pty = require("spec.pty")
local exec = carton.exec

local on_terminal, until_true, states, SECONDS = pty.spawn, pty.until_true, pty.states, pty.SECONDS

local function carton_on_terminal(...)
  return on_terminal(helper.program, ...)
end

describe("on a terminal #userns", function()
  it("a container has one of its own", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c",
      "test -t 0 && test -t 1 && test -t 2 && echo three; tty; echo >/dev/tty controlling; ls -l /dev/console")
    local status, text = t:finish()
    assert.equal(0, status.code)
    assert.matches("three\r\n", text)
    assert.matches("/dev/%w+", text)
    assert.matches("controlling\r\n", text)
    assert.matches("/dev/console\r\n", text)
  end)
  it("a recipe's container does, too", function()
    local t <close> = on_terminal(helper.program, "-e", [[
      local carton = require "carton"
      return carton.container { rootfs = arg[1], args = { "tty" }, terminal = { rows = 3, columns = 4 } }]],
      helper.rootfs())
    local status, text = t:finish()
    assert.equal(0, status.code, text)
    assert.matches("^/dev/%w+", text)
  end)
  it("the size is there at once, and follows", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c",
      "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.02; done")
    t:expect("24 80\r\n")
    t:expect("ready")
    t.near:resize(41, 107)
    t:expect("41 107\r\n")
  end)
  it("what is typed arrives as it is", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c", "stty -echo; echo go; read x; echo \"<$x>\"")
    t:expect("go\r\n")
    t:type("some words\r")
    t:expect("<some words>\r\n")
    assert.equal(0, t:finish().code)
  end)
  it("^C reaches the program", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c",
      "trap 'echo caught; exit 42' INT; echo ready; while :; do sleep 0.02; done")
    t:expect("ready")
    t:type("\3")
    t:expect("caught")
    assert.equal(42, t:finish().code)
  end)
  it("^C ends a program that has no handler", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c", "echo ready; exec sleep 60")
    t:expect("ready")
    t:type("\3")
    assert.equal(130, t:finish().code)
  end)
  it("^D is the end of the input", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "cat")
    until_true("raw", function() return t:is_raw() end)
    t:type("line\r")
    t:expect("line\r\nline\r\n")
    t:type("\4")
    assert.equal(0, t:finish().code)
  end)
  it("nothing of much output is lost", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c", "seq 20000; echo end")
    local status, text = t:finish()
    assert.equal(0, status.code)
    assert.equal(20001, select(2, text:gsub("\n", "")))
    assert.matches("20000\r\nend\r\n$", text)
  end)
  it("a shell has job control", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh")
    until_true("raw", function() return t:is_raw() end)
    local seconds, nap = pty.nap()
    t:type("sleep " .. seconds .. "\r")
    until_true("sleeping", function() return states(nap):find("S") ~= nil end)
    t:type("\26")
    t:expect("Stopped")
    t:type("fg\r")
    until_true("going on", function() return states(nap):find("S") ~= nil end)
    t:type("\3")
    until_true("ended", function() return states(nap) == "" end)
    t:type("exit 3\r")
    assert.equal(3, t:finish().code)
  end)
end)

describe("the caller's terminal #userns", function()
  local function same_after(code, ...)
    local t <close> = on_terminal("/bin/sh", "-c", 'stty -g; echo begin; "$@"; echo "code $?"; stty -g', "sh",
      helper.program, ...)
    local status, text = t:finish()
    assert.equal(0, status.code)
    local before, after = text:match("^(%x[%x:]+)\r\n"), text:match("\n(%x[%x:]+)\r\n$")
    assert.is_truthy(before, text)
    assert.equal(before, after)
    assert.equal(tostring(code), text:match("code (%d+)"), text)
    return text
  end
  it("has its settings back after any end", function()
    same_after(7, helper.rootfs(), "sh", "-c", "exit 7")
    same_after(137, helper.rootfs(), "sh", "-c", "kill -KILL $$")
    same_after(0, helper.rootfs(), "sh", "-c", "stty raw -echo")
    same_after(137, helper.rootfs(), "sh", "-c", "stty raw -echo; kill -KILL $$")
    same_after(127, helper.rootfs(), "/nonexistent")
    same_after(137, "run", "--timeout", "0.1", helper.rootfs(), "sleep", "60")
    same_after(125, "run", "--cwd", "/nonexistent", helper.rootfs(), "true")
    same_after(125, "-e", [[local carton = require "carton"
      return carton.container { rootfs = arg[1], args = { "true" }, terminal = true,
        on = { exited = function() error("a hook's mistake") end } }]], helper.rootfs())
  end)
  it("has them back when the program is ended", function()
    local t <close> = carton_on_terminal(helper.rootfs(), "sh", "-c", "echo ready; exec sleep 60")
    local before = t:settings()
    t:expect("ready")
    until_true("raw", function() return t:is_raw() end)
    t.process:kill("SIGTERM")
    assert.equal(143, t.process:wait(SECONDS).code)
    assert.same(before, t:settings())
  end)
  it("can be left with ^Z, and taken up again, without a terminal inside", function()
    local dir = helper.tmpdir()
    for _, init in ipairs { {}, { "--init" } } do
      local word = dir .. "/ticks" .. #init
      local script = ("-T %s -v %s:%s %s sh -c 'while :; do echo >> %s; sleep 0.02; done'"):format(
        table.concat(init), dir, dir, helper.rootfs(), word)
      local t <close> = on_terminal("bash", "--norc", "--noprofile", "-i")
      t:type(("PS1='>'; %s run %s\r"):format(helper.program, script))
      until_true("ticking", function() return posix.stat(word) ~= nil end)
      t:type("\26")
      t:expect("Stopped")
      until_true("stopped", function() return states("echo >> " .. word):gsub("[ST]", "") == ""
        and states("echo >> " .. word):find("T") ~= nil end)
      local size = posix.stat(word).size
      exec.poll({}, 0.1)
      assert.equal(size, posix.stat(word).size)
      t:type("fg\r")
      until_true("going on", function() return posix.stat(word).size > size end)
      t:type("\3")
      until_true("ended", function() return states("echo >> " .. word) == "" end)
      t:type("echo code $?; exit\r")
      t:expect("code 130")
      t:finish()
    end
  end)
  it("can't be typed into by what runs inside", function()
    local PERL <const> = [[my $x = "X"; ioctl(STDIN, 0x5412, $x) ? print "typed\n" : print "refused\n";
      open(my $tty, "+<", "/dev/tty") ? print "has one\n" : print "has none\n"]]
    local t <close> = carton_on_terminal("run", "-T", "host", "perl", "-e", PERL)
    local _, text = t:finish()
    assert.matches("refused\r\nhas none\r\n", text)
    local legacy = io.open("/proc/sys/dev/tty/legacy_tiocsti")
    if legacy and legacy:read("l") == "1" then -- the same program outside of a container: this spec can fail
      local u <close> = on_terminal("perl", "-e", PERL)
      local _, outside = u:finish()
      assert.matches("typed", outside)
    end
  end)
  it("takes the container along when it hangs up", function()
    local seconds, nap = pty.nap()
    local t = carton_on_terminal(helper.rootfs(), "sh", "-c", "echo ready; exec sleep " .. seconds)
    t:expect("ready")
    until_true("running", function() return states(nap) ~= "" end)
    t.near:close()
    assert.is_truthy(t.process:wait(SECONDS))
    until_true("gone", function() return states(nap) == "" end)
    t.process:close()
  end)
end)

describe("without a terminal #userns", function()
  it("-t takes a closed stdin for its end, and a reader that has enough for no failure", function()
    local function run(script)
      return helper.run { "sh", "-c", script, "sh", helper.program, helper.rootfs() }
    end
    local result = run([["$1" run -t "$2" sh -c 'cat; echo over' <&-]])
    assert.same({ 0, "over\r\n", "" }, { result.code, result.stdout, result.stderr })
    result = run([[{ "$1" run -t "$2" sh -c 'while :; do echo y; done' </dev/null; echo $? >&3; } 3>&2 | head -n 1]])
    assert.same({ "y\r\n", "129\n" }, { result.stdout, result.stderr })
  end)
  --- Start the program with its output in a pipe; gives process and reader.
  local function start(script, ...)
    local reader, writer = exec.pipe()
    local process = exec.spawn { steps = {
      { "exec.descriptors", fds = { exec.null(), writer, writer } },
      { "exec.exec", args = { helper.program, "run", ..., helper.rootfs(), "sh", "-c", script },
        env = { PATH = os.getenv("PATH"), LD_PRELOAD = os.getenv("LD_PRELOAD"),
          ASAN_OPTIONS = os.getenv("ASAN_OPTIONS") } } } }
    writer:close()
    return process, reader
  end

  it("signals are passed on", function()
    for _, name in ipairs { "HUP", "INT", "QUIT", "TERM", "USR1", "USR2" } do
      local process <close>, reader = start(
        ("trap 'echo got %s; exit 9' %s; echo ready; while :; do sleep 0.02; done"):format(name, name), "-T")
      assert.equal("ready\n", reader:read())
      process:kill("SIG" .. name)
      assert.equal("got " .. name .. "\n", reader:read())
      assert.equal(9, process:wait(SECONDS).code)
      reader:close()
    end
  end)
  it("one that ends a program ends the first of a pid namespace, too", function()
    for name, code in pairs { TERM = 143, INT = 130, USR1 = 138 } do
      for _, option in ipairs { "-T", "--init" } do
        local seconds, nap = pty.nap()
        local process <close>, reader = start("exec sleep " .. seconds, option)
        until_true("running", function() return states(nap):find("S") ~= nil end)
        process:kill("SIG" .. name)
        assert.equal(code, process:wait(SECONDS).code)
        reader:close()
      end
    end
  end)
  it("a pipe can feed a terminal", function()
    local stdin, writer = exec.pipe()
    writer:write("echo $((6 * 7)); exit 5\n")
    writer:close()
    local result = helper.carton("run", "-t", helper.rootfs(), "sh", { stdin = stdin })
    assert.matches("42\r\n", result.stdout)
    assert.equal(5, result.code)
  end)
  it("a pipe that ends within a line ends the input, too", function()
    local stdin, writer = exec.pipe()
    writer:write("abc")
    writer:close()
    local result = helper.carton("run", "-t", helper.rootfs(), "sh", "-c", "cat; echo end", { stdin = stdin })
    assert.matches("abc.*end\r\n$", result.stdout)
  end)

  --- A script on a terminal that is fed by a pipe, once it has said "ready".
  local function fed(script)
    local stdin, writer = exec.pipe()
    local reader, output = exec.pipe()
    local process = exec.spawn { steps = { { "exec.descriptors", fds = { stdin, output, 2 } },
      { "exec.exec", args = { helper.program, "run", "-t", helper.rootfs(), "sh", "-c",
        "stty raw -echo; echo ready; " .. script } } } }
    stdin:close()
    output:close()
    assert.equal("ready\n", reader:read())
    return process, writer, reader
  end

  it("all of a long input arrives", function()
    local process <close>, writer, reader = fed "head -c 300000 | wc -c"
    local data, sent = ("x"):rep(10000), 0
    while sent < 300000 do
      sent = sent + writer:write(data)
    end
    assert.equal("300000\n", reader:read())
    assert.equal(0, process:wait(SECONDS).code)
    writer:close()
    reader:close()
  end)
  it("no more is taken from it than the program takes", function()
    local process <close>, writer, reader = fed "exec sleep 60"
    writer:nonblocking()
    local data, sent = ("x"):rep(10000), 0
    while sent < 4000000 and #exec.poll({ { writer, "w" } }, 0.3) > 0 do
      sent = sent + (writer:write(data) or 0)
    end
    assert.is_true(sent < 1000000, sent .. " bytes wait in memory")
    process:kill("SIGTERM")
    assert.equal(143, process:wait(SECONDS).code)
    writer:close()
    reader:close()
  end)
  it("a terminal's output that can't be passed on is an error", function()
    local full = exec.open("/dev/full", "rw")
    local reader <close>, writer = exec.pipe()
    local process <close> = exec.spawn { steps = { { "exec.descriptors", fds = { exec.null(), full, writer } },
      { "exec.exec", args = { helper.program, "run", "-t", helper.rootfs(), "sh", "-c", "echo text; sleep 60" } } } }
    writer:close()
    assert.equal(125, process:wait(SECONDS).code)
    assert.matches("carton: write: No space left on device %(ENOSPC%)", reader:read())
  end)
end)

describe("terminal.with_raw", function()
  it("gives the settings back, whatever happens", function()
    local near, far = exec.terminal_pair()
    local settings = function() return require("posix.termio").tcgetattr(near:fileno()) end
    local before = settings()
    assert.equal("result", carton.terminal.with_raw(far, function()
      assert.not_same(before, settings())
      return "result"
    end))
    assert.same(before, settings())
    assert.is_false(pcall(carton.terminal.with_raw, far, function() error("no") end))
    assert.same(before, settings())
    local null <close> = exec.null()
    assert.equal(1, carton.terminal.with_raw(null, function() return 1 end))
    near:close()
    far:close()
  end)
end)

teardown(helper.cleanup)
