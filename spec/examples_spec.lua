-- SPDX-License-Identifier: MIT
-- Every example runs as it says, as this user, and leaves nothing behind.
local posix = require("posix")
local helper = require("spec.helper")
local pty = require("spec.pty")

--- What each prints; an example that is not here fails.
local expected = {
  build = { "^built in a sandbox\n$" },
  classic = { "^process 1 of %d+, on classic\n$" },
  compare = { "%- namespace.hostname name=carton\n%+ namespace.hostname name=web", "%+ privilege.user user=nobody" },
  connects = { "to 127.0.0.1, port 80 %(inet%)\n", "nobody listens there\n", "to 127.0.0.2, port 53 %(inet%)\n" },
  hello = { "Hello from hello: I am process 1, user 0.\n", "All that runs here: %d processes; all networks: "
    .. "/sys/class/net/lo\n$" },
  jobs = { "job1: 1\n", "job5: exited %(3%) I fail", "job9: timeout %(137%)", "job12: 144\n", "2 of 12 failed\n$" },
  landlock = { "^the data can be read: 42\nnotes can be written: noted\nthe data can't be written\n",
    "\nnor can programs be brought along\nthere is no further user namespace\n" },
  layout = { "Nothing else is here.\n", "the root can't be written\n", "8 MiB of scratch, and no more\n$" },
  learn = { "^it read: /etc/passwd\nit took: no capability\nwhat it did not do before, it can't: "
    .. "not even go to /usr\n$" },
  limits = { "^ 16 MiB: not enough memory\n 64 MiB: exited\nand what it used is told\n$" },
  mknod = { "^/dev/mine made as /dev/null\nc\nno disk can be made\n$" },
  overlay = { "^inside: changed, 2 files\nthe next one sees nothing of it\n$" },
  pipeline = { "^%s+100 0\n%s+100 1\n%s+100 2\n$" },
  pod = { "^the client read: hello from the server, 1 process\n$" },
  seccomp = { "^socket +allow +AF_UNIX.*\nsocket +errno EACCES +no network\n", "mkdirat +errno EROFS ",
    "mount +errno EPERM ", "Seccomp_filters:\t1\n$" },
  shell = { "^$" },
  template = { "^20 containers of one template\n$" },
  tool = { "^I can write here\nI can't write to /etc\nnor to /usr\nthere is no network\n"
    .. "I see no process but my own\n$" },
}

if require("carton").landlock.abi() == 0 then
  expected.landlock = { "^this kernel has no Landlock\n$" }
end

--- What takes more than every user has; others are told what is in the way.
local privileged = { limits = "%(EACCES%); " }

local function path_of(name)
  return "examples/" .. name .. ".lua"
end

local function names()
  local list = {}
  for _, file in ipairs(posix.dir("examples")) do
    list[#list + 1] = file:match("^(.+)%.lua$")
  end
  table.sort(list)
  return list
end

--- Temporary files as os.tmpname calls them.
local function temporary()
  local set = {}
  for _, name in ipairs(posix.dir("/tmp")) do
    if name:find("^lua_") then
      set[name] = true
    end
  end
  return set
end

--- Run something after which the world has to be as it was.
local function unchanged(f)
  local world, files = helper.world(), temporary()
  local result = f()
  assert.same(world, helper.world())
  for name in pairs(temporary()) do
    if not files[name] then -- whose it may be: another process's, which removes it
      pty.until_true("left behind: " .. name, function() return not posix.stat("/tmp/" .. name) end)
    end
  end
  return result
end

describe("examples #userns", function()
  for _, name in ipairs(names()) do
    it(name .. " does what it says", function()
      assert.is_truthy(expected[name], "what it prints belongs into this spec")
      local result = unchanged(function() return helper.carton(path_of(name)) end)
      if privileged[name] and not helper.is_root then
        assert.equal(125, result.code)
        return assert.matches(privileged[name], result.stderr)
      end
      assert.equal("", result.stderr)
      assert.equal(0, result.code)
      for _, pattern in ipairs(expected[name]) do
        assert.matches(pattern, result.stdout)
      end
    end)
    it(name .. " begins as all do", function()
      local text = helper.read(path_of(name))
      assert.matches("^#!/usr/bin/env carton\n%-%- SPDX%-License%-Identifier: MIT\n%-%- Shows: .-\n%-%- Needs: ", text)
    end)
  end

  it("are all there", function()
    for name in pairs(expected) do
      assert.is_truthy(posix.stat(path_of(name)), name)
    end
  end)
  it("take their arguments", function()
    local root = helper.rootfs()
    local function run(name, ...)
      local args = { ... }
      return unchanged(function() return helper.carton(path_of(name), table.unpack(args)) end)
    end
    assert.equal("classic 1\n", run("classic", root, "sh", "-c", "echo $(hostname) $$").stdout)
    assert.equal("2 of 12 failed", run("jobs", "2").stdout:match("2 of 12 failed"))
    assert.matches("^3 containers of one template\n%d+%.%d+ ms each\n$", run("template", "3").stdout)
    local dir = helper.tmpdir()
    assert.equal(7, run("tool", dir, "sh", "-c", "echo x > /tmp/work/made; exit 7").code)
    assert.equal("x\n", helper.read(dir .. "/made"))
    helper.write(dir .. "/in", "source")
    assert.equal(0, run("build", dir, dir, "cp", "/src/in", "/out/copy").code)
    assert.equal("source", helper.read(dir .. "/copy"))
    assert.matches("hostname name=hello\n", helper.carton("plan", path_of "hello").stdout)
  end)
  it("shell reads commands from a pipe", function()
    local reader, writer = require("carton").exec.pipe()
    writer:write("echo $((6 * 7)) on $(hostname)\ntouch /new && echo written\nexit 3\n")
    writer:close()
    local result = helper.carton(path_of "shell", { stdin = reader })
    assert.equal("42 on play\nwritten\n", result.stdout)
    assert.equal(3, result.code)
  end)
  it("shell is one on a terminal", function()
    for _, root in ipairs { {}, { helper.rootfs() } } do
      local t <close> = pty.spawn(helper.program, path_of "shell", table.unpack(root))
      t:expect("play# ")
      t:type("tty; echo $((6 * 7))\r")
      t:expect("/dev/%w+.*42\r\n")
      local seconds, nap = pty.nap()
      t:type("sleep " .. seconds .. "\r")
      pty.until_true("sleeping", function() return pty.states(nap):find("S") ~= nil end)
      t:type("\3")
      pty.until_true("interrupted", function() return pty.states(nap) == "" end)
      t:type("exit 5\r")
      assert.equal(5, t:finish().code)
    end
  end)
end)

teardown(helper.cleanup)
