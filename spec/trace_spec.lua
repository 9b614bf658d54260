-- SPDX-License-Identifier: MIT
-- What each step of a launch took, as text, JSON and picture.
local cjson = require("cjson")
local carton = require("carton")
local helper = require("spec.helper")

local function traced()
  local c = carton.container { rootfs = helper.rootfs(), args = { "true", "<&\">\27[31m" }, trace = true }
  assert.equal(0, c:run().code)
  return c
end

describe("a trace #userns", function()
  it("has each step of the plan once, in order", function()
    local c <close> = traced()
    local list = c:trace()
    assert.equal(#c.compiled.steps, #list)
    for i, entry in ipairs(list) do
      assert.equal(c.compiled.steps[i][1], entry.name)
      assert.is_true(i == 1 or entry.began >= list[i - 1].began)
    end
    assert.equal("exec.exec", list[#list].name)
  end)
  it("can be read", function()
    local c <close> = traced()
    local text = carton.trace.text(c)
    assert.equal(#c.compiled.steps + 2, select(2, text:gsub("\n", "")))
    assert.matches("\n%s*%d+%s+%d+  mount.pivot_root\n", text)
    assert.matches("\n%s*%d+ microseconds until the program\n$", text)
    assert.is_nil(text:find("\27", 1, true))
  end)
  it("can be read by programs", function()
    local c <close> = traced()
    local list = cjson.decode(carton.trace.json(c))
    assert.equal(#c.compiled.steps, #list)
    for i, entry in ipairs(list) do
      assert.equal(c.compiled.steps[i][1], entry.name)
      assert.equal(1, entry.text:find(entry.name, 1, true))
      assert.is_true(entry.began >= 0 and (entry.took or 0) >= 0)
    end
  end)
  it("can be seen", function()
    local c <close> = traced()
    local svg = carton.trace.svg(c)
    assert.matches("^<svg xmlns=", svg)
    assert.equal(#c.compiled.steps, select(2, svg:gsub("<rect ", "")))
    assert.is_nil(svg:find("[%z\1-\8\11-\31]")) -- which no XML may hold
    assert.is_truthy(svg:find("&lt;&amp;\\&quot;&gt;", 1, true), svg)
    local parsed = svg:gsub("<(/?)(%w+)[^<>]*>", "")
    assert.is_nil(parsed:find("[<>]"))
    for _, name in ipairs { "svg", "g", "text", "title" } do
      assert.equal(select(2, svg:gsub("<" .. name .. "[ >]", "")), select(2, svg:gsub("</" .. name .. ">", "")))
    end
  end)
  it("is there when it was asked for only", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "true" } }
    c:run()
    assert.matches("not started with trace = true", tostring(helper.raises(carton.trace.text, c)))
  end)
end)

describe("carton run --trace #userns", function()
  local function run(...)
    return helper.carton("run", "-T", ...)
  end
  it("says it on standard error, and leaves standard output alone", function()
    local result = run("--trace", helper.rootfs(), "echo", "out")
    assert.equal("out\n", result.stdout)
    assert.matches("^  began   took  step\n.*microseconds until the program\n$", result.stderr)
    assert.is_truthy(cjson.decode(run("--trace=json", helper.rootfs(), "true").stderr)[1].name)
    assert.matches("^<svg.*</svg>\n$", run("--trace=svg", helper.rootfs(), "true").stderr)
  end)
  it("writes it into a file", function()
    local path = helper.tmpdir() .. "/trace.svg"
    local result = run("--trace=svg", "--trace-file", path, helper.rootfs(), "false")
    assert.equal(1, result.code)
    assert.equal("", result.stderr)
    assert.matches("^<svg", helper.read(path))
    assert.equal(125, run("--trace", "--trace-file", "/dev/full", helper.rootfs(), "true").code)
  end)
  it("serves recipes", function()
    local path = helper.write(helper.tmpdir() .. "/r.lua", [[return require("carton").container {
      rootfs = arg[1], args = { "true" } }]])
    assert.matches("mount.pivot_root", helper.carton("run", "--trace", path, helper.rootfs()).stderr)
    helper.write(path, "return 0")
    local result = helper.carton("run", "--trace", path)
    assert.equal(125, result.code)
    assert.matches("returns no container that is still to be run", result.stderr)
  end)
end)

teardown(helper.cleanup)
