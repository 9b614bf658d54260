-- SPDX-License-Identifier: MIT

-- Every system call of a launch fails in turn, in the parent, in the child and in the built-in init: what comes of
-- it is an error that says so, or a container that is locked up exactly as without the fault; and nothing is left.
-- Likewise with the parent, or the child, killed there.
local helper = require("spec.helper")
local carton = require("carton")
local syscalls = require("carton.seccomp.syscalls")
local cases = dofile("spec/stress/cases.lua")

local PLACE <const> = (os.getenv("BUILD") or "build") .. "/stress"
-- Of the calls every so manieth (an odd number, so that pairs of calls are not missed); 1: all of them.
local STEP <const> = math.tointeger(os.getenv("STRESS_STEP") or 1)

-- What the kernel says when it is out of something, refuses, is interrupted, lacks a call, or a disk fails; one
-- after the other, or each for each call when nothing is left out.
local ERRNOS <const> = { EPERM = 1, EINTR = 4, EIO = 5, EAGAIN = 11, ENOMEM = 12, EINVAL = 22, EMFILE = 24,
  ENOSYS = 38 }
local NAMES <const> = { "EPERM", "ENOMEM", "EINTR", "EIO", "EMFILE", "EAGAIN", "EINVAL", "ENOSYS" }

-- What a call may say that has its own ways: of a lock that somebody else has it, of an own child nothing else. A
-- terminal says EAGAIN where there is nothing to read, and EIO where nobody writes any more.
local FAULTS <const> = { read = { "EPERM", "ENOMEM", "EINTR", "EINVAL" }, flock = { "EINTR", "ENOMEM" },
  waitid = { "EINTR" }, wait4 = { "EINTR" }, pidfd_send_signal = {} }

local architecture = carton.host.uname().machine
local name_of = {}
for name, number in pairs(syscalls.numbers(architecture)) do
  name_of[number] = name
end

local function parse(text)
  local report = { counts = {}, calls = {} }
  for key, first, rest in text:gmatch("(%a+) (%S+) ?([^\n]*)") do
    if key == "count" then
      report.counts[tonumber(first)] = tonumber(rest)
    elseif key == "made" then
      report.calls[tonumber(first)] = report.calls[tonumber(first)] or {}
      table.insert(report.calls[tonumber(first)], name_of[tonumber(rest)] or rest)
    else
      report[key] = rest ~= "" and first .. " " .. rest or tonumber(first) or first
    end
  end
  return report
end

local root, report_file

local function launch(name, options)
  local args = { PLACE .. "/inject", "-s", "-o", report_file }
  table.move(options, 1, #options, #args + 1, args)
  table.move({ helper.program, "spec/stress/victim.lua", name, root }, 1, 4, #args + 1, args)
  local result = helper.run(args)
  result.report = parse(helper.read(report_file))
  return result
end

-- Lines that only one of two texts has.
local function difference(one, other)
  local seen, list = {}, {}
  for line in other:gmatch("[^\n]+") do
    seen[line] = true
  end
  for line in one:gmatch("[^\n]+") do
    if not seen[line] then
      list[#list + 1] = line
    end
  end
  return table.concat(list, "; ")
end

-- What is wrong with how it went; nil when nothing is.
local function judge(result, usual)
  local report = result.report
  if report.hang then
    return "it hangs"
  elseif report.left then
    return "left running: " .. report.left
  elseif report.signal then
    return "crashed by signal " .. report.signal
  elseif report.exit == usual.report.exit and result.stdout == usual.stdout then
    return nil
  elseif report.exit == 0 then
    return ("locked up in another way: %s instead of %s"):format(difference(result.stdout, usual.stdout),
      difference(usual.stdout, result.stdout))
  elseif report.exit ~= 125 then
    return ("exit %s: %s"):format(report.exit, result.stderr)
  elseif result.stderr == "" or result.stderr:find("disorderly", 1, true) then
    return "no orderly error: " .. result.stderr
  end
end

-- The same where the child or the init is killed: that it was is a result, too.
local function judge_child(result, usual)
  return not result.stdout:find("ed 137\n?$") and judge(result, usual) or nil
end

-- And where the program itself is.
local function judge_killed(result)
  if result.report.left then
    return "left running: " .. result.report.left
  elseif result.report.hang then
    return "it hangs"
  end
end

local function usual_run(name)
  launch(name, {}) -- which makes what is missing in the root
  local usual = launch(name, { "-l" })
  assert.equal(usual.report.exit == 0, usual.stdout ~= "", usual.stderr)
  return usual
end

local turn = 0

-- The errnos to try at a call.
local function errnos_of(call)
  local list = FAULTS[call] or NAMES
  if STEP > 1 and #list > 1 then
    turn = turn + 1
    list = { list[turn % #list + 1] }
  end
  return list
end

-- Try all calls of a role.
local function try(name, usual, role, faults, judged)
  local wrong, tried = {}, 0
  for n = 1, usual.report.counts[role], STEP do
    local call = usual.report.calls[role][n]
    for _, fault in ipairs(faults(call)) do
      local result = launch(name, { "-r", tostring(role), "-n", tostring(n), table.unpack(fault) })
      local what = judged(result, usual)
      tried = tried + 1
      if what then
        wrong[#wrong + 1] = ("%s, process %d, call %d, %s: %s: %s"):format(name, role, n,
          name_of[result.report.call] or call, table.concat(fault, " "), what)
      end
    end
  end
  if #wrong > 0 then
    error(("%d of %d:\n%s"):format(#wrong, tried, table.concat(wrong, "\n")), 0)
  end
end

local function each_errno(call)
  local faults = {}
  for i, name in ipairs(errnos_of(call)) do
    faults[i] = { "-e", tostring(ERRNOS[name]) }
  end
  return faults
end

local function each_kill()
  return { { "-k" } }
end

describe("a launch #stress", function()
  setup(function()
    local place = helper.tmpdir()
    root, report_file = place .. "/root", place .. "/report"
    os.execute(("mkdir -p '%s'/etc; cp '%s/witness' '%s/witness'"):format(root, PLACE, root))
    helper.write(root .. "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n")
    helper.write(root .. "/etc/group", "root:x:0:\nweb:x:34:\nlogs:x:35:web\n")
  end)
  teardown(helper.cleanup)

  for _, name in ipairs(cases.names) do
    if not os.getenv("STRESS_CASE") or os.getenv("STRESS_CASE") == name then
      it("survives each failing system call: " .. name, function()
        local usual = usual_run(name)
        for role = 0, #usual.report.counts do
          try(name, usual, role, each_errno, judge)
        end
      end)

      it("leaves nothing when it is killed at any of them: " .. name, function()
        local usual = usual_run(name)
        for role = 0, #usual.report.counts do
          try(name, usual, role, each_kill, role == 0 and judge_killed or judge_child)
        end
      end)
    end
  end
end)
