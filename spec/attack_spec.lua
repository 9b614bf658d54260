-- SPDX-License-Identifier: MIT
-- Hostile payloads and images, and ends at any moment: nothing of the caller is reached, nothing is left.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local exec, host = carton.exec, carton.host

local function container(fields)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null", stdout = "null", stderr = "null",
    idmap = not helper.is_root and "single" or nil, timeout = 60 }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  return carton.container(all)
end

local function shell(command, fields)
  fields = fields or {}
  fields.idmap = not helper.is_root and "single" or nil
  return helper.shell(command, fields)
end

--- Wait for something that comes about by itself.
local function eventually(holds)
  local began = host.monotonic()
  while host.monotonic() - began < 10 do
    if holds() then
      return true
    end
    host.sleep(0.005)
  end
  return false
end

describe("the caller's own program #userns", function()
  local function own()
    return posix.readlink("/proc/self/exe")
  end
  it("is not what a path or link of an image leads to", function()
    local root = helper.rootfs(true)
    posix.link("/proc/self/exe", root .. "/bin/self", true)
    helper.write(root .. "/bin/script", "#!/proc/self/exe\nprint('interpreter')\n", "rwxr-xr-x")
    helper.write(root .. "/bin/version", "#!/proc/self/exe -v\n", "rwxr-xr-x")
    local before = helper.read(own())
    local function attacks(run)
      for _, program in ipairs { "/proc/self/exe", "/bin/self", "/bin/script", "/bin/version", "self", "script" } do
        local ok, status = pcall(run, { program, "-e", "print('interpreter')" })
        if ok then -- the small program in memory refuses to be anything else
          assert.equal(125, status.code, program)
          assert.equal("", status.stdout .. status.stderr)
        else
          assert.equal("exec.exec", status.step, tostring(status))
        end
      end
      local status = run { "sh", "-c", [[
        ls -l /proc/self/exe; for exe in /proc/[0-9]*/exe; do echo evil >>$exe; done 2>/dev/null; true]] }
      assert.matches("/bin/busybox", status.stdout)
    end
    attacks(function(args)
      return shell("", { rootfs = root, args = args })
    end)
    local c <close> = container { rootfs = root }
    c:start()
    attacks(function(args)
      local e <close> = c:exec { args = args, stdin = "null", stdout = "capture", stderr = "capture" }
      return e:wait(10)
    end)
    assert.equal(before, helper.read(own()))
  end)
  it("is found out before it runs, where all is there that it needs", function()
    local marker = helper.tmpdir()
    posix.chmod(marker, "rwxrwxrwx")
    local layout = carton.steps(carton.rootfs.host(), {
      { "mount.symlink", path = "/tmp/self", target = "/proc/self/exe" },
      { "mount.write", target = "/tmp/script", mode = "0755",
        content = "#!/proc/self/exe\nio.open('/marker/ran', 'w'):close()\n" },
      { "mount.write", target = "/tmp/second", mode = "0755", content = "#!/tmp/script\n" },
      { "mount.bind", source = marker, target = "/marker" } })
    for _, wish in ipairs { {}, { init = true }, { die_with_parent = false },
      { namespaces = { pid = "host" } } } do
      for _, program in ipairs { "/proc/self/exe", "/tmp/self", "/tmp/script", "/tmp/second" } do
        local before = helper.children()
        local ok, status = pcall(shell, "", { rootfs = layout, init = wish.init, namespaces = wish.namespaces,
          die_with_parent = wish.die_with_parent, args = { program, "-e", "io.open('/marker/ran', 'w'):close()" } })
        if ok then
          assert.equal(125, status.code, program)
        else
          assert.equal("exec.exec", status.step, tostring(status))
        end
        assert.is_nil(host.stat(marker .. "/ran"), program)
        assert.same(before, helper.children())
      end
    end
  end)
  it("is refused by name, and a program that is another's runs", function()
    local layout = carton.steps(carton.rootfs.host(), {
      { "mount.write", target = "/tmp/script", mode = "0755", content = "#!/proc/self/exe\n" } })
    local err = helper.raises_code("EPERM", shell, "", { rootfs = layout, args = { "/tmp/script" } })
    assert.matches("is the file of who starts it", tostring(err))
    assert.equal("fine\n", shell("echo fine", { rootfs = carton.rootfs.host() }).stdout)
  end)
  it("is out of sight of those inside while another program enters", function()
    local caught = helper.rootfs(true)
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    posix.chmod(caught .. "/tmp", "rwxrwxrwx")
    local c <close> = container { rootfs = caught, capabilities = "all", -- as mighty as who enters
      idmap = helper.is_root and { uids = ids, gids = ids } or "single", args = { "sh", "-c", [[
      while :; do for p in /proc/[0-9]*; do
        exe=$(readlink $p/exe) && case $exe in *busybox*|*memfd*) ;; *) echo "$exe" >>/tmp/caught;; esac
      done; done]] } }
    c:start()
    for _ = 1, 60 do
      local e <close> = c:exec { args = { "true" }, stdin = "null", stdout = "null", stderr = "null" }
      assert.equal(0, e:wait(10).code)
    end
    c:close()
    assert.is_nil(host.stat(caught .. "/tmp/caught") and helper.read(caught .. "/tmp/caught"))
  end)
  it("is out of sight from the moment of entering, even for who may do anything inside", function()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local c <close> = container { capabilities = "all",
      idmap = helper.is_root and { uids = ids, gids = ids } or "single" }
    c:start()
    local seen
    local p <close> = exec.spawn { steps = {
      { "namespace.enter", process = c.process, kinds = { "user", "mnt", "pid" } }, { "exec.fork" },
      { "sync", name = "look" }, { "exec.exec", args = { "/bin/true" } } },
      sync = { look = function()
        local e <close> = c:exec { args = { "sh", "-c", "for p in /proc/[0-9]*; do readlink $p/exe; done" },
          stdin = "null",
          stdout = "capture", stderr = "null", capabilities = "all" }
        seen = e:wait(10).stdout
      end } }
    assert.equal(0, p:wait().code)
    assert.matches("busybox", seen)
    assert.is_nil(seen:find(own(), 1, true), seen)
  end)
  it("and its memory are closed to others with the privileges of the program to come", function()
    local drop = { "privilege.capabilities", permitted = {}, effective = {}, inheritable = {},
      bounding = helper.is_root and {} or nil }
    local looked
    local p <close> = exec.spawn { steps = { drop, { "sync", name = "look" },
      { "exec.exec", args = { "/bin/true" } } },
      sync = { look = function(process)
        local reader <close> = exec.spawn { steps = { drop, { "exec.exec", args = { "/bin/sh", "-c",
          ("readlink /proc/%d/exe || dd if=/proc/%d/mem count=0 2>/dev/null"):format(process:pid(), process:pid()) },
          env = { PATH = "/usr/bin:/bin" } } } }
        looked = reader:wait()
      end } }
    assert.equal(0, p:wait().code)
    assert.equal(1, looked.code)
    assert.is_truthy(posix.access("/proc/self/mem", "r")) -- and are our own again
  end)
  it("refuses to run with somebody else's privileges #root", function()
    if not helper.is_root then
      return
    end
    local path = helper.tmpdir() .. "/carton"
    assert(os.execute(("cp '%s' '%s' && chmod 4755 '%s'"):format(helper.program, path, path)))
    local result = helper.run { "/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", path,
      "--version" }
    assert.equal(125, result.code)
    assert.matches("set%-user%-ID", result.stderr)
  end)
end)

describe("the caller's descriptors #userns", function()
  it("are not there for the program, nor on the way to it", function()
    local root = helper.rootfs(true)
    local dir = helper.tmpdir()
    helper.write(dir .. "/evil", "#!/bin/sh\necho reached\n", "rwxr-xr-x")
    local held = { carton.mount.open_root(dir) }
    for i = 1, 100 do
      held[i + 1] = posix.open(dir, posix.O_RDONLY) -- without O_CLOEXEC
    end
    local c <close> = container { rootfs = root }
    c:start()
    local listing = "0 1 2 3" -- 3 is the listing itself
    for _, init in ipairs { false, true } do
      local status = shell("ls /proc/self/fd", { init = init or nil })
      assert.equal(listing, (status.stdout:gsub("\n$", ""):gsub("\n", " ")))
    end
    local function run(args)
      local e <close> = c:exec { args = args, stdin = "null", stdout = "capture", stderr = "capture" }
      return e:wait(10)
    end
    assert.equal(listing, (run { "ls", "/proc/self/fd" }.stdout:gsub("\n$", ""):gsub("\n", " ")))
    for fd = 3, 40 do
      local path = ("/proc/self/fd/%d/evil"):format(fd)
      os.remove(root .. "/bin/evil")
      posix.link(path, root .. "/bin/evil", true)
      for _, args in ipairs { { path }, { "/bin/evil" } } do
        assert.equal("table", type(helper.raises(run, args)))
        if fd < 8 then
          assert.equal("table", type(helper.raises(shell, "", { rootfs = root, args = args })))
        end
      end
      -- some are directories inside: the root itself, and what masked paths lead to
      local ok, result = pcall(shell, "ls evil; pwd", { cwd = ("/proc/self/fd/%d"):format(fd) })
      if ok then
        assert.is_true(result.stdout == "/\n" or result.stdout == "/proc/acpi\n", result.stdout)
      else
        assert.equal("exec.chdir", result.step)
      end
    end
    for i = 2, #held do
      posix.close(held[i])
    end
  end)
  it("are enough, or nothing runs", function()
    local root = helper.rootfs(true)
    local c <close> = container { rootfs = root }
    c:start()
    local limit, hard = posix.getrlimit("nofile")
    local next_fd = posix.dup(0)
    posix.close(next_fd)
    local failed, succeeded = 0, 0
    for room = 0, 16 do
      posix.setrlimit("nofile", next_fd + room, hard)
      local ok, e = pcall(c.exec, c, { args = { "touch", "/tmp/ran" }, stdin = 0, stdout = 1, stderr = 2 })
      posix.setrlimit("nofile", limit, hard)
      if ok then
        e:wait(10)
        e:close()
        succeeded = succeeded + 1
        assert.is_truthy(os.remove(root .. "/tmp/ran"))
      else
        host.sleep(0.03)
        failed = failed + 1
        assert.is_nil(host.stat(root .. "/tmp/ran"), tostring(e))
        collectgarbage()
      end
    end
    assert.is_true(failed > 2 and succeeded > 2, failed .. " failed, " .. succeeded .. " succeeded")
  end)
end)

describe("an output without end", function()
  it("of what a program left behind does not keep the caller #userns", function()
    local c <close> = container()
    c:start()
    local e <close> = c:exec { args = { "sh", "-c", "cat /dev/zero & exit 3" }, stdin = "null", stdout = "capture",
      stderr = "null" }
    local began = host.monotonic()
    local status = e:wait(20)
    assert.equal(3, status.code)
    assert.is_true(host.monotonic() - began < 10)
  end)
end)

describe("an end at any moment #userns", function()
  local function rehearse(body)
    local before = helper.world()
    for i = 1, 40 do
      local reader <close>, writer = exec.pipe()
      io.stdout:flush()
      local parent = posix.fork()
      if parent == 0 then
        reader:close()
        pcall(body, writer, i)
        posix._exit(0)
      end
      writer:close()
      host.sleep(math.random() * 0.02)
      posix.kill(parent, posix.SIGKILL)
      posix.wait(parent)
      -- whoever is left holds our pipe, before its program as well as in it
      local gone = exec.poll({ { reader, "r" } }, 10)
      assert.equal(1, #gone, "somebody lives on after round " .. i)
      assert.is_nil(reader:read())
    end
    assert.same(before, helper.world())
  end
  it("of the caller ends a container with it, with and without an init", function()
    rehearse(function(writer, i)
      container({ stdout = writer, init = i % 2 == 0 or nil }):run()
    end)
  end)
  it("of the caller ends it when it does not ask for that, but before it runs", function()
    rehearse(function(writer)
      exec.spawn { namespaces = { helper.is_root and "mnt" or "user" }, steps = { { "sync", name = "wait" },
        { "exec.descriptors", fds = { 0, writer, 2 } }, { "exec.exec", args = { "/bin/sleep", "60" } } },
        sync = { wait = function() host.sleep(60) end } }
    end)
  end)
  it("of the caller ends what it entered a container with", function()
    local c <close> = container()
    c:start()
    rehearse(function(writer)
      while true do
        c:exec({ args = { "sleep", "60" }, stdin = "null", stdout = writer, stderr = "null" })
      end
    end)
  end)
  it("of the child is told, and leaves nothing", function()
    local before = helper.world()
    local own = posix.getpid("pid")
    local killer = posix.fork()
    if killer == 0 then
      local children = ("/proc/%d/task/%d/children"):format(own, own)
      local began = host.monotonic()
      while host.monotonic() - began < 30 do
        for pid in helper.read(children):gmatch("%d+") do
          if tonumber(pid) ~= posix.getpid("pid") then
            posix.kill(tonumber(pid), posix.SIGKILL)
          end
        end
        host.sleep(math.random() * 0.004)
      end
      posix._exit(0)
    end
    local started, raised = 0, 0
    for i = 1, 150 do
      local c <close> = container { init = i % 3 == 0 or nil }
      local ok, err = pcall(c.start, c)
      if ok then
        started = started + 1
        assert.equal("SIGKILL", c:wait(10).signal)
      else
        raised = raised + 1
        assert.equal("EINTR", err.code, tostring(err))
        assert.matches("was killed before", tostring(err))
      end
    end
    posix.kill(killer, posix.SIGKILL)
    posix.wait(killer)
    assert.is_true(started > 0 and raised > 0, started .. " started, " .. raised .. " raised")
    assert.is_true(eventually(function() return #helper.children() == 0 end))
    assert.same(before, helper.world())
  end)
end)

teardown(helper.cleanup)
