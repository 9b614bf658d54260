-- SPDX-License-Identifier: MIT
-- CVE-2020-14370, CVE-2021-3602, CVE-2026-57231: a malformed environment of an image shows that of the host or of
-- another container.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

local idmap = not helper.is_root and "single" or nil

attack.any("a malformed environment shows another one", { "CVE-2020-14370", "CVE-2021-3602", "CVE-2026-57231" },
  function(r)
    posix.setenv("CARTON_CANARY", "canary")
    local root = attack.image()
    local cases = { { CARTON_CANARY = nil }, { CARTON_CANAR = "x" }, { [""] = "x" }, { ["CARTON_CANARY "] = "x" },
      { ["A\nB"] = "x" }, { A = "x\0CARTON_CANARY=y" }, { A = ("x"):rep(100000) }, { CARTON_CANARY = "" },
      { A = "$CARTON_CANARY ${CARTON_CANARY}" }, { ["CARTON_*"] = "*" } }
    local c <close> = r:start { rootfs = root, args = { "sleep", "60" }, env = { OTHERS = "canary" } }
    local other <close> = r:start { rootfs = root, args = { "sleep", "60" } }
    for i, env in ipairs(cases) do
      for _, run in ipairs { function(f) return r:run(f) end, function(f) return c:exec(f) end } do
        local result = run { rootfs = root, args = { "sh", "-c", "env | grep -v OTHERS" }, env = env }
        attack.holds(not result.stdout:find("canary"), "case %d: %s", i, result.stdout:sub(1, 200))
      end
    end
    local seen = other:exec { args = { "env" } }.stdout .. r:run { rootfs = root, args = { "env" } }.stdout
    attack.holds(not seen:find("OTHERS"), "that of another container: %s", seen)
    assert(c:exec { args = { "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ" } }.stdout:find("OTHERS=canary"))
    posix.setenv("CARTON_CANARY", nil)
  end)

describe("an environment #userns", function()
  local function env(list, fields)
    fields = fields or {}
    fields.env, fields.idmap, fields.args = list, idmap, { "/bin/env" }
    return helper.shell("", fields).stdout
  end
  local function lines(text)
    local list = {}
    for line in text:gmatch("[^\n]+") do
      list[#list + 1] = line
    end
    table.sort(list)
    return list
  end
  it("is exactly what was said", function()
    assert.same({ "A=1", "B=x y", "HOME=/root", "PATH=/bin" }, lines(env { PATH = "/bin", A = "1", B = "x y" }))
    assert.same({ "A=b=c", "HOME=/root", "PATH=/bin" }, lines(env { "PATH=/bin", "A=b=c" }))
    assert.same({ "A=2", "PATH=/bin" }, lines(env { "PATH=/bin", "A=1", "A=2", HOME = false })) -- the last one counts
  end)
  it("is refused when it has no name, no value, or a NUL", function()
    for _, list in ipairs { { "NOVALUE" }, { "=x" }, { "" }, { [""] = "x" }, { ["A=B"] = "x" }, { A = "x\0y" },
      { ["A\0B"] = "x" }, { "A=x\0y" }, { A = 1 }, { [1.5] = "x" } } do
      local ok, result = pcall(env, list)
      assert.is_false(ok, "taken: " .. tostring(result))
    end
  end)
  it("that is too large is said to be, and nothing runs", function()
    helper.raises_code("E2BIG", env, { A = ("x"):rep(1 << 17) })
    assert.matches("A=x+\n", env { A = ("x"):rep((1 << 17) - 3), PATH = "/bin" })
  end)
end)

teardown(helper.cleanup)
