-- SPDX-License-Identifier: MIT
-- CVE-2024-21626: a descriptor of the runtime's that leads out of the root is working directory, program or argument.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local host = carton.host

local container = attack.container
local shell = attack.shell

--- A directory of the host with a program in it, and what a script there would say.
local function outside()
  local path = helper.tmpdir()
  helper.write(path .. "/evil", "#!/bin/sh\necho reached\n", "rwxr-xr-x")
  return path
end

attack.any("a leaked descriptor is working directory, program or argument", { "CVE-2024-21626" }, function(r)
  local directory, root = outside(), attack.image()
  local c <close> = r:start { rootfs = root, args = { "sleep", "60" }, leaked = directory }
  local tries = 0
  local function attempt(fields)
    for _, run in ipairs { r.run, c.exec } do
      fields.rootfs, fields.leaked = root, directory
      local result = run(run == r.run and r or c, fields)
      attack.holds(not result.stdout:find("reached"), "%s %s", table.concat(fields.args, " "), fields.cwd)
      tries = tries + 1
    end
  end
  local script = ("cat evil && echo reached; cat ../../../../../%s/evil && echo reached"):format(directory)
  for fd = 3, r.name == "Carton" and helper.is_root and 110 or 15 do
    local path = ("/proc/self/fd/%d"):format(fd)
    attempt { args = { "sh", "-c", script }, cwd = path }
    attempt { args = { path .. "/evil" } }
    if fd < 13 then
      attempt { args = { ("../../../proc/self/fd/%d/./evil"):format(fd) } }
      posix.link(path .. "/evil", root .. "/bin/evil" .. fd, true)
      attempt { args = { "evil" .. fd } }
    end
  end
  for _, result in ipairs { r:run { rootfs = root, args = { "payload", "descriptors" }, leaked = directory },
    c:exec { args = { "payload", "descriptors" }, leaked = directory } } do
    assert(result.code == 0, result.stderr)
    local numbers = result.stdout:gsub("(%d+) [^\n]*\n", "%1 ")
    attack.holds(numbers == "0 1 2 ", "more than three: %s", result.stdout)
  end
  attempt { args = { "sh", "-c", "i=3; while [ $i -lt 1024 ]; do for p in self 1; do"
    .. " [ -e /proc/$p/fd/$i/evil ] && echo reached; done; i=$((i+1)); done" } }
  return tries .. " tries"
end)

describe("the caller's descriptors #userns", function()
  it("are not there when an init starts the program, and lead nowhere as its directory", function()
    local held, directory = { carton.mount.open_root("/") }, outside()
    for i = 1, 100 do
      held[i + 1] = posix.open(directory, posix.O_RDONLY) -- without O_CLOEXEC
    end
    local status = shell("ls /proc/self/fd", { init = true })
    assert.equal("0 1 2 3 ", (status.stdout:gsub("\n", " "))) -- 3 is the listing itself
    for fd = 3, 40 do -- some are directories inside: the root itself, and what masked paths lead to
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

teardown(helper.cleanup)
