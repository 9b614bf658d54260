-- SPDX-License-Identifier: MIT
-- Namespaces: opening, making, entering, mapping.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local namespace, exec = carton.namespace, carton.exec

local KINDS = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" }

local function link(pid, kind)
  return posix.readlink(("/proc/%s/ns/%s"):format(pid, kind))
end

--- A sleeping child with new namespaces; as an unprivileged user, with a user namespace among them.
local function sleeper(kinds, steps)
  local list = table.move(kinds, 1, #kinds, 1, {})
  if not helper.is_root and not table.concat(kinds, " "):find("user") then
    list[#list + 1] = "user"
  end
  steps = steps or {}
  steps[#steps + 1] = { "exec.exec", args = { "/bin/sleep", "60" } }
  return exec.spawn { namespaces = list, steps = steps }
end

local function own_maps(fields)
  fields.uids = { { container_id = 0, host_id = posix.geteuid(), size = 1 } }
  fields.gids = { { container_id = 0, host_id = posix.getegid(), size = 1 } }
  return fields
end

describe("namespace.open", function()
  for _, kind in ipairs(KINDS) do
    it("opens the caller's own " .. kind, function()
      local ns <close> = namespace.open(0, kind)
      assert.equal(link("self", kind), ("%s:[%d]"):format(kind, ns:id()))
      assert.equal(kind, ns:kind())
    end)
  end
  it("closes its descriptor at the end of the block", function()
    local before = helper.fds()
    do
      local net <close> = namespace.open(0, "net") -- luacheck: ignore net
      assert.equal(#before + 1, #helper.fds())
    end
    assert.same(before, helper.fds())
  end)
  it("says what it could not open, and why", function()
    local err = helper.raises(namespace.open, 1 << 30, "net")
    assert.equal("/proc/1073741824/ns/net", err.path)
    assert.equal("ENOENT", err.code)
  end)
  it("refuses a path that is no namespace, and one of another kind", function()
    helper.raises_code("EINVAL", namespace.open, "/etc/passwd", "net")
    helper.raises_code("EINVAL", namespace.open, "/proc/self/ns/uts", "net")
  end)
  it("refuses an unknown kind as the caller's mistake", function()
    assert.matches("not a kind of namespace", helper.raises(namespace.open, 0, "nett"))
  end)
  it("raises when it is closed already", function()
    local ns = namespace.open(0, "net")
    ns:close()
    ns:close()
    assert.matches("closed namespace", helper.raises(ns.id, ns))
  end)
end)

describe("namespaces of a new process #userns", function()
  for _, kind in ipairs(KINDS) do
    it("has a new " .. kind .. ", and only that", function()
      local p <close> = sleeper { kind }
      for _, other in ipairs(KINDS) do
        local same = link("self", other) == link(p:pid(), other)
        local expected = other ~= kind and (helper.is_root or other ~= "user")
        assert.equal(expected, same, other)
      end
      p:kill()
      p:wait()
    end)
  end
  it("is opened by process handle", function()
    local p <close> = sleeper { "uts" }
    local uts <close> = namespace.open(p, "uts")
    assert.equal(link(p:pid(), "uts"), ("uts:[%d]"):format(uts:id()))
    local owner <close> = uts:owner()
    assert.equal("user", owner:kind())
    assert.equal(link(p:pid(), "user"), ("user:[%d]"):format(owner:id()))
    p:kill()
    p:wait()
  end)
end)

describe("namespace.create #userns", function()
  for _, kind in ipairs { "cgroup", "ipc", "mnt", "net", "user", "uts", "time" } do
    it("makes a " .. kind .. " without entering it", function()
      if not helper.is_root and kind ~= "user" then
        return -- needs an owner that we may enter: see the next one
      end
      local before = link("self", kind)
      local world = helper.world()
      local ns = namespace.create(kind)
      assert.equal(kind, ns:kind())
      assert.not_equal(before, ("%s:[%d]"):format(kind, ns:id()))
      assert.equal(before, link("self", kind))
      ns:close()
      assert.same(world, helper.world())
    end)
  end
  it("makes several that belong to one user namespace", function()
    local set = namespace.create({ "user", "net", "uts" }, own_maps {})
    local owner <close> = set.net:owner()
    assert.equal(set.user:id(), owner:id())
    local p <close> = exec.spawn { steps = {
      { "namespace.enter", namespaces = { set.user, set.net, set.uts } },
      { "namespace.hostname", name = "created" },
      { "exec.exec", args = { "/bin/sleep", "60" } },
    } }
    for kind, ns in pairs(set) do
      assert.equal(link(p:pid(), kind), ("%s:[%d]"):format(kind, ns:id()))
      ns:close()
    end
    p:kill()
    p:wait()
  end)
  it("sets the clocks of a time namespace off #root", function()
    local ns <close> = namespace.create("time", { monotonic = 86400, boottime = 86400 })
    local reader, writer = exec.pipe()
    local p <close> = exec.spawn { steps = {
      { "namespace.enter", namespaces = { ns } },
      { "exec.descriptors", fds = { exec.null(), writer, 2 } },
      { "exec.exec", args = { "/bin/cat", "/proc/uptime" } },
    } }
    writer:close()
    local inside = tonumber(reader:read():match("^%S+"))
    local outside = tonumber(helper.read("/proc/uptime"):match("^%S+"))
    assert.is_true(math.abs(inside - outside - 86400) < 10)
    p:wait()
    reader:close()
  end)
end)

describe("namespace.enter #userns", function()
  it("enters several of a process at once", function()
    local p <close> = sleeper { "net", "uts", "ipc" }
    local kinds = helper.is_root and { "net", "uts", "ipc" } or { "user", "net", "uts", "ipc" }
    local q <close> = exec.spawn { steps = {
      { "namespace.enter", process = p, kinds = kinds },
      { "exec.exec", args = { "/bin/sleep", "60" } },
    } }
    for _, kind in ipairs(kinds) do
      assert.equal(link(p:pid(), kind), link(q:pid(), kind))
    end
    p:kill()
    q:kill()
    p:wait()
    q:wait()
  end)
  it("names itself when it fails", function()
    local own <close> = namespace.open(0, "user")
    local err = helper.raises_code("EINVAL", exec.spawn, {
      steps = { { "namespace.enter", namespaces = { own } } } })
    assert.equal("namespace.enter", err.step)
    assert.equal(1, err.index)
    assert.equal("setns", err.call)
  end)
  it("goes on inside of a pid namespace after exec.fork", function()
    local kinds = { "pid", "mnt" }
    local p <close> = sleeper(kinds, { { "mount.proc", target = "/proc" } })
    local all = helper.is_root and kinds or { "user", "pid", "mnt" }
    local q <close> = exec.spawn { steps = {
      { "namespace.enter", process = p, kinds = all },
      { "exec.fork" },
      { "exec.exec", args = { "/bin/sleep", "60" } },
    } }
    assert.equal(link(p:pid(), "pid"), link(q:pid(), "pid"))
    assert.matches("NSpid:%s+%d+%s+2\n", helper.read(("/proc/%d/status"):format(q:pid())))
    q:kill()
    assert.equal("SIGKILL", q:wait().signal)
    p:kill()
    p:wait()
    assert.same({}, helper.children())
  end)
end)

describe("namespace.idmap #userns", function()
  it("is written by the child itself, with setgroups denied", function()
    local p <close> = sleeper({ "user" }, { own_maps { "namespace.idmap" } })
    local map = helper.read(("/proc/%d/uid_map"):format(p:pid()))
    assert.matches("^%s*0%s+" .. posix.geteuid() .. "%s+1\n$", map)
    assert.equal("deny\n", helper.read(("/proc/%d/setgroups"):format(p:pid())))
    p:kill()
    p:wait()
  end)
  it("says which file it could not write", function()
    local err = helper.raises_code("EPERM", exec.spawn, { namespaces = { "user" }, steps = {
      { "namespace.idmap", uids = { { container_id = 0, host_id = 1, size = 5 } },
        gids = { { container_id = 0, host_id = posix.getegid(), size = 1 } } } } })
    assert.equal("self/uid_map", err.text)
    assert.equal("write", err.call)
  end)
  it("takes 340 entries, and says so of more", function()
    local function entries(n)
      local list = {}
      for i = 1, n do
        list[i] = { container_id = i * 2, host_id = 100000 + i * 2, size = 1 }
      end
      return list
    end
    local err = helper.raises(exec.spawn, { namespaces = { "user" }, steps = {
      { "namespace.idmap", uids = entries(341), gids = entries(341) } } })
    assert.matches("340", tostring(err))
  end)
end)

describe("namespace:pin #root", function()
  it("keeps a namespace alive at a path", function()
    helper.isolated(function()
      local path = helper.tmpdir() .. "/net"
      local ns = namespace.create("net")
      local id = ns:id()
      ns:pin(path)
      ns:close()
      local again <close> = namespace.open(path, "net")
      assert(again:id() == id, "another namespace")
      carton.mount.unmount { target = path, detach = true }
    end)
  end)

  it("leaves no file where it could not", function()
    helper.isolated(function()
      local path = helper.tmpdir() .. "/net"
      local ns = namespace.create("net")
      carton.privilege.capabilities { effective = {} }
      local err = helper.raises_code("EPERM", ns.pin, ns, path)
      assert(err.path == path)
      assert(not carton.host.stat(path), "an empty file is left")
    end)
  end)
end)

describe("namespace.unshare #userns", function()
  it("is a step too", function()
    local p <close> = sleeper({}, { { "namespace.unshare", kinds = { "uts" } },
      { "namespace.hostname", name = "apart" } })
    assert.not_equal(link("self", "uts"), link(p:pid(), "uts"))
    p:kill()
    p:wait()
  end)
  it("refuses no and unknown kinds", function()
    assert.matches("unknown name 'nets'", tostring(helper.raises(namespace.unshare,
      { kinds = { "nets" } })))
    assert.matches("field 'kinds'", tostring(helper.raises(namespace.unshare, {})))
  end)
end)

teardown(helper.cleanup)
