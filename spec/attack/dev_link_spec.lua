-- SPDX-License-Identifier: MIT
-- CVE-2026-41579, CVE-2026-47766: /dev of an image is a link, and nodes are made and removed where it leads to.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

attack.any("/dev of the image is a link out of it", { "CVE-2026-41579", "CVE-2026-47766" }, function(r)
  local path, look = attack.canary()
  for _, name in ipairs { "null", "ptmx", "console", "stdin" } do
    helper.write(path .. "/" .. name, "canary\n")
  end
  local before = look()
  local root = attack.image()
  posix.link(path, root .. "/chain", true)
  local at = root .. "/dev"
  for _, target in ipairs { path, "../../../../../../.." .. path, "/chain", "/proc/self/root" .. path, "/dev", "/" } do
    for _, inside in ipairs { false, true } do -- /dev itself, or what lies in it
      assert(os.execute(("rm -rf '%s' && mkdir '%s'"):format(at, at)))
      if inside then
        for _, name in ipairs { "null", "zero", "tty", "ptmx", "console", "stdin", "fd" } do
          posix.link(target, at .. "/" .. name, true)
        end
      else
        posix.rmdir(at)
        posix.link(target, at, true)
      end
      r:run { rootfs = root, args = { "sh", "-c", "echo x > /dev/null; rm -f /dev/ptmx; true" } }
    end
    attack.holds(look() == before, "%s: %s", target, look())
  end
end)

teardown(helper.cleanup)
