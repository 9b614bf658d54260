#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: limits that hold, and a script that hears about them: a program that takes too much memory is ended, the
-- kernel says that this was the cause, and the script gives it more and tries again.
-- Needs: root, or a delegated cgroup (systemd-run --user --scope -p Delegate=yes carton examples/limits.lua).
local carton = require "carton"

local MIB <const> = 1 << 20
local limit = 16 * MIB
local status

repeat
  local c <close> = carton.container {
    name = "hungry",
    rootfs = carton.rootfs.host(),
    args = { "dd", "if=/dev/zero", "of=/dev/null", "bs=40M", "count=1" }, -- which keeps 40 MiB in mind
    limits = { memory = limit, pids = 8, cpus = 0.9 },
    stdin = "null", stderr = "null",
    timeout = 60,
  }
  status = c:run()
  print(("%3d MiB: %s"):format(limit // MIB, status.cause == "oom" and "not enough memory" or status.cause))
  limit = limit * 4
until status.cause ~= "oom" or limit > 1024 * MIB

local cpu, memory = status.stats.cpu, status.stats.memory
print(cpu.usage > 0 and (memory.peak or MIB) > 0 and "and what it used is told" or "nothing is told")
return status
