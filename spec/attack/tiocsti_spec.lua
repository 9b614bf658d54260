-- SPDX-License-Identifier: MIT
-- CVE-2017-5226: a payload types into the terminal of who called the runtime (TIOCSTI).
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local pty = require("spec.pty")

local TELL <const> = [[stty -icanon min 0 time 2; printf 'left<%s>' "$(dd bs=100 count=1 2>/dev/null)"]]

--- What a command leaves in the input of its terminal, and what it prints.
local function left_by(words)
  local t <close> = pty.spawn("/bin/sh", "-c", '"$@"; ' .. TELL, "sh", table.unpack(words))
  local _, text = t:finish()
  return assert(text:match("left<(.*)>"), text), text
end

attack.any("a payload types into the caller's terminal", { "CVE-2017-5226" }, function(r)
  local root = attack.image()
  for _, terminal in ipairs { false, true } do
    local left, text = left_by(r:command { rootfs = root, args = { "sh", "-c", "payload type; echo ran" },
      terminal = terminal, seccomp = false })
    assert(text:find("ran"), text)
    attack.holds(left == "", "typed %q %s a terminal of its own", left, terminal and "with" or "without")
    attack.holds(terminal or not text:find("typed"), "%s", text)
  end
end)

describe("the caller's terminal", function()
  it("can be typed into by who has it, so the specs here mean something", function()
    local legacy = io.open("/proc/sys/dev/tty/legacy_tiocsti")
    local allowed = not legacy or legacy:read("l") == "1" or helper.is_root
    local left = left_by { attack.tool("payload"), "type" }
    assert.equal(allowed, left:find("#", 1, true) ~= nil)
  end)
  it("is not typed into in any mode of the command line #userns", function()
    local root = attack.image()
    for _, options in ipairs { { "-T" }, { "-t" }, { "-T", "--init" }, { "-t", "--init" },
      { "-T", "--cap-add", "SYS_TTY_CONFIG" }, helper.can_share_pid() and { "--share", "pid", "-T" } or nil } do
      local words = { helper.program, "run", "--seccomp", "none", table.unpack(options) }
      for _, word in ipairs { root, "sh", "-c", "payload type; echo ran" } do
        words[#words + 1] = word
      end
      local left, text = left_by(words)
      assert.matches("ran", text)
      assert.equal("", left, table.concat(options, " "))
    end
  end)
  it("is not typed into by a further program either #userns", function()
    local script = helper.write(helper.tmpdir() .. "/recipe.lua", [[
      local carton = require "carton"
      local c <close> = carton.container { rootfs = arg[1], args = { "sleep", "60" }, seccomp = false }
      c:start()
      for _, terminal in ipairs { false, true } do
        local e <close> = c:exec { args = { "sh", "-c", "payload type; echo ran" }, terminal = terminal,
          seccomp = false }
        e:wait(10)
      end ]])
    local left, text = left_by { helper.program, script, attack.image() }
    assert.matches("ran", text)
    assert.equal("", left)
  end)
end)

teardown(helper.cleanup)
