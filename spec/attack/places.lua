-- SPDX-License-Identifier: MIT
-- A root full of links that lead out of it, a canary beside it, and every primitive that looks something up in a root.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local mount = carton.mount
local places = {}

--- All that can be said of a directory and of mounts on it, as text.
function places.snapshot(path)
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
function places.make()
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
places.operations = {
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

--- Raise when something does not hold; in a fork of busted its own assertions are of no use.
function places.expect(value, message)
  if not value then
    error(message or "expectation failed", 2)
  end
end

return places
