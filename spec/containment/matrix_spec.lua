-- SPDX-License-Identifier: MIT
-- Every pair of values of all dimensions of a container, held against every invariant. `CONTAINMENT_ONLY="layout=own
-- user=uid"` tries the combinations with these values alone.
local combinations = require("spec.containment.combinations")
local dimensions = require("spec.containment.dimensions")
local launch = require("spec.containment.launch")
local helper = require("spec.helper")

describe("containment #userns", function()
  local list, impossible = combinations.pairs(1)

  it("is tried with every pair of values that means something", function()
    for _, pair in ipairs(impossible) do
      local text = combinations.text(pair)
      for _ = 1, 50 do -- however it is completed
        local whole = {}
        for _, dimension in ipairs(dimensions.list) do
          whole[dimension[1]] = pair[dimension[1]] or dimension[math.random(2, #dimension)]
        end
        assert.is_string(dimensions.forbidden(whole), text)
      end
    end
    assert.is_true(#list > 50 or os.getenv("CONTAINMENT_ONLY") ~= nil)
  end)

  if not helper.is_root then
    it("is refused where not all of a container could be ended", function()
      local violations = launch.run(combinations.parse("pid=host"))
      assert.equal(1, #violations)
      assert.truthy(violations[1].text:find("needs a cgroup by which all of it can be killed", 1, true))
    end)
  end

  for i, combination in ipairs(list) do
    local text = combinations.text(combination)
    it(("holds in combination %d: %s"):format(i, text), function()
      local violations = launch.run(combination)
      local lines = {}
      for j, violation in ipairs(violations) do
        lines[j] = violation.name .. ": " .. violation.text
      end
      assert.equal("", table.concat(lines, "\n"))
    end)
  end

  teardown(helper.cleanup)
end)
