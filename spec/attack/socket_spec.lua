-- SPDX-License-Identifier: MIT
-- CVE-2020-15257: a control socket without a path is within reach of who has the host's network.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")

--- The sockets without a path of this network namespace.
local function abstract()
  local set = {}
  for line in io.lines("/proc/net/unix") do
    local name = line:match("%s(@.*)$")
    if name then
      set[name] = true
    end
  end
  return set
end

describe("with the host's network #userns", function()
  it("there is no socket of ours to talk to, at any time", function()
    local before, seen, looks = abstract(), {}, 0
    local function look()
      looks = looks + 1
      for name in pairs(abstract()) do
        if not before[name] then
          seen[#seen + 1] = name
        end
      end
    end
    local c <close> = carton.container { rootfs = attack.image(), args = { "sleep", "60" }, network = "host",
      terminal = true, init = true, idmap = not helper.is_root and "single" or nil,
      on = { created = look, started = look } }
    c:start()
    local e <close> = c:exec { args = { "sleep", "60" }, stdin = "null", stdout = "capture" }
    look()
    assert.equal(3, looks)
    assert.same({}, seen)
    assert.is_true(e:is_running())
  end)
  it("those of others are there, which Landlock can scope, and without it are not", function()
    local socket = require("posix.sys.socket")
    local name = ("\0carton-canary-%d"):format(require("posix").getpid("pid"))
    local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
    assert(socket.bind(fd, { family = socket.AF_UNIX, path = name }))
    local function seen(network)
      return helper.output("grep -c carton-canary /proc/net/unix || true", { network = network,
        idmap = not helper.is_root and "single" or nil })
    end
    local with, without = seen "host", seen "none"
    require("posix.unistd").close(fd)
    assert.equal("0", without)
    assert.equal("1", with) -- so that the spec above can fail
  end)
end)

teardown(helper.cleanup)
