-- SPDX-License-Identifier: MIT

--- Waiting for containers, while their pipes are fed and read and their time runs out.
-- @module carton.wait
local core = require("carton.core")
local stdio = require("carton.stdio")
local monotonic = core.host.monotonic
local wait = {}

-- Children of ours that joined a pid namespace. Its first process has not ended before all others are reaped,
-- so whoever waits for one reaps these too; how they ended is kept by their handles: pid_namespaces(7).
local guests = setmetatable({}, { __mode = "k" })

--- Remember a child that joined a pid namespace.
-- @tparam process process
function wait.add_guest(process)
  guests[process] = true
end

local function add_guests(polls)
  local places = {}
  for process in pairs(guests) do
    polls[#polls + 1] = { process, "r" }
    places[#polls] = process
  end
  return places
end

-- Who answers system calls of containers: `carton.syscall`.
local sources = setmetatable({}, { __mode = "k" })

--- Remember who answers while something is waited for.
-- @tparam supervisor source
function wait.add_source(source)
  sources[source] = true
end

--- Forget one.
-- @tparam supervisor source
function wait.remove_source(source)
  sources[source] = nil
end

--- Forget a container that has ended: its calls are answered no more, and nobody else reaps it.
-- @tparam container c
function wait.leave(c)
  guests[c.process] = nil
  if c.supervisor then
    c.supervisor:close()
  end
end

--- Have a poll watch for the ends of guests, and for system calls to answer.
-- @tparam list polls as of `exec.poll`; their places are appended
-- @treturn table place -> process or supervisor, for `attend`
-- @treturn ?number when `expire` has something to do
function wait.poll_others(polls)
  local places, first = add_guests(polls), nil
  for source in pairs(sources) do
    local listener, due = source:watched()
    if listener then
      polls[#polls + 1] = { listener, "r" }
      places[#polls] = source
    end
    first = due and math.min(first or due, due) or first
  end
  return places, first
end

--- Reap a guest that has ended, or answer what is asked.
-- @tparam process|supervisor other
-- @raise what a handler of a system call raised
function wait.attend(other)
  if guests[other] then
    other:wait()
    guests[other] = nil
  elseif sources[other] then -- an earlier one may have taken it away
    other:serve()
  end
end

--- Deny system calls whose answers were put off for too long.
function wait.expire()
  for source in pairs(sources) do
    source:expire()
  end
end

--- Wait for the end of one that was killed: what it asks is not answered any more, and no handler can raise here.
-- @tparam process process
-- @treturn table its status
function wait.process(process)
  while true do
    local polls = { { process, "r" } }
    local places = add_guests(polls)
    for _, place in ipairs(core.exec.poll(polls)) do
      if place == 1 then
        return process:wait()
      end
      wait.attend(places[place])
    end
  end
end

local function earlier(a, b)
  return a and b and math.min(a, b) or a or b
end

-- What to poll for, and whose it is.
local function collect(containers)
  local polls, owners, deadline = {}, {}, nil
  for _, c in ipairs(containers) do
    polls[#polls + 1] = { c.process, "r" }
    owners[#polls] = { container = c }
    for _, stream in ipairs(c.streams) do
      if not stream.done then
        polls[#polls + 1] = { stream.descriptor, stream.events }
        owners[#polls] = { stream = stream }
      end
    end
    deadline = earlier(deadline, c.deadline)
  end
  return polls, owners, deadline
end

local function expire(containers, now)
  for _, c in ipairs(containers) do
    if c.deadline and now >= c.deadline then
      c.deadline, c.timed_out = nil, true
      c:kill("SIGKILL")
    end
  end
end

--- Wait until one of several containers ends.
-- @tparam {container,...} containers started ones
-- @tparam[opt] number timeout seconds
-- @treturn ?container the one that ended, nil when time is up
-- @treturn ?table its status
function wait.any(containers, timeout)
  if type(containers) ~= "table" or #containers == 0 then
    core.misuse("wait_any: a list of containers expected")
  end
  if timeout ~= nil and type(timeout) ~= "number" then
    core.misuse("wait: 'timeout' is a number of seconds, got " .. type(timeout))
  end
  for _, c in ipairs(containers) do
    if not require("carton.container").is_container(c) then
      core.misuse("wait_any: a list of containers expected, got a " .. type(c) .. " in it")
    elseif c.status then
      return c, c.status
    elseif not c.process then
      core.misuse("wait: the container was not started")
    end
  end
  local deadline = timeout and monotonic() + timeout
  while true do
    local polls, owners, first = collect(containers)
    local places, due = wait.poll_others(polls)
    first = earlier(earlier(first, due), deadline)
    local ended
    for _, place in ipairs(core.exec.poll(polls, first and math.max(0, first - monotonic()))) do
      local owner = owners[place]
      if places[place] then
        wait.attend(places[place])
      elseif owner.stream then
        stdio.move(owner.stream)
      else
        ended = ended or owner.container
      end
    end
    if ended then
      return ended, ended:finish()
    end
    local now = monotonic()
    wait.expire()
    expire(containers, now)
    if deadline and now >= deadline then
      return nil
    end
  end
end

return wait
