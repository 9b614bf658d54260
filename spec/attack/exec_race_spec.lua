-- SPDX-License-Identifier: MIT
-- A payload attaches to the process that enters its container, reads its memory or takes its descriptors, before it is
-- the program asked for; or it stops that process.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")
local host = carton.host

--- Who was attached to that had a program which is not of the image, and what was taken. With SYS_PTRACE in a user
-- namespace that has the caller's id the shield can be attached to: it has the channel, but nothing else of ours.
local function reached(path, shield)
  local list, seen = {}, {}
  for verb, name in helper.read(path):gmatch("(%a+) (%C*)\n") do
    local known = verb == "ours" or name == "" or seen[name]
      or (shield and (name == "the channel" or name:find("^/memfd:carton%-init")))
    if not known then
      seen[name], list[#list + 1] = true, verb .. " " .. name
    end
  end
  return table.concat(list, ", ")
end

local function race(verb, start, exec, seconds, shield)
  local root = attack.image()
  local c <close> = start(root, { "sh", "-c", ("exec payload %s 400 >/tmp/reached 2>&1"):format(verb) })
  local tries, began = 0, host.monotonic()
  while tries < 100 and host.monotonic() - began < seconds do
    tries = tries + 1
    exec(c, { args = { "sleep", tries % 20 == 0 and "0.1" or "0" } })
  end
  local path = root .. "/tmp/reached"
  assert(helper.eventually(function() return helper.read(path):find("ours ") end), "nothing is attached to")
  attack.holds(reached(path, shield) == "", "%s", reached(path, shield))
  return tries .. " times entered"
end

for verb, title in pairs { trace = "a payload attaches to who enters its container",
  steal = "a payload takes the descriptors of who enters its container" } do
  attack.any(title, { "exec race" }, function(r)
    local capabilities = { "DAC_OVERRIDE", "SETUID", "SETGID" }
    return race(verb, function(root, args)
      return r:start { rootfs = root, args = args, capabilities = capabilities, seccomp = false }
    end, function(c, fields)
      fields.capabilities = capabilities
      c:exec(fields)
    end, r.seconds)
  end)
end

describe("who enters a container #root", function()
  it("has nothing for those inside who have SYS_PTRACE, with no user namespace", function()
    local path = attack.canary()
    local held = posix.open(helper.write(path .. "/canary-file", ""), posix.O_RDONLY)
    for _, terminal in ipairs { false, true } do
      local root = attack.image()
      local c <close> = attack.container { rootfs = root, capabilities = { add = { "SYS_PTRACE" } }, seccomp = false,
        args = { "sh", "-c", "exec payload steal 400 >/tmp/reached 2>&1" } }:start()
      for tries = 1, 60 do
        local e <close> = c:exec { args = { "sleep", tries % 20 == 0 and "0.1" or "0" }, timeout = 20,
          stdin = not terminal and "null" or nil, terminal = terminal or nil }
        e:wait(10)
      end
      assert(helper.eventually(function() return helper.read(root .. "/tmp/reached"):find("ours ") end),
        "nothing is reached")
      local list = reached(root .. "/tmp/reached", true)
      attack.holds(list == "", "%s", list)
    end
    posix.close(held)
  end)
  it("has no capability that the container lacks, then", function()
    local c <close> = attack.container():start() -- others in it may have it, by exec or as a pod's member
    local steps = {}
    local before
    for _, step in ipairs(require("carton.compile").exec({ args = { "true" } }, c,
      { fds = { 0, 1, 2 } }).steps) do
      if step[1] == "exec.fork" then
        before = #steps
      end
      steps[#steps + 1] = step
    end
    assert.equal("privilege.capabilities", steps[before][1])
    for _, name in ipairs { "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH", "BPF" } do
      for _, kept in ipairs(steps[before].permitted) do
        assert.not_equal(name, kept)
      end
    end
  end)
end)

describe("who enters a container #userns", function()
  it("is not attached to by who has all capabilities in its user namespace", function()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    race("trace", function(root, args)
      os.execute(("touch '%s/tmp/reached'; chmod 666 '%s/tmp/reached'"):format(root, root))
      return carton.container { rootfs = root, args = args, capabilities = "all", seccomp = false,
        idmap = helper.is_root and { uids = ids, gids = ids } or "single", stdin = "null" }:start()
    end, function(c, fields)
      fields.stdin, fields.stdout, fields.stderr = "null", "null", "null"
      local e <close> = c:exec(fields)
      e:wait(10)
    end, 30, not helper.is_root)
  end)
  it("is waited for no longer than the time-out, when it is stopped", function()
    local root = attack.image()
    local c <close> = attack.container { rootfs = root, args = { "sh", "-c",
      "while :; do kill -STOP -1; done" }, init = true }:start()
    local failed, before = nil, helper.world()
    for _ = 1, 200 do
      local ok, err = pcall(c.exec, c, { args = { "true" }, timeout = 0.2, stdin = "null", stdout = "null" })
      if ok then
        err:close()
      else
        failed = err
        break
      end
    end
    assert.equal("ETIMEDOUT", failed and failed.code, tostring(failed))
    assert.matches("not finished within 5 s", tostring(failed))
    assert.same(before, helper.world())
  end)
end)

describe("a pod #root", function()
  it("takes no member that its programs could trace before it is one of them", function()
    local c <close> = attack.container { name = "tracer", capabilities = { add = { "SYS_PTRACE" } } }:start()
    local err = helper.raises_code("EPERM", function()
      attack.container { namespaces = { pid = c }, args = { "true" } }:run()
    end)
    assert.matches("programs of tracer could trace", tostring(err))
    assert.matches("idmap", tostring(err))
    attack.container({ namespaces = { ipc = c }, args = { "true" } }):run()
  end)
end)

teardown(helper.cleanup)
