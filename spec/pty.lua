-- SPDX-License-Identifier: MIT
-- A program on a pseudo-terminal, as a person would use it: type, read, wait.
local posix = require("posix")
local assert = require("luassert")
local carton = require("carton")
local exec, monotonic = carton.exec, carton.host.monotonic

local SECONDS <const> = 30 -- until something is missing, never waited for otherwise

local pty = { SECONDS = SECONDS }

local terminal = {}
terminal.__index = terminal

--- Run a program of the host as the leader of a session on a terminal.
function pty.spawn(...)
  local env = { TERM = "xterm" }
  for _, name in ipairs { "PATH", "HOME", "LUA_PATH", "LUA_CPATH", "LD_PRELOAD", "ASAN_OPTIONS" } do
    env[name] = os.getenv(name)
  end
  local near, far = exec.terminal_pair()
  near:resize(24, 80)
  local process = exec.spawn { steps = { { "exec.setsid" }, { "exec.descriptors", fds = { far, far, far } },
    { "exec.controlling" }, { "exec.exec", args = { ... }, env = env } } }
  far:close()
  return setmetatable({ process = process, near = near, said = "" }, terminal)
end

--- Read on; false when there is no more.
function terminal:pump(timeout)
  if #exec.poll({ { self.near, "r" } }, timeout) == 0 then
    return true
  end
  local text = self.near:read()
  self.said = self.said .. (text or "")
  return text ~= nil
end

--- Read until a pattern is there.
function terminal:expect(pattern)
  local deadline = monotonic() + SECONDS
  while not self.said:find(pattern) do
    local more = self:pump(math.max(0, deadline - monotonic()))
    if not more or monotonic() > deadline then
      assert.matches(pattern, self.said)
      break
    end
  end
  return self.said:match(pattern)
end

function terminal:type(text)
  self.near:write(text)
end

--- Read until the end; gives the status and the text.
function terminal:finish()
  local deadline = monotonic() + SECONDS
  while self:pump(1) do
    assert.is_true(monotonic() < deadline, "it does not end: " .. self.said)
  end
  return self.process:wait(SECONDS), self.said
end

function terminal:__close()
  self.process:kill()
  self.process:wait()
  self.process:close()
  self.near:close()
end

--- The terminal's settings as both of its sides see them.
function terminal:settings()
  return require("posix.termio").tcgetattr(self.near:fileno())
end

function terminal:is_raw()
  local settings = self:settings()
  return settings.lflag & (posix.ICANON or 2) == 0
end

--- Look again and again until something holds.
function pty.until_true(what, f)
  local deadline = monotonic() + SECONDS
  while not f() do
    assert.is_true(monotonic() < deadline, what)
    exec.poll({}, 0.01)
  end
end

local naps = 0

--- A minute's sleep that is told from every other: seconds for sleep(1), and what `states` finds it by.
function pty.nap()
  naps = naps + 1
  local seconds = ("60.%d%03d"):format(posix.getpid("pid"), naps)
  return seconds, "sleep\0" .. seconds .. "\0"
end

--- The states of all processes with this word in their command line, as of proc(5).
function pty.states(word)
  local list = {}
  for _, pid in ipairs(posix.dir("/proc")) do
    local file = pid:match("^%d+$") and io.open("/proc/" .. pid .. "/cmdline")
    local text = file and file:read("a") or ""
    if file then
      file:close()
    end
    if text:find(word, 1, true) then
      local stat = io.open("/proc/" .. pid .. "/stat")
      list[#list + 1] = stat and (stat:read("a") or ""):match("^.*%) (%S)") or nil
      if stat then
        stat:close()
      end
    end
  end
  return table.concat(list)
end

return pty
