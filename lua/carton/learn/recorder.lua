-- SPDX-License-Identifier: MIT

--- A run that is watched: each call of each container is recorded, and goes on as if nobody had looked.
-- @module carton.learn.recorder
local calls = require("carton.learn.calls")
local caller = require("carton.learn.caller")
local files = require("carton.learn.files")
local needs = require("carton.learn.needs")
local observation = require("carton.learn.observation")
local recorder = {}

local CLONE_THREAD <const> = 0x10000
local LOW_PORTS <const> = 1024
local PORT_START <const>, PORT_RANGE <const> = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_port_range"
local RANGE <const> = "32768 60999" -- from which the kernel chooses: ip(7)
local SIGCHLD <const>, SA_RESTART <const> = 17, 0x10000000
local SOL_SOCKET <const>, SO_TYPE <const>, SOCK_STREAM <const> = 1, 3, 1

local methods = {}
local meta = { __name = "carton.learn.recorder", __index = methods }

-- What a container's on_syscall was before it was watched.
local originals = setmetatable({}, { __mode = "k" })

--- Begin to record what containers do that are started from now on, by name.
-- @tparam[opt] table options `limit` (paths of a container, 4096), `judge(name, call, verdict)` is told each call,
--   `every` count each use, `prepare(c)` is told each container before it is started
-- @treturn recorder
function recorder.new(options)
  options = options or {}
  local self = setmetatable({ options = options, observations = {}, ports = {} }, meta)
  local container = require("carton.container")
  self.before = container.observer
  container.observer = function(c)
    self:watch(c)
  end
  return self
end

--- Record no more containers; those that run already are recorded to their end.
-- @function recorder:stop
function methods:stop()
  require("carton.container").observer, self.before = self.before, nil
end

meta.__close = methods.stop

--- Give what is recorded under a name.
-- @function recorder:of
-- @tparam ?string name of the container
-- @treturn observation
function methods:of(name)
  name = name or observation.UNNAMED
  self.observations[name] = self.observations[name] or observation.new(self.options.limit)
  return self.observations[name]
end

-- A parameter of the network that a container is in.
local function sysctl_of(fields, name, default)
  local shared = fields.network == "host" or (fields.namespaces and fields.namespaces.net == "host")
  local text = fields.sysctl and fields.sysctl[name]
  if shared then
    local file <close> = io.open("/proc/sys/" .. name:gsub("%.", "/"))
    text = file and file:read("l")
  end
  return text or default
end

-- The ports from which the kernel chooses.
local function range_of(fields)
  local low, high = tostring(sysctl_of(fields, PORT_RANGE, RANGE)):match("(%d+)%s+(%d+)")
  return tonumber(low) or 1, tonumber(high) or 65535
end

-- Look at a socket of the caller; nil: there is nobody to ask.
local function with_socket(call, ask)
  local ok, socket = pcall(require, "posix.sys.socket")
  if not ok then
    return nil
  end
  local descriptor <close> = call:descriptor(call.args[1])
  return ask(socket, descriptor:fileno())
end

local function is_stream(call)
  local kind = with_socket(call, function(socket, fd)
    return (socket.getsockopt(fd, SOL_SOCKET, SO_TYPE))
  end)
  return kind == nil or kind == SOCK_STREAM
end

-- Ports of the caller's network: those that were asked for by number, and those that the kernel chose.
local function ports_of(watch, who)
  local network = who:link("ns/net") or ""
  watch.ports[network] = watch.ports[network] or { asked = {}, chosen = {} }
  return watch.ports[network]
end

-- A program that asks which port it has, has not asked for it: where it uses the number, any port is meant.
local function record_name(watch, who)
  local address = is_stream(who.call) and with_socket(who.call, function(socket, fd)
    return (socket.getsockname(fd))
  end)
  local port = type(address) == "table" and math.tointeger(address.port)
  local ports = ports_of(watch, who)
  if port and port >= watch.low and port <= watch.high and not ports.asked[port] then
    ports.chosen[port] = true
  end
end

local function record_port(watch, who, port)
  local ports, call = ports_of(watch, who), who.call.name
  if ports.chosen[port] then
    watch.seen:add_port(call, calls.CHOSEN)
    watch.seen:add_note(call)
  else
    watch.seen:add_port(call, port)
    ports.asked[port] = ports.asked[port] or call == "bind"
  end
end

-- A socket's address: a port, or a path.
local function record_address(watch, who)
  local call = who.call
  local address = call:sockaddr(2, 3)
  if (address.family == "inet" or address.family == "inet6") and is_stream(call) then
    record_port(watch, who, address.port)
  elseif address.family == "unix" and not address.abstract and address.address ~= "" then
    watch.files:record_socket(who, address.address)
  end
end

-- A call that waits to be looked at is interrupted by a signal that has a handler, and fails with EINTR, which close(2)
-- or fork(2) never do otherwise: shells, whose handler of SIGCHLD lacks SA_RESTART, then lose a pipe. So it gets one,
-- which changes nothing for what waits for signals: sigsuspend(2), poll(2), select(2). See signal(7).
local function restart(call)
  if call.args[1] ~= SIGCHLD or call.args[2] == 0 then
    return
  end
  local format = (call.arch == "i386" or call.arch == "arm") and "=I4" or "=I8"
  local size = string.packsize(format)
  local handler, flags = string.unpack(format .. format:sub(2), call:bytes(2, 2 * size))
  if handler > 1 and flags & SA_RESTART == 0 then -- neither SIG_DFL nor SIG_IGN
    call:write(2, string.pack(format, flags | SA_RESTART), size)
  end
end

-- What is kept of a number: its name, and what has to be looked at.
local function entry_of(watch, call)
  local key = call.audit << 32 | call.number
  local entry = watch.entries[key]
  if not entry then
    local name = call.name
    entry = { name = name, pin = calls.pinned[name], paths = calls.paths[name] ~= nil, needs = needs.is_known(name),
      descriptor = calls.descriptors[name] ~= nil, moving = calls.moving[name],
      address = name == "bind" or name == "connect", own_name = name == "getsockname", signal = name == "rt_sigaction" }
    entry.deep = entry.paths or entry.needs or entry.descriptor or entry.address or entry.own_name or entry.signal
    watch.entries[key] = entry
    watch.seen:add_architecture(call.arch)
    if calls.mounting[name] then
      watch.seen:add_note("mounts")
    elseif name:find("^io_uring_") then
      watch.seen:add_note("io_uring")
    end
  end
  return entry
end

-- What was executed before anybody looked.
local function begin(watch, who)
  local fields, steps = watch.container.fields, watch.container.compiled.steps
  local env = steps[#steps].env or {}
  watch.begun = true
  watch.files:begin(who, fields.path or fields.args[1], env.PATH)
end

local function look(watch, call, entry)
  local who = caller.new(call, watch.facts)
  function who.hidden()
    watch.seen:add_note("hidden")
  end
  function who.need(name, stat)
    if name and who:has(name) and not (stat and stat.uid and not who:is_mapped(stat))
      and not (needs.initial[name] and not who:is_initial()) then
      watch.seen:add_capability(name, call.name)
    end
  end
  if not watch.begun then
    begin(watch, who)
  end
  local found = {}
  if entry.paths then
    found = watch.files:record(who)
  elseif entry.descriptor then
    found[1] = watch.files:record_descriptor(who)
  elseif entry.address then
    record_address(watch, who)
  elseif entry.own_name then
    record_name(watch, who)
  elseif entry.signal then
    restart(call)
  end
  if entry.needs then
    needs.ask(who, found)
  end
  if entry.moving then
    watch.files:forget(entry.moving)
  end
end

-- Record a call.
local function record(watch, call, verdict)
  if call.name:find("^%d") then -- one of billions
    if verdict == "allow" then
      watch.seen:add_unnamed()
    end
    return
  end
  local entry = entry_of(watch, call)
  if watch.judge then
    watch.judge(watch.name, call, verdict)
  end
  if verdict ~= "allow" then
    watch.seen:add_denied(entry.name, verdict)
    return
  end
  watch.seen:add_call(entry.name, entry.pin, call.args)
  if entry.name == "clone" and call.args[1] & CLONE_THREAD ~= 0 then
    watch.seen:add_start("threads")
  end
  if entry.deep or not watch.begun then
    local ok, err = pcall(look, watch, call, entry)
    local code = not ok and require("carton.syscall.call").refusal(err)
    if not ok and not code then
      error(err, 0) -- a mistake of this program, no answer to a pointer of that one
    elseif code == "EPERM" then
      watch.seen:add_note("hidden")
    end
  end
end

-- The functions that answer: recorded first, then what the recipe says.
local function wrap(own, watch)
  local on = { timeout = own.timeout }
  for name, handler in pairs(own) do
    if name ~= "timeout" then
      on[name] = function(call)
        record(watch, call, call:verdict())
        return handler(call)
      end
    end
  end
  for _, name in ipairs { "*", "denied" } do
    on[name] = on[name] or function(call)
      record(watch, call, call:verdict())
      call:continue()
    end
  end
  return on
end

--- Watch a container, or a further program of one, that is started next.
-- @function recorder:watch
-- @tparam container c
function methods:watch(c)
  if self.options.prepare then
    self.options.prepare(c)
  end
  local fields = c.fields
  local own = originals[fields.on_syscall or meta] or fields.on_syscall or {}
  local name = c.name or observation.UNNAMED
  local seen = self:of(name)
  local watch = { name = name, container = c, seen = seen, entries = {}, judge = self.options.judge,
    ports = self.ports, facts = { withheld = c.withheld,
      low_ports = tonumber(sysctl_of(fields, PORT_START)) or LOW_PORTS } }
  watch.low, watch.high = range_of(fields)
  watch.files = files.new({
    note = function(path, use, call)
      -- the first program was executed before any call could be seen
      seen:add_path(path, use, use == "execute" and not call.name:find("^exec") and "execve" or call.name)
    end,
    move = function(kind, from, to, call)
      seen:add_move(kind, from, to, call.name)
    end,
    is_opened = function(path)
      return seen:is_opened(path)
    end,
  }, self.options.every)
  seen:add_start("program")
  for _, capability in ipairs(require("carton.capability").ambient(fields.capabilities)) do
    seen.ambient[capability:gsub("^CAP_", "")] = true
  end
  if fields.init then
    seen:add_start("init")
  end
  if fields.no_new_privs == false then
    seen:add_start("privileges")
    seen:add_note("privileges")
  end
  fields.on_syscall = wrap(own, watch)
  originals[fields.on_syscall] = own
end

return recorder
