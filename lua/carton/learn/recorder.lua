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
local PORT_START <const> = "net.ipv4.ip_unprivileged_port_start"
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
  local self = setmetatable({ options = options, observations = {} }, meta)
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

-- The first port that takes no capability.
local function low_ports(fields)
  local shared = fields.network == "host" or (fields.namespaces and fields.namespaces.net == "host")
  local text = fields.sysctl and fields.sysctl[PORT_START]
  if shared then
    local file <close> = io.open("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    text = file and file:read("l")
  end
  return tonumber(text) or LOW_PORTS
end

local function is_stream(call)
  local ok, socket = pcall(require, "posix.sys.socket")
  if not ok then
    return true -- nobody to ask
  end
  local descriptor <close> = call:descriptor(call.args[1])
  local kind = socket.getsockopt(descriptor:fileno(), SOL_SOCKET, SO_TYPE)
  return kind == nil or kind == SOCK_STREAM
end

-- A socket's address: a port, or a path.
local function record_address(watch, who)
  local call = who.call
  local address = call:sockaddr(2, 3)
  if (address.family == "inet" or address.family == "inet6") and is_stream(call) then
    watch.seen:add_port(call.name, address.port)
  elseif address.family == "unix" and not address.abstract and address.address ~= "" then
    watch.files:record_socket(who, address.address)
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
      address = name == "bind" or name == "connect" }
    entry.deep = entry.paths or entry.needs or entry.descriptor or entry.address
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
    facts = { low_ports = low_ports(fields), withheld = c.withheld } }
  watch.files = files.new({
    note = function(path, use, call)
      seen:add_path(path, use, call.name)
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
