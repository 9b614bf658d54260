-- SPDX-License-Identifier: MIT
-- The steps of every plan stand in the order that they need, and a plan in another order is told.
local carton = require("carton")
local compile = require("carton.compile")
local combinations = require("spec.containment.combinations")
local dimensions = require("spec.containment.dimensions")
local order = require("spec.containment.order")

-- Plans of every combination: compiled, not launched. What a further program does is compiled likewise.
local function each_plan(check)
  for _, combination in ipairs(combinations.pairs(1)) do
    local at = { place = "/nowhere", token = "plan", handles = {} }
    if dimensions.joins(combination) then
      at.joined = carton.container { rootfs = "/nowhere", args = { "x" },
        idmap = combination.idmap ~= "none" and "single" or nil }
    end
    local fields, program = dimensions.describe(combination, at)
    fields.args = { program }
    fields.terminal = combination.stdio == "terminal" or nil
    local container = carton.container(fields)
    check(container:compile().steps, combination)
    check(compile.exec({ args = { program }, user = fields.user }, container, { fds = { 0, 1, 2 } }).steps, combination)
  end
end

describe("the order of steps #userns", function()
  it("is kept by every plan", function()
    each_plan(function(steps, combination)
      assert.same({}, order.check(steps), combinations.text(combination))
    end)
  end)

  it("is seen to be broken, for each rule that a plan of this host has to keep", function()
    local broken, seen = {}, {}
    each_plan(function(steps)
      for i, rule in ipairs(order.rules) do
        local changed = not seen[i] and order.broken(rule, steps)
        broken[i] = broken[i] or changed
        seen[i] = seen[i] or changed and #order.check(changed) > 0
      end
    end)
    for i, rule in ipairs(order.rules) do
      assert.is_true(not broken[i] or seen[i] or false, rule.because)
    end
  end)
end)
