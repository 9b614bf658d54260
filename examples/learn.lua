#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: the smallest profile of a program, learned from a run, and then held to: it can do what it did, and no more.
-- Needs: nothing; runs as any user.
local carton = require "carton"

local function container(script, profile)
  profile = profile or {}
  return carton.container { name = "reader", rootfs = carton.rootfs.host(), args = { "sh", "-c", script },
    seccomp = profile.seccomp, capabilities = profile.capabilities, landlock = profile.landlock,
    stdout = "capture", stderr = "null" }
end

local READ <const> = "read -r line < /etc/passwd && echo \"$line\""

local learned
do
  local recording <close> = carton.learn.record()
  container(READ):run()
  learned = recording:profiles().reader
end
for path, uses in pairs(learned.paths) do
  if path:find("^/etc/") and not path:find("ld.so", 1, true) and table.concat(uses, " "):find("read_file") then
    print("it read: " .. path)
  end
end
print("it took: " .. (learned.capabilities.add[1] or "no capability"))

assert(container(READ, learned):run().code == 0)
local status = container("cd /usr || echo \"not even go to /usr\"", learned):run()
io.write("what it did not do before, it can't: ", status.stdout)
return status.code
