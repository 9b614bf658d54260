-- SPDX-License-Identifier: MIT
-- Turns files into C at build time: `embed.lua modules [NAME=]FILE...` compiles the modules of lua/ ahead,
-- without lines and names; `embed.lua bytes NAME FILE` carries a file as it is; `embed.lua filters` compiles the
-- default seccomp profile of the modules in LUA_PATH. Written to standard output.
local function bytes(text)
  local lines = {}
  for i = 1, #text, 16 do
    lines[#lines + 1] = "\t" .. table.concat({ text:byte(i, math.min(i + 15, #text)) }, ",") .. ","
  end
  return table.concat(lines, "\n")
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function modules(paths)
  local rows = {}
  print('#include "modules.h"\n')
  for i, path in ipairs(paths) do
    local given, file = path:match("^([^=]+)=(.+)$")
    path = file or path
    local name = given or path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    local chunk = string.dump(assert(loadfile(path)), true)
    print(("static const unsigned char module_%d[] = {\n%s\n};\n"):format(i, bytes(chunk)))
    rows[i] = { name = name, text = ('\t{"%s", module_%d, %d},'):format(name, i, #chunk) }
  end
  table.sort(rows, function(a, b) return a.name < b.name end) -- as by strcmp(3): lua stays in the locale C
  print("const struct carton_module carton_modules[] = {")
  for _, row in ipairs(rows) do
    print(row.text)
  end
  print(("};\nconst unsigned long carton_module_count = %d;"):format(#rows))
end

--- For each architecture: with no capability that opens anything, with all of them, and for a nestable root.
local function filters()
  local profile, default = require("carton.seccomp.profile"), require("carton.seccomp.default")
  local errno = { EPERM = 1, ENOSYS = 38, EAFNOSUPPORT = 97 } -- the same on all of these architectures
  local names = {}
  for _, name in ipairs(profile.capabilities(default)) do
    names[#names + 1] = name ~= "nestable" and name or nil
  end
  print('#include "filters.h"\n\n#include <stddef.h>\n')
  for i, pair in ipairs { { "x86_64", "__x86_64__" }, { "aarch64", "__aarch64__" } } do
    print(("#%s defined(%s)"):format(i == 1 and "if" or "elif", pair[2]))
    local rows = {}
    for k, opened in ipairs { {}, { "nestable" }, names } do
      local set = {}
      for _, name in ipairs(opened) do
        set[name] = true
      end
      local program = profile.compile(default, { arch = pair[1], capabilities = set, errno = errno })
      print(("static const unsigned char filter_%d[] = {\n%s\n};"):format(k, bytes(program)))
      rows[k] = ('\t{"%s", filter_%d, %d},'):format(table.concat(opened, ","), k, #program)
    end
    print(("const struct carton_filter carton_default_filters[] = {\n%s\n\t{NULL, NULL, 0}};"):format(
      table.concat(rows, "\n")))
  end
  print("#else\nconst struct carton_filter carton_default_filters[] = {{NULL, NULL, 0}};\n#endif")
end

if arg[1] == "modules" then
  modules { table.unpack(arg, 2) }
elseif arg[1] == "filters" then
  filters()
else
  local data = read(arg[3])
  print(('#include "init_image.h"\n\nconst unsigned char carton_%s_image[] = {\n%s\n};'):format(
    arg[2], bytes(data)))
  print(("const unsigned long carton_%s_size = %d;"):format(arg[2], #data))
end
