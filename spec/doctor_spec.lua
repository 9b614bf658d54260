-- SPDX-License-Identifier: MIT
-- `carton doctor`: what it finds is what is there, and it changes nothing.
local cjson = require("cjson")
local carton = require("carton")
local helper = require("spec.helper")

local function by_name(list)
  local map = {}
  for _, entry in ipairs(list) do
    map[entry.name] = entry
  end
  return map
end

describe("carton doctor", function()
  it("tells whether containers run here #userns", function()
    local result = helper.carton("doctor")
    local runs = helper.carton("run", "-T", "host", "true").code == 0
    assert.equal(runs and 0 or 1, result.code)
    assert.matches("ok%s+kernel%s+" .. carton.host.uname().release:gsub("%p", "%%%0"), result.stdout)
    assert.equal("", result.stderr)
  end)
  it("says the same as JSON", function()
    local result = helper.carton("doctor", "--json")
    local read = cjson.decode(result.stdout)
    assert.equal(read.fit, result.code == 0)
    local list = by_name(read.checks)
    for _, kind in ipairs { "user", "mnt", "pid", "net", "ipc", "uts", "cgroup" } do
      assert.is_true(list["namespace " .. kind].ok)
    end
    for _, entry in ipairs(read.checks) do
      assert.is_string(entry.name)
      assert.is_true(entry.ok == true or entry.ok == false or entry.ok == "warn")
      assert.is_truthy(entry.ok == true or entry.reason or entry.remedy or entry.value, entry.name)
    end
  end)
  it("takes no operand", function()
    local result = helper.carton("doctor", "x")
    assert.equal(125, result.code)
    assert.matches("takes no operand", result.stderr)
    assert.equal(125, helper.carton("doctor", "--nope").code)
  end)
  it("changes nothing", function()
    local before = helper.world()
    carton.doctor.check()
    assert.same(before, helper.world())
  end)
  it("finds what is switched off, and says what to do #userns", function()
    local result = helper.run { "unshare", "--user", "--map-root-user", "/bin/sh", "-c",
      [[echo 0 >/proc/sys/user/max_net_namespaces && exec "$0" doctor --json]], helper.program }
    assert.equal(1, result.code)
    local read = cjson.decode(result.stdout)
    assert.is_false(read.fit)
    local list = by_name(read.checks)
    assert.is_false(list["namespace net"].ok)
    assert.equal("ENOSPC", list["namespace net"].reason)
    assert.matches("max_%*_namespaces", list["namespace net"].remedy)
    assert.is_true(list["namespace uts"].ok)
  end)
  it("finds the calls that a kernel lacks or an outer filter hides", function()
    local probe = carton.host.probe
    carton.host.probe = function(call) -- luacheck: ignore 122
      if call == "openat2" then
        return false, "ENOSYS"
      elseif call == "seccomp" then
        return false, "ENOSYS"
      end
      return probe(call)
    end
    local list = carton.doctor.check()
    carton.host.probe = probe -- luacheck: ignore 122
    local names = by_name(list)
    assert.is_false(names["call openat2"].ok)
    assert.matches("Linux 5.6", names["call openat2"].remedy)
    assert.equal("warn", names["call seccomp"].ok)
    assert.is_nil(names["call clone3"])
    assert.is_false(carton.doctor.is_fit(list))
    assert.matches("missing call openat2%s+ENOSYS\n%s+%-> Linux 5.6", carton.doctor.text(list))
  end)
  it("knows this machine's cgroups and subordinate ids", function()
    local list = by_name(carton.doctor.check())
    local kinds = {}
    for _, mount in ipairs(carton.mount.list()) do
      kinds[mount.type] = true
    end
    local expected = kinds.cgroup2 and (kinds.cgroup and "hybrid" or "v2") or kinds.cgroup and "v1" or nil
    assert.equal(expected, list.cgroup.value)
    assert.equal(carton.idmap.granted() and true or "warn", list["subordinate ids"].ok)
  end)
end)

describe("doctor.is_fit", function()
  it("forgives notes only", function()
    assert.is_true(carton.doctor.is_fit { { ok = true }, { ok = "warn" } })
    assert.is_false(carton.doctor.is_fit { { ok = true }, { ok = false } })
  end)
end)

teardown(helper.cleanup)
