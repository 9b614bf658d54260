-- SPDX-License-Identifier: MIT
-- No further user namespaces, session keyrings, labels of security modules: seen from inside.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local core = require("carton.core")
local output, shell, exec = helper.output, helper.shell, carton.exec

local SERIAL <const> = "/bin/keyring"

--- A root with a small program that tells the serial number of its session keyring.
local serial_root
local function rooted()
  if serial_root then
    return serial_root
  end
  local root = helper.rootfs(true)
  local source = helper.write(helper.tmpdir() .. "/keyring.c", [[
#include <stdio.h>
#include <string.h>
#include <sched.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "userns"))
		return puts(unshare(CLONE_NEWUSER) ? "none" : "made") < 0;
	if (argc > 1) { /* a key in it, which has to be there again */
		long key = syscall(SYS_add_key, "user", argv[1], "x", 1, -3);
		if (key < 0)
			return 1;
	}
	return printf("%ld\n", (long)syscall(SYS_keyctl, 0, -3, 0)) < 0;
}
]])
  assert(os.execute(("cc -D_GNU_SOURCE -static -o '%s%s' '%s'"):format(root, SERIAL, source)))
  serial_root = root
  return root
end

local function serial_here()
  local text = helper.run { rooted() .. SERIAL }.stdout
  return tonumber(text)
end

--- What a shell writes that has a session keyring of its own with a key in it, beginning with its serial number.
local function with_keyring(script, ...)
  local reader <close>, writer = exec.pipe()
  local process <close> = exec.spawn { steps = { { "privilege.session_keyring" },
    { "exec.descriptors", fds = { exec.null(), writer, writer } },
    { "exec.exec", args = { "/bin/sh", "-c", '"$2' .. SERIAL .. '" secret; ' .. script, "sh", helper.program, rooted(),
      ... }, env = { PATH = "/usr/bin:/bin" } } } }
  writer:close()
  local said = {}
  for text in function() return reader:read() end do
    said[#said + 1] = text
  end
  assert.equal(0, process:wait().code, table.concat(said))
  local numbers = {}
  for line in table.concat(said):gmatch("[^\n]+") do
    numbers[#numbers + 1] = assert(tonumber(line), line)
  end
  return table.unpack(numbers)
end

local has_keys = (serial_here() or -1) > 0
local has_strace = os.execute("command -v strace >/dev/null") and helper.run { "strace", "-f", "-o", "/dev/null",
  "true" }.code == 0

local function with_keys(name, test)
  it(name, function()
    if not has_keys then
      return pending("a kernel without keys")
    end
    return test()
  end)
end

describe("container: its session keyring #userns", function()
  with_keys("is a new one, where no key of the caller's is", function()
    local run = '"$1" run -T --seccomp none "$2" /bin/keyring; '
    local outer, inner, other, after = with_keyring(run .. run .. '"$2/bin/keyring"')
    assert.is_true(inner > 0 and inner ~= outer and inner ~= other and other ~= outer)
    assert.equal(outer, after) -- the caller keeps its own
  end)
  with_keys("is the caller's when that is asked for", function()
    local outer, inner = with_keyring('"$1" run -T --seccomp none --keyring inherit "$2" /bin/keyring')
    assert.equal(outer, inner)
  end)
  with_keys("is a new one for a further program, unless the container has the caller's", function()
    for _, keyring in ipairs { "new", "inherit" } do
      local outer, first, further = with_keyring('"$1" -e "$3" "$2" ' .. keyring, [[
        local c <close> = require("carton").container { rootfs = arg[1], keyring = arg[2], stdin = "null",
          seccomp = false, args = { "sleep", "60" } }
        c:start()
        for _ = 1, 2 do
          io.stdout:write(c:exec { args = { "/bin/keyring" }, stdin = "null", stdout = "capture" }:wait().stdout)
        end
      ]])
      assert.equal(keyring == "inherit", outer == first)
      assert.equal(keyring == "inherit", outer == further)
      assert.is_true(further > 0 and (keyring == "inherit" or first ~= further))
    end
  end)
  with_keys("still belongs to its user", function()
    local ok, text = pcall(output, SERIAL .. " mine", { rootfs = rooted(), user = "33:34", seccomp = false })
    if not ok and text.code == "EINVAL" then
      return pending("no subordinate ids are granted to this user")
    end
    assert.is_true(tonumber(text) > 0, tostring(text))
  end)
  with_keys("is one too many for a user whose quota is used up, which is said #root", function()
    if not helper.is_root then
      return
    end
    local user = { "privilege.user", uid = 54399, gid = 54399, groups = {} }
    local reader <close>, writer = exec.pipe()
    local filler <close> = exec.spawn { steps = { user, { "exec.descriptors", fds = { exec.null(), writer } },
      { "exec.exec", args = { "/usr/bin/perl", "-e", [[
        $| = 1;
        my ($type, $n) = ("user", 0);
        for my $i (1 .. 100000) {
          my ($name, $text) = ("carton-spec-$i", "x");
          last if syscall($ARGV[0], $type, $name, $text, 1, -2) < 0;
          $n++;
        }
        print "$n\n";
        sleep 60;
      ]], ({ x86_64 = "248", aarch64 = "217" })[carton.host.uname().machine] or "248" } } } }
    writer:close()
    local count = tonumber(reader:read())
    local join = { "privilege.session_keyring", optional = true }
    local ok, err = pcall(exec.spawn, { steps = { join, user, join } }) -- who has none yet may overrun
    filler:kill()
    filler:wait()
    assert.is_false(ok)
    assert.equal("EDQUOT", err.code)
    assert.equal(3, err.index)
    assert.is_true(count > 10)
    assert.equal("keyctl", err.call)
    assert.equal("privilege.session_keyring", err.step)
    assert.matches("/proc/sys/kernel/keys/maxkeys %(%d+%).*keyring = \"inherit\"", carton.hint.find(err))
  end)
  it("is nothing to hide where the kernel has no keys", function()
    if not has_strace then
      return pending("it takes strace that changes the kernel's answers")
    end
    local function run(code)
      return helper.run { "strace", "-f", "-o", "/dev/null", "-e", "inject=keyctl:error=" .. code, helper.program,
        "run", "-T", "--idmap", "single", helper.rootfs(), "echo", "ran" }
    end
    assert.equal("ran\n", run("ENOSYS").stdout)
    local result = run("EDQUOT")
    assert.equal(125, result.code)
    assert.matches("session_keyring: .*EDQUOT.*/proc/sys/kernel/keys/maxkeys", result.stderr)
    result = run("EPERM")
    assert.equal(125, result.code)
    assert.matches("keyring = \"inherit\"", result.stderr)
  end)
  it("is one word of two", function()
    assert.matches("field 'keyring': \"new\" or \"inherit\"", tostring(helper.raises(carton.container,
      { rootfs = "/", args = { "x" }, keyring = "none" })))
  end)
  with_keys("is left alone by a primitive that is not called", function()
    helper.raises_code("EINVAL", core.privilege.label, { module = "selinux", label = "" })
    assert.equal(serial_here(), serial_here())
  end)
end)

describe("container: no_userns #userns", function()
  --- Root has to ask for a user namespace; a single id is always there.
  local function fields_of(more)
    local fields = { rootfs = rooted(), no_userns = true, idmap = "single", seccomp = false }
    for key, value in pairs(more or {}) do
      fields[key] = value
    end
    return fields
  end
  it("can make one without it, and none with it", function()
    assert.equal("made", output(SERIAL .. " userns", fields_of { no_userns = false }))
    assert.equal("none", output(SERIAL .. " userns", fields_of()))
    assert.equal("none", output(SERIAL .. " userns", fields_of { init = true }))
    assert.equal("none", output("sh -c '" .. SERIAL .. " userns'", fields_of { capabilities = "none" }))
  end)
  it("holds for another id, and for a whole map", function()
    local whole = { { container_id = 0, host_id = 700000, size = 65536 } }
    local ok, text = pcall(output, SERIAL .. " userns", fields_of { user = "33:34",
      idmap = helper.is_root and { uids = whole, gids = whole } or "auto" })
    if not ok and (tostring(text):find("idmap") or text.code == "EINVAL") then
      return pending("no subordinate ids are granted to this user")
    end
    assert.equal("none", text)
  end)
  it("can't be undone from inside", function()
    local fields = fields_of { capabilities = { add = { "SYS_ADMIN", "DAC_OVERRIDE" } },
      rootfs = carton.rootfs.dir { path = rooted(), nestable = true } }
    local text = output("(echo 100 > /proc/sys/user/max_user_namespaces) 2>&1; mkdir -p /tmp/p; "
      .. "/bin/busybox mount -t proc none /tmp/p 2>&1; (echo 100 > /tmp/p/sys/user/max_user_namespaces) 2>&1; "
      .. "cat /proc/sys/user/max_user_namespaces; " .. SERIAL .. " userns; /bin/busybox umount /tmp/p; true", fields)
    assert.matches("denied", text)
    assert.matches("\n0\nnone$", text)
  end)
  it("leaves the caller's limit alone", function()
    local before = helper.read("/proc/sys/user/max_user_namespaces")
    output("true", fields_of())
    assert.equal(before, helper.read("/proc/sys/user/max_user_namespaces"))
    assert.equal("made\n", helper.run({ rooted() .. SERIAL, "userns" }).stdout)
  end)
  it("is refused where it could be undone", function()
    local all = table.concat(core.privilege.get().bounding, " ")
    for _, capabilities in ipairs { { add = { "SYS_RESOURCE" } }, { add = "CAP_SYS_RESOURCE" },
      all:find("SYS_RESOURCE", 1, true) and "all" or { add = { "sys_resource" } } } do
      local err = helper.raises(shell, "true", fields_of { capabilities = capabilities })
      assert.matches("'no_userns': with the capability SYS_RESOURCE", tostring(err))
    end
    local c <close> = carton.container(fields_of { args = { "sleep", "60" }, stdin = "null" }):start()
    local err = helper.raises(c.exec, c, { args = { "true" }, stdin = "null",
      capabilities = { add = { "SYS_RESOURCE" } } })
    assert.matches("'no_userns': with the capability SYS_RESOURCE", tostring(err))
  end)
  it("is refused without a user namespace, and it is said what to do #root", function()
    if not helper.is_root then
      return
    end
    local err = helper.raises(shell, "true", { no_userns = true })
    assert.matches("'no_userns' needs a user namespace of its own.*idmap = \"auto\"", tostring(err))
    err = helper.raises_code("EINVAL", core.privilege.no_userns)
    assert.matches("belongs to no user namespace of its own", tostring(err))
    local before = helper.read("/proc/sys/user/max_user_namespaces")
    helper.raises_code("EINVAL", exec.spawn, { steps = { { "privilege.no_userns" } }, namespaces = { "mnt", "pid" } })
    assert.equal(before, helper.read("/proc/sys/user/max_user_namespaces"))
  end)
  it("holds for further programs, and can't be left out for them", function()
    local c <close> = carton.container(fields_of { args = { "sleep", "60" }, stdin = "null" }):start()
    local status = c:exec { args = { SERIAL, "userns" }, stdin = "null", stdout = "capture" }:wait()
    assert.equal("none\n", status.stdout)
    assert.matches("unknown field 'no_userns'", tostring(helper.raises(c.exec, c, { args = { "true" },
      no_userns = false })))
  end)
  it("is made sure of in a namespace that is joined", function()
    local open <close> = carton.container(fields_of { args = { "sleep", "60" }, stdin = "null",
      no_userns = false }):start()
    local err = helper.raises_code("EEXIST", shell, "true", { rootfs = rooted(), no_userns = true,
      namespaces = { user = open } })
    assert.equal("privilege.no_userns", err.step)
    assert.matches("its own container needs no_userns", carton.hint.find(err))
    local closed <close> = carton.container(fields_of { args = { "sleep", "60" }, stdin = "null" }):start()
    assert.equal("none", output(SERIAL .. " userns", { rootfs = rooted(), no_userns = true,
      namespaces = { user = closed } }))
  end)
  it("is made sure of by trying", function()
    local map = { { container_id = 0, host_id = posix.geteuid(), size = 1 } }
    local gmap = { { container_id = 0, host_id = posix.getegid(), size = 1 } }
    local idmap = { "namespace.idmap", uids = map, gids = gmap }
    local err = helper.raises_code("EEXIST", exec.spawn, { namespaces = { "user" },
      steps = { idmap, { "privilege.no_userns", check = true } } })
    assert.equal("privilege.no_userns", err.step)
    local process <close> = exec.spawn { namespaces = { "user" }, steps = { idmap, { "privilege.no_userns" },
      { "privilege.no_userns", check = true }, { "exec.exec", args = { "/bin/true" } } } }
    assert.equal(0, process:wait().code)
  end)
  it("is an option", function()
    local function run(...)
      return helper.carton("run", "-T", "--seccomp", "none", "--idmap", "single", ...)
    end
    assert.equal("none\n", run("--no-userns", rooted(), SERIAL, "userns").stdout)
    assert.equal("made\n", run(rooted(), SERIAL, "userns").stdout)
  end)
end)

describe("container: labels", function()
  local function is_active(path)
    local file <close> = io.open("/proc/thread-self/attr/" .. path)
    return (file and file:read("a") or "") ~= ""
  end
  local apparmor = is_active "apparmor/current"
  local selinux = is_active "current" and not apparmor

  it("are an error where their module is not active #userns", function()
    for module, path in pairs { selinux = "attr/exec", apparmor = "attr/apparmor/exec" } do
      if not ({ selinux = selinux, apparmor = apparmor })[module] then
        local err = helper.raises_code("EOPNOTSUPP", shell, "true", { label = { [module] = "a_u:a_r:a_t:s0" } })
        assert.equal("privilege.label", err.step)
        assert.equal("a_u:a_r:a_t:s0", err.fields.label)
        assert.equal("thread-self/" .. path, err.text)
        assert.matches("security module is not active", tostring(err))
        assert.matches("active are ", carton.hint.find(err))
      end
    end
  end)
  it("are written for the next program, and checked by the module", function()
    if not apparmor then
      return pending("AppArmor is not active in this kernel: run it in a virtual machine that has it")
    end
    local err = helper.raises_code("ENOENT", shell, "true", { label = { apparmor = "carton-no-such-profile" } })
    assert.equal("thread-self/attr/apparmor/exec", err.text)
    assert.equal("write", err.call)
    helper.isolated(function()
      core.privilege.label { module = "apparmor", label = "unconfined" }
      local text = helper.read("/proc/thread-self/attr/apparmor/exec")
      assert(text:find("^unconfined"), text)
    end)
    assert.equal("unconfined", output("/bin/busybox head -1 /proc/self/attr/apparmor/current",
      { label = { apparmor = "unconfined" } }))
  end)
  it("go through a procfs that is one #root", function()
    if not helper.is_root then
      return
    end
    helper.isolated(function()
      local dir = helper.tmpdir()
      for _, name in ipairs { "thread-self", "thread-self/attr", "thread-self/attr/apparmor" } do
        posix.mkdir(dir .. "/" .. name)
      end
      for _, name in ipairs { "current", "exec", "apparmor/current", "apparmor/exec" } do
        helper.write(dir .. "/thread-self/attr/" .. name, "forged")
      end
      core.mount.bind { source = dir, target = "/proc" }
      local ok, err = pcall(core.privilege.label, { module = "apparmor", label = "carton-no-such-profile" })
      assert(not ok and (err.code == "EOPNOTSUPP" or err.code == "ENOENT"), tostring(err))
      assert(helper.read(dir .. "/thread-self/attr/apparmor/exec") == "forged")
      assert(helper.read(dir .. "/thread-self/attr/exec") == "forged")
    end)
  end)
  it("are refused when they say nothing", function()
    for _, label in ipairs { {}, { "x" }, { smack = "x" }, { selinux = 1 } } do
      assert.matches("field 'label'", tostring(helper.raises(function()
        carton.container { rootfs = "/", args = { "x" }, label = label }:compile()
      end)))
    end
    helper.raises_code("EINVAL", core.privilege.label, { module = "selinux", label = "" })
    helper.raises_code("EINVAL", core.privilege.label, { module = "apparmor", label = ("x"):rep(5000) })
    assert.matches("unknown name 'smack'", tostring(helper.raises(core.privilege.label,
      { module = "smack", label = "x" })))
  end)
  it("come before no_new_privs and Landlock", function()
    local steps = carton.container { rootfs = "/", args = { "x" }, label = { selinux = "a", apparmor = "b" },
      landlock = { read = { "/" } } }:compile().steps
    local at = {}
    for i, step in ipairs(steps) do
      at[step[1] .. (step.module or "")] = i
    end
    assert.is_true(at["privilege.labelapparmor"] < at["privilege.labelselinux"])
    assert.is_true(at["privilege.labelselinux"] < at["privilege.no_new_privs"])
    assert.is_true(at["privilege.user"] < at["privilege.labelapparmor"])
    assert.is_true(at["privilege.session_keyring"] < at["privilege.user"])
  end)
  it("are an option", function()
    local result = helper.carton("run", "--label", "smack=x", helper.rootfs(), "true")
    assert.equal(125, result.code)
    assert.matches("field 'label'", result.stderr)
  end)
end)

teardown(helper.cleanup)
