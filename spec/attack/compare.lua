-- SPDX-License-Identifier: MIT
-- `make attack-table`: the attacks that make sense for any runtime, tried on Carton and on those with the OCI command
-- line; a table of what came of it, and below it why. Some reach the host where a runtime is not safe: it is meant for
-- a virtual machine of its own.
--   [RUNTIME="/usr/bin/runc ..."] compare.lua [--json] [--others] [--seconds N] [PATTERN]
-- --others leaves Carton out, whose specs say the same; a race lasts for N seconds, 10 by default.
for _, name in ipairs { "describe", "it", "teardown", "pending" } do -- the specs of Carton alone are not asked for
  rawset(_G, name, function() end)
end
local attack = require("spec.attack.attack")
local carton = require("carton")
local helper = require("spec.helper")
local posix = require("posix")
local runtime = require("spec.attack.runtime")
attack.comparing = true

local as_json, others, seconds, pattern = false, false, 10, "."
do
  local i = 1
  while arg[i] do
    if arg[i] == "--json" then
      as_json = true
    elseif arg[i] == "--others" then
      others = true
    elseif arg[i] == "--seconds" then
      i = i + 1
      seconds = assert(tonumber(arg[i]), "--seconds: a number expected")
    else
      pattern = arg[i]
    end
    i = i + 1
  end
end

local function say(format, ...)
  io.stderr:write(format:format(...), "\n")
end

--- Those that are asked for, or that are installed.
local function runtimes()
  local list = {}
  if not others then
    list[1] = runtime.carton()
  end
  local asked = os.getenv("RUNTIME")
  asked = asked ~= "" and asked or nil
  for path in (asked or "/usr/sbin/runc /usr/bin/crun /usr/bin/youki"):gmatch("%S+") do
    if posix.access(path, "x") then
      list[#list + 1] = runtime.oci(path)
    elseif asked then
      error(path .. ": no such program", 0)
    end
  end
  for _, r in ipairs(list) do
    r.seconds = seconds
  end
  return list
end

--- What came of one attack: a word, and why.
local function try(case, r)
  local ok, result = pcall(case.try, r)
  if ok then
    return "safe", result
  end
  local reason = tostring(result)
  local reached = reason:match("^" .. attack.SUCCEEDED .. "(.*)")
  return reached and "reached" or "fails", reached or reason
end

local names = posix.dir("spec/attack")
table.sort(names)
for _, name in ipairs(names) do
  if name:find("_spec%.lua$") then
    dofile("spec/attack/" .. name)
  end
end

local list, results, reasons = runtimes(), {}, {}
for _, case in ipairs(attack.cases) do
  if case.title:find(pattern) then
    local row = { attack = case.title, cves = case.cves, results = {} }
    results[#results + 1] = row
    for _, r in ipairs(list) do
      local began = carton.host.monotonic()
      local word, reason = try(case, r)
      say("%s: %s: %s in %.0f s%s", r.name, case.title, word, carton.host.monotonic() - began,
        reason and ": " .. reason:sub(1, 300) or "")
      row.results[r.name] = { result = word, reason = reason }
      if word ~= "safe" then
        reasons[#reasons + 1] = ("%s, %s: %s"):format(r.name, case.title, reason:gsub("%s+", " "):sub(1, 160))
      end
    end
  end
end
helper.cleanup()

if as_json then
  print(require("carton.json").encode { kernel = carton.host.uname().release, results = results })
  return
end
local head, line = "| attack |", "|---|"
for _, r in ipairs(list) do
  head, line = head .. " " .. r.name .. " |", line .. "---|"
end
print(("Linux %s\n\n%s\n%s"):format(carton.host.uname().release, head, line))
for _, row in ipairs(results) do
  local text = ("| %s (%s) |"):format(row.attack, table.concat(row.cves, ", "):gsub("CVE%-", ""))
  for _, r in ipairs(list) do
    local word = row.results[r.name].result
    text = text .. " " .. (word == "safe" and word or "**" .. word .. "**") .. " |"
  end
  print(text)
end
print()
for _, reason in ipairs(reasons) do
  print("- " .. reason)
end
