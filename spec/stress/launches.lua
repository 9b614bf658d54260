-- SPDX-License-Identifier: MIT

-- Launches in a row: carton launches.lua ROOT COUNT [limits]. Exits with 1 and says what has grown.
local carton = require("carton")
local folder = arg[0]:match("^(.*)/") or "."
local cases = dofile(folder .. "/cases.lua")

local root, count, limits = arg[1], math.tointeger(arg[2]), arg[3] == "limits"
local WARM <const> = count // 10

local function memory()
  collectgarbage()
  collectgarbage()
  local file <close> = assert(io.open("/proc/self/statm"))
  return math.tointeger(file:read("a"):match("^%d+ (%d+)")) * 4096
end

local function launch()
  local c <close> = carton.container { rootfs = root, args = { "true" }, name = cases.label, stdin = "null",
    stdout = "null", limits = limits and { pids = 16, memory = "32M" } or nil }
  local status = c:run()
  assert(status.code == 0, status.cause)
end

for _ = 1, WARM do
  launch()
end
local world, bytes = cases.world(), memory()
for _ = 1, count - WARM do
  launch()
end
local grown = memory() - bytes
if cases.world() ~= world then
  print("before:\n" .. world .. "after:\n" .. cases.world())
  os.exit(1)
elseif grown > 1 << 20 then
  print(("memory has grown by %d bytes in %d launches"):format(grown, count - WARM))
  os.exit(1)
end
