-- SPDX-License-Identifier: MIT

--- Which system calls a filter asks about: a profile's answers turned into questions.
-- @module carton.seccomp.notify
local bpf = require("carton.seccomp.bpf")
local syscalls = require("carton.seccomp.syscalls")
local notify = {}

local NOTIFY <const> = 0x7fc00000 -- SECCOMP_RET_USER_NOTIF
local NO_CALL <const> = 0x00050000 | 38 -- ENOSYS, the same number on all that Carton knows
local WIDER <const> = { "32", "64", "_time64" } -- what 32-bit architectures call the newer one of two

-- Older ways to the same on 32-bit architectures.
local OTHERS <const> = { umount2 = "umount", sendto = "send", recvfrom = "recv", mmap = "mmap2", select = "_newselect",
  getrlimit = "ugetrlimit", lseek = "_llseek", newfstatat = "fstatat64", clock_nanosleep = "clock_nanosleep_time64" }

--- Calls of i386 that stand for several, by the number in their first argument (linux/net.h, linux/ipc.h), and the bits
-- of it that count: above is the version of ipc(2).
notify.joined = {
  socketcall = { "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair",
    "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4",
    "recvmmsg", "sendmmsg" },
  ipc = { "semop", "semget", "semctl", "semtimedop", [11] = "msgsnd", [12] = "msgrcv", [13] = "msgget",
    [14] = "msgctl", [21] = "shmat", [22] = "shmdt", [23] = "shmget", [24] = "shmctl" },
}
notify.masks = { socketcall = -1, ipc = 0xffff }
local WHOLE <const> = { send = "sendto", recv = "recvfrom", semop = "semtimedop" } -- which they are parts of

-- What a ring does, no filter sees.
local RINGS <const> = { "io_uring_setup", "io_uring_enter", "io_uring_register" }

--- Tell under which numbers an architecture has what handlers are named after: also as 32-bit architectures spell it.
-- @tparam {[string]=any,...} handlers by name
-- @tparam string arch
-- @treturn table handler by number
function notify.numbers(handlers, arch)
  local numbers, by_number = syscalls.numbers(arch), {}
  local function add(name, handler)
    if numbers[name] and by_number[numbers[name]] == nil then
      by_number[numbers[name]] = handler
    end
  end
  for name, handler in pairs(handlers) do -- what has a handler of its own first
    add(name, handler)
  end
  if syscalls.architectures[arch].bits == 32 then
    for name, handler in pairs(handlers) do
      for _, suffix in ipairs(WIDER) do
        add(name .. suffix, handler)
      end
      if OTHERS[name] then
        add(OTHERS[name], handler)
      end
    end
  end
  return by_number
end

--- Turn a chain's answers into questions.
-- @tparam {table,...} chain as of `carton.seccomp.profile`
-- @tparam table wish `all` (what is allowed), `denied` (what is denied with an errno)
-- @tparam[opt=false] boolean named there is a handler of that name: both
-- @treturn {table,...} chain
function notify.convert(chain, wish, named)
  local converted = {}
  for i, link in ipairs(chain) do
    local action = bpf.decode(link.action)
    local asks
    if action == "errno" then
      asks = named or wish.denied
    else
      asks = (action == "allow" or action == "log") and (named or wish.all)
    end
    converted[i] = asks and { tests = link.tests, action = NOTIFY, rule = link.rule } or link
  end
  return converted
end

-- What goes by a number in an argument has a way of its own that is asked about: this one is closed.
local function close_joined(chains, rest, arch, named)
  for joint, members in pairs(notify.joined) do
    local number, chain = syscalls.numbers(arch)[joint], {}
    for value, member in pairs(number and not named[joint] and members or {}) do
      if named[member] or named[WHOLE[member]] then
        chain[#chain + 1] = { tests = { { index = 0, op = "==", value = value, mask = notify.masks[joint] } },
          action = NO_CALL }
      end
    end
    if #chain > 0 then
      table.sort(chain, function(a, b) return a.tests[1].value < b.tests[1].value end)
      local old = chains[number] or rest(number)
      chains[number] = table.move(old, 1, #old, #chain + 1, chain)
    end
  end
end

-- What is allowed is not there.
local function close(chain, wish)
  local closed = notify.convert(chain, { denied = wish.denied })
  for i, link in ipairs(closed) do
    local action = bpf.decode(link.action)
    if action == "allow" or action == "log" then
      closed[i] = { tests = link.tests, action = NO_CALL, rule = link.rule }
    end
  end
  return closed
end

--- Change the chains of an architecture so that they ask.
-- @tparam table chains by number, as of `carton.seccomp.profile`: changed
-- @tparam {table,...} default chain of all other numbers up to `last`
-- @tparam {table,...} newer chain of the numbers above
-- @tparam int last
-- @tparam string arch
-- @tparam table wish `handlers` (by name), `all`, `denied`
-- @treturn {table,...} the new `default`
-- @treturn {table,...} the new `newer`
function notify.apply(chains, default, newer, last, arch, wish)
  local by_number = notify.numbers(wish.handlers, arch)
  local function rest(number)
    return number > last and newer or default
  end
  local rings = {}
  for _, ring in ipairs(next(by_number) and RINGS or {}) do
    local number = syscalls.numbers(arch)[ring]
    if not by_number[number] then
      rings[number] = close(chains[number] or rest(number), wish)
    end
  end
  for number, chain in pairs(chains) do
    chains[number] = notify.convert(chain, wish, by_number[number] ~= nil)
  end
  for number in pairs(by_number) do
    chains[number] = chains[number] or notify.convert(rest(number), wish, true)
  end
  default, newer = notify.convert(default, wish), notify.convert(newer, wish)
  close_joined(chains, rest, arch, wish.handlers)
  for number, chain in pairs(rings) do
    chains[number] = chain
  end
  return default, newer
end

return notify
