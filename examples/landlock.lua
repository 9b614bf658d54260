#!/usr/bin/env carton
-- SPDX-License-Identifier: MIT
-- Shows: Landlock beside the other walls: a program that may execute what is in /usr, read one directory and write
-- another, connect to no port but 443, and signal nobody outside; with no keys of the caller's, and no way to make
-- further user namespaces.
-- Needs: Linux 5.13 with Landlock for files, 6.7 for ports, 6.12 for scopes; it says what is missing. Root or not.
local carton = require "carton"

local abi, lacking = carton.landlock.abi()
if abi == 0 then
  print("this kernel has no Landlock")
  return
end

local status = carton.container {
  name = "walled",
  rootfs = carton.steps(carton.rootfs.host(), {
    { "mount.mkdir", target = "/data" },
    { "mount.write", target = "/data/answer", content = "42\n" },
    { "mount.tmpfs", target = "/notes", options = { "nosuid", "nodev" } },
  }),
  args = { "sh", "-c", [[
    echo "the data can be read: $(cat /data/answer)"
    echo noted > /notes/1 && echo "notes can be written: $(cat /notes/1)"
    (echo 43 > /data/answer) 2>/dev/null || echo "the data can't be written"
    cp /usr/bin/true /notes/mine && /notes/mine 2>/dev/null || echo "nor can programs be brought along"
    unshare --user true 2>/dev/null || echo "there is no further user namespace"
  ]] },
  capabilities = "none",
  idmap = "single", -- no_userns takes a user namespace, which root has to ask for
  no_userns = true,
  keyring = "new", -- which is the default
  landlock = {
    execute = { "/usr" },
    read = { "/data" },
    write = { "/notes" },
    device = { "/dev/null" },
    tcp = { connect = { 443 }, bind = {}, optional = abi < 4 },
    scopes = { "signal", "abstract_unix_socket", optional = abi < 6 },
    optional = abi < 5, -- without it, a right that the kernel lacks is an error that says since when there is one
  },
}:run()

if #lacking > 0 then
  print("not enforced by this kernel: " .. table.concat(lacking, ", "))
end
return status
