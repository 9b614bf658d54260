-- SPDX-License-Identifier: MIT
-- How LuaRocks builds the module.
rockspec_format = "3.0"
package = "carton"
version = "scm-1"
source = { url = "." }
description = {
  summary = "Lua-scriptable containers for Linux",
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
build = {
  type = "make",
  build_target = "build/lib/lua/5.4/carton/core.so",
  build_variables = { CFLAGS = "$(CFLAGS)", LUA = "$(LUA)" },
  install_target = "install-module",
  install_variables = { LUADIR = "$(LUADIR)", LIBDIR = "$(LIBDIR)" },
}
