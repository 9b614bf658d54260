-- SPDX-License-Identifier: MIT

--- System calls that functions of the recipe answer: the field `on_syscall`.
--
--     on_syscall = {
--       mount = function(call) ... end,      -- by name: also what the profile denies
--       ["*"] = function(call) ... end,      -- every other call that the profile allows
--       denied = function(call) ... end,     -- every other call that the profile denies with an errno
--       timeout = 5,                         -- seconds, after which a call is denied
--     }
--
-- A handler gets a `carton.syscall.call`. What it returns is the answer: an integer is what the call returns, nil and
-- the name of an errno is how it fails; `call:continue()` has the kernel do what the profile says. A handler that
-- returns nothing denies with `EPERM`, but for `denied`, which then answers as the profile. So does one that raises,
-- or whose time is up; what was raised is raised again where the recipe waits. A handler can't yield, and its time-out
-- does not interrupt a system call of the recipe's own.
--
-- Handlers run while the recipe waits: in `wait`, `run`, `carton.wait_any`, or a loop. Until then their callers wait.
-- Further programs (`exec`) have the container's handlers. With the recipe gone, calls fail with `ENOSYS`.
--
-- On 32-bit architectures a handler also gets what is spelled otherwise there (`chown32`), and ways past it are closed
-- (`socketcall`, `ipc`); so is io_uring(7), which no filter sees. What kills stays as it is. What the built-in init
-- needs for itself goes on.
-- @module carton.syscall
local core = require("carton.core")
local syscall = {}

local TIMEOUT <const> = 5
local BATCH <const> = 32 -- calls that are answered before others get their turn
local DEFERRED <const> = 1000 -- calls whose answers are put off at the same time
local OPTIONS <const> = { timeout = true, denied = true }
local INIT <const> = { rt_sigtimedwait = true, wait4 = true, kill = true, exit_group = true, close_range = true }

local methods = {}
local meta = { __name = "carton.syscall.supervisor", __index = methods }

local function fail(format, ...)
  core.misuse("container: field 'on_syscall" .. format:format(...))
end

--- Look whether the field is well-formed.
-- @tparam table on_syscall
-- @raise a string that says what is wrong
function syscall.check(on_syscall)
  local syscalls = require("carton.seccomp.syscalls")
  local arch = syscalls.architectures[core.architecture] and core.architecture or "x86_64"
  local first = next(on_syscall)
  if first == nil or (first == "timeout" and next(on_syscall, first) == nil) then
    fail("': a handler expected")
  end
  for name, value in pairs(on_syscall) do
    if name == "timeout" then
      if type(value) ~= "number" or not (value > 0 and value < math.huge) then
        fail(".timeout': a number of seconds above 0 expected")
      end
    elseif name ~= "*" and not OPTIONS[name] and not (type(name) == "string" and syscalls.is_known(name)) then
      fail("': there is no system call '%s'%s", tostring(name),
        require("carton.hint").meant(name, syscalls.numbers(arch)))
    elseif type(value) ~= "function" then
      fail(".%s': function expected, got %s", name, type(value))
    end
  end
end

local function named(on_syscall)
  local handlers = {}
  for name, handler in pairs(on_syscall) do
    if name ~= "*" and not OPTIONS[name] then
      handlers[name] = handler
    end
  end
  return handlers
end

--- Make the steps that have a container's filter ask.
-- @tparam table fields of the container: `on_syscall`, `seccomp`
-- @tparam {string,...} capabilities of the container
-- @tparam table facts of its plan, to which `unasked` is added
-- @treturn {step,...}
function syscall.steps(fields, capabilities, facts)
  local on = fields.on_syscall
  local steps
  steps, facts.unasked = require("carton.seccomp").notify_steps(fields.seccomp, capabilities, facts.nestable,
    { handlers = named(on), all = on["*"] ~= nil, denied = on.denied ~= nil })
  return steps
end

-- Handlers by architecture and number.
local function tables_of(handlers)
  local syscalls, notify = require("carton.seccomp.syscalls"), require("carton.seccomp.notify")
  local by_audit = {}
  for _, arch in ipairs { core.architecture, syscalls.architectures[core.architecture].companion } do
    by_audit[syscalls.architectures[arch].audit] = { arch = arch, names = syscalls.names(arch),
      handlers = notify.numbers(handlers, arch), verdicts = {} }
  end
  return by_audit
end

-- Namespaces that are not ours; a pid namespace is entered by a child alone.
local function kinds_of(facts)
  local kinds = {}
  for _, kind in ipairs { "user", "cgroup", "ipc", "mnt", "net", "time", "uts" } do
    if facts.new[kind] or facts.joined[kind] or (kind == "cgroup" and facts.entered) then
      kinds[#kinds + 1] = kind
    end
  end
  return kinds
end

--- Answer the calls of a container that was started.
-- @tparam container c
-- @tparam table facts of its plan
-- @treturn supervisor
function syscall.supervise(c, facts)
  local on = c.fields.on_syscall
  local self = setmetatable({ container = c, listener = c.process:listener(),
    timeout = on.timeout or TIMEOUT, all = on["*"],
    denied = on.denied, by_audit = tables_of(named(on)), unasked = facts.unasked, kinds = kinds_of(facts),
    deferred = {}, count = 0, most = DEFERRED, init = c.fields.init and c.process:pid() or nil }, meta)
  require("carton.wait").add_source(self)
  return self
end

--- Answer no more: what is asked fails with `ENOSYS`.
-- @function supervisor:close
function methods:close()
  if self.listener then
    require("carton.wait").remove_source(self)
    self.listener:close()
    self.listener, self.deferred, self.count = nil, {}, 0
  end
end

--- Give a call that was received and not yet answered: its thread can be killed, but not frozen.
-- @function supervisor:answering
-- @treturn ?call
function methods:answering()
  if self.running and self.running:is_valid() then
    return self.running
  end
  for call in pairs(self.deferred) do
    if call:is_valid() then
      return call
    end
  end
end

--- What a poll has to watch; nothing while one of its handlers runs.
-- @function supervisor:watched
-- @treturn ?listener
-- @treturn ?number when the first answer that was put off is due
function methods:watched()
  local first
  for call in pairs(self.deferred) do
    first = math.min(first or call.deadline, call.deadline)
  end
  return not self.running and self.listener or nil, first
end

--- Deny what was put off for too long.
-- @function supervisor:expire
function methods:expire()
  if self.count > 0 then
    local now = core.host.monotonic()
    for call in pairs(self.deferred) do
      if call.deadline <= now then
        call:errno("EPERM")
      end
    end
  end
end

-- A call that was put off is answered, or nobody waits for it any more.
function methods:forget(call)
  if self.deferred[call] then
    self.deferred[call], self.count = nil, self.count - 1
  end
end

-- What the profile says, by its program without questions; remembered where no argument matters.
function methods:verdict(call)
  local verdicts, bpf = self.by_audit[call.audit].verdicts, require("carton.seccomp.bpf")
  if not verdicts[call.number] then
    self.plain = self.plain or self.unasked()
    local value, _, looked = bpf.run(self.plain, { number = call.number, arch = call.audit, args = call.args })
    local action, data = bpf.decode(value)
    local goes_on = action == "allow" or action == "log" or action == "notify"
    local verdict = goes_on and "allow" or action == "errno" and core.errno[data] or "EPERM"
    if looked >= bpf.ARGUMENTS or not self.by_audit[call.audit].names[call.number] then
      return verdict -- a payload makes up numbers without end
    end
    verdicts[call.number] = verdict
  end
  return verdicts[call.number]
end

-- Keep a call for later; whoever does not wait any more makes room.
local function put_off(self, call)
  if self.count >= self.most then
    for other in pairs(self.deferred) do
      if not other:is_valid() then
        self:forget(other)
      end
    end
  end
  if self.count >= self.most then
    call:errno("EAGAIN")
  else
    self.deferred[call], self.count = true, self.count + 1
  end
end

-- The answer to what a handler returned, in case it did not answer itself; raises when that is none.
local function conclude(self, handler, call, value, why)
  if value ~= nil then
    call:reply(value)
  elseif why ~= nil then
    call:errno(why)
  elseif call.deferred then
    put_off(self, call)
  elseif handler == self.denied then
    call:continue()
  else
    call:errno("EPERM")
  end
end

local function deny(call)
  if not call.answered then
    call:errno("EPERM")
  end
end

local function handle(self, call, handler)
  self.running = call
  local ok, value, why = core.bounded.call(call.deadline,
    ("on_syscall: the handler of %s took longer than %g s"):format(call.name, self.timeout), handler, call)
  self.running = nil
  local code = not ok and require("carton.syscall.call").refusal(value)
  if code and not call.answered then
    call:errno(code)
  elseif ok and core.host.monotonic() > call.deadline then
    deny(call)
  elseif ok and not call.answered then
    ok, value = pcall(conclude, self, handler, call, value, why)
  end
  if not ok and not code then
    deny(call)
    error(value, 0) -- where the recipe waits
  end
end

local function go_on(call)
  call:continue()
end

-- Who answers.
local function handler_of(self, entry, call)
  if call.pid == self.init and INIT[call.name] then
    return go_on
  elseif entry.handlers[call.number] then
    return entry.handlers[call.number]
  elseif not self.denied then
    return self.all
  elseif not self.all then
    return self.denied
  end
  return self:verdict(call) == "allow" and self.all or self.denied
end

--- Answer what is asked, for a while.
-- @function supervisor:serve
-- @raise what a handler raised; its call was denied
function methods:serve()
  local new = require("carton.syscall.call").new
  for _ = 1, BATCH do
    if not self.listener then
      return
    end
    local id, pid, number, audit, a, b, c, d, e, f = self.listener:receive()
    if not id then
      if id == false then
        self:close()
      end
      return
    end
    local entry = self.by_audit[audit]
    local call = new { supervisor = self, id = id, pid = pid, number = number, audit = audit, arch = entry.arch,
      name = entry.names[number] or tostring(number), args = { a, b, c, d, e, f }, known = {},
      deadline = core.host.monotonic() + self.timeout }
    handle(self, call, handler_of(self, entry, call) or deny)
  end
end

return syscall
