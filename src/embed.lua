-- SPDX-License-Identifier: MIT
-- Turns files into C at build time: `embed.lua modules [NAME=]FILE...` compiles the modules of lua/ ahead,
-- without lines and names; `embed.lua bytes NAME FILE` carries a file as it is. Written to standard output.
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
    rows[i] = ('\t{"%s", module_%d, %d},'):format(name, i, #chunk)
  end
  print(("const struct carton_module carton_modules[] = {\n%s\n\t{0, 0, 0}};"):format(
    table.concat(rows, "\n")))
end

if arg[1] == "modules" then
  modules { table.unpack(arg, 2) }
else
  local data = read(arg[3])
  print(('#include "init_image.h"\n\nconst unsigned char carton_%s_image[] = {\n%s\n};'):format(
    arg[2], bytes(data)))
  print(("const unsigned long carton_%s_size = %d;"):format(arg[2], #data))
end
