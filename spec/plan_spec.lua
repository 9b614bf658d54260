-- SPDX-License-Identifier: MIT
-- Plans as values: written on lines, as JSON, compared; nothing of a step is left out.
local cjson = require("cjson")
local carton = require("carton")
local helper = require("spec.helper")
local plan = carton.plan

describe("plan.step_text", function()
  it("begins with what a step is about", function()
    assert.equal("mount.bind source=/a target=/b options=ro,nodev recursive=true",
      plan.step_text { "mount.bind", recursive = true, options = { "ro", "nodev" }, target = "/b", source = "/a" })
  end)
  it("writes nested tables in order, and both kinds of entries", function()
    assert.equal("x data={a=1 b={}} list=1,2", plan.step_text { "x", list = { 1, 2 }, data = { b = {}, a = 1 } })
    assert.equal("x data={1=one named=2}", plan.step_text { "x", data = { "one", named = 2 } })
  end)
  it("has handles by their kind", function()
    local null <close> = carton.exec.null()
    assert.matches("^x fd=<carton%.[%w.]+>$", plan.step_text { "x", fd = null })
  end)
  it("quotes what a terminal would obey, and shortens what is long", function()
    assert.equal([[x path="a\x1b[2J\n\"\\\xff"]], plan.step_text { "x", path = "a\27[2J\n\"\\\xff" })
    assert.equal([["\x1b[1m" "k\x07"=1]], plan.step_text { "\27[1m", ["k\7"] = 1 })
    assert.equal("x content=" .. ("y"):rep(60) .. "...", plan.step_text { "x", content = ("y"):rep(1000) })
  end)
end)

describe("plan.json", function()
  it("is the steps as they are", function()
    local compiled = carton.container { rootfs = "/srv", args = { "true" }, env = { A = "\27é" } }:compile()
    local read = cjson.decode(plan.json(compiled))
    assert.equal(#compiled.steps, #read.steps)
    for i, step in ipairs(compiled.steps) do
      assert.equal(step[1], read.steps[i].step)
      assert.equal(step.target, read.steps[i].target)
    end
    assert.same(compiled.namespaces, read.namespaces)
    assert.equal("\27é", read.steps[#read.steps].env.A)
    assert.equal("exec.exec", compiled.steps[#compiled.steps][1]) -- which was not changed
  end)
end)

describe("plan.diff", function()
  local function compiled(...)
    local steps = {}
    for i, name in ipairs { ... } do
      steps[i] = { name }
    end
    return { namespaces = { "mnt" }, steps = steps }
  end
  it("finds what is missing, new and moved", function()
    assert.equal("- b\n+ d\n", plan.diff_text(compiled("a", "b", "c"), compiled("a", "c", "d")))
    assert.equal("", plan.diff_text(compiled("a"), compiled("a")))
    assert.equal("+ a\n", plan.diff_text(compiled(), compiled("a")))
    local other = compiled("a")
    other.namespaces = { "mnt", "net" }
    assert.equal("- namespaces mnt\n+ namespaces mnt net\n", plan.diff_text(compiled("a"), other))
  end)
  it("can be put together again", function()
    math.randomseed(7)
    for _ = 1, 50 do
      local a, b = {}, {}
      for i = 1, math.random(0, 12) do
        a[i] = string.char(96 + math.random(4))
      end
      for i = 1, math.random(0, 12) do
        b[i] = string.char(96 + math.random(4))
      end
      local left, right = {}, {}
      for _, entry in ipairs(plan.diff(compiled(table.unpack(a)), compiled(table.unpack(b)))) do
        if entry.op ~= "+" then
          left[#left + 1] = entry.text
        end
        if entry.op ~= "-" then
          right[#right + 1] = entry.text
        end
      end
      table.remove(left, 1)
      table.remove(right, 1)
      assert.same(a, left)
      assert.same(b, right)
    end
  end)
end)

describe("container:compile", function()
  it("needs no privilege, changes nothing, and is the same each time", function()
    local before = helper.world()
    local function text()
      return plan.text(carton.container { rootfs = carton.rootfs.host(), args = { "true" },
        env = { B = "2", A = "1", C = "3" }, sysctl = { ["net.core.somaxconn"] = 5, ["kernel.msgmax"] = 6 },
        rlimits = { nofile = 5, core = 0 } }:compile())
    end
    local first = text()
    for _ = 1, 5 do
      assert.equal(first, text())
    end
    assert.same(before, helper.world())
  end)
  it("refuses steps that can't be", function()
    for pattern, fields in pairs {
      ["no primitive 'nope'"] = { rootfs = { { "nope" } } },
      ["unknown field 'sorce'"] = { rootfs = { { "mount.bind", sorce = "/", target = "/" } } },
      ["string expected, got number"] = { args = { "x", 1 } },
      ["a step is a table, got string"] = { rootfs = { "x" } },
    } do
      fields.rootfs, fields.args = fields.rootfs or "/", fields.args or { "true" }
      local err = helper.raises(function()
        carton.container(fields):compile()
      end)
      assert.matches(pattern, tostring(err))
      assert.matches("plan_spec.lua:%d+: ", tostring(err))
    end
  end)
end)

teardown(helper.cleanup)
