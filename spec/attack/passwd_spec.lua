-- SPDX-License-Identifier: MIT
-- CVE-2024-9341, CVE-2024-9676: files that a runtime reads from an image are pipes, devices, huge, or links out of it.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

--- What an image may have for a file, as shell; `$1` is the file, `$canary` a directory outside.
local impostors = {
  fifo = "mkfifo $1", directory = "mkdir $1", huge = "truncate -s 2G $1", loop = "ln -s ${1##*/} $1",
  out = "ln -s $canary/passwd $1", up = "ln -s ../../../../../../..$canary/passwd $1", proc = "ln -s /proc/kmsg $1",
  self = "ln -s /proc/self/root$canary/passwd $1", zero = "ln -s /dev/zero $1", terminal = "ln -s /dev/tty $1",
}

local function place(root, file, how, canary)
  assert(os.execute(("canary='%s'; set -- '%s%s'; rm -rf \"$1\"; %s"):format(canary, root, file, how)))
end

attack.any("/etc/passwd or /etc/group of the image hangs who reads it, or leads out", { "CVE-2024-9341",
  "CVE-2024-9676" }, function(r)
  local path, look = attack.canary()
  local before, root, runs = look(), attack.image(), 0
  for _, file in ipairs { "/etc/passwd", "/etc/group" } do
    local kept = helper.read(root .. file)
    for name, how in pairs(impostors) do
      place(root, file, how, path)
      local result = r:run { rootfs = root, args = { "grep", "^Uid", "/proc/self/status" },
        uid = helper.is_root and 33 or nil }
      runs = runs + 1
      attack.holds(result.code ~= 124, "%s as %s: it hangs", name, file)
      attack.holds(not (helper.is_root and result.stdout:find("^Uid:%s*0")), "%s as %s: root", name, file)
    end
    os.execute(("rm -rf '%s%s'"):format(root, file))
    helper.write(root .. file, kept)
  end
  attack.holds(look() == before, "%s", look())
  return runs .. " runs"
end)

describe("the files of users in an image #userns", function()
  local fields = { idmap = not helper.is_root and "single" or nil }
  local function try(root, user)
    fields.rootfs, fields.user = root, user
    return pcall(helper.shell, "id -u", fields)
  end
  it("are refused in run and exec, whatever stands there", function()
    local path, look = attack.canary()
    local before, root = look(), attack.image()
    for _, file in ipairs { "/etc/passwd", "/etc/group" } do
      local kept = helper.read(root .. file)
      local user = file == "/etc/passwd" and "canary" or "0:canary"
      for name, how in pairs(impostors) do
        place(root, file, how, path)
        local ok, err = try(root, user)
        assert.is_false(ok, name)
        assert.equal("privilege.user", err.step, tostring(err))
      end
      os.execute(("rm -rf '%s%s'"):format(root, file))
      helper.write(root .. file, kept)
    end
    assert.equal(before, look())
  end)
  it("are read whole or not at all while they are exchanged", function()
    local path = attack.canary()
    local root = attack.image()
    posix.link(path .. "/passwd", root .. "/etc/out", true)
    helper.write(root .. "/etc/passwd", "canary:x:4294967294:0::/:/bin/sh\n")
    local race <close> = attack.swapper(root .. "/etc/passwd", root .. "/etc/out")
    local codes = {}
    for _ = 1, attack.STARTS do
      race:look()
      local ok, err = try(root, "canary")
      local code = ok and "ran as " .. err.stdout or err.code
      codes[code] = (codes[code] or 0) + 1
    end
    race:assert_live(attack.STARTS)
    assert.is_nil(codes["ran as 0\n"])
    assert.is_truthy(codes.ENOENT) -- the link leads to nothing inside
    assert.is_truthy(codes[helper.is_root and "ran as 4294967294\n" or "EINVAL"])
  end)
end)

teardown(helper.cleanup)
