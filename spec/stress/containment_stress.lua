-- SPDX-License-Identifier: MIT
-- Random combinations of all that a container can have, held against every invariant of containment. STRESS_SEED tries
-- the same ones again; STRESS_COMBINATIONS says how many. What breaks an invariant is shrunk to the smallest recipe.
local combinations = require("spec.containment.combinations")
local launch = require("spec.containment.launch")
local helper = require("spec.helper")

local SEED <const> = math.tointeger(tonumber(os.getenv("STRESS_SEED") or os.time()))
local COUNT <const> = math.tointeger(tonumber(os.getenv("STRESS_COMBINATIONS") or 5000))
local MOST <const> = 5 -- different violations, after which enough is seen

local function first_of(violations, name)
  for _, violation in ipairs(violations) do
    if not name or violation.name == name then
      return violation
    end
  end
end

describe("containment", function()
  it(("holds in %d random combinations"):format(COUNT), function()
    local random = combinations.generator(SEED)
    local found, names = {}, {}
    for i = 1, COUNT do
      local combination = combinations.random(random)
      local violation = first_of(launch.run(combination))
      if violation and not names[violation.name] then
        local name = violation.name
        local smallest = combinations.shrink(combination, function(c) return first_of(launch.run(c), name) ~= nil end)
        local again = first_of(launch.run(smallest), name) or violation
        names[name] = true
        found[#found + 1] = ("STRESS_SEED=%d, combination %d: %s: %s\n  as small: %s"):format(SEED, i, name, again.text,
          combinations.text(smallest))
        if #found == MOST then
          break
        end
      end
    end
    assert.equal("", table.concat(found, "\n"))
  end)

  teardown(helper.cleanup)
end)
