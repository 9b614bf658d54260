-- SPDX-License-Identifier: MIT
-- What README shows has to work as it stands there.
local carton = require("carton")
local helper = require("spec.helper")

local readme = helper.read("README.md")

local function blocks()
  local list = {}
  for code in readme:gmatch("```lua\n(.-)```") do
    list[#list + 1] = code
  end
  return list
end

describe("README", function()
  it("shows recipes that compile into plans", function()
    local list = blocks()
    assert.is_true(#list >= 2)
    for i, code in ipairs(list) do
      local c = assert(load(code, "=README " .. i))()
      assert.is_true(carton.is_container(c))
      assert.equal("exec.exec", c:compile().steps[#c:compile().steps][1])
    end
  end)
  it("shows a layout that runs #userns", function()
    local list = blocks()
    local code
    for _, block in ipairs(list) do
      code = block:find("/etc/motd", 1, true) and block or code
    end
    local c <close> = assert(load(code))()
    c.fields.args = { "sh", "-c", "cat /etc/motd; touch /new 2>/dev/null || echo sealed" }
    c.fields.stdout = "capture"
    assert.equal("Nothing else is here.\nsealed\n", c:run().stdout)
  end)
  it("names each room of the tree", function()
    for path in ("src include lua/carton lua/carton/command examples spec .ci"):gmatch("%S+") do
      assert.is_truthy(readme:find("    " .. path .. "/", 1, true), path)
    end
  end)
  it("names commands that are there", function()
    for name in readme:gmatch("`make ([%w%-]+)") do
      assert.is_truthy(helper.read("Makefile"):find("\n" .. name .. ":", 1, true), name)
    end
    for name in readme:gmatch("\n    carton ([a-z]+) ") do
      assert.equal(0, helper.carton("help", name).code, name)
    end
  end)
end)
