-- SPDX-License-Identifier: MIT
-- Services of D-Bus for specs: a child that listens, and says what a service should say, or something else.
local posix = require("posix")
local unistd = require("posix.unistd")
local socket = require("posix.sys.socket")
local helper = require("spec.helper")
local service = {}

--- Read what there is; who has nothing more to say is left with.
function service.receive(fd)
  local data = posix.read(fd, 65536)
  return data and #data > 0 and data or posix._exit(0)
end

--- Listen at a path in a child, which talks to the first who comes; gives path and pid.
function service.serve(talk)
  local path = helper.tmpdir() .. "/bus"
  local fd = assert(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0))
  assert(socket.bind(fd, { family = socket.AF_UNIX, path = path }))
  assert(socket.listen(fd, 5))
  local pid = posix.fork()
  if pid == 0 then
    pcall(function() talk(assert(socket.accept(fd))) end)
    posix._exit(0)
  end
  unistd.close(fd)
  return path, pid
end

--- A message as its bytes, with anything in it that one likes.
function service.message(fields)
  local o = fields.order == "B" and ">" or "<"
  local body, head = fields.body or "", ""
  for _, field in ipairs(fields.fields or { { 5, "u", o .. "I4", fields.reply or 1 } }) do
    head = head .. ("\0"):rep(-#head % 8) .. string.char(field[1]) .. "\1" .. field[2] .. "\0"
    head = head .. ("\0"):rep(-#head % 4) .. field[3]:pack(field[4]) .. (field[5] or "")
  end
  if body ~= "" then
    head = head .. ("\0"):rep(-#head % 8) .. "\8\1g\0" .. ("s1"):pack(fields.signature or "s") .. "\0"
  end
  local all = (o .. "c1BBBI4I4I4"):pack(fields.order or "l", fields.kind or 2, 0, fields.version or 1,
    fields.length or #body, 7, fields.head or #head) .. head
  return all .. ("\0"):rep(-#all % 8) .. body
end

--- Let a client in.
function service.greet(fd)
  service.receive(fd)
  posix.write(fd, "OK 0123456789abcdef\r\n")
end

--- Say something, all of it.
function service.say(fd, data)
  local at = 1
  while at <= #data do
    at = at + assert(posix.write(fd, data:sub(at, at + 65535)))
  end
end

--- Wait until a method is called; gives the serial number of the call.
function service.await(fd, member)
  local got = ""
  while true do
    got = got .. service.receive(fd)
    local at = got:find(member .. "\0", 1, true)
    if at then
      local first = 0 -- of the last message that begins before it
      for place in got:sub(1, at):gmatch("()l\1\0\1") do
        first = place
      end
      return (("<I4"):unpack(got, first + 8))
    end
  end
end

return service
