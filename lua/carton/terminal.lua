-- SPDX-License-Identifier: MIT

--- Containers in the foreground: signals passed on, job control, the caller's terminal and its settings.
-- @module carton.terminal
local core = require("carton.core")
local exec = core.exec
local terminal = {}

local PIPE_BUF <const> = 4096
local FORWARDED <const> = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2" }
local BLOCKED <const> = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP",
  "SIGWINCH" }

-- What a terminal has to get back, whatever happens.
local function give_back(guard)
  if guard.saved then
    guard.descriptor:restore(guard.saved)
    guard.saved = nil
  end
end

local raw_meta = { __close = give_back }

local function make_raw(descriptor)
  local guard = setmetatable({ descriptor = descriptor }, raw_meta)
  if descriptor:is_terminal() then
    guard.saved = descriptor:raw()
  end
  return guard
end

--- Call a function while a terminal is raw; its settings come back however that ends.
-- @tparam descriptor descriptor one that is no terminal stays as it is
-- @tparam function call
-- @return what the function returns
function terminal.with_raw(descriptor, call)
  local guard <close> = make_raw(descriptor) -- luacheck: ignore guard
  return call()
end

local signals_meta = {}
signals_meta.__close = function(self)
  self.descriptor:close()
  exec.unblock(BLOCKED)
end

local function copy_size(from, to)
  if from:is_terminal() then
    to:resize(from:size())
  end
end

-- Pass bytes from the caller's terminal in, and take no more from there than the container's takes.
local function watch_input(session)
  local loop, input, near = session.loop, session.input, session.near
  local pending, last, reading, writing = "", "\n", nil, nil
  local at_end, read
  local function flush()
    local written = near:write(pending) or 0
    pending = pending:sub(written + 1)
    if pending == "" then
      if writing then
        loop:unwatch(writing)
        writing = nil
      end
      reading = reading or not at_end and loop:watch(input, "r", read)
    else
      if reading then
        loop:unwatch(reading)
        reading = nil
      end
      writing = writing or loop:watch(near, "w", flush)
    end
  end
  function read()
    local data = input:read(4096)
    if data == nil then
      at_end = true
      loop:unwatch(reading)
      reading = nil
      -- the end as a terminal says it; within a line, the first one only passes that on: termios(3) VEOF
      data = (last == "\n" or last == "\r") and "\4" or "\4\4"
    end
    if data then
      last = data:sub(-1)
      pending = pending .. data
      flush()
    end
  end
  reading = loop:watch(input, "r", read)
end

-- Wait until something can be written: its time runs out and signals are passed on while nobody reads, too. False
-- when it was made to end, and has.
local function await_reader(session)
  local c = session.container
  local polls = { { session.output, "w" }, { session.signals.descriptor, "r" } }
  local is_told = c.timed_out or session.is_told
  if is_told and not c.status then
    polls[3] = { c.process, "r" }
  end
  local due = c.deadline or c.overdue
  local is_ready, is_over = false, is_told and c.status
  for _, place in ipairs(is_over and {} or exec.poll(polls, due and math.max(0, due - core.host.monotonic()))) do
    if place == 2 then
      session.on_signal()
    end
    is_ready, is_over = is_ready or place == 1, is_over or place == 3
  end
  if not c.status then
    require("carton.wait").check_time(c)
  end
  if is_over then
    session.output = nil
  end
  return is_ready
end

-- Write all of it; an error is kept for the end.
local function write_all(session, data)
  local at = 1
  while session.output and at <= #data do
    if await_reader(session) then -- a pipe takes so much then without blocking: pipe(7), PIPE_BUF
      local ok, written = pcall(session.output.write, session.output, data:sub(at, at + PIPE_BUF - 1))
      if not ok then
        session.output, session.failure = nil, written
        session.container:kill("SIGHUP") -- nobody looks any more
      end
      at = at + (ok and written or 0)
    end
  end
end

-- Pass bytes from the container out; true while there is more.
local function pass_output(session)
  local data = session.near:read()
  if data and session.output then
    write_all(session, data)
  end
  return data
end

-- Stop the program, then ourselves; from here it goes on when the shell says so.
local function stop(session)
  local c = session.container
  give_back(session.raw)
  if not c.terminal then
    if c.fields.init then
      c.process:kill("SIGTSTP") -- which it passes on
    else
      c.process:kill("SIGSTOP", { group = true }) -- the first of a pid namespace obeys no other
    end
  end
  exec.stop_self()
  if not c.terminal then
    c.process:kill("SIGCONT", { group = not c.fields.init })
  elseif session.input:is_terminal() then
    session.raw.saved = session.input:raw()
    copy_size(session.input, session.near)
  end
end

local function watch_signals(session)
  function session.on_signal()
    local name = session.signals.descriptor:read_signal()
    if name == "SIGWINCH" then
      if session.near then
        copy_size(session.input, session.near)
      end
    elseif name == "SIGTSTP" then
      stop(session)
    elseif name then
      session.is_told = true
      session.container:kill(name)
    end
  end
  session.loop:watch(session.signals.descriptor, "r", session.on_signal)
end

local function has_start_hooks(c)
  local on = c.fields.on
  return on and (on.created or on.started)
end

--- Run a container in the foreground until it ends; it is started when it was not.
-- HUP, INT, QUIT, TERM, USR1 and USR2 go to its program; with a terminal of its own, what is typed and
-- printed is passed on, its size follows, and the settings of the caller's terminal come back after any end.
-- @tparam container c
-- @treturn table status, as of `container:wait`
-- @raise `carton.error`: what it printed on its terminal could not be passed on
-- @see signalfd(2), pty(7)
function terminal.foreground(c)
  if not c.process and not c.status and has_start_hooks(c) then
    c:start() -- a hook runs with signals as they were
  end
  if c.status then
    return c.status
  end
  local signals <close> = setmetatable({ descriptor = exec.signals(BLOCKED) }, signals_meta)
  if not c.process then -- from its first moment on, what is sent to us is passed on
    c:start()
  end
  if c.status then
    return c.status
  end
  local input <close> = c.terminal and exec.descriptor(0)
  local output <close> = c.terminal and exec.descriptor(1)
  local session = { container = c, loop = require("carton.loop").new(), signals = signals,
    input = input, output = output, near = c.terminal }
  local raw <close> = setmetatable({ descriptor = input }, raw_meta)
  session.raw = raw
  watch_signals(session)
  if c.terminal then
    copy_size(input, c.terminal)
    if input:is_terminal() then
      raw.saved = input:raw()
    end
    c.terminal:nonblocking()
    watch_input(session)
    session.loop:watch(c.terminal, "r", function(token)
      if pass_output(session) == nil then
        session.loop:unwatch(token)
      end
    end)
  end
  local status
  session.loop:container(c, function(result)
    status = result
  end)
  session.loop:run_until(function() return status ~= nil end)
  if c.terminal then
    local most = 1 << 20 -- what others that hold the terminal go on writing is not its output
    while most > 0 do
      local data = pass_output(session)
      if not data then
        break
      end
      most = most - #data
    end
  end
  if session.failure then
    error(session.failure, 0)
  end
  return status
end

--- Signals that `foreground` passes on.
terminal.forwarded = FORWARDED

return terminal
