-- SPDX-License-Identifier: MIT
-- CVE-2022-24769, CVE-2022-27649, CVE-2022-27650, CVE-2022-29162: inheritable capabilities, which a file with
-- capabilities of its own makes permitted for who has none.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local function inheritable(result, what)
  assert(result.code == 0, result.stderr)
  local set = result.stdout:match("CapInh:%s*(%x+)")
  attack.holds(set and not set:find("[^0]"), "%s: %s", what, set)
end

attack.any("capabilities are inheritable in run, exec, or exec with more", { "CVE-2022-24769", "CVE-2022-27649",
  "CVE-2022-27650", "CVE-2022-29162" }, function(r)
  local root = attack.image()
  local args = { "grep", "^Cap", "/proc/self/status" }
  inheritable(r:run { rootfs = root, args = args }, "run")
  inheritable(r:run { rootfs = root, args = args, capabilities = { "CHOWN", "NET_RAW" } }, "run with other ones")
  local c <close> = r:start { rootfs = root, args = { "sleep", "60" } }
  inheritable(c:exec { args = args }, "exec")
  inheritable(c:exec { args = args, capabilities = { "NET_RAW", "CHOWN", "SETFCAP" } }, "exec with others")
end)

describe("what is inherited #userns", function()
  local idmap = not helper.is_root and "single" or nil
  it("is nothing of the caller's own inheritable and ambient set, and what is asked for by name", function()
    local carton = require("carton")
    helper.isolated(function()
      local now = carton.privilege.get()
      carton.privilege.capabilities { inheritable = { "NET_RAW", "CHOWN" }, permitted = now.permitted,
        effective = now.effective, ambient = { "NET_RAW", "CHOWN" } }
      assert(#carton.privilege.get().inheritable == 2)
      local status = helper.shell("grep -E '^Cap(Inh|Amb)' /proc/self/status", { idmap = idmap })
      assert(status.stdout == "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n", status.stdout)
    end)
    local ambient = helper.output("grep -E '^Cap(Inh|Amb)' /proc/self/status",
      { idmap = idmap, capabilities = { ambient = { "NET_BIND_SERVICE" } } })
    assert.matches("CapInh:%s+0000000000000400\nCapAmb:%s+0000000000000400", ambient) -- so the spec can fail
  end)
end)

teardown(helper.cleanup)
