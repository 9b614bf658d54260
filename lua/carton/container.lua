-- SPDX-License-Identifier: MIT

--- The vocabulary of recipes: a container is a table of wishes that can be started.
-- @module carton.container
-- @pragma nostrip
local core = require("carton.core")
local compile = require("carton.compile")
local field = require("carton.field")
local container = {}

local methods = {}
local meta = { __name = "carton.container", __index = methods }

local function fail(format, ...)
  core.misuse("container: " .. format:format(...))
end

-- The recipe's line that is running, as messages begin with it; empty when none is.
local function place()
  return select(2, pcall(core.misuse, ""))
end

-- Call a function; of what fails only now it is said where the container was described.
local function located(c, f, ...)
  local ok, result = pcall(f, ...)
  if ok then
    return result
  elseif c.described and c.described ~= "" and place() == "" then -- the recipe has returned by now
    if type(result) == "string" and not result:find("^.-:%d+: ") then
      result = c.described .. result
    elseif type(result) == "table" and result.op and not result.where then
      result.where = c.described:sub(1, -3)
    end
  end
  error(result, 0)
end

--- Describe a container; nothing happens until it is started.
-- @function carton.container
-- @tparam table fields only `rootfs` and `args` are needed
-- @tparam string|{step,...} fields.rootfs a directory, or a layout: see `carton.rootfs`
-- @tparam {string,...} fields.args the program and its arguments; searched in PATH inside
-- @tparam[opt] string fields.path the file to execute, when it is not `args[1]`, which is argv[0] then
-- @tparam[opt] string fields.name host name, and in messages
-- @tparam[opt] table fields.env nothing is inherited; PATH, HOME and, on a terminal, TERM have defaults; false
--   removes one
-- @tparam[opt="/"] string fields.cwd
-- @tparam[opt] string|table fields.user name, `"uid:gid"`, or `{ uid =, gid =, groups = {} }`; by default root inside
-- @tparam[opt] string fields.hostname by default the name, or "carton"
-- @tparam[opt] string fields.domainname
-- @tparam[opt=false] boolean|table fields.terminal a pseudo-terminal; `{ rows =, columns = }`
-- @tparam[opt] table fields.namespaces by kind: true (new), `"host"` (shared), a handle, a path, or a
--   started container; by default all are new, `user` when the caller is not root or `idmap` is given,
--   `time` with `time_offsets`
-- @tparam[opt] string|table fields.idmap `"auto"`, `"single"`, `"keep-id"`, or maps: see `carton.idmap`
-- @tparam[opt] list fields.mounts `"/src:/dst:ro"`, tables or steps: see `carton.mounts`
-- @tparam[opt] list fields.devices paths of the host, or fields of `mount.device`
-- @tparam[opt] table|string fields.capabilities `{ add =, drop =, ambient = }`, "all" or "none": see
--   `carton.capability`
-- @tparam[opt="default"] string|table|boolean fields.seccomp filter of system calls: `"default"`, a path (`.json`,
--   `.lua`, or `.bpf` for a raw program), a profile as a table, `{ program = bytes }`, or false for none: see
--   `carton.seccomp`
-- @tparam[opt] table fields.on_syscall functions that answer its system calls, by name: see `carton.syscall`
-- @tparam[opt] table fields.rlimits by name, as of `privilege.rlimits`
-- @tparam[opt] table fields.limits memory, swap, cpus, pids, ...: see `carton.limits`; it gets a cgroup of its own
-- @tparam[opt] table fields.cgroup further files of its cgroup in the words of v2: `{ ["memory.oom.group"] = 1 }`
-- @tparam[opt=false] boolean fields.delegate its root may divide its cgroup further (cgroup v2)
-- @tparam[opt] string fields.network `"none"` (loopback only, the default) or `"host"`
-- @tparam[opt] number fields.timeout seconds after which it is killed, with `timeout` as the cause. A start fails
--   with `ETIMEDOUT` after the same time, but at least 5 s and at most 60 s (the default)
-- @tparam[opt] table fields.on `created(c)` before the root is entered, `started(c)`, `exited(c, status)`
-- @tparam[opt=false] boolean fields.init run below a built-in init that reaps and passes signals on
-- @tparam[opt] boolean fields.readonly make the root read-only, and the mounts that it brings along. Mounts that
--   the recipe adds follow their own options. The default is the layout's
-- @tparam[opt] table fields.sysctl by name, of the container's own namespaces
-- @tparam[opt] table fields.time_offsets `{ monotonic =, boottime = }` in seconds
-- @tparam[opt=true] boolean fields.no_new_privs
-- @tparam[opt] table fields.landlock what it may do, by path and port, also against the will of its root: see
--   `carton.landlock`
-- @tparam[opt=false] boolean fields.no_userns it cannot make user namespaces; it needs one of its own
-- @tparam[opt="new"] string fields.keyring its session keyring: `"inherit"`: the caller's
-- @tparam[opt] table fields.label of a security module: `{ selinux = context }`, `{ apparmor = profile }`
-- @tparam[opt=true] boolean fields.die_with_parent it is killed when the recipe ends, for whatever reason (see
--   `exec.guard`; a program that sees the recipe's processes and has its user can kill the guard, too); false: it
--   outlives the recipe, and is not ended when its object is collected
-- @tparam[opt] table fields.descriptors by name: handles that become 3, 4, ... in the order of the names, with
--   LISTEN_FDS and LISTEN_FDNAMES; given as they are, a directory too, which leads to the host's files
-- @param[opt="inherit"] fields.stdin also `stdout`, `stderr`: see `carton.stdio`
-- @tparam[opt="0022"] string fields.umask and `oom_score_adj`, `scheduler`, `ioprio`, `affinity`, `personality`:
--   see `carton.privilege`
-- @tparam[opt=false] boolean fields.trace keep what each step took
-- @treturn container
-- @raise a string with file and line: what is wrong with the fields
-- @usage carton.container{ rootfs = carton.rootfs.host(), args = { "id" } }:run()
function container.new(fields)
  if type(fields) ~= "table" then
    fail("a table of fields expected, got %s", type(fields))
  end
  local copy = {}
  for key, value in pairs(fields) do
    copy[key] = value
  end
  field.check(copy, container.is_container)
  return setmetatable({ fields = copy, name = copy.name, streams = {}, described = place() }, meta)
end

--- Tell whether something is a container.
-- @param value anything
-- @treturn boolean
function container.is_container(value)
  return getmetatable(value) == meta
end

local opened_at_start = { ["cgroup.enter"] = { "exec.setsid" }, ["exec.descriptors"] = { "exec.setsid" },
  ["namespace.enter"] = { "exec.setsid" } }

--- Compile it into a plan, which needs no privilege and does nothing.
-- @function container:compile
-- @treturn table `{ steps = {...}, namespaces = {kinds} }`
-- @raise a string: what is wrong with a step
function methods:compile()
  return located(self, function()
    local compiled, checked = compile.plan(self.fields), {}
    for i, step in ipairs(compiled.steps) do -- what a start opens has just a name yet
      checked[i] = opened_at_start[step[1]] or step
    end
    core.validate(checked)
    return compiled
  end)
end

-- Open the namespaces that are joined.
local function open_joined(joined, opened)
  local list = {}
  for _, kind in ipairs { "user", "cgroup", "ipc", "mnt", "net", "pid", "time", "uts" } do
    local value = joined[kind]
    if type(value) == "string" then
      value = core.namespace.open(value, kind)
      opened[#opened + 1] = value
    elseif type(value) == "table" then
      if not value.process or value.status then
        fail("field 'namespaces.%s': %s is not running", kind, value.name or "the container")
      end
      value = core.namespace.open(value.process, kind)
      opened[#opened + 1] = value
    end
    if value then
      list[#list + 1] = value
    end
  end
  return list
end

local function sync_functions(c, compiled)
  local on = c.fields.on or {}
  return {
    idmap = compiled.map and function(process)
      require("carton.idmap").write(process:pid(), compiled.map)
    end,
    created = on.created and function(process)
      c.process = process
      on.created(c)
    end,
  }
end

-- The cgroup that its limits ask for.
local function make_group(c)
  local files = compile.files(c.fields)
  c.is_loose = compile.is_loose(c.fields)
  local is_member = not c.is_loose and compile.is_member(c.fields)
  if files and not next(files) and (c.is_loose or is_member) then -- only to be ended by
    local ok, result = pcall(require("carton.cgroup").create, { name = c.name, files = files })
    if not ok and is_member and type(result) == "table" then
      return nil
    elseif not ok then
      if type(result) == "table" then
        result.hint = "without a pid namespace of its own, a container needs a cgroup by which all of it can be killed"
      end
      error(result, 0)
    end
    c.group = result
  elseif files then
    c.group = require("carton.cgroup").create { name = c.name, files = files,
      manager = c.fields.limits and c.fields.limits.manager }
    if c.fields.delegate then
      compile.delegate(c.fields, c.group)
    end
  end
  if c.group and c.fields.die_with_parent == false then
    c.group.outlives = true
  elseif c.group and c.is_loose then
    core.exec.guard(c.group:ending())
  end
  return c.group
end

-- What it used, before its cgroup is gone; whoever is left in there is killed.
local function leave_group(c)
  local group = c.group
  local stats
  if group then
    c.group = nil
    stats = next(c.compiled and c.compiled.files or {}) and group:stats() or nil
    group:close()
  end
  if c.process and (c.parent or c).is_loose then
    require("carton.wait").reap_left(c.process:pid())
  end
  return stats
end

-- What ends a container that nobody refers to any more. It is made after the handles of a launch, so that
-- it is collected before them: Lua manual, 2.5.3. A fork of the process that started it ends nothing.
local guard_meta = { __gc = function(guard)
  local c = guard.container
  if c.guard ~= guard then
    return
  elseif guard.owner == core.host.pid() and c.fields.die_with_parent ~= false then
    c:close()
  else -- its handles are closed next
    require("carton.wait").leave(c)
  end
end }

local function call_started(c)
  local started = c.fields.on and c.fields.on.started
  local ok, message = pcall(started or rawlen, c)
  if not ok then -- whoever started it does not get it
    c:close()
    error(message, 0)
  end
end

-- Close what was opened for a launch, and keep what it gave, if it did.
local function settle(c, prepared, opened, process)
  for _, handle in ipairs(opened) do
    handle:close()
  end
  require("carton.stdio").release(prepared, not process)
  if not process then
    return
  end
  c.process, c.streams, c.terminal = process, prepared.streams, process:terminal()
  c.guard = setmetatable({ container = c, owner = core.host.pid() }, guard_meta)
  c.supervisor = c.fields.on_syscall and require("carton.syscall").supervise(c, c.compiled.facts) or nil
  local facts = c.compiled.facts
  require("carton.wait").enter(c, facts.joined.pid or (c.parent and facts.new.pid))
  if c.fields.timeout then
    c.deadline = core.host.monotonic() + c.fields.timeout
  end
end

-- Seconds that a start may take. What is meant for the program can be too short for the steps before it.
local function start_timeout(timeout)
  return timeout and math.max(5, math.min(timeout, 60)) or nil
end

-- Spawn what `make` compiles, with everything that was opened for it closed again.
local function launch(c, make)
  if container.observer then -- of `carton.learn`
    container.observer(c)
  end
  local prepared = located(c, require("carton.stdio").prepare, c.fields)
  local opened = {}
  local ok, result = pcall(located, c, function()
    local compiled = make(prepared, opened)
    c.compiled = compiled
    return core.exec.spawn {
      cgroup = compiled.unified,
      steps = compiled.steps,
      namespaces = compiled.namespaces,
      sync = sync_functions(c, compiled),
      timeout = start_timeout(c.fields.timeout),
      trace = c.fields.trace,
    }
  end)
  local settled, failure = pcall(settle, c, prepared, opened, ok and result)
  if ok and settled then
    return
  elseif ok then -- there was no memory left to keep it
    result:kill()
    result:wait()
  end
  c.process = nil
  leave_group(c)
  error(ok and failure or result, 0)
end

--- Start it; returns when its program is executed.
-- @function container:start
-- @treturn container itself
-- @raise `carton.error` of the step that failed; nothing runs then
function methods:start()
  if container.planning then
    container.planning(self)
    self.status = { code = 0, cause = "exited", stdout = "", stderr = "" }
    return self
  elseif self.process and not self.status then
    fail("%s is running already", self.name or "it")
  end
  self:close() -- what is left of the run before
  self.status, self.timed_out, self.asked, self.held, self.overdue = nil, nil, nil, nil, nil
  self.killed, self.oom_elsewhere = nil, nil
  launch(self, function(prepared, opened)
    return compile.plan(self.fields, {
      fds = prepared.fds,
      group = make_group(self),
      open = function(joined) return open_joined(joined, opened) end,
    })
  end)
  call_started(self)
  return self
end

-- What a further program has of the container unless it is said otherwise; its environment is added to.
local inherited = { "capabilities", "cwd", "keyring", "label", "landlock", "no_new_privs", "no_userns", "on_syscall",
  "rlimits", "seccomp", "umask", "user" }

-- Seconds in which the end of a container shows that has ended a further program of it on its way.
local ENDING <const> = 0.2

-- When a pid namespace ends, the kernel also kills a process that is entering it. The step at which that happens says
-- nothing about the cause.
local function explain_end(err, home)
  if type(err) == "table" and (err.code == "EINTR" or err.code == "ESRCH" or err.step == "exec.fork")
    and #core.exec.poll({ { home.process, "r" } }, ENDING) > 0 then
    err.hint = "the container has ended meanwhile"
  end
  return err
end

--- Run a further program in all its namespaces.
-- @function container:exec
-- @tparam table fields `args`, and any of `env`, `cwd`, `user`, `terminal`, `stdin`, `stdout`, `stderr`,
--   `capabilities`, `keyring`, `label`, `landlock`, `no_new_privs`, `on_syscall`, `rlimits`, `seccomp`, `umask`,
--   `timeout`, `descriptors`, `on`, as of `carton.container`; all of these but what it is connected to are the
--   container's unless they are given, no_userns always, and `env` is added to the container's
-- @treturn container of that program alone, started; its `close`, `kill` and `timeout` end its first process, what
--   that has started ends with the container
-- @raise `carton.error` of the step that failed; a string when the container does not run, or is frozen
-- @usage web:exec{ args = { "nginx", "-s", "reload" } }:wait()
function methods:exec(fields)
  local home = self.parent or self -- whose namespaces and cgroup they are
  if not self.process or self.status or home.status then
    fail("%s is not running", self.name or "it")
  end
  if type(fields) ~= "table" then
    fail("exec: a table of fields expected, got %s", type(fields))
  end
  field.check_exec(fields)
  if self.group and self.group:is_frozen() then
    fail("exec: %s is frozen: thaw it first", self.name or "the container")
  end
  local copy = {}
  for _, name in ipairs(inherited) do
    copy[name] = self.fields[name]
  end
  for key, value in pairs(fields) do
    copy[key] = value
  end
  local child = setmetatable({ fields = copy, name = self.name, streams = {}, parent = home,
    oom_before = home.group and home.group:oom_kills() }, meta)
  local ok, err = pcall(launch, child, function(prepared, opened)
    return compile.exec(copy, home, { fds = prepared.fds, group = home.group, null = function()
      opened[#opened + 1] = core.exec.null()
      return opened[#opened]
    end })
  end)
  if not ok then
    error(explain_end(err, home), 0)
  end
  call_started(child)
  return child
end

--- Wait for its end, feeding and reading its pipes.
-- @function container:wait
-- @tparam[opt] number timeout seconds
-- @treturn ?table `{ code =, cause = "exited" | "signalled" | "timeout" | "oom", signal =, core_dumped =, usage =,
--   stdout =, stderr =, truncated = (`{ stdout = true }` when there was more than is kept),
--   stats = (with limits, as of `stats`) }`, nil when time is up first. `oom`: the kernel killed this program for want
--   of memory; the end of another process in it, the code 137 and a kill of the caller's own are none
function methods:wait(timeout)
  local _, status = require("carton.wait").any({ self }, timeout)
  return status
end

-- How many processes the kernel has killed for want of memory since a program was started: it counts those of a group,
-- and says nothing of who they were. What was counted while the first program went on was not its end.
local function count_oom(c, status)
  local home = c.parent
  if not home then
    return (status.stats and status.stats.memory.oom_kill or 0) - (c.oom_elsewhere or 0)
  elseif not (c.oom_before and home.group and home.process and home.process:is_alive()) then
    return 0
  end
  home.oom_elsewhere = home.group:oom_kills()
  return home.oom_elsewhere - c.oom_before
end

-- What is left to do when the process has ended; `carton.wait` calls it.
function methods:finish()
  if self.status then
    return self.status -- somebody else has waited for it
  end
  local status = self.process:wait()
  require("carton.wait").leave(self)
  local captured, truncated = require("carton.stdio").drain(self.streams)
  status.stdout, status.stderr, status.truncated = captured.stdout, captured.stderr, truncated
  status.stats = leave_group(self)
  local killed_for_memory = count_oom(self, status) > 0
  if self.timed_out then
    status.cause = "timeout"
  elseif killed_for_memory and status.signal == "SIGKILL" and not self.killed then
    status.cause = "oom"
  elseif self.asked and status.signal == "SIGKILL" then
    status.signal = self.asked
    status.code = 128 + core.exec.signal_number(self.asked)
  end
  self.status, self.deadline, self.overdue = status, nil, nil
  local exited = self.fields.on and self.fields.on.exited
  if exited then
    exited(self, status)
  end
  return status
end

--- Start it and wait for its end; on a terminal of its own, in the foreground of the caller's.
-- @function container:run
-- @treturn table status, as of `wait`
-- @raise `carton.error` of the step that failed
function methods:run()
  if self.fields.terminal and (self.status or not self.process) then
    self.status, self.process = nil, nil
    return require("carton.terminal").foreground(self)
  end
  self:start()
  return self.status or self:wait()
end

-- What the kernel keeps from the first process of a pid namespace: signals it has no handler for.
local function is_kept(c, signal)
  local number = core.exec.signal_number(signal)
  local new = c.compiled.facts.new
  if c.parent or c.fields.init or not new.pid or signal == "SIGKILL" or signal == "SIGSTOP" then
    return false
  end
  local ok, privileges = pcall(core.privilege.get, c.process:pid())
  -- a blocked one is not thrown away either: sigwait(3), signalfd(2)
  local handled = ok and (privileges.caught | privileges.ignored | privileges.blocked) or -1
  return handled & (1 << (number - 1)) == 0
end

local ending = {}
for _, name in ipairs { "HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "ALRM", "TERM", "PIPE" } do
  ending["SIG" .. name] = true
end

--- Send a signal. One that would end a program is made to end the first of a pid namespace too, which the
-- kernel spares otherwise when it has no handler.
-- @function container:kill
-- @tparam[opt="SIGKILL"] string signal
-- @treturn boolean false when it does not run: it was not started, or has ended
-- @raise a string for a signal that there is not
-- @see pid_namespaces(7)
function methods:kill(signal)
  if not self.process or self.status then
    return false
  end
  local known_signal, number = pcall(core.exec.signal_number, signal or "SIGKILL")
  if not known_signal then
    fail("kill: there is no signal '%s'", tostring(signal))
  end
  signal = core.exec.signal_name(number) or signal
  if ending[signal] and is_kept(self, signal) then
    self.asked, signal = signal, "SIGKILL"
  end
  if signal == "SIGKILL" then -- whoever waits for it is told when it does not end
    self.killed = true
    self.overdue = self.overdue or core.host.monotonic() + require("carton.wait").grace
  end
  local sent = self.process:kill(signal)
  if signal == "SIGKILL" and self.group then
    if self.is_loose then -- its first process is not all of it
      self.group:kill()
    end
    self.group:release() -- with cgroup v1 what is frozen dies only then
  end
  return sent
end

--- Tell whether it has been started and has not ended.
-- @function container:is_running
-- @treturn boolean
function methods:is_running()
  return self.process ~= nil and self.status == nil and self.process:is_alive()
end

--- Tell its process id, as the caller's pid namespace numbers it.
-- @function container:pid
-- @treturn ?int
function methods:pid()
  return self.process and self.process:pid()
end

for name, method in pairs(require("carton.control")) do
  methods[name] = method
end

--- Tell what each step took, when it was started with `trace`.
-- @function container:trace
-- @treturn ?{table,...} `{ step = index, name = "mount.bind", began =, took = (microseconds), errno = }`
function methods:trace()
  local trace = self.process and self.process:trace()
  for _, entry in ipairs(trace or {}) do
    entry.name = self.compiled.steps[entry.step][1]
  end
  return trace
end

--- End it if it runs, and let go of all it has. Also at the end of a `<close>` block.
-- @function container:close
-- @raise `carton.error`: `ETIMEDOUT` it was killed and does not end; what there was to let go of is let go
function methods:close()
  if not self.process then
    return
  end
  local wait, process, failures = require("carton.wait"), self.process, {}
  local function try(f, ...)
    local ok, result = pcall(f, ...)
    failures[#failures + 1] = not ok and result or nil
    return ok and result or nil
  end
  if not self.status then
    try(self.kill, self, "SIGKILL")
    self.status = try(wait.process, process, self.name)
    if not self.status and not wait.is_kept(process) then -- for want of memory
      try(process.kill, process)
      try(process.wait, process, wait.grace)
    end
  end
  wait.leave(self)
  try(leave_group, self)
  require("carton.stdio").close(self.streams)
  if self.terminal then
    self.terminal:close()
  end
  wait.close(process)
  self.process, self.streams, self.terminal = nil, {}, nil
  if failures[1] then
    error(failures[1], 0)
  end
end

meta.__close = methods.close

function meta:__tostring()
  return ("container%s%s"):format(self.name and " " .. self.name or "",
    self.status and " (ended)" or self.process and (" (%d)"):format(self:pid()) or "")
end

return container
