-- SPDX-License-Identifier: MIT

-- What was learned of real programs lets them pass.
local helper = require("spec.helper")
local learned = require("spec.learned")

describe("carton.learn of real programs #stress", function()
  teardown(helper.cleanup)

  it("merges in any order, step by step as at once", function()
    for seed = 1000, 3000 do
      learned.check_merge(seed)
    end
  end)

  it("lets calls about files pass that chance gives", function()
    local rootfs = helper.rootfs(true)
    assert(os.execute(("cc -static -O1 -pthread -D_GNU_SOURCE -o '%s/bin/payload' spec/learn_payload.c")
      :format(rootfs)))
    for seed = 1000, 1200, 2 do
      learned.check_chance(rootfs, seed)
    end
  end)

  for _, program in ipairs(learned.programs) do
    it("lets pass: " .. program.name, function()
      local lacking = learned.lacks(program)
      if lacking then
        return pending(lacking .. " is not installed")
      end
      learned.check(program)
    end)
  end
end)
