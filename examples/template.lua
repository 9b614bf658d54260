#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a template that is prepared once and launched many times: a tree as a handle, which is looked up, given its
-- attributes and checked once, and then bound into each container; and what a launch costs.
-- Needs: root, or nothing: without root the tree is named by its path. Argument: how many (20).
local carton = require "carton"

local count = math.tointeger(tonumber(arg[1] or 20)) or error("a number is expected")
local is_root = carton.host.euid() == 0

-- Only who owns the mount namespace can take a tree out of it.
local usr <close> = is_root
  and carton.mount.open_tree("/usr", { recursive = true, options = { "ro", "nosuid", "nodev" } })

local template = carton.steps({
  { "mount.tmpfs", target = "/", mode = "0755" },
  is_root and { "mount.bind", tree = usr, target = "/usr" }
    or { "mount.bind", source = "/usr", target = "/usr", recursive = true, options = { "ro" } },
  { "mount.symlink", path = "/bin", target = "usr/bin" },
  { "mount.symlink", path = "/lib", target = "usr/lib" },
  { "mount.symlink", path = "/lib64", target = "usr/lib64" },
})
template.idmap = "single"

local began = carton.host.monotonic()
for i = 1, count do
  local c <close> = carton.container {
    name = "clone" .. i,
    rootfs = template,
    args = { "sh", "-c", "exit $((" .. i .. " % 2))" },
  }
  assert(c:run().code == i % 2)
end
local took = (carton.host.monotonic() - began) / count
io.write(("%d containers of one template\n"):format(count))
if arg[1] then
  io.write(("%.2f ms each\n"):format(took * 1000))
end
