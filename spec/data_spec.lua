-- SPDX-License-Identifier: MIT
-- Lua files that are data: what they give, and that none of them takes all time and memory.
local data = require("carton.data")
local helper = require("spec.helper")
local seccomp = require("carton.seccomp")

local DOUBLED <const> = "local s = 'x' for i = 1, %d do s = s .. s end "

describe("data.load", function()
  it("gives what a file returns", function()
    assert.same({ 1, a = { b = true, c = 1.5, [-1] = "\0x" }, d = false },
      (data.load("local t = { b = true, c = 3 / 2, [-1] = '\\0x' } return { 1, a = t, d = not t }", "x")))
    assert.equal("integer", math.type(data.load("return { 1 << 62 }", "x")[1]))
  end)
  it("gives nothing of a file that is something else, and says why in one line", function()
    for text, why in pairs { ["return 5"] = "it is a number", ["return { function() end }"] = "holds a function",
      ["return { [1.5] = 1 }"] = "neither a name nor a place", ["local a = {} a.a = a return a"] = "nested too deeply",
      ["print()"] = "nil value %(global 'print'%)", ["return ('x'):rep(5)"] = "index a string", ["\27Lua"] = "binary",
      ["x\27[2J"] = "^x%.lua:1: syntax error near '<.27>'", ["while true do end"] = "does not come to an end" } do
      local value, message = data.load(text, "x.lua")
      assert.is_nil(value)
      assert.matches(why, message)
      assert.is_nil(message:find("%c"))
    end
  end)
  it("is bounded in time and memory, whatever the file does", function()
    local before = tonumber(helper.read("/proc/self/status"):match("VmHWM:%s*(%d+)"))
    for text, why in pairs { [DOUBLED:format(60)] = "not enough memory",
      ["local t = {} for i = 1, 1e9 do t[i] = i end"] = "not enough memory",
      ["local t = {} for i = 1, 28 do t = { t, t } end return t"] = "too many entries",
      [DOUBLED:format(24) .. "local t = {} for i = 1, 1000 do t[i] = s end return t"] = "too much text",
      [DOUBLED:format(24) .. "while true do local t = s .. 'x' end"] = "does not come to an end" } do
      local value, message = data.load(text, "x.lua")
      assert.is_nil(value)
      assert.matches(why, message)
    end
    local after = tonumber(helper.read("/proc/self/status"):match("VmHWM:%s*(%d+)"))
    assert.is_true(after - before < 1 << 20, after - before) -- KiB; the sanitizers keep what was freed
  end)
  it("leaves strings and hooks as they are", function()
    data.load("while true do end", "x")
    assert.equal("xx", ("x"):rep(2))
    assert.is_nil(debug.gethook())
  end)
end)

describe("a profile's file", function()
  it("is not read to an end that it does not have", function()
    local link = helper.tmpdir() .. "/endless"
    for _, kind in ipairs { ".lua", ".json", ".bpf" } do
      assert(os.execute(("ln -s /dev/zero '%s'"):format(link .. kind)))
      assert.matches("larger than 16 MiB", tostring(helper.raises(seccomp.load, link .. kind)))
    end
  end)
end)

teardown(helper.cleanup)
