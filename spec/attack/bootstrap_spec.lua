-- SPDX-License-Identifier: MIT
-- CVE-2021-43784: a length overflows in what a runtime tells its child, and a payload's text becomes the plan.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

-- Text that would be something if it were taken for more than text.
local EVIL <const> = { "\1\0\0\0", "\127ELF", '","root":{"path":"/"},"x":"', "mount.bind\0/\0/",
  "privilege.capabilities" }

attack.any("a long field of a container is taken for something else", { "CVE-2021-43784" }, function(r)
  local root = attack.image()
  for _, n in ipairs { 255, 256, 4095, 4096, 32767, 65535, 65536, 65537, 131071 } do
    local text = ("A"):rep(n)
    local result = r:run { rootfs = root, args = { "sh", "-c", "echo ${#1} ${#B} $(id -u) $(id -g)", "sh", text },
      env = { B = text:sub(1, -3) } }
    attack.holds(result.code ~= 0 or result.stdout == ("%d %d 0 0\n"):format(n, n - 2), "%d bytes: %s", n,
      result.stdout)
    assert(n > 131069 or result.code == 0, result.stderr)
  end
  for _, evil in ipairs(EVIL) do
    local text = (evil:gsub("%z", "")):rep(3000)
    local result = r:run { rootfs = root, args = { "sh", "-c", 'printf %s "$1" | wc -c; printf %s "$B" | wc -c', "sh",
      text }, env = { B = text } }
    attack.holds(result.code ~= 0 or result.stdout == ("%d\n%d\n"):format(#text, #text), "%q: %s", evil, result.stdout)
  end
end)

describe("a plan #userns", function()
  it("holds as many steps and bytes as are said, at every boundary", function()
    local idmap = not helper.is_root and "single" or nil
    for _, n in ipairs { 255, 256, 1023, 1024, 4095, 4096 } do
      local args = { "sh", "-c", 'echo $#; eval echo \\${$#}', "sh" }
      for i = 1, n do
        args[4 + i] = tostring(i)
      end
      assert.equal(("%d\n%d"):format(n, n), helper.output("", { args = args, idmap = idmap }))
    end
    for _, target in ipairs { ("/x"):rep(2048), "/" .. ("x"):rep(255), "/" .. ("x"):rep(256), ("/y"):rep(40000) } do
      local ok, err = pcall(helper.shell, "true", { rootfs = attack.image(), idmap = idmap,
        mounts = { { type = "tmpfs", target = target } } })
      assert.is_true(ok or err.code == "ENAMETOOLONG", tostring(err))
    end
  end)
end)

teardown(helper.cleanup)
