-- SPDX-License-Identifier: MIT
-- The client of D-Bus against services that answer as they should, and others: cut off, out of bounds, silent.
local posix = require("posix")
local unistd = require("posix.unistd")
local socket = require("posix.sys.socket")
local carton = require("carton")
local dbus = require("carton.dbus")
local helper = require("spec.helper")
local service = require("spec.service")

local message, greet, serve, receive = service.message, service.greet, service.serve, service.receive

--- Call a method of a service that says something, once it was let in and asked.
local function ask(said, timeout)
  local path, pid = serve(function(fd)
    greet(fd)
    local got = ""
    while not got:find("Ask", 1, true) do
      got = got .. receive(fd)
    end
    for _, part in ipairs(type(said) == "table" and said or { said }) do
      service.say(fd, part)
    end
    receive(fd) -- until the other side is gone
  end)
  local ok, result = pcall(function()
    local bus <close> = dbus.open { path = path, timeout = timeout or 10 }
    return bus:call({ destination = "a.b", path = "/", interface = "a.b", member = "Ask" }, "s", "what")
  end)
  posix.kill(pid, 9)
  posix.wait(pid)
  return ok, result
end

local function refused(said, pattern)
  local ok, err = ask(said)
  assert.is_false(ok)
  assert.equal("EPROTO", err.code, tostring(err))
  assert.matches(pattern, tostring(err))
end

describe("dbus.marshal", function()
  it("writes what it reads", function()
    for signature, values in pairs {
      ["ybnqiuxtd"] = { 255, true, -2, 65535, -3, 4294967295, -1 << 40, 1 << 50, 0.5 },
      ["sog"] = { "text", "/a/b", "a(sv)" }, ["as"] = { { "a", "bcd", "" } }, ["ay"] = { {} },
      ["a(yu)"] = { { { 1, 2 }, { 3, 4 } } }, ["aat"] = { { { 1 }, {}, { 2, 3 } } }, ["a{ub}"] = { { { 1, false } } },
      ["(s(yx))y"] = { { "a", { 1, 2 } }, 3 },
    } do
      assert.same(values, dbus.unmarshal(signature, dbus.marshal(signature, table.unpack(values))), signature)
    end
    assert.same({ { { "n", "v" } } }, dbus.unmarshal("a(sv)", dbus.marshal("a(sv)", { { "n", { "s", "v" } } })))
    assert.equal("\1\0\0\0\2\0\0\0ab\0", dbus.marshal("bs", true, "ab"))
    assert.equal("\4\0\0\0\0\0\0\0\9\0\0\0", dbus.marshal("a(u)", { { 9 } }))
    assert.same({ 258, "x" }, dbus.unmarshal("us", "\0\0\1\2\0\0\0\1x\0", ">"))
  end)
  it("reads nothing beyond its end, and nothing that is not what it says", function()
    local whole = dbus.marshal("sa(yv)as", "name", { { 1, { "s", "x" } } }, { "a", "b" })
    for length = 0, #whole - 1 do
      assert.equal("EPROTO", helper.raises(dbus.unmarshal, "sa(yv)as", whole:sub(1, length)).code)
    end
    for signature, data in pairs { s = "\255\255\255\255x\0", au = "\0\0\0\128", ay = "\4\0\0\0abc", b = "\2\0\0\0",
      g = "\3abcd", v = "\2uu\0\0\0\0\0\0\0\0\0", ["()"] = "", a = "\0\0\0\0", ["("] = "", ["{"] = "", z = "\0",
      y = "ab", [("a"):rep(40) .. "y"] = "\0\0\0\0" } do
      assert.equal("EPROTO", helper.raises(dbus.unmarshal, signature, data).code, signature)
    end
    helper.raises_code("EPROTO", dbus.unmarshal, "s", "\2\0\0\0a\0\0")
    helper.raises_code("EPROTO", dbus.unmarshal, "v", ("\1v\0"):rep(100) .. "\1y\0\1")
    math.randomseed(5)
    for _ = 1, 3000 do -- anything at all ends, with an error of ours
      local data = {}
      for i = 1, math.random(40) do
        data[i] = string.char(math.random(3) == 1 and math.random(0, 255) or math.random(0, 8))
      end
      local ok, err = pcall(dbus.unmarshal, "a(yv)sav", table.concat(data))
      assert.is_true(ok or err.code == "EPROTO", tostring(err))
    end
  end)
end)

describe("a service of D-Bus", function()
  it("is asked and answers, in pieces and in either byte order, other messages between", function()
    local before = helper.world()
    assert.same({ true, { "yes" } }, { ask(message { body = dbus.marshal("s", "yes") }) })
    assert.same({ true, { "yes" } }, { ask(message { order = "B", body = "\0\0\0\3yes\0" }) })
    assert.same({ true, {} }, { ask(message {}) })
    local pieces = {}
    for byte in message({ body = dbus.marshal("s", "slow") }):gmatch(".") do
      pieces[#pieces + 1] = byte
    end
    assert.same({ true, { "slow" } }, { ask(pieces) })
    assert.same({ true, { "right" } }, { ask(message { reply = 99, body = dbus.marshal("s", "wrong") }
      .. message { kind = 3, reply = 98 } .. message { kind = 4, fields = { { 3, "s", "s4", "Signal", "\0" } } }
      .. message { kind = 1 } .. message { kind = 77 } .. message { body = dbus.marshal("s", "right") }) })
    assert.same(before, helper.world())
  end)
  it("says in its own words what it refuses", function()
    local ok, err = ask(message { kind = 3, body = dbus.marshal("s", "no \27[2Jway"),
      fields = { { 4, "s", "s4", "a.b.AccessDenied", "\0" }, { 5, "u", "I4", 1 } } })
    assert.is_false(ok)
    assert.equal("EACCES", err.code)
    assert.equal("a.b.AccessDenied", err.refusal)
    assert.matches("dbus Ask: no %?%[2Jway %(a.b.AccessDenied%)", tostring(err))
    ok, err = ask(message { kind = 3, body = dbus.marshal("u", 5), signature = "u" })
    assert.is_false(ok)
    assert.matches("refused %(an error without a name%)", tostring(err))
  end)
  it("is not believed", function()
    refused(message { order = "x" }, "byte order")
    refused(message { version = 2 }, "version")
    refused(message { length = 0xffffffff }, "too long")
    refused(message { head = 0x7fffffff }, "too long")
    refused(message { head = 3 }, "cut off")
    refused(message { fields = { { 5, "s", "s4", "1", "\0" } } }, "a field of another type")
    refused(message { fields = { { 8, "g", "s1", "s", "\0" }, { 5, "u", "I4", 1 } } }, "cut off")
    refused(message { body = dbus.marshal("s", "x") .. "more" }, "more than its types say")
    refused(("x"):rep(100), "byte order")
    local signal = message { kind = 4, fields = { { 3, "s", "s4", "Signal", "\0" } } }
    refused(signal:rep(300), "too many signals")
  end)
  it("is heard alone: what others on its bus say is neither kept nor looked into", function()
    local function signal(sender, body, signature)
      return message { kind = 4, body = body, signature = signature, fields = { { 3, "s", "s4", "Signal", "\0" },
        { 7, "s", "s4", sender, "\0" } } }
    end
    local deep = ("a"):rep(20) .. "y"
    local path, pid = serve(function(fd)
      greet(fd)
      service.await(fd, "Hello")
      service.say(fd, message {})
      service.await(fd, "Ask")
      service.say(fd, signal(":1.9", dbus.marshal("s", "early")):rep(300) .. signal(":1.9", "\0\0\0\0", deep)
        .. signal(":1.9", ("x"):rep((1 << 20) + 1), "s")
        .. message { fields = { { 5, "u", "I4", 2 }, { 7, "s", "s4", ":1.2", "\0" } } }
        .. signal(":1.9", dbus.marshal("s", "forged")) .. signal(":1.2", dbus.marshal("s", "real")))
      receive(fd)
    end)
    local bus <close> = dbus.open { path = path, timeout = 20, bus = true }
    assert.same({}, bus:call { destination = "a.b", path = "/", interface = "a.b", member = "Ask" })
    assert.same({ "real" }, bus:wait_signal("Signal", function() return true end))
    posix.kill(pid, 9)
    posix.wait(pid)
  end)
  it("is not waited for beyond the deadline, nor after its end", function()
    local before = helper.world()
    for _, said in ipairs { "", message { reply = 99 }, message({ body = dbus.marshal("s", "x") }):sub(1, -2) } do
      local answered, late = ask(said, 0.3)
      assert.is_false(answered)
      assert.equal("ETIMEDOUT", late.code)
    end
    local flood = {} -- of what nobody asked for, for longer than that
    for i = 1, 200000 do
      flood[i] = message { reply = 99 }
    end
    local ok, err = ask(table.concat(flood), 0.3)
    assert.is_false(ok)
    assert.equal("ETIMEDOUT", err.code)
    for _, talk in ipairs { function() end, greet, function(fd) receive(fd) posix.write(fd, "OK 12") end } do
      local path, pid = serve(talk)
      local fine, failure = pcall(function()
        local bus <close> = dbus.open { path = path, timeout = 5 }
        bus:call { destination = "a.b", path = "/", interface = "a.b", member = "Ask" }
      end)
      posix.wait(pid)
      assert.is_false(fine)
      assert.is_true(failure.code == "ECONNRESET" or failure.code == "EPIPE", tostring(failure))
    end
    local path, pid = serve(function(fd) receive(fd) posix.write(fd, ("x"):rep(5000)) receive(fd) end)
    assert.equal("EPROTO", helper.raises(dbus.open, { path = path }).code)
    posix.wait(pid)
    path, pid = serve(function(fd) receive(fd) posix.write(fd, "REJECTED EXTERNAL\r\n") receive(fd) end)
    assert.matches("lets this user not in", tostring(helper.raises(dbus.open, { path = path })))
    posix.wait(pid)
    assert.same(before, helper.world())
  end)
  it("is told what a bus is told first: who calls, and Hello", function()
    local path, pid = serve(function(fd)
      local got = receive(fd)
      local uid = tostring(posix.geteuid()):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
      posix.write(fd, got == "\0AUTH EXTERNAL " .. uid .. "\r\nBEGIN\r\n" and "OK 12\r\n" or "REJECTED\r\n")
      got = ""
      while not got:find("Hello", 1, true) or #got < 128 do
        got = got .. receive(fd)
      end
      local fine = got:find("^l\1\0\1") and got:find("org.freedesktop.DBus", 1, true)
      posix.write(fd, message { kind = fine and 2 or 3, body = dbus.marshal("s", ":1.5") })
      receive(fd)
    end)
    local bus, peer = dbus.open { path = path, bus = true }
    assert.equal(posix.geteuid(), peer.uid)
    assert.is_true(peer.pid > 0)
    bus:close()
    posix.wait(pid)
  end)
end)

describe("exec.connect", function()
  it("says where nobody listens", function()
    local before = helper.fds()
    helper.raises_code("ENOENT", carton.exec.connect, "/nonexistent/bus")
    helper.raises_code("ECONNREFUSED", carton.exec.connect, helper.write(helper.tmpdir() .. "/file", ""))
    helper.raises_code("ENAMETOOLONG", carton.exec.connect, "/" .. ("x"):rep(200))
    assert.is_false(pcall(carton.exec.connect, ""))
    assert.is_false(pcall(carton.exec.connect, "/a\0b"))
    assert.same(before, helper.fds())
  end)
  it("does not wait for who does not accept", function()
    local path = helper.tmpdir() .. "/full"
    local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
    assert(socket.listen(fd, 0))
    local open, ok, err = {}, true, nil
    while ok and #open < 10 do
      ok, err = pcall(function() open[#open + 1] = carton.exec.connect(path) end)
    end
    for _, handle in ipairs(open) do
      handle:close()
    end
    unistd.close(fd)
    assert.equal("EAGAIN", err and err.code)
  end)
end)

teardown(helper.cleanup)
