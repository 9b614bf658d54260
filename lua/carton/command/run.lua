-- SPDX-License-Identifier: MIT

--- `carton run`: a container from options, or a recipe.
-- @module carton.command.run
local options = require("carton.command.options")
local run = { summary = "run a command in a root file system, or a recipe",
  usage = "carton run [OPTION...] ROOTFS COMMAND [ARG...] | carton run [OPTION...] RECIPE.lua [ARG...]" }

--- The one list of options: read by the parser, shown by help, the man page and completions.
run.options = {
  { "-e --env", arg = "NAME=VALUE", many = true, help = "set a variable of the environment" },
  { "-w --cwd", arg = "DIR", help = "working directory inside" },
  { "-u --user", arg = "USER[:GROUP]", help = "names or ids, as the root file system knows them" },
  { "--name", arg = "NAME", help = "name of the container" },
  { "--hostname", arg = "NAME", help = "host name inside" },
  { "-t --terminal", help = "give the program a pseudo-terminal (the default when run on one)" },
  { "-T --no-terminal", help = "leave standard input, output and error as they are" },
  { "-v --mount", arg = "SRC:DST[:OPTIONS]", many = true, help = "mount a path of the host: /data:/data:ro" },
  { "--tmpfs", arg = "DST[:OPTIONS]", many = true, help = "mount an empty file system in memory: /tmp:size=64m" },
  { "--device", arg = "PATH", many = true, help = "make a device of the host available: /dev/fuse" },
  { "--device-rule", arg = "RULE", many = true, help = "allow the use of further devices: \"c 189:* rw\"" },
  { "--overlay", help = "keep changes to the root in memory and discard them at the end" },
  { "--lower", arg = "DIR", many = true, help = "add a read-only layer below ROOTFS (implies --overlay)" },
  { "--read-only", help = "make the root read-only" },
  { "--bare", help = "mount nothing but the root itself: no /proc, /dev, /sys" },
  { "--nestable", help = "leave /proc and /sys unmasked and allow namespaces, to run containers inside" },
  { "--share", arg = "KIND", many = true, help = "share a namespace of the host: net, pid, ipc, uts, cgroup, user" },
  { "--idmap", arg = "MAP", help = "user namespace: auto, single or keep-id" },
  { "--cap-add", arg = "NAME", many = true, help = "add a capability, or all" },
  { "--cap-drop", arg = "NAME", many = true, help = "drop a capability, or all" },
  { "--new-privileges", help = "allow set-user-ID programs to gain privileges" },
  { "--landlock", arg = "WORD=VALUE", many = true, help = "allow only what is named: read=, write=, execute= or "
    .. "device=PATH, bind= or connect=PORT, scope=NAME; optional=yes: as far as the kernel can" },
  { "--no-userns", help = "forbid the creation of user namespaces inside" },
  { "--keyring", arg = "KEYRING", help = "session keyring: new (the default) or inherit" },
  { "--label", arg = "MODULE=LABEL", many = true, help = "label of a security module: selinux=, apparmor=" },
  { "--seccomp", arg = "PROFILE", help = "system call filter: default, none, or a file NAME.json or NAME.lua" },
  { "--memory", arg = "SIZE", help = "limit memory: 512M" },
  { "--swap", arg = "SIZE", help = "limit swap, not counting memory: 0 for none" },
  { "--cpus", arg = "N", help = "limit processor time: 1.5 processors" },
  { "--pids", arg = "N", help = "limit the number of processes" },
  { "--cgroup", arg = "FILE=VALUE", many = true, help = "write to a file of the container's cgroup: memory.high=1G" },
  { "--rlimit", arg = "NAME=N[:HARD]", many = true, help = "set a resource limit: nofile=1024" },
  { "--sysctl", arg = "NAME=VALUE", many = true, help = "set a kernel parameter of the container's namespaces" },
  { "--init", help = "run an init that reaps zombies and forwards signals (the default on a terminal)" },
  { "--timeout", arg = "SECONDS", help = "kill the container after that many seconds" },
  { "--trace", optional = true, help = "print how long each step took; --trace=json; --trace=svg for a picture" },
  { "--trace-file", arg = "FILE", help = "write the trace to FILE instead of standard error" },
  { "--status-file", arg = "FILE", help = "write exit status and cause to FILE, as JSON" },
}

-- Habits from podman, docker and bwrap.
run.options.others = {
  ["--rm"] = "a container always removes itself",
  ["-i"] = "standard input is always passed on",
  ["--interactive"] = "standard input is always passed on",
  ["--tty"] = "use --terminal",
  ["-d"] = "a container ends with the command that runs it",
  ["--detach"] = "a container ends with the command that runs it",
  ["--volume"] = "use -v",
  ["--bind"] = "use -v SRC:DST",
  ["--dev-bind"] = "use -v SRC:DST:dev",
  ["--ro-bind"] = "use -v SRC:DST:ro",
  ["-m"] = "use --memory",
  ["--pids-limit"] = "use --pids",
  ["--ulimit"] = "use --rlimit",
  ["--workdir"] = "use --cwd",
  ["--chdir"] = "use --cwd",
  ["--setenv"] = "use --env NAME=VALUE",
  ["--userns"] = "use --idmap",
  ["--net"] = "there is only a loopback, or the host's network with --share net",
  ["--network"] = "there is only a loopback, or the host's network with --share net",
  ["--publish"] = "there are no networks of its own; --share net is the host's",
  ["-p"] = "there are no networks of its own; --share net is the host's",
  ["--privileged"] = "grant what is needed: --cap-add, --device, --nestable, --seccomp",
  ["--security-opt"] = "use --seccomp, --label or --new-privileges",
}

local function fail(format, ...)
  error({ usage = true, message = format:format(...) .. "; see carton help run" }, 0)
end

local function pairs_of(list, option)
  local map
  for _, text in ipairs(list or {}) do
    local name, value = text:match("^([^=]+)=(.*)$")
    if not name then
      fail("option '%s': '%s' is not NAME=VALUE", option, text)
    end
    map = map or {}
    if map[name] and option ~= "--env" then -- of variables the last one counts: env(1)
      fail("option '%s': %s is given twice", option, name)
    end
    map[name] = value
  end
  return map
end

local function limits_of(list)
  local limits
  for name, value in pairs(pairs_of(list, "--rlimit") or {}) do
    local soft, hard = value:match("^(%w+):(%w+)$")
    soft = soft or value:match("^%w+$")
    if not soft then
      fail("option '--rlimit': '%s' is not a limit", value)
    end
    hard = hard or soft
    limits = limits or {}
    limits[name] = { soft = math.tointeger(tonumber(soft)) or soft,
      hard = math.tointeger(tonumber(hard)) or hard }
  end
  return limits
end

local function resources_of(values)
  local limits = { memory = values.memory, swap = values.swap, cpus = tonumber(values.cpus),
    pids = math.tointeger(tonumber(values.pids)), devices = values.device_rule }
  if values.cpus and not limits.cpus then
    fail("option '--cpus': '%s' is not a number", values.cpus)
  elseif values.pids and not limits.pids then
    fail("option '--pids': '%s' is not a whole number", values.pids)
  end
  return next(limits) and limits or nil
end

-- The words of --landlock as the field of that name.
local function landlock_of(list)
  local wish
  local paths = { read = true, write = true, execute = true, device = true }
  local function add(to, name, value)
    to[name] = to[name] or {}
    table.insert(to[name], value)
  end
  for _, text in ipairs(list or {}) do
    local word, value = text:match("^(%a+)=(.+)$")
    wish = wish or {}
    if paths[word] then
      add(wish, word, value)
    elseif word == "bind" or word == "connect" then
      local port = math.tointeger(tonumber(value))
      if not port then
        fail("option '--landlock': '%s' is not a port", value)
      end
      wish.tcp = wish.tcp or {}
      add(wish.tcp, word, port)
    elseif word == "scope" then
      add(wish, "scopes", value)
    elseif text ~= "optional=yes" then
      fail("option '--landlock': '%s' is not read, write, execute or device=PATH, bind or connect=PORT, "
        .. "scope=NAME or optional=yes", text)
    end
  end
  for _, text in ipairs(list or {}) do
    if text == "optional=yes" then
      wish.optional = true
      for _, part in pairs { wish.tcp or false, wish.scopes or false } do
        if part then
          part.optional = true
        end
      end
    end
  end
  return wish
end

local function layout(rootfs, values)
  local fields = { nestable = values.nestable, readonly = values.read_only }
  if values.bare then
    fields.system = false
  end
  local is_overlay = values.overlay or values.lower
  if rootfs ~= "host" and not is_overlay and next(fields) == nil then
    return rootfs -- whose steps are made faster
  end
  local layouts = require("carton.rootfs")
  if rootfs == "host" and is_overlay then
    fail("options '--overlay' and '--lower' go with a directory, not with 'host'")
  elseif rootfs == "host" then
    return layouts.host { network = values.share_net, nestable = values.nestable,
      system = fields.system }
  elseif is_overlay then
    fields.lower = { rootfs, table.unpack(values.lower or {}) }
    return layouts.overlay(fields)
  end
  fields.path = rootfs
  return layouts.dir(fields)
end

-- Options of two kinds have no order: what is mounted on /a comes before what is mounted below it.
local function mounts_of(values)
  if not (values.mount or values.tmpfs) then
    return nil
  end
  local mounts = require("carton.mounts")
  local list, place_of, taken = {}, {}, {}
  local function add(mount)
    local place = ("/" .. mount.target .. "/"):gsub("/%./", "/"):gsub("/+", "/")
    if taken[place] then
      fail("options '--mount' and '--tmpfs': %s is given twice", mount.target)
    end
    taken[place], place_of[mount], list[#list + 1] = true, place, mount
  end
  for _, text in ipairs(values.mount or {}) do
    add(mounts.parse(text))
  end
  for _, text in ipairs(values.tmpfs or {}) do
    add(mounts.parse_tmpfs(text))
  end
  table.sort(list, function(a, b) return place_of[a] < place_of[b] end)
  return #list > 0 and list or nil
end

local function namespaces_of(values)
  local map
  for _, kind in ipairs(values.share or {}) do
    map = map or {}
    map[kind] = "host"
    values["share_" .. kind] = true
  end
  return map
end

local function seccomp_of(values)
  local wish = values.seccomp
  if wish == "none" then
    return false
  elseif wish and wish ~= "default" and not wish:find("[./]") then
    fail("option '--seccomp': default, none or a file NAME.json or NAME.lua expected, got '%s'", wish)
  end
  return values.seccomp
end

-- Other programs have SRC:DST:PERMISSIONS here.
local function devices_of(values)
  for _, path in ipairs(values.device or {}) do
    if path:find(":", 1, true) and not require("carton.core").host.stat(path) then
      fail("option '--device': one path expected, got '%s'", path)
    end
  end
  return values.device
end

local function on_terminal()
  local core = require("carton.core")
  for fd = 0, 1 do
    local ok, descriptor = pcall(core.exec.descriptor, fd)
    if not ok then
      return false
    end
    local yes = descriptor:is_terminal()
    descriptor:close()
    if not yes then
      return false
    end
  end
  return true
end

--- Turn options and operands into a container.
-- @tparam table values of `options.parse`
-- @tparam {string,...} operands ROOTFS COMMAND ARG...
-- @treturn container
function run.container(values, operands)
  local rootfs = table.remove(operands, 1)
  if not rootfs then
    fail("a root file system is missing")
  elseif #operands == 0 then
    fail("a command is missing")
  end
  local terminal = values.terminal
  if terminal and values.no_terminal then
    fail("options '--terminal' and '--no-terminal' exclude each other")
  end
  if terminal == nil and not values.no_terminal and not values.bare and on_terminal() then
    terminal = true
  end
  local namespaces = namespaces_of(values)
  local timeout = values.timeout and tonumber(values.timeout)
  if values.timeout and not timeout then
    fail("option '--timeout': '%s' is not a number of seconds", values.timeout)
  end
  return require("carton.container").new {
    rootfs = layout(rootfs, values),
    args = operands,
    name = values.name,
    env = pairs_of(values.env, "--env"),
    cwd = values.cwd,
    user = values.user,
    hostname = values.hostname,
    terminal = terminal or nil,
    mounts = mounts_of(values),
    devices = devices_of(values),
    namespaces = namespaces,
    idmap = values.idmap,
    capabilities = (values.cap_add or values.cap_drop)
      and { add = values.cap_add, drop = values.cap_drop } or nil,
    seccomp = seccomp_of(values),
    no_new_privs = not values.new_privileges,
    landlock = landlock_of(values.landlock),
    no_userns = values.no_userns,
    keyring = values.keyring,
    label = pairs_of(values.label, "--label"),
    limits = resources_of(values),
    cgroup = pairs_of(values.cgroup, "--cgroup"),
    rlimits = limits_of(values.rlimit),
    sysctl = pairs_of(values.sysctl, "--sysctl"),
    init = values.init or terminal or nil, -- the first of a pid namespace would not obey ^C
    timeout = timeout,
    trace = values.trace and true or nil,
  }
end

-- Open the files that are to be written before anything runs.
local function open_reports(values)
  local kind = values.trace == true and "text" or values.trace
  if kind and kind ~= "text" and kind ~= "json" and kind ~= "svg" then
    fail("option '--trace': 'json' or 'svg' expected")
  elseif values.trace_file and not kind then
    fail("option '--trace-file' goes with --trace")
  end
  local function open(path)
    local file, message, errno = io.open(path, "w")
    return file or require("carton.core").error { op = "open", path = path, errno = errno,
      message = message:gsub("^.*: ", "") }
  end
  local reports = { kind = kind }
  reports.trace = values.trace_file and open(values.trace_file)
  reports.status = values.status_file and open(values.status_file)
  return reports
end

local function write(reports, name, path, text)
  local file = reports[name]
  reports[name] = nil
  local ok, message, errno = file:write(text)
  if ok then
    ok, message, errno = file:close() -- only then it is said that the disk is full
  end
  if not ok then
    require("carton.core").error { op = "write", path = path, message = message, errno = errno }
  end
end

local function write_status(reports, values, status)
  if reports.status then
    write(reports, "status", values.status_file, require("carton.json").encode(status) .. "\n")
  end
end

-- What failed is in the status file, too: `cause` is "setup".
local function on_failure(reports, values)
  return setmetatable({}, { __close = function(_, err)
    if err ~= nil then
      local command = require("carton.command")
      write_status(reports, values, { cause = "setup", code = command.status_of(err),
        message = command.describe(err) })
    end
  end })
end

-- Run a container in the foreground and say what was asked about it.
local function foreground(c, reports, values)
  if not c.process then
    c.fields.trace = reports.kind and true or c.fields.trace
  end
  local status = require("carton.terminal").foreground(c)
  if reports.kind then
    local text = require("carton.trace")[reports.kind](c)
    if reports.trace then
      write(reports, "trace", values.trace_file, text)
    else
      io.stderr:write(text)
    end
  end
  write_status(reports, values, status)
  require("carton.command").say_cause(c, status)
  return status.code
end

--- The classic call, `carton ROOTFS COMMAND [ARG...]`.
-- @tparam {string,...} operands
-- @treturn int its exit status
function run.classic(operands)
  return foreground(run.container({}, operands), {}, {})
end

local function recipe(operands, reports, values)
  local command = require("carton.command")
  command.refuse(run.options, values, { trace = true, trace_file = true, status_file = true })
  local done
  local code = command.recipe(operands[1], operands, function(c)
    done = true
    return foreground(c, reports, values)
  end)
  if not done then -- it has run all of its containers itself
    write_status(reports, values, { cause = "exited", code = code })
    if reports.kind then
      fail("option '--trace': %s returns no container that is still to be run", operands[1])
    end
  end
  return code
end

function run.run(argv)
  local values, operands = options.parse("run", run.options, argv)
  local reports = open_reports(values)
  local guard <close> = on_failure(reports, values) -- luacheck: ignore guard
  if require("carton.command").is_recipe(operands[1]) then
    return recipe(operands, reports, values)
  end
  return foreground(run.container(values, operands), reports, values)
end

return run
