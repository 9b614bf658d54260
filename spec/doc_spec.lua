-- SPDX-License-Identifier: MIT
-- Every public function is documented where it is written, with one line of what it does.
local posix = require("posix")
local core = require("carton.core")
local helper = require("spec.helper")

local sources = {}
for _, file in ipairs(posix.dir("src")) do
  if file:find("%.c$") then
    sources[#sources + 1] = helper.read("src/" .. file)
  end
end
sources = table.concat(sources, "\n")

--- Lua files below a directory.
local function files(directory, list)
  for _, name in ipairs(posix.dir(directory)) do
    local path = directory .. "/" .. name
    if name:sub(1, 1) ~= "." and posix.stat(path).type == "directory" then
      files(path, list)
    elseif name:find("%.lua$") and not name:find("^config") then
      list[#list + 1] = path
    end
  end
  return list
end

describe("the reference", function()
  for _, name in ipairs { "namespace", "mount", "exec", "privilege", "cgroup", "host" } do
    it("has every function of carton." .. name, function()
      local missing = {}
      for key, value in pairs(core[name]) do
        if type(value) == "function" and not sources:find("@function " .. key .. "\n", 1, true) then
          missing[#missing + 1] = key
        end
      end
      table.sort(missing)
      assert.equal("", table.concat(missing, " "))
    end)
  end
  it("has every method of the handles", function()
    local missing = {}
    for block in sources:gmatch("static const luaL_Reg methods%[%] = (%b{})") do
      for method in block:gmatch('{"([%l_]+)"') do
        if method ~= "close" and not sources:find("@function %l+:" .. method .. "\n") then
          missing[#missing + 1] = method
        end
      end
    end
    assert.equal("", table.concat(missing, " "))
  end)
  it("has every public function of the Lua modules", function()
    local missing = {}
    for _, path in ipairs(files("lua/carton", {})) do
      local text = helper.read(path)
      local module = text:match("\nreturn ([%l_%d]+)\n*$")
      local commented = ""
      for line in text:gmatch("([^\n]*)\n") do
        local name = line:match("^function ([%l_%d]+[.:][%l_%d]+)%(")
        if name and (name:find("^" .. (module or "?") .. "[.:]") or name:find("^methods:"))
          and not path:find("/command/") and not commented:find("^%-%-") then
          missing[#missing + 1] = path .. " " .. name
        end
        commented = line
      end
    end
    assert.equal("", table.concat(missing, "\n"))
  end)
  it("finds what a module says of itself apart from its licence", function()
    for _, path in ipairs(files("lua", {})) do
      assert.matches("^%-%- SPDX[^\n]+\n\n%-%-%- ", helper.read(path), nil, path)
    end
  end)
  it("begins each with a sentence", function()
    for comment in sources:gmatch("/%*%*%*\n(.-)%*/") do
      if comment:find("@function", 1, true) then
        assert.matches("^%u[^\n]+", comment)
      end
    end
  end)
end)
