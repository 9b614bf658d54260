-- SPDX-License-Identifier: MIT
-- Handles: who owns a descriptor, and when it is let go of.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local exec = carton.exec

local function process()
  local p = exec.spawn { steps = { { "exec.exec", args = { "/bin/true" } } } }
  p:wait()
  return p
end

local kinds = {
  ["carton.descriptor"] = exec.null,
  ["carton.process"] = process,
  ["carton.namespace"] = function() return carton.namespace.open(0, "net") end,
  ["carton.directory"] = function() return carton.mount.open_root("/usr") end,
  ["carton.tree"] = helper.is_root and function() return carton.mount.open_tree("/usr") end or nil,
}

for name, open in pairs(kinds) do
  describe("a " .. name, function()
    it("has a descriptor, says so, and closes it once", function()
      local before = helper.fds()
      local h = open()
      assert.equal(name, debug.getregistry and getmetatable(h).__name)
      local number = h:fileno()
      assert.equal(("%s (%d)"):format(name, number), tostring(h))
      assert.is_true(#helper.fds() > #before)
      h:close()
      assert.same(before, helper.fds())
      assert.equal(name .. " (closed)", tostring(h))
      local null <close> = exec.null()
      local other = assert(posix.dup2(null:fileno(), number)) -- somebody else has that number now
      h:close()
      h:close()
      getmetatable(h).__gc(h)
      assert.is_truthy(posix.fcntl(other, posix.F_GETFD))
      posix.close(other)
    end)
    it("is not close-on-exec's exception", function()
      local h <close> = open()
      assert.equal(posix.FD_CLOEXEC, posix.fcntl(h:fileno(), posix.F_GETFD))
    end)
    it("refuses to be used when it is closed, by the word for it", function()
      local h = open()
      h:close()
      local word = "closed " .. name:match("%.(.*)")
      assert.matches(word, tostring(helper.raises(h.fileno, h)))
      for method, f in pairs(getmetatable(h).__index) do
        if method ~= "close" and name ~= "carton.process" then
          assert.matches("closed ", tostring(helper.raises(f, h, "x", "x")), method)
        end
      end
    end)
    it("is closed at the end of its block, also by an error", function()
      local before = helper.fds()
      do
        local h <close> = open() -- luacheck: ignore h
        assert.not_same(before, helper.fds())
      end
      assert.same(before, helper.fds())
      pcall(function()
        local h <close> = open() -- luacheck: ignore h
        error("no")
      end)
      assert.same(before, helper.fds())
    end)
    it("is closed by the collector", function()
      local before = helper.fds()
      open()
      assert.same(before, helper.fds())
    end)
    it("is not taken for one of another kind", function()
      local h <close> = open()
      for other, make in pairs(kinds) do
        if other ~= name then
          local o <close> = make()
          assert.is_false(pcall(h.close, o))
          assert.is_false(pcall(h.fileno, o))
          assert.is_false(pcall(getmetatable(h).__gc, o))
          assert.is_truthy(o:fileno())
        end
      end
      assert.is_false(pcall(h.close, {}))
      assert.is_false(pcall(h.close))
      assert.is_false(pcall(h.fileno, io.stdout))
    end)
  end)
end

describe("a handle in a plan", function()
  it("is refused when it is closed or of the wrong kind", function()
    local net = carton.namespace.open(0, "net")
    local null <close> = exec.null()
    local function enter(handle)
      return tostring(helper.raises(carton.namespace.enter, { namespaces = { handle } }))
    end
    assert.matches("carton.namespace expected", enter(null))
    assert.matches("carton.namespace expected", enter(3))
    assert.matches("carton.namespace expected", enter(io.stdout))
    net:close()
    assert.matches("handle is closed", enter(net))
    assert.matches("carton.process expected", tostring(helper.raises(carton.namespace.enter,
      { process = -1, kinds = {} })))
    assert.matches("namespace expected", tostring(helper.raises(carton.mount.setattr,
      { target = "/", options = {}, idmap = -1 })))
    assert.matches("tree expected", tostring(helper.raises(carton.mount.attach, { target = "/", tree = -1 })))
    assert.matches("not an open descriptor", tostring(helper.raises(exec.spawn, { steps = {
      { "exec.descriptors", fds = { 0, 1, 2, 999 } }, { "exec.exec", args = { "/bin/true" } } } })))
  end)
  it("stays open as long as it is needed, however little is left of it", function()
    local function steps()
      return { { "exec.descriptors", fds = { exec.null(), exec.null(), exec.null() } },
        { "sync", name = "collect" }, { "exec.exec", args = { "/bin/sh", "-c", "test -e /proc/self/fd/2" } } }
    end
    for _ = 1, 20 do
      local p <close> = exec.spawn { steps = steps(), sync = { collect = function()
        collectgarbage()
        collectgarbage()
      end } }
      assert.equal(0, p:wait().code)
    end
  end)
end)

describe("a process", function()
  it("has its status after it is closed, and no more than that", function()
    local p = process()
    p:close()
    assert.equal(0, p:wait().code)
    assert.is_false(p:kill())
    local q = exec.spawn { steps = { { "exec.exec", args = { "/bin/sleep", "60" } } } }
    local pid = q:pid()
    q:close()
    assert.matches("closed process", tostring(helper.raises(q.wait, q)))
    assert.matches("closed process", tostring(helper.raises(q.kill, q)))
    posix.kill(pid, posix.SIGKILL)
    posix.wait(pid)
  end)
  it("is no group that would be everybody", function()
    local one <close> = exec.open_process(1)
    helper.raises_code("EPERM", one.kill, one, 0, { group = true })
  end)
end)

describe("launches that fail in a turn", function()
  it("leave nothing behind, however many there are", function()
    local result = helper.carton(helper.write(helper.tmpdir() .. "/turns.lua", [[
      local posix = require("posix")
      local carton = require("carton")
      local function count()
        collectgarbage()
        collectgarbage()
        return #posix.dir("/proc/self/fd")
      end
      local function launch(n)
        local steps = {}
        for i = 1, 40 do
          steps[i] = { "privilege.umask", mask = "0022" }
        end
        steps[#steps + 1] = { "sync", name = "s" }
        steps[#steps + 1] = { "exec.exec", args = { "/bin/true" } }
        local p <close> = carton.exec.spawn { steps = steps, trace = true, sync = { s = function()
          if n % 2 == 0 then
            error(setmetatable({}, { __gc = function() end }))
          end
        end } }
        p:wait()
      end
      pcall(launch, 1)
      local before = count()
      for i = 1, 200 do
        pcall(launch, i)
      end
      assert(count() == before, count() .. " descriptors, not " .. before)
      assert(posix.wait(-1, posix.WNOHANG) == nil, "a child is left")
      print("clean")
    ]]))
    assert.equal("clean\n", result.stdout, result.stderr)
  end)
end)

teardown(helper.cleanup)
