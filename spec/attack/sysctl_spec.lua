-- SPDX-License-Identifier: MIT
-- CVE-2022-0811: separators in the name or value of a kernel parameter smuggle in another one, which is the host's.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local idmap = not helper.is_root and "single" or nil
local WATCHED <const> = { "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness",
  "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmni" }

local function look()
  local list = {}
  for _, path in ipairs(WATCHED) do
    list[#list + 1] = helper.read(path)
  end
  return table.concat(list)
end

local NAMES <const> = { "kernel.core_pattern", "kernel/core_pattern", "net.ipv4.ip_forward+kernel.core_pattern",
  "net.ipv4.ip_forward=1+kernel.core_pattern", "net/../kernel/core_pattern", "net.ipv4.../kernel.core_pattern",
  "net.ipv4.ip_forward,kernel.core_pattern", "net.ipv4.ip_forward\nkernel.core_pattern",
  "/proc/sys/kernel/core_pattern",
  "net..kernel.core_pattern", "net", "net.", "", ".", "..", "/", "kernel.shmmni/../core_pattern", "vm.swappiness",
  "fs.mqueue.../..core_pattern", "kernel.msgmax ", "kernel.shm_rmid_forced.x", "net.ipv4.ip_forward ",
  "kernel.shm../hostname", "net/ipv4/../../kernel/core_pattern" }

attack.any("separators in kernel parameters reach the host's", { "CVE-2022-0811" }, function(r)
  local before, refused = look(), 0
  local root = attack.image()
  for _, name in ipairs(NAMES) do
    local result = r:run { rootfs = root, args = { "true" }, sysctl = { [name] = "|/evil" } }
    refused = refused + (result.code ~= 0 and 1 or 0)
    attack.holds(look() == before, "%q", name)
    attack.holds(r.name ~= "Carton" or result.refused, "%q was taken", name)
  end
  for _, value in ipairs { "1+kernel.core_pattern=|/evil", "1\nkernel.core_pattern=|/evil", "1,kernel.core_pattern=x",
    "1 kernel.core_pattern=x", "1;kernel.core_pattern=x" } do
    local result = r:run { rootfs = root, args = { "true" }, sysctl = { ["net.ipv4.ip_forward"] = value } }
    attack.holds(look() == before, "value %q", value)
    attack.holds(r.name ~= "Carton" or result.refused, "value %q was taken", value)
  end
  local result = r:run { rootfs = root, args = { "cat", "/proc/sys/net/ipv4/ip_forward" },
    sysctl = { ["net.ipv4.ip_forward"] = "1" } }
  assert(result.stdout == "1\n", "a harmless one is not set: " .. result.stderr)
  attack.holds(look() == before, "the host's ip_forward")
  return refused .. " refused"
end)

describe("a kernel parameter #userns", function()
  it("is refused by name where it is not of a namespace of the container's own", function()
    local root = attack.image()
    for _, name in ipairs(NAMES) do
      local err = helper.raises(helper.shell, "true", { rootfs = root, idmap = idmap, sysctl = { [name] = "1" } })
      assert.matches("sysctl", tostring(err))
    end
    for kind, name in pairs { net = "net.ipv4.ip_forward", ipc = "kernel.shmmni" } do
      for _, word in ipairs { name, (name:gsub("%.", "/")) } do
        local err = helper.raises(helper.shell, "true", { rootfs = root, idmap = idmap, sysctl = { [word] = "1" },
          namespaces = { [kind] = "host" } })
        assert.matches("would be the host's", tostring(err))
      end
    end
  end)
end)

teardown(helper.cleanup)
