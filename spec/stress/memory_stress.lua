-- SPDX-License-Identifier: MIT

-- Memory is short: each request of a launch fails in turn, and those of a whole run of the program. What comes of
-- it is an orderly error, or a container as usual; nothing is left, and nothing crashes.
local helper = require("spec.helper")
local posix = require("posix")
local cases = dofile("spec/stress/cases.lua")

local PLACE <const> = (os.getenv("BUILD") or "build") .. "/stress"
local STEP <const> = math.tointeger(os.getenv("STRESS_STEP") or 1)

describe("a launch without memory #stress", function()
  local root, recipe

  setup(function()
    local place = helper.tmpdir()
    root, recipe = place .. "/root", place .. "/recipe.lua"
    os.execute(("mkdir -p '%s'/etc; cp '%s/witness' '%s/witness'"):format(root, PLACE, root))
    helper.write(root .. "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n")
    helper.write(root .. "/etc/group", "root:x:0:\nweb:x:34:\nlogs:x:35:web\n")
    helper.write(recipe, ([[
      return require("carton").container { rootfs = %q, args = { "/witness" }, stdin = "null" }
    ]]):format(root))
  end)
  teardown(helper.cleanup)

  for _, name in ipairs(cases.names) do
    it("ends in an orderly way: " .. name, function()
      local result = helper.run({ PLACE .. "/starve", "spec/stress/starving.lua", name, root, tostring(STEP) },
        { timeout = 600 })
      assert.equal(0, result.code, result.stderr .. result.stdout .. tostring(result.signal))
      assert.is_true(tonumber(result.stdout) > 100, result.stdout)
    end)
  end

  it("says so as a program", function()
    local usual = helper.run { PLACE .. "/starve", recipe }
    assert.equal(0, usual.code, usual.stderr)
    local n, failed = 1, 0
    while true do
      local result = helper.run({ PLACE .. "/starve", recipe },
        { env = { STARVE = tostring(n), PATH = os.getenv("PATH") } })
      assert.is_nil(result.signal, "request " .. n)
      if result.code == 0 then
        assert.equal(usual.stdout, result.stdout)
        break
      end
      assert.equal(125, result.code, ("request %d: %s"):format(n, result.stderr))
      assert.matches("not enough memory", result.stderr)
      n, failed = n + (STEP == 1 and 7 or 53), failed + 1
    end
    assert.is_true(failed > 20)
    assert.same({}, posix.glob("/sys/fs/cgroup/*/carton-" .. cases.label .. "*") or {})
  end)
end)
