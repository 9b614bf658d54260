-- SPDX-License-Identifier: MIT
-- Runs one combination in a process of its own, which is in the state that the combination has its caller in, and tells
-- every violation of an invariant, inside and outside.
local posix = require("posix")
local json = require("cjson")
local core = require("carton.core")
local helper = require("spec.helper")
local dimensions = require("spec.containment.dimensions")
local invariants = require("spec.containment.invariants")
local launch = {}

launch.seconds = 30 -- after which a run hangs
launch.patience = 10 -- for a report

local build = helper.program:match("^(.*)/bin/[^/]*$") or "build"

--- The probe; made when it is missing.
function launch.probe()
  local path = build .. "/containment/probe"
  if not posix.access(path, "x") then
    assert(os.execute(("make -s BUILD='%s' '%s' >&2"):format(build, path)))
  end
  return core.host.realpath(path)
end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

-- cjson gives floats.
local function integers(value)
  if type(value) ~= "table" then
    return math.tointeger(value) or value
  end
  for key, item in pairs(value) do
    value[key] = integers(item)
  end
  return value
end

-- What a probe has written; nil until it is whole.
local function report_of(path)
  local text = read(path)
  return text:sub(-2) == "}\n" and integers(json.decode(text)) or nil
end

-- The caller's mounts, with the device of each.
local function mounts_here()
  local list, devices = core.mount.list(), {}
  for id, device in read("/proc/self/mountinfo"):gmatch("(%d+) %d+ (%d+:%d+) [^\n]*\n") do
    devices[tonumber(id)] = device
  end
  for _, mount in ipairs(list) do
    mount.device = devices[mount.id]
  end
  return list
end

-- Enter the state that a combination has its caller in.
local states = {}
function states.plain() end

function states.umask()
  core.privilege.umask { mask = "0077" }
end

function states.ignored()
  for _, name in ipairs { "SIGINT", "SIGQUIT", "SIGPIPE", "SIGUSR1", "SIGTTOU" } do
    posix.signal(posix[name], "SIG_IGN")
  end
end

function states.descriptors(at)
  for _, path in ipairs { "/", at.place, at.place .. "/canary/file", "/proc/self/ns/mnt" } do
    for _ = 1, 3 do
      posix.open(path, posix.O_RDONLY) -- without O_CLOEXEC
    end
  end
end

function states.deleted(at)
  assert(posix.mkdir(at.place .. "/gone"))
  assert(posix.chdir(at.place .. "/gone") == 0)
  assert(posix.rmdir(at.place .. "/gone") == 0)
end

function states.shared()
  core.mount.propagation { propagation = "rshared" }
end

function states.groups()
  core.privilege.user { uid = 0, gid = 0, groups = { 27, 1000 } }
end

-- What the same probe says of the caller.
local function look_at_caller(probe, at)
  local path = at.place .. "/caller"
  local pid = posix.fork()
  if pid == 0 then
    posix.exec(probe, { [0] = "probe", "4", "brief" })
    posix._exit(127)
  end
  posix.wait(pid)
  return report_of(path)
end

-- What is a child of this process, by its name and state.
local function children()
  local list = {}
  for i, pid in ipairs(helper.children()) do
    local status = read(("/proc/%d/status"):format(pid))
    list[i] = ("%s (%s)"):format(status:match("Name:%s*(%S+)"), status:match("State:%s*(%S+)"))
  end
  return table.concat(list, " ")
end

-- Pipes, sockets and files that must be gone; of the directories it is told what lies in them.
local function outside(at)
  local mounts, canary = {}, {}
  for i, mount in ipairs(core.mount.list()) do
    mounts[i] = ("%d %s %s %s"):format(mount.id, mount.target, mount.options, mount.propagation)
  end
  local function look(path)
    for _, name in ipairs(posix.dir(path) or {}) do
      local entry = path .. "/" .. name
      local st = name ~= "." and name ~= ".." and posix.stat(entry)
      if st then
        canary[#canary + 1] = table.concat({ entry, st.mode, st.uid, st.gid, st.size, st.mtime }, " ")
        if st.type == "directory" then
          look(entry)
        end
      end
    end
  end
  look(at.place .. "/canary")
  for _, name in ipairs { "bin", "dev", "etc", "mnt" } do
    local st = posix.stat("/" .. name)
    canary[#canary + 1] = st and table.concat({ name, st.mode, st.uid, st.gid, st.ino }, " ") or name
  end
  local root = posix.dir("/") or {}
  table.sort(root)
  table.sort(canary)
  return { mounts = table.concat(mounts, "\n"), canary = table.concat(canary, "\n") .. table.concat(root, " "),
    fds = table.concat(helper.fds(), "\n"), children = children(), cwd = posix.getcwd() or "gone",
    umask = read("/proc/self/status"):match("Umask:%s*(%d+)") }
end

-- Processes whose command line has a word.
function launch.processes(word)
  local list = {}
  for _, pid in ipairs(posix.dir("/proc") or {}) do
    if pid:find("^%d+$") and read("/proc/" .. pid .. "/cmdline"):find(word, 1, true) then
      list[#list + 1] = tonumber(pid)
    end
  end
  return list
end

local function has_group(word)
  local text = helper.run({ "find", "/sys/fs/cgroup", "-name", "*" .. word .. "*" }).stdout
  return text ~= "" and text or nil
end

local function describe_joined(c, at)
  local fields = { name = at.token .. "j", timeout = 20, stdin = "null", stdout = "null", stderr = "null",
    rootfs = require("carton").rootfs.dir(at.place .. "/image"), idmap = dimensions.has_single(c) and "single"
      or c.idmap ~= "none" and c.idmap or nil,
    namespaces = { time = true } }
  if c.idmap == "explicit" then
    fields.idmap = dimensions.explicit_map()
  end
  return fields
end

local function await(path, c)
  local deadline = core.host.monotonic() + launch.patience
  local report
  repeat
    core.exec.poll({}, 0.002)
    report = report_of(path)
  until report or not c:is_running() or core.host.monotonic() > deadline
  return report or report_of(path)
end

-- What is expected of a container by what it is combined from.
local function expect(c, fields, said, connected)
  local expected = { user = said.user, descriptors = connected, name = fields.name, namespaces = {}, listen = {} }
  local count = #connected - 2
  if count > 0 then
    expected.listen = { LISTEN_FDS = tostring(count), LISTEN_FDNAMES = "report" }
  end
  for _, kind in ipairs { "cgroup", "ipc", "net", "pid", "uts", "time" } do
    expected.namespaces[kind] = c[kind]
  end
  expected.namespaces.mnt = "new"
  expected.namespaces.user = dimensions.has_userns(c) and (dimensions.joins(c) and "joined" or "new") or "host"
  expected.cwd = fields.cwd or "/"
  expected.is_masked = c.system == "masked"
  expected.hides_namespaces = c.system == "none" or c.mounts:find("^root%-") ~= nil
  expected.hides_files = c.mounts:find("^root%-") ~= nil
  expected.has_own_dev = not (c.system == "none" and c.layout == "own") and not c.mounts:find("^root%-")
  expected.readonly = c.readonly == "true"
  expected.keyring = c.keyring
  expected.terminal = fields.terminal
  expected.pdeathsig = c.die_with_parent == "true" and c.init == "false" and 9 or nil
  expected.processes = c.pid == "joined" and 4 or 3
  return expected
end

local function close_all(handles)
  for _, handle in ipairs(handles) do
    handle:close()
  end
end

-- Start what a combination says, and give a run for each program in it.
local function perform(c, at, tell)
  local carton = require("carton")
  local runs = {}
  local joined, joined_report
  if c.way == "pod" then
    local fields = describe_joined(c, at)
    local report <close> = carton.exec.open(at.place .. "/report-0", "w")
    fields.descriptors = { report = report }
    fields.args = { "/probe", "3", "hold", at.token }
    joined = carton.container(fields):start()
    at.joined = joined
    joined_report = assert(await(at.place .. "/report-0", joined), "the joined container reports nothing")
  end
  local keep <close> = setmetatable({}, { __close = function() -- luacheck: ignore keep
    close_all(at.handles)
    if at.container then
      at.container:close()
    end
    if joined then
      joined:close()
    end
  end })
  at.report = at.place .. "/report-1"
  local fields, program, said = dimensions.describe(c, at)
  local is_exec = c.way:find("^exec")
  local connected, fd = dimensions.connect(is_exec and "null" or c.stdio, fields, at)
  local hold = c.way ~= "run"
  fields.args = { program }
  local steps = carton.container(fields):compile().steps
  fields.args = { program, tostring(fd), hold and "hold" or "once", at.token,
    table.unpack(invariants.paths(steps)) }
  local container = carton.container(fields)
  at.container = container
  if hold then
    container:start()
  elseif fields.terminal then -- nobody is there to give a terminal to
    container:start()
    container:wait()
  else
    local status = container:run()
    if status.code ~= 0 then
      tell("outside", "the probe ended with %d (%s) %s", status.code, status.cause, status.stderr or "")
    end
  end
  local expected = expect(c, fields, said, connected)
  if expected.listen.LISTEN_FDS and c.pid == "new" then
    expected.listen.LISTEN_PID = fields.init and "2" or "1"
  end
  local report = hold and await(at.report, container) or report_of(at.report)
  if not report then
    error("the probe reports nothing")
  end
  local run = { report = report, fields = fields, steps = steps, expected = expected, joined = joined_report }
  runs[1] = run
  if c.limits ~= "none" and hold then
    local groups = read(("/proc/%d/cgroup"):format(container:pid()))
    if not groups:find(at.token, 1, true) then
      tell("outside", "a container with limits is in %s", groups)
    end
  end
  if is_exec then
    at.report = at.place .. "/report-2"
    local further = {}
    local its_descriptors, its_fd = dimensions.connect(c.stdio, further, at)
    local its_user = said.user
    if c.way == "exec-user" then
      further.user = { uid = 44, gid = 45, groups = { 46 } }
      its_user = { 44, 45, { 46 } }
    end
    further.args = { program, tostring(its_fd), "once", at.token, table.unpack(invariants.paths(steps)) }
    local child <close> = container:exec(further)
    local status = child:wait(launch.seconds)
    if not status or status.code ~= 0 then
      tell("outside", "the further program ended with %s %s", status and status.code, status and status.stderr)
    end
    local its = expect(c, fields, { user = its_user }, its_descriptors)
    its.terminal = further.terminal
    its.pdeathsig = 9
    its.processes = 5
    local its_fields = {}
    for key, value in pairs(fields) do
      its_fields[key] = value
    end
    its_fields.env, its_fields.terminal = nil, further.terminal
    its_fields.user = further.user or fields.user
    runs[2] = { report = assert(report_of(at.report), "the further program reports nothing"), fields = its_fields,
      steps = steps, expected = its, joined = joined_report, first_fields = fields, is_exec = true }
    if runs[2].report.cgroup ~= report.cgroup then
      tell("outside", "the further program is in cgroup %s, not %s", runs[2].report.cgroup, report.cgroup)
    end
    for kind, id in pairs(report.namespaces) do
      if runs[2].report.namespaces[kind] and runs[2].report.namespaces[kind] ~= id then
        tell("namespaces", "exec's %s is another", kind)
      end
    end
  end
  return runs
end

-- The caller's groups, as a container sees them that has a single one.
local function seen_groups(caller)
  local list = {}
  for i, group in ipairs(caller.groups) do
    list[i] = group == caller.gids[2] and 0 or 65534
  end
  return list
end

-- In the process made for it: what was found.
local function perform_alone(c, place, token, options)
  local found = {}
  local function tell(name, format, ...)
    found[#found + 1] = { name = name, text = format:format(...) }
  end
  local at = { place = place, token = token, handles = {} }
  posix.setpid("s") -- a session of its own, so that what is left of it can be told
  local null = posix.open("/dev/null", posix.O_RDWR)
  for fd = 0, 2 do
    posix.dup2(null, fd)
  end
  local out = posix.open(place .. "/caller", posix.O_WRONLY | posix.O_CREAT, "rw-r--r--")
  posix.dup2(out, 4)
  core.exec.guard() -- or a launch would start it, between two looks at what is open
  core.privilege.session_keyring { optional = true } -- or it would be told by its user's
  if helper.is_root then
    core.namespace.unshare { kinds = { "mnt" } }
    core.mount.propagation { propagation = "rprivate" }
  end
  local probe = launch.probe()
  dimensions.furnish(c, place, probe)
  states[c.caller](at)
  local caller = assert(look_at_caller(probe, at), "the probe says nothing of the caller")
  if options.before then
    options.before(at)
  end
  if c.layout == "submounts" then
    core.mount.tmpfs { target = place .. "/image/inner", mode = "0755" }
  end
  local mounts = mounts_here()
  local before = outside(at)
  local ok, runs = pcall(perform, c, at, tell)
  local wrong = dimensions.judge(c, not ok and tostring(runs) or nil)
  if wrong then
    tell("error", "%s", wrong)
  end
  if ok then
    for i, run in ipairs(runs) do
      run.caller, run.caller_mounts = caller, mounts
      if not helper.is_root and dimensions.has_single(c) then -- which cannot change its groups: user_namespaces(7)
        run.expected.user[3] = seen_groups(caller)
      end
      for _, violation in ipairs(invariants.check(run)) do
        tell(violation.name, "%s%s", i == 2 and "exec: " or "", violation.text)
      end
    end
    if options.inspect then
      options.inspect(runs, tell, at)
    end
  end
  at.container, at.joined, at.handles = nil, nil, nil
  local after = outside(at)
  for key, value in pairs(before) do
    if after[key] ~= value then
      tell("outside", "%s: %s, was %s", key, after[key], value)
    end
  end
  for _, pid in ipairs(launch.processes(token)) do
    local status = read(("/proc/%d/status"):format(pid)):gsub("%s+", " ")
    tell("outside", "process %d is left: %s", pid, status:sub(1, 200))
  end
  if c.limits ~= "none" and has_group(token) then
    tell("outside", "a cgroup is left: %s", has_group(token))
  end
  return { violations = found, note = at.note }
end

--- Run a combination.
-- @param c the combination
-- @param options `before(at)` is called in the process made for it, before the launch; `inspect(runs, tell, at)` after
-- @return list of violations `{ name =, text = }`, and what one of these has left in `at.note`
function launch.run(c, options)
  local place = helper.tmpdir()
  local token = "matrix-" .. place:match("%w+$")
  io.stdout:flush()
  local pid = posix.fork()
  if pid == 0 then
    local ok, result = xpcall(perform_alone, debug.traceback, c, place, token, options or {})
    if not ok then
      result = { violations = { { name = "error", text = tostring(result) } } }
    end
    local file = io.open(place .. "/result", "w")
    file:write(json.encode(result), "\n")
    file:close()
    posix._exit(0)
  end
  local deadline = core.host.monotonic() + launch.seconds
  local result, note
  while true do
    local ended = posix.wait(pid, posix.WNOHANG)
    if ended and ended ~= 0 then
      local text = read(place .. "/result")
      local died = { violations = { { name = "error", text = "its process died" } } }
      local told = text ~= "" and json.decode(text) or died
      result, note = told.violations, told.note
      break
    elseif core.host.monotonic() > deadline then
      posix.kill(pid, posix.SIGKILL)
      posix.wait(pid)
      for _, left in ipairs(launch.processes(token)) do
        posix.kill(left, posix.SIGKILL)
      end
      result = { { name = "hangs", text = ("longer than %g s"):format(launch.seconds) } }
      break
    end
    core.exec.poll({}, 0.002)
  end
  helper.remove(place)
  return result, note
end

return launch
