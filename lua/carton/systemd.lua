-- SPDX-License-Identifier: MIT

--- Scopes of systemd: cgroups that it makes for processes that are not its own, and leaves alone (Delegate=yes).
-- @module carton.systemd
local core = require("carton.core")
local dbus = require("carton.dbus")
local host = core.host
local systemd = {}

local SERVICE <const> = "org.freedesktop.systemd1"
local LINGER <const> = "loginctl enable-linger starts it for this user, also without a session"

-- Where this user's systemd listens, in the order in which it is tried; root's is the system's.
local function sockets()
  if host.euid() == 0 then
    return { { path = "/run/dbus/system_bus_socket", bus = true }, { path = "/run/systemd/private" } }
  end
  local runtime = os.getenv("XDG_RUNTIME_DIR") or ("/run/user/%d"):format(host.euid())
  local list = {}
  for address in (os.getenv("DBUS_SESSION_BUS_ADDRESS") or ""):gmatch("[^;]+") do
    local path = address:match("^unix:path=([^,%%]+)") or address:match("^unix:.*,path=([^,%%]+)")
    list[#list + 1] = path and { path = path, bus = true }
  end
  list[#list + 1] = { path = runtime .. "/bus", bus = true }
  list[#list + 1] = { path = runtime .. "/systemd/private" }
  return list
end

--- Tell whether systemd runs this host.
-- @treturn boolean
-- @see sd_booted(3)
function systemd.is_running()
  return host.stat("/run/systemd/system") ~= nil
end

--- Find the manager that would be asked.
-- @treturn ?table `{ path =, bus = }`: its socket; nil when there is none
-- @treturn ?string why, then
-- @treturn ?string what to do about it
function systemd.find()
  if not systemd.is_running() then
    return nil, "systemd does not run this host"
  end
  for _, socket in ipairs(sockets()) do
    local stat = host.stat(socket.path)
    if stat and stat.type == "socket" then
      return socket
    end
  end
  if host.euid() == 0 then
    return nil, "systemd's bus is not there", "the package dbus has it"
  end
  return nil, "no systemd of this user's runs", LINGER
end

local function fail(path, code, message, hint)
  core.error { op = "scope", path = path, code = code, message = message, hint = hint }
end

local function connect(name)
  local socket, why, hint = systemd.find()
  if not socket then
    fail(name, "ENOENT", why, hint)
  end
  local bus, peer = dbus.open(socket)
  if peer.uid ~= 0 and peer.uid ~= host.euid() then
    bus:close()
    fail(socket.path, "EACCES", ("user %d listens there, who is neither root nor this one"):format(peer.uid))
  elseif peer.pid == 0 then -- what is a process's number here is another's there
    bus:close()
    fail(socket.path, "ESRCH", "systemd is in another pid namespace")
  end
  return bus, socket
end

local function call(bus, member, signature, ...)
  return bus:call({ destination = SERVICE, path = "/org/freedesktop/systemd1", interface = SERVICE .. ".Manager",
    member = member }, signature, ...)
end

local function request(bus, socket, name, pid)
  if socket.bus then
    bus:call({ destination = "org.freedesktop.DBus", path = "/org/freedesktop/DBus", interface = "org.freedesktop.DBus",
      member = "AddMatch" }, "s", ("type='signal',sender='%s',interface='%s.Manager',member='JobRemoved'"):format(
      SERVICE, SERVICE))
  end
  call(bus, "Subscribe")
  local job = call(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", {
    { "Description", { "s", "containers of carton" } },
    { "Slice", { "s", host.euid() == 0 and "machine.slice" or "app.slice" } },
    { "Delegate", { "b", true } },
    { "CollectMode", { "s", "inactive-or-failed" } },
    { "PIDs", { "au", { pid } } },
  }, {})[1]
  local result = bus:wait_signal("JobRemoved", function(_, path) return path == job end)[4]
  if result ~= "done" then
    fail(name, "EIO", "systemd could not start it: " .. tostring(result), "journalctl says why")
  end
end

--- Ask for a scope with a process in it, and wait until it is there.
-- @tparam int pid
-- @treturn string its path in the cgroup file system, as /proc/PID/cgroup has it
-- @raise `carton.error`: `ENOENT` no systemd to ask, `EACCES` or `EIO` what it says, `ETIMEDOUT`, `EPROTO`
-- @see systemd.scope(5)
function systemd.start(pid)
  local name = ("carton-%d-%08x.scope"):format(pid, math.random(0) & 0xffffffff)
  local bus <close>, socket = connect(name)
  local ok, err = pcall(request, bus, socket, name, pid)
  if not ok and type(err) == "table" and err.op == "dbus" then
    fail(name, err.code, "systemd: " .. err.message, err.refusal and "journalctl says more" or LINGER)
  elseif not ok then
    error(err, 0)
  end
  local file <close> = io.open(("/proc/%d/cgroup"):format(pid))
  local path = file and file:read("a"):match("0::(/[^\n]*)")
  if not path or path:sub(-#name - 1) ~= "/" .. name then
    fail(name, "EIO", ("systemd says it is there, and process %d is in %s"):format(pid, path or "none"))
  end
  return path
end

local held -- root's scope, while groups are in it
local methods = {}
methods.__index = methods

--- Let go of a scope: with the last that holds it, its process ends, and systemd removes what is empty.
-- @function scope:release
function methods:release()
  self.users = self.users - 1
  if self.users == 0 then
    held = held ~= self and held or nil
    self.process:kill("SIGKILL")
    self.process:wait()
    self.process:close()
    self.pipe:close()
  end
end

-- A process that does nothing: it ends with its input, and with its parent.
local function placeholder()
  local reader <close>, writer = core.exec.pipe()
  local null <close> = core.exec.null()
  return core.exec.spawn { steps = {
    { "exec.die_with_parent" }, { "exec.setsid" },
    { "exec.descriptors", fds = { reader, null, null } },
    { "exec.exec", args = { "cat" }, env = { PATH = "/usr/bin:/bin:/usr/sbin:/sbin" } },
  } }, writer
end

--- Hold a scope for groups in it, for who may put processes anywhere: this one stays where it is.
-- @treturn scope `path` in the cgroup file system; to be released
-- @raise `carton.error` as of `start`
function systemd.hold()
  if held and held.owner == host.pid() and held.process:is_alive() then
    held.users = held.users + 1
    return held
  end
  local process, pipe = placeholder()
  local ok, path = pcall(systemd.start, process:pid())
  local scope = setmetatable({ process = process, pipe = pipe, users = 1, path = ok and path, owner = host.pid() },
    methods)
  if not ok then
    scope:release()
    error(path, 0)
  end
  held = scope
  return scope
end

return systemd
