-- SPDX-License-Identifier: MIT
-- The guard: one small process beside its owner, which leaves nothing and takes nothing of the owner's.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

--- The guard of a process: the one that holds a pidfd of it.
local function guard_of(owner)
  for _, pid in ipairs(posix.dir("/proc")) do
    local comm = pid:match("^%d+$") and io.open("/proc/" .. pid .. "/comm")
    if comm then
      local name = comm:read("a")
      comm:close()
      for _, fd in ipairs(name == "carton-guard\n" and posix.dir("/proc/" .. pid .. "/fdinfo") or {}) do
        local info = io.open(("/proc/%s/fdinfo/%s"):format(pid, fd))
        if info and (info:read("a") or ""):find(("\nPid:\t%d\n"):format(owner)) then
          return math.tointeger(tonumber(pid))
        end
      end
    end
  end
end

local function start()
  return carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null", timeout = 60 }:start()
end

describe("the guard #root", function()
  local own = posix.getpid("pid")
  it("is one for all launches, and neither a child nor in the owner's session", function()
    local a <close> = start() -- luacheck: ignore a
    local b <close> = start() -- luacheck: ignore b
    local guard = guard_of(own)
    assert.is_truthy(guard)
    local session = tonumber(helper.read(("/proc/%d/stat"):format(guard)):match("%) %S %d+ %d+ (%d+)"))
    assert.equal(guard, session)
    for _, child in ipairs(helper.children()) do
      assert.not_equal(guard, child)
    end
    assert.equal("/", posix.readlink(("/proc/%d/cwd"):format(guard)))
    for _, signal in ipairs { posix.SIGINT, posix.SIGHUP, posix.SIGTERM } do
      posix.kill(guard, signal)
    end
    local c <close> = start() -- luacheck: ignore c
    assert.equal(guard, guard_of(own))
  end)
  it("holds what runs and nothing else: no standard descriptor, nothing that has ended", function()
    local guard = guard_of(own)
    local function held()
      local kinds = {}
      for _, fd in ipairs(posix.dir(("/proc/%d/fd"):format(guard))) do
        local target = posix.readlink(("/proc/%d/fd/%s"):format(guard, fd))
        if target and not target:find("/sys/fs/cgroup/.* %(deleted%)$") then -- let go with later groups
          kinds[#kinds + 1] = target:gsub("%[%d+%]", "")
        end
      end
      table.sort(kinds)
      return table.concat(kinds, " ")
    end
    local before = "anon_inode:[eventpoll] anon_inode:[pidfd] socket:"
    assert.is_true(helper.eventually(function()
      return (posix.readlink(("/proc/%d/exe"):format(guard)) or ""):find("^/memfd:carton%-init")
    end), "it shares its owner's memory")
    assert.is_true(helper.eventually(function() return held() == before end), held())
    local c <close> = start()
    assert.is_true(helper.eventually(function() return held() ~= before end))
    c:close()
    assert.is_true(helper.eventually(function() return held() == before end), held())
  end)
  it("takes no longer for a further group when it holds many", function()
    local guard, core = guard_of(own), require("carton.core")
    local group <close> = require("carton.cgroup").create { name = "many", files = {} }
    local function ticks()
      local stat = helper.read(("/proc/%d/stat"):format(guard))
      local user, system = stat:match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
      return user + system
    end
    local before = ticks()
    for _ = 1, 2000 do
      core.exec.guard(group:ending())
    end
    assert.is_true(helper.eventually(function() return #posix.dir(("/proc/%d/fd"):format(guard)) > 2000 end))
    assert.is_true(ticks() - before < 100, "more than a second of processor time")
  end)
  it("is started anew when it was killed, and by a fork of its owner", function()
    local first = guard_of(own)
    posix.kill(first, posix.SIGKILL)
    assert.is_true(helper.eventually(function() return guard_of(own) == nil end))
    local c <close> = start()
    local second
    assert.is_true(helper.eventually(function()
      second = guard_of(own)
      return second
    end))
    helper.isolated(function()
      local d <close> = start() -- luacheck: ignore d
      assert(helper.eventually(function() return guard_of(posix.getpid("pid")) end), "the fork has none")
    end)
    assert.equal(second, guard_of(own))
    assert.is_true(c:is_running())
  end)
  for _, count in ipairs { 1, 300 } do -- before it is a program of its own; more than it takes in at a time
    it(("takes what comes at once, %d, and ends it all with its owner"):format(count), function()
      local path = helper.write(helper.tmpdir() .. "/recipe.lua", ([[
        local exec = require("carton").exec
        for _ = 1, %d do
          local process <close> = exec.spawn { steps = {
            { "exec.descriptors", fds = { exec.null(), exec.null(), exec.null() } },
            { "exec.exec", args = { "/bin/sleep", "60" } } } }
          exec.guard(process)
          io.write(process:pid(), " ")
        end
        io.flush()
        exec.open_process(require("carton").host.pid()):kill("SIGKILL")
      ]]):format(count))
      local said, pids = helper.carton(path), {}
      for pid in said.stdout:gmatch("%d+") do
        pids[#pids + 1] = pid
      end
      assert.equal(count, #pids, said.stderr)
      assert.is_true(helper.eventually(function()
        for _, pid in ipairs(pids) do
          if posix.access("/proc/" .. pid) and not helper.read("/proc/" .. pid .. "/stat"):find(") Z ", 1, true) then
            return false
          end
        end
        return true
      end))
    end)
  end
  it("says what is in its way when files may not become large, and goes on where they may", function()
    local function limited(limit, ...)
      return helper.run { "prlimit", "--fsize=" .. limit, helper.program, "run", "-T", helper.rootfs(), "sh", "-c",
        ... }
    end
    local result = limited("4096:4096", "exit 3")
    if result.code ~= 3 then -- with CAP_SYS_RESOURCE it is the payload's alone
      assert.equal(125, result.code, result.stderr)
      assert.matches("File too large %(EFBIG%); files may not become so large: see ulimit %-f", result.stderr)
    end
    result = limited("4096:", "ulimit -f")
    assert.equal(0, result.code, result.stderr)
    assert.equal("8\n", result.stdout)
  end)
  it("ends with its owner, and lets live what shall outlive that", function()
    local path = helper.write(helper.tmpdir() .. "/recipe.lua", ([[
      local carton = require("carton")
      for _, dies in ipairs { true, false } do
        local c = carton.container { rootfs = %q, args = { "sleep", "60" }, stdin = "null", stdout = "null",
          stderr = "null", die_with_parent = dies }:start()
        io.write(c:pid(), " ")
      end
      io.write(carton.host.pid())
    ]]):format(helper.rootfs()))
    local said = helper.carton(path)
    local dies, lives, owner = said.stdout:match("(%d+) (%d+) (%d+)")
    assert.is_truthy(owner, said.stderr)
    assert.is_true(helper.eventually(function() return posix.access("/proc/" .. dies) == nil end))
    assert.is_true(helper.eventually(function() return guard_of(tonumber(owner)) == nil end))
    assert.equal(0, posix.kill(tonumber(lives), 0))
    posix.kill(tonumber(lives), posix.SIGKILL)
  end)
end)

teardown(helper.cleanup)
