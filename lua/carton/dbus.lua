-- SPDX-License-Identifier: MIT

--- A small client of D-Bus: calls, replies and signals over a local socket. What comes from there is bounded, checked
-- and never waited for beyond a deadline.
-- @module carton.dbus
local core = require("carton.core")
local dbus = {}

local MOST <const> = 1 << 20 -- bytes of a message; the specification allows 128 MiB
local DEPTH <const> = 16 -- of types in types
local QUEUE <const> = 256 -- signals that nobody has asked for yet
local CALL <const>, REPLY <const>, ERROR <const>, SIGNAL <const> = 1, 2, 3, 4
local FIELDS <const> = { path = 1, interface = 2, member = 3, error_name = 4, reply_serial = 5, destination = 6,
  sender = 7, signature = 8 }
local TYPES <const> = { path = "o", interface = "s", member = "s", error_name = "s", reply_serial = "u",
  destination = "s", sender = "s", signature = "g" }

local FIXED <const> = { y = "B", n = "i2", q = "I2", i = "i4", u = "I4", x = "i8", t = "I8", d = "d" }
local ALIGN <const> = { y = 1, b = 4, n = 2, q = 2, i = 4, u = 4, x = 8, t = 8, d = 8, s = 4, o = 4, g = 1, v = 1,
  a = 4, ["("] = 8, ["{"] = 8 }

local function refuse(what)
  core.error { op = "dbus", code = "EPROTO", message = "what came is no message of D-Bus: " .. what }
end

-- Where the complete type ends that begins there.
local function type_end(signature, at, depth)
  local c = signature:sub(at, at)
  if depth > DEPTH then
    refuse("types are too deep")
  elseif c == "a" then
    return type_end(signature, at + 1, depth + 1)
  elseif c == "(" or c == "{" then
    local close, first = c == "(" and ")" or "}", at + 1
    at = first
    while signature:sub(at, at) ~= close do
      at = type_end(signature, at, depth + 1) + 1
    end
    if at == first then
      refuse("an empty struct")
    end
    return at
  elseif not ALIGN[c] then
    refuse("an unknown type")
  end
  return at
end

local function each_type(signature)
  local at = 1
  return function()
    if at <= #signature then
      local first = at
      at = type_end(signature, at, 1) + 1
      return signature:sub(first, at - 1)
    end
  end
end

local function emit(out, bytes)
  out[#out + 1] = bytes
  out.size = out.size + #bytes
end

local function pad(out, alignment)
  emit(out, ("\0"):rep(-out.size % alignment))
end

local put

local function put_array(out, kind, list)
  pad(out, 4)
  local inner = { size = out.size + 4 }
  pad(inner, ALIGN[kind:sub(1, 1)])
  local first = inner.size
  for _, item in ipairs(list) do
    put(inner, kind, item)
  end
  emit(out, ("<I4"):pack(inner.size - first))
  emit(out, table.concat(inner))
end

-- Values as they are in Lua: structs and dictionary entries are lists, a variant is { signature, value }.
function put(out, kind, value)
  local c = kind:sub(1, 1)
  if c == "a" then
    return put_array(out, kind:sub(2), value)
  end
  pad(out, ALIGN[c])
  if c == "s" or c == "o" then
    emit(out, ("<s4"):pack(value) .. "\0")
  elseif c == "g" then
    emit(out, ("<s1"):pack(value) .. "\0")
  elseif c == "b" then
    emit(out, ("<I4"):pack(value and 1 or 0))
  elseif c == "v" then
    put(out, "g", value[1])
    put(out, value[1], value[2])
  elseif c == "(" or c == "{" then
    local i = 0
    for inner in each_type(kind:sub(2, -2)) do
      i = i + 1
      put(out, inner, value[i])
    end
  else
    emit(out, ("<" .. FIXED[c]):pack(value))
  end
end

--- Write values down as the body of a message.
-- @tparam string signature
-- @param ... a value for each type: structs and dictionary entries are lists, a variant is `{ signature, value }`
-- @treturn string
-- @usage dbus.marshal("sa(sv)", "name", { { "Delegate", { "b", true } } })
function dbus.marshal(signature, ...)
  local out, i = { size = 0 }, 0
  for kind in each_type(signature) do
    i = i + 1
    put(out, kind, (select(i, ...)))
  end
  return table.concat(out)
end

-- Take bytes of a message, whose end is `input.limit`.
local function take(input, alignment, count)
  local first = input.at + -input.at % alignment
  if first + count > input.limit then
    refuse("it is cut off")
  end
  input.at = first + count
  return first
end

local get

local function get_text(input, width)
  local first = take(input, width, width)
  local length = (input.order .. "I" .. width):unpack(input.data, first + 1)
  first = take(input, 1, length + 1)
  local text = input.data:sub(first + 1, first + length)
  if text:find("\0", 1, true) or input.data:byte(first + length + 1) ~= 0 then
    refuse("a string is not ended")
  end
  return text
end

local function get_array(input, kind, depth)
  local first = take(input, 4, 4)
  local length = (input.order .. "I4"):unpack(input.data, first + 1)
  take(input, ALIGN[kind:sub(1, 1)], 0)
  local list, last, limit = {}, input.at + length, input.limit
  if last > limit then
    refuse("an array is cut off")
  end
  input.limit = last
  while input.at < last do
    list[#list + 1] = get(input, kind, depth)
  end
  input.limit = limit
  return list
end

function get(input, kind, depth)
  local c = kind:sub(1, 1)
  if depth > DEPTH then
    refuse("values are too deep")
  elseif c == "a" then
    return get_array(input, kind:sub(2), depth + 1)
  elseif c == "s" or c == "o" then
    return get_text(input, 4)
  elseif c == "g" then
    return get_text(input, 1)
  elseif c == "v" then
    local inner = get_text(input, 1)
    if inner == "" or type_end(inner, 1, 1) ~= #inner then
      refuse("a variant of not one type")
    end
    return get(input, inner, depth + 1)
  elseif c == "(" or c == "{" then
    take(input, 8, 0)
    local list = {}
    for inner in each_type(kind:sub(2, -2)) do
      list[#list + 1] = get(input, inner, depth + 1)
    end
    return list
  elseif c == "b" then
    local value = get(input, "u", depth)
    return value == 1 or value ~= 0 and refuse("a boolean is neither") or false
  end
  local format = input.order .. FIXED[c]
  return (format:unpack(input.data, take(input, ALIGN[c], format:packsize()) + 1))
end

--- Read values from the body of a message.
-- @tparam string signature
-- @tparam string data
-- @tparam[opt="<"] string order `"<"` little-endian, `">"` big-endian
-- @treturn table a value for each type
-- @raise `carton.error`: `EPROTO`
function dbus.unmarshal(signature, data, order)
  local input, values = { data = data, at = 0, limit = #data, order = order or "<" }, {}
  for kind in each_type(signature) do
    values[#values + 1] = get(input, kind, 1)
  end
  if input.at ~= input.limit then
    refuse("more than its types say")
  end
  return values
end

-- A whole message of this client's.
local function compose(kind, serial, fields, signature, ...)
  local body = dbus.marshal(signature, ...)
  fields.signature = signature ~= "" and signature or nil
  local list = {}
  for name, number in pairs(FIELDS) do
    if fields[name] then
      list[#list + 1] = { number, { TYPES[name], fields[name] } }
    end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  local out = { size = 0 }
  emit(out, ("<c1BBBI4I4"):pack("l", kind, 0, 1, #body, serial))
  put(out, "a(yv)", list)
  local head = table.concat(out)
  return head .. ("\0"):rep(-#head % 8) .. body
end

local methods = {}
local meta = { __name = "carton.dbus", __index = methods }

local function late(self)
  core.error { op = "dbus", path = self.path, code = "ETIMEDOUT",
    message = "time is up, waiting for " .. self.awaited }
end

-- Wait until the socket is ready; raise when time is up.
local function ready(self, event)
  local left = self.deadline - core.host.monotonic()
  if left <= 0 or #core.exec.poll({ { self.socket, event } }, left) == 0 then
    late(self)
  end
end

local function send(self, data)
  local at = 1
  while at <= #data do
    at = at + (self.socket:write(data, at) or 0)
    if at <= #data then
      ready(self, "w")
    end
  end
end

-- Read until there are so many bytes, or until a line is whole.
local function fill(self, count, mark)
  while #self.input < count and not (mark and self.input:find(mark, 1, true)) do
    ready(self, "r")
    local data = self.socket:read()
    if data == nil then
      core.error { op = "dbus", path = self.path, code = "ECONNRESET", message = "the connection was closed" }
    end
    self.input = self.input .. (data or "")
  end
end

local function cut(self, count)
  local data = self.input:sub(1, count)
  self.input = self.input:sub(count + 1)
  return data
end

-- The next message, up to what it holds: its kind, its fields by name.
local function receive(self)
  fill(self, 16)
  local order = ({ l = "<", B = ">" })[self.input:sub(1, 1)]
  if not order then
    refuse("an unknown byte order")
  end
  local kind, _, version, body, serial, fields = (order .. "xBBBI4I4I4"):unpack(self.input)
  if version ~= 1 then
    refuse("an unknown version")
  elseif fields > MOST then
    refuse("it is too long")
  end
  local head = 16 + fields
  local first = head + -head % 8
  fill(self, first)
  local data = cut(self, first)
  local message = { kind = kind, serial = serial, length = body, order = order }
  for _, field in ipairs(get({ data = data, at = 12, limit = head, order = order }, "a(yv)", 1)) do
    for name, number in pairs(FIELDS) do
      if field[1] == number then
        message[name] = field[2]
      end
    end
  end
  for name, kind_of in pairs(TYPES) do
    local value = message[name]
    if value ~= nil and type(value) ~= (kind_of == "u" and "number" or "string") then
      refuse("a field of another type")
    end
  end
  return message
end

-- What a message holds that is meant.
local function values_of(self, message)
  if message.length > MOST then
    refuse("it is too long")
  end
  fill(self, message.length)
  return dbus.unmarshal(message.signature or "", cut(self, message.length), message.order)
end

-- Signals of who answered last are kept. On a bus anybody may send one, which says nothing and is not even looked into;
-- where there is no bus, there is nobody else.
local function keep(self, message)
  if message.kind == SIGNAL and (not self.is_bus or message.sender == self.sender) then
    if #self.signals >= QUEUE then
      refuse("too many signals")
    end
    message.values = values_of(self, message)
    table.insert(self.signals, message)
    return
  end
  local left = message.length
  while left > 0 do
    fill(self, 1)
    left = left - #cut(self, left)
  end
end

--- Call a method and wait for its reply.
-- @function bus:call
-- @tparam table fields `destination`, `path`, `interface`, `member`
-- @tparam[opt=""] string signature of what follows
-- @param ... as of `marshal`
-- @treturn table the values of the reply
-- @raise `carton.error`: what the other side says, its name in `refusal`; `ETIMEDOUT`, `ECONNRESET`, `EPROTO`
function methods:call(fields, signature, ...)
  self.serial, self.awaited = self.serial + 1, "the answer to " .. fields.member
  local copy = {}
  for key, value in pairs(fields) do
    copy[key] = value
  end
  send(self, compose(CALL, self.serial, copy, signature or "", ...))
  while true do
    local message = receive(self)
    local answers = message.reply_serial == self.serial
    if answers and message.kind == REPLY then
      self.sender = message.sender
      return values_of(self, message)
    elseif answers and message.kind == ERROR then
      local name, text = message.error_name or "an error without a name", values_of(self, message)[1]
      core.error { op = "dbus", path = fields.member, code = name:find("AccessDenied$") and "EACCES" or "EIO",
        message = ("%s (%s)"):format(type(text) == "string" and text or "refused", name), refusal = name }
    end
    keep(self, message)
  end
end

--- Wait for a signal of who answered the last call.
-- @function bus:wait_signal
-- @tparam string member its name
-- @tparam function is_meant called with its values
-- @treturn table its values
-- @raise `carton.error`: `ETIMEDOUT`, `ECONNRESET`, `EPROTO`
function methods:wait_signal(member, is_meant)
  self.awaited = "the signal " .. member
  while true do
    for i, message in ipairs(self.signals) do
      if message.member == member and is_meant(table.unpack(message.values)) then
        table.remove(self.signals, i)
        return message.values
      end
    end
    self.signals = {}
    keep(self, receive(self))
  end
end

--- Close the connection.
-- @function bus:close
function methods:close()
  self.socket:close()
end

meta.__close = methods.close

-- SASL, EXTERNAL: the socket tells the other side who calls. All at once, as sd-bus does it: its services don't look at
-- a call that comes together with BEGIN before something else comes.
local function authenticate(self)
  local digits = tostring(core.host.euid()):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  send(self, "\0AUTH EXTERNAL " .. digits .. "\r\nBEGIN\r\n")
  fill(self, 512, "\r\n")
  local line = cut(self, (select(2, self.input:find("\r\n", 1, true)) or refuse("no end of a line")))
  if not line:find("^OK %x+\r\n$") then
    core.error { op = "dbus", path = self.path, code = "EACCES", message = "it lets this user not in" }
  end
end

--- Connect to a bus, or to a service of its own.
-- @tparam table fields `path` of its socket; `bus` whether it is a bus with services on it; `timeout`: seconds (25) for
--   all that is done with it
-- @treturn bus
-- @treturn table who listens there, as of `exec.connect`
-- @raise `carton.error`: `ENOENT`, `ECONNREFUSED`, `EACCES`, `ETIMEDOUT`, `EPROTO`
-- @see unix(7)
-- @usage local bus <close> = carton.dbus.open{ path = "/run/dbus/system_bus_socket", bus = true }
function dbus.open(fields)
  local socket, peer = core.exec.connect(fields.path)
  local self = setmetatable({ socket = socket, path = fields.path, is_bus = fields.bus, input = "", serial = 0,
    signals = {}, awaited = "being let in", deadline = core.host.monotonic() + (fields.timeout or 25) }, meta)
  local ok, err = pcall(function()
    authenticate(self)
    if fields.bus then
      self:call { destination = "org.freedesktop.DBus", path = "/org/freedesktop/DBus",
        interface = "org.freedesktop.DBus", member = "Hello" }
    end
  end)
  if not ok then
    self:close()
    error(err, 0)
  end
  return self, peer
end

return dbus
