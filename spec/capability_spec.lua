-- SPDX-License-Identifier: MIT
-- Sets of capabilities, worked out from wishes.
local carton = require("carton")
local helper = require("spec.helper")
local capability = carton.capability

describe("capability.resolve", function()
  it("is the default without a wish, or with an empty one", function()
    assert.equal(capability.default, capability.resolve(nil))
    assert.same(capability.default, capability.resolve {})
    local sorted = table.move(capability.default, 1, #capability.default, 1, {})
    table.sort(sorted)
    assert.same(sorted, capability.default)
  end)
  it("adds and drops names in any spelling, once each", function()
    local set = capability.resolve { add = { "cap_net_raw", "NET_RAW", "Cap_Chown" }, drop = "cap_kill" }
    local text = " " .. table.concat(set, " ") .. " "
    assert.is_truthy(text:find(" NET_RAW ", 1, true))
    assert.is_nil(text:find(" KILL ", 1, true))
    assert.equal(#capability.default, #set)
  end)
  it("adds after dropping, so that drop all leaves what is added", function()
    assert.same({ "CHOWN" }, capability.resolve { drop = "all", add = { "CHOWN" } })
    assert.same({ "CHOWN" }, capability.resolve { drop = { "ALL", "CHOWN" }, add = "CHOWN" })
    assert.same({}, capability.resolve { drop = "all" })
    assert.same({}, capability.resolve "none")
  end)
  it("knows all as those that the caller may pass on", function()
    local all = carton.privilege.get().bounding
    assert.equal(#all, #capability.resolve "all")
    local less = capability.resolve { add = "all", drop = { "SYS_ADMIN" } }
    assert.equal(#all - 1, #less)
    assert.is_nil((" " .. table.concat(less, " ") .. " "):find(" SYS_ADMIN ", 1, true))
  end)
  it("refuses what is added and dropped, and what is no list", function()
    for text, wish in pairs { ["CHOWN is in both 'add' and 'drop'"] = { add = { "CHOWN" }, drop = { "cap_chown" } },
      ["ALL is in both 'add' and 'drop'"] = { add = "all", drop = "all" },
      ["got the key 'CHOWN'"] = { drop = { CHOWN = true } },
      ["got the key '3'"] = { drop = { "CHOWN", [3] = "KILL" } } } do
      assert.matches(text, helper.raises(capability.resolve, wish))
    end
    assert.matches("got the key 'x'", helper.raises(capability.ambient, { ambient = { x = "CHOWN" } }))
  end)
  it("never changes the default", function()
    local before = table.concat(capability.default, " ")
    capability.resolve { add = { "NET_RAW" }, drop = { "KILL" } }
    assert.equal(before, table.concat(capability.default, " "))
  end)
  it("refuses a wish that is none", function()
    for pattern, wish in pairs { ["unknown field 'added'"] = { added = {} }, ["list of names expected"] = { add = 1 },
      ["a name is a string"] = { drop = { 1 } }, ["got boolean"] = true, ["got string"] = "most",
      ["a list does not tell"] = { "CHOWN" },
      ["no capability 'SYS_CHROT' %(did you mean 'SYS_CHROOT'"] = { drop = { "SYS_CHROT" } },
      ["no capability 'cap_net_rau' %(did you mean 'NET_RAW'"] = { drop = "all", add = { "cap_net_rau" } } } do
      assert.matches("capability_spec.lua:%d+: capabilities: .*" .. pattern,
        helper.raises(function() capability.resolve(wish) end))
    end
  end)
end)

describe("capability.ambient", function()
  it("is empty unless it is asked for", function()
    assert.same({}, capability.ambient(nil))
    assert.same({}, capability.ambient "all")
    assert.same({}, capability.ambient { add = "all" })
    assert.same({ "NET_RAW", "KILL" }, capability.ambient { ambient = { "cap_net_raw", "KILL" } })
    assert.same({ "KILL" }, capability.ambient { ambient = "KILL" })
    assert.matches("there is no capability 'KIL'",
      helper.raises(function() capability.ambient { ambient = "KIL" } end))
  end)
end)
