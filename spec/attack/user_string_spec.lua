-- SPDX-License-Identifier: MIT
-- CVE-2026-30892: a word for a user is taken for another one than it says: "1" for root.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

--- What may come of each word: the uid, or only a refusal.
local WORDS <const> = { { "1", "1" }, { "1:2", "1" }, { "33", "33" }, { "7", "7" }, { ":2" }, { "+1" }, { " 1" },
  { "1 " }, { "0x1" }, { "-1" }, { "01" }, { "1e0" }, { "4294967295" }, { "4294967296" }, { "18446744073709551616" },
  { "4294967297" }, { "1:" }, { "1:2:3" }, { "nobody-of-that-name" }, { "zero" }, { "-4294967296" }, { "1:-1" },
  { "65535:4294967296" } }

local function image()
  local root = attack.image()
  helper.write(root .. "/etc/passwd", "root:x:0:0::/:/bin/sh\n7:x:0:0::/:/bin/sh\n+1:x:0:0::/:/bin/sh\n"
    .. ":x:0:0::/:/bin/sh\n" .. "0x1:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n")
  return root
end

attack.any("a word for a user is taken for root", { "CVE-2026-30892" }, function(r)
  local c <close> = r:start { rootfs = image(), args = { "sleep", "60" } }
  for _, pair in ipairs(WORDS) do
    local word, uid = pair[1], pair[2]
    local result = c:exec { args = { "id", "-u" }, user = word }
    local got = result.stdout:match("%d+")
    attack.holds(got ~= "0", "%q is root", word)
    attack.holds(not got or uid == got or r.name ~= "Carton", "%q is %s", word, got)
  end
  if helper.is_root then
    assert(c:exec { args = { "id", "-u" }, user = "33" }.stdout == "33\n", "no user is taken")
  end
end)

describe("a word for a user", function()
  if not helper.is_root then
    return -- who has one id can become no other
  end
  local function run(user, root)
    return helper.shell("echo $(id -u):$(id -g)", { user = user, rootfs = root }).stdout
  end
  it("is taken literally, or refused #root", function()
    assert.equal("33:34\n", run "web")
    assert.equal("1:0\n", run "1")
    assert.equal("1:2\n", run "1:2")
    assert.equal("33:35\n", run "web:logs")
    assert.equal("5:0\n", run(5))
    for _, user in ipairs { "", ":", ":2", "1:", "1:2:3", "+1", " 1", "-1", "0x1", "4294967295", -1, 1.5 } do
      helper.raises_code("EINVAL", run, user)
    end
    for _, user in ipairs { {}, { name = "web" }, { gid = 5 }, { uid = -1 }, { uid = 33, guid = 1 } } do
      assert.matches("user", tostring(helper.raises(run, user)))
    end
    for _, user in ipairs { "1\n", "1\t", "1.0", "١", "1_000", "0b1", "0o1", "web\0root" } do
      helper.raises(run, user)
    end
  end)
  it("of any characters is never another's #root", function()
    local root = image()
    local letters, taken = { "0", "1", "7", "9", "+", "-", " ", "x", ":", "\t", ".", "e", "\n", "root" }, 0
    for _ = 1, 300 do
      local word = {}
      for i = 1, math.random(5) do
        word[i] = letters[math.random(#letters)]
      end
      word = table.concat(word)
      local ok, text = pcall(run, word, root)
      if ok then
        taken = taken + 1
        local user = word:match("^[^:]*")
        assert.equal(user == "root" and "0" or user, text:match("^(%d+):"), ("%q"):format(word))
      end
    end
    assert.is_true(taken > 10, taken .. " of 300 were taken")
  end)
end)

teardown(helper.cleanup)
