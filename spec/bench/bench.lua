-- SPDX-License-Identifier: MIT
-- `make bench`: what a launch costs, beside the least it can cost and beside other programs, in turns.
--   bench.lua [--json] [ROUNDS]
-- The environment variable BASELINE names another build's carton, to compare two states of the source.
local carton = require "carton"
local core = require "carton.core"

local as_json = false
local rounds = 100
for _, word in ipairs(arg) do
  if word == "--json" then
    as_json = true
  else
    rounds = assert(math.tointeger(tonumber(word)), "usage: bench.lua [--json] [ROUNDS]")
  end
end

local build = core.host.realpath(os.getenv("BUILD") or "build")
local baseline = os.getenv("BASELINE")
local results = { rounds = rounds, machine = core.host.uname(), tables = {} }

local function say(format, ...)
  if not as_json then
    print(format:format(...))
  end
end

local function read(path)
  local file <close> = io.open(path)
  return file and file:read("a") or ""
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function output(...)
  local words = {}
  for i, word in ipairs { ... } do
    words[i] = "'" .. word:gsub("'", "'\\''") .. "'"
  end
  local pipe <close> = assert(io.popen(table.concat(words, " ")))
  return pipe:read("a")
end

local function has(name)
  for directory in (os.getenv("PATH") or ""):gmatch("[^:]+") do
    if core.host.access(directory .. "/" .. name, "x") then
      return true
    end
  end
  return false
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2] or 0 / 0
end

-- The place: a root file system with one static program, in a mount namespace that goes away with us.

local place = output("mktemp", "-d"):gsub("\n", "")
local rootfs = place .. "/rootfs"

local function prepare()
  core.namespace.unshare { kinds = { "mnt" } }
  core.mount.propagation { propagation = "rprivate" }
  output("mkdir", "-p", rootfs .. "/proc", rootfs .. "/dev", rootfs .. "/sys", place .. "/state", place .. "/many")
  output("cp", build .. "/bench/true", rootfs .. "/true")
  if core.host.statfs("/sys/fs/cgroup").type ~= "cgroup2" then
    -- crun and runc do not start beside two cgroup hierarchies: here they see those of v1 alone
    local view = place .. "/cgroup"
    output("mkdir", view)
    core.mount.tmpfs { target = view }
    for name in output("ls", "/sys/fs/cgroup"):gmatch("%S+") do
      if read("/sys/fs/cgroup/" .. name .. "/cgroup.clone_children") ~= "" then
        core.mount.bind { source = "/sys/fs/cgroup/" .. name, target = view .. "/" .. name }
      end
    end
    core.mount.move { source = view, target = "/sys/fs/cgroup" }
  end
end

local CAPABILITIES <const> = require("carton.capability").default
local MASKED <const>, READONLY <const> = { "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats",
  "sched_debug", "scsi", "timer_list", "timer_stats" }, { "bus", "fs", "irq", "sys", "sysrq-trigger" }

local function below(prefix, names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = prefix .. name
  end
  return list
end

--- What the default profile allows, some of it whatever the arguments are, in the OCI's words.
local function oci_profile()
  local allow = require("carton.seccomp.bpf").encode("allow")
  local chains = require("carton.seccomp.profile").chains(require("carton.seccomp").load("default").data,
    core.architecture, { arch = core.architecture, capabilities = {}, kernel = core.host.uname().release,
      errno = core.errno })
  local allowed = {}
  for name, number in pairs(require("carton.seccomp.syscalls").numbers(core.architecture)) do
    local found = false
    for _, link in ipairs(chains[number] or {}) do
      found = found or link.action == allow
    end
    allowed[#allowed + 1] = found and name or nil
  end
  table.sort(allowed)
  return { defaultAction = "SCMP_ACT_ERRNO", architectures = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86" },
    syscalls = { { names = allowed, action = "SCMP_ACT_ALLOW" } } }
end

--- What all that is on by default, and limits, are in a bundle.
local function raise_walls(config)
  local capabilities = below("CAP_", CAPABILITIES)
  local function mount(destination, kind, ...)
    table.insert(config.mounts, { destination = destination, type = kind, source = kind, options = { ... } })
  end
  mount("/dev", "tmpfs", "nosuid", "mode=755", "size=65536k")
  mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
  mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
  mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev")
  mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")
  table.insert(config.linux.namespaces, { type = "cgroup" })
  config.process.capabilities = { bounding = capabilities, permitted = capabilities, effective = capabilities }
  config.linux.maskedPaths = below("/proc/", MASKED)
  table.insert(config.linux.maskedPaths, "/sys/firmware")
  config.linux.readonlyPaths = below("/proc/", READONLY)
  config.linux.seccomp = oci_profile()
  config.linux.cgroupsPath = "/carton-bench"
  config.linux.resources = { memory = { limit = 268435456 }, cpu = { quota = 100000, period = 100000 },
    pids = { limit = 64 } }
end

--- A bundle of the OCI runtimes with exactly these namespaces and mounts.
local function bundle(name, wish)
  local path = place .. "/" .. name
  local config = { ociVersion = "1.0.0", root = { path = rootfs }, hostname = "bench", mounts = {},
    process = { terminal = false, user = { uid = 0, gid = 0 }, args = { "/true" }, env = { "PATH=/" }, cwd = "/",
      noNewPrivileges = true }, linux = { namespaces = { { type = "mount" }, { type = "pid" }, { type = "uts" },
      { type = "ipc" } } } }
  output("mkdir", "-p", path)
  if wish.net then
    table.insert(config.linux.namespaces, { type = "network" })
  end
  if wish.proc then
    config.mounts[1] = { destination = "/proc", type = "proc", source = "proc" }
  end
  if wish.walls then
    raise_walls(config)
  end
  write(path .. "/config.json", require("carton.json").encode(config))
  return path
end

local WALLS <const> = [[return require("carton").container {
  rootfs = %q, args = { "/true" }, limits = { memory = "256M", cpus = 1, pids = 64 } }]]
local PLAIN <const> = [[return require("carton").container {
  rootfs = { { "mount.bind", source = %q, target = "/", recursive = true }, %s },
  args = { "/true" }, namespaces = { cgroup = "host", net = %s }, seccomp = false, keyring = "inherit" }]]

local function recipe(name, wish)
  local path = place .. "/" .. name .. ".lua"
  write(path, wish.walls and WALLS:format(rootfs) or PLAIN:format(rootfs,
    wish.proc and '{ "mount.proc", target = "/proc" }' or "", wish.net and "true" or '"host"'))
  return path
end

--- The same container for each program that can make it.
local function commands(name, wish)
  local list = {}
  local function add(label, ...)
    list[#list + 1] = { label, { ... } }
  end
  local program, path = build .. "/bin/carton", bundle(name, wish)
  local function ours(...)
    add("carton run", program, ...)
    if baseline then
      add("carton run, baseline", baseline, ...)
    end
  end
  add("no container", rootfs .. "/true")
  if wish.walls then
    add("floor", build .. "/bench/floor", "-npw", "-s", place .. "/filter", rootfs, "/true")
    ours("run", "--memory", "256M", "--cpus", "1", "--pids", "64", rootfs, "/true")
  elseif wish.proc then
    add("floor", build .. "/bench/floor", "-np", rootfs, "/true")
  else
    add("floor", build .. "/bench/floor", wish.net and "-n" or "--", rootfs, "/true")
    local args = { "run", "--bare", "--seccomp", "none", "--keyring", "inherit", "--share", "cgroup" }
    table.move(wish.net and {} or { "--share", "net" }, 1, 2, #args + 1, args)
    table.move({ rootfs, "/true" }, 1, 2, #args + 1, args)
    ours(table.unpack(args))
  end
  add("carton recipe", program, recipe(name, wish))
  if baseline then
    add("carton recipe, baseline", baseline, recipe(name, wish))
  end
  if has("bwrap") and not wish.walls then -- it knows neither limits nor masked paths
    local args = { "bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--bind", rootfs, "/" }
    if wish.net then
      args[#args + 1] = "--unshare-net"
    end
    if wish.proc then
      table.move({ "--proc", "/proc" }, 1, 2, #args + 1, args)
    end
    args[#args + 1] = "/true"
    add("bwrap", table.unpack(args))
  end
  if has("crun") then
    add("crun", "crun", "--root", place .. "/state/crun", "--cgroup-manager=" .. (wish.walls and "cgroupfs"
      or "disabled"), "run", "-b", path, name .. "-crun")
  end
  if has("runc") and wish.proc then -- it has cgroups even where no limits are asked for
    add("runc", "runc", "--root", place .. "/state/runc", "run", "-b", path, name .. "-runc")
  end
  return list
end

--- Run them in turns; rows of medians, with ratios to the floor.
local function measure(list)
  local words = { build .. "/bench/measure", tostring(rounds) }
  for _, command in ipairs(list) do
    words[#words + 1] = "+"
    table.move(command[2], 1, #command[2], #words + 1, words)
  end
  local rows, times = {}, {}
  for i, command in ipairs(list) do
    rows[i], times[i] = { name = command[1], peak = 0, failed = 0 }, {}
  end
  for number, took, peak, status in output(table.unpack(words)):gmatch("(%d+) (%S+) (%d+) (%d+)\n") do
    local i = tonumber(number)
    local row = rows[i]
    table.insert(times[i], tonumber(took))
    row.peak = math.max(row.peak, tonumber(peak))
    row.failed = row.failed + (status == "0" and 0 or 1)
  end
  for i, row in ipairs(rows) do
    row.median = median(times[i])
  end
  for _, row in ipairs(rows) do
    row.ratio = row.median / rows[2].median
  end
  return rows
end

local function show(title, rows)
  results.tables[#results.tables + 1] = { title = title, rows = rows }
  say("\n%s\n  %-28s %12s %8s %10s", title, "", "median us", "ratio", "peak KiB")
  for _, row in ipairs(rows) do
    say("  %-28s %12.0f %8.2f %10s%s", row.name, row.median, row.ratio, row.peak or "",
      row.failed and row.failed > 0 and ("  (failed %d times)"):format(row.failed) or "")
  end
end

--- Launches from inside one program: the floor's own loop, and one recipe's.
local function loops(wish)
  local floor, ours = {}, {}
  local plain = { rootfs = { { "mount.bind", source = rootfs, target = "/", recursive = true } },
    args = { "/true" }, namespaces = { cgroup = "host", net = wish.net and true or "host" },
    seccomp = false, keyring = "inherit" } -- what the others have not in these tables
  local options = wish.walls and { rootfs = rootfs, args = { "/true" },
    limits = { memory = "256M", cpus = 1, pids = 64 } } or plain
  for _ = 1, math.max(1, rounds // 10) do -- in turns, ten at a time
    local words = { wish.net and "-nl" or "-l" }
    if wish.walls then
      words = { "-npw", "-s", place .. "/filter", "-l" }
    end
    table.move({ "10", rootfs, "/true" }, 1, 3, #words + 1, words)
    for took in output(build .. "/bench/floor", table.unpack(words)):gmatch("%S+") do
      floor[#floor + 1] = tonumber(took)
    end
    for _ = 1, 10 do
      local began = core.host.monotonic()
      local status = carton.container(options):run()
      ours[#ours + 1] = (core.host.monotonic() - began) * 1e6
      assert(status.code == 0, "a launch failed")
    end
  end
  local low, high = median(floor), median(ours)
  return { { name = "floor, in a loop", median = low, ratio = 1 },
    { name = "carton, in a loop", median = high, ratio = high / low } }
end

--- What single walls cost a launch from inside one program: each left out, or added, in turns with the whole.
local function walls_apart()
  local whole = { rootfs = rootfs, args = { "/true" } }
  local dir = carton.rootfs.dir
  local variants = { { "default walls", {} },
    { "die_with_parent = false", { die_with_parent = false } },
    { "seccomp = false", { seccomp = false } },
    { "without masked paths", { rootfs = dir { path = rootfs, system = { mask = false } } } },
    { "without /proc, /sys, /dev", { rootfs = dir { path = rootfs, system = false } } },
    { "network of the host", { network = "host" } },
    { "a bind mount more", { mounts = { "/usr:/usr:ro" } } },
    { "an overlay for the root", { rootfs = carton.rootfs.overlay { lower = rootfs } } },
    { "init = true", { init = true } } }
  local times, rows = {}, {}
  for _ = 1, rounds do
    for i, variant in ipairs(variants) do
      local fields = variant[2]
      for key, value in pairs(whole) do
        fields[key] = fields[key] == nil and value or fields[key]
      end
      local began = core.host.monotonic()
      local status = carton.container(fields):run()
      times[i] = times[i] or {}
      table.insert(times[i], (core.host.monotonic() - began) * 1e6)
      assert(status.code == 0, "a launch failed")
    end
  end
  for i, variant in ipairs(variants) do
    rows[i] = { name = variant[1], median = median(times[i]) }
    rows[i].ratio = rows[i].median / rows[1].median
  end
  return rows
end

local function only(list, ...)
  local kept = {}
  for _, name in ipairs { ... } do
    for _, command in ipairs(list) do
      kept[#kept + 1] = command[1] == name and command or nil
    end
  end
  return kept
end

local function growth()
  local bare = only(commands("growth", {}), "no container", "floor", "carton run", "carton recipe")
  show("one more mount on the host, no container running", measure(bare))
  for i = 1, 1000 do
    local path = place .. "/many/" .. i
    output("mkdir", path)
    core.mount.tmpfs { target = path, size = "4k" }
  end
  show("1000 more mounts on the host", measure(bare))
  core.mount.unmount { target = place .. "/many/1" }
  for i = 2, 1000 do
    core.mount.unmount { target = place .. "/many/" .. i }
  end
  local running = {}
  for i = 1, 1000 do
    running[i] = carton.container { rootfs = { { "mount.bind", source = rootfs, target = "/" } },
      args = { "/true", "stay" }, namespaces = { cgroup = "host", net = "host" } }:start()
  end
  show("1000 containers running", measure(bare))
  for _, c in ipairs(running) do
    c:close()
  end
end

local function main()
  if core.host.euid() ~= 0 then
    error("bench needs root: crun, runc and bwrap do different things without", 0)
  end
  local ok = pcall(core.privilege.rlimits, { limits = { nofile = { soft = 16384, hard = 16384 } } })
  prepare()
  local cpu = read("/proc/cpuinfo"):match("model name%s*:%s*([^\n]+)") or results.machine.machine
  results.cpu = cpu
  say("%s, Linux %s, %d rounds, in turns", cpu, results.machine.release, rounds)
  show("namespaces mnt pid uts ipc", measure(commands("plain", {})))
  show("namespaces mnt pid uts ipc net", measure(commands("net", { net = true })))
  show("namespaces mnt pid uts ipc net, and /proc", measure(commands("proc", { net = true, proc = true })))
  local walls = { net = true, proc = true, walls = true }
  write(place .. "/filter", output(build .. "/bin/carton", "seccomp", "show", "--raw"))
  show("all walls: the usual mounts, masked paths, seccomp, capabilities, limits", measure(commands("walls", walls)))
  show("from inside one program: all walls", loops(walls))
  show("from inside one program: single walls", walls_apart())
  show("from inside one program: mnt pid uts ipc", loops {})
  show("from inside one program: mnt pid uts ipc net", loops { net = true })
  if ok then
    growth()
  end
  if as_json then
    print(require("carton.json").encode(results))
  end
end

local ok, message = xpcall(main, function(err) return tostring(err) end)
output("rm", "-rf", "--one-file-system", place)
if not ok then
  error(message, 0)
end
