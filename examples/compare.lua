#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a plan is a value. Two containers are compiled, not run, and compared: what does an option really change?
-- Needs: nothing, no privilege at all.
local carton = require "carton"

local function web(fields)
  fields.rootfs = carton.rootfs.host()
  fields.args = { "true" }
  fields.namespaces = { user = "host" } -- the same plan for every user
  return carton.container(fields):compile()
end

local before = web {}
local after = web { user = "nobody", capabilities = { drop = "all" }, hostname = "web" }

io.write("what user, capabilities and hostname change:\n", carton.plan.diff_text(before, after))

-- The same in a test: a plan never loses its walls unnoticed.
local walls = { ["mount.pivot_root"] = false, ["privilege.no_new_privs"] = false }
for _, step in ipairs(after.steps) do
  if walls[step[1]] ~= nil then
    walls[step[1]] = true
  end
end
for name, there in pairs(walls) do
  assert(there, name .. " is missing")
end
