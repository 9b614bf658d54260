-- SPDX-License-Identifier: MIT
-- Users and groups: strict words, looked up in the files of a root that may hold anything.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local privilege = carton.privilege

local shared = require("spec.steps")
local output, status, fails = shared.output, shared.status, shared.fails
local refused, inside, same = shared.refused, shared.inside, shared.same

describe("privilege.user #root", function()
  if not helper.is_root then
    return
  end
  local function ids(step, root)
    step[1] = "privilege.user"
    return output(root and { { "exec.chroot", path = root }, step } or { step },
      root and "export PATH=/bin; echo $(id -u) $(id -g) $(id -G)" or "echo $(id -u) $(id -g) $(id -G)")
  end
  local function in_root(step)
    return ids(step, helper.rootfs())
  end
  it("sets all ids to numbers", function()
    local text = output({ { "privilege.user", uid = 1234, gid = 4321, groups = { "7", 8 } } },
      "grep -E '^(Uid|Gid|Groups):' /proc/self/status")
    assert.matches("Uid:%s+1234%s+1234%s+1234%s+1234", text)
    assert.matches("Gid:%s+4321%s+4321%s+4321%s+4321", text)
    assert.matches("Groups:%s+7 8", text)
    assert.equal("0000000000000000", status({ { "privilege.user", uid = 1234 } }, "CapEff"))
  end)
  it("looks names up in the root, never on the host", function()
    assert.equal("33 34 34 35", in_root { user = "web" })
    assert.equal("33 0 0", in_root { user = "web", group = "root", groups = {} })
    assert.equal("0 35 35", in_root { uid = 0, group = "logs" })
    helper.raises_code("ENOENT", in_root, { user = "daemon" }) -- the host has it
    helper.raises_code("ENOENT", in_root, { uid = 0, group = "daemon" })
  end)
  it("takes digits for a number, even where they are somebody's name", function()
    assert.equal("1 0 0", in_root { user = "1" })
    assert.equal("33 34 34", in_root { user = "33" })
    assert.equal("99 99 99", in_root { user = "99" })
    assert.equal("4294967294 0 0", in_root { user = "4294967294" })
  end)
  it("takes nothing else for a user or group", function()
    for _, name in ipairs { "+1", " 1", "1 ", "-1", "0x1", "01", "4294967295", "4294967296", "", "1:2", ":2", "1:2:3",
      "18446744073709551616", "1e0", "\n1", "web\n", "web:", "web,x", "../web" } do
      local err = helper.raises_code("EINVAL", in_root, { user = name })
      assert.equal("has no such user", err.call)
      err = helper.raises_code("EINVAL", in_root, { uid = 0, group = name })
      assert.equal("has no such group", err.call)
      helper.raises_code("EINVAL", in_root, { uid = 0, groups = { name } })
    end
    refused("NUL", "user", { user = "web\0root" })
    for _, id in ipairs { -1, 4294967295, 1 << 32, 1 << 62 } do
      refused("an id is from 0", "user", { uid = id })
      refused("an id is from 0", "user", { gid = id })
    end
    refused("integer expected", "user", { uid = "0" })
  end)
  it("is as strict as a word of a container", function()
    local function run(user)
      return helper.shell("echo $(id -u):$(id -g)", { user = user }).stdout
    end
    assert.equal("33:34\n", run "web")
    assert.equal("1:0\n", run "1")
    assert.equal("1:2\n", run "1:2")
    assert.equal("33:35\n", run "web:logs")
    assert.equal("5:0\n", run(5))
    for _, user in ipairs { "", ":", ":2", "1:", "1:2:3", "+1", " 1", "-1", "0x1", "4294967295", -1, 1.5 } do
      helper.raises_code("EINVAL", run, user)
    end
    for _, user in ipairs { {}, { name = "web" }, { gid = 5 }, { uid = -1 }, { uid = 33, guid = 1 } } do
      assert.matches("user", tostring(helper.raises(run, user)))
    end
  end)
  it("survives whatever an image has for /etc/passwd", function()
    local root = helper.rootfs(true)
    local path = root .. "/etc/passwd"
    local function try(make, code)
      os.remove(path)
      make()
      local began = carton.host.monotonic()
      local err = helper.raises_code(code, ids, { user = "web" }, root)
      assert.is_true(carton.host.monotonic() - began < 20)
      return err
    end
    local function link(target)
      return function() assert(posix.link(target, path, true)) end
    end
    local function content(text)
      return function() helper.write(path, text) end
    end
    try(function() end, "ENOENT")
    assert.equal("is not a regular file", try(function() posix.mkfifo(path) end, "EINVAL").call)
    try(function() posix.mkdir(path) end, "EINVAL")
    try(function() carton.mount.device { path = path, type = "char", major = 1, minor = 5 } end, "EINVAL")
    try(link "passwd", "ELOOP")
    try(link(path), "ENOENT") -- absolute: counts from the root inside
    try(link "/proc/self/root/etc/passwd", "ENOENT")
    try(link "../../../../../../../etc/shadow", "ENOENT")
    try(content "", "ENOENT")
    try(content(("\0\255:\n"):rep(20000)), "ENOENT")
    try(content(("x"):rep(100000) .. "web:x:0:0::/:\n"), "ENOENT")
    try(content("web\nweb:\nweb:x\nweb:x:0\nweb:x:x:0\nweb:x:-1:0\nweb:x:4294967295:0\nweb:x:00:0\n"
      .. "web:x:0:0x1"), "ENOENT")
    try(content " web:x:0:0::/:\nwebx:x:0:0::/:\nwe:x:0:0::/:\n", "ENOENT")
    try(function() os.execute("truncate -s 1G " .. path) end, "EFBIG")
    os.remove(path)
    helper.write(path, ("x:x:1:1::/:\n"):rep(50000) .. "web:x:77:78::/:") -- no newline at the end
    assert.equal("77 78 78", ids({ user = "web", groups = {} }, root))
  end)
  it("reads no file by which procfs acts", function()
    local root = helper.rootfs(true)
    os.remove(root .. "/etc/passwd")
    posix.link("/proc/self/environ", root .. "/etc/passwd", true)
    local err = helper.raises(output, { { "mount.propagation", propagation = "rprivate" },
      { "mount.proc", target = root .. "/proc" }, { "exec.chroot", path = root },
      { "privilege.user", user = "web" } }, "true", { "mnt", "pid" })
    assert.equal("is not a regular file", err.call)
  end)
  it("survives whatever an image has for /etc/group", function()
    local root = helper.rootfs(true)
    local path = root .. "/etc/group"
    os.remove(path)
    assert.equal("33 34 34", ids({ user = "web" }, root))
    posix.mkfifo(path)
    helper.raises_code("EINVAL", ids, { user = "web" }, root)
    os.remove(path)
    helper.write(path, "a:x:50:web\nb:x:50:web,web\nc:x:51:web\nd:x:x:web\ne:x:52:x,webb,,\n:x:53:web")
    assert.equal("33 34 34 50 51 53", ids({ user = "web" }, root))
    local lines = {}
    for i = 1, 300 do
      lines[i] = ("g%d:x:%d:web\n"):format(i, 1000 + i)
    end
    helper.write(path, table.concat(lines))
    helper.raises_code("E2BIG", ids, { user = "web" }, root)
  end)
  it("leaves no capability to the program, and drops the caller's groups", function()
    inside(function()
      privilege.user { uid = 0, gid = 0, groups = { 5, 6 } }
      same(privilege.get().groups, { 5, 6 })
      privilege.user { uid = 0, gid = 0, keep_groups = true }
      same(privilege.get().groups, { 5, 6 })
      privilege.user { uid = 77, gid = 78 }
      local now = privilege.get()
      same(now.groups, {})
      same(now.effective, {})
      assert(now.uid == 77 and now.gid == 78)
      assert(not pcall(privilege.user, { uid = 99 }))
    end)
  end)
end)

describe("privilege.user #userns", function()
  it("is refused what is not in the map", function()
    fails("EINVAL", { "privilege.user", uid = 4294967294 }, { "user" })
  end)
end)

teardown(helper.cleanup)
