-- SPDX-License-Identifier: MIT
-- CVE-2023-25809: without a cgroup namespace the host's groups are writable below /sys/fs/cgroup.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local SCRIPT <const> = [[
  find /sys /proc/sys/kernel -xdev -type f -exec payload write {} + 2>/dev/null
  find /sys/fs/cgroup -type f -exec payload write {} + 2>/dev/null
  for d in $(find /sys/fs/cgroup -type d 2>/dev/null); do
    mkdir $d/evil 2>/dev/null && [ -e $d/evil/cgroup.procs ] && echo made $d # and not in a tmpfs of its own
  done; true]]

attack.any("groups of the host are writable without a cgroup namespace", { "CVE-2023-25809" }, function(r)
  for _, host_cgroup in ipairs { true, false } do
    local result = r:run { rootfs = attack.image(), args = { "sh", "-c", SCRIPT .. "; echo end" },
      host_cgroup = host_cgroup }
    assert(result.code == 0, result.stderr)
    attack.holds(result.stdout == "end\n", "%s", result.stdout:sub(1, 200))
  end
end)

describe("the groups of the host #userns", function()
  it("are not writable where they are asked for, read-only, either", function()
    for _, user in ipairs { "0", helper.is_root and "33" or nil } do
      local status = helper.shell("", { rootfs = attack.image(), args = { "sh", "-c", SCRIPT }, user = user,
        mounts = { "/sys/fs/cgroup:/sys/fs/cgroup:ro" }, namespaces = { cgroup = "host" },
        idmap = not helper.is_root and "single" or nil })
      assert.equal("", status.stdout)
    end
  end)
end)

teardown(helper.cleanup)
