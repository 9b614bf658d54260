-- SPDX-License-Identifier: MIT
-- Readable limits become files and values of cgroup v2.
local carton = require("carton")
local helper = require("spec.helper")
local limits = carton.limits

local function files(wish, raw)
  local list = {}
  for i, entry in ipairs(limits.files(wish, raw)) do
    list[i] = entry.file .. " " .. entry.value
  end
  return list
end

describe("limits.size", function()
  it("reads bytes and powers of 1024", function()
    for text, bytes in pairs { ["1"] = 1, ["4K"] = 4096, ["512M"] = 512 << 20, ["1.5G"] = 3 << 29,
      ["2T"] = 2 << 40, ["16MiB"] = 16 << 20, ["8kb"] = 8192, max = "max" } do
      assert.equal(bytes, limits.size(text))
    end
    assert.equal(0, limits.size(0))
    assert.equal(4096, limits.size(4096))
  end)
  it("refuses all else, by the field's name", function()
    for _, size in ipairs { "", "M", "-1", "1X", "0x10", "1e3", " 1", "1 M", -1, 1.5, true, "99999999T", "1..5G" } do
      assert.matches("field 'memory'", helper.raises(limits.size, size, "memory"))
    end
  end)
end)

describe("limits.files", function()
  it("names the files of cgroup v2", function()
    assert.same({ "cpuset.cpus 0-1", "memory.max 536870912", "memory.swap.max 0", "cpu.max 150000 100000",
      "cpu.weight 50", "pids.max 128" },
      files { memory = "512M", swap = 0, cpus = 1.5, pids = 128, cpu_weight = 50, cpuset = "0-1" })
    assert.same({ "cpuset.cpus 0,2", "cpu.max max 100000", "cpu.max.burst 5000", "pids.max max" },
      files { cpus = "max", pids = "max", cpu_burst = 0.005, cpuset = { 0, 2 } })
  end)
  it("has limits by device and page size, and raw files", function()
    assert.same({ "io.max 8:0 rbps=1048576 wiops=100", "io.weight 9:1 200", "hugetlb.2MB.max 0" },
      files { io = { ["8:0"] = { rbps = "1M", wiops = 100 }, ["9:1"] = { weight = 200 } },
        hugetlb = { ["2MB"] = 0 } })
    assert.same({ "memory.low 4096", "memory.oom.group 1" },
      files(nil, { ["memory.oom.group"] = 1, ["memory.low"] = 4096 }))
  end)
  it("refuses what is unknown or out of range, by name", function()
    for field, wish in pairs {
      memroy = { memroy = 1 }, cpus = { cpus = 0 }, pids = { pids = 0 }, cpu_weight = { cpu_weight = 10001 },
      cpuset = { cpuset = "a-b" }, swap = { swap = "lots" }, io = { io = { ["/nonexistent"] = { rbps = 1 } } },
      cpu_burst = { cpu_burst = "1" }, io_weight = { io_weight = 0 },
    } do
      assert.matches("field '" .. field .. "'", helper.raises(limits.files, wish))
    end
    assert.matches("unknown name 'reads'", helper.raises(limits.files, { io = { ["8:0"] = { reads = 1 } } }))
    for _, file in ipairs { "../x", "memory/max", "memory", ".max", "memory max", "" } do
      assert.matches("is not a file of a cgroup controller", helper.raises(limits.files, nil, { [file] = 1 }))
    end
  end)
  it("sets no file that moves, stops or ends processes, or changes what the group is", function()
    for _, file in ipairs { "cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type",
      "cgroup.subtree_control", "cgroup.controllers", "cgroup.pressure" } do
      local text = helper.raises(function()
        carton.container { rootfs = "/", args = { "x" }, cgroup = { [file] = 1 } }:compile()
      end)
      assert.is_truthy(text:find(("'%s' is not a file of a cgroup controller"):format(file), 1, true), text)
    end
    assert.same({ "cgroup.max.depth 2", "cgroup.max.descendants 3" },
      files(nil, { ["cgroup.max.depth"] = 2, ["cgroup.max.descendants"] = "3" }))
  end)
  it("refuses what is said twice, or says nothing", function()
    for text, pair in pairs {
      ["'cgroup': memory.max is set by the field 'limits', too"] = { { memory = "1G" }, { ["memory.max"] = "2G" } },
      ["'cgroup': memory.low: a string or a whole number expected, got 1.5"] = { {}, { ["memory.low"] = 1.5 } },
      ["'cgroup': memory.low: a string or a whole number expected, got true"] = { {}, { ["memory.low"] = true } },
      ["'io': no limit for 8:0"] = { { io = { ["8:0"] = {} } } },
      ["'hugetlb': a page size such as 2MB expected, got '../x'"] = { { hugetlb = { ["../x"] = 1 } } },
      ["'cpuset': a list"] = { { cpuset = { 0, two = 2 } } },
    } do
      local message = helper.raises(limits.files, pair[1], pair[2])
      assert.is_truthy(message:find(text, 1, true), message)
    end
  end)
  it("is what a plan shows, without any privilege", function()
    local c = carton.container { rootfs = carton.rootfs.empty(), args = { "true" },
      limits = { memory = "64M", pids = 5 } }
    local text = carton.plan.text(c:compile())
    assert.matches("\ncgroup: memory.max 67108864\ncgroup: pids.max 5\n", text)
    assert.matches('"file": "pids.max"', carton.plan.json(c:compile()))
  end)
end)
