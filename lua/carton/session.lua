-- SPDX-License-Identifier: MIT

--- What is typed and printed between the caller's terminal and a container's: see `carton.terminal`.
-- @module carton.session
local core = require("carton.core")
local exec = core.exec
local session = {}

local PIPE_BUF <const> = 4096

-- What a terminal has to get back, whatever happens.
local function give_back(guard)
  if guard.saved then
    guard.descriptor:restore(guard.saved)
    guard.saved = nil
  end
end

local raw_meta = { __close = give_back }

--- Keep what a terminal has to get back.
-- @tparam descriptor descriptor
-- @treturn table with `saved` once it is raw; to be closed
function session.guard(descriptor)
  return setmetatable({ descriptor = descriptor }, raw_meta)
end

--- Make a terminal raw.
-- @tparam descriptor descriptor one that is no terminal stays as it is
-- @treturn table as of `guard`
function session.make_raw(descriptor)
  local guard = session.guard(descriptor)
  if descriptor:is_terminal() then
    guard.saved = descriptor:raw()
  end
  return guard
end

--- Give a terminal the size of another.
-- @tparam descriptor from
-- @tparam descriptor to
function session.copy_size(from, to)
  if from:is_terminal() then
    to:resize(from:size())
  end
end

-- Pass bytes from the caller's terminal in, and take no more from there than the container's takes.
local function watch_input(s)
  local loop, input, near = s.loop, s.input, s.near
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
    local ok, data = pcall(input.read, input, 4096)
    if not ok and data.code ~= "EBADF" then -- the caller has closed it
      error(data, 0)
    elseif not ok or data == nil then
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
local function await_reader(s)
  local c = s.container
  local polls = { { s.output, "w" }, { s.signals.descriptor, "r" } }
  local is_told = c.timed_out or s.is_told
  if is_told and not c.status then
    polls[3] = { c.process, "r" }
  end
  local due = c.deadline or c.overdue
  local is_ready, is_over = false, is_told and c.status
  for _, place in ipairs(is_over and {} or exec.poll(polls, due and math.max(0, due - core.host.monotonic()))) do
    if place == 2 then
      s.on_signal()
    end
    is_ready, is_over = is_ready or place == 1, is_over or place == 3
  end
  if not c.status then
    require("carton.wait").check_time(c)
  end
  if is_over then
    s.output = nil
  end
  return is_ready
end

-- Write all of it; an error is kept for the end.
local function write_all(s, data)
  local at = 1
  while s.output and at <= #data do
    if await_reader(s) then -- a pipe takes so much then without blocking: pipe(7), PIPE_BUF
      local ok, written = pcall(s.output.write, s.output, data:sub(at, at + PIPE_BUF - 1))
      if not ok then
        s.output, s.failure = nil, written
        s.container:kill("SIGHUP") -- nobody looks any more
      end
      at = at + (ok and written or 0)
    end
  end
end

-- Pass bytes from the container out; true while there is more.
local function pass_output(s)
  local data = s.near:read()
  if data and s.output then
    write_all(s, data)
  end
  return data
end

--- Connect both: sizes, settings, and what passes in either direction.
-- @tparam table s `loop`, `container`, `input`, `output`, `near`, `signals`, `raw` as of `guard`
function session.begin(s)
  session.copy_size(s.input, s.near)
  if s.input:is_terminal() then
    s.raw.saved = s.input:raw()
  end
  s.near:nonblocking()
  watch_input(s)
  s.loop:watch(s.near, "r", function(token)
    if pass_output(s) == nil then
      s.loop:unwatch(token)
    end
  end)
end

--- Pass on what an ended program left.
-- @tparam table s
function session.drain(s)
  local most = 1 << 20 -- what others that hold the terminal go on writing is not its output
  while most > 0 do
    local data = pass_output(s)
    if not data then
      break
    end
    most = most - #data
  end
end

--- Stop the program, then ourselves; from here it goes on when the shell says so.
-- @tparam table s
function session.stop(s)
  local c = s.container
  if s.raw then
    give_back(s.raw)
  end
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
  elseif s.input:is_terminal() then
    s.raw.saved = s.input:raw()
    session.copy_size(s.input, s.near)
  end
end

return session
