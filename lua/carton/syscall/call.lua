-- SPDX-License-Identifier: MIT

--- A system call that waits for an answer: who makes it, with what, and what it gets.
--
-- What a handler reads of the caller's memory can be changed by another of its threads at any time. It is read once:
-- the same string is given again, and what a handler does itself is done with what it has looked at. After `continue`
-- the kernel reads it anew: to let a call go on because of what a pointer pointed at is no decision about security.
--
-- Reading raises where the kernel would have failed as well. What a handler does not catch of that answers the call:
-- with `EFAULT` where no memory is, `ENAMETOOLONG`, `EBADF`. A caller that was killed is answered nothing.
-- @module carton.syscall.call
local core = require("carton.core")
local call = {}

local methods = {}
local meta = { __name = "carton.syscall.call", __index = methods }
local refusal = { __name = "carton.syscall.refusal", __tostring = function(self)
  return ("%s: %s"):format(self.name, self.code)
end }

local PATH_MAX <const> = 4096
local SOCKADDR_MAX <const> = 128 -- struct sockaddr_storage
local BYTES_MAX <const> = 16 << 20
local AT_FDCWD <const> = -100
local FAMILIES <const> = { [0] = "unspec", [1] = "unix", [2] = "inet", [10] = "inet6", [16] = "netlink",
  [17] = "packet", [40] = "vsock" }

--- What a handler gets; `carton.syscall` makes it.
-- @tparam table fields `supervisor`, `id`, `number`, `audit`, `known`, `deadline`, and those below
-- @tparam string fields.name of the system call, its number where it has no name
-- @tparam string fields.arch `x86_64`, `i386`, `aarch64` or `arm`
-- @tparam {int,...} fields.args all six registers, as they are
-- @tparam int fields.pid the thread that calls, as the recipe's pid namespace numbers it
-- @treturn call
function call.new(fields)
  return setmetatable(fields, meta)
end

--- Tell whether an error is an answer, as reading raises it.
-- @param value what was raised
-- @treturn ?string the errno's name
function call.refusal(value)
  return getmetatable(value) == refusal and value.code or nil
end

local function misuse(self, format, ...)
  core.misuse(("on_syscall: %s: "):format(self.name) .. format:format(...))
end

-- What the caller's side gave, or the answer that the kernel would have given.
local function given(self, value, why)
  if value == nil then
    error(setmetatable({ name = self.name, code = why }, refusal), 0)
  end
  return value
end

local function argument(self, i)
  if math.type(i) ~= "integer" or i < 1 or i > 6 then
    misuse(self, "an argument's place is 1 to 6, got %s", tostring(i))
  end
  return self.args[i]
end

local function listener_of(self)
  return given(self, self.supervisor.listener, "ESRCH") -- put off until nobody is left
end

-- An int of C, which is what a register's lower half says.
local function int(value)
  return string.unpack("=i4", string.pack("=I4", value & 0xffffffff))
end

--- Read a string that an argument points at; the same again is not read again.
-- @function call:string
-- @tparam int i place of the argument, from 1
-- @tparam[opt=4096] int limit bytes, with the NUL at its end
-- @treturn ?string nil for a null pointer
-- @raise the answer to the call: see above
function methods:string(i, limit)
  local address = argument(self, i)
  limit = limit or PATH_MAX
  if address == 0 then
    return nil
  end
  local key = ("s%d:%d"):format(address, limit)
  if not self.known[key] then
    self.known[key] = given(self, listener_of(self):read(self.id, self.pid, address, limit - 1, true))
  end
  return self.known[key]
end

--- Read memory that an argument points at; the same again is not read again.
-- @function call:bytes
-- @tparam int i place of the argument, from 1
-- @tparam int size bytes, up to 16 MiB
-- @treturn string
-- @raise the answer to the call: `EFAULT`, `ENOMEM` too many
function methods:bytes(i, size)
  local address = argument(self, i)
  if math.type(size) ~= "integer" then
    misuse(self, "bytes: an integer expected, got %s", type(size))
  elseif size == 0 then
    return ""
  elseif size < 0 or size > BYTES_MAX then
    given(self, nil, "ENOMEM") -- a caller may say what it likes
  end
  local key = ("b%d:%d"):format(address, size)
  if not self.known[key] then
    self.known[key] = given(self, listener_of(self):read(self.id, self.pid, address, size))
  end
  return self.known[key]
end

local decoders = {
  inet = function(bytes)
    if #bytes < 16 then
      return nil
    end
    return { port = (string.unpack(">I2", bytes, 3)), address = ("%d.%d.%d.%d"):format(bytes:byte(5, 8)) }
  end,
  inet6 = function(bytes)
    if #bytes < 24 then
      return nil
    end
    local words = { string.unpack(">I2I2I2I2I2I2I2I2", bytes, 9) }
    words[9] = nil
    for n, word in ipairs(words) do
      words[n] = ("%x"):format(word)
    end
    return { port = (string.unpack(">I2", bytes, 3)), address = call.shorten(table.concat(words, ":")),
      scope = #bytes >= 28 and (string.unpack("=I4", bytes, 25)) or 0 }
  end,
  unix = function(bytes)
    if #bytes <= 2 then
      return { address = "" } -- unnamed, or to be named by the kernel
    elseif bytes:byte(3) == 0 then
      return { address = bytes:sub(4), abstract = true }
    end
    return { address = (bytes:sub(3):match("^[^\0]*")) }
  end,
  netlink = function(bytes)
    return #bytes >= 12 and { port = (string.unpack("=I4", bytes, 5)) } or nil
  end,
  vsock = function(bytes)
    return #bytes >= 12 and { port = (string.unpack("=I4", bytes, 5)), cid = (string.unpack("=I4", bytes, 9)) } or nil
  end,
}

--- Write an IPv6 address with its longest run of zeros left out.
-- @tparam string text eight groups
-- @treturn string
function call.shorten(text)
  local best
  for n = 8, 2, -1 do
    local run = ("0:"):rep(n - 1) .. "0"
    local from = (":" .. text .. ":"):find(":" .. run .. ":", 1, true)
    if from then
      best = { from, from + #run - 1 }
      break
    end
  end
  if not best then
    return text
  end
  return (text:sub(1, best[1] - 1):gsub(":$", "") .. "::" .. text:sub(best[2] + 1):gsub("^:", ""))
end

--- Read a socket address.
-- @function call:sockaddr
-- @tparam int i place of the pointer
-- @tparam int length_i place of its length
-- @treturn table `{ family = "inet", address = "127.0.0.1", port = 80, bytes = (as it is) }`; `inet6` also has `scope`,
--   `unix` has a path as its address, or a name with `abstract`; others have only what they have
-- @raise the answer to the call: `EFAULT`, `EINVAL` too short or too long
function methods:sockaddr(i, length_i)
  local length = int(argument(self, length_i))
  if length < 2 or length > SOCKADDR_MAX then
    given(self, nil, "EINVAL")
  end
  local bytes = self:bytes(i, length)
  local number = string.unpack("=I2", bytes)
  local family = FAMILIES[number]
  local decode = decoders[family]
  local address = decode and given(self, decode(bytes), "EINVAL") or {}
  address.family, address.bytes = family or tostring(number), bytes
  return address
end

--- Change memory that an argument points at.
-- @function call:write
-- @tparam int i place of the argument, from 1
-- @tparam string bytes
-- @tparam[opt=0] int offset from there
-- @raise the answer to the call
function methods:write(i, bytes, offset)
  given(self, listener_of(self):write(self.id, self.pid, argument(self, i) + (offset or 0), bytes))
end

--- Read a path, and open the directory that it begins at: the caller's root, its working directory, or an argument.
-- @function call:path
-- @tparam int i place of the path
-- @tparam[opt] int dirfd_i place of a directory's descriptor, as openat(2) has it
-- @treturn string path
-- @treturn handle to begin at; to be closed. Links in it are the payload's: openat2(2) RESOLVE_IN_ROOT and `root` of
--   primitives stay inside
-- @raise the answer to the call
function methods:path(i, dirfd_i)
  local path = self:string(i)
  if not path then
    given(self, nil, "EFAULT")
  elseif path:sub(1, 1) == "/" then
    return path, self:root()
  end
  local dirfd = dirfd_i and int(argument(self, dirfd_i)) or AT_FDCWD
  if dirfd == AT_FDCWD then
    return path, given(self, listener_of(self):directory(self.id, self.pid, "cwd"))
  end
  return path, self:descriptor(dirfd)
end

--- Open the caller's root directory, for `root` of primitives.
-- @function call:root
-- @treturn directory to be closed
-- @raise the answer to the call
-- @usage local root <close> = call:root()
-- carton.mount.mkdir{ root = root, target = call:string(1) }
function methods:root()
  return given(self, listener_of(self):directory(self.id, self.pid, "root"))
end

--- Have a handle of the caller's process, whose namespaces a plan can enter.
-- @function call:process
-- @treturn process to be closed
-- @raise the answer to the call
-- @see call:perform
function methods:process()
  return given(self, listener_of(self):process(self.id, self.pid))
end

--- Perform steps in the caller's namespaces but that of pids, in its root, with all capabilities there: what it asked
-- for, done for it. Paths are looked up inside of its root, whatever links are in it.
-- @function call:perform
-- @tparam {step,...} steps without an `exec.exec`
-- @raise the answer to the call: the errno of the step that failed; a string for steps that are none
-- @usage call:perform { { "mount.bind", source = "/dev/null", target = call:string(1), create = true } }
-- return 0
function methods:perform(steps)
  local caller <close> = self:process()
  local kinds = self.supervisor.kinds
  local all = { { "exec.die_with_parent" } }
  if #kinds > 0 then
    all[2] = { "namespace.enter", process = caller, kinds = kinds }
  end
  local ok, process = pcall(core.exec.spawn, { steps = table.move(steps, 1, #steps, #all + 1, all) })
  if not ok then
    given(self, nil, type(process) == "table" and process.code or error(process, 0))
  end
  local performed <close> = process
  local status = performed:wait(math.max(0, self.deadline - core.host.monotonic()))
  if not status then
    performed:kill("SIGKILL")
    performed:wait()
  end
  if not status or status.code ~= 0 then
    given(self, nil, "EINTR")
  end
end

--- Have a copy of one of the caller's descriptors: what is done to a socket is done to the caller's.
-- @function call:descriptor
-- @tparam int number
-- @treturn descriptor to be closed
-- @raise the answer to the call: `EBADF`
-- @see pidfd_getfd(2)
function methods:descriptor(number)
  return given(self, listener_of(self):descriptor(self.id, self.pid, int(number)))
end

--- Tell whether somebody still waits for the answer.
-- @function call:is_valid
-- @treturn boolean
function methods:is_valid()
  return not self.answered and self.supervisor.listener ~= nil and listener_of(self):is_valid(self.id)
end

--- Tell what the container's profile says of it.
-- @function call:verdict
-- @treturn string `"allow"`, or the name of an errno
function methods:verdict()
  return self.supervisor:verdict(self)
end

local function answer(self, how, ...)
  if self.answered then
    misuse(self, "it is answered already")
  end
  self.answered = true
  self.supervisor:forget(self)
  local listener = self.supervisor.listener
  return listener ~= nil and listener[how](listener, self.id, ...)
end

--- Have it return.
-- @function call:reply
-- @tparam[opt=0] int value
-- @treturn boolean false when nobody waits for it any more
function methods:reply(value)
  if math.type(value or 0) ~= "integer" then
    misuse(self, "an integer expected, got %s", type(value))
  end
  return answer(self, "reply", value or 0)
end

--- Have it fail.
-- @function call:errno
-- @tparam[opt="EPERM"] string name
-- @treturn boolean false when nobody waits for it any more
-- @raise a string for a name that is none
function methods:errno(name)
  local number = core.errno[name or "EPERM"]
  if type(name or "") ~= "string" or math.type(number) ~= "integer" then
    misuse(self, "unknown errno '%s'", tostring(name))
  end
  return answer(self, "deny", number)
end

--- Have the kernel do what the container's profile says, as if nobody had been asked: run it, or refuse it. What its
-- pointers point at is read then and not before, so that it may be something else than a handler has seen.
-- @function call:continue
-- @treturn boolean false when nobody waits for it any more
function methods:continue()
  local verdict = self:verdict()
  if verdict ~= "allow" then
    return self:errno(verdict)
  end
  return answer(self, "continue")
end

--- Answer later: `reply`, `errno`, `continue` or `inject` with `reply`, before its time is up. With a thousand put off
-- already it fails with `EAGAIN`.
-- @function call:defer
function methods:defer()
  self.deferred = true
end

--- Give the caller a descriptor.
-- @function call:inject
-- @tparam handle|int what stays open here, too
-- @tparam[opt] table options `cloexec` (false), `at` (its number there, what is open there is replaced), `reply` (the
--   call returns the number: both at once)
-- @treturn int its number there
-- @raise the answer to the call: `EMFILE`, `EBADF` where it can't be `at`
-- @see seccomp_unotify(2) SECCOMP_IOCTL_NOTIF_ADDFD
function methods:inject(what, options)
  for key in pairs(options or {}) do
    if key ~= "cloexec" and key ~= "at" and key ~= "reply" then
      misuse(self, "inject: unknown field '%s'", tostring(key))
    end
  end
  if type(what) ~= "userdata" and math.type(what) ~= "integer" or io.type(what) then
    misuse(self, "inject: a handle or the number of a descriptor expected, got %s%s", io.type(what) or type(what),
      io.type(what) and "; posix.stdio.fileno(it) is its number" or "")
  end
  local listener = listener_of(self)
  local ok, number = pcall(listener.add_descriptor, listener, self.id, what, options)
  if not ok then
    local code = type(number) == "table" and number.code
    if code == "EMFILE" or (code == "EBADF" and options and options.at) then
      given(self, nil, code) -- it has too many, or that number is none
    end
    error(number, 0)
  end
  number = given(self, number, "ENOENT")
  if options and options.reply then
    self.answered = true
    self.supervisor:forget(self)
  end
  return number
end

return call
