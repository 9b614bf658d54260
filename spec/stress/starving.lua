-- SPDX-License-Identifier: MIT

-- Launches for which memory is short: the Nth request fails, for each N until one is no longer reached. Run by the
-- program of starve.c: starving.lua CASE ROOT STEP. Prints how many it were, or what went wrong.
local folder = arg[0]:match("^(.*)/") or "."
local cases = dofile(folder .. "/cases.lua")
local starve = starve -- luacheck: ignore 113

local name, root, step = arg[1], arg[2], math.tointeger(arg[3])
local case = cases.list[name]

pcall(case, root) -- so that all modules are there, and the mount points
local before = cases.world()
local usually, usual = pcall(case, root)
local n = 1
while true do
  starve(n)
  local ok, result = pcall(case, root)
  local failed = starve()
  if not failed and n > 1 then
    break
  end
  local left = cases.world()
  if left ~= before then
    io.stderr:write(("request %d: left behind:\n%sbefore:\n%s%s\n"):format(n, left, before, result))
    os.exit(1)
  elseif not ok and not cases.is_orderly(result) then
    io.stderr:write(("request %d: disorderly: %s\n"):format(n, result))
    os.exit(1)
  elseif ok and not (usually and result == usual) then
    io.stderr:write(("request %d: locked up in another way:\n%s"):format(n, result))
    os.exit(1)
  end
  n = n + step
end
io.write(n, "\n")
