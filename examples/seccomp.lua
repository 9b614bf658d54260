#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a filter of system calls as data, built from the default one, asked what it says, and run with.
-- Needs: nothing; runs as any user.
local carton = require "carton"

-- The default profile with its rules, and in front of them what this payload shall not do: the first that applies
-- decides. EACCES is what a program expects of a network that it may not use.
local default = require "carton.seccomp.default"
local offline = { name = "offline", default = default.default, rules = {
  { names = { "socket" }, action = "allow", args = { { index = 0, value = 1 } }, why = "AF_UNIX: on this machine" },
  { names = { "socket" }, action = { "errno", "EACCES" }, why = "no network" },
  { names = { "mkdir", "mkdirat" }, action = { "errno", "EROFS" }, why = "nothing is to be made" },
} }
table.move(default.rules, 1, #default.rules, #offline.rules + 1, offline.rules)

-- Asked, nothing is called: the instructions are run without a kernel.
for _, call in ipairs { { "socket", 1 }, { "socket", 2 }, { "mkdirat" }, { "mount" } } do
  local answer = carton.seccomp.explain(offline, call[1], { call[2] })
  print(("%-8s %-12s %s"):format(answer.name, answer.action, answer.why))
end

-- And run: the same answers, from the kernel.
return carton.container {
  rootfs = carton.rootfs.host(),
  seccomp = offline,
  args = { "sh", "-c", "mkdir /tmp/x || grep Seccomp_filters /proc/self/status" },
  stderr = "null",
}
