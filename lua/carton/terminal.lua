-- SPDX-License-Identifier: MIT

--- Containers in the foreground: signals passed on, job control, the caller's terminal and its settings.
-- @module carton.terminal
local core = require("carton.core")
local exec = core.exec
local terminal = {}

local FORWARDED <const> = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2" }
local BLOCKED <const> = { "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP",
  "SIGWINCH" }

--- Call a function while a terminal is raw; its settings come back however that ends.
-- @tparam descriptor descriptor one that is no terminal stays as it is
-- @tparam function call
-- @return what the function returns
function terminal.with_raw(descriptor, call)
  local guard <close> = require("carton.session").make_raw(descriptor) -- luacheck: ignore guard
  return call()
end

local signals_meta = {}
signals_meta.__close = function(self)
  self.descriptor:close()
  exec.unblock(BLOCKED)
end

local function watch_signals(session)
  function session.on_signal()
    local name = session.signals.descriptor:read_signal()
    if name == "SIGWINCH" then
      if session.near then
        require("carton.session").copy_size(session.input, session.near)
      end
    elseif name == "SIGTSTP" then
      require("carton.session").stop(session)
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
  local raw <close> = c.terminal and require("carton.session").guard(input) or nil
  session.raw = raw
  watch_signals(session)
  if c.terminal then
    require("carton.session").begin(session)
  end
  local status
  session.loop:container(c, function(result)
    status = result
  end)
  session.loop:run_until(function() return status ~= nil end)
  if c.terminal then
    require("carton.session").drain(session)
  end
  if session.failure and session.failure.code ~= "EPIPE" then -- who reads has enough, which is no failure
    error(session.failure, 0)
  end
  return status
end

--- Signals that `foreground` passes on.
terminal.forwarded = FORWARDED

return terminal
