-- SPDX-License-Identifier: MIT
-- Control groups when others do what they should not: races for a name, groups that are not ours, forks of the
-- process that holds the lock, payloads that divide what was handed over to them, failures half way.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

local MIB <const> = 1 << 20

local groups, start = helper.groups, helper.start

local function create(limits, raw)
  return carton.cgroup.create { files = carton.limits.files(limits, raw) }
end

local function top()
  return carton.cgroup.open_directory(carton.cgroup.layout().controllers.pids)
end

local function lua(script)
  return helper.run { helper.program, "-e", 'local carton, posix = require "carton", require "posix"\n' .. script }
end

describe("cgroups of others #cgroup", function()
  it("are not taken for what a carton left behind: nothing but that name, free, and empty", function()
    local parent <close> = top()
    local made = {}
    for _, name in ipairs { "carton-web", "carton-web-12345", "carton-web-123456789", "carton-web-1234567g" } do
      made[#made + 1] = parent:create(name)
      made[#made]:close() -- and its lock
    end
    local left = parent:create("carton-left-12345678")
    left:create("below"):close()
    left:close()
    local status = lua "carton.cgroup.create { files = carton.limits.files { pids = 9 } }:close()"
    local names = {}
    for _, name in ipairs(parent:children()) do
      names[name] = true
    end
    for _, name in ipairs { "carton-web", "carton-web-12345", "carton-web-123456789", "carton-web-1234567g" } do
      posix.rmdir(parent:name() .. "/" .. name)
      assert.is_true(names[name], name)
    end
    assert.equal(0, status.code, status.stderr)
    assert.is_nil(names["carton-left-12345678"])
  end)
  it("are kept, with all below, while somebody lives in one of them", function()
    local parent <close> = top()
    local left = parent:create("carton-left-87654321")
    local lived = left:create("lived")
    local empty = left:create("empty")
    local p <close> = carton.exec.spawn { steps = { { "cgroup.enter", cgroups = { lived } },
      { "exec.exec", args = { "/bin/sleep", "60" }, env = {} } } }
    left:close()
    lua "carton.cgroup.create { files = carton.limits.files { pids = 9 } }:close()"
    local path = parent:name() .. "/carton-left-87654321"
    local kept = posix.stat(path .. "/empty") ~= nil
    p:kill("SIGKILL")
    p:wait()
    assert.is_true(empty:remove())
    assert.is_true(lived:remove())
    posix.rmdir(path)
    assert.is_true(kept)
  end)
  it("are not swept between mkdir and flock: who makes one gets it", function()
    local parent <close> = top()
    local name = ("carton-race-%08x"):format(posix.getpid("pid"))
    local pid = posix.fork()
    if pid == 0 then
      local till = carton.host.monotonic() + 20
      while carton.host.monotonic() < till do
        for _, found in ipairs(parent:children()) do
          pcall(function()
            local child <close> = found:sub(1, #name) == name and parent:open(found)
            if child and child:lock() then
              child:remove()
            end
          end)
        end
      end
      posix._exit(0)
    end
    local failures, gone = {}, 0
    for i = 1, 1000 do
      local ok, made = pcall(parent.create, parent, name .. i)
      if ok then
        gone = gone + (pcall(made.read, made, "cgroup.procs") and made:remove() and 0 or 1)
        made:close()
      elseif made.code ~= "EEXIST" then -- that is for another name
        failures[#failures + 1] = tostring(made)
      end
    end
    posix.kill(pid, posix.SIGKILL)
    posix.wait(pid)
    assert.same({}, failures)
    assert.equal(0, gone)
  end)
end)

describe("a group #cgroup", function()
  it("is removed when it is collected, closed or not", function()
    create { pids = 9 }
    collectgarbage()
    collectgarbage()
    assert.equal("", groups())
    local group = create { pids = 9 }
    group:close()
    group:close()
    getmetatable(group).__gc(group)
    assert.equal("", groups())
  end)
  it("outlives a fork of the process that made it, and the container in it, too", function()
    local status = lua [[
      local c = carton.container { rootfs = carton.rootfs.host(), args = { "sleep", "60" }, limits = { pids = 9 } }
      c:start()
      local g = carton.cgroup.create { files = carton.limits.files { pids = 7 } }
      local pid = posix.fork()
      if pid == 0 then
        g:close()
        os.exit(0, true) -- with all finalizers
      end
      posix.wait(pid)
      assert(c:is_running(), "the container was ended by the fork")
      assert(g:read("pids.max") == "7", "the group was removed by the fork")
      assert(c.group:read("pids.max") == "9")
      g:close()
      c:close()]]
    assert.equal(0, status.code, status.stderr)
    assert.equal("", groups())
  end)
  it("is not abandoned while a fork has its lock, and swept when that is gone", function()
    local reader, writer = posix.pipe()
    local pid = posix.fork()
    if pid == 0 then
      posix.close(reader)
      create { pids = 9 }
      if posix.fork() == 0 then -- lives on
        posix.write(writer, tostring(posix.getpid("pid")))
        while true do
          posix.sleep(60)
        end
      end
      posix.kill(posix.getpid("pid"), posix.SIGKILL)
    end
    posix.close(writer)
    posix.wait(pid)
    local fork = tonumber(posix.read(reader, 100))
    posix.close(reader)
    lua "carton.cgroup.create { files = carton.limits.files { pids = 9 } }:close()" -- which looks for what was left
    local kept = groups()
    posix.kill(fork, posix.SIGKILL)
    assert.is_true(helper.eventually(function()
      lua "carton.cgroup.create { files = carton.limits.files { pids = 9 } }:close()"
      return groups() == ""
    end))
    assert.not_equal("", kept)
  end)
  it("is removed although its payload froze it by file, and was asked to", function()
    local c = start("sleep 60", { limits = { pids = 10 } })
    c.group:write("cgroup.freeze", 1)
    local began = carton.host.monotonic()
    c:close()
    assert.is_true(carton.host.monotonic() - began < 5)
    assert.equal("", groups())
  end)
  it("is killed faster than it forks", function()
    local c = start("f() { f & f & }; f; f; f; sleep 60", { limits = { pids = 100 }, namespaces = { pid = "host" } })
    assert.is_true(helper.eventually(function() return tonumber(c.group:read("pids.current")) > 30 end))
    c:close()
    assert.equal("", groups())
  end)
  it("sets all back, too, of which a part was written", function()
    local c <close> = start("sleep 60", { limits = { pids = 10, cpus = 0.5, memory = "64M" } })
    for _, raw in ipairs { { ["cpu.max"] = "1 20000" }, { ["pids.max"] = "banana" } } do
      local ok = pcall(c.update, c, { memory = "80M" }, raw)
      assert.is_false(ok)
      assert.equal("50000 100000", c.group:read("cpu.max"))
      assert.equal(tostring(64 * MIB), c.group:read("memory.max"))
    end
  end)
  it("sets the limit of a device back", function()
    local device = helper.run({ "sh", "-c", "cat /sys/block/[lv][od]*/dev" }).stdout:match("%d+:%d+")
    if not device then
      return pending("there is no disk")
    end
    local group <close> = create { pids = 9, io = { [device] = { rbps = 1 << 30, wiops = 5000 } } }
    local before = group:read("io.max")
    assert.matches("rbps=1073741824 wbps=max riops=max wiops=5000", before)
    helper.raises(group.update, group, carton.limits.files({ io = { [device] = { rbps = 1 << 20, wbps = 4096 } } },
      { ["pids.max"] = "banana" }))
    assert.equal(before, group:read("io.max"))
  end)
  it("refuses what is no value, in the words of the kernel", function()
    local group <close> = create { pids = 9, memory = "64M", cpus = 1 }
    for file, value in pairs { ["cpu.max"] = "x 100000", ["memory.max"] = "lots", ["memory.swap.max"] = "x",
      ["cpu.weight"] = "heavy", ["pids.max"] = "" } do
      local err = helper.raises_code("EINVAL", group.write, group, file, value)
      assert.matches(file, tostring(err), 1, true)
    end
  end)
  it("is removed with whatever is below it, by whatever name", function()
    local parent <close> = top()
    local group <close> = parent:create("carton-test-names-" .. posix.getpid("pid"))
    local names = { ".hidden", "...", ("x"):rep(255), "a b", "-rf", "*", "\xff\xfe" }
    for _, name in ipairs(names) do
      assert(posix.mkdir(("%s/%s/%s"):format(parent:name(), group:name(), name)))
    end
    assert.equal(#names, #group:children())
    for _, name in ipairs(group:children()) do
      local child <close> = group:open(name)
      child:remove()
    end
    assert.is_true(group:remove())
  end)
  it("has a name of its own, whatever the container is called", function()
    for _, name in ipairs { "../../x", "a/b", "\n", "", ("n"):rep(300), ".", "é" } do
      local group <close> = carton.cgroup.create { name = name, files = carton.limits.files { pids = 9 } }
      assert.matches("^carton%-[%w_.%-]*%-%x%x%x%x%x%x%x%x$", group:name())
    end
    assert.equal("", groups())
  end)
end)

describe("cgroup v1 #root", function()
  local function v1(limits, raw)
    if carton.cgroup.layout().version == 2 then
      return nil, pending("this host has cgroup v2")
    end
    return create(limits, raw)
  end
  it("keeps swap beside memory as it was said when memory changes", function()
    local group <close> = v1 { memory = "64M", swap = "8M" }
    if not group then
      return
    end
    for _, size in ipairs { 128, 32, 64 } do
      group:update(carton.limits.files { memory = size << 20 })
      assert.equal(tostring(8 * MIB), group:read("memory.swap.max"))
      assert.equal(tostring(size << 20), group:read("memory.max"))
    end
    helper.raises(group.update, group, carton.limits.files({ memory = "128M", swap = "1M" }, { ["pids.max"] = "x" }))
    assert.equal(tostring(8 * MIB), group:read("memory.swap.max"))
    assert.equal(tostring(64 * MIB), group:read("memory.max"))
  end)
  it("says of a controller that is bound to v2 where it is", function()
    if carton.cgroup.layout().version == 2 then
      return pending("this host has cgroup v2")
    end
    local file = io.open("/sys/fs/cgroup/unified/cgroup.controllers")
    local controller = file and (file:read("a") or ""):match("%S+")
    if not controller then
      return pending("all controllers are bound to v1")
    end
    local err = helper.raises_code("ENOENT", create, nil, { [controller .. ".max"] = 1 })
    assert.matches("bound to cgroup v2, others to v1", tostring(err))
  end)
end)

describe("a cgroup that was handed over #cgroup2", function()
  local function divide(script, fields)
    fields = fields or {}
    fields.limits, fields.delegate = { pids = 60 }, true
    local c <close> = start("cd /sys/fs/cgroup; " .. script, fields)
    local status = c:wait(60)
    c:close()
    assert.equal("", groups())
    return status
  end
  it("is removed with threaded, hidden and odd groups in it", function()
    local status = divide [[set -e
      mkdir t .hidden "$(head -c 255 /dev/zero | tr '\0' x)" 'a b'
      echo threaded > t/cgroup.type; mkdir t/u; echo done]]
    assert.equal("done\n", status.stdout, status.stderr)
  end)
  it("is divided only so far", function()
    local status = divide [[n=0; while mkdir d 2>/dev/null; do cd d; n=$((n+1)); done; echo $n
      cd /sys/fs/cgroup; n=0; while mkdir x$n 2>/dev/null; do n=$((n+1)); done; echo $n]]
    assert.equal("32\n968\n", status.stdout, status.stderr)
  end)
  it("is removed while its payload makes and removes groups", function()
    for _ = 1, 5 do
      local c = start([[cd /sys/fs/cgroup; for i in 1 2 3 4; do
        (while :; do mkdir a$i a$i/b a$i/b/c; rmdir a$i/b/c a$i/b a$i; done) 2>/dev/null & done; sleep 60]],
        { limits = { pids = 60 }, delegate = true, namespaces = { pid = "host" } })
      carton.exec.poll({}, 0.2)
      c.group:processes()
      c:close()
      assert.equal("", groups())
    end
  end)
  it("takes a further program where its first one is, once it is divided", function()
    local c <close> = start([[cd /sys/fs/cgroup; mkdir leaf; echo 0 > leaf/cgroup.procs
      echo +pids > cgroup.subtree_control; echo ready; exec sleep 60]],
      { limits = { pids = 20 }, delegate = true })
    assert.is_true(helper.eventually(function()
      return helper.read("/proc/" .. c:pid() .. "/cgroup"):find("/leaf\n", 1, true)
        and c.group:read("cgroup.subtree_control") == "pids"
    end))
    local status = c:exec({ args = { "cat", "/proc/self/cgroup" }, stdout = "capture", stderr = "capture" }):wait()
    assert.equal("0::/leaf\n", status.stdout, status.stderr)
  end)
  it("has a carton in it that sets limits itself", function()
    local status = start([[cd /tmp; cat > r.lua <<'END'
        local carton = require "carton"
        for i = 1, 3 do
          local c <close> = carton.container { rootfs = carton.rootfs.host(), name = "inner", limits = { pids = 5 + i },
            args = { "cat", "/sys/fs/cgroup/pids.max" } }
          local status = c:run()
          assert(status.code == 0 and status.stats.pids.max == 5 + i)
        end
END
      ./carton r.lua; find /sys/fs/cgroup -mindepth 1 -type d; cat /proc/self/cgroup]],
      { limits = { pids = 60, memory = "256M" }, delegate = true, capabilities = "all",
        rootfs = carton.rootfs.host { nestable = true }, mounts = { helper.program .. ":/tmp/carton:ro" } }):wait()
    assert.equal("6\n7\n8\n/sys/fs/cgroup/supervisor\n0::/supervisor\n", status.stdout, status.stderr)
    assert.equal(0, status.code, status.stderr)
    assert.equal("", groups())
  end)
end)

describe("cgroup v2, under load and half way #cgroup2", function()
  it("has nothing left after 200 launches with limits", function()
    local before = helper.run({ "find", "/sys/fs/cgroup", "-type", "d" }).stdout
    for i = 1, 200 do
      local status = helper.shell("exit 3", { limits = { pids = 5 + i, memory = "64M" } })
      assert.equal(3, status.code)
      assert.equal(5 + i, status.stats.pids.max)
    end
    assert.equal(before, helper.run({ "find", "/sys/fs/cgroup", "-type", "d" }).stdout)
  end)
  it("sets back what was set before a file that only takes orders", function()
    local group <close> = create { memory = "64M", pids = 9, cpuset = "0" }
    helper.raises(group.update, group, carton.limits.files({ memory = "80M" },
      { ["memory.reclaim"] = "banana", ["cpuset.cpus"] = "0-1" }))
    assert.equal(tostring(64 * MIB), group:read("memory.max"))
    assert.equal("0", group:read("cpuset.cpus"))
    local plain <close> = create { pids = 9, cpuset_mems = "0" }
    assert.equal("", plain:read("cpuset.cpus"))
    helper.raises(plain.update, plain, carton.limits.files(nil, { ["cpuset.cpus"] = "0", ["pids.max"] = "x" }))
    assert.equal("", plain:read("cpuset.cpus"))
  end)
end)
