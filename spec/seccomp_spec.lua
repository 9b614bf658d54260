-- SPDX-License-Identifier: MIT
-- Filters of system calls: the compiler against its rules, profiles of all kinds, and payloads that are really denied.
local carton = require("carton")
local core = require("carton.core")
local helper = require("spec.helper")
local bpf = require("carton.seccomp.bpf")
local profile = require("carton.seccomp.profile")
local syscalls = require("carton.seccomp.syscalls")
local default = require("carton.seccomp.default")
local seccomp = carton.seccomp

local KILL <const>, ALLOW <const> = 0x80000000, 0x7fff0000
local function errno(name)
  return 0x00050000 | core.errno[name]
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

local function options(arch, capabilities)
  return { arch = arch, capabilities = set_of(capabilities or {}), errno = core.errno, kernel = "6.1.0-18-amd64" }
end

--- What the rules say, by reading them from the first to the last: nothing of the compiler is in here.
local function naive(data, arch, number, args, capabilities)
  if number >= 0x40000000 and arch == "x86_64" then
    return { "errno", "ENOSYS" }
  end
  local name, last = syscalls.names(arch)[number], -1
  local wide = syscalls.architectures[arch].bits == 64
  local function test(arg, value)
    local a, mask = args[arg.index + 1] or 0, arg.mask or -1
    if not wide then
      a, value, mask = a & 0xffffffff, value & 0xffffffff, mask & 0xffffffff
    end
    local op = arg.op or "=="
    if op == "==" or op == "!=" then
      return (a & mask == value) == (op == "==")
    elseif op == "<" or op == ">=" then
      return math.ult(a, value) == (op == "<")
    end
    return math.ult(value, a) == (op == ">")
  end
  local function applies(rule)
    for _, arg in ipairs(rule.args or {}) do
      local any = false
      for _, value in ipairs(type(arg.value) == "table" and arg.value or { arg.value }) do
        any = any or test(arg, value)
      end
      if not any then
        return false
      end
    end
    for _, capability in ipairs(rule.caps or {}) do
      if not capabilities[capability] then
        return false
      end
    end
    return true
  end
  for _, rule in ipairs(data.rules) do
    for _, other in ipairs(rule.names) do
      local n = syscalls.numbers(arch)[other]
      last = n and n < 0xf0000 and math.max(last, n) or last
      if other == name and applies(rule) then
        return rule.action
      end
    end
  end
  return number > last and data.newer or data.default
end

local function value_of(action)
  local name, data = action, nil
  if type(action) == "table" then
    name, data = action[1], action[2]
  end
  if name == "errno" then
    data = math.tointeger(data) or core.errno[data or "EPERM"]
  end
  return bpf.encode(name, data)
end

--- Numbers at which something could change, and all small ones.
local function numbers(each)
  for number = 0, 1023 do
    each(number)
  end
  for _, number in ipairs { 0x3fffffff, 0x40000000, 0x40000001, 0x400001ff, 0x40000208, 0x7fffffff, 0x80000000,
    0xf0001, 0xf0002, 0xf0006, 0xfffffffe, 0xffffffff } do
    each(number)
  end
end

local function compare(data, arch, entered, capabilities, values)
  local program = profile.compile(data, options(arch, capabilities))
  local audit, set = syscalls.architectures[entered].audit, set_of(capabilities or {})
  numbers(function(number)
    for _ = 1, 2 do
      local args = {}
      for i = 1, 6 do
        args[i] = values[math.random(#values)] + (math.random(4) == 1 and math.random(-1, 1) or 0)
      end
      local got = bpf.run(program, { number = number, arch = audit, args = args })
      local want = value_of(naive(data, entered, number, args, set))
      if got ~= want then
        error(("%s %d (%s): %s, the rules say %s"):format(entered, number, table.concat(args, " "),
          bpf.action_text(got), bpf.action_text(want)))
      end
    end
  end)
  return program
end

local interesting = { 0, 1, 8, 38, 40, 0x5412, 0x541c, 0x20000, 0x20008, 0xffffffff, -1, 0x10000000, 0x80, 0x11,
  1 << 33 | 38, 1 << 32 | 0x5412, 0x7e020000, math.mininteger, math.maxinteger, 1 << 32 }

describe("the table of system calls", function()
  it("agrees with the headers of this system", function()
    local found = 0
    for arch, header in pairs { x86_64 = "asm/unistd_64.h", i386 = "asm/unistd_32.h",
      aarch64 = "asm-generic/unistd.h" } do
      local pipe = io.popen(("echo '#include <%s>' | cc -E -dM %s - 2>/dev/null"):format(header,
        arch == "aarch64" and "-D__BITS_PER_LONG=64 -D__ARCH_WANT_RENAMEAT -D__ARCH_WANT_NEW_STAT "
        .. "-D__ARCH_WANT_SET_GET_RLIMIT -D__ARCH_WANT_SYS_CLONE3 -D__ARCH_WANT_MEMFD_SECRET" or ""))
      local text = pipe:read("a")
      pipe:close()
      local known = syscalls.numbers(arch)
      for name, number in text:gmatch("#define __NR_([%w_]+) (%d+)") do
        if not (name == "syscalls" or name == "arch_specific_syscall" or name == "sync_file_range2") then
          assert.equal(tonumber(number), known[name], arch .. " " .. name)
          found = found + 1
        end
      end
    end
    assert.is_true(found > 300, found)
  end)
  it("names every number once", function()
    for arch in pairs(syscalls.architectures) do
      local count, names = 0, 0
      for name, number in pairs(syscalls.numbers(arch)) do
        assert.equal(name, syscalls.names(arch)[number], arch)
        count = count + 1
      end
      for _ in pairs(syscalls.names(arch)) do
        names = names + 1
      end
      assert.equal(names, count)
    end
  end)
end)

describe("a compiled profile", function()
  it("says for every number what the rules of the default one say", function()
    for arch, known in pairs(syscalls.architectures) do
      if known.companion then
        for _, capabilities in ipairs { {}, { "nestable" }, { "SYS_ADMIN", "CHOWN" }, profile.capabilities(default) } do
          compare(default, arch, arch, capabilities, interesting)
          compare(default, arch, known.companion, capabilities, interesting)
        end
      end
    end
  end)
  it("does so for profiles of all kinds", function()
    local names, operators = {}, { "==", "!=", "<", "<=", ">", ">=" }
    for name in pairs(syscalls.numbers("x86_64")) do
      names[#names + 1] = name
    end
    table.sort(names)
    local actions = { "allow", "kill", "trap", "log", { "errno", "EPERM" }, { "errno", 77 }, { "trace", 3 } }
    for round = 1, 6 do
      local data = { default = actions[math.random(#actions)], newer = round % 2 == 0 and { "errno", 38 } or nil,
        rules = {} }
      for i = 1, math.random(0, 150) do
        local rule = { names = {}, action = actions[math.random(#actions)] }
        for n = 1, math.random(3) do
          rule.names[n] = names[math.random(round % 3 == 0 and 10 or #names)]
        end
        if math.random(3) == 1 then
          rule.args = {}
          for n = 1, math.random(3) do
            local op = operators[math.random(6)]
            rule.args[n] = { index = math.random(0, 5), op = op, value = interesting[math.random(#interesting)],
              mask = op:find("^[=!]=") and math.random(2) == 1 and interesting[math.random(#interesting)] or nil }
            rule.args[n].value = rule.args[n].value & (rule.args[n].mask or -1)
            if op == "==" and math.random(3) == 1 then
              rule.args[n].value = { rule.args[n].value,
                interesting[math.random(#interesting)] & (rule.args[n].mask or -1) }
            end
          end
        end
        rule.caps = math.random(6) == 1 and { "BPF" } or nil
        data.rules[i] = rule
      end
      profile.check(data)
      compare(data, "x86_64", "x86_64", {}, interesting)
      local program = compare(data, "x86_64", "i386", {}, interesting)
      if core.architecture ~= "other" then -- and the kernel takes it
        helper.isolated(function()
          carton.privilege.no_new_privs()
          local posix = require("posix")
          local pid = posix.fork()
          if pid == 0 then -- whatever it does to the process: it is installed, or it is not
            local installed, why = pcall(carton.privilege.seccomp, { program = program })
            if not installed and tostring(why):find("EINVAL", 1, true) then
              posix._exit(99)
            end
            posix._exit(0)
          end
          local _, _, code = posix.wait(pid)
          assert(code ~= 99, "the kernel refuses the program")
        end)
      end
    end
  end)
  it("ends what enters by an architecture that it does not know", function()
    local program = profile.compile(default, options("x86_64"))
    for _, arch in ipairs { 0, 0xC00000B7, 0x40000028, 0xffffffff, 0xC000003F } do
      assert.equal(KILL, (bpf.run(program, { number = 0, arch = arch })))
    end
    local own = { default = "allow", architectures = {}, rules = {} }
    program = profile.compile(own, options("x86_64"))
    assert.equal(KILL, (bpf.run(program, { number = 3, arch = 0x40000003 })))
    assert.equal(ALLOW, (bpf.run(program, { number = 3, arch = 0xC000003E })))
    assert.equal(errno("ENOSYS"), (bpf.run(program, { number = 0x40000003, arch = 0xC000003E })))
  end)
  it("is small: a tree, not a list", function()
    assert.is_true(#profile.compile({ default = default.default, rules = default.rules, architectures = {} },
      options("x86_64")) // 8 <= 100)
    local program = profile.compile(default, options("x86_64"))
    assert.is_true(#program // 8 <= 220)
    local sum = 0
    for number = 0, 469 do
      sum = sum + select(2, bpf.run(program, { number = number, arch = 0xC000003E }))
    end
    assert.is_true(sum / 470 <= 12, sum / 470)
  end)
  it("is the same as the one that is built in", function()
    local all = profile.capabilities(default)
    assert.equal("nestable", table.remove(all))
    for _, capabilities in ipairs { {}, { "nestable" }, all } do
      local program = core.privilege.default_filter(table.concat(capabilities, ","))
      if core.architecture ~= "other" then
        assert.is_true(profile.compile(default, options(core.architecture, capabilities)) == program)
        assert.is_true(program == seccomp.step(nil, capabilities).program)
      end
    end
    assert.is_nil(core.privilege.default_filter("CHOWN"))
  end)
end)

describe("the default profile", function()
  it("names nothing that does not exist, and nothing twice", function()
    assert.same({}, seccomp.check("default"))
    assert.same({}, seccomp.check(nil))
  end)
  it("has an answer of its own for every call of the native architectures but removed ones", function()
    local removed = set_of { "_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old",
      "get_kernel_syms", "getpmsg", "listmount", "listns", "lookup_dcookie", "nfsservctl", "putpmsg", "query_module",
      "security", "statmount", "sysfs", "tuxcall", "uselib", "ustat", "vserver" }
    for _, arch in ipairs { "x86_64", "aarch64" } do
      local chains = profile.chains(default, arch, options(arch))
      for number, name in pairs(syscalls.names(arch)) do
        assert.equal(chains[number] == nil, removed[name] == true, name)
      end
    end
  end)
  it("keeps its capabilities where the short path looks", function()
    local all = {}
    for _, name in ipairs(profile.capabilities(default)) do
      all[#all + 1] = name
      if core.architecture ~= "other" then -- each opens something: the program is another one
        assert.is_false(seccomp.step(nil, {}).program == seccomp.step(nil, { name }).program, name)
      end
    end
    assert.is_true(seccomp.step(nil, all).program
      == seccomp.step("default", core.privilege.capability_names(), true).program)
  end)
end)

local call_program

--- A program without libraries that makes the calls it is told, `NUMBER,ARG,...`, and prints the errno of each;
-- `i` before a number enters as a 32-bit program does.
local function caller()
  if call_program then
    return call_program
  end
  local dir = helper.tmpdir()
  helper.write(dir .. "/call.c", [[
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void *thread(void *arg) { return arg; }
int main(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		long a[7] = {0}, r;
		char *at = argv[i] + (argv[i][0] == 'i');
		if (strcmp(argv[i], "thread") == 0) {
			pthread_t t;
			int e = pthread_create(&t, NULL, thread, NULL);
			if (e == 0)
				e = pthread_join(t, NULL);
			printf("%d ", e);
			continue;
		}
		if (strcmp(argv[i], "fork") == 0) {
			pid_t pid = fork();
			int status = 0;
			if (pid == 0)
				_exit(0);
			if (pid > 0)
				waitpid(pid, &status, 0);
			printf("%d ", pid < 0 ? errno : status);
			continue;
		}
		for (int k = 0; k < 7 && *at; k++) {
			a[k] = (long)strtoull(at, &at, 0);
			at += *at == ',';
		}
#ifdef __x86_64__
		if (argv[i][0] == 'i') {
			__asm__ volatile("int $0x80" : "=a"(r) : "a"(a[0]), "b"(a[1]), "c"(a[2]), "d"(a[3]) :
				"memory", "r8", "r9", "r10", "r11");
			r = (int)r;
			errno = r < 0 ? (int)-r : 0;
		} else
#endif
		{
			errno = 0;
			r = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
		}
		printf("%d ", r < 0 ? errno : 0);
	}
	fflush(stdout);
	return 0;
}
]])
  assert(os.execute(("cc -O1 -static -pthread -o '%s/call' '%s/call.c' 2>/dev/null"):format(dir, dir)))
  call_program = dir .. "/call"
  return call_program
end

local function numbers_of(name, ...)
  return table.concat({ syscalls.numbers(core.architecture)[name], ... }, ",")
end

--- What the calls gave in a container, as names of errors, `-` for none.
local function calls(list, fields)
  local all = { rootfs = helper.rootfs(), args = { "/call", table.unpack(list) }, stdin = "null", timeout = 60,
    stdout = "capture", stderr = "capture", mounts = { caller() .. ":/call:ro" } }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  local c <close> = carton.container(all)
  local status, names = c:run(), {}
  for number in status.stdout:gmatch("%d+") do
    names[#names + 1] = number == "0" and "-" or core.errno[tonumber(number)] or number
  end
  return table.concat(names, " "), status
end

describe("a payload #userns", function()
  it("has one filter, and no_new_privs", function()
    local status = helper.output("cat /proc/self/status")
    assert.matches("Seccomp:%s+2\n", status)
    assert.matches("Seccomp_filters:%s+1\n", status)
    assert.matches("NoNewPrivs:%s+1\n", status)
    status = helper.output("cat /proc/self/status", { init = true })
    assert.matches("Seccomp_filters:%s+1\n", status)
    status = helper.output("cat /proc/self/status", { seccomp = false })
    assert.matches("Seccomp:%s+0\n", status)
  end)
  it("has it also when it may gain privileges, as whatever user", function()
    for _, user in ipairs { 0, helper.is_root and 33 or 0 } do
      for _, init in ipairs { false, true } do
        local status = helper.output("cat /proc/self/status", { no_new_privs = false, user = user, init = init })
        assert.matches("NoNewPrivs:%s+0\n", status)
        assert.matches("Seccomp_filters:%s+1\n", status)
        assert.matches("CapEff:%s+" .. (user == 0 and "00000000800405fb" or "0000000000000000"), status)
      end
    end
    local status = helper.output("cat /proc/self/status", { no_new_privs = false, capabilities = "all" })
    assert.matches("Seccomp_filters:%s+1\n", status)
  end)
  it("is refused what containers have no business with", function()
    assert.equal("EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM", (calls {
      numbers_of("mount", 0, 0, 0, 0, 0), numbers_of("unshare", 0x10000000), numbers_of("setns", 0, 0),
      numbers_of("keyctl", 0, 0), numbers_of("bpf", 0, 0, 0), numbers_of("io_uring_setup", 1, 0),
      numbers_of("userfaultfd", 0), numbers_of("perf_event_open", 0), numbers_of("fsopen", 0, 0),
      numbers_of("personality", 0x0008000), numbers_of("unshare", 0x80) }))
  end)
  it("is told that what is newer does not exist", function()
    assert.equal("ENOSYS ENOSYS ENOSYS", (calls { numbers_of("clone3", 0, 0), "1000", "480" }))
  end)
  it("is refused by argument, whatever stands in halves that the kernel does not read", function()
    assert.equal("EPERM EPERM EPERM ENOTTY EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT - EPERM - -", (calls {
      numbers_of("ioctl", 0, 0x5412, 0), numbers_of("ioctl", 0, 0x100005412, 0), numbers_of("ioctl", 0, 0x541c, 0),
      numbers_of("ioctl", 0, 0x5413, 0), numbers_of("socket", 38, 5, 0), numbers_of("socket", 40, 1, 0),
      numbers_of("socket", 0x100000026, 5, 0), numbers_of("socket", 1, 1, 0),
      numbers_of("clone", 0x10000011, 0, 0, 0, 0), numbers_of("personality", 0xffffffff),
      numbers_of("unshare", 0x200) }))
  end)
  it("can fork and have threads", function()
    assert.equal("- -", (calls { "fork", "thread" }))
    assert.equal("- -", (calls({ "fork", "thread" }, { init = true })))
  end)
  it("has the same by the older ways into the kernel", function()
    if core.architecture ~= "x86_64" then
      return pending("only x86_64 has them")
    end
    assert.equal("ENOSYS ENOSYS", (calls { ("%d,0"):format(0x40000000 + 39), ("%d"):format(0xffffffff) }))
    local _, status = calls({ "i20" }, { seccomp = false })
    if status.code ~= 0 then
      return pending("this kernel runs no 32-bit programs")
    end
    assert.equal("- EPERM EPERM ENOSYS EAFNOSUPPORT EPERM EPERM ENOSYS", (calls { "i20", "i21,0,0,0", "i120,0x10000011",
      "i102,1,0", "i359,38,5,0", "i54,0,0x5412,0", "i310,0x10000000", "i1000" }))
  end)
  it("has a capability's calls with the capability", function()
    assert.equal("EFAULT EINVAL -", (calls({ numbers_of("mount", 1, 1, 1, 0, 0), numbers_of("clone3", 0, 0),
      numbers_of("unshare", 0x04000000) }, { capabilities = { add = { "SYS_ADMIN" } } })))
    assert.equal("EPERM", (calls({ numbers_of("mount", 1, 1, 1, 0, 0) },
      { capabilities = { add = { "SYS_TIME" } } })))
  end)
  it("has a filter as a further program, too, the container's or its own", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" } }
    c:start()
    local function filters(fields)
      fields.args, fields.stdout = { "grep", "Seccomp", "/proc/self/status" }, "capture"
      return c:exec(fields):wait().stdout
    end
    assert.matches("Seccomp_filters:%s+1\n", filters {})
    assert.matches("Seccomp:%s+0\n", filters { seccomp = false })
  end)
end)

describe("the field seccomp #userns", function()
  local deny = { default = "allow", rules = { { names = { "getppid" }, action = { "errno", "EXDEV" } } } }
  local getppid = core.architecture ~= "other" and numbers_of("getppid")
  it("takes a table", function()
    assert.equal("EXDEV", (calls({ getppid }, { seccomp = deny })))
  end)
  it("takes a program", function()
    assert.equal("EXDEV", (calls({ getppid }, { seccomp = { program = seccomp.compile(deny) } })))
  end)
  it("takes files of three kinds", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/a.lua", [[return { default = "allow", rules = {
      { names = { "getppid" }, action = { "errno", "EXDEV" } } } }]])
    helper.write(dir .. "/b.json", [[{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
      "syscalls": [ { "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18 } ] }]])
    helper.write(dir .. "/c.bpf", seccomp.compile(deny))
    for _, name in ipairs { "a.lua", "b.json", "c.bpf" } do
      assert.equal("EXDEV", (calls({ getppid }, { seccomp = dir .. "/" .. name })), name)
    end
    helper.raises_code("ENOENT", calls, {}, { seccomp = dir .. "/none.json" })
  end)
  it("refuses what is no profile, by name, before anything runs", function()
    local function refused(pattern, value)
      local world = helper.world()
      assert.matches(pattern, tostring(helper.raises(calls, {}, { seccomp = value })))
      assert.same(world, helper.world())
    end
    refused("'strict' is not a profile", "strict")
    refused("'seccomp'", 5)
    refused("default is missing", {})
    refused("unknown field 'rulez'", { default = "allow", rulez = {} })
    refused("unknown action 'deny'", { default = "deny" })
    refused("rule 1: unknown errno 'EWHAT'", { default = "allow", rules = {
      { names = { "read" }, action = { "errno", "EWHAT" } } } })
    refused("rule 1, argument test 1: index", { default = "allow", rules = {
      { names = { "read" }, action = "errno", args = { { value = 1 } } } } })
    refused("unknown operator '=~'", { default = "allow", rules = {
      { names = { "read" }, action = "errno", args = { { index = 1, op = "=~", value = 1 } } } } })
    refused("unknown architecture 'vax'", { default = "allow", architectures = { "vax" } })
    refused("instructions of 8 bytes expected, got 7 bytes", { program = "1234567" })
    refused("unknown flag 'loud'", { default = "allow", flags = { "loud" } })
    local err = helper.raises_code("EINVAL", calls, {}, { seccomp = { program = ("\0"):rep(8), name = "zeros" } })
    assert.equal("privilege.seccomp", err.step)
    assert.matches("seccomp zeros: Invalid argument", tostring(err))
    assert.matches("does not take these instructions", carton.hint.find(err))
  end)
  it("installs after all that the filter does not allow, and before the program", function()
    local late = { default = "allow", rules = { { names = { "prctl", "capset", "setresuid", "setresgid", "setgroups",
      "mount", "pivot_root", "setsid", "close_range", "ppoll" }, action = "kill" } } }
    assert.equal("EXDEV", (calls({ "500" }, { seccomp = { default = "allow", newer = { "errno", "EXDEV" },
      rules = late.rules } })))
    local steps = carton.container { rootfs = helper.rootfs(), args = { "true" } }:compile().steps
    assert.equal("privilege.seccomp", steps[#steps - 1][1])
    assert.equal("exec.exec", steps[#steps][1])
    -- a program that is looked at when it is executed takes nothing but execve, one that is not, more
    local exec = { default = "allow", rules = { { names = { "execve" }, action = { "errno", "EXDEV" } } } }
    assert.equal("exec.exec", helper.raises_code("EXDEV", calls, {}, { seccomp = exec }).step)
    for _, name in ipairs { "execveat", "rt_sigprocmask", "fcntl", "ptrace" } do
      exec.rules[1].names[1] = name
      calls({}, { seccomp = exec, idmap = not helper.is_root and "single" or nil })
      if name ~= "ptrace" and helper.can_share_pid() then
        local err = helper.raises_code("EXDEV", calls, {}, { seccomp = exec, namespaces = { pid = "host" } })
        assert.equal("exec.exec", err.step)
      end
    end
  end)
  it("kills when the profile says so", function()
    local _, status = calls({ getppid }, { seccomp = { default = "allow", rules = {
      { names = { "getppid" }, action = "kill" } } } })
    assert.equal("SIGSYS", status.signal)
    assert.equal(128 + 31, status.code)
  end)
  it("shows in a plan as what it is, not as bytes", function()
    local c = carton.container { rootfs = "/", args = { "true" } }
    local text = carton.plan.text(c:compile())
    assert.matches('privilege%.seccomp name=default program="%d+ instructions, %x+"', text)
    assert.is_nil(text:find("[\0-\8]"))
    local json = require("cjson").decode(carton.plan.json(c:compile()))
    assert.matches("^%d+ instructions, %x+$", json.steps[#json.steps - 1].program)
    local other = carton.container { rootfs = "/", args = { "true" }, seccomp = deny }
    assert.matches("%- privilege.seccomp name=default", carton.plan.diff_text(c:compile(), other:compile()))
  end)
end)

describe("privilege.seccomp", function()
  it("says who may not", function()
    helper.isolated(function()
      carton.privilege.capabilities { bounding = {}, permitted = {}, effective = {} }
      local err = helper.raises_code("EACCES", carton.privilege.seccomp, { program = seccomp.compile() })
      assert(err.step == "privilege.seccomp" and err.call == "seccomp")
    end)
  end)
  it("takes flags", function()
    helper.isolated(function()
      carton.privilege.no_new_privs()
      carton.privilege.seccomp { program = seccomp.compile(), log = true, spec_allow = true, tsync = true }
      assert(helper.read("/proc/self/status"):find("Seccomp_filters:\t1\n"))
    end)
  end)
  it("refuses programs that are none", function()
    local function refused(pattern, fields)
      assert.matches(pattern, tostring(helper.raises(carton.privilege.seccomp, fields)))
    end
    refused("program.*is missing", {})
    refused("got 0 bytes", { program = "" })
    refused("got 12 bytes", { program = ("x"):rep(12) })
    refused("got 32776 bytes", { program = ("x"):rep(4097 * 8) })
    refused("unknown field", { program = seccomp.compile(), quiet = true })
  end)
end)

describe("a program that may not even exit #userns", function()
  it("ends, with an init and without", function()
    if (os.getenv("LD_PRELOAD") or ""):find("asan") then
      return pending("the sanitizer's own end takes system calls, and waits for them for ever")
    end
    local nothing = { default = { "errno", "ENOSYS" }, architectures = { core.architecture },
      rules = {} }
    for _, init in ipairs { false, true } do
      local c = carton.container { rootfs = helper.rootfs(), args = { "true" }, seccomp = nothing, init = init,
        idmap = not helper.is_root and "single" or nil }
      local ok, result = pcall(c.run, c)
      assert.is_true(not ok and result.code == "ENOSYS" or ok and result.cause == "signalled", tostring(result))
      assert.is_false(c:is_running())
    end
  end)
end)

teardown(helper.cleanup)
