-- SPDX-License-Identifier: MIT

-- Many containers, many launches, and containers that take all they can get.
local helper = require("spec.helper")
local carton = require("carton")
local cgroup_there = next(carton.cgroup.layout().controllers) ~= nil and helper.is_root

local LAUNCHES <const> = math.tointeger(os.getenv("STRESS_LAUNCHES") or 10000)

-- A payload that waits for a word before it does what it is for: first its limits are looked at.
local function gated(command, fields)
  local reader, writer = carton.exec.pipe()
  local all = { rootfs = helper.rootfs(), args = { "sh", "-c", "read go; " .. command }, stdin = reader,
    stdout = "null", stderr = "null", timeout = 60, name = "bomb" }
  for key, value in pairs(fields) do
    all[key] = value
  end
  local c = carton.container(all):start()
  reader:close()
  return c, function()
    writer:write("go\n")
    writer:close()
  end
end

-- The host still launches things while it goes on: so many, and each within its time.
local function host_works(times)
  for i = 1, times do
    assert.equal("alive " .. i, helper.output("echo alive " .. i, { timeout = 30 }))
  end
end

-- Whether the limit is in force: the kernel says so, and the payload is in there.
local function check_limit(c, file, value)
  assert.equal(tostring(value), tostring(c.group:read(file)))
  local found = false
  for _, pid in ipairs(c.group:processes()) do
    found = found or pid == c:pid()
  end
  assert.is_true(found, "the container is not in its cgroup")
end

describe("load #stress", function()
  local before
  setup(function() helper.output("true") end)
  before_each(function() before = helper.world() end)
  after_each(function() assert.same(before, helper.world()) end)
  teardown(helper.cleanup)

  it("runs 1000 containers at once from one recipe", function()
    local list = {}
    for i = 1, 1000 do
      list[i] = carton.container { rootfs = helper.rootfs(), args = { "sleep", "600" }, name = "c" .. i,
        stdin = "null", stdout = "null", stderr = "null" }:start()
    end
    local namespaces = {}
    for i, c in ipairs(list) do
      assert.is_true(c:is_running(), "container " .. i)
      local link = carton.host.readlink(("/proc/%d/ns/pid"):format(c:pid()))
      assert.is_nil(namespaces[link])
      namespaces[link] = true
    end
    host_works(3)
    for _, c in ipairs(list) do
      c:close()
    end
  end)

  it("launches thousands in a row and grows in nothing", function()
    local result = helper.carton("spec/stress/launches.lua", helper.rootfs(), tostring(LAUNCHES), "",
      { timeout = 1200 })
    assert.equal(0, result.code, result.stderr .. result.stdout)
  end)

  if not cgroup_there then
    pending("limits take root, or a cgroup that is delegated")
    return
  end

  it("launches hundreds with limits and grows in nothing", function()
    local result = helper.carton("spec/stress/launches.lua", helper.rootfs(), tostring(LAUNCHES // 20), "limits",
      { timeout = 1200 })
    assert.equal(0, result.code, result.stderr .. result.stdout)
  end)

  it("survives a fork bomb", function()
    local c <close>, go = gated("f() { f | f & }; f; while true; do sleep 1; done",
      { limits = { pids = 64, cpus = 0.5 } })
    check_limit(c, "pids.max", 64)
    go()
    -- a shell whose fork is refused exits, so the bomb can have shrunk again before we look
    assert.is_true(helper.eventually(function() return (c:stats().pids.refused or 0) > 0 end))
    host_works(5)
    assert.is_true(c:stats().pids.peak <= 64)
    c:kill()
    assert.equal(137, c:wait().code)
  end)

  it("survives a memory bomb", function()
    local c <close>, go = gated("tail /dev/zero", { limits = { memory = "32M", swap = 0, pids = 16 } })
    check_limit(c, "memory.max", 32 << 20)
    go()
    host_works(3)
    local status = c:wait()
    assert.is_true(status.stats.memory.oom_kill > 0)
    assert.is_true(status.stats.memory.peak <= 33 << 20)
  end)

  it("survives a full tmpfs", function()
    local status = helper.shell("dd if=/dev/zero of=/tmp/all bs=64k 2>&1; wc -c < /tmp/all; echo on",
      { mounts = { { type = "tmpfs", target = "/tmp", options = { "size=4m" } } },
        limits = { memory = "64M", pids = 16 } })
    assert.matches("No space left on device", status.stdout)
    assert.matches("4194304\non\n$", status.stdout)
    host_works(2)
  end)

  it("survives a flood of output", function()
    local bytes = 0
    local c <close>, go = gated("while true; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done",
      { limits = { memory = "32M", pids = 16, cpus = 0.5 }, timeout = 4,
        stdout = function(data) bytes = bytes + #data end })
    check_limit(c, "pids.max", 16)
    go()
    host_works(3)
    local status = c:wait()
    assert.equal("timeout", status.cause)
    assert.is_true(bytes > 100000, "so many bytes came: " .. bytes)
  end)
end)
