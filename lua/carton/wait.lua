-- SPDX-License-Identifier: MIT

--- Waiting for containers, while their pipes are fed and read and their time runs out.
-- @module carton.wait
local core = require("carton.core")
local stdio = require("carton.stdio")
local monotonic = core.host.monotonic
local wait = {}

--- Seconds that a killed process has to end. After that it is reported rather than waited for: it hangs in the kernel,
-- or somebody else has frozen it.
wait.grace = 10

-- Seconds between looks at what no descriptor reports: while somebody waits for that, and otherwise.
local SOON <const>, NOW_AND_THEN <const> = 0.02, 0.5

-- Those that run: the first process of each has not ended, or is not reaped.
local running = setmetatable({}, { __mode = "k" })

-- Children of ours that joined a pid namespace. Its first process has not ended before all others are reaped,
-- so whoever waits for one reaps these too; how they ended is kept by their handles: pid_namespaces(7).
-- "held": it has ended, but its tracer must reap it first.
local guests = setmetatable({}, { __mode = "k" })
local visited = false -- whether there ever was one
local looked = monotonic() -- when `look` was called last
local kept = {} -- those whose containers are closed, until they can be reaped

--- Remember a container that has started.
-- @tparam container c
-- @tparam boolean joined whether its process joined a pid namespace
function wait.enter(c, joined)
  running[c] = true
  if joined then
    guests[c.process] = "alive"
    visited = true
  end
end

local function add_guests(polls)
  local places = {}
  for process, state in pairs(guests) do
    if state == "alive" then
      polls[#polls + 1] = { process, "r" }
      places[#polls] = process
    end
  end
  return places
end

local function reap_guest(process)
  if not pcall(process.fileno, process) then -- it was closed, or collected a moment ago
    guests[process], kept[process] = nil, nil
    return
  elseif not process:wait(0) then
    guests[process] = "held"
    return
  end
  guests[process] = nil
  if kept[process] then
    kept[process] = nil
    process:close()
  end
end

local function namespace_of(pid)
  return core.try(core.host.readlink, ("/proc/%d/ns/pid"):format(pid))
end

-- Reap children of ours that no handle stands for and that are meant.
local function reap_unknown(is_meant)
  local known = {}
  for process in pairs(guests) do
    known[process:pid()] = true
  end
  for c in pairs(running) do
    known[c.process and c.process:pid() or 0] = true
  end
  local file <close> = io.open(("/proc/self/task/%d/children"):format(core.host.pid()))
  for text in (file and file:read("a") or ""):gmatch("%d+") do
    local pid = math.tointeger(tonumber(text))
    local process <close> = not known[pid] and is_meant(pid) and core.try(core.exec.open_process, pid) or nil
    if process then
      process:wait(0)
    end
  end
end

-- A process that joined a pid namespace can make children of ours: clone(2), CLONE_PARENT. Nobody waits for them, and
-- the namespace does not end before they are reaped. A recipe's own children are in its own namespace.
local function reap_strangers()
  local own, theirs = namespace_of(core.host.pid()), {}
  for c in pairs(running) do
    theirs[c.process and namespace_of(c.process:pid()) or own] = true
  end
  theirs[own] = nil
  if next(theirs) then
    reap_unknown(function(pid) return theirs[namespace_of(pid) or own] end)
  end
end

--- Reap the children that a program in our own pid namespace left to us: those of its session.
-- @tparam int session its process id
function wait.reap_left(session)
  reap_unknown(function(pid)
    local file <close> = io.open(("/proc/%d/stat"):format(pid))
    local text = file and file:read("a") or ""
    return tonumber(text:match("^.*%) %S %d+ %d+ (%d+)")) == session
  end)
end

-- When to look for what no descriptor reports: by the clock, not at each event, as all that run are looked at.
local function next_look()
  for _, state in pairs(guests) do
    if state == "held" then
      return looked + SOON
    end
  end
  return visited and looked + NOW_AND_THEN or nil
end

local function look()
  looked = monotonic()
  for process, state in pairs(guests) do
    if state == "held" then
      reap_guest(process)
    end
  end
  if visited then
    reap_strangers()
  end
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

--- Find a system call of a container, or of a program started in it by `exec`, that is still unanswered.
-- @tparam container c
-- @treturn ?call
function wait.answering(c)
  for source in pairs(sources) do
    if source.container == c or source.container.parent == c then
      local call = source:answering()
      if call then
        return call
      end
    end
  end
end

--- Forget a container that has ended: its calls are answered no more, and nobody else reaps it.
-- @tparam container c
function wait.leave(c)
  running[c] = nil
  if not kept[c.process] then
    guests[c.process] = nil
  end
  if c.supervisor then
    c.supervisor:close()
  end
end

--- Have a poll watch for the ends of guests, and for system calls to answer.
-- @tparam list polls as of `exec.poll`; their places are appended
-- @treturn table place -> process or supervisor, for `attend`
-- @treturn ?number when `expire` has something to do
function wait.poll_others(polls)
  local places, first = add_guests(polls), next_look()
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
    reap_guest(other)
  elseif sources[other] then -- an earlier one may have taken it away
    other:serve()
  end
end

--- Deny system calls whose answers were put off for too long, and reap what no descriptor reports.
function wait.expire()
  local due = next_look()
  if due and monotonic() >= due then
    look()
  end
  for source in pairs(sources) do
    source:expire()
  end
end

--- Wait for the end of one that was killed: what it asks is not answered any more, and no handler can raise here.
-- @tparam process process
-- @tparam[opt] string name of its container, for the message
-- @treturn table its status
-- @raise `carton.error`: `ETIMEDOUT` it has not ended within `wait.grace` seconds
function wait.process(process, name)
  local deadline = monotonic() + wait.grace
  while true do
    local was_alive = process:is_alive() -- first: it may end between two looks
    if process:wait(0) then
      return process:wait()
    elseif not was_alive then -- its tracer has its end: whoever waits next reaps it
      guests[process], kept[process] = "held", true
      return { code = 137, cause = "signalled", signal = "SIGKILL", core_dumped = false }
    end
    local polls = { { process, "r" } }
    local places = add_guests(polls)
    local left = deadline - monotonic()
    local ready = core.exec.poll(polls, math.max(0, visited and math.min(left, SOON) or left))
    for _, place in ipairs(ready) do
      if place > 1 then
        wait.attend(places[place])
      end
    end
    if #ready == 0 then -- it is kept from ending
      look()
    end
    if left <= 0 and process:is_alive() then
      guests[process], kept[process] = "alive", true
      wait.fail(name, process)
    end
  end
end

--- Tell whether a process is still to be reaped, by whoever waits next.
-- @tparam process process
-- @treturn boolean
function wait.is_kept(process)
  return kept[process] or false
end

--- Close a process, unless it is still to be reaped.
-- @tparam process process
function wait.close(process)
  if not kept[process] then
    process:close()
  end
end

--- Raise that a process that was killed does not end.
-- @tparam ?string name of its container
-- @tparam process process
function wait.fail(name, process)
  core.error { op = "wait", path = ("%s (%d)"):format(name or "container", process:pid()), code = "ETIMEDOUT",
    message = process:is_alive() and ("was killed, but has not ended within %g s"):format(wait.grace)
      or "has ended, but its tracer has not reaped it" }
end

local function earlier(a, b)
  return a and b and math.min(a, b) or a or b
end

-- What to poll for, and whose it is.
local function collect(containers)
  local polls, owners, deadline = {}, {}, nil
  for _, c in ipairs(containers) do
    if c.held then
      deadline = earlier(deadline, monotonic() + SOON)
    else
      polls[#polls + 1] = { c.process, "r" }
      owners[#polls] = { container = c }
    end
    for _, stream in ipairs(c.streams) do
      if not stream.done then
        polls[#polls + 1] = { stream.descriptor, stream.events }
        owners[#polls] = { stream = stream }
      end
    end
    deadline = earlier(earlier(deadline, c.deadline), c.overdue)
  end
  return polls, owners, deadline
end

--- Tell whether its process has ended and can be reaped. A tracer reaps it first.
-- @tparam container c
-- @treturn boolean
function wait.has_ended(c)
  local was_alive = c.process:is_alive() -- first, as above
  if c.process:wait(0) then
    return true
  elseif not c.held and not was_alive then
    c.held, c.overdue = true, c.overdue or monotonic() + wait.grace
  end
  return false
end

--- Kill it when its time is up.
-- @tparam container c
-- @raise `carton.error`: `ETIMEDOUT` it was killed and does not end
function wait.check_time(c)
  local now = monotonic()
  if c.deadline and now >= c.deadline then
    c.deadline, c.timed_out = nil, true
    c:kill("SIGKILL")
  elseif c.overdue and now >= c.overdue then
    c.overdue = nil -- once: whoever goes on waiting does so
    wait.fail(c.name, c.process)
  end
end

--- Wait until one of several containers ends.
-- @tparam {container,...} containers started ones
-- @tparam[opt] number timeout seconds
-- @treturn ?container the one that ended, nil when time is up
-- @treturn ?table its status
-- @raise `carton.error`: `ETIMEDOUT` one of them was killed and does not end
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
    for _, c in ipairs(containers) do
      if c.status then -- a handler closed it, or waited for it
        return c, c.status
      end
    end
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
      elseif wait.has_ended(owner.container) then
        ended = ended or owner.container
      end
    end
    for _, c in ipairs(containers) do
      ended = ended or c.held and wait.has_ended(c) and c
    end
    if ended then
      return ended, ended:finish()
    end
    wait.expire()
    for _, c in ipairs(containers) do
      wait.check_time(c)
    end
    if deadline and monotonic() >= deadline then
      return nil
    end
  end
end

return wait
