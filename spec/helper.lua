-- SPDX-License-Identifier: MIT
-- What the specs share: a look at the world, temporary places, root file systems, processes of their own.
local assert = require("luassert")
local posix = require("posix")
local core = require("carton.core")
local helper = {}

core.exec.guard() -- a first launch would start it, between two looks at what is open

helper.is_root = posix.geteuid() == 0
helper.program = os.getenv("CARTON_PROGRAM") or "build/bin/carton"

--- Open descriptors of this process, after a full collection.
function helper.fds()
  collectgarbage()
  collectgarbage()
  local list = {}
  for _, name in ipairs(posix.dir("/proc/self/fd")) do
    local target = posix.readlink("/proc/self/fd/" .. name)
    if target and not target:match("^/proc/%d+/fd$") then
      list[#list + 1] = name .. " " .. target
    end
  end
  table.sort(list)
  return list
end

--- Processes that are children of this one, zombies too.
function helper.children()
  local list = {}
  for _, pid in ipairs(posix.dir("/proc")) do
    local file = pid:match("^%d+$") and io.open("/proc/" .. pid .. "/stat")
    if file then
      local parent = (file:read("a") or ""):match("^.*%) %S (%d+)")
      file:close()
      if tonumber(parent) == posix.getpid().pid or tonumber(parent) == posix.getpid("pid") then
        list[#list + 1] = tonumber(pid)
      end
    end
  end
  return list
end

--- What a launch must leave as it was.
function helper.world()
  local mounts = {}
  for i, mount in ipairs(core.mount.list()) do
    mounts[i] = mount.id .. " " .. mount.target
  end
  return { fds = helper.fds(), mounts = mounts, children = helper.children() }
end

--- Wait until something holds; true when it did.
function helper.eventually(holds)
  for _ = 1, 1000 do
    if holds() then
      return true
    end
    core.exec.poll({}, 0.01)
  end
  return false
end

--- Call a function that has to raise, and give what it raised.
function helper.raises(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok, "it raised nothing")
  return err
end

--- The same, for a carton.error with this code.
function helper.raises_code(code, f, ...)
  local err = helper.raises(f, ...)
  assert.equal("table", type(err), tostring(err))
  assert.equal(code, err.code, tostring(err))
  return err
end

local temporary = {}
local base = os.getenv("TMPDIR") or "/tmp"

--- A directory that is gone at the end.
function helper.tmpdir()
  local path = assert(posix.mkdtemp(base .. "/carton-spec-XXXXXX"))
  temporary[#temporary + 1] = path
  posix.chmod(path, "rwxr-xr-x")
  return path
end

function helper.write(path, content, mode)
  local file <close> = assert(io.open(path, "w"))
  file:write(content)
  if mode then
    file:flush()
    posix.chmod(path, mode)
  end
  return path
end

function helper.read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

--- Remove a directory with all that is in it.
function helper.remove(path)
  os.execute(("chmod -R u+rwX '%s' 2>/dev/null; rm -rf --one-file-system '%s'"):format(path, path))
end

function helper.cleanup()
  for _, path in ipairs(temporary) do
    helper.remove(path)
  end
  temporary = {}
end

local busybox

--- A root file system with a static busybox, made once; `fresh` for one that may be changed.
function helper.rootfs(fresh)
  if busybox and not fresh then
    return busybox
  end
  local path = helper.tmpdir()
  for _, directory in ipairs { "bin", "etc", "proc", "sys", "dev", "tmp", "root", "usr" } do
    posix.mkdir(path .. "/" .. directory)
  end
  local program = posix.access("/bin/busybox", "x") and "/bin/busybox" or "/usr/bin/busybox"
  assert(os.execute(("cp '%s' '%s/bin/busybox'"):format(program, path)))
  for _, applet in ipairs { "sh", "ls", "cat", "id", "hostname", "sleep", "true", "false", "echo",
    "mount", "ps", "env", "stat", "touch", "rm", "mkdir", "wc", "head", "kill", "readlink", "tty",
    "stty", "test", "grep", "ip", "mknod", "umount", "date", "dd", "seq", "tr", "sort", "cut" } do
    posix.link("busybox", path .. "/bin/" .. applet, true)
  end
  helper.write(path .. "/etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n1:x:99:99:trap:/:/bin/sh\n")
  helper.write(path .. "/etc/group", "root:x:0:\nweb:x:34:\nlogs:x:35:other,web\nbad:x:36:webx\n")
  if not fresh then
    busybox = path
  end
  return path
end

--- Run a container of a busybox root with a shell command; gives its status, with both outputs.
function helper.shell(command, fields)
  local carton = require("carton")
  local all = { rootfs = helper.rootfs(), args = { "sh", "-c", command }, stdin = "null",
    stdout = "capture", stderr = "capture", timeout = 60 }
  for key, value in pairs(fields or {}) do
    all[key] = value
  end
  local c <close> = carton.container(all)
  return c:run()
end

--- The output of such a container, which has to succeed.
function helper.output(command, fields)
  local status = helper.shell(command, fields)
  assert.equal(0, status.code, (status.stderr or "") .. (status.stdout or ""))
  return (status.stdout:gsub("\n$", ""))
end

--- Tell whether the kernel is at least of this version, for what older ones are known to lack.
function helper.kernel_is(major, minor)
  local a, b = core.host.uname().release:match("^(%d+)%.(%d+)")
  a, b = tonumber(a), tonumber(b)
  return a > major or (a == major and b >= minor)
end

--- Run a program of the host; gives code, stdout, stderr.
function helper.run(args, options)
  options = options or {}
  local out_read, out_write = core.exec.pipe()
  local err_read, err_write = core.exec.pipe()
  local env = options.env or {}
  for _, name in ipairs { "PATH", "HOME", "LUA_PATH", "LUA_CPATH", "LD_PRELOAD", "ASAN_OPTIONS",
    "XDG_CONFIG_HOME" } do
    env[name] = env[name] or os.getenv(name)
  end
  local steps = {
    { "exec.descriptors", fds = { options.stdin or core.exec.null(), out_write, err_write } },
    { "exec.exec", args = args, env = env },
  }
  if options.cwd then
    table.insert(steps, 1, { "exec.chdir", path = options.cwd })
  end
  local process <close> = core.exec.spawn { steps = steps }
  out_write:close()
  err_write:close()
  local result = { stdout = {}, stderr = {} }
  local open = { { out_read, result.stdout }, { err_read, result.stderr } }
  while #open > 0 do
    local polls = {}
    for i, pair in ipairs(open) do
      polls[i] = { pair[1], "r" }
    end
    local ready = core.exec.poll(polls, options.timeout or 120)
    if #ready == 0 then
      process:kill("SIGKILL")
      error("time is up: " .. table.concat(args, " "))
    end
    for i = #ready, 1, -1 do
      local pair = open[ready[i]]
      local data = pair[1]:read()
      if data then
        table.insert(pair[2], data)
      else
        pair[1]:close()
        table.remove(open, ready[i])
      end
    end
  end
  local status = process:wait()
  return { code = status.code, signal = status.signal, stdout = table.concat(result.stdout),
    stderr = table.concat(result.stderr) }
end

--- The program itself.
function helper.carton(...)
  local args = { helper.program, ... }
  local options
  if type(args[#args]) == "table" then
    options = table.remove(args)
  end
  return helper.run(args, options)
end

--- Call a function in a child that has mount (and, for an unprivileged caller, user) namespaces of its own,
-- so that it may mount what it likes; what it raises is raised here.
function helper.isolated(f)
  local reader, writer = posix.pipe()
  local place = helper.tmpdir() -- what the child makes is removed by its parent
  io.stdout:flush()
  local pid = posix.fork()
  if pid == 0 then
    base = place
    posix.close(reader)
    local ok, err = pcall(function()
      if not helper.is_root then
        local uid, gid = posix.geteuid(), posix.getegid()
        core.namespace.unshare { kinds = { "user", "mnt" } }
        core.namespace.idmap {
          uids = { { container_id = 0, host_id = uid, size = 1 } },
          gids = { { container_id = 0, host_id = gid, size = 1 } },
        }
      else
        core.namespace.unshare { kinds = { "mnt" } }
      end
      core.mount.propagation { propagation = "rprivate" }
      f()
    end)
    posix.write(writer, ok and "ok" or type(err) == "table" and err.message or tostring(err))
    posix._exit(0)
  end
  posix.close(writer)
  local said = {}
  for data in function() return posix.read(reader, 65536) end do
    if data == "" then
      break
    end
    said[#said + 1] = data
  end
  posix.close(reader)
  posix.wait(pid)
  if table.concat(said) ~= "ok" then
    error(table.concat(said) ~= "" and table.concat(said) or "the child died", 0)
  end
end

--- Whether this user can have containers in the host's pid namespace, which takes a cgroup.
function helper.can_share_pid()
  local ok, group = pcall(require("carton.cgroup").create, { name = "spec", files = {} })
  if ok then
    group:close()
  end
  return ok
end

--- Directories of cartons, anywhere below /sys/fs/cgroup.
function helper.groups()
  return helper.run({ "find", "/sys/fs/cgroup", "-name", "carton-*" }).stdout
end

--- Start a shell in a container.
function helper.start(script, fields)
  fields = fields or {}
  local all = { rootfs = helper.rootfs(), args = { "sh", "-c", script }, stdin = "null", stdout = "capture",
    stderr = "capture", timeout = 60, name = "spec" }
  for key, value in pairs(fields) do
    all[key] = value
  end
  return require("carton").container(all):start()
end

return helper
