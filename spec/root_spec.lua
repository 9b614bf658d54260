-- SPDX-License-Identifier: MIT
-- Lookups inside a hostile root: whatever its links say, and however they change, nothing outside of it does.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local mount, exec = carton.mount, carton.exec

--- All that can be said of a directory and of mounts on it, as text.
local function snapshot(path)
  local list = {}
  local function look(at)
    local st = assert(carton.host.stat(at, true))
    list[#list + 1] = table.concat({ at, st.type, st.mode, st.uid, st.gid, st.size, st.ino, st.major, st.minor,
      posix.readlink(at) or "", st.type == "file" and helper.read(at) or "" }, " ")
    if st.type == "directory" then
      local names = posix.dir(at)
      table.sort(names)
      for _, name in ipairs(names) do
        if name ~= "." and name ~= ".." then
          look(at .. "/" .. name)
        end
      end
    end
  end
  look(path)
  for _, entry in ipairs(mount.list()) do
    if entry.target:sub(1, #path) == path or entry.target == "/" then
      list[#list + 1] = ("%d %s %s %s"):format(entry.id, entry.target, entry.options, entry.propagation)
    end
  end
  return table.concat(list, "\n")
end

--- A place with a canary, and a root beside it full of links that would lead there.
local function place()
  local base = helper.tmpdir()
  local root, canary = base .. "/root", base .. "/canary"
  for _, path in ipairs { root, canary, canary .. "/dir", root .. "/proc", root .. "/dir", root .. "/deep",
    root .. "/deep/er" } do
    assert(posix.mkdir(path))
  end
  helper.write(canary .. "/file", "canary\n", "rw-------")
  helper.write(root .. "/file", "root\n")
  local links = {
    absolute = canary, relative = "../canary", far = ("../"):rep(40) .. canary:sub(2), dots = "dir/../../canary",
    chain = "absolute", round = "loop", loop = "round", self = "self",
    magic = "/proc/self/root" .. canary, init = "/proc/1/root" .. canary, cwd = "/proc/self/cwd/canary",
    fd = "/proc/self/fd/9", file = nil,
  }
  for name, target in pairs(links) do
    assert(posix.link(target, root .. "/" .. name, true))
  end
  assert(posix.link("../../../canary", root .. "/deep/er/up", true))
  local names = { "deep/er/up", "dir/../../canary", "../canary", "/../canary", "dir/../../../" .. canary }
  for name in pairs(links) do
    names[#names + 1] = name
  end
  table.sort(names)
  return base, root, canary, names
end

--- Every primitive that looks something up in a root, with that for its target.
local operations = {
  function(at, root) mount.tmpfs { root = root, target = at, nofollow = false } end,
  function(at, root) mount.tmpfs { root = root, target = at .. "/made/deep", nofollow = false } end,
  function(at, root) mount.bind { root = root, source = "/usr", target = at } end,
  function(at, root) mount.bind { root = root, source = "/usr", target = at .. "/made" } end,
  function(at, root) mount.bind { root = root, source = "/etc/passwd", target = at .. "/file" } end,
  function(at, root) mount.attach { root = root, tree = mount.create { type = "tmpfs" }, target = at } end,
  function(at, root) mount.proc { root = root, target = at, nofollow = false } end,
  function(at, root) mount.overlay { root = root, lower = { "/usr" }, temporary = true, target = at } end,
  function(at, root) mount.setattr { root = root, target = at, options = { "ro" } } end,
  function(at, root) mount.setattr { root = root, target = at, options = { "ro" }, recursive = true } end,
  function(at, root) mount.propagation { root = root, target = at, propagation = "unbindable" } end,
  function(at, root) mount.move { root = root, source = at, target = "/dir" } end,
  function(at, root) mount.unmount { root = root, target = at, detach = true } end,
  function(at, root) mount.mkdir { root = root, target = at, optional = true } end,
  function(at, root) mount.mkdir { root = root, target = at .. "/a/b", parents = true } end,
  function(at, root) mount.write { root = root, target = at, content = "evil" } end,
  function(at, root) mount.write { root = root, target = at .. "/file", content = "evil" } end,
  function(at, root) mount.write { root = root, target = at .. "/file", content = "evil", append = true } end,
  function(at, root) mount.write { root = root, target = at .. "/new", content = "evil" } end,
  function(at, root) mount.symlink { root = root, path = at, target = "evil" } end,
  function(at, root) mount.symlink { root = root, path = at .. "/link", target = "evil" } end,
  function(at, root) mount.device { root = root, path = at .. "/null", source = "/dev/null" } end,
  function(at, root) mount.device { root = root, path = at .. "/file", source = "/dev/null", bind = true } end,
  function(at, root) mount.mask { root = root, paths = { at, at .. "/file", at .. "/dir" } } end,
  function(at, root) mount.readonly { root = root, paths = { at, at .. "/file", at .. "/dir" } } end,
  function(at, root) mount.chown { root = root, target = at .. "/file", uid = 0, gid = 0 } end,
  function(at, root) mount.chmod { root = root, target = at .. "/file", mode = "0777" } end,
  function(at, root) mount.chmod { root = root, target = at, mode = "0777" } end,
}

local function expect(value, message)
  if not value then
    error(message or "expectation failed", 2)
  end
end

describe("a lookup in a root", function()
  it("never leaves it, by no link and no primitive", function()
    helper.isolated(function()
      local base, path, canary, names = place()
      mount.bind { source = base, target = base, recursive = true }
      pcall(mount.bind, { source = "/proc", target = path .. "/proc", recursive = true })
      posix.chdir(base)
      local out = posix.open(canary, posix.O_RDONLY)
      posix.dup2(out, 9) -- for /proc/self/fd/9
      local before = snapshot(canary)
      for _, name in ipairs(names) do
        for i, operation in ipairs(operations) do
          local root <close> = mount.open_root(path)
          pcall(operation, name, root)
          pcall(operation, "/" .. name .. "/", root)
          expect(snapshot(canary) == before, ("operation %d left by %s:\n%s\n%s"):format(i, name, before,
            snapshot(canary)))
        end
      end
      expect(helper.read(path .. "/file") == "root\n", "beside the target")
    end)
  end)
  it("does its work in a root that is not hostile, so that the specs here mean something", function()
    helper.isolated(function()
      local skipped = 0
      for i, operation in ipairs(operations) do
        local base, path = place()
        mount.bind { source = base, target = base, recursive = true }
        mount.tmpfs { target = path .. "/dir" }
        helper.write(path .. "/dir/file", "x")
        local root <close> = mount.open_root(path)
        local ok, err = pcall(operation, "dir", root)
        skipped = skipped + (ok and 0 or 1)
        -- what has to be a file, or cannot be there twice
        expect(ok or (" EINVAL EEXIST EPERM ELOOP "):find(err.code, 1, true), i .. " " .. tostring(err))
      end
      expect(skipped <= 7, skipped .. " of them did nothing")
    end)
  end)
  it("refuses links of procfs, and says so", function()
    helper.isolated(function()
      local _, path, canary = place()
      mount.bind { source = "/proc", target = path .. "/proc", recursive = true }
      local root <close> = mount.open_root(path)
      for _, target in ipairs { "magic", "init", "/proc/self/root/x", "/proc/self/cwd/x", "/proc/1/root/x" } do
        local ok, err = pcall(mount.write, { root = root, target = target, content = "x" })
        expect(not ok and (" ELOOP EACCES "):find(err.code, 1, true), target .. " " .. tostring(err))
      end
      expect(helper.read(canary .. "/file") == "canary\n")
    end)
  end)
  it("writes no file by which procfs or sysfs acts", function()
    helper.isolated(function()
      local _, path = place()
      mount.bind { source = "/proc", target = path .. "/proc", recursive = true }
      posix.link("/proc/self/comm", path .. "/hosts", true)
      posix.link("/proc/sys/kernel/core_pattern", path .. "/pattern", true)
      local root <close> = mount.open_root(path)
      for _, target in ipairs { "hosts", "pattern", "/proc/self/oom_score_adj" } do
        local ok, err = pcall(mount.write, { root = root, target = target, content = "5" })
        expect(not ok and err.call == "is not a regular file", target .. " " .. tostring(err))
      end
    end)
  end)
  it("ends, whatever loops", function()
    helper.isolated(function()
      local _, path = place()
      local root <close> = mount.open_root(path)
      local deep = path
      for i = 1, 45 do
        posix.link(i == 1 and "dir" or "l" .. (i - 1), path .. "/l" .. i, true)
      end
      expect(deep)
      for _, target in ipairs { "loop", "self", "loop/x", "l45" } do
        local ok, err = pcall(mount.tmpfs, { root = root, target = target, nofollow = false })
        expect(not ok and err.code == "ELOOP", target .. " " .. tostring(err))
      end
      for length, code in pairs { [300] = "ENAMETOOLONG", [5000] = "ENAMETOOLONG", [100000] = "ENAMETOOLONG" } do
        local ok, err = pcall(mount.mkdir, { root = root, target = ("x"):rep(length), parents = true })
        expect(not ok and err.code == code, tostring(err))
        ok, err = pcall(mount.mkdir, { root = root, target = ("x/"):rep(length), parents = true })
        expect(length == 300 and ok or not ok and err.code == code, tostring(err))
      end
    end)
  end)
end)

--- A process that keeps turning `swap` from a link to `good` into one of others and back, until it is ended.
local function swapper(path, targets)
  posix.link("good", path .. "/swap", true)
  local pid = posix.fork()
  if pid == 0 then
    local began, i = carton.host.monotonic(), 0
    while carton.host.monotonic() - began < 60 do
      i = i + 1
      posix.link(i % 2 == 0 and "good" or targets[i // 2 % #targets + 1], path .. "/next", true)
      os.rename(path .. "/next", path .. "/swap")
    end
    posix._exit(0)
  end
  return setmetatable({}, { __close = function()
    posix.kill(pid, posix.SIGKILL)
    posix.wait(pid)
  end })
end

describe("a race for a link", function()
  it("is never won by a link, in 1000 tries and more", function()
    helper.isolated(function()
      local base, path, canary = place()
      mount.bind { source = base, target = base, recursive = true }
      posix.mkdir(path .. "/good")
      posix.mkdir(path .. "/good/dir")
      helper.write(path .. "/good/file", "x")
      local before = snapshot(canary)
      local running <close> = swapper(path, { -- luacheck: ignore running
        canary, "../canary", "dir/../../canary", "/../canary", "/proc/self/root" .. canary })
      local done, failed, began = 0, 0, carton.host.monotonic()
      while done + failed < 2000 and carton.host.monotonic() - began < 15 do
        local operation = operations[math.random(#operations)]
        local root <close> = mount.open_root(path)
        local ok = pcall(operation, math.random(2) == 1 and "swap" or "swap/../swap", root)
        done, failed = done + (ok and 1 or 0), failed + (ok and 0 or 1)
        for _, entry in ipairs(mount.list()) do
          if entry.target:sub(1, #path + 1) == path .. "/" then
            carton.try(mount.unmount, { target = entry.target, detach = true })
          end
        end
        if (done + failed) % 50 == 0 then
          expect(snapshot(canary) == before, "the canary:\n" .. before .. "\n" .. snapshot(canary))
        end
      end
      expect(snapshot(canary) == before, "the canary")
      expect(done + failed >= 1000, "only " .. done + failed .. " tries")
      expect(done > 50 and failed > 50, done .. " done, " .. failed .. " failed")
    end)
  end)
  it("is not won while containers start either", function()
    local _, path, canary = place()
    posix.mkdir(path .. "/good")
    for _, name in ipairs { "bin", "sys", "dev", "etc" } do
      posix.mkdir(path .. "/" .. name)
    end
    local before = snapshot(canary)
    local running <close> = swapper(path, { -- luacheck: ignore running
        canary, "../canary", "/proc/self/root" .. canary })
    local began, tries = carton.host.monotonic(), 0
    while tries < 150 and carton.host.monotonic() - began < 20 do
      tries = tries + 1
      local c <close> = carton.container { rootfs = carton.rootfs.dir(path), args = { "/nothing" }, idmap = not
        helper.is_root and "single" or nil, mounts = {
          { "mount.tmpfs", target = "/swap/made", nofollow = false },
          { "mount.mkdir", target = "/swap/d", optional = true },
          { "mount.write", target = "/swap/file", content = "evil" },
          { type = "bind", source = "/usr", target = "/swap/usr" },
          { "mount.mask", paths = { "/swap/file", "/swap/dir" } } } }
      local err = helper.raises(c.start, c)
      assert.equal("table", type(err), tostring(err))
      assert.is_truthy(err.step:match("^mount%.") or err.step == "exec.exec", tostring(err))
    end
    assert.equal(before, snapshot(canary))
  end)
end)

describe("exec.chroot", function()
  it("enters through no link that leads out #userns", function()
    helper.isolated(function()
      local _, path, canary = place()
      carton.exec.chroot { path = path }
      local ok, err = pcall(exec.chroot, { path = "relative" })
      expect(not ok and err.code == "ENOENT", tostring(err))
      expect(not carton.host.stat(canary))
    end)
  end)
end)

teardown(helper.cleanup)
