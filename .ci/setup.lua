-- SPDX-License-Identifier: MIT
-- A pristine system as a machine of its own: `carton .ci/setup.lua ROOT COMMAND...`. All of root's powers, the
-- host's network, nothing masked, so that Carton can be built, installed and run in there once more.
local carton = require "carton"

local root = table.remove(arg, 1)
local env = { DEBIAN_FRONTEND = "noninteractive", LANG = "C.UTF-8" }
for _, name in ipairs { "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY" } do
  env[name] = os.getenv(name)
end

return carton.container {
  name = "fresh",
  rootfs = carton.rootfs.dir { path = root, nestable = true },
  args = arg,
  env = env,
  network = "host",
  capabilities = "all",
  no_new_privs = false,
  init = true,
  stdin = "null",
  timeout = 900,
}
