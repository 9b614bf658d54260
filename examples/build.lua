#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a sandbox for a build: the sources read-only, one directory for the result, the host's tools, no network,
-- a time-out, limits; and no root needed.
-- Needs: a C compiler and make on the host; root or not. Arguments: SOURCE OUTPUT [COMMAND...]; without them,
-- a small program is built in a temporary directory.
local carton = require "carton"

local source, output = arg[1], arg[2]
local command = { table.unpack(arg, 3) }
local temporary
if not source then
  temporary = os.tmpname()
  os.remove(temporary)
  source, output = temporary .. "/src", temporary .. "/out"
  os.execute(("mkdir -p '%s' '%s'"):format(source, output))
  local file <close> = carton.check(io.open(source .. "/main.c", "w"))
  file:write('#include <stdio.h>\nint main(void) { return puts("built in a sandbox") < 0; }\n')
end
if #command == 0 then
  command = { "cc", "-O2", "-o", "/out/program", "main.c" }
end

local status = carton.container {
  name = "build",
  rootfs = carton.rootfs.host(),
  mounts = {
    { source = source, target = "/src", options = { "ro", "nosuid", "nodev" } },
    { source = output, target = "/out", options = { "nosuid", "nodev" } },
  },
  cwd = "/src",
  args = command,
  env = { HOME = "/tmp", SOURCE_DATE_EPOCH = "0", LC_ALL = "C" },
  rlimits = { cpu = 600, core = 0 },
  timeout = 900,
}:run()

if temporary then
  io.stdout:flush()
  os.execute(("'%s/program'; rm -rf '%s'"):format(output, temporary))
end
return status
