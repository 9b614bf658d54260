-- SPDX-License-Identifier: MIT

-- One launch with marks around it, between which faults are injected: carton victim.lua CASE ROOT. Exits with 125
-- and says why when it failed, as the command line does; with 99 when that left something.
local folder = arg[0]:match("^(.*)/") or "."
local cases = dofile(folder .. "/cases.lua")
local host = require("carton").host

local name, root = ...
local before = cases.world()
local case = cases.list[name]

host.stat("/carton-stress/on")
local ok, result = pcall(case, root)
host.stat("/carton-stress/off")
local left = cases.world()
if left ~= before then
  io.stderr:write("left behind:\n", left, "before:\n", before)
  os.exit(99)
elseif not ok then
  io.stderr:write(cases.is_orderly(result) and "" or "disorderly: ", tostring(result), "\n")
  os.exit(125)
end
io.write(result)
