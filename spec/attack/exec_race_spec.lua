-- SPDX-License-Identifier: MIT
-- A payload attaches to the process that enters its container, or reads its memory, before it is the program asked for.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")
local host = carton.host

--- Who was attached to that had a program which is not of the image.
local function traced(path)
  local list = {}
  for name in helper.read(path):gmatch("traced (%C*)\n") do
    if not name:find("^/memfd:carton%-init") and name ~= "" then -- the small program in memory has nothing of ours
      list[#list + 1] = name
    end
  end
  return table.concat(list, " ")
end

local function race(start, exec, seconds)
  local root = attack.image()
  local c <close> = start(root, { "sh", "-c", "exec payload trace 400 >/tmp/traced 2>&1" })
  local tries, began = 0, host.monotonic()
  while tries < 100 and host.monotonic() - began < seconds do
    tries = tries + 1
    exec(c, { args = { "sleep", tries % 20 == 0 and "0.1" or "0" } })
  end
  local path = root .. "/tmp/traced"
  assert(helper.eventually(function() return helper.read(path):find("ours ") end), "nothing is attached to")
  attack.holds(traced(path) == "", "%s", traced(path))
  return tries .. " times entered"
end

attack.any("a payload attaches to who enters its container", { "exec race" }, function(r)
  local capabilities = { "DAC_OVERRIDE", "SETUID", "SETGID" }
  return race(function(root, args)
    return r:start { rootfs = root, args = args, capabilities = capabilities, seccomp = false }
  end, function(c, fields)
    fields.capabilities = capabilities
    c:exec(fields)
  end, r.seconds)
end)

describe("who enters a container #userns", function()
  it("is not attached to by who has all capabilities in its user namespace", function()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    race(function(root, args)
      os.execute(("touch '%s/tmp/traced'; chmod 666 '%s/tmp/traced'"):format(root, root))
      return carton.container { rootfs = root, args = args, capabilities = "all", seccomp = false,
        idmap = helper.is_root and { uids = ids, gids = ids } or "single", stdin = "null" }:start()
    end, function(c, fields)
      fields.stdin, fields.stdout, fields.stderr = "null", "null", "null"
      local e <close> = c:exec(fields)
      e:wait(10)
    end, 30)
  end)
end)

teardown(helper.cleanup)
