-- SPDX-License-Identifier: MIT
-- Privileges: each primitive as a step, seen in what the program has, and as a function of a child of its own.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local exec, privilege = carton.exec, carton.privilege

local shared = require("spec.steps")
local output, status, fails = shared.output, shared.status, shared.fails
local refused, inside, same = shared.refused, shared.inside, shared.same

describe("privilege.capabilities #userns", function()
  local none = { "privilege.capabilities", bounding = {}, permitted = {}, effective = {},
    inheritable = {}, ambient = {} }
  local function sets(steps)
    local found = {}
    for name, set in output(steps, "grep ^Cap /proc/self/status"):gmatch("Cap(%a+):%s*(%x+)") do
      found[name] = tonumber(set, 16)
    end
    return found
  end
  it("empties all five sets", function()
    assert.same({ Inh = 0, Prm = 0, Eff = 0, Bnd = 0, Amb = 0 }, sets { none })
  end)
  it("leaves exactly what is listed", function()
    local kill, chown = 1 << 5, 1 << 0
    assert.same({ Inh = kill, Prm = kill | chown, Eff = kill | chown, Bnd = kill | chown, Amb = kill },
      sets { { "privilege.capabilities", bounding = { "CAP_CHOWN", "KILL" }, permitted = { "CHOWN", "KILL" },
        effective = { "CHOWN", "KILL" }, inheritable = { "KILL" }, ambient = { "KILL" } } })
  end)
  it("leaves a set that is not given as it is", function()
    local before = sets {}
    local after = sets { { "privilege.capabilities", inheritable = {}, ambient = {} } }
    assert.same(before, after)
  end)
  it("never gives what is not there", function()
    local steps = { none, { "privilege.capabilities", permitted = { "KILL" } } }
    local err = helper.raises_code("EPERM", output, steps, "true")
    assert.equal("privilege.capabilities", err.step)
    assert.equal("capset", err.call)
    err = helper.raises_code("EPERM", output, { { "privilege.capabilities", bounding = {} },
      { "privilege.capabilities", bounding = { "KILL" } } }, "true")
    assert.equal("prctl", err.call)
  end)
  it("refuses names that mean nothing", function()
    refused("unknown name 'NOPE'", "capabilities", { permitted = { "NOPE" } })
    refused("unknown name", "capabilities", { permitted = { "CAP_CAP_KILL" } })
    refused("field 'permitted'", "capabilities", { permitted = "KILL" })
    refused("unknown field 'efective'", "capabilities", { efective = {} })
  end)
  it("works as a function", function()
    inside(function()
      privilege.capabilities { bounding = { "KILL" }, permitted = { "KILL", "SETPCAP" }, effective = { "KILL" },
        inheritable = {}, ambient = {} }
      local now = privilege.get()
      same(now.bounding, { "KILL" })
      same(now.permitted, { "KILL", "SETPCAP" })
      same(privilege.permitted(), now.permitted)
      same(now.effective, { "KILL" })
      same(now.inheritable, {})
      same(now.ambient, {})
    end)
  end)
end)

describe("privilege.no_new_privs", function()
  it("is set for the program", function()
    assert.equal("1", status({ { "privilege.no_new_privs" } }, "NoNewPrivs"))
    assert.equal("0", status({}, "NoNewPrivs"))
  end)
  it("works as a function", function()
    inside(function()
      assert(privilege.get().no_new_privs == false)
      privilege.no_new_privs()
      assert(privilege.get().no_new_privs == true)
    end)
  end)
end)

describe("privilege.rlimits", function()
  it("sets soft and hard limits", function()
    local text = output({ { "privilege.rlimits", limits = { nofile = { soft = 33, hard = 44 }, core = 0,
      fsize = { soft = 8192, hard = "unlimited" } } } }, "cat /proc/self/limits")
    assert.matches("Max open files%s+33%s+44", text)
    assert.matches("Max core file size%s+0%s+0", text)
    assert.matches("Max file size%s+8192%s+unlimited", text)
  end)
  it("does not raise a hard limit without privilege", function()
    local err = fails("EPERM", { "privilege.rlimits", limits = { nofile = 1 << 40 } })
    assert.equal("prlimit", err.call)
  end)
  it("refuses limits that mean nothing", function()
    refused("unknown name 'nofiles'", "rlimits", { limits = { nofiles = 1 } })
    refused("unknown field 'max'", "rlimits", { limits = { core = { soft = 1, hard = 2, max = 3 } } })
    refused("soft is above hard", "rlimits", { limits = { core = { soft = 2, hard = 1 } } })
    for _, value in ipairs { -1, 1.5, "many", true, { soft = 1 }, { hard = 1 } } do
      refused("a limit is", "rlimits", { limits = { core = value } })
    end
  end)
  it("works as a function", function()
    inside(function()
      privilege.rlimits { limits = { nofile = { soft = 20, hard = 40 } } }
      assert(helper.read("/proc/self/limits"):match("Max open files%s+20%s+40"))
    end)
  end)
end)

describe("privilege.umask", function()
  it("is the program's", function()
    assert.equal("0027", status({ { "privilege.umask", mask = "0027" } }, "Umask"))
    assert.equal("0777", status({ { "privilege.umask", mask = "777" } }, "Umask"))
  end)
  it("takes nothing but a mask", function()
    for _, mask in ipairs { "", "8", "-1", "0x1", "1000", "7777", "77777", "022 ", "rwx" } do
      refused("is not a", "umask", { mask = mask })
    end
    refused("string", "umask", { mask = 22 })
    refused("missing", "umask", {})
  end)
  it("works as a function", function()
    inside(function()
      privilege.umask { mask = "0123" }
      assert(privilege.get().umask == "0123")
    end)
  end)
end)

describe("privilege.oom_score_adj", function()
  local function own()
    return helper.read("/proc/self/oom_score_adj"):match("%S+")
  end
  it("is the program's, and not the caller's", function()
    local before = own()
    assert.equal("777", output({ { "privilege.oom_score_adj", value = 777 } }, "cat /proc/self/oom_score_adj"))
    assert.equal(before, own())
  end)
  it("works as a function", function()
    inside(function()
      privilege.oom_score_adj { value = 555 }
      assert(own() == "555")
    end)
  end)
  it("says what the kernel refuses", function()
    assert.equal("EINVAL", fails("EINVAL", { "privilege.oom_score_adj", value = 1001 }).code)
    fails("EINVAL", { "privilege.oom_score_adj", value = -1001 })
    fails("ERANGE", { "privilege.oom_score_adj", value = math.mininteger })
    refused("integer", "oom_score_adj", { value = "5" })
  end)
end)

describe("privilege.scheduler", function()
  it("sets policy and nice value", function()
    local text = output({ { "privilege.scheduler", policy = "batch", nice = 7 } }, "cat /proc/self/stat")
    local fields = {}
    for word in text:gsub("^.*%) ", ""):gmatch("%S+") do
      fields[#fields + 1] = word
    end
    assert.equal("7", fields[17]) -- field 19 of proc(5), counted from the state
    assert.equal("3", fields[39]) -- SCHED_BATCH
  end)
  it("says what the kernel refuses", function()
    fails("EINVAL", { "privilege.scheduler", nice = 20 })
    fails("EINVAL", { "privilege.scheduler", policy = "fifo", priority = 100 })
    fails("EINVAL", { "privilege.scheduler", policy = "other", priority = 1 })
    refused("unknown name 'best'", "scheduler", { policy = "best" })
    refused("'nice' does not apply to policy 'rr'", "scheduler", { policy = "rr", priority = 1, nice = 5 })
    refused("'runtime', .* do not apply to policy 'other'", "scheduler", { runtime = 1 })
    refused("seconds", "scheduler", { policy = "deadline", runtime = -1 })
    refused("seconds", "scheduler", { policy = "deadline", runtime = 0 / 0 })
  end)
  it("works as a function", function()
    inside(function()
      privilege.scheduler { policy = "idle" }
      local rest = helper.read("/proc/self/stat"):gsub("^.*%) ", "")
      local i = 0
      for word in rest:gmatch("%S+") do
        i = i + 1
        assert(i ~= 39 or word == "5", word)
      end
    end)
  end)
end)

describe("privilege.ioprio", function()
  it("sets class and priority", function()
    assert.equal("idle", output({ { "privilege.ioprio", class = "idle" } }, "ionice"))
    assert.equal("best-effort: prio 6",
      output({ { "privilege.ioprio", class = "best-effort", priority = 6 } }, "ionice"))
  end)
  it("says what is refused", function()
    fails("EINVAL", { "privilege.ioprio", class = "best-effort", priority = 8 })
    fails("EINVAL", { "privilege.ioprio", class = "best-effort", priority = -1 })
    refused("unknown name", "ioprio", { class = "low" })
    refused("'priority' does not apply to class 'idle'", "ioprio", { class = "idle", priority = 1 })
  end)
  it("works as a function", function()
    inside(function()
      privilege.ioprio { class = "idle" }
      local result = helper.run { "ionice" }
      assert(result.stdout == "idle\n", result.stdout)
    end)
  end)
end)

describe("privilege.affinity", function()
  it("binds to processors", function()
    local first = tonumber(status({}, "Cpus_allowed_list"):match("^%d+"))
    assert.equal(tostring(first), status({ { "privilege.affinity", cpus = { first } } }, "Cpus_allowed_list"))
    assert.equal(tostring(first), status({ { "privilege.affinity", cpus = tostring(first) } }, "Cpus_allowed_list"))
  end)
  it("says that one is not there, though others are", function()
    fails("EINVAL", { "privilege.affinity", cpus = "0,1023" })
    fails("EINVAL", { "privilege.affinity", cpus = {} })
    fails("EINVAL", { "privilege.affinity", cpus = "" })
  end)
  it("takes nothing but a list", function()
    for _, cpus in ipairs { "a", "-1", "1-", "-", "3-1", "0,", ",0", "0,,1", "1024", "0-1024", "00001024",
      "0 1", "0-1-2" } do
      refused("not a list of processors", "affinity", { cpus = cpus })
    end
    for _, cpu in ipairs { -1, 1024, 1.5, "0" } do
      refused("processor from 0 to 1023", "affinity", { cpus = { cpu } })
    end
  end)
  it("works as a function", function()
    inside(function()
      local list = helper.read("/proc/self/status"):match("Cpus_allowed_list:%s*(%d+)")
      privilege.affinity { cpus = list }
      assert(helper.read("/proc/self/status"):match("Cpus_allowed_list:%s*(%S+)") == list)
    end)
  end)
end)

describe("privilege.personality", function()
  it("is the program's", function()
    assert.equal("00040000", output({ { "privilege.personality", persona = "no_randomize" } },
      "cat /proc/self/personality"))
    assert.matches("^2%.6%.", output({ { "privilege.personality", persona = "uname26" } }, "uname -r"))
  end)
  it("refuses others", function()
    refused("unknown name", "personality", { persona = "0x0400000" })
  end)
  it("works as a function", function()
    inside(function()
      privilege.personality { persona = "no_randomize" }
      assert(helper.read("/proc/self/personality") == "00040000\n")
    end)
  end)
end)

describe("privilege.sysctl #userns", function()
  local function set(name, value, kinds)
    return output({ { "privilege.sysctl", name = name, value = value } },
      "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", kinds or { "net", "ipc" })
  end
  it("sets what belongs to new namespaces, with dots or slashes", function()
    local host = helper.read("/proc/sys/net/ipv4/ip_forward")
    assert.matches("^1\n", set("net.ipv4.ip_forward", "1"))
    assert.matches("^1\n", set("net/ipv4/ip_forward", "1"))
    assert.matches("\n4321$", set("kernel.msgmax", "4321"))
    assert.equal(host, helper.read("/proc/sys/net/ipv4/ip_forward"))
    output({ { "privilege.sysctl", name = "net/ipv4/conf/lo/forwarding", value = "0" } }, "true", { "net" })
  end)
  it("refuses what does not, and every trick with its path", function()
    local pattern = helper.read("/proc/sys/kernel/core_pattern")
    for _, name in ipairs { "kernel.core_pattern", "kernel/core_pattern", "kernel.sysrq", "vm.overcommit_memory",
      "fs.file-max", "user.max_user_namespaces", "", ".", "..", "/", "//", "net", "net.", "net/",
      "/net/ipv4/ip_forward",
      "net//ipv4/ip_forward", "net/../kernel/core_pattern", "net/./../kernel/core_pattern", "net/ipv4/..",
      "net/..", "../kernel/core_pattern", "net..ipv4", ".net.ipv4",
      "kernel.shm/../core_pattern", "kernel/shm/../core_pattern",
      "kernel/shmx/core_pattern", "kernel.sem.x", "net/" .. ("a"):rep(300), "kernel.core_pattern=net.",
      "fs/mqueue/../../kernel/core_pattern", "net+ipv4" } do
      local err = helper.raises(set, name, "x")
      assert.equal("privilege.sysctl", err.step)
      assert.equal("EINVAL", err.code, name)
    end
    for _, name in ipairs { "net.ipv4.ip_forward=1", "net.ipv4.ip_forward\n", "net.ipv4,x",
      "net/ipv4/ip.forward", "net.nope" } do
      helper.raises_code("ENOENT", set, name, "1")
    end
    refused("NUL", "sysctl", { name = "net.\0x", value = "1" })
    helper.raises_code("EINVAL", set, "net.ipv4.ip_forward", "x")
    assert.equal(pattern, helper.read("/proc/sys/kernel/core_pattern"))
  end)
  it("is refused for a container that shares the namespace with the host", function()
    for name, fields in pairs { ["net.ipv4.ip_forward"] = { network = "host" },
      ["net/ipv4/ip_forward"] = { namespaces = { net = "host" } },
      ["kernel.msgmax"] = { namespaces = { ipc = "host" } } } do
      fields.rootfs, fields.args, fields.sysctl = "/", { "true" }, { [name] = "1" }
      assert.matches("would be the host's", tostring(helper.raises(carton.container, fields)))
    end
  end)
end)

describe("privilege.sysctl in a joined namespace #root", function()
  local names <const> = { net = "net.ipv4.ip_forward", ipc = "kernel.shm_rmid_forced" }
  local function value_of(name) -- what it is already: nothing changes where the refusal fails
    return (helper.read("/proc/sys/" .. name:gsub("%.", "/")):gsub("\n", ""))
  end
  local function refuses(kind, joined)
    local err = helper.raises_code("EPERM", function()
      local c <close> = carton.container { rootfs = helper.rootfs(), args = { "true" }, stdin = "null",
        namespaces = { [kind] = joined }, sysctl = { [names[kind]] = value_of(names[kind]) } }
      c:run()
    end)
    assert.equal("privilege.sysctl", err.step)
    assert.matches("would be the host's", tostring(err))
  end
  it("is refused where that is the host's after all", function()
    for kind, name in pairs(names) do
      local first <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null",
        namespaces = { [kind] = "host" } }
      first:start()
      local handle <close> = carton.namespace.open(0, kind)
      for _, joined in ipairs { ("/proc/%d/ns/%s"):format(posix.getpid("ppid"), kind), "/proc/self/ns/" .. kind,
        handle, first } do
        refuses(kind, joined)
      end
      helper.raises_code("EPERM", output, { { "privilege.sysctl", name = name, value = value_of(name) } }, "true")
    end
  end)
  it("is refused where that is the first process's, though the caller has one of its own", function()
    if not carton.try(carton.namespace.open, 1, "net") then
      return pending("the first process can't be looked at")
    end
    inside(function()
      carton.namespace.unshare { kinds = { "net" } }
      refuses("net", "/proc/1/ns/net")
    end)
  end)
  it("sets it where that is a container's own", function()
    local first <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
    first:start()
    assert.equal("1", helper.output("cat /proc/sys/net/ipv4/ip_forward", { namespaces = { net = first },
      sysctl = { ["net.ipv4.ip_forward"] = "1" } }))
  end)
end)

describe("privilege.session_keyring", function()
  local function keyring(steps)
    return output(steps, "grep _ses /proc/keys | sort")
  end
  it("is a new one for the program", function()
    local ok, keys = pcall(keyring, { { "privilege.session_keyring" } })
    if not ok and keys.code == "ENOSYS" then
      pending("a kernel without keys")
      return
    end
    assert.matches("_ses", keys)
    assert.not_equal(keys, keyring { { "privilege.session_keyring" } })
  end)
end)

describe("privilege.get", function()
  it("reads all of a program with many groups #root", function()
    if not helper.is_root then
      return
    end
    local groups = {}
    for i = 1, 3000 do
      groups[i] = 4000000000 + i
    end
    local p <close> = exec.spawn { steps = { { "exec.exec", args = { "/usr/bin/setpriv", "--groups",
      table.concat(groups, ","), "/bin/sleep", "60" } } } }
    local got
    for _ = 1, 500 do
      got = privilege.get(p:pid())
      if #got.groups == 3000 then
        break
      end
      carton.host.sleep(0.01)
    end
    p:kill()
    p:wait()
    assert.equal(3000, #got.groups)
    assert.is_truthy(got.effective and got.caught and got.no_new_privs ~= nil)
  end)
  it("says that there is no such process", function()
    helper.raises_code("ENOENT", privilege.get, 1 << 30)
  end)
end)

teardown(helper.cleanup)
