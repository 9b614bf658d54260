#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: an interactive shell on a terminal of its own, with job control, in a root where everything can be tried and
-- nothing stays. Without a terminal (in a pipe) the shell reads its commands from there.
-- Needs: nothing, root or not. Arguments: [ROOTFS [COMMAND...]].
local carton = require "carton"

local rootfs = arg[1]
local command = { table.unpack(arg, 2) }

return carton.container {
  name = "play",
  rootfs = rootfs and carton.rootfs.overlay { lower = { rootfs } }
    or carton.rootfs.host { readonly = false },
  args = #command > 0 and command or { "sh" },
  terminal = carton.exec.descriptor(0):is_terminal(),
  env = { PS1 = "play# ", TERM = os.getenv("TERM") },
  init = true, -- reaps what the shell leaves behind
}
