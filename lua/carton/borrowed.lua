-- SPDX-License-Identifier: MIT

--- The root of `carton.rootfs.host`: the host's own /usr, and what programs there read from /etc.
-- @module carton.borrowed
local host = require("carton.core").host
local borrowed = {}

local PASSWD <const> = "root:x:0:0:root:/root:/bin/sh\n"
  .. "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
local GROUP <const> = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
local HOSTS <const> = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"
local NSSWITCH <const> = "passwd: files\ngroup: files\nhosts: files dns\n"

-- What programs of the host's /usr read from the host's /etc, as far as it is there.
local ETC <const> = {
  "alternatives", "ca-certificates", "ca-certificates.conf", "fonts", "ld.so.cache", "ld.so.conf",
  "ld.so.conf.d", "localtime", "pki", "protocols", "services", "ssl/certs", "ssl/openssl.cnf",
  "timezone",
}

local function add_usr(add)
  add { "mount.bind", source = "/usr", target = "/usr", recursive = true, options = { "ro", "nodev" } }
  for _, name in ipairs { "bin", "lib", "lib32", "lib64", "libx32", "sbin" } do
    local path = "/" .. name
    local link = host.readlink(path)
    if link then
      add { "mount.symlink", path = path, target = link }
    elseif host.stat(path) then
      add { "mount.bind", source = path, target = path, recursive = true, options = { "ro", "nodev" } }
    end
  end
end

local function add_etc(add, network)
  add { "mount.write", target = "/etc/passwd", content = PASSWD }
  add { "mount.write", target = "/etc/group", content = GROUP }
  add { "mount.write", target = "/etc/hosts", content = HOSTS }
  add { "mount.write", target = "/etc/nsswitch.conf", content = NSSWITCH }
  local names = table.move(ETC, 1, #ETC, 1, {})
  if network then
    names[#names + 1] = "resolv.conf"
  end
  for _, name in ipairs(names) do
    local path = "/etc/" .. name
    if host.stat(path) then
      add { "mount.bind", source = path, target = path, recursive = true, options = { "ro", "nosuid", "nodev" } }
    end
  end
end

--- Give the steps that make the root.
-- @tparam[opt=false] boolean network with the host's resolv.conf
-- @treturn {table,...} steps
function borrowed.steps(network)
  local steps = {}
  local function add(step)
    steps[#steps + 1] = step
  end
  add { "mount.tmpfs", target = "/", mode = "0755" }
  add_usr(add)
  add_etc(add, network)
  add { "mount.tmpfs", target = "/root", mode = "0700", options = { "nosuid", "nodev" } }
  add { "mount.tmpfs", target = "/tmp", mode = "1777", options = { "nosuid", "nodev" } }
  add { "mount.mkdir", target = "/run" }
  add { "mount.mkdir", target = "/var" }
  add { "mount.symlink", path = "/var/tmp", target = "../tmp" }
  add { "mount.symlink", path = "/var/run", target = "../run" }
  return steps
end

return borrowed
