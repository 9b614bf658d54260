-- SPDX-License-Identifier: MIT
-- CVE-2022-0492: a payload mounts a hierarchy of cgroup v1 and has the kernel run a program of it on the host.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

attack.any("a payload sets a release_agent from a user namespace of its own", { "CVE-2022-0492" }, function(r)
  local result = r:run { rootfs = attack.image(), args = { "payload", "release-agent" } }
  assert(result.code == 0, result.stderr)
  attack.holds(not result.stdout:find("agent"), "%s", result.stdout)
  attack.holds(r.name ~= "Carton" or result.stdout == "", "%s", result.stdout) -- not even mounted
  result = r:run { rootfs = attack.image(), args = { "sh", "-c",
    "grep ' - cgroup ' /proc/self/mountinfo; find / -xdev -name release_agent; ls /sys/fs/cgroup/*/release_agent" } }
  if r.name == "Carton" then
    attack.holds(result.stdout == "", "a hierarchy is exposed: %s", result.stdout)
  end
end)

describe("a hierarchy of cgroup v1 #userns", function()
  it("can't be mounted by who has all capabilities in a namespace of its own either", function()
    if not helper.is_root then
      return -- the same as above
    end
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local status = helper.shell("", { rootfs = attack.image(), args = { "payload", "release-agent" }, seccomp = false,
      capabilities = "all", idmap = { uids = ids, gids = ids } })
    assert.equal(0, status.code)
    assert.is_nil(status.stdout:find("agent"), status.stdout)
    assert.matches("unshared", status.stdout) -- it went as far as the kernel lets it
  end)
end)

teardown(helper.cleanup)
