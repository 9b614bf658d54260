#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a parallel job runner: many jobs over a few containers at a time, one event loop, a progress line on a
-- terminal and silence in a pipe, a time-out for each.
-- Needs: nothing, root or not. Argument: how many at a time (4).
local carton = require "carton"

local width = math.tointeger(tonumber(arg[1] or 4)) or error("a number is expected")
local jobs = {}
for i = 1, 12 do
  jobs[i] = { name = "job" .. i, script = ("sleep 0.0%d; echo $((%d * %d))"):format(i % 7, i, i) }
end
jobs[5].script = "echo 'I fail' >&2; exit 3"
jobs[9].script = "sleep 60"

local is_terminal = carton.exec.descriptor(2):is_terminal()
local function progress(format, ...)
  if is_terminal then
    io.stderr:write("\r\27[K", format:format(...))
  end
end

local loop = carton.loop.new()
local results, running, next_job, done = {}, 0, 1, 0

local function launch()
  while running < width and jobs[next_job] do
    local job = jobs[next_job]
    next_job, running = next_job + 1, running + 1
    local c = carton.container {
      name = job.name,
      rootfs = carton.rootfs.host(),
      args = { "sh", "-c", job.script },
      stdin = "null", stdout = "capture", stderr = "capture",
      timeout = 1,
    }:start()
    loop:container(c, function(status)
      running, done = running - 1, done + 1
      results[job.name] = status
      c:close()
      progress("%d of %d done, %d running", done, #jobs, running)
      launch()
    end)
  end
end

launch()
loop:run()
progress("")

local failed = 0
for _, job in ipairs(jobs) do
  local status = results[job.name]
  if status.code ~= 0 then
    failed = failed + 1
    print(("%s: %s (%d) %s"):format(job.name, status.cause, status.code, status.stderr:gsub("\n", " ")))
  else
    print(("%s: %s"):format(job.name, (status.stdout:gsub("\n", ""))))
  end
end
print(("%d of %d failed"):format(failed, #jobs))
