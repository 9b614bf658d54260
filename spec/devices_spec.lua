-- SPDX-License-Identifier: MIT
-- Devices by cgroup: rules in words, the program and the exceptions that they become, and what a container with
-- MKNOD can really open. Those with the tag cgroup2 need a host with cgroup v2 (`make test-vm`).
local posix = require("posix")
local carton = require("carton")
local ebpf = require("carton.ebpf")
local helper = require("spec.helper")
local run = require("spec.ebpf")
local devices = carton.devices

local function rules(wish, nodes)
  return devices.parse(devices.text(wish, nodes))
end

--- What rules say, said in the plainest way: of each bit, the last that speaks of it.
local function says(list, kind, major, minor, bits)
  for _, bit in ipairs { 1, 2, 4 } do
    local allowed = false
    for _, rule in ipairs(list) do
      if rule.bits & bit ~= 0 and (rule.type == "a" or rule.type == kind) and (not rule.major or rule.major == major)
        and (not rule.minor or rule.minor == minor) then
        allowed = rule.allow
      end
    end
    if bits & bit ~= 0 and not allowed then
      return false
    end
  end
  return true
end

--- What cgroup v1 says with exceptions: Linux, security/device_cgroup.c.
local function v1_says(allow, map, kind, major, minor, bits)
  for key, letters in pairs(map) do
    local a, b, c = key:match("^(%l) (%S+):(%S+)$")
    local has = (letters:find("m") and 1 or 0) | (letters:find("r") and 2 or 0) | (letters:find("w") and 4 or 0)
    if a == kind and (b == "*" or tonumber(b) == major) and (c == "*" or tonumber(c) == minor) then
      if allow and has & bits ~= 0 then
        return false
      elseif not allow and bits & ~has == 0 then
        return true
      end
    end
  end
  return allow
end

local function each_access(call)
  for _, kind in ipairs { "b", "c" } do
    for major = 0, 3 do
      for minor = 0, 3 do
        for _, bits in ipairs { 1, 2, 4, 6 } do -- as the kernel asks: making a node is asked for alone
          call(kind, major, minor, bits)
        end
      end
    end
  end
end

--- Some rules, always the same for a number.
local function some_rules(seed)
  local function draw(n)
    seed = seed * 6364136223846793005 + 1442695040888963407
    return (seed >> 33) % n
  end
  local list = {}
  for i = 1, draw(7) do
    local kind = ({ "a", "b", "c", "c" })[draw(4) + 1]
    list[i] = { allow = draw(2) == 1, type = kind, access = ({ "r", "w", "m", "rw", "rwm", "rwm" })[draw(6) + 1],
      major = kind ~= "a" and draw(3) > 0 and draw(4) or nil, minor = kind ~= "a" and draw(2) > 0 and draw(4) or nil }
  end
  return list
end

describe("devices.text", function()
  it("has the default rules first, then nodes, then what is said", function()
    local text = devices.text({ { allow = true, type = "b", major = 7, access = "wr" }, "c 10:229 rw",
      { allow = false, type = "c", major = 1, minor = 7, access = "rw" }, { allow = false, access = "m" } },
      { "c 10:200 rw" })
    assert.matches("^deny a %*:%* rwm\nallow c %*:%* m\nallow b %*:%* m\nallow c 1:3 rwm\n", text)
    assert.matches("\nallow c 136:%* rwm\nallow c 10:200 rw\nallow b 7:%* rw\nallow c 10:229 rw\ndeny c 1:7 rw\n"
      .. "deny a %*:%* m$", text)
    assert.equal(devices.text("default"), devices.text {})
    assert.equal(text, devices.text(text and { { allow = true, type = "b", major = 7, minor = -1, access = "rw" },
      "c 10:229 rw", { allow = false, type = "c", major = 1.0, minor = 7, access = "wr" },
      { allow = false, access = "m" } },
      { "c 10:200 rw" }))
  end)
  it("refuses what is no rule, by number and name", function()
    for text, rule in pairs {
      ["rule 1: allow: true or false expected"] = { type = "c" },
      ["rule 1: unknown field 'majro' (did you mean 'major'?)"] = { allow = true, majro = 1 },
      ['rule 1: type: "a", "b" or "c" expected'] = { allow = true, type = "c\n" },
      ["rule 1: major: a whole number from 0 to 4095 expected"] = { allow = true, type = "c", major = -2 },
      ["rule 1: major: a whole number from 0 to 4095 expected,"] = { allow = true, type = "c", major = 4096 },
      ["rule 1: minor: a whole number from 0 to 1048575 expected"] = { allow = true, type = "c", minor = 1 << 62 },
      ["rule 1: minor: a whole number from 0"] = { allow = true, type = "c", minor = 1.5 },
      ["rule 1: minor: a whole number"] = { allow = true, type = "c", minor = 0 / 0 },
      ["rule 1: minor: a whole"] = { allow = true, type = "c", minor = "1" },
      ['rule 1: access: some of "rwm" expected'] = { allow = true, access = "rwx" },
      ["rule 1: access: some of"] = { allow = true, access = "" },
      ["rule 1: access: some"] = { allow = true, access = "r\n" },
      ["rule 1: access:"] = { allow = true, access = ("r"):rep(1 << 16) },
      ["rule 1: access"] = { allow = true, access = 7 },
      ['rule 1: type "a" has no numbers'] = { allow = true, major = 1 },
      ["rule 1: a text such as"] = "c 1:3 rwm\nb *:* rwm",
      ["rule 1: a text such"] = "c 1:3",
      ["rule 1: a text"] = "x 1:3 r",
      ["rule 1: major: a number or * expected"] = "c *1:3 r",
      ["rule 1: major: a whole"] = "c 4096:3 r",
      ["rule 1: minor: a number or"] = "c 1:99999999999999999999 r",
      ["rule 1: a table or a text"] = 5,
    } do
      assert.matches("limits: field 'devices': " .. text, helper.raises(devices.text, { rule }), 1, true)
    end
    for _, wish in ipairs { true, "all", 5 } do
      assert.matches('"default", false or a list', helper.raises(devices.text, wish))
    end
    assert.matches("a list of rules expected, got the key 'allow'", helper.raises(devices.text, { allow = true }))
    assert.matches("the key '3'", helper.raises(devices.text, { "c 1:3 r", [3] = "c 1:3 r" }))
    local many = {}
    for i = 1, 257 do
      many[i] = "c 1:3 r"
    end
    assert.matches("more than 256 rules", helper.raises(devices.text, many))
    for _, text in ipairs { "", "allow", "allow c 1:3 rwm\n", "grant c 1:3 r", "allow c 1:3 r\ndeny" } do
      assert.matches("field 'devices'", helper.raises(devices.parse, text))
    end
  end)
  it("knows the nodes that a container is given, wherever it is said", function()
    assert.same({ "c 10:229 rw", "b 7:3 rw", "c 10:200 rw" }, devices.nodes {
      rootfs = { { "mount.device", path = "/dev/fuse", type = "char", major = 10, minor = 229 },
        { "mount.device", path = "/dev/null" }, { "mount.tmpfs", target = "/x" } },
      mounts = { "/a:/b", { "mount.device", path = "/dev/l", type = "block", major = 7, minor = 3 } },
      devices = { { path = "/dev/tun", type = "char", major = 10, minor = 200 }, "/dev/zero", "/nonexistent", "/",
        { path = "/dev/fuse", type = "char", major = 10, minor = 229 } } })
    assert.same({}, devices.nodes { rootfs = "/" })
  end)
end)

describe("a program for devices", function()
  it("says what the rules say", function()
    for seed = 1, 300 do
      local list = rules(some_rules(seed))
      local program = ebpf.devices(list)
      assert.same({}, run.unreached(program), seed)
      each_access(function(...)
        assert.equal(says(list, ...), run.allows(program, ...), seed)
      end)
    end
  end)
  it("knows no more than the default rules, unless it is told", function()
    local program = ebpf.devices(rules "default")
    assert.is_true(run.allows(program, "c", 1, 3, 6))
    assert.is_true(run.allows(program, "c", 136, 1234, 6))
    assert.is_true(run.allows(program, "b", 8, 0, 1))
    for _, device in ipairs { { "b", 8, 0 }, { "c", 1, 1 }, { "b", 1, 3 }, { "c", 5, 1 }, { "c", 4095, 1048575 } } do
      for _, bits in ipairs { 2, 4, 6, 3, 7 } do
        assert.is_false(run.allows(program, device[1], device[2], device[3], bits))
      end
    end
    assert.is_true(run.allows(ebpf.devices(rules { { allow = true } }), "b", 8, 0, 7))
    assert.is_false(run.allows(ebpf.devices(rules { { allow = false } }), "c", 1, 3, 2))
    assert.is_true(run.allows(ebpf.devices(rules { { allow = false } }), "c", 1, 3, 0)) -- nothing is asked for
  end)
  it("can be read", function()
    assert.same({ "r2 = *(u32 *)(r1 + 0)", "w3 = w2", "w2 &= 65535", "w3 >>= 16", "r4 = *(u32 *)(r1 + 4)",
      "r5 = *(u32 *)(r1 + 8)", "if r2 != 2 goto 11", "if r4 != 1 goto 11", "if r5 != 7 goto 11", "w3 &= 4",
      "if r3 == 0 goto 14", "if r3 == 0 goto 14", "r0 = 0", "exit", "r0 = 1", "exit" },
      ebpf.text(ebpf.devices(rules { { allow = false },
        { allow = true, type = "c", major = 1, minor = 7, access = "rm" } })))
    assert.same({ "if r3 & 2 goto 9", "r0 = 1", "exit", "r0 = 0", "exit" }, table.move(ebpf.text(ebpf.devices(rules {
      { allow = true }, { allow = false, type = "a", access = "r" } })), 7, 11, 1, {}))
  end)
end)

describe("exceptions for cgroup v1", function()
  it("say what the rules say, or nothing", function()
    local said, refused = 0, 0
    for seed = 1, 600 do
      local wish = some_rules(seed)
      table.insert(wish, 1, { allow = seed % 2 == 0 })
      local list = rules(wish)
      local ok, allow, map = pcall(devices.exceptions, list)
      if ok then
        said = said + 1
        each_access(function(...)
          assert.equal(says(list, ...), v1_says(allow, map, ...), seed)
        end)
      else
        refused = refused + 1
        assert.equal("EOPNOTSUPP", allow.code, tostring(allow))
      end
    end
    assert.is_true(said > 200 and refused > 50, said .. " and " .. refused)
  end)
  it("are refused where one would be an exception from another, by name", function()
    local err = helper.raises(devices.exceptions,
      rules { "c 10:* rw", { allow = false, type = "c", major = 10, minor = 5, access = "w" } })
    assert.matches("cgroup v1 can't say c 10:%* rw without c 10:5", tostring(err))
  end)
end)

local MADE <const> =
  "cd /mnt && mknod null c 1 3 && mknod full c 1 7 && mknod disk b 7 1 && mknod loop b 7 0 || exit 9; "

--- Run a script in a container that may make nodes, in a place where they can be opened.
local function container(script, fields)
  local all = { rootfs = helper.rootfs(true), args = { "sh", "-c", MADE .. script }, stdin = "null", stdout = "capture",
    stderr = "capture", timeout = 60, name = "spec", capabilities = { add = { "MKNOD" } } }
  posix.mkdir(all.rootfs .. "/mnt")
  all.mounts = { { type = "tmpfs", target = "/mnt" } }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all)
end

local function output(script, fields)
  local c <close> = container(script, fields)
  local status = c:run()
  return status.stdout .. status.stderr, status
end

--- Tells of each node whether it may be opened; there may be no such device.
local TRY <const> = [[for f in null full disk loop; do
  e=$( (: < /mnt/$f) 2>&1 ); case $e in *"not permitted"*) echo $f no;; *) echo $f yes;; esac; done]]

local function groups()
  return helper.run({ "find", "/sys/fs/cgroup", "-name", "carton-*" }).stdout
end

--- What a further program in it can open.
local function tried(c)
  local inside <close> = c:exec { args = { "sh", "-c", TRY }, stdout = "capture" }
  return inside:wait().stdout
end

local function wait_made(c)
  assert.is_true(helper.eventually(function()
    local inside <close> = c:exec { args = { "test", "-e", "/mnt/loop" } }
    return inside:wait().code == 0
  end))
end

describe("devices #cgroup", function()
  it("can be made and not opened, without a word said of them", function()
    local before = helper.world()
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", output(TRY))
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", output(TRY, { limits = { pids = 20 } }))
    assert.equal("", groups())
    assert.same(before, helper.world())
  end)
  it("are free where that is said, which makes no group by itself", function()
    local said, status = output(TRY, { limits = { devices = false } })
    assert.matches("disk yes\n", said)
    assert.is_nil(status.stats)
    assert.matches("disk yes\n", (output(TRY, { limits = { devices = false, pids = 20 } })))
    assert.matches("disk yes\n", (output(TRY, { limits = { devices = { { allow = true } } } })))
  end)
  it("are those that are asked for", function()
    assert.matches("disk yes\nloop no", (output(TRY, { devices = { { path = "/dev/disk", type = "block", major = 7,
      minor = 1 } } })))
    assert.matches("disk yes\nloop no", (output(TRY, { limits = { devices = { "b 7:1 r" } } })))
    assert.equal("no\nyes\n", (output("(: <> full) 2> err && echo both || echo no; (: < full) && echo yes",
      { limits = { devices = { { allow = false }, { allow = true, access = "m" }, "c 1:7 r" } } })))
    assert.equal("null no\nfull yes\ndisk no\nloop no\n", (output(TRY, { limits = { devices = { { allow = false },
      { allow = true, access = "m" }, "c 1:7 rw" } } })))
    assert.matches("null yes\nfull no\ndisk no", (output(TRY, { limits = { devices = { { allow = false, type = "c",
      major = 1, minor = 7, access = "rw" } } } })))
  end)
  it("can't be made where that is denied", function()
    local said, status = output("echo made", { limits = { devices = { { allow = false, access = "m" } } } })
    assert.equal(9, status.code)
    assert.matches("null: Operation not permitted", said)
  end)
  it("change while it runs, all or nothing", function()
    local c <close> = container("echo made; exec sleep 60", { limits = { pids = 20 } })
    c:start()
    wait_made(c)
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", tried(c))
    c:update { devices = { "b 7:1 r", { allow = false, type = "c", major = 1, minor = 7, access = "rw" } } }
    assert.equal("null yes\nfull no\ndisk yes\nloop no\n", tried(c))
    helper.raises(c.update, c, { devices = "default" }, { ["pids.max"] = "banana" })
    assert.equal("null yes\nfull no\ndisk yes\nloop no\n", tried(c))
    c:update { pids = 21 }
    assert.equal("null yes\nfull no\ndisk yes\nloop no\n", tried(c))
    c:update { devices = false }
    assert.matches("full yes\ndisk yes\n", tried(c))
    c:update { devices = { { allow = true }, { allow = false, type = "c", major = 1, access = "r" } } }
    assert.matches("null no\nfull no\ndisk yes\n", tried(c))
    c:update { devices = { { allow = true }, { allow = false, type = "c", major = 1, minor = 7, access = "rw" } } }
    assert.matches("null yes\nfull no\ndisk yes\n", tried(c))
    c:update { devices = "default" }
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", tried(c))
    assert.matches("'devices'", helper.raises(c.update, c, { devices = { { allow = 1 } } }))
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", tried(c))
  end)
  it("are not for a further program that may make nodes, where nothing controls them", function()
    local function further(fields)
      local c <close> = container("exec sleep 60", fields)
      c.fields.args, c.fields.capabilities = { "sleep", "60" }, nil
      c:start()
      local inside <close> = c:exec { args = { "sh", "-c", MADE .. TRY }, capabilities = { add = { "MKNOD" } },
        stdout = "capture" }
      return inside:wait().stdout
    end
    helper.raises_code("EPERM", further)
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", further { limits = { pids = 20 } })
    assert.matches("disk yes\n", further { limits = { devices = false } })
  end)
  it("and all limits are those of a further program's further programs", function()
    local c <close> = container("exec sleep 60", { limits = { pids = 20 } })
    c:start()
    local inside <close> = c:exec { args = { "sleep", "60" } }
    local third <close> = inside:exec { args = { "sleep", "60" } }
    assert.equal(helper.read(("/proc/%d/cgroup"):format(c:pid())),
      helper.read(("/proc/%d/cgroup"):format(third:pid())))
  end)
  it("are options of carton run", function()
    local root = helper.rootfs(true)
    local function code(...)
      local args = { "run", "--cap-add", "MKNOD", "-v", helper.tmpdir() .. ":/mnt:dev", ... }
      for _, word in ipairs { root, "sh", "-c",
        "mknod /mnt/disk b 7 1; case $( (: < /mnt/disk) 2>&1 ) in *'not permitted'*) exit 1;; esac" } do
        args[#args + 1] = word
      end
      return helper.carton(table.unpack(args)).code
    end
    assert.not_equal(0, code())
    assert.equal(0, code("--device-rule", "b 7:1 r"))
    assert.equal(125, code("--device-rule", "b 7:1"))
  end)
  it("are shown by carton plan", function()
    local c = container("true")
    local text = carton.plan.text(c:compile())
    assert.matches("\ndevices: deny a %*:%* rwm\ndevices: allow c %*:%* m\n", text)
    assert.matches("\n 10: if r4 != 5 goto %d+\n", carton.plan.instructions(c:compile()))
    assert.equal("", carton.plan.instructions(container("true", { capabilities = "none" }):compile()))
    assert.equal("+ devices allow b 7:* rwm\n", (carton.plan.diff_text(c:compile(),
      container("true", { limits = { devices = { "b 7:* rwm" } } }):compile()):gsub("[^\n]*rootfs[^\n]*\n", "")
      :gsub("[^\n]*mount.bind[^\n]*\n", "")))
  end)
end)

describe("devices with cgroup v1 #root", function()
  it("are not said where it has no words, and nothing is left", function()
    if carton.cgroup.layout().version == 2 then
      return pending("this host has cgroup v2")
    end
    local wish = { devices = { "c 10:* rw", { allow = false, type = "c", major = 10, minor = 5 } } }
    assert.equal("EOPNOTSUPP", helper.raises(output, "true", { limits = wish }).code)
    local c <close> = container("exec sleep 60", { limits = { pids = 20 } })
    c:start()
    wait_made(c)
    assert.equal("EOPNOTSUPP", helper.raises(c.update, c, wish).code)
    assert.equal("null yes\nfull yes\ndisk no\nloop no\n", tried(c))
    c:close()
    assert.equal("", groups())
  end)
  it("are no more than the group above has", function()
    local layout = carton.cgroup.layout()
    if layout.version == 2 then
      return pending("this host has cgroup v2")
    end
    local top <close> = carton.cgroup.open_directory(layout.controllers.devices)
    local above <close> = top:create("carton-test-devices-" .. posix.getpid("pid"))
    above:write("devices.deny", "c 1:7 rw")
    local below <close> = above:create("below")
    local group = { version = 1, dirs = { devices = below } }
    local less = devices.text { { allow = false, type = "c", major = 1, minor = 7, access = "rw" } }
    devices.set(group, less)
    local function list()
      local lines = {}
      for line in below:read("devices.list"):gmatch("[^\n]+") do
        lines[#lines + 1] = line
      end
      table.sort(lines)
      return table.concat(lines, "\n")
    end
    local before = list()
    local err = helper.raises(devices.set, group, devices.text { "b 7:1 r", "b 7:2 r", "b 7:3 r", "b 7:4 r" })
    devices.set(group, less) -- as an update does
    local after = list()
    below:remove()
    above:remove()
    assert.equal(before, after)
    assert.equal("EPERM", err.code)
    assert.matches("c 1:7 rw", tostring(err), 1, true)
    assert.matches("the group above has to allow it", tostring(err), 1, true)
  end)
end)

--- How many programs the kernel holds.
local function programs()
  local script = [[my ($n, $id) = (0, 0);
    while (1) { my $attr = pack("L6", $id, 0, 0, 0, 0, 0); last if syscall(321, 11, $attr, 24) != 0;
      $id = (unpack("L2", $attr))[1]; $n++ } print $n]]
  return helper.run({ "perl", "-e", script }).stdout
end

describe("devices with cgroup v2 #cgroup2", function()
  it("leave no program behind, also after errors and a launcher that was killed", function()
    local before = programs()
    assert.matches("^%d+$", before)
    do
      local c <close> = container("exec sleep 60")
      c:start()
      assert.equal(tonumber(before) + 1, tonumber(programs()))
      c:update { devices = { "b 7:1 r" } }
      assert.equal(tonumber(before) + 1, tonumber(programs()))
      helper.raises(c.update, c, { devices = "default" }, { ["pids.max"] = "banana" })
      assert.equal(tonumber(before) + 1, tonumber(programs()))
    end
    helper.raises(output, "true", { cwd = "/nonexistent" })
    helper.raises(output, "true", { cgroup = { ["pids.max"] = "banana" } })
    assert.is_true(helper.eventually(function() return programs() == before end))
    helper.run { helper.program, "-e", [[local carton = require "carton"
      carton.container { rootfs = carton.rootfs.host(), args = { "sleep", "60" }, limits = { pids = 9 } }:start()
      require("posix").kill(require("posix").getpid("pid"), 9)]] }
    assert.is_true(helper.eventually(function()
      helper.carton("-e", "require('carton').cgroup.create { files = {} }:close()")
      return programs() == before
    end))
  end)
  it("are decided on by the groups above, too", function()
    local outer <close> = carton.cgroup.create { files = { { file = "devices", value = devices.text {
      { allow = false, type = "c", major = 1, minor = 7, access = "rw" } } } } }
    local inner = { version = 2, unified = outer.unified:create("inner") }
    devices.set(inner, devices.all)
    local process <close> = carton.exec.spawn { cgroup = inner.unified, steps = { { "exec.exec",
      args = { "sh", "-c",
        "exec 2> /dev/null; (: < /dev/null) && ! (: < /dev/full)" }, env = { PATH = os.getenv("PATH") } } } }
    assert.equal(0, process:wait().code)
    inner.program:close()
    inner.unified:close()
  end)
  it("are told of what the kernel does not take, in its words", function()
    local err = helper.raises_code("EINVAL", carton.cgroup.load_devices, ("\0"):rep(16))
    assert.matches(": last insn is not an exit or jmp$", tostring(err))
    err = helper.raises(carton.cgroup.load_devices, ebpf.assemble { { "goto o", o = 1 }, { "exit" }, { "exit" } })
    assert.matches("insn 1", tostring(err))
    assert.matches("whole instructions", helper.raises(carton.cgroup.load_devices, "123"))
    assert.matches("whole instructions", helper.raises(carton.cgroup.load_devices, ""))
    local group <close> = carton.cgroup.create { files = {} }
    local program <close> = carton.cgroup.load_devices(ebpf.devices(rules "default"))
    helper.raises_code("ENOENT", carton.cgroup.attach_devices, group.unified, program, program)
    helper.raises_code("EINVAL", carton.cgroup.attach_devices, group.unified, carton.exec.null())
    program:close()
    assert.matches("closed descriptor", helper.raises(carton.cgroup.attach_devices, group.unified, program))
  end)
end)

teardown(helper.cleanup)
