-- SPDX-License-Identifier: MIT
-- Each invariant can fail: a report that is doctored is held against the list, and the statement has to name it.
local core = require("carton.core")
local posix = require("posix")
local combinations = require("spec.containment.combinations")
local invariants = require("spec.containment.invariants")
local launch = require("spec.containment.launch")
local helper = require("spec.helper")

local function mount_at(run, point)
  for _, mount in ipairs(run.report.mounts) do
    if mount.point == point then
      return mount
    end
  end
end

local function path_of(run, name)
  for _, mount in ipairs(run.report.mounts) do
    for _, path in ipairs(mount.paths or {}) do
      if path.name == name then
        return path
      end
    end
  end
end

local ROOT <const> = "the root cannot be left"
local MOUNTED <const> = "every mount is planned"
local OPTIONS <const> = "what is bound has no devices, and the options asked for"
local READONLY <const> = "what is read-only is so below as well"
local DESCRIPTORS <const> = "no descriptor but the planned ones"
local CAPABILITIES <const> = "the capability sets are the planned ones"
local PRIVILEGES <const> = "no_new_privs and the filter are on"
local IDS <const> = "the ids are the planned ones"
local SIGNALS <const> = "no signal is blocked, and ignored is what the caller ignores"
local SESSION <const> = "the session is its own, with no terminal but its own"
local LIMITS <const> = "umask and limits are the planned ones"
local ENVIRONMENT <const> = "the environment is the planned one"
local NAMESPACES <const> = "namespaces are new, the host's or the joined ones, as planned"
local REACH <const> = "it sees and reaches no process of the host"
local CGROUP <const> = "its cgroup and its network are whole"

-- Of a plain container with a read-only bind: what is doctored, and the statement that it breaks.
local cases = {
  { ROOT, function(r) r.report.places["/.."].mount = 1 end },
  { ROOT, function(r) r.report.places["/proc/self/root"].inode = 1 end },
  { ROOT, function(r) r.report.climbed[1].mount = 1 end },
  { ROOT, function(r) r.report.climbed_past_chroot[1].inode = 1 end },
  { ROOT, function(r) r.report.climbed_past_chroot = {} end },
  { "a further program enters at the same root, and nothing of the host lies below",
    function(r) r.report.below = { r.caller.places["/"] } end },
  { "a further program enters at the same root, and nothing of the host lies below",
    function(r) r.report.below = { r.report.places["/"], r.report.places["/"], r.caller.places["/"] } end },
  { "no visible process has another root", function(r) r.report.visible[1].root = r.caller.places["/"] end },
  { "no visible process has another root", function(r) r.report.places["/proc/1/root"] = r.caller.places["/"] end },
  { "the working directory is the planned one", function(r) r.report.cwd = "(unreachable)/" end },
  { MOUNTED, function(r) mount_at(r, "/dev/shm").point = "/srv" end },
  { MOUNTED, function(r) mount_at(r, "/dev/shm").type = "ext4" end },
  { MOUNTED, function(r) mount_at(r, "/").device = "0:1" end },
  { "every planned mount is there", function(r) mount_at(r, "/dev/mqueue").point = "/dev/shm" end },
  { "every planned mount is there", function(r) mount_at(r, "/targets/bind").root = "/etc" end },
  { "every planned mount is there", function(r) mount_at(r, "/").root = "/" end },
  { "every planned mount is there", function(r) r.report.mounts = nil end },
  { "no mount is shared with others, or receives theirs", function(r) mount_at(r, "/").shared = true end },
  { "no mount is shared with others, or receives theirs", function(r) mount_at(r, "/proc").slave = true end },
  { OPTIONS, function(r) mount_at(r, "/").options = "rw,relatime" end },
  { OPTIONS, function(r) mount_at(r, "/targets/bind").options = "ro,nosuid,nodev,relatime" end },
  { "every procfs and sysfs has nosuid, nodev, noexec; sysfs is read-only",
    function(r) mount_at(r, "/proc").options = "rw,nosuid,nodev" end },
  { "every procfs and sysfs has nosuid, nodev, noexec; sysfs is read-only",
    function(r) mount_at(r, "/sys").options = "rw,nosuid,nodev,noexec" end },
  { "masked paths of every procfs and sysfs are hidden", function(r) path_of(r, "firmware").entries = 3 end },
  { "masked paths of every procfs and sysfs are hidden", function(r) path_of(r, "interrupts").bytes = 64 end },
  { "read-only paths of every procfs and sysfs cannot be written", function(r) path_of(r, "sys").readonly = false end },
  { "read-only paths of every procfs and sysfs cannot be written",
    function(r) path_of(r, "sys/kernel/core_pattern").write = 0 end },
  { READONLY, function(r) mount_at(r, "/targets/bind").write = 0 end },
  { READONLY, function(r) mount_at(r, "/targets/bind").readonly = false end },
  { READONLY, function(r) r.expected.readonly = true end },
  { "what the plan makes is there", function(r) r.report.files["/dev/fd"].is = { errno = 2 } end },
  { "what the plan makes is there", function(r) r.report.files["/dev/fd"].link = "/proc/1/fd" end },
  { "what the plan makes is there", function(r) r.report.files["/dev/null"].is.type = 32768 end },
  { "no device node but the usual ones",
    function(r) table.insert(r.report.nodes, { path = "/dev/sda", node = "b 8:0" }) end },
  { DESCRIPTORS, function(r) table.insert(r.report.descriptors, { fd = 7, target = "/" }) end },
  { DESCRIPTORS, function(r) table.remove(r.report.descriptors, 1) end },
  { DESCRIPTORS, function(r) r.report.descriptors[1].node = "1:5" end },
  { CAPABILITIES, function(r) table.insert(r.report.capabilities.bounding, 21) end },
  { CAPABILITIES, function(r) table.insert(r.report.capabilities.effective, 21) end },
  { CAPABILITIES, function(r) table.insert(r.report.capabilities.permitted, 21) end },
  { CAPABILITIES, function(r) table.insert(r.report.capabilities.inheritable, 21) end },
  { CAPABILITIES, function(r) table.insert(r.report.capabilities.ambient, 21) end },
  { CAPABILITIES, function(r) r.report.securebits = 1 end },
  { PRIVILEGES, function(r) r.report.no_new_privs = 0 end },
  { PRIVILEGES, function(r) r.report.seccomp = 0 end },
  { IDS, function(r) r.report.uids[3] = 1 end },
  { IDS, function(r) r.report.gids[4] = 1 end },
  { IDS, function(r) table.insert(r.report.groups, 27) end },
  { SIGNALS, function(r) table.insert(r.report.ignored, 10) end },
  { SIGNALS, function(r) r.report.blocked = { 15 } end },
  { SESSION, function(r) r.report.session = r.caller.session end },
  { SESSION, function(r) r.report.session = 0 end },
  { SESSION, function(r) r.report.tty = 3 end },
  { LIMITS, function(r) r.report.umask = 63 end },
  { LIMITS, function(r) r.report.limits.NOFILE[1] = 3 end },
  { LIMITS, function(r) r.report.personality = 8 end },
  { ENVIRONMENT, function(r) table.insert(r.report.environment, "LD_PRELOAD=/x.so") end },
  { ENVIRONMENT, function(r) r.report.environment[1] = nil end },
  { "it dies with its parent", function(r) r.report.pdeathsig = 0 end },
  { NAMESPACES, function(r) r.report.namespaces.uts = r.caller.namespaces.uts end },
  { NAMESPACES, function(r) r.report.namespaces.time = "time:[1]" end },
  { NAMESPACES, function(r) r.report.namespaces.mnt = nil end },
  { NAMESPACES, function(r) r.report.hostname = "host" end },
  { CGROUP, function(r) r.report.cgroup = "0::/user.slice\n" end },
  { CGROUP, function(r) r.report.loopback = 0 end },
  { "the session keyring is its own", function(r) r.report.keyring, r.caller.keyring = 9, 9 end },
  { REACH, function(r) for i = 1, 9 do r.report.reached[i] = i end end },
  { REACH, function(r) for i = 1, 9 do r.report.visible[i] = { pid = i, root = { errno = 13 } } end end },
}

-- What is left outside, and seen there.
local leftovers = {
  fds = function() posix.open("/", posix.O_RDONLY) end,
  mounts = function(at) core.mount.tmpfs { target = at.place .. "/data" } end,
  canary = function(at) helper.write(at.place .. "/canary/file", "changed\n") end,
  umask = function() core.privilege.umask { mask = "0007" } end,
  cwd = function() posix.chdir("/usr") end,
}

local function copy_of(value)
  if type(value) ~= "table" or getmetatable(value) then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = copy_of(item)
  end
  return copy
end

describe("an invariant of containment #userns", function()
  local plain = combinations.parse("mounts=bind-ro")

  it("is broken by what it is about, and named", function()
    local unseen = launch.run(plain, { inspect = function(runs, tell)
      for i, case in ipairs(cases) do
        local run = copy_of(runs[1])
        case[2](run)
        local named
        for _, violation in ipairs(invariants.check(run)) do
          named = named or violation.name == case[1]
        end
        if not named then
          tell("unseen", "case %d of '%s'", i, case[1])
        end
      end
    end })
    assert.same({}, unseen)
  end)

  it("is broken by one case at least", function()
    local broken = {}
    for _, case in ipairs(cases) do
      broken[case[1]] = true
    end
    for _, statement in ipairs(invariants.statements) do
      assert.is_true(broken[statement.name], statement.name)
    end
  end)

  leftovers.mounts = helper.is_root and leftovers.mounts or nil -- nobody else can mount there
  for name, leave in pairs(leftovers) do
    it("is broken by what is left outside: " .. name, function()
      local violations = launch.run(plain, { inspect = function(_, _, at) leave(at) end })
      assert.equal(1, #violations)
      assert.equal("outside", violations[1].name)
      assert.truthy(violations[1].text:find("^" .. name))
    end)
  end

  it("is broken by a process that is left", function()
    local violations = launch.run(plain, { inspect = function(_, _, at)
      if posix.fork() == 0 then
        posix.exec("/bin/sh", { [0] = "sh", "-c", "sleep 2", at.token })
      end
      core.exec.poll({}, 0.1)
    end })
    local text = violations[1] and violations[1].text .. (violations[2] and violations[2].text or "") or ""
    assert.truthy(text:find("is left: Name: s", 1, true), text)
  end)

  it("is broken by a run that hangs", function()
    local before = launch.seconds
    launch.seconds = 0.5
    local violations = launch.run(plain, { inspect = function() core.exec.poll({}, 60) end })
    launch.seconds = before
    assert.equal("hangs", violations[1].name)
  end)

  it("is shrunk to the smallest combination that breaks it", function()
    local start = combinations.random(combinations.generator(7))
    start.layout, start.umask, start.caller = "overlay", nil, "umask"
    local smallest = combinations.shrink(start, function(c) return c.layout == "overlay" and c.caller == "umask" end)
    assert.equal("layout=overlay caller=umask", combinations.text(smallest))
  end)

  teardown(helper.cleanup)
end)
