-- SPDX-License-Identifier: MIT
-- Profiles of other engines' kind, what explain says, and the command that says it.
local carton = require("carton")
local helper = require("spec.helper")
local bpf = require("carton.seccomp.bpf")
local oci = require("carton.seccomp.oci")
local seccomp = carton.seccomp

local AUDIT <const> = { x86_64 = 0xC000003E, i386 = 0x40000003, aarch64 = 0xC00000B7, arm = 0x40000028 }

--- What a profile answers on x86_64, by the compiled program.
local function answer(wish, call, args, capabilities, arch)
  local answered = seccomp.explain(wish, call, args, { arch = arch or "x86_64", capabilities = capabilities or {} })
  return answered.action
end

describe("an OCI profile", function()
  local profile = {
    defaultAction = "SCMP_ACT_ERRNO", defaultErrnoRet = 13, -- EACCES
    archMap = {
      { architecture = "SCMP_ARCH_X86_64", subArchitectures = { "SCMP_ARCH_X86", "SCMP_ARCH_X32" } },
      { architecture = "SCMP_ARCH_AARCH64", subArchitectures = { "SCMP_ARCH_ARM" } },
    },
    syscalls = {
      { names = { "read", "write", "of_a_newer_kernel" }, action = "SCMP_ACT_ALLOW" },
      { names = { "ioctl" }, action = "SCMP_ACT_ALLOW" },
      { names = { "ioctl" }, action = "SCMP_ACT_ERRNO", errnoRet = 1, args = {
        { index = 1, value = 0x5412, op = "SCMP_CMP_EQ" } } }, -- which has no effect
      { names = { "clone" }, action = "SCMP_ACT_ALLOW", args = {
        { index = 0, value = 0x7e020000, valueTwo = 0, op = "SCMP_CMP_MASKED_EQ" } },
        excludes = { caps = { "CAP_SYS_ADMIN" }, arches = { "s390x" } } },
      { names = { "mount", "clone" }, action = "SCMP_ACT_ALLOW", includes = { caps = { "CAP_SYS_ADMIN" } } },
      { names = { "personality" }, action = "SCMP_ACT_ALLOW", args = {
        { index = 0, value = 0, op = "SCMP_CMP_EQ" }, { index = 0, value = 0xffffffff, op = "SCMP_CMP_EQ" } } },
      { names = { "ptrace" }, action = "SCMP_ACT_ALLOW", includes = { minKernel = "4.8" } },
      { names = { "acct" }, action = "SCMP_ACT_ALLOW", includes = { minKernel = "99.0" } },
      { names = { "bpf" }, action = "SCMP_ACT_ALLOW", includes = { arches = { "arm64" } } },
      { names = { "chroot" }, action = "SCMP_ACT_KILL_PROCESS" },
      { name = "sync", action = "SCMP_ACT_LOG", comment = "of an older kind" },
    },
  }
  it("says what its rules say", function()
    for _, case in ipairs {
      { "allow", "read" }, { "errno EACCES", "open" }, { "errno EACCES", "mount" },
      { "allow", "mount", {}, { "SYS_ADMIN" } },
      { "allow", "clone", { 0x11 } }, { "errno EACCES", "clone", { 0x10000011 } },
      { "allow", "clone", { 0x10000011 }, { "SYS_ADMIN" } }, { "allow", "personality", { 0 } },
      { "allow", "personality", { 0xffffffff } }, { "errno EACCES", "personality", { 8 } }, { "allow", "ptrace" },
      { "errno EACCES", "acct" }, { "kill", "chroot" }, { "log", "sync" },
      { "errno ENOSYS", 450 }, { "errno ENOSYS", "bpf" }, -- newer than all that it names for this architecture
    } do
      assert.equal(case[1], answer(profile, case[2], case[3], case[4]), tostring(case[2]))
    end
    assert.equal("allow", answer(profile, "bpf", {}, {}, "aarch64"))
    assert.equal("allow", answer(profile, "read", {}, {}, "i386"))
  end)
  local function oci_of(default, ...)
    return { defaultAction = default, architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86" }, syscalls = { ... } }
  end
  local function rule_of(name, action, ...)
    return { names = { name }, action = "SCMP_ACT_" .. action, args = { ... } }
  end
  local function test_of(op, value, second, index)
    return { index = index or 0, op = "SCMP_CMP_" .. op, value = value, valueTwo = second }
  end
  it("has an unconditional rule win over those with arguments, wherever it stands", function()
    local open, narrow = rule_of("ioctl", "ALLOW"), rule_of("ioctl", "ERRNO", test_of("EQ", 5))
    assert.equal("allow", answer(oci_of("SCMP_ACT_KILL", open, narrow), "ioctl", { 5 }))
    assert.equal("allow", answer(oci_of("SCMP_ACT_KILL", narrow, open), "ioctl", { 5 }))
    open, narrow = rule_of("ioctl", "ERRNO"), rule_of("ioctl", "ALLOW", test_of("EQ", 5))
    assert.equal("errno EPERM", answer(oci_of("SCMP_ACT_KILL", open, narrow), "ioctl", { 5 }))
    assert.equal("errno EPERM", answer(oci_of("SCMP_ACT_KILL", narrow, open), "ioctl", { 5 }))
    -- runc leaves out what says the same as the default
    assert.equal("allow", answer(oci_of("SCMP_ACT_ERRNO", open, narrow), "ioctl", { 5 }))
    assert.equal("errno EPERM", answer(oci_of("SCMP_ACT_ERRNO", open, narrow), "ioctl", { 6 }))
    assert.equal("errno EPERM", answer(oci_of("SCMP_ACT_KILL", open, rule_of("ioctl", "TRAP")), "ioctl"))
  end)
  it("has the strictest of overlapping rules decide", function()
    local wish = oci_of("SCMP_ACT_LOG", rule_of("ioctl", "ALLOW", test_of("GE", 5)), rule_of("ioctl", "ERRNO",
      test_of("GE", 6)), rule_of("ioctl", "KILL_PROCESS", test_of("GE", 7)))
    for value, action in pairs { [4] = "log", [5] = "allow", [6] = "errno EPERM", [7] = "kill" } do
      assert.equal(action, answer(wish, "ioctl", { value }))
    end
  end)
  it("ignores bits of valueTwo that are not in the mask", function()
    local wish = oci_of("SCMP_ACT_ALLOW", rule_of("ioctl", "ERRNO", test_of("MASKED_EQ", 0xff, 0x105)))
    assert.equal("errno EPERM", answer(wish, "ioctl", { 5 }))
    assert.equal("allow", answer(wish, "ioctl", { 6 }))
    wish = oci_of("SCMP_ACT_ALLOW", rule_of("ioctl", "ERRNO", test_of("MASKED_EQ", 0, 5)))
    assert.equal("errno EPERM", answer(wish, "ioctl", { 6 }))
    wish = oci_of("SCMP_ACT_ALLOW", rule_of("ioctl", "ERRNO", test_of("MASKED_EQ", 0, 5), test_of("EQ", 5)))
    assert.equal("errno EPERM", answer(wish, "ioctl", { 6 })) -- two tests of one argument are two rules
  end)
  it("closes the ways past a rule that 32-bit programs have", function()
    local wish = oci_of("SCMP_ACT_ALLOW", rule_of("socket", "ERRNO", test_of("EQ", 38)), rule_of("semop", "ERRNO"))
    assert.equal("errno EPERM", answer(wish, "socketcall", { 1 }, {}, "i386"))
    assert.equal("allow", answer(wish, "socketcall", { 2 }, {}, "i386"))
    assert.equal("errno EPERM", answer(wish, "ipc", { 0x10001 }, {}, "i386"))
    wish = oci_of("SCMP_ACT_ERRNO", rule_of("socket", "ALLOW", test_of("EQ", 1)), rule_of("connect", "ALLOW"),
      rule_of("writev", "ALLOW"))
    assert.equal("errno EPERM", answer(wish, "socketcall", { 1 }, {}, "i386"))
    assert.equal("allow", answer(wish, "socketcall", { 3 }, {}, "i386"))
  end)
  it("has a rule left out on the architectures that it excludes", function()
    for machine, expected in pairs { amd64 = "allow", arm64 = "errno EPERM" } do
      local rule = rule_of("bpf", "ERRNO")
      rule.excludes = { arches = { machine } }
      assert.equal(expected, answer(oci_of("SCMP_ACT_ALLOW", rule), "bpf"))
    end
  end)
  it("has integers of 64 bits, to the last", function()
    local path = helper.tmpdir() .. "/p.json"
    local function wish(op, value, second)
      return helper.write(path, ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat"], "action": '
        .. '"SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "SCMP_CMP_%s", "value": %s, "valueTwo": %s}]}]}'):format(op,
        value, second))
    end
    wish("MASKED_EQ", "18446744073709551608", "0") -- ~7
    assert.equal("errno EPERM", answer(path, "openat", { 7 }))
    assert.equal("allow", answer(path, "openat", { 8 }))
    wish("EQ", "18446744073709551516", "0") -- AT_FDCWD
    assert.equal("errno EPERM", answer(path, "openat", { -100 }))
    assert.equal("allow", answer(path, "openat", { -1 }))
    wish("EQ", "9007199254740993", "0")
    assert.equal("errno EPERM", answer(path, "openat", { (1 << 53) + 1 }))
    assert.equal("allow", answer(path, "openat", { 1 << 53 }))
    for bad, why in pairs { ["18446744073709551616"] = "does not fit into 64 bits",
      ["-1"] = "a whole number from 0 expected",
      ["1e30"] = "was rounded", ["1.5"] = "a whole number", ['"x"'] = "a whole number",
      ["0x7"] = "is not a JSON object" } do
      assert.matches(why, tostring(helper.raises(seccomp.compile, wish("EQ", bad, "0"))))
    end
  end)
  it("without rules is its default", function()
    for _, list in ipairs { {}, { syscalls = {} } } do
      local wish = { defaultAction = "SCMP_ACT_ERRNO", defaultErrnoRet = 13, syscalls = list.syscalls }
      assert.equal("errno EACCES", answer(wish, "read"))
      assert.equal("errno EACCES", answer(wish, 1000))
    end
  end)
  it("takes the flags that runc takes", function()
    local loaded = seccomp.load { defaultAction = "SCMP_ACT_ALLOW", flags = { "SECCOMP_FILTER_FLAG_LOG",
      "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW" } }
    assert.same({ "log", "spec_allow" }, loaded.flags)
  end)
  it("is checked for names that no kernel has", function()
    local found = seccomp.check(profile)
    assert.matches("rule %d+: there is no system call 'of_a_newer_kernel'", found[1])
    assert.matches("rule %d+: ioctl is decided by rule %d+", found[2])
  end)
  it("is refused where it says what is not understood", function()
    local function refused(pattern, change)
      local copy = {}
      for key, value in pairs(profile) do
        copy[key] = value
      end
      for key, value in pairs(change) do
        copy[key] = value
      end
      assert.matches(pattern, tostring(helper.raises(oci.convert, copy, "x86_64")))
    end
    refused("defaultAction: unknown action 'X'", { defaultAction = "X" })
    refused("listenerPath and listenerMetadata are not supported", { listenerPath = "/run/x" })
    refused("unknown flag 'F'", { flags = { "F" } })
    refused("unknown operator 'GT'", { syscalls = { { names = { "read" }, action = "SCMP_ACT_ALLOW",
      args = { { index = 0, value = 0, op = "GT" } } } } })
    refused("a whole number from 0 expected", { syscalls = { { names = { "read" }, action = "SCMP_ACT_ALLOW",
      args = { { index = 0, value = 1.5, op = "SCMP_CMP_EQ" } } } } })
    for _, value in ipairs { 2.0 ^ 60, 2.0 ^ 64, 2.0 ^ 53 } do
      refused("was rounded", { syscalls = { { names = { "read" }, action = "SCMP_ACT_ALLOW",
        args = { { index = 0, value = value, op = "SCMP_CMP_EQ" } } } } })
    end
    refused("unknown field 'Syscalls'", { Syscalls = {} })
    refused("architectures: unknown architecture 'SCMP_ARCH_X8664'", { architectures = { "SCMP_ARCH_X8664" } })
    refused("subArchitectures: unknown architecture 'x'", { archMap = { { architecture = "SCMP_ARCH_AARCH64",
      subArchitectures = { "x" } } } })
    refused("syscalls: a list expected, got number", { syscalls = 5 })
    local function rule(change)
      local entry = { names = { "read" }, action = "SCMP_ACT_ALLOW" }
      for key, value in pairs(change) do
        entry[key] = value
      end
      return { syscalls = { entry } }
    end
    local null = require("cjson").null
    refused("syscalls: a list expected, got the key 'names'", { syscalls = { names = { "read" } } })
    refused("syscalls%[0%]: an object expected, got string", { syscalls = { "read" } })
    refused("syscalls%[1%]: an object expected, got userdata", { syscalls = { { names = { "read" },
      action = "SCMP_ACT_ALLOW" }, null } })
    refused("archMap: an object expected, got number", { archMap = { 5 } })
    refused("syscalls%[0%]: unknown field 'arg'", rule { arg = {} })
    refused("includes: an object expected, got number", rule { includes = 5 })
    refused("excludes: unknown architecture 'amd46'", rule { excludes = { arches = { "amd46" } } })
    refused("comment: a string expected, got number", rule { comment = 5 })
    refused("excludes: unknown field 'cap'", rule { excludes = { cap = { "CAP_SYS_ADMIN" } } })
    refused("args: an object expected, got boolean", rule { args = { true } })
    refused("a list expected, got the key 'op'", rule { args = { op = "SCMP_CMP_EQ" } })
    refused("args: unknown field 'mask'", rule { args = { { index = 0, value = 0, op = "SCMP_CMP_EQ", mask = 1 } } })
    assert.matches("profile: an object expected", helper.raises(oci.convert, "x", "x86_64"))
  end)
  it("asks only where somebody answers", function()
    local asking = { defaultAction = "SCMP_ACT_ALLOW", syscalls = {
      { names = { "read" }, action = "SCMP_ACT_NOTIFY" } } }
    assert.matches("rule 1: notify: somebody has to answer", tostring(helper.raises(seccomp.compile, asking)))
  end)
  it("ends what enters by an architecture that it leaves out", function()
    local program = seccomp.compile({ defaultAction = "SCMP_ACT_ALLOW", architectures = { "SCMP_ARCH_X86_64" } }, {},
      "x86_64")
    assert.equal("allow", bpf.action_text((bpf.run(program, { number = 1, arch = AUDIT.x86_64 }))))
    for _, arch in ipairs { "i386", "aarch64", "arm" } do
      assert.equal("kill", bpf.action_text((bpf.run(program, { number = 1, arch = AUDIT[arch] }))))
    end
  end)
end)

describe("a profile of the project's own", function()
  it("is refused by name where it is none: nothing in it is passed over", function()
    local function refused(pattern, rule, more)
      local data = { default = "allow", rules = { { names = { "read" }, action = "errno" } } }
      for key, value in pairs(rule) do
        data.rules[1][key] = value
      end
      for key, value in pairs(more or {}) do
        data[key] = value
      end
      assert.matches(pattern, helper.raises(seccomp.compile, data, {}, "x86_64"))
    end
    refused("rules: a list expected, got the key 'names'", {}, { rules = { names = { "read" } } })
    refused("rules: a list of tables expected, got number", {}, { rules = { 5 } })
    refused("architectures: a list expected, got number", {}, { architectures = 5 })
    refused("flags: a list expected, got string", {}, { flags = "log" })
    refused("rule 1: caps: a list expected, got number", { caps = 5 })
    refused("rule 1: without: a list expected, got string", { without = "SYS_ADMIN" })
    refused("rule 1: args: a list expected, got the key 'index'", { args = { index = 0 } })
    refused("rule 1: names: a list of strings expected, got number", { names = { 5 } })
    refused("rule 1: why: a string expected, got table", { why = {} })
    refused("rule 1, argument test 1: value 0x105 has bits outside of the mask 0xff", { args = {
      { index = 0, value = 0x105, mask = 0xff } } })
    refused("'new' is not a kernel's version", { min_kernel = "new" })
    local values = {}
    for i = 1, 64 do
      values[i] = i
    end
    local args = {}
    for i = 0, 5 do
      args[i + 1] = { index = i, value = values }
    end
    refused("rule 1: its arguments' values are more than a program has instructions", { args = args })
  end)
end)

describe("seccomp.compile", function()
  it("compiles the same content once", function()
    local function wish()
      return { default = "allow", rules = { { names = { "read" }, action = "errno" } } }
    end
    local compile, count = require("carton.seccomp.profile").compile, 0
    require("carton.seccomp.profile").compile = function(...)
      count = count + 1
      return compile(...)
    end
    local first = seccomp.compile(wish(), { "SYS_ADMIN" }, "x86_64")
    assert.is_true(first == seccomp.compile(wish(), {}, "x86_64"))
    local other = wish()
    other.rules[1].names[1] = "write"
    assert.is_false(first == seccomp.compile(other, {}, "x86_64"))
    require("carton.seccomp.profile").compile = compile
    assert.equal(2, count)
  end)
  it("loads no table for the default profile", function()
    local result = helper.carton("-e", [[
      local carton = require "carton"
      carton.container { rootfs = "/", args = { "true" } }:compile()
      for name in pairs(package.loaded) do
        if name:find("^carton.seccomp.") and name ~= "carton.seccomp.ready" then -- which has what was compiled ahead
          print(name)
        end
      end]])
    assert.equal("", result.stdout .. result.stderr)
  end)
end)

describe("carton seccomp", function()
  local function command(...)
    return helper.carton("seccomp", ...)
  end
  local function says(pattern, ...)
    local result = command(...)
    assert.equal("", result.stderr)
    assert.matches(pattern, result.stdout)
    return result
  end
  it("explains", function()
    says("^mount %(165, x86_64%): errno EPERM\n  rule %d+: mounting", "explain", "mount", "--arch", "x86_64")
    says("^mount %(40, aarch64%): allow\n", "explain", "--arch=aarch64", "--cap-add", "SYS_ADMIN", "mount")
    says("^unshare.*: errno EPERM\n", "explain", "unshare", "CLONE_NEWUSER")
    says("^unshare.*: allow\n", "explain", "--nestable", "unshare", "CLONE_NEWUSER")
    says("argument 1 & 0xffffffff == 0x5412: errno EPERM.*otherwise: allow", "explain", "ioctl", "0", "TIOCGWINSZ")
    says("^personality.*: allow\n", "explain", "personality", "-1")
    says("^clone.*: errno EPERM\n", "explain", "clone", "CLONE_NEWNS|0x11")
    says("^no system call %(999,", "explain", "999")
    says("^no system call %(4294967295,", "explain", "0xffffffff")
    says("^personality.*: allow\n", "explain", "personality", "18446744073709551615")
    says("^personality.*: allow\n", "explain", "--arch", "i386", "personality", "-1")
    local json = require("cjson").decode(says("^{", "explain", "--json", "socket", "AF_VSOCK").stdout)
    assert.equal("errno EAFNOSUPPORT", json.action)
    assert.equal("socket", json.name)
    assert.equal(3, #json.depends)
  end)
  it("writes nothing that a terminal obeys, whatever is in a profile", function()
    local dir = helper.tmpdir()
    local lua = helper.write(dir .. "/a\27[31m.lua", "return { default = 'allow', rules = { "
      .. "{ names = { 'read', 'x\\27[2J' }, action = 'allow', why = 'a\\27[2J\\nread: deny\\xc2\\x9b2J' } } }")
    local json = helper.write(dir .. "/b.json", '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], '
      .. '"action": "SCMP_ACT_ERRNO", "comment": "\\u001b[2J\\u0007"}]}')
    local broken = helper.write(dir .. "/c.json", '{"defaultAction": "\\u001b[2J"}')
    for _, args in ipairs { { "explain", "--profile", lua, "read" }, { "explain", "--profile", json, "read" },
      { "explain", "--profile", json, "--json", "read" }, { "check", lua }, { "check", broken },
      { "show", "--profile", lua }, { "explain", "--profile", broken, "read" } } do
      local result = command(table.unpack(args))
      local text = result.stdout .. result.stderr
      assert.is_nil(text:find("[^\n\32-\126]"), text)
      assert.is_nil(text:find("\nread: deny", 1, true))
      assert.matches("1b%[", text)
    end
  end)
  it("shows", function()
    says("^# default: %d+ instructions, %x+\n   0  load architecture\n   1  if == 0xc000003e", "show", "--arch",
      "x86_64")
    local raw = command("show", "--raw", "--arch", "aarch64").stdout
    assert.is_true(raw == seccomp.compile(nil, nil, "aarch64"))
    assert.equal(#raw // 8, #require("cjson").decode(command("show", "--json", "--arch", "aarch64").stdout))
  end)
  it("checks", function()
    local dir = helper.tmpdir()
    local path = helper.write(dir .. "/p.lua", [[return { default = "allow", rules = {
      { names = { "read", "raed" }, action = "errno" }, { names = { "read" }, action = "kill" } } }]])
    local result = says("rule 1: there is no system call 'raed'\n.*rule 2: read is decided by rule 1\n", "check", path)
    assert.equal(1, result.code)
    helper.write(path, "return { learned = {}, seccomp = { default = 'allow' }, capabilities = {} }")
    assert.equal(0, says("%d instructions", "check", path).code)
    helper.write(path, "return { default = 'allow', rules = { { names = {}, action = 'kill' } } }")
    assert.equal(1, says("rule 1: names: a list of at least one expected", "check", path).code)
    helper.write(path, "return os.exit(0)")
    assert.equal(1, says("has to return a table", "check", path).code)
    helper.write(dir .. "/p.json", "[")
    assert.equal(1, says("is not a JSON object", "check", dir .. "/p.json").code)
    assert.equal(0, says("^default: %d+ instructions", "check", "default").code)
  end)
  it("refuses what it does not understand", function()
    local function refused(pattern, ...)
      local result = command(...)
      assert.equal(125, result.code)
      assert.matches(pattern, result.stderr)
      assert.equal("", result.stdout)
    end
    refused("explain, show or check expected")
    refused("'explane'", "explane", "read")
    refused("a system call is missing", "explain")
    refused("no system call 'raed' %(did you mean 'read'%?%)", "explain", "raed")
    for _, word in ipairs { "x", "", "1||2", "1.0", "1e3", "0x", " 1", "18446744073709551616", "0x10000000000000000",
      "-9223372036854775809" } do
      refused("is not an argument of a system call", "explain", "read", "--", word)
    end
    refused("4294967296 is not a system call number", "explain", "4294967296")
    refused("has no system call '1e3'", "explain", "1e3")
    refused("argument 1: 4294967296 does not fit into the 32 bits of i386", "explain", "--arch", "i386", "read", "0",
      "4294967296")
    refused("argument 0: %-2147483649 does not fit", "explain", "--arch", "arm", "read", "-2147483649")
    refused("at most 6", "explain", "read", "1", "2", "3", "4", "5", "6", "7")
    refused("unknown architecture 'vax'", "explain", "--arch", "vax", "read")
    refused("unknown option '%-%-profil'", "explain", "--profil", "x", "read")
    refused("No such file", "check", "/nonexistent.json")
    refused("'strict' is not a profile", "show", "--profile", "strict")
  end)
  it("is an option of run #userns", function()
    local root = helper.rootfs()
    local function filters(...)
      return helper.carton("run", "-T", ..., root, "grep", "Seccomp:", "/proc/self/status").stdout
    end
    assert.equal("Seccomp:\t0\n", filters("--seccomp=none"))
    assert.equal("Seccomp:\t2\n", filters("--seccomp=default"))
    local path = helper.write(helper.tmpdir() .. "/p.json", '{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
      .. '[ { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18 } ] }')
    local result = helper.carton("run", "-T", "--seccomp", path, root, "mkdir", "/tmp/x")
    assert.matches("cross%-device", result.stderr)
  end)
end)

describe("the interpreter of programs", function()
  it("does what each instruction says", function()
    local function run(...)
      local list = { ... }
      list[#list + 1] = { 0x16, 0, 0, 0 } -- return a
      return (bpf.run(bpf.assemble(list), { number = 7, arch = 9, args = { 0x1122334455667788 } }))
    end
    assert.equal(7, run({ 0x20, 0, 0, 0 }))
    assert.equal(0x55667788, run({ 0x20, 0, 0, bpf.argument(0, false) }))
    assert.equal(0x11223344, run({ 0x20, 0, 0, bpf.argument(0, true) }))
    assert.equal(64, run({ 0x80, 0, 0, 0 }))
    for code, result in pairs { [0x04] = 15, [0x14] = 9, [0x24] = 36, [0x34] = 4, [0x44] = 15, [0x54] = 0, [0x64] = 96,
      [0x74] = 1, [0xa4] = 15 } do
      assert.equal(result, run({ 0x00, 0, 0, 12 }, { code, 0, 0, 3 }), ("%#x"):format(code))
    end
    assert.equal(0xfffffff4, run({ 0x00, 0, 0, 12 }, { 0x84, 0, 0, 0 }))
    assert.equal(5, run({ 0x00, 0, 0, 5 }, { 0x02, 0, 0, 3 }, { 0x00, 0, 0, 6 }, { 0x61, 0, 0, 3 },
      { 0x87, 0, 0, 0 }))
    assert.equal(11, run({ 0x01, 0, 0, 6 }, { 0x00, 0, 0, 5 }, { 0x0c, 0, 0, 0 }))
    assert.equal(bpf.encode("kill"), (bpf.run(bpf.assemble { { 0x34, 0, 0, 0 } }, { number = 0, arch = 0 })))
    for code, result in pairs { [0x15] = 2, [0x25] = 2, [0x35] = 1, [0x45] = 1 } do -- 5 == 4, > 5, >= 5, & 4
      local k = (code == 0x15 or code == 0x45) and 4 or 5
      assert.equal(result, (bpf.run(bpf.assemble { { 0x00, 0, 0, 5 }, { code, 0, 1, k }, { 6, 0, 0, 1 },
        { 6, 0, 0, 2 } }, { number = 0, arch = 0 })))
    end
    assert.matches("without a return", helper.raises(bpf.run, bpf.assemble { { 0, 0, 0, 0 } },
      { number = 0, arch = 0 }))
  end)
  it("writes them out", function()
    local text = bpf.text(bpf.assemble { { 0x20, 0, 0, 0 }, { 0x20, 0, 0, 28 }, { 0x54, 0, 0, 255 }, { 0x15, 1, 0, 5 },
      { 0x05, 0, 0, 1 }, { 6, 0, 0, 0x50001 }, { 6, 0, 0, 0x7fff0000 } })
    assert.matches("0  load number\n   1  load argument 1, %a+ half\n   2  a = a & 0xff\n   3  if == 0x5 then 5 else 4"
      .. "\n   4  go to 6\n   5  return errno 1\n   6  return allow\n", text)
  end)
end)

teardown(helper.cleanup)
