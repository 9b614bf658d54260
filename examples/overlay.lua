#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: an overlay with a throw-away upper layer. Programs may change all they like; nothing of it stays.
-- Needs: nothing, root or not. Argument: a root file system; without one, a small one is made of the host's /usr.
local carton = require "carton"

local rootfs
if arg[1] then
  rootfs = carton.rootfs.overlay { lower = { arg[1] }, size = "64m" }
else
  -- No image at hand: the host's own layout, with an overlay over its /usr.
  rootfs = carton.steps(carton.rootfs.host { readonly = false }, {
    { "mount.overlay", lower = { "/usr" }, temporary = true, size = "64m", target = "/usr" },
  })
end

local function run(script)
  return carton.container {
    name = "throwaway",
    rootfs = rootfs,
    args = { "sh", "-c", script },
  }:run()
end

run [[
  echo changed > /usr/marker
  mkdir /usr/mine && touch /usr/mine/one /usr/mine/two
  echo "inside: $(cat /usr/marker), $(ls /usr/mine | wc -l) files"
]]
return run "test -e /usr/marker -o -e /usr/mine && echo 'it stayed' || echo 'the next one sees nothing of it'"
