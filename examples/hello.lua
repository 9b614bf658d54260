#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: a first container, which needs no image: the host's /usr, read-only, with everything else its own.
-- Needs: nothing but Carton, root or not.
local carton = require "carton"

return carton.container {
  name = "hello",
  rootfs = carton.rootfs.host(),
  args = { "sh", "-c", [[
    echo "Hello from $(hostname): I am process $$, user $(id -u)."
    echo "All that runs here: $(ls -d /proc/[0-9]* | wc -l) processes; all networks:" /sys/class/net/*
  ]] },
}
