-- SPDX-License-Identifier: MIT
-- `make bench`: what a launch costs, beside the least it can cost and beside other programs, in turns.
--   bench.lua [--json] [ROUNDS]
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
  output("mkdir", "-p", rootfs .. "/proc", rootfs .. "/dev", place .. "/state", place .. "/many")
  output("cp", build .. "/bench/true", rootfs .. "/true")
  if has("crun") and core.host.statfs("/sys/fs/cgroup").type ~= "cgroup2" then
    -- crun refuses to start beside two cgroup hierarchies, even when told to leave them alone
    core.mount.sysfs { target = "/sys" }
    core.mount.tmpfs { target = "/sys/fs/cgroup" }
    return true
  end
end

--- A bundle of the OCI runtimes with exactly these namespaces and mounts.
local function bundle(name, wish)
  local path = place .. "/" .. name
  output("mkdir", "-p", path)
  local kinds = '{"type":"mount"},{"type":"pid"},{"type":"uts"},{"type":"ipc"}'
    .. (wish.net and ',{"type":"network"}' or "")
  write(path .. "/config.json", ([[{"ociVersion":"1.0.0","process":{"terminal":false,
    "user":{"uid":0,"gid":0},"args":["/true"],"env":["PATH=/"],"cwd":"/","noNewPrivileges":true},
    "root":{"path":"%s"},"hostname":"bench","mounts":[%s],"linux":{"namespaces":[%s]}}]]):format(rootfs,
    wish.proc and '{"destination":"/proc","type":"proc","source":"proc"}' or "", kinds))
  return path
end

local function recipe(name, wish)
  local path = place .. "/" .. name .. ".lua"
  write(path, ([[return require("carton").container {
    rootfs = { { "mount.bind", source = %q, target = "/", recursive = true }, %s },
    args = { "/true" }, namespaces = { cgroup = "host", net = %s },
    seccomp = false, keyring = "inherit" }]]):format(rootfs,
    wish.proc and '{ "mount.proc", target = "/proc" }' or "", wish.net and "true" or '"host"'))
  return path
end

--- The same container for each program that can make it.
local function commands(name, wish, hidden)
  local list = {}
  local function add(label, ...)
    local args = {}
    for _, word in ipairs { ... } do
      args[#args + 1] = word or nil
    end
    list[#list + 1] = { label, args }
  end
  local carton_program = build .. "/bin/carton"
  add("no container", rootfs .. "/true")
  add("floor", table.unpack(wish.proc
    and { build .. "/bench/floor", "-np", rootfs, "/true" }
    or { build .. "/bench/floor", wish.net and "-n" or "--", rootfs, "/true" }))
  if not wish.proc then
    add("carton run", table.unpack(wish.net
      and { carton_program, "run", "--bare", "--seccomp", "none", "--keyring", "inherit", "--share", "cgroup", rootfs,
        "/true" }
      or { carton_program, "run", "--bare", "--seccomp", "none", "--keyring", "inherit", "--share", "cgroup", "--share",
        "net", rootfs, "/true" }))
  end
  add("carton recipe", carton_program, recipe(name, wish))
  if has("bwrap") then
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
  local path = bundle(name, wish)
  if has("crun") then
    add("crun", "crun", "--root", place .. "/state/crun", "--cgroup-manager=disabled", "run", "-b", path,
      name .. "-crun")
  end
  if has("runc") and wish.proc and not hidden then
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
  local options = { rootfs = { { "mount.bind", source = rootfs, target = "/", recursive = true } },
    args = { "/true" }, namespaces = { cgroup = "host", net = wish.net and true or "host" },
    seccomp = false, keyring = "inherit" } -- what the others have not in these tables
  for _ = 1, math.max(1, rounds // 10) do -- in turns, ten at a time
    for took in output(build .. "/bench/floor", wish.net and "-nl" or "-l", "10", rootfs, "/true")
      :gmatch("%S+") do
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

local function only(list, ...)
  local kept = {}
  for _, name in ipairs { ... } do
    for _, command in ipairs(list) do
      kept[#kept + 1] = command[1] == name and command or nil
    end
  end
  return kept
end

local function growth(hidden)
  local bare = only(commands("growth", {}, hidden), "no container", "floor", "carton run", "carton recipe")
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
  local hidden = prepare()
  local cpu = read("/proc/cpuinfo"):match("model name%s*:%s*([^\n]+)") or results.machine.machine
  results.cpu = cpu
  say("%s, Linux %s, %d rounds, in turns", cpu, results.machine.release, rounds)
  show("namespaces mnt pid uts ipc", measure(commands("plain", {}, hidden)))
  show("namespaces mnt pid uts ipc net", measure(commands("net", { net = true }, hidden)))
  show("namespaces mnt pid uts ipc net, and /proc", measure(commands("proc", { net = true, proc = true },
    hidden)))
  show("from inside one program: mnt pid uts ipc", loops {})
  show("from inside one program: mnt pid uts ipc net", loops { net = true })
  if ok then
    growth(hidden)
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
