-- SPDX-License-Identifier: MIT
-- Errors: what the object says, what crosses over by try and check, and that each kind of step can fail by name.
local posix = require("posix")
local carton = require("carton")
local core = require("carton.core")
local helper = require("spec.helper")
local exec = carton.exec

local function last_line()
  return debug.getinfo(2, "l").currentline
end

describe("a carton.error", function()
  it("says where, step, subject and reason, in that order #root", function()
    if not helper.is_root then
      return
    end
    local line, ok, err
    line = last_line() + 1
    ok, err = pcall(function() carton.mount.bind { source = "/nonexistent/a", target = "/b" } end)
    assert.is_false(ok)
    assert.equal("bind", err.op)
    assert.equal("mount.bind", err.step)
    assert.equal("/nonexistent/a", err.source)
    assert.equal("/b", err.path)
    assert.equal(2, err.errno)
    assert.equal("ENOENT", err.code)
    assert.equal("open_tree", err.call)
    assert.is_nil(err.index)
    assert.equal("/b", err.fields.target)
    assert.equal("spec/error_spec.lua:" .. line, err.where:match("spec/.*$"))
    assert.equal(err.where .. ": bind /nonexistent/a on /b: No such file or directory (ENOENT): /nonexistent/a",
      tostring(err))
  end)
  it("has the place of the step when a plan failed", function()
    local err = helper.raises(exec.spawn, { steps = { { "privilege.umask", mask = "0" },
      { "exec.exec", args = { "/nonexistent" } } } })
    assert.equal(2, err.index)
    assert.equal("/nonexistent", err.path)
    assert.equal("execve", err.call)
  end)
  it("says nothing twice", function()
    local function says(fields)
      return tostring(helper.raises(carton.error, fields)):match("pull .*")
    end
    assert.equal("pull a: No such file or directory (ENOENT)",
      says { op = "pull", path = "a", text = "a", code = "ENOENT" })
    assert.equal("pull a: No such file or directory (ENOENT); /b does not exist",
      says { op = "pull", path = "a", text = "/b", code = "ENOENT", hint = "/b does not exist" })
    assert.equal("pull a on b: No such file or directory (ENOENT): b",
      says { op = "pull", source = "a", path = "b", text = "b", code = "ENOENT" })
  end)
  it("is raised by recipes too", function()
    local err = helper.raises(carton.error, { op = "pull", path = "debian", code = "ENOENT", hint = "log in" })
    assert.equal(2, err.errno)
    assert.matches(": pull debian: No such file or directory %(ENOENT%); log in$", tostring(err))
    err = helper.raises(carton.error, { op = "pull", message = "no such image", text = "registry said no" })
    assert.matches(": pull: no such image: registry said no$", tostring(err))
    err = helper.raises(carton.error, { where = "here", op = "x", source = "a", path = "b", errno = 1 })
    assert.equal("here: x a on b: Operation not permitted (EPERM)", tostring(err))
    assert.is_false(pcall(carton.error, "text"))
  end)
  it("can always be printed, or says which field is in the way", function()
    for _, fields in ipairs { {}, { errno = 99999 }, { code = "EWHAT" }, { op = 5 }, { errno = "x" },
      { call = "a b" } } do
      assert.equal("string", type(tostring(helper.raises(carton.error, fields))))
    end
    local err = helper.raises(carton.error, { op = {} })
    assert.matches("not a string", tostring(helper.raises(tostring, err)))
  end)
  it("has no control characters for a terminal", function()
    local err = helper.raises(carton.error, { op = "x", message = "a\27]0;b\7c\nd\127\0e" })
    assert.equal("x: a?]0;b?c\nd??e", (tostring(err):gsub("^.-: ", "", 1)))
    local dir = helper.tmpdir()
    helper.write(dir .. "/script", "#!/no\27[2Jsuch\n", "rwxr-xr-x")
    err = helper.raises(exec.spawn, { steps = { { "exec.exec", args = { dir .. "/script" } } } })
    assert.is_nil(tostring(err):find("\27", 1, true))
  end)
  it("knows errno by name and by number", function()
    assert.equal(2, core.errno.ENOENT)
    assert.equal("ENOENT", core.errno[2])
    for name, number in pairs(core.errno) do
      assert.equal(name, core.errno[number])
    end
  end)
end)

describe("carton.check", function()
  it("passes results on", function()
    assert.same({ 1, nil, 3 }, { carton.check(1, nil, 3) })
    assert.is_true(carton.check(true))
  end)
  it("raises nil, message, errno", function()
    local err = helper.raises(function() carton.check(io.open("/nonexistent/x")) end)
    assert.equal("check", err.op)
    assert.equal("ENOENT", err.code)
    assert.matches("error_spec.lua:%d+: check: /nonexistent/x: No such file or directory %(ENOENT%)$", tostring(err))
    assert.matches(": check: failed$", tostring(helper.raises(carton.check, nil)))
    assert.matches(": check: failed$", tostring(helper.raises(carton.check, false, {}, {})))
    assert.matches(": check: failed$", tostring(helper.raises(carton.check)))
  end)
end)

describe("carton.try", function()
  it("gives results, or nil, message, errno", function()
    assert.same({ 1, nil, 3 }, { carton.try(function(...) return ... end, 1, nil, 3) })
    local value, message, errno = carton.try(carton.namespace.open, 1 << 30, "net")
    assert.is_nil(value)
    assert.matches("No such file or directory %(ENOENT%)$", message)
    assert.equal(2, errno)
  end)
  it("lets through, as it is, what is no carton.error", function()
    local table_error, meta_error = {}, setmetatable({}, {})
    for _, value in ipairs { "text", 5, table_error, meta_error, setmetatable({}, { __name = "carton.error" }),
      setmetatable({}, { __name = {} }), setmetatable({}, { __name = false }), print, io.stdout } do
      local ok, err = pcall(carton.try, error, value)
      assert.is_false(ok)
      assert.equal(value, err)
    end
    local ok, err = pcall(carton.try, error)
    assert.is_false(ok)
    assert.is_nil(err)
    assert.is_false(pcall(carton.try))
    assert.is_false(pcall(carton.try, 5))
  end)
  it("can be yielded across", function()
    local co = coroutine.wrap(function()
      return carton.try(function()
        coroutine.yield("out")
        carton.error { op = "x", errno = 1 }
      end)
    end)
    assert.equal("out", co())
    local value, message, errno = co()
    assert.is_nil(value)
    assert.matches("x: Operation not permitted", message)
    assert.equal(1, errno)
  end)
end)

--- For each kind of step, fields with which it fails in a process without any privilege, and the errno.
local long = ("x"):rep(300)
local failing = {
  ["namespace.unshare"] = { { kinds = { "mnt" } }, "EPERM" },
  ["namespace.enter"] = { function() return { namespaces = { carton.namespace.open(0, "uts") } } end, "EPERM" },
  ["namespace.idmap"] = { { uids = { { container_id = 0, host_id = 0, size = 5 } },
    gids = { { container_id = 0, host_id = 0, size = 5 } } }, "EPERM EACCES" },
  ["namespace.time_offsets"] = { {}, "EPERM" },
  ["namespace.hostname"] = { { name = long }, "EPERM" },
  ["namespace.domainname"] = { { name = long }, "EPERM" },
  ["namespace.network_up"] = { { interface = "nope0" }, "ENODEV" },
  ["mount.bind"] = { { source = "/nonexistent", target = "/tmp" }, "ENOENT EPERM" },
  ["mount.attach"] = { function() return { tree = carton.mount.open_tree("/usr"), target = "/etc/passwd/x" } end,
    "ENOTDIR", privileged = true },
  ["mount.tmpfs"] = { { target = "/tmp" }, "EPERM" },
  ["mount.proc"] = { { target = "/tmp" }, "EPERM" },
  ["mount.sysfs"] = { { target = "/tmp" }, "EPERM" },
  ["mount.devpts"] = { { target = "/tmp" }, "EPERM" },
  ["mount.mqueue"] = { { target = "/tmp" }, "EPERM" },
  ["mount.cgroup"] = { { target = "/tmp" }, "EPERM" },
  ["cgroup.enter"] = { { cgroups = {} }, nil, reason = "it takes a cgroup: cgroup_spec has it" },
  ["mount.filesystem"] = { { target = "/tmp", type = "nonsense" }, "ENODEV EPERM" },
  ["mount.overlay"] = { { target = "/tmp", lower = { "/usr" }, upper = "/a", work = "/b" }, "EPERM" },
  ["mount.setattr"] = { { target = "/nonexistent", options = { "ro" } }, "ENOENT" },
  ["mount.propagation"] = { { target = "/", propagation = "private" }, "EPERM" },
  ["mount.move"] = { { source = "/nonexistent", target = "/tmp" }, "ENOENT" },
  ["mount.unmount"] = { { target = "/tmp" }, "EPERM" },
  ["mount.pivot_root"] = { { new_root = "/nonexistent" }, "ENOENT" },
  ["mount.mkdir"] = { { target = "/proc/x" }, "ENOENT EACCES" },
  ["mount.write"] = { { target = "/dev/null", content = "x" }, "EINVAL" },
  ["mount.symlink"] = { { path = "/etc", target = "x" }, "EEXIST" },
  ["mount.device"] = { { path = "/tmp/device", source = "/etc/passwd" }, "ENODEV" },
  ["mount.mask"] = { { paths = { "/tmp" } }, "EPERM" },
  ["mount.readonly"] = { { paths = { "/tmp" } }, "EPERM" },
  ["mount.protect"] = { { masked = { "/tmp" } }, "EPERM" },
  ["mount.chown"] = { { target = "/nonexistent", uid = 0, gid = 0 }, "ENOENT" },
  ["mount.chmod"] = { { target = "/nonexistent", mode = "0" }, "ENOENT" },
  ["sync"] = { { name = "late" }, "ECANCELED" },
  ["exec.chdir"] = { { path = "/nonexistent" }, "ENOENT" },
  ["exec.chroot"] = { { path = "/nonexistent" }, "ENOENT" },
  ["exec.setsid"] = { {}, "EPERM", after = { "exec.setpgid" } },
  ["exec.setpgid"] = { {}, "EPERM", after = { "exec.setsid" } },
  ["exec.controlling"] = { {}, "ENOTTY" },
  ["exec.descriptors"] = { function()
    local fds = {}
    for i = 1, 257 do
      fds[i] = false
    end
    return { fds = fds }
  end, "E2BIG" },
  ["exec.terminal"] = { { ptmx = "/dev/null" }, "EINVAL" },
  ["exec.fork"] = { {}, "EAGAIN", after = { "privilege.rlimits", limits = { nproc = 0 } } },
  ["exec.die_with_parent"] = { { signal = "SIGKILL" }, nil, reason = "its parent is gone when it fails" },
  ["exec.exec"] = { { args = { "/nonexistent" } }, "ENOENT" },
  ["privilege.capabilities"] = { { permitted = { "SYS_ADMIN" } }, "EPERM" },
  ["privilege.no_new_privs"] = { {}, nil, reason = "no kernel refuses it" },
  ["privilege.rlimits"] = { { limits = { nofile = 1 << 40 } }, "EPERM" },
  ["privilege.user"] = { { user = "+1" }, "EINVAL" },
  ["privilege.umask"] = { { mask = "0" }, nil, reason = "umask(2) always succeeds" },
  ["privilege.oom_score_adj"] = { { value = 5000 }, "EINVAL ERANGE EACCES" },
  ["privilege.scheduler"] = { { nice = 99 }, "EINVAL" },
  ["privilege.ioprio"] = { { class = "realtime", priority = 9 }, "EINVAL" },
  ["privilege.affinity"] = { { cpus = "1023" }, "EINVAL" },
  ["privilege.personality"] = { { persona = "linux" }, nil, reason = "personality(2) always succeeds" },
  ["privilege.sysctl"] = { { name = "kernel.sysrq", value = "1" }, "EINVAL" },
  ["privilege.session_keyring"] = { {}, nil, reason = "it takes a full quota of keys: confine_spec has it" },
  ["privilege.no_userns"] = { {}, "EINVAL EACCES" },
  ["privilege.label"] = { { module = "apparmor", label = "carton-no-such-profile" }, "EOPNOTSUPP ENOENT" },
  ["privilege.landlock"] = { { rules = { { path = "/nonexistent", access = { "execute" } } }, optional = true,
    tcp = { bind = {} } }, "ENOENT EOPNOTSUPP ENOSYS" },
  ["privilege.notify"] = { { name = "bad", program = ("\0"):rep(8) }, "EINVAL", after = { "privilege.no_new_privs" } },
  ["privilege.seccomp"] = { { name = "bad", program = ("\0"):rep(8) }, "EINVAL", after = { "privilege.no_new_privs" } },
}

describe("each kind of step", function()
  it("is in the list of this file", function()
    local source = helper.read("src/primitive.c")
    local count = 0
    for name in source:gmatch('%f[%w_]P%("([%w_.]+)"') do
      assert.is_truthy(failing[name], name)
      count = count + 1
    end
    for name in source:gmatch('STEP%("([%w_.]+)"') do
      assert.is_truthy(failing[name], name)
      count = count + 1
    end
    for _ in pairs(failing) do
      count = count - 1
    end
    assert.equal(0, count)
  end)
  local none = { "privilege.capabilities", permitted = {}, effective = {}, inheritable = {} }
  for name, case in pairs(failing) do
    if case[2] then
      it(("fails with its name: %s"):format(name) .. (case.privileged and " #root" or ""), function()
        if case.privileged and not helper.is_root then
          return
        end
        local before = helper.world()
        local fields = type(case[1]) == "function" and case[1]() or case[1]
        local step = { name }
        for key, value in pairs(fields) do
          step[key] = value
        end
        local steps = { step, { "exec.exec", args = { "/bin/true" } } }
        if case.after then
          table.insert(steps, 1, case.after)
        end
        if not case.privileged then -- root is somebody else, so that it is held to its limits
          table.insert(steps, 1, helper.is_root and { "privilege.user", uid = 54321, gid = 54321 } or none)
          table.insert(steps, 2, none)
        end
        local err = helper.raises(exec.spawn, { steps = steps, namespaces = case.privileged and { "mnt" },
          sync = { late = function(process) process:kill() end } })
        if name == "sync" then -- who is ended in a turn never says so itself
          assert.equal("EINTR", err.code)
        else
          assert.is_truthy((" " .. case[2] .. " "):find(" " .. tostring(err.code) .. " ", 1, true), tostring(err))
        end
        assert.equal(name, err.step)
        assert.equal(name:match("[^.]+$"), err.op)
        for i, other in ipairs(steps) do
          if other == step then
            assert.equal(i, err.index)
          end
        end
        assert.matches(name:match("[^.]+$"), tostring(err), 1, true)
        step, steps, err = nil, nil, nil -- luacheck: ignore
        if not case.privileged and type(case[1]) ~= "function" then
          assert.same(before, helper.world())
        end
      end)
    end
  end
  it("has a sync that says that the parent refused #root", function()
    local err = helper.raises(exec.spawn, { steps = { { "sync", name = "x" } },
      sync = { x = function() error("no", 0) end } })
    assert.equal("no", err)
    assert.same({}, helper.children())
  end)
  it("tells that its parent is gone", function()
    local reader, writer = posix.pipe()
    local parent = posix.fork()
    if parent == 0 then
      pcall(exec.spawn, { steps = { { "sync", name = "x" }, { "exec.die_with_parent" },
        { "exec.exec", args = { "/bin/sleep", "60" } } },
        sync = { x = function(process)
          posix.write(writer, tostring(process:pid()))
          posix._exit(0)
        end } })
    end
    posix.close(writer)
    local pid = tonumber(posix.read(reader, 20))
    posix.close(reader)
    posix.wait(parent)
    for _ = 1, 500 do
      if not carton.host.stat("/proc/" .. pid) then
        return
      end
      carton.host.sleep(0.01)
    end
    posix.kill(pid, posix.SIGKILL)
    error("it went on without its parent")
  end)
end)

teardown(helper.cleanup)
