-- SPDX-License-Identifier: MIT
-- What holds in every container, whatever it is combined from: one list of statements about a report of the probe.
-- A run is `{ report =, caller = (report of the probe on the host), caller_mounts =, fields = (of the container),
-- exec = (of the further program), steps = (of its plan), expected = (what the combination says), joined = (report of
-- the container that it joins) }`.
local capability = require("carton.capability")
local core = require("carton.core")
local invariants = {}

local PATH <const> = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local DIRECTORY <const> = 16384 -- S_IFDIR
local EACCES <const> = 13

-- What Docker, Podman and we hide or keep from being written, below procfs and sysfs.
local masked = { proc = { "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi",
  "timer_list", "timer_stats" }, sysfs = { "devices/virtual/powercap", "firmware" } }
local readonly = { proc = { "bus", "fs", "irq", "sys", "sys/kernel/core_pattern", "sys/kernel/modprobe",
  "sys/vm/panic_on_oom", "sysrq-trigger" }, sysfs = { "fs", "kernel/uevent_helper", "power/state" } }

local statements = {}
local function state(name, check)
  statements[#statements + 1] = { name = name, check = check }
end
invariants.statements = statements

local function same_place(a, b)
  return a.mount == b.mount and a.device == b.device and a.inode == b.inode
end

local function place_text(place)
  return place.errno and "errno " .. place.errno or ("mount %d, %s:%d"):format(place.mount, place.device, place.inode)
end

local function set_text(list)
  local copy = {}
  for i, item in ipairs(list) do
    copy[i] = tostring(item)
  end
  table.sort(copy)
  return table.concat(copy, " ")
end

local function is_new(run, kind)
  return run.expected.namespaces[kind] == "new"
end

-- The options of a mount as a set.
local function options_of(mount)
  local set = {}
  for word in mount.options:gmatch("[^,]+") do
    set[word] = true
  end
  return set
end

local function below(path, directory)
  directory = directory == "/" and "" or directory
  return path == directory or path:sub(1, #directory + 1) == directory .. "/"
end

-- The mount of a list that a path lies on.
local function mount_of(list, path)
  local found
  for _, mount in ipairs(list) do
    local point = mount.target or mount.point
    if below(path, point) and (not found or #point >= #(found.target or found.point)) then
      found = mount
    end
  end
  return found
end

local function normal(path)
  path = ("/" .. path):gsub("/+", "/")
  return #path > 1 and path:gsub("/$", "") or path
end

-- The steps of a plan that mount something, with the place of each.
local function planned(run)
  local list = {}
  for _, step in ipairs(run.steps) do
    if step[1]:find("^mount%.") and (step.target or step.path) and step[1] ~= "mount.symlink" then
      list[#list + 1] = { step = step, at = normal(step.path or step.target) }
    end
  end
  return list
end

-- Where a bound path lies on the host, links followed.
local function real(path)
  return core.host.realpath(path) or path
end

-- The planned bind that a mount came with, and whether it is the bound directory itself; nil when there is none.
local function came_with(run, mount)
  local found, is_top
  for _, plan in ipairs(planned(run)) do
    local step = plan.step
    if step[1] == "mount.bind" and step.source and below(mount.point, plan.at) then
      local rest = mount.point:sub(plan.at == "/" and 1 or #plan.at + 1)
      rest = rest == "/" and "" or rest
      local source = normal(real(step.source) .. rest)
      for _, host_mount in ipairs(run.caller_mounts) do
        if rest == "" or (step.recursive and host_mount.target == source) then
          local its = rest == "" and mount_of(run.caller_mounts, source) or host_mount
          if its.device == mount.device then
            found, is_top = step, rest == ""
          end
        end
      end
    end
  end
  return found, is_top
end

-- What of its file system a bound directory is, as mountinfo has it.
local function root_of(run, path)
  local mount = mount_of(run.caller_mounts, path)
  return normal(mount.root .. "/" .. path:sub(mount.target == "/" and 1 or #mount.target + 1))
end

local KINDS <const> = { ["mount.tmpfs"] = "tmpfs", ["mount.proc"] = "proc", ["mount.sysfs"] = "sysfs",
  ["mount.devpts"] = "devpts", ["mount.mqueue"] = "mqueue", ["mount.overlay"] = "overlay", ["mount.cgroup"] = "cgroup2",
  ["mount.device"] = "devtmpfs" }

-- Whether a mount hides or holds a path of procfs or sysfs.
local function is_mask(run, mount)
  for _, other in ipairs(run.report.mounts) do
    local names = masked[other.type]
    if names and below(mount.point, other.point) and mount.point ~= other.point then
      return true
    end
  end
end

local function is_planned(run, mount)
  if came_with(run, mount) or is_mask(run, mount) then
    return true
  end
  for _, plan in ipairs(planned(run)) do
    local step, kind = plan.step, KINDS[plan.step[1]]
    if plan.at == mount.point and (kind == mount.type or (step[1] == "mount.overlay" and step.temporary
      and mount.type == "tmpfs") or step[1] == "mount.device") then
      return true
    end
  end
  return run.fields.terminal and mount.point == "/dev/console" and mount.type == "devpts"
end

-- Types of what steps make: S_IFDIR, S_IFLNK, S_IFREG, S_IFCHR.
local MADE <const> = { ["mount.mkdir"] = DIRECTORY, ["mount.symlink"] = 40960, ["mount.write"] = 32768,
  ["mount.device"] = 8192 }

local function made_at(step)
  return step.path or step.target
end

--- The paths of a plan that the probe is to look at.
function invariants.paths(steps)
  local paths = {}
  for _, step in ipairs(steps) do
    if MADE[step[1]] then
      paths[#paths + 1] = made_at(step)
    end
  end
  return paths
end

-- The mounts that a path leads to: what another one hides on the same point cannot be reached.
local function visible(run)
  local list = {}
  for _, mount in ipairs(run.report.mounts or {}) do
    if mount.top.errno == EACCES or mount.top.mount == mount.id then
      list[#list + 1] = mount
    end
  end
  return list
end

-- The root.

state("the root cannot be left", function(run, fail)
  local places = run.report.places
  local root = places["/"]
  for _, name in ipairs { "/..", "/../..", "/proc/self/root", "/proc/self/root/.." } do
    local place = places[name]
    if not place.errno and not same_place(root, place) then
      fail("%s is %s, / is %s", name, place_text(place), place_text(root))
    end
  end
  for _, name in ipairs { "climbed", "climbed_past_chroot" } do
    for _, place in ipairs(run.report[name]) do
      if not same_place(root, place) then
        fail("%s to %s, / is %s", name:gsub("_", " "), place_text(place), place_text(root))
      end
    end
  end
  local capable = { }
  for _, bit in ipairs(run.report.capabilities.effective) do
    capable[bit] = true
  end
  if capable[18] and run.report.places["/"].type == DIRECTORY and #run.report.climbed_past_chroot == 0
    and not run.expected.no_directory then
    fail("the way past chroot(2) was not tried")
  end
end)

state("a further program enters at the same root, and nothing of the host lies below", function(run, fail)
  local below_it, root = run.report.below, run.report.places["/"]
  for i, place in ipairs(below_it) do
    if i <= 2 and not same_place(place, root) then
      fail("setns(2) enters at %s, / is %s", place_text(place), place_text(root))
    end
    local host = run.caller.places["/"]
    if i > 2 and place.device == host.device and place.inode == host.inode then
      fail("the host's root lies below: %s", place_text(place))
    end
  end
end)

state("no visible process has another root", function(run, fail)
  if not is_new(run, "pid") then
    return
  end
  for _, process in ipairs(run.report.visible) do
    if not process.root.errno and not same_place(process.root, run.report.places["/"]) then
      fail("/proc/%d/root is %s", process.pid, place_text(process.root))
    end
  end
  local first = run.report.places["/proc/1/root"]
  if not first.errno and not same_place(first, run.report.places["/"]) then
    fail("/proc/1/root is %s", place_text(first))
  end
end)

state("the working directory is the planned one", function(run, fail)
  if run.report.cwd ~= run.expected.cwd then
    fail("%s, not %s", run.report.cwd, run.expected.cwd)
  end
end)

-- Mounts.

state("every mount is planned", function(run, fail)
  for _, mount in ipairs(run.report.mounts or {}) do
    if not is_planned(run, mount) then
      fail("%s (%s, %s of %s) is not", mount.point, mount.type, mount.root, mount.device)
    end
  end
end)

state("every planned mount is there", function(run, fail)
  local plans = planned(run)
  if not run.report.mounts then
    for _, plan in ipairs(run.expected.hides_files and {} or plans) do
      if plan.at == "/proc" then
        fail("%s on /proc is not", plan.step[1])
      end
    end
    return
  end
  for i, plan in ipairs(plans) do
    local kind = KINDS[plan.step[1]] or (plan.step[1] == "mount.bind" and "bind")
    local source = kind == "bind" and plan.step.source and root_of(run, real(plan.step.source))
    local found = plan.step[1] == "mount.device" or plan.step.optional or not kind
    for _, mount in ipairs(visible(run)) do
      found = found or mount.point == plan.at and (mount.type == kind or kind == "bind")
        and (not source or mount.root == source)
    end
    for j = i + 1, #plans do -- hidden by what was mounted over it
      local other = plans[j]
      found = found or below(plan.at, other.at)
        and (KINDS[other.step[1]] or other.step[1] == "mount.bind")
    end
    if not found then
      fail("%s on %s is not", plan.step[1], plan.at)
    end
  end
end)

state("no mount is shared with others, or receives theirs", function(run, fail)
  for _, mount in ipairs(run.report.mounts or {}) do
    if mount.shared or mount.slave then
      fail("%s is %s", mount.point, mount.shared and "shared" or "slave")
    end
  end
end)

state("what is bound has no devices, and the options asked for", function(run, fail)
  for _, mount in ipairs(visible(run)) do
    local step = came_with(run, mount)
    local has = options_of(mount)
    if step and not is_mask(run, mount) then
      if not has.nodev and not step.source:find("^/dev/") and mount.type ~= "devtmpfs" then
        fail("%s has no nodev", mount.point)
      end
      for _, option in ipairs(step.options or {}) do
        if not has[option] and option ~= "rw" and option ~= "dev" then
          fail("%s has no %s", mount.point, option)
        end
      end
    end
  end
  for _, wish in ipairs(run.fields.mounts or {}) do
    local words = type(wish) == "string" and { wish:match("^[^:]+:([^:]+):?(.*)$") } or
      { wish.target, table.concat(wish.options or {}, ",") }
    local mount
    for _, other in ipairs(visible(run)) do
      mount = other.point == words[1] and other or mount
    end
    for word in (mount and words[2] or ""):gmatch("[^,]+") do
      if not word:find("=") and not options_of(mount)[word] then
        fail("%s has no %s", words[1], word)
      end
    end
  end
end)

state("every procfs and sysfs has nosuid, nodev, noexec; sysfs is read-only", function(run, fail)
  for _, mount in ipairs(visible(run)) do
    local has = options_of(mount)
    if masked[mount.type] and not is_mask(run, mount) then
      for _, option in ipairs { "nosuid", "nodev", "noexec", mount.type == "sysfs" and "ro" or nil } do
        if not has[option] then
          fail("%s has no %s", mount.point, option)
        end
      end
    end
  end
end)

-- A path may be looked at through a mount that another one hides: then it is not on the mount that is meant.
local function each_path(run, names, check)
  for _, mount in ipairs(visible(run)) do
    for _, path in ipairs(mount.paths or {}) do
      for _, name in ipairs(names[mount.type]) do
        if path.name == name then
          check(path, mount)
        end
      end
    end
  end
end

state("masked paths of every procfs and sysfs are hidden", function(run, fail)
  if not run.expected.is_masked then
    return
  end
  each_path(run, masked, function(path)
    if (path.entries or 0) > 0 or (path.bytes or 0) > 0 then
      fail("%s can be %s", path.path, path.entries and "listed" or "read")
    end
  end)
end)

state("read-only paths of every procfs and sysfs cannot be written", function(run, fail)
  if not run.expected.is_masked then
    return
  end
  each_path(run, readonly, function(path)
    if not path.readonly or path.write == 0 then
      fail("%s can be written", path.path)
    end
  end)
end)

state("what is read-only is so below as well", function(run, fail)
  for _, mount in ipairs(visible(run)) do
    local step = came_with(run, mount)
    local asked = false
    for _, option in ipairs(step and step.options or {}) do
      asked = asked or option == "ro"
    end
    if run.expected.readonly and (mount.point == "/" or (step and normal(step.target) == "/")) then
      asked = true
    end
    if asked and not is_mask(run, mount) then
      if not options_of(mount).ro or mount.write == 0 or not mount.readonly then
        fail("%s can be written", mount.point)
      end
    end
  end
end)

state("what the plan makes is there", function(run, fail)
  local wanted = {}
  for _, step in ipairs(run.steps) do -- the last one on a path says what is there
    if MADE[step[1]] then
      wanted[made_at(step)] = step
    end
  end
  for path, step in pairs(wanted) do
    local file = run.report.files[path]
    if file and not run.expected.hides_files then
      local kind = MADE[step[1]]
      if file.is.errno then
        fail("%s is not (errno %d)", path, file.is.errno)
      elseif kind and kind ~= file.is.type then
        fail("%s is of another type", path)
      elseif step[1] == "mount.symlink" and file.link ~= step.target then
        fail("%s leads to %s", path, file.link)
      elseif step[1] == "mount.write" and #step.content < 200 and file.content ~= step.content then
        fail("%s holds %q", path, file.content)
      elseif step[1] == "mount.device" and step.minor and file.is.node ~= ("%d:%d"):format(step.major, step.minor) then
        fail("%s is %s", path, file.is.node)
      end
    end
  end
end)

state("no device node but the usual ones", function(run, fail)
  local usual = { ["c 1:3"] = true, ["c 1:5"] = true, ["c 1:7"] = true, ["c 1:8"] = true, ["c 1:9"] = true,
    ["c 5:0"] = true, ["c 5:2"] = true }
  for _, node in ipairs(run.expected.has_own_dev and run.report.nodes or {}) do
    if not usual[node.node] and not node.node:find("^c 13[6-9]:") and not node.node:find("^c 14[0-3]:") then
      fail("%s is %s", node.path, node.node)
    end
  end
end)

-- Descriptors.

state("no descriptor but the planned ones", function(run, fail)
  local seen, expected = {}, run.expected.descriptors
  for _, descriptor in ipairs(run.report.descriptors) do
    local wish = expected[descriptor.fd]
    seen[descriptor.fd] = true
    if not wish then
      fail("%d (%s) is open", descriptor.fd, descriptor.target)
    else
      for key, value in pairs(wish) do
        if descriptor[key] ~= value then
          fail("%d is %s (%s %s), not %s %s", descriptor.fd, descriptor.target, key, tostring(descriptor[key]), key,
            tostring(value))
        end
      end
      if descriptor.type == DIRECTORY then
        fail("%d is a directory", descriptor.fd)
      elseif descriptor.cloexec then
        fail("%d is closed on exec", descriptor.fd)
      end
    end
  end
  for fd in pairs(expected) do
    if not seen[fd] then
      fail("%d is missing", fd)
    end
  end
end)

-- Privileges.

local numbers

local function number_of(name)
  if not numbers then
    numbers = {}
    for i, each_name in ipairs(core.privilege.capability_names()) do
      numbers[each_name] = i - 1
    end
  end
  return numbers[name]
end

local function as_numbers(names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = number_of(name)
  end
  return list
end

state("the capability sets are the planned ones", function(run, fail)
  local set = as_numbers(capability.resolve(run.fields.capabilities))
  local ambient = as_numbers(capability.ambient(run.fields.capabilities))
  local is_root = run.expected.user[1] == 0
  local wish = { bounding = set, ambient = ambient, inheritable = ambient, permitted = is_root and set or ambient,
    effective = is_root and set or ambient }
  for name, list in pairs(wish) do
    local has = run.report.capabilities[name]
    if set_text(has) ~= set_text(list) then
      fail("%s: { %s }, not { %s }", name, set_text(has), set_text(list))
    end
  end
  if run.report.securebits ~= run.caller.securebits then
    fail("securebits: %d", run.report.securebits)
  end
end)

state("no_new_privs and the filter are on", function(run, fail)
  if (run.report.no_new_privs == 1) ~= (run.fields.no_new_privs ~= false) then
    fail("no_new_privs is %d", run.report.no_new_privs)
  end
  local wish = run.fields.seccomp == false and run.caller.seccomp or 2
  if run.report.seccomp ~= wish then
    fail("seccomp mode %d, not %d", run.report.seccomp, wish)
  end
end)

state("the ids are the planned ones", function(run, fail)
  local user = run.expected.user
  for i = 1, 4 do
    if run.report.uids[i] ~= user[1] or run.report.gids[i] ~= user[2] then
      fail("%s:%s, not %d:%d", set_text(run.report.uids), set_text(run.report.gids), user[1], user[2])
      break
    end
  end
  if set_text(run.report.groups) ~= set_text(user[3]) then
    fail("groups: { %s }, not { %s }", set_text(run.report.groups), set_text(user[3]))
  end
end)

-- The process.

state("no signal is blocked, and ignored is what the caller ignores", function(run, fail)
  local ignored, callers = set_text(run.report.ignored), set_text(run.caller.ignored)
  if ignored ~= callers or #run.report.blocked > 0 then
    fail("ignored: %s, the caller's: %s, blocked: %s", ignored, callers, set_text(run.report.blocked))
  end
end)

state("the session is its own, with no terminal but its own", function(run, fail)
  if run.report.session == run.caller.session or run.report.session <= 0 then
    fail("session %d, the caller's is %d", run.report.session, run.caller.session)
  end
  if not run.fields.terminal and not run.exec_terminal and run.report.tty >= 0 then
    fail("/dev/tty opens")
  end
end)

state("umask and limits are the planned ones", function(run, fail)
  local mask = tonumber(run.fields.umask or "0022", 8)
  if run.report.umask ~= mask then
    fail("umask %04o, not %04o", run.report.umask, mask)
  end
  for name, limit in pairs(run.report.limits) do
    local wish = run.fields.rlimits and run.fields.rlimits[name:lower()]
    local soft, hard = run.caller.limits[name][1], run.caller.limits[name][2]
    if wish then
      soft, hard = wish.soft, wish.hard
    end
    if limit[1] ~= soft or limit[2] ~= hard then
      fail("%s is %d:%d, not %d:%d", name, limit[1], limit[2], soft, hard)
    end
  end
  for _, name in ipairs { "personality", "nice" } do
    if run.report[name] ~= run.caller[name] then
      fail("%s is %d", name, run.report[name])
    end
  end
end)

-- The home of a user: as the host's /etc/passwd, which some roots have, lists it, or the default.
local function home_of(run)
  if run.fields.user == nil then
    return "/root"
  end
  for line in io.lines("/etc/passwd") do
    local uid, home = line:match("^[^:]*:[^:]*:(%d+):[^:]*:[^:]*:(/[^:]*):")
    if uid == tostring(run.expected.user[1]) then
      for _, entry in ipairs(run.report.environment) do
        if entry == "HOME=" .. home then
          return home
        end
      end
      break
    end
  end
  return "/"
end

state("the environment is the planned one", function(run, fail)
  -- a further program's is added to the container's
  local wish = { PATH = PATH, HOME = home_of(run), TERM = run.expected.terminal and "xterm" or nil }
  for _, fields in ipairs { run.first_fields or {}, run.fields } do
    for name, value in pairs(fields.env or {}) do
      wish[name] = value or nil
    end
  end
  for name, value in pairs(run.expected.listen) do
    wish[name] = value
  end
  local want, has = {}, {}
  for name, value in pairs(wish) do
    want[#want + 1] = name .. "=" .. value
  end
  for i, entry in ipairs(run.report.environment) do
    has[i] = entry
  end
  table.sort(want)
  table.sort(has)
  if table.concat(want, "\n") ~= table.concat(has, "\n") then
    fail("%q, not %q", table.concat(has, " "), table.concat(want, " "))
  end
end)

state("it dies with its parent", function(run, fail)
  local wish = run.expected.pdeathsig
  if wish and run.report.pdeathsig ~= wish then
    fail("the signal is %d, not %d", run.report.pdeathsig, wish)
  end
end)

state("namespaces are new, the host's or the joined ones, as planned", function(run, fail)
  for kind, wish in pairs(run.expected.namespaces) do
    local id, host = run.report.namespaces[kind], run.caller.namespaces[kind]
    local joined = run.joined and run.joined.namespaces[kind]
    if not id then
      if not run.expected.hides_namespaces then
        fail("%s is not known", kind)
      end
    elseif wish == "new" and (id == host or id == joined) then
      fail("%s is %s", kind, id == host and "the host's" or "the joined one")
    elseif wish == "host" and id ~= host then
      fail("%s is not the host's", kind)
    elseif wish == "joined" and id ~= joined then
      fail("%s is not the joined one", kind)
    end
  end
  if is_new(run, "uts") and run.report.hostname ~= run.fields.hostname and run.report.hostname ~= run.expected.name then
    fail("the host name is %s", run.report.hostname)
  end
end)

state("its cgroup and its network are whole", function(run, fail)
  if is_new(run, "cgroup") then
    for path in run.report.cgroup:gmatch("%d+:[^:\n]*:([^\n]*)") do
      if path ~= "/" then
        fail("its cgroup namespace does not begin at %s", path)
      end
    end
  end
  if is_new(run, "net") and run.report.loopback ~= 1 then
    fail("the loopback is down")
  end
end)

state("the session keyring is its own", function(run, fail)
  local id = run.report.keyring
  if run.expected.keyring ~= "inherit" and id > 0 and id == run.caller.keyring then
    fail("it is the caller's")
  end
end)

state("it sees and reaches no process of the host", function(run, fail)
  if not is_new(run, "pid") and run.expected.namespaces.pid ~= "joined" then
    return
  end
  local most = run.expected.processes
  if #run.report.visible > most then
    fail("%d processes are visible, at most %d expected", #run.report.visible, most)
  end
  if #run.report.reached > most then
    fail("%d processes can be signalled, at most %d expected", #run.report.reached, most)
  end
end)

--- Hold a run against every statement.
-- @return list of `{ name =, text = }`
function invariants.check(run)
  local violations = {}
  for _, statement in ipairs(statements) do
    statement.check(run, function(format, ...)
      violations[#violations + 1] = { name = statement.name, text = format:format(...) }
    end)
  end
  return violations
end

return invariants
