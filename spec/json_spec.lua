-- SPDX-License-Identifier: MIT
-- JSON as it is written: every value, every byte, the same text at each run; another reader agrees.
local cjson = require("cjson")
local carton = require("carton")
local encode, decode = require("carton.json").encode, require("carton.json").decode
local helper = require("spec.helper")

describe("json.encode", function()
  it("writes simple values", function()
    for text, value in pairs { ["1"] = 1, ["-5"] = -5, ["true"] = true, ["false"] = false, ["0.5"] = 0.5,
      ['"text"'] = "text", ['""'] = "", ["9007199254740993"] = 9007199254740993, ["null"] = 0 / 0 } do
      assert.equal(text, encode(value))
    end
    assert.equal("null", encode(nil))
    assert.equal("null", encode(math.huge))
    assert.equal("null", encode(-math.huge))
    assert.equal("-9223372036854775808", encode(math.mininteger))
  end)
  it("loses nothing of a number", function()
    for _, number in ipairs { 0.1, 1 / 3, 1e300, 5e-324, 123456789.123456789, -2.0 ^ 53 } do
      assert.equal(number, tonumber(encode(number)), encode(number))
    end
    assert.equal("0.1", encode(0.1))
  end)
  it("writes lists and objects, the keys in order", function()
    assert.equal("[]", encode {})
    assert.equal("[1, [2], []]", encode { 1, { 2 }, {} })
    assert.equal('{"a": 1, "b": {"c": [true]}, "z": "y"}', encode { z = "y", b = { c = { true } }, a = 1 })
    local keys = {}
    for i = 1, 200 do
      keys[("key%03d"):format(i)] = i
    end
    local text = encode(keys)
    for _ = 1, 5 do
      local copy = {}
      for key, value in pairs(keys) do
        copy[key] = value
      end
      assert.equal(text, encode(copy))
    end
    assert.equal('{"5": "five", "x": 1}', encode { [5] = "five", x = 1 })
    assert.equal('{"true": 1}', encode { [true] = 1 })
    assert.equal('{"1.5": 1}', encode { [1.5] = 1 })
  end)
  it("keeps every entry of a table that is list and object at once", function()
    assert.equal('{"1": "mount.bind", "target": "/"}', encode { "mount.bind", target = "/" })
  end)
  it("escapes what JSON has to have escaped, for another reader too", function()
    local all = {}
    for byte = 0, 127 do
      all[#all + 1] = string.char(byte)
    end
    local text = table.concat(all) .. "é\u{1F600}\u{10FFFF}"
    assert.equal(text, cjson.decode("[" .. encode(text) .. "]")[1])
    assert.is_nil(encode(text):find("[%c\127]"))
    assert.equal('{"a\\"b": 1}', encode { ['a"b'] = 1 })
  end)
  it("writes bytes that are no UTF-8 as U+FFFD", function()
    for bad, good in pairs { ["a\xffb"] = "a\u{FFFD}b", ["\xC3"] = "\u{FFFD}", ["\xED\xA0\x80"] =
      "\u{FFFD}\u{FFFD}\u{FFFD}", ["\xF4\x90\x80\x80x"] = "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}x", ["é\x80"] =
      "é\u{FFFD}" } do
      assert.equal(good, cjson.decode("[" .. encode(bad) .. "]")[1])
    end
  end)
  it("names what is no value", function()
    assert.equal('"<function>"', encode(print))
    local null <close> = carton.exec.null()
    assert.matches('^"<carton%.[%w.]+>"$', encode(null))
  end)
end)

describe("json.decode", function()
  it("reads what another reader reads", function()
    for _, text in ipairs { "[]", "{}", " [ 1 , -2.5e3,\n0.1, true,\tfalse, {\"a\": {\"b\": [[]]}} ] ", '""', '"x"',
      '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\127é"', "-0", "12", '{"": 0, "a b": "c"}' } do
      assert.same(cjson.decode(text), decode(text))
    end
  end)
  it("loses no digit of an integer", function()
    for _, number in ipairs { math.maxinteger, math.mininteger, (1 << 53) + 1, -1, 0 } do
      local read = decode(tostring(number))
      assert.equal(number, read)
      assert.equal("integer", math.type(read))
    end
    assert.equal("float", math.type(decode("1.0")))
    assert.same({ "18446744073709551608", "9223372036854775808" },
      decode("[18446744073709551608, 9223372036854775808]"))
  end)
  it("leaves members out that are null", function()
    assert.same({ b = 1 }, decode('{"a": null, "b": 1}'))
    assert.is_nil(decode("null"))
  end)
  it("refuses everything else, and says where", function()
    for text, why in pairs { [""] = "a value expected at byte 1",
      ["[1,]"] = "a value expected at byte 4", ["[1 2]"] = "'%]' or ','",
      ["[01]"] = "leading zero", ["0x10"] = "unexpected text after", ["nan"] = "a value expected",
      ["1."] = "unexpected text after",
      ["[null]"] = "null in a list", ['{"a":1,"a":2}'] = "duplicate name at byte 8",
      ['{"a":null,"a":2}'] = "duplicate name",
      ["{a:1}"] = "a name expected", ['{"a" 1}'] = "':' expected", ['"x'] = "unterminated", ['"\n"'] = "control",
      ['"\\x"'] = "invalid escape", ['"\\ud800"'] = "invalid escape", ['"\\ud800\\u0041"'] = "surrogate",
      ['"\\ude00"'] = "surrogate", [("["):rep(100)] = "nested too deeply", ["1 1"] = "unexpected text after",
      ["truee"] = "a value expected",
      ["'x'"] = "a value expected", ["+1"] = "a value expected" } do
      assert.matches(why, helper.raises(decode, text))
    end
  end)
end)
