-- SPDX-License-Identifier: MIT
-- The program: recipes, code, own commands, plans, help, exit statuses, messages.
local posix = require("posix")
local helper = require("spec.helper")
local pty = require("spec.pty")
local carton = helper.carton

local HELLO <const> = [[
local carton = require "carton"
return carton.container { rootfs = carton.rootfs.host(), args = { "sh", "-c", %q }, terminal = false }
]]

local function recipe(text, name)
  return helper.write(helper.tmpdir() .. "/" .. (name or "recipe.lua"), text, "rwxr-xr-x")
end

local function hello(script)
  return recipe(HELLO:format(script))
end

--- The output of a call that has to succeed.
local function output(...)
  local result = carton(...)
  assert.equal(0, result.code, result.stderr)
  assert.equal("", result.stderr)
  return result.stdout
end

--- What Carton says of a call that it refuses.
local function refused(...)
  local result = carton(...)
  assert.equal(125, result.code, result.stdout .. result.stderr)
  assert.equal("", result.stdout)
  return result.stderr
end

describe("carton RECIPE", function()
  it("runs the container that is returned, and has its status #userns", function()
    local result = carton(hello "echo out; echo err >&2; exit 9")
    assert.equal(9, result.code)
    assert.equal("out\n", result.stdout)
    assert.equal("err\n", result.stderr)
  end)
  it("passes arguments on as arg and ...", function()
    local path = recipe("print(arg[0], arg[1], arg[2], #arg, ...)")
    assert.equal(path .. "\t--x\ttwo words\t2\t--x\ttwo words\n", output(path, "--x", "two words"))
  end)
  it("is what #! names", function()
    local path = recipe("#!/usr/bin/env carton\nprint('by name', ...)\n", "by-name")
    local result = helper.run({ path, "a" }, { env = {
      PATH = posix.dirname(helper.program) .. ":" .. os.getenv("PATH") } })
    assert.equal("by name\ta\n", result.stdout)
  end)
  it("reads one from standard input", function()
    local path = recipe("#!shebang\nprint(arg[0], ...)\n")
    local stdin <close> = require("carton").exec.open(path)
    assert.equal("-\ta\n", output("-", "a", { stdin = stdin }))
  end)
  it("makes a status of numbers, statuses and booleans, and of nothing else", function()
    for code, text in pairs { [0] = "return 0", [7] = "return 7", [1] = "return false",
      [137] = "return { cause = 'signalled', code = 137 }", [255] = "return 255" } do
      assert.equal(code, carton(recipe(text)).code, text)
    end
    assert.equal(0, carton(recipe "return true").code)
    assert.equal(0, carton(recipe "").code)
    assert.matches("not 256", refused(recipe "return 256"))
    assert.matches("not %-1", refused(recipe "return -1"))
    assert.matches("not 1.5", refused(recipe "return 1.5"))
    assert.matches("not a string", refused(recipe "return 'x'"))
    assert.matches("not a table", refused(recipe "return {}"))
  end)
  it("waits for a container that the recipe has started #userns", function()
    local text = HELLO:gsub("return carton", "local c = carton"):format("sleep 0.1; exit 4")
    assert.equal(4, carton(recipe(text .. "return c:start()")).code)
    assert.equal(4, carton(recipe(text .. "c:run() return c")).code)
  end)
  it("says file and line of its mistakes, without a stack trace", function()
    local path = recipe("local t\n\nt.x = 1\n")
    assert.equal(("carton: %s:3: attempt to index a nil value (local 't')\n"):format(path), refused(path))
    path = recipe("local carton = require 'carton'\nreturn carton.container {\n  rootfs = '/', arg = {} }\n")
    assert.equal(("carton: %s:2: container: unknown field 'arg' (did you mean 'args'?)\n"):format(path), refused(path))
    path = recipe("local carton = require 'carton'\ncarton.container { rootfs = '/', args = { 'true' } }.start()\n")
    assert.equal(("carton: %s:2: attempt to index a nil value\n"):format(path), refused(path))
    path = recipe("\n\nthis is no Lua\n")
    assert.matches("^carton: " .. path:gsub("%p", "%%%0") .. ":3: [^\n]*\n$", refused(path))
    path = recipe("local carton = require 'carton'\n\ncarton.mount.bind { source = '/nonexistent', target = '/' }")
    assert.matches("^carton: " .. path:gsub("%p", "%%%0") .. ":3: bind /nonexistent on /: [^\n]*\n$", refused(path))
    path = recipe("\nreturn require('carton').container { rootfs = '/', args = { 'true', 7 } }\n")
    assert.matches("^carton: " .. path:gsub("%p", "%%%0") .. ":2: .*string expected, got number\n$", refused(path))
    assert.matches("recipe.lua:2: .*string expected, got number", refused("plan", path))
    path = recipe("\nreturn require('carton').container { rootfs = { 1 }, args = { 'true' }, stdin = 'null' }\n")
    assert.matches("recipe.lua:2: .*a path or a list of steps expected\n$", refused(path))
    path = recipe("\nreturn require('carton').container { rootfs = '/', args = { 'true' }, timeout = 0 / 0 }\n")
    assert.matches("recipe.lua:2: .*above 0", refused(path))
    assert.equal("carton: nil\n", refused(recipe "error(nil)"))
    assert.matches("^carton: table: ", refused(recipe "error({ usage = true })"))
    assert.matches("is text, not a compiled", refused(recipe(string.dump(load("return 0"))))) -- verified by nobody
  end)
  it("shows the stack with --debug", function()
    local path = recipe("local function f() error('deep') end\nf()\n")
    local text = refused("--debug", path)
    assert.matches("recipe.lua:1: deep\n", text)
    assert.matches("stack traceback", text)
    assert.matches("recipe.lua:2: in main chunk", text)
  end)
  it("says that there is no such file", function()
    assert.equal("carton: /nonexistent.lua: No such file or directory\n", refused("/nonexistent.lua"))
    assert.matches("neither a command, nor a recipe", refused("nonexistent"))
    assert.matches("did you mean 'run'", refused("rnu"))
    assert.equal("carton: a command is missing; see carton help run\n", refused("host"))
    assert.matches("'%-%-memory'; it belongs behind 'run': carton run %-%-memory", refused("--memory", "64M", "/", "x"))
    assert.equal("carton: unknown option '--x'; see carton help\n", refused("--x"))
    assert.matches("^carton: /bin/true: is a program, not a recipe;", refused("/bin/true"))
    assert.matches("%(global 'carton'%); a recipe begins with local carton = require", refused("-e", "carton.x()"))
    assert.matches("unknown option '%-%-memry' %(did you mean '%-%-memory'%?%);", refused("run", "--memry", "1M", "/"))
    local dir = helper.tmpdir() .. "/x.lua"
    posix.mkdir(dir)
    assert.matches("x.lua: Is a directory", refused(dir))
  end)
end)

describe("carton ROOTFS COMMAND", function()
  it("runs it in that root #userns", function()
    local result = carton(helper.rootfs(), "sh", "-c", "ls /; exit 3")
    assert.equal(3, result.code, result.stderr)
    assert.matches("bin\ndev\netc\n", result.stdout)
    assert.matches("a command is missing", refused(helper.rootfs()))
  end)
  it("says 127 and 126 of programs, 128+n of signals, 125 of itself #userns", function()
    local root = helper.rootfs(true)
    helper.write(root .. "/plain", "text")
    helper.write(root .. "/script", "#!/nonexistent\n", "rwxr-xr-x")
    assert.equal(127, carton(root, "/nonexistent").code)
    assert.equal(127, carton(root, "nonexistent").code)
    assert.equal(126, carton(root, "/plain").code)
    assert.equal(126, carton(root, "/script").code)
    assert.equal(126, carton(root, "/bin").code)
    assert.equal(137, carton(root, "sh", "-c", "sh -c 'kill -KILL $$'; exit $?").code)
    assert.equal(137, carton("run", "--init", root, "sh", "-c", "kill -KILL $$").code)
    assert.equal(125, carton("run", "--cwd", "/nonexistent", root, "true").code)
    assert.equal(125, carton("run", "--nonsense", root, "true").code)
    assert.equal(255, carton(root, "sh", "-c", "exit 255").code)
  end)
  it("leaves nothing behind #userns", function()
    local before = helper.world()
    carton(helper.rootfs(), "true")
    carton(helper.rootfs(), "/nonexistent")
    assert.same(before, helper.world())
  end)
end)

describe("carton -e", function()
  it("runs code with arguments", function()
    assert.equal("1\tb\n", output("-e", "print(#arg, ...)", "b"))
    assert.matches("needs CODE", refused("-e"))
    assert.matches("%(command line%):1:", refused("-e", "x ="))
    assert.equal(3, carton("-e", "return 3").code)
  end)
end)

describe("carton's own words", function()
  it("are its version and its help", function()
    assert.matches("^carton %d+%.%d+%.?%d* %(Lua 5.4%)\n$", output("--version"))
    assert.equal(output("--version"), output("-V"))
    assert.equal(output("--help"), output("help"))
    assert.equal(output("-h"), output("help"))
    for _, name in ipairs { "run", "plan", "learn", "seccomp", "doctor", "help" } do
      assert.matches(name, output("help"))
      assert.matches("Usage: carton " .. name, output("help", name))
      assert.equal(output("help", name), output(name, "--help"))
    end
    assert.matches("no command 'nope'", refused("help", "nope"))
    assert.matches("usage:", refused())
    assert.matches("unknown option '%-%-nope'", refused("--nope"))
  end)
  it("name every option in help, man page and completions", function()
    local run = require("carton.command.run")
    local places = { output("help", "run"), (output("help", "--man"):gsub("\\%-", "-")),
      output("help", "--completion", "bash"), output("help", "--completion", "zsh"),
      (output("help", "--completion", "fish"):gsub("%-l ", "--")) }
    for _, option in ipairs(run.options) do
      local long = option[1]:match("%-%-%S+")
      for i, text in ipairs(places) do
        assert.is_truthy(text:find(long, 1, true), long .. " is missing in " .. i)
      end
    end
    assert.matches("bash, zsh or fish", refused("help", "--completion", "cmd"))
  end)
end)

describe("own commands", function()
  local function place(content, mode)
    local config = helper.tmpdir()
    os.execute(("mkdir -p '%s/carton/commands'"):format(config))
    helper.write(config .. "/carton/commands/mine.lua", content, mode)
    return config
  end
  local MINE <const> = [[return { summary = "does mine", usage = "carton mine [X]",
    run = function(argv) print("mine", table.unpack(argv)) return 5 end }]]

  it("are files in a directory of the user", function()
    local config = place(MINE, "rw-r--r--")
    local result = carton("mine", "a", "-b", { env = { XDG_CONFIG_HOME = config } })
    assert.equal("mine\ta\t-b\n", result.stdout)
    assert.equal(5, result.code)
    result = carton("help", "mine", { env = { XDG_CONFIG_HOME = config } })
    assert.matches("Usage: carton mine %[X%]\n\ndoes mine", result.stdout)
  end)
  it("are found below HOME", function()
    local home = helper.tmpdir()
    os.execute(("mv '%s' '%s/.config'"):format(place(MINE, "rw-r--r--"), home))
    assert.equal(5, carton("mine", { env = { HOME = home, XDG_CONFIG_HOME = "" } }).code)
  end)
  it("are refused when others may write them, or put others in their place", function()
    local config = place(MINE, "rw-rw-rw-")
    assert.matches("may be written by others", refused("mine", { env = { XDG_CONFIG_HOME = config } }))
    config = place(MINE, "rw-r--r--")
    posix.chmod(config .. "/carton/commands", "rwxrwxrwx")
    assert.matches("may be written by others", refused("mine", { env = { XDG_CONFIG_HOME = config } }))
  end)
  it("are refused when another user's #root", function()
    if not helper.is_root then
      return pending("takes root")
    end
    for _, what in ipairs { "/carton/commands/mine.lua", "/carton/commands" } do
      local config = place(MINE, "rw-r--r--")
      posix.chown(config .. what, 65534, 65534)
      assert.matches("may be written by others", refused("mine", { env = { XDG_CONFIG_HOME = config } }))
    end
  end)
  it("can replace no built-in one, and have to be commands", function()
    local config = place("return 1", "rw-r--r--")
    os.execute(("cp '%s/carton/commands/mine.lua' '%s/carton/commands/help.lua'"):format(config, config))
    local env = { XDG_CONFIG_HOME = config }
    assert.equal(output("help"), carton("help", { env = env }).stdout)
    assert.matches("no table with a function 'run'", refused("mine", { env = env }))
    env = { XDG_CONFIG_HOME = place("\nx(", "rw-r--r--") }
    assert.matches("mine.lua:%d: ", refused("mine", { env = env }))
    assert.matches("neither a command", refused("../commands/mine", { env = env }))
  end)
end)

describe("carton plan", function()
  it("prints every step of a recipe and does none", function()
    local marker = helper.tmpdir() .. "/marker"
    local path = recipe(HELLO:format("echo ran; touch " .. marker) .. "-- " .. marker)
    local text = output("plan", path)
    assert.matches("^new namespaces: ", text)
    assert.matches("\n%s+%d+  mount.pivot_root\n", text)
    assert.matches("exec.exec args=sh,%-c,", text)
    assert.is_nil(posix.stat(marker))
    assert.equal(text, output("plan", path))
    local json = require("cjson").decode(output("plan", "--json", path))
    assert.equal("exec.exec", json.steps[#json.steps].step)
    assert.equal("sh", json.steps[#json.steps].args[1])
    assert.is_truthy(table.concat(json.namespaces, " "):find("mnt", 1, true))
    assert.equal(output("plan", "--json", path), output("plan", "--json", path))
  end)
  it("takes the arguments of carton run", function()
    local text = output("plan", "--env", "A=1", "--read-only", "--hostname", "box", "/", "true")
    assert.matches("namespace.hostname name=box", text)
    assert.matches('mount.setattr target=/ options=ro', text)
    assert.matches("A=1", text)
    assert.equal(text, output("plan", "--env", "A=1", "--read-only", "--hostname", "box", "/", "true"))
  end)
  it("takes a recipe of any name, and hands it its arguments", function()
    local path = recipe("#!carton\nlocal carton = require 'carton'\n"
      .. "return carton.container { rootfs = '/', args = { ... } }", "noname")
    assert.matches("exec.exec args=one,%-%-two", output("plan", path, "one", "--two"))
  end)
  it("shows every container that a recipe would run, also those of a loop", function()
    local text = output("plan", recipe([[
      local carton = require "carton"
      local loop, ended = carton.loop.new(), 0
      for _, name in ipairs { "one", "two\27[2J" } do
        local c = carton.container { name = name, rootfs = "/", args = { "true" } }:start()
        loop:container(c, function(status) ended = ended + 1 end)
      end
      loop:run()
      assert(ended == 2)
      return carton.container { rootfs = "/", args = { "last" } }]]))
    assert.matches("container one\n.*container \"two\\x1b%[2J\"\n.*container 3\n.*args=last", text)
    assert.is_nil(text:find("\27", 1, true))
  end)
  it("says what another recipe does otherwise", function()
    local a = recipe("return require('carton').container { rootfs = '/', args = { 'a' } }")
    local b = recipe("return require('carton').container { rootfs = '/', args = { 'b' } }")
    assert.matches("^%- exec.exec args=b [^\n]*\n%+ exec.exec args=a [^\n]*\n$", output("plan", "--diff", b, a))
    assert.equal("", output("plan", "--diff", a, a))
    local two = recipe("local new = require('carton').container\nlocal f = { rootfs = '/', args = { 'a' } }\n"
      .. "new(f):run()\nreturn new(f)")
    assert.matches("\n%+ namespaces .*\n%+ exec.exec args=a [^\n]*\n$", output("plan", "--diff", a, two))
    assert.matches("^%- namespaces .*\n%- exec.exec args=a [^\n]*\n%+ namespaces none\n$",
      output("plan", "--diff", two, a))
  end)
  it("shows what there was until a recipe fails, as nothing has really run", function()
    local result = carton("plan", recipe([[
      local carton = require "carton"
      local c = carton.container { name = "first", rootfs = "/", args = { "true" }, stdout = "capture" }
      assert(c:run().stdout == "x", "not what it should be")]]))
    assert.equal(125, result.code)
    assert.matches("hostname name=first", result.stdout)
    assert.matches("recipe.lua:3: not what it should be", result.stderr)
  end)
  it("refuses what has no container, and options that a recipe does not take", function()
    assert.matches("makes no container", refused("plan", recipe "return 0"))
    assert.matches("'%-%-env' goes with a root", refused("plan", "--env", "A=1", recipe "return 0"))
    assert.matches("root file system is missing", refused("plan"))
  end)
end)

describe("messages", function()
  it("hold nothing that a terminal would obey", function()
    local text = refused("-e", [[error("a\27[31m\0b\r\u{9b}c\xffé", 0)]])
    assert.equal("carton: a\\x1b[31m\\x00b\\x0d\\x9bc\\xffé\n", text)
    text = refused("--debug", "-e", [[error("a\27[31m", 0)]])
    assert.is_nil(text:find("\27", 1, true))
    text = refused("\27]0;title\7")
    assert.is_nil(text:find("[\27\7]"))
    text = carton("/", "/\27[2J").stderr
    assert.is_nil(text:find("\27", 1, true))
    assert.matches("/%?%[2J", text)
  end)
  it("have to arrive, and so has output", function()
    local exec = require("carton").exec
    for _, args in ipairs { { "--version" }, { "help", "--man" }, { "plan", "/", "true" },
      { "-e", "for i = 1, 100000 do print(i) end" } } do
      local script = "exec \"$0\" \"$@\" >/dev/full"
      local result = helper.run { "/bin/sh", "-c", script, helper.program, table.unpack(args) }
      assert.equal(125, result.code, args[1])
      assert.matches("^carton: standard output: ", result.stderr)
      result = helper.run { "/bin/sh", "-c", "exec \"$0\" \"$@\" >&-", helper.program, table.unpack(args) }
      assert.equal(125, result.code, args[1])
      local reader, writer = exec.pipe()
      reader:close()
      local process <close> = exec.spawn { steps = {
        { "exec.descriptors", fds = { exec.null(), writer, exec.null() } },
        { "exec.exec", args = { helper.program, table.unpack(args) } } } }
      writer:close()
      local status = process:wait()
      assert.is_true(status.signal == "SIGPIPE" or status.code == 125)
    end
  end)
  it("are coloured on a terminal only, and not where NO_COLOR is set", function()
    assert.is_nil(carton("doctor").stdout:find("\27", 1, true))
    for value, expected in pairs { [""] = true, ["1"] = false } do
      local t <close> = pty.spawn("env", "NO_COLOR=" .. value, helper.program, "doctor")
      local _, text = t:finish()
      assert.matches("kernel", text)
      assert.equal(expected, text:find("\27[32mok", 1, true) ~= nil)
    end
  end)
end)

describe("the program", function()
  local function hostile()
    local dir = helper.tmpdir()
    posix.mkdir(dir .. "/carton")
    posix.mkdir(dir .. "/carton/command")
    local trap = "io.stderr:write('trapped\\n') os.exit(66)"
    for _, name in ipairs { "carton", "argparse", "carton/init", "carton/container", "carton/rootfs", "carton/plan",
      "carton/core", "carton/mounts", "carton/hint", "carton/command", "carton/command/run" } do
      helper.write(dir .. "/" .. name .. ".lua", trap)
    end
    helper.write(dir .. "/carton/command/init.lua", trap)
    return dir
  end

  it("runs from anywhere, without the tree and its variables #userns", function()
    local dir = helper.tmpdir()
    assert.is_true(os.execute(("cp '%s' '%s/renamed'"):format(helper.program, dir)))
    local path = hello "echo alone"
    local result = helper.run({ dir .. "/renamed", path }, { cwd = "/",
      env = { LUA_PATH = "", LUA_CPATH = "", HOME = "", PATH = "/nonexistent" } })
    assert.equal("alone\n", result.stdout, result.stderr)
    result = helper.run({ dir .. "/renamed", "help", "run" }, { cwd = "/", env = { LUA_PATH = "", LUA_CPATH = "" } })
    assert.matches("Usage", result.stdout)
  end)
  it("takes its modules from nowhere else #userns", function()
    local dir = hostile()
    local path = hello "echo mine"
    for _, env in ipairs { { LUA_PATH = dir .. "/?.lua;" .. dir .. "/?/init.lua;;" },
      { LUA_PATH_5_4 = dir .. "/?.lua;;", LUA_INIT = "os.exit(66)" } } do
      assert.equal("mine\n", carton(path, { cwd = dir, env = env }).stdout)
      assert.equal(127, carton("/", "/nonexistent", { cwd = dir, env = env }).code)
      assert.matches("pivot_root", carton("plan", path, { cwd = dir, env = env }).stdout)
      assert.matches("Usage", carton("help", "run", { cwd = dir, env = env }).stdout)
    end
  end)
  it("lets a recipe have modules of its own", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/mine.lua", "return 'my own module'")
    local result = carton("-e", "print((require('mine')))", { env = { LUA_PATH = dir .. "/?.lua" } })
    assert.equal("my own module\n", result.stdout)
  end)
end)

teardown(helper.cleanup)
