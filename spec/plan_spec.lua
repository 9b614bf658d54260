-- SPDX-License-Identifier: MIT
-- Plans as text and JSON, their differences, and that looking at one needs no privilege and does nothing.
local carton = require("carton")
local core = require("carton.core")
local helper = require("spec.helper")
local plan = carton.plan

local function compiled(fields)
  local all = { rootfs = carton.rootfs.empty(), args = { "true" }, idmap = "single" }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all):compile()
end

describe("a step's fields", function()
  local own = { { container_id = 0, host_id = 0, size = 1 } }
  local function refused(step, text)
    local message = helper.raises(core.validate, { step })
    assert.is_truthy(message:find(text, 1, true), step[1] .. ": " .. message)
  end
  it("never contradict each other", function()
    for text, step in pairs {
      ["one of the fields 'source' and 'tree' expected"] = { "mount.bind", target = "/b" },
      ["'temporary' and 'upper' exclude"] = { "mount.overlay", target = "/", lower = "/", temporary = true,
        upper = "/u", work = "/w" },
      ["'temporary' and 'work' exclude"] = { "mount.overlay", target = "/", lower = "/", temporary = true,
        work = "/w" },
      ["'work' is missing, which goes with 'upper'"] = { "mount.overlay", target = "/", lower = "/", upper = "/u" },
      ["'upper' is missing, which goes with 'work'"] = { "mount.overlay", target = "/", lower = "/", work = "/w" },
      ["'size' goes with 'temporary'"] = { "mount.overlay", target = "/", lower = "/", upper = "/u", work = "/w",
        size = "1m" },
      ["'lower': a list of at least one"] = { "mount.overlay", target = "/", lower = {}, temporary = true },
      ["'upperdir' is set by the fields"] = { "mount.overlay", target = "/", lower = "/", temporary = true,
        data = { upperdir = "/u" } },
      ["'user' and 'uid' exclude"] = { "privilege.user", user = "web", uid = 0 },
      ["'group' and 'gid' exclude"] = { "privilege.user", uid = 0, group = "web", gid = 0 },
      ["'groups' and 'keep_groups' exclude"] = { "privilege.user", uid = 0, groups = {}, keep_groups = true },
      ["'kinds' goes with 'process'"] = { "namespace.enter", kinds = { "net" } },
    } do
      refused(step, text)
    end
  end)
  it("are lists without names and holes, where they are lists", function()
    for name, step in pairs {
      options = { "mount.bind", source = "/", target = "/b", options = { ro = true } },
      paths = { "mount.mask", paths = { first = "/proc/kcore" } },
      lower = { "mount.overlay", target = "/", lower = { "/a", below = "/b" }, temporary = true },
      kinds = { "namespace.unshare", kinds = { net = true } },
      bounding = { "privilege.capabilities", bounding = { KILL = true } },
      groups = { "privilege.user", uid = 0, groups = { web = 1 } },
      cpus = { "privilege.affinity", cpus = { 0, [2.5] = 1 } },
      fds = { "exec.descriptors", fds = { out = 1 } },
      args = { "exec.exec", args = { "sh", c = "x" } },
      uids = { "namespace.idmap", uids = { own[1], x = own[1] }, gids = own },
      handled = { "privilege.landlock", handled = { execute = true } },
    } do
      refused(step, ("field '%s': list expected, got the key"):format(name))
    end
    refused({ "mount.mask", paths = { "/a", nil, "/b" } }, "field 'paths': the list has a hole")
    refused({ "mount.mask", paths = { "/a", [3] = "/b" } }, "field 'paths': the list has a hole")
    refused({ "namespace.idmap", gids = own, uids = { { container_id = 0, host_id = 0, size = 1, sise = 1 } } },
      "unknown field 'sise'")
    core.validate { { "exec.exec", args = { [-1] = "lua5.4", [0] = "recipe.lua", "sh" } } } -- `arg` is such a list
  end)
  it("are amounts that the kernel does not take for no limit", function()
    for _, size in ipairs { 0, "0", "0m", "0%", "1001%", -1, "-1", "1.5m", "010m", "0x10", "", "m", "1mm", "1 m",
      "16777216t", "8388608t", "18446744073709551616", "9223372036854775808", "16e", "1b" } do
      refused({ "mount.tmpfs", target = "/", size = size }, "field 'size': a number above 0")
      refused({ "mount.overlay", target = "/", lower = "/", temporary = true, size = size }, "field 'size': a number")
    end
    refused({ "mount.tmpfs", target = "/", size = 1.5 }, "field 'size'")
    for _, inodes in ipairs { 0, "0", "50%", "-1" } do
      refused({ "mount.tmpfs", target = "/", inodes = inodes }, "field 'inodes': a number above 0")
    end
    for _, size in ipairs { 1, "1", "64m", "64M", "8388607t", "7e", "50%", 1 << 40 } do
      core.validate { { "mount.tmpfs", target = "/", size = size, inodes = "4k" } }
    end
  end)
  it("are modes and numbers whose bits all count", function()
    refused({ "mount.tmpfs", target = "/", mode = "10755" }, "field 'mode': '10755' is not an octal mode")
    refused({ "mount.tmpfs", target = "/", mode = 755 }, "field 'mode': mode as a string")
    refused({ "mount.devpts", target = "/", ptmxmode = "20666" }, "field 'ptmxmode'")
    refused({ "exec.terminal", rows = 65536 }, "field 'rows': an integer from 0 to 65535 expected")
    refused({ "exec.terminal", columns = -1 }, "field 'columns': an integer")
    refused({ "exec.controlling", fd = 1 << 32 }, "field 'fd': an integer")
    refused({ "mount.bind", source = "/", target = "/b", options = { "noatime", "strictatime" } }, "contradicts")
    refused({ "mount.bind", source = "/", target = "/b", options = { "noatime", "relatime" } }, "contradicts")
    core.validate { { "mount.bind", source = "/", target = "/b", options = { "noatime", "noatime" } } }
    refused({ "mount.filesystem", target = "/", type = "x", data = { a = {} } }, "field 'data': strings, numbers")
  end)
end)

describe("plan.text", function()
  it("has the namespaces first, then a line a step", function()
    local c = compiled()
    local text = plan.text(c)
    assert.matches("^new namespaces: cgroup ipc mnt net pid user uts\n  1  exec.die_with_parent\n", text)
    local lines = select(2, text:gsub("\n", ""))
    assert.equal(#c.steps + 1, lines)
    assert.matches('\n *%d+  exec.exec args=true env=.*PATH="?/usr', text)
    assert.matches("\n *%d+  mount.tmpfs target=/ mode=0755\n", text)
  end)
  it("orders the fields of a step: source, target, path, then by name", function()
    assert.equal('mount.bind source=/a target="/b c" options=ro,nosuid recursive=true',
      plan.step_text { "mount.bind", recursive = true, target = "/b c", options = { "ro", "nosuid" }, source = "/a" })
    assert.equal("x a={} b={c=1 d={e=2}} f=1,2", plan.step_text { "x", f = { 1, 2 }, a = {},
      b = { d = { e = 2 }, c = 1 } })
  end)
  it("writes nested tables in order, and both kinds of entries", function()
    assert.equal("x data={a=1 b={}} list=1,2", plan.step_text { "x", list = { 1, 2 }, data = { b = {}, a = 1 } })
    assert.equal("x data={1=one named=2}", plan.step_text { "x", data = { "one", named = 2 } })
  end)
  it("shows nothing that a terminal obeys, and cuts long contents off", function()
    local text = plan.step_text { "mount.write", content = "\27[2J\n\r\0\127\255\"\\", target = "/x" }
    assert.equal([[mount.write target=/x content="\x1b[2J\n\x0d\x00\x7f\xff\"\\"]], text)
    text = plan.step_text { "mount.write", content = ("x"):rep(5000), target = "/x" }
    assert.is_true(#text < 120)
    assert.matches("%.%.%.$", text)
    assert.equal(5000 + #"mount.write content=", #plan.step_text({ "mount.write", content = ("x"):rep(5000) }, true))
  end)
  it("names handles, containers and connections by what they are", function()
    local null <close> = carton.exec.null()
    local pod = carton.container { name = "pod", rootfs = "/", args = { "x" }, namespaces = { user = "host" } }
    local text = plan.text(carton.container { rootfs = carton.rootfs.empty(), args = { "true" }, stdin = "fed",
      namespaces = { user = "host", net = pod, ipc = "/proc/1/ns/ipc" }, stdout = "capture", stderr = null }:compile())
    assert.matches('namespaces=/proc/1/ns/ipc,"net of pod"', text)
    assert.matches("fds=pipe,capture,<carton.descriptor>", text)
  end)
  it("is the same at each run", function()
    local fields = { env = {}, sysctl = {}, descriptors = {}, rlimits = { nofile = 1, core = 0, nproc = 7 } }
    for i = 1, 30 do
      fields.env["V" .. i], fields.descriptors["d" .. i] = "x", 0
      fields.sysctl["net.x" .. i] = i
    end
    local first = plan.text(compiled(fields))
    for _ = 1, 5 do
      assert.equal(first, plan.text(compiled(fields)))
    end
    local script = [[local c = require("carton"); io.write(c.plan.text(c.container{ rootfs = c.rootfs.host(),
      args = { "x" }, env = { A = "1", B = "2", C = "3", D = "4" }, rlimits = { nofile = 1, core = 0 } }:compile()))]]
    local a, b = helper.carton("-e", script), helper.carton("-e", script)
    assert.equal(0, a.code, a.stderr)
    assert.equal(a.stdout, b.stdout)
    assert.is_true(#a.stdout > 1000)
  end)
end)

describe("plan.json", function()
  it("is JSON, with the same steps", function()
    local cjson = require("cjson")
    local c = compiled { hostname = 'quote" \\ \n tab\t\1 \255 é', env = { A = "1" } }
    local text = plan.json(c)
    local data = cjson.decode(text)
    assert.same(c.namespaces, data.namespaces)
    assert.equal(#c.steps, #data.steps)
    for i, step in ipairs(c.steps) do
      assert.equal(step[1], data.steps[i].step)
    end
    local last = data.steps[#data.steps]
    assert.same({ "true" }, last.args)
    assert.equal("1", last.env.A)
    for _, step in ipairs(data.steps) do
      if step.step == "namespace.hostname" then
        assert.equal('quote" \\ \n tab\t\1 \u{FFFD} é', step.name)
      end
    end
    assert.equal(text, plan.json(compiled { hostname = 'quote" \\ \n tab\t\1 \255 é', env = { A = "1" } }))
  end)
  it("leaves the plan as it was", function()
    local c = compiled()
    local before = plan.text(c)
    plan.json(c)
    assert.equal(before, plan.text(c))
  end)
end)

describe("plan.diff", function()
  it("is empty for the same, and has a line for each difference", function()
    assert.equal("", plan.diff_text(compiled(), compiled()))
    local text = plan.diff_text(compiled { hostname = "one" }, compiled { hostname = "two", umask = "0077" })
    assert.equal("- namespace.hostname name=one\n+ namespace.hostname name=two\n"
      .. "- privilege.umask mask=0022\n+ privilege.umask mask=0077\n", text)
    text = plan.diff_text(compiled(), compiled { network = "host" })
    assert.matches("^%- namespaces cgroup ipc mnt net pid user uts\n%+ namespaces cgroup ipc mnt pid user uts\n"
      .. "%- namespace.network_up interface=lo\n", text)
  end)
  it("tells both plans, whole", function()
    local a, b = compiled { hostname = "one" }, compiled { hostname = "two", umask = "0077" }
    local counts = { ["="] = 0, ["-"] = 0, ["+"] = 0 }
    for _, entry in ipairs(plan.diff(a, b)) do
      counts[entry.op] = counts[entry.op] + 1
    end
    assert.equal(#a.steps + 1, counts["="] + counts["-"])
    assert.equal(#b.steps + 1, counts["="] + counts["+"])
  end)
  it("sees what is different far behind", function()
    local function with(last)
      return compiled { mounts = { { "mount.write", target = "/f", content = ("x"):rep(500) .. last } } }
    end
    assert.not_equal("", plan.diff_text(with "a", with "b"))
    assert.equal("", plan.diff_text(with "a", with "a"))
  end)
end)

describe("a plan", function()
  it("needs no privilege, no root file system, and does nothing", function()
    local before = helper.world()
    local c = compiled { rootfs = "/no/such/root", mounts = { "/no/such:/x" }, devices = { "/dev/none" },
      user = "nobody-here", on = { created = error, started = error, exited = error }, terminal = true }
    assert.matches("mount.bind source=/no/such/root target=/", plan.text(c))
    assert.matches("sync name=created", plan.text(c))
    assert.same(before, helper.world())
  end)
  it("is made by a process that may nothing at all", function()
    local result = helper.run({ helper.program, "-e", [[
      local carton = require("carton")
      carton.privilege.capabilities { bounding = carton.privilege.get().effective[1] and {} or nil, permitted = {},
        effective = {}, inheritable = {}, ambient = {} }
      carton.privilege.rlimits { limits = { nproc = 0 } }
      io.write(carton.plan.text(carton.container { rootfs = "/x", args = { "y" }, idmap = "single" }:compile()))]] })
    assert.equal(0, result.code, result.stderr)
    assert.matches("exec.exec args=y", result.stdout)
  end)
  it("takes no longer for a long chain of containers that join one another in several kinds", function()
    local last = carton.container { rootfs = "/", args = { "x" } }
    for _ = 1, 16 do
      last = carton.container { rootfs = "/", args = { "x" },
        namespaces = { ipc = last, net = last, pid = last, uts = last } }
    end
    debug.sethook(function() error("more than a million instructions") end, "", 1000000)
    local ok, result = pcall(last.compile, last)
    debug.sethook()
    assert.is_true(ok, tostring(result))
  end)
  it("is what is performed", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "true" }, stdin = "null", stdout = "null",
      stderr = "null" }
    local text = plan.text(c:compile())
    c:run()
    assert.equal(text:gsub("fds=[^\n]*", ""), plan.text(c.compiled):gsub("fds=[^\n]*", ""), nil)
  end)
end)

teardown(helper.cleanup)

describe("plan.diff of steps", function()
  local function made(...)
    local steps = {}
    for i, name in ipairs { ... } do
      steps[i] = { name }
    end
    return { namespaces = { "mnt" }, steps = steps }
  end
  it("finds what is missing, new and moved", function()
    assert.equal("- b\n+ d\n", plan.diff_text(made("a", "b", "c"), made("a", "c", "d")))
    assert.equal("", plan.diff_text(made("a"), made("a")))
    assert.equal("+ a\n", plan.diff_text(made(), made("a")))
    local other = made("a")
    other.namespaces = { "mnt", "net" }
    assert.equal("- namespaces mnt\n+ namespaces mnt net\n", plan.diff_text(made("a"), other))
  end)
  it("can be put together again", function()
    math.randomseed(7)
    for _ = 1, 50 do
      local a, b = {}, {}
      for i = 1, math.random(0, 12) do
        a[i] = string.char(96 + math.random(4))
      end
      for i = 1, math.random(0, 12) do
        b[i] = string.char(96 + math.random(4))
      end
      local left, right = {}, {}
      for _, entry in ipairs(plan.diff(made(table.unpack(a)), made(table.unpack(b)))) do
        if entry.op ~= "+" then
          left[#left + 1] = entry.text
        end
        if entry.op ~= "-" then
          right[#right + 1] = entry.text
        end
      end
      table.remove(left, 1)
      table.remove(right, 1)
      assert.same(a, left)
      assert.same(b, right)
    end
  end)
end)

describe("container:compile", function()
  it("refuses steps that can't be", function()
    for pattern, fields in pairs {
      ["no primitive 'nope'"] = { rootfs = { { "nope" } } },
      ["unknown field 'sorce'"] = { rootfs = { { "mount.bind", sorce = "/", target = "/" } } },
      ["string expected, got number"] = { args = { "x", 1 } },
      ["the first step makes the root.*mount.tmpfs on /x comes"] = {
        rootfs = { { "mount.tmpfs", target = "/x" }, { "mount.tmpfs", target = "/" } } },
      ["mount.symlink on /bin comes"] = { rootfs = { { "mount.symlink", path = "/bin", target = "usr/bin" } } },
      ["a step is a table, got string"] = { rootfs = { { "mount.tmpfs", target = "/" }, "x" } },
    } do
      fields.rootfs, fields.args = fields.rootfs or "/", fields.args or { "true" }
      local err = helper.raises(function()
        carton.container(fields):compile()
      end)
      assert.matches(pattern, tostring(err))
      assert.matches("plan_spec.lua:%d+: ", tostring(err))
    end
  end)
end)

teardown(helper.cleanup)
