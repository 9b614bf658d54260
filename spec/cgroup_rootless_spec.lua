-- SPDX-License-Identifier: MIT
-- Limits without root: the subtree that was delegated to this user is found, divided and left as it was. Those with
-- the tag delegated run in the virtual machine (`make test-vm`), as a user who has such a cgroup.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

local TOP <const> = "/sys/fs/cgroup"
local MIB <const> = 1 << 20

local function run(script, limits, fields)
  fields = fields or {}
  fields.limits = limits
  return helper.shell(script, fields)
end

--- The cgroup of this process, of v2.
local function own()
  return helper.read("/proc/self/cgroup"):match("0::(/[^\n]*)")
end

--- Names of the cgroups below one.
local function below(path)
  return helper.run({ "find", TOP .. path, "-mindepth", "1", "-type", "d", "-printf", "%P\n" }).stdout
end

describe("a delegated cgroup #delegated", function()
  it("is found; what runs in it moves into a leaf, and controllers are enabled", function()
    local status = run("cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max", { pids = 12, memory = "64M" })
    assert.equal("12\n" .. 64 * MIB .. "\n", status.stdout, status.stderr)
    assert.equal("/delegated/supervisor", own())
    assert.equal("", helper.read(TOP .. "/delegated/cgroup.procs"))
    local enabled = helper.read(TOP .. "/delegated/cgroup.subtree_control")
    assert.matches("memory", enabled)
    assert.matches("pids", enabled)
    assert.equal("supervisor\n", below("/delegated"))
  end)
  it("is found again from within the leaf", function()
    for _ = 1, 3 do
      assert.equal("9\n", run("cat /sys/fs/cgroup/pids.max", { pids = 9 }).stdout)
    end
    assert.equal("/delegated/supervisor", own())
    local status = helper.carton("run", "--pids", "9", helper.rootfs(), "cat", "/sys/fs/cgroup/pids.max")
    assert.equal("9\n", status.stdout, status.stderr)
    assert.equal("supervisor\n", below("/delegated"))
  end)
  it("has its group beside the leaf, with everything in it", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, name = "beside",
      limits = { pids = 10 } }
    c:start()
    assert.matches("0::/delegated/carton%-beside%-%x+\n", helper.read("/proc/" .. c:pid() .. "/cgroup"))
    local inside <close> = c:exec { args = { "sleep", "60" } }
    assert.matches("0::/delegated/carton%-beside%-%x+\n", helper.read("/proc/" .. inside:pid() .. "/cgroup"))
  end)
  it("ends what takes more memory than it may", function()
    local status = run("exec tail /dev/zero", { memory = 32 * MIB, swap = 0 }, { rootfs = carton.rootfs.host() })
    assert.equal("oom", status.cause, status.stderr)
    assert.is_true(status.stats.memory.oom_kill >= 1)
    assert.equal("supervisor\n", below("/delegated"))
  end)
  it("holds the number of processes", function()
    local status = run("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done 2>&1; exit 3", { pids = 6 })
    assert.is_true(status.stats.pids.refused >= 1)
  end)
  it("freezes, thaws and changes", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, limits = { pids = 10 } }
    c:start()
    c:freeze()
    assert.matches("frozen 1", c.group:read("cgroup.events"))
    c:thaw()
    c:update { pids = 11 }
    assert.equal("11", c.group:read("pids.max"))
  end)
  it("is handed on to the root of a container, which divides it", function()
    local status = run([[set -e
      cd /sys/fs/cgroup; mkdir leaf; echo $$ > leaf/cgroup.procs
      echo +pids > cgroup.subtree_control; mkdir sub; echo 3 > sub/pids.max; cat sub/pids.max]], { pids = 20 },
      { delegate = true })
    assert.equal("3\n", status.stdout, status.stderr)
    assert.equal("supervisor\n", below("/delegated"))
  end)
  it("lets no program for devices in: who asks for one hears it", function()
    local err = helper.raises(run, "true", { pids = 9, devices = "default" })
    assert.equal("EPERM", err.code)
    assert.matches("takes root outside of user namespaces", tostring(err))
    assert.equal("supervisor\n", below("/delegated"))
  end)
  it("leaves nothing after a launcher that was killed", function()
    local script = [[local carton = require "carton"
      local c = carton.container { rootfs = carton.rootfs.host(), args = { "sleep", "60" }, limits = { pids = 9 } }
      c:start()
      require("posix").kill(require("posix").getpid("pid"), 9)]]
    helper.run { helper.program, "-e", script }
    assert.is_true(helper.eventually(function()
      local status = helper.carton("-e", "require('carton').cgroup.create { files = {} }:close()")
      assert.equal(0, status.code, status.stderr)
      return below("/delegated") == "supervisor\n"
    end))
  end)
end)

--- Run as a user without privileges in a cgroup, whose directory is that user's when it is given away.
local function as_user(group, script)
  return helper.run { "sh", "-c", [[echo 0 > "$1/cgroup.procs" && shift && exec "$@"]], "sh", group,
    "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", helper.program, "-e", script }
end

local function give(path)
  for _, name in ipairs { "", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads" } do
    posix.chown(path .. name, 65534, 65534)
  end
end

describe("what was not delegated #cgroup2", function()
  local level = TOP .. "/carton-test-levels"
  local create = "require('carton').cgroup.create { files = require('carton').limits.files { memory = '64M' } }:close()"
  before_each(function()
    posix.mkdir(level)
    posix.mkdir(level .. "/middle")
  end)
  after_each(function()
    for _, sub in ipairs { "/middle/user/supervisor", "/middle/user", "/middle", "" } do
      posix.rmdir(level .. sub)
    end
  end)
  it("is said, with a way to get it", function()
    local status = as_user(level .. "/middle", create)
    assert.equal(125, status.code, status.stdout)
    assert.matches(level .. "/middle: this cgroup is not delegated to this user", status.stderr, 1, true)
    assert.matches("systemd-run --user --scope -p Delegate=yes", status.stderr, 1, true)
  end)
  it("is said of a controller, with the level that lacks it", function()
    helper.write(level .. "/cgroup.subtree_control", "+pids")
    helper.write(level .. "/middle/cgroup.subtree_control", "+pids")
    posix.mkdir(level .. "/middle/user")
    give(level .. "/middle/user")
    local status = as_user(level .. "/middle/user", create)
    assert.equal(125, status.code, status.stdout)
    -- middle has no memory either, because the level above it has it and does not pass it on
    assert.matches(level .. ": controller 'memory' is not enabled for what is below it", status.stderr, 1, true)
    assert.matches("echo +memory > " .. level .. "/cgroup.subtree_control", status.stderr, 1, true)
    helper.write(level .. "/cgroup.subtree_control", "+memory")
    status = as_user(level .. "/middle/user", create)
    assert.matches(level .. "/middle: controller 'memory' is not enabled", status.stderr, 1, true)
    helper.write(level .. "/middle/cgroup.subtree_control", "+memory")
    status = as_user(level .. "/middle/user", create)
    assert.equal(0, status.code, status.stderr)
  end)
end)
