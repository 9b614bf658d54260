-- SPDX-License-Identifier: MIT
-- What the attacks share: cases for any runtime, canaries, images, programs that exchange names while we work.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = { cases = {} }

--- How often a start is raced for; without privileges it is dearer, and the same code.
attack.STARTS = helper.is_root and 1000 or 150

local build = helper.program:match("^(.*)/bin/[^/]*$") or "build"

--- A program of build/attack; made when it is missing.
function attack.tool(name)
  local path = build .. "/attack/" .. name
  if not posix.access(path, "x") then
    assert(os.execute(("make -s BUILD='%s' '%s' >&2"):format(build, path)))
  end
  return carton.host.realpath(path)
end

--- A fresh image with the payload in it.
function attack.image()
  local root = helper.rootfs(true)
  assert(os.execute(("cp '%s' '%s/bin/payload'"):format(attack.tool("payload"), root)))
  posix.chmod(root .. "/tmp", "rwxrwxrwx")
  return root
end

--- A container of this user's in which nothing happens unless it is asked for.
function attack.container(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null", stdout = "null", stderr = "null",
    idmap = not helper.is_root and "single" or nil, timeout = 60 }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all)
end

--- What a command in a shell of such a container says.
function attack.shell(command, fields)
  fields = fields or {}
  fields.idmap = not helper.is_root and "single" or nil
  return helper.shell(command, fields)
end

--- A directory of the host that nobody may change, and a function that tells all of it: contents, owners, and times,
-- so that what came and went is seen as well.
function attack.canary()
  local path = helper.tmpdir()
  helper.write(path .. "/file", "canary\n", "rw-r--r--")
  helper.write(path .. "/passwd", "canary:x:0:0::/:/bin/sh\n")
  for _, name in ipairs { "dir", "pts", "fd", "shm", "mqueue" } do
    posix.mkdir(path .. "/" .. name)
  end
  return path, function()
    return helper.run { "/bin/sh", "-c", [[cd "$1" && find . -printf '%p %y %m %U %G %s %T@ %C@ %l\n' | sort
      cat file passwd; grep -F "$1" /proc/self/mountinfo]], "sh", path }.stdout
  end
end

--- Hold what a case expects; what it says otherwise begins with these words.
attack.SUCCEEDED = "the attack succeeded: "
function attack.holds(value, format, ...)
  if not value then
    error(attack.SUCCEEDED .. format:format(...), 0)
  end
end

--- A case for any runtime: a function of a runtime (spec.attack.runtime) that raises when the attack succeeds, and
-- returns what it counted. Here it is a spec of Carton; spec/attack/compare.lua has others try.
function attack.any(title, cves, try)
  attack.cases[#attack.cases + 1] = { title = title, cves = cves, try = try }
  if not attack.comparing then
    local busted = require("busted")
    busted.describe("attack #userns", function()
      busted.it(("%s (%s)"):format(title, table.concat(cves, ", ")), function()
        try(require("spec.attack.runtime").carton())
      end)
    end)
  end
end

local swapper = {}
swapper.__index = swapper

local function count_of(path)
  local file <close> = io.open(path)
  local text = file and file:read(8) or ""
  return #text == 8 and string.unpack("=I8", text) or 0
end

--- Exchange two names of the host until it is closed. `process` is a container that does so already, and counts in the
-- file `counter`; `state` tells what stands in the place, when that is not its type or where it leads to.
function attack.swapper(a, b, fields)
  fields = fields or {}
  local function state()
    return posix.readlink(a) or (carton.host.stat(a, true) or {}).type or "nothing"
  end
  local self = setmetatable({ state = fields.state or state, seen = {},
    counter = fields.counter or helper.tmpdir() .. "/count" }, swapper)
  if fields.process then
    self.process = fields.process
  else
    self.process = carton.exec.spawn { steps = { { "exec.die_with_parent" }, { "exec.exec", args = {
      attack.tool("payload"), "swap", a, b, self.counter }, env = {} } } }
  end
  assert(helper.eventually(function() return count_of(self.counter) > 0 end), "nothing is exchanged")
  return self
end

--- Look at what stands in the place; called with each try.
function swapper:look()
  self.seen[self.state()] = true
end

--- The race was on all the time: names were exchanged more often than tried, and both were seen.
function swapper:assert_live(tries)
  local kinds = 0
  for _ = 1, 200 do -- still
    self:look()
  end
  for _ in pairs(self.seen) do
    kinds = kinds + 1
  end
  local count = count_of(self.counter)
  assert(kinds >= 2 and count > tries, ("no race: %d kinds, %d exchanges, %d tries"):format(kinds, count, tries))
  return count
end

function swapper:close()
  if self.closed then
    return
  end
  self.closed = true
  self.process:kill("SIGKILL")
  if self.process.wait then
    self.process:wait()
  end
  self.process:close()
end
swapper.__close = swapper.close

return attack
