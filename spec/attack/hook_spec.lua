-- SPDX-License-Identifier: MIT
-- CVE-2024-0132, CVE-2025-23266, CVE-2025-23267: a hook runs with the environment or the files of the image.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local EVIL <const> = { LD_PRELOAD = "/evil.so", LD_AUDIT = "/evil.so", LD_LIBRARY_PATH = "/", GCONV_PATH = "/",
  LUA_INIT = "error('evil')", LUA_PATH = "/?.lua", BASH_ENV = "/evil", ENV = "/evil" }

attack.any("a hook inherits the environment of the image, or begins in its root", { "CVE-2025-23266",
  "CVE-2025-23267" }, function(r)
  local place = helper.tmpdir()
  local root = attack.image()
  helper.write(root .. "/evil", "echo evil\n")
  local result = r:run { rootfs = root, args = { "true" }, env = EVIL,
    created = ("env > '%s/env'; ls > '%s/cwd'; exit 0"):format(place, place) }
  assert(result.code == 0, result.stderr)
  attack.holds(not helper.read(place .. "/env"):find("evil"), "the hook has %s",
    helper.read(place .. "/env"):match("[^\n]*evil[^\n]*"))
  if r.name == "Carton" then
    attack.holds(not helper.read(place .. "/cwd"):find("^evil\n"), "the hook begins in the root")
  end
end)

describe("the program's own environment #userns", function()
  it("is no other after containers with one of theirs, and theirs has nothing of it", function()
    local posix = require("posix")
    posix.setenv("CARTON_CANARY", "canary")
    local before = helper.read("/proc/self/environ")
    for _ = 1, 3 do
      local text = helper.output("env", { env = EVIL, idmap = not helper.is_root and "single" or nil })
      assert.is_nil(text:find("CANARY"), text)
      assert.matches("LD_PRELOAD=/evil.so", text)
    end
    assert.equal(before, helper.read("/proc/self/environ"))
    assert.equal("canary", os.getenv("CARTON_CANARY"))
    assert.is_nil(os.getenv("LD_AUDIT"))
    posix.setenv("CARTON_CANARY", nil)
  end)
end)

teardown(helper.cleanup)
