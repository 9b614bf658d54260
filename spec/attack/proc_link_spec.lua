-- SPDX-License-Identifier: MIT
-- CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: an image or a volume stands in the place of /proc or
-- /sys, so that what is written there (labels, parameters) goes nowhere, or is read from what the image says.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

--- Images that have something of their own in place of a directory: name -> how it is made.
local impostors = {
  absolute = "ln -s /fake $1", relative = "ln -s ../fake $1", out = "ln -s $canary $1", loop = "ln -s $at $1",
  file = "echo fake > $1", fifo = "mkfifo $1",
  directory = "mkdir -p $1/self/attr $1/sys/kernel; echo fake > $1/self/attr/exec; echo fake > $1/self/status",
  within = "mkdir $1; ln -s /fake $1/self; ln -s /fake $1/sys",
}

-- Put one into an image.
local function place(root, how, at, canary)
  assert(os.execute(([[set -e; at=%s; canary='%s'; set -- '%s'; rm -rf "$1"; %s]]):format(at, canary, root .. at, how)))
end

attack.any("an image has something else in place of /proc or /sys", { "CVE-2019-16884", "CVE-2019-19921",
  "CVE-2023-27561", "CVE-2023-28642" }, function(r)
  local path, look = attack.canary()
  local before = look()
  for _, at in ipairs { "/proc", "/sys" } do
    local root = attack.image()
    assert(os.execute(("mkdir -p '%s/fake/self/attr' && echo fake > '%s/fake/self/status'"):format(root, root)))
    for name, how in pairs(impostors) do
      place(root, how, at, path)
      local result = r:run { rootfs = root, args = { "sh", "-c",
        at == "/proc" and "cat /proc/self/status; grep ' /proc ' /proc/self/mountinfo; echo x > /proc/sysrq-trigger"
        or "test -d /sys/kernel && test -e /proc/self/status || echo fake; echo x > /sys/fs/evil" } }
      attack.holds(not result.stdout:find("fake"), "%s in place of %s is taken for it", name, at)
      attack.holds(at == "/sys" or result.stdout == "" or result.stdout:find("%- proc proc"), "%s in place of %s: %s",
        name, at, result.stdout)
    end
    attack.holds(look() == before, "%s: %s", at, look())
  end
end)

attack.any("a volume in place of /proc makes labels and masks go nowhere", { "CVE-2019-16884", "CVE-2019-19921" },
  function(r)
    local volume = helper.tmpdir()
    assert(os.execute(("cd '%s' && mkdir -p self/attr && echo fake | tee self/status self/attr/exec sysrq-trigger >%s")
      :format(volume, "/dev/null")))
    local result = r:run { rootfs = attack.image(), args = { "cat", "/proc/self/status" },
      mounts = { { source = volume, target = "/proc" } } }
    attack.holds(helper.read(volume .. "/self/attr/exec") == "fake\n", "a label was written to the volume")
    -- who asks for such a volume in so many words has it; what is set there is set in the kernel nonetheless
    attack.holds(r.name == "Carton" or result.code ~= 0, "the volume is taken for /proc")
  end)

describe("an impostor of /proc #userns", function()
  it("is not what a parameter or label is written to, nor what is told about it", function()
    local volume = helper.tmpdir()
    assert(os.execute(("cd '%s' && mkdir -p self/attr sys/net/ipv4 && "
      .. "echo 0 | tee self/attr/exec sys/net/ipv4/ip_forward >/dev/null"):format(volume)))
    local fields = { rootfs = attack.image(), mounts = { volume .. ":/proc" }, sysctl = { ["net.ipv4.ip_forward"] = 1 },
      idmap = not helper.is_root and "single" or nil }
    fields.args = { "sh", "-c", "umount /proc; mount -t proc proc /tmp && cat /tmp/sys/net/ipv4/ip_forward" }
    fields.capabilities, fields.seccomp = "all", false
    local status = helper.shell("", fields)
    assert.equal("1\n", status.stdout, status.stderr)
    assert.equal("0\n", helper.read(volume .. "/sys/net/ipv4/ip_forward"))
    for _, label in ipairs { { apparmor = "unconfined" }, { selinux = "a:b:c:s0" } } do
      local ok, err = pcall(helper.shell, "true", { rootfs = attack.image(), mounts = { volume .. ":/proc" },
        label = label, idmap = fields.idmap })
      assert.is_true(ok or type(err) == "table" and err.step == "privilege.label", tostring(err))
      assert.equal("0\n", helper.read(volume .. "/self/attr/exec"))
    end
  end)
  it("is refused as a link, by name", function()
    for _, at in ipairs { "/proc", "/sys", "/dev" } do
      local root = attack.image()
      posix.rmdir(root .. at)
      posix.link("/tmp", root .. at, true)
      local err = helper.raises_code("ELOOP", helper.shell, "true", { rootfs = root,
        idmap = not helper.is_root and "single" or nil })
      assert.equal(at, err.path)
    end
    assert.is_truthy(carton.host.stat("/proc/self/status"))
  end)
end)

teardown(helper.cleanup)
