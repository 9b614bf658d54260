#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a pipeline between containers: `producer | sorter | counter`, each in a container of its own that sees
-- neither the others nor the network.
-- Needs: nothing, root or not.
local carton = require "carton"

local function stage(name, script, input, output)
  return carton.container {
    name = name,
    rootfs = carton.rootfs.host(),
    args = { "sh", "-c", script },
    stdin = input,
    stdout = output,
  }
end

local from_producer, to_sorter = carton.exec.pipe()
local from_sorter, to_counter = carton.exec.pipe()

local stages = {
  stage("producer", "for i in $(seq 1000); do echo $((i % 10)); done", "null", to_sorter),
  stage("sorter", "sort -n", from_producer, to_counter),
  stage("counter", "uniq -c | head -n 3", from_sorter, "inherit"),
}
for _, c in ipairs(stages) do
  c:start()
end
-- Our own ends have to go, or no reader would ever see the end of its input.
for _, descriptor in ipairs { from_producer, to_sorter, from_sorter, to_counter } do
  descriptor:close()
end

local code = 0
for _, c in ipairs(stages) do
  local status = c:wait()
  if status.code ~= 0 and status.signal ~= "SIGPIPE" then
    io.stderr:write(c.name, ": ", status.cause, " ", status.code, "\n")
    code = status.code
  end
end
return code
