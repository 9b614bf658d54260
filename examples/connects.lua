#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: who connects to where: a log of a program's connections, which are let go on.
-- Needs: bash; runs as any user.
local carton = require "carton"

return carton.container {
  rootfs = carton.rootfs.host(),
  args = { "bash", "-c", [[
    (: < /dev/tcp/127.0.0.1/80) 2>/dev/null || echo "nobody listens there"
    : < /dev/udp/127.0.0.2/53
  ]] },
  on_syscall = {
    connect = function(call)
      local to = call:sockaddr(2, 3)
      if to.port then
        print(("to %s, port %d (%s)"):format(to.address, to.port, to.family))
      end
      -- A log, and no wall: what the kernel reads next may be another address already.
      return call:continue()
    end,
  },
}
