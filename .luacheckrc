-- SPDX-License-Identifier: MIT
-- What luacheck has to know.
std = "lua54"
max_line_length = 120
files["spec"] = { std = "+busted" }
files["lua/carton/command/init.lua"] = { globals = { "arg" } } -- which lua(1) sets, too
