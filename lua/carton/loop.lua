-- SPDX-License-Identifier: MIT

--- One event loop for descriptors, processes, containers and time; it sleeps until something happens.
-- @module carton.loop
-- @pragma nostrip
local core = require("carton.core")
local monotonic = core.host.monotonic
local loop = {}

local methods = {}
local meta = { __name = "carton.loop", __index = methods }

--- Make a loop.
-- @treturn loop
function loop.new()
  return setmetatable({ watchers = {}, timers = {}, count = 0 }, meta)
end

local default

--- The loop of the program.
-- @treturn loop always the same
function loop.default()
  default = default or loop.new()
  return default
end

--- Call a function whenever a descriptor is ready.
-- @function loop:watch
-- @tparam handle|int what a handle or a number; a process is ready when it has ended
-- @tparam string events `"r"`, `"w"` or `"rw"`
-- @tparam function call called with the token
-- @treturn table a token, for `unwatch`
function methods:watch(what, events, call)
  local token = { what = what, events = events, call = call }
  self.watchers[token] = true
  self.count = self.count + 1
  token.order = self.count
  return token
end

--- Watch no longer; harmless when it is watched no longer already.
-- @function loop:unwatch
-- @tparam table token from `watch`, `timer`, `process` or `container`
function methods:unwatch(token)
  self.watchers[token] = nil
  self.timers[token] = nil
  for _, part in ipairs(token.parts or {}) do
    self:unwatch(part)
  end
end

--- Call a function after some time.
-- @function loop:timer
-- @tparam number seconds
-- @tparam function call called with the token
-- @tparam[opt=false] boolean again every so many seconds
-- @treturn table a token, for `unwatch`
function methods:timer(seconds, call, again)
  local token = { at = monotonic() + seconds, call = call, every = again and seconds or nil }
  self.timers[token] = true
  return token
end

--- Call a function when a child has ended.
-- @function loop:process
-- @tparam process process of `exec.spawn`
-- @tparam function call called with the status
-- @treturn table a token, for `unwatch`
function methods:process(process, call)
  return self:watch(process, "r", function(token)
    self:unwatch(token)
    call(process:wait())
  end)
end

--- Call a function when a container has ended; its pipes are fed and read meanwhile.
-- @function loop:container
-- @tparam container c a started one
-- @tparam function call called with the status and the container
-- @treturn table a token, for `unwatch`
function methods:container(c, call)
  if c.status then
    return self:timer(0, function() call(c.status, c) end)
  elseif not c.process then
    core.misuse("loop: the container was not started")
  end
  local stdio, wait = require("carton.stdio"), require("carton.wait")
  local token = { parts = {} }
  local function add(part)
    token.parts[#token.parts + 1] = part
  end
  if c.status then -- it has ended, or is only planned
    add(self:timer(0, function()
      call(c.status, c)
    end))
    return token
  end
  local function watch(what, events, called)
    local part = self:watch(what, events, called)
    part.container = c
    add(part)
    return part
  end
  for _, stream in ipairs(c.streams) do
    watch(stream.descriptor, stream.events, function(part)
      stdio.move(stream)
      if stream.done then
        self:unwatch(part)
      end
    end)
  end
  local function end_if(ended)
    if ended then
      self:unwatch(token)
      call(c:finish(), c)
    end
  end
  local watch_time
  function watch_time()
    local due = c.deadline or c.overdue
    if due then
      add(self:timer(math.max(0, due - monotonic()), function()
        local ok, err = pcall(wait.check_time, c)
        watch_time()
        if not ok then
          error(err, 0)
        end
      end))
    end
  end
  watch_time()
  watch(c.process, "r", function(part)
    end_if(c.status or wait.has_ended(c))
    if c.held then
      self:unwatch(part)
      watch_time()
      add(self:timer(0.05, function() end_if(c.status or wait.has_ended(c)) end, true))
    end
  end).is_end = true
  return token
end

local function is_closed(token)
  return token.container and not token.container.process
end

-- A container that was closed has ended, and its descriptors are nobody's any more.
local function end_closed(self)
  local closed = {}
  for token in pairs(self.watchers) do
    closed[#closed + 1] = is_closed(token) and token.is_end and token or nil
  end
  table.sort(closed, function(a, b) return a.order < b.order end)
  for _, token in ipairs(closed) do
    if self.watchers[token] then
      token.call(token)
    end
  end
  return #closed > 0
end

-- Watchers in the order they came, as `exec.poll` takes them.
local function collect(self)
  local list, polls = {}, {}
  for token in pairs(self.watchers) do
    list[#list + 1] = token
  end
  table.sort(list, function(a, b) return a.order < b.order end)
  for i, token in ipairs(list) do
    polls[i] = { token.what, token.events }
  end
  return list, polls
end

local function next_timer(self)
  local first
  for token in pairs(self.timers) do
    if not first or token.at < first then
      first = token.at
    end
  end
  return first
end

local function fire(self)
  local now, due = monotonic(), {}
  for token in pairs(self.timers) do
    if token.at <= now then
      due[#due + 1] = token
    end
  end
  table.sort(due, function(a, b) return a.at < b.at end)
  for _, token in ipairs(due) do
    if self.timers[token] then -- an earlier one may have taken it away
      if token.every then
        token.at = now + token.every
      else
        self.timers[token] = nil
      end
      token.call(token)
    end
  end
end

--- Wait until something happens, and call who waits for it.
-- @function loop:step
-- @tparam[opt] number timeout seconds
-- @raise what a called function raises
function methods:step(timeout)
  if end_closed(self) then
    return
  end
  local list, polls = collect(self)
  local wait = require("carton.wait")
  local first, others = next_timer(self), {}
  if #polls > 0 or first or timeout then
    local due
    others, due = wait.poll_others(polls)
    first = first and due and math.min(first, due) or first or due
  end
  if first then
    local left = math.max(0, first - monotonic())
    timeout = timeout and math.min(timeout, left) or left
  end
  if #polls == 0 and not timeout then
    return
  end
  for _, place in ipairs(core.exec.poll(polls, timeout)) do
    local token = list[place]
    if others[place] then
      wait.attend(others[place])
    elseif self.watchers[token] and not is_closed(token) then
      token.call(token)
    end
  end
  wait.expire()
  fire(self)
end

--- Go on until nothing is watched and no timer is left.
-- @function loop:run
function methods:run()
  while next(self.watchers) or next(self.timers) do
    self:step()
  end
end

--- Go on until something holds.
-- @function loop:run_until
-- @tparam function holds called after each step
-- @tparam[opt] number timeout seconds
-- @treturn boolean false when time was up first, or nothing was left to wait for
function methods:run_until(holds, timeout)
  local deadline = timeout and monotonic() + timeout
  while not holds() do
    local left = deadline and deadline - monotonic()
    if (left and left <= 0) or not (left or next(self.watchers) or next(self.timers)) then
      return false
    end
    self:step(left)
  end
  return true
end

return loop
