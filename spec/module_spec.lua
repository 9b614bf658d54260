-- SPDX-License-Identifier: MIT
-- `require "carton"` in plain Lua and in the program: the same table, the same containers.
local helper = require("spec.helper")

local DUMP <const> = [[
local carton = require "carton"
local lines = {}
local function add(prefix, value)
  for key, item in pairs(value) do
    lines[#lines + 1] = prefix .. tostring(key) .. " " .. type(item)
    if type(item) == "table" and prefix == "" then
      add(key .. ".", item)
    end
  end
end
for _, name in ipairs { "capability", "doctor", "hint", "idmap", "learn", "loop", "mount", "mounts", "namespace",
  "plan", "rootfs", "seccomp", "stdio", "terminal", "trace" } do
  assert(type(carton[name]) == "table", name) -- loaded when it is first used
end
add("", carton)
table.sort(lines)
print(table.concat(lines, "\n"))
]]

local function both(code, ...)
  local path = helper.write(helper.tmpdir() .. "/code.lua", code)
  local plain = helper.run { "lua5.4", path, ... }
  local program = helper.carton(path, ...)
  return plain, program
end

describe("require 'carton'", function()
  it("gives the same table in plain Lua and in the program", function()
    local plain, program = both(DUMP)
    assert.equal("", plain.stderr)
    assert.equal(program.stdout, plain.stdout)
    for _, name in ipairs { "container function", "steps function", "is_container function", "wait_any function",
      "try function", "check function", "error function", "version string", "mount.bind function",
      "rootfs.host function", "exec.spawn function" } do
      assert.is_truthy(("\n" .. plain.stdout):find("\n" .. name .. "\n", 1, true), name)
    end
  end)
  it("leaves no global behind", function()
    local plain, program = both [[
      local before = {}
      for key in pairs(_G) do before[key] = true end
      local carton = require "carton"
      carton.container { rootfs = carton.rootfs.host(), args = { "true" } }:compile()
      local _ = carton.loop, carton.doctor.check(), carton.trace, carton.terminal, carton.plan
      for key in pairs(_G) do assert(before[key], key) end
      for key in pairs(string) do assert(#key > 2 and not key:find("carton")) end
    ]]
    assert.equal("", plain.stderr .. program.stderr)
    assert.equal(0, plain.code + program.code)
  end)
  it("runs the same containers #userns", function()
    local plain, program = both([[
      local carton = require "carton"
      local c <close> = carton.container { rootfs = arg[1], args = { "sh", "-c", "echo $$ on $(hostname); exit 6" },
        hostname = "same", stdout = "capture" }
      local status = c:run()
      print(status.stdout, status.code, status.cause)
      os.exit(status.code, true)
    ]], helper.rootfs())
    assert.equal("1 on same\n\t6\texited\n", plain.stdout, plain.stderr)
    assert.equal(plain.stdout, program.stdout)
    assert.equal(6, plain.code)
    assert.equal(6, program.code)
  end)
  it("makes the same plan", function()
    local plain, program = both([[
      local carton = require "carton"
      io.write(carton.plan.text(carton.container { rootfs = carton.rootfs.host(), args = { "true" } }:compile()))
    ]])
    assert.matches("pivot_root", plain.stdout)
    assert.equal(plain.stdout, program.stdout)
  end)
  it("raises the same errors, which name the caller's line", function()
    local plain, program = both [[
      local carton = require "carton"
      local ok, err = pcall(carton.exec.chdir, { path = "/nonexistent" })
      print(ok, err, err.code, err.step, getmetatable(err).__name)
      print(pcall(function()
        carton.container { rootfs = "/", args = {} }
      end))
      print(carton.try(carton.namespace.open, 1 << 30, "net"))
      carton.container { rootfs = "/" }
    ]]
    assert.equal(program.stdout, plain.stdout)
    assert.matches("code.lua:5: container: field 'args'", plain.stdout)
    assert.matches("ENOENT\texec.chdir\tcarton.error", plain.stdout)
    assert.matches("code.lua:8: container: field 'args'", plain.stderr)
    assert.matches("code.lua:8: container: field 'args'", program.stderr)
  end)
  it("unloads without a trace", function()
    local before = helper.world()
    local plain = helper.run { "lua5.4", "-e", "local c = require 'carton'; local l = c.exec.pipe(); c = nil" }
    assert.equal("", plain.stderr)
    assert.equal(0, plain.code)
    assert.same(before, helper.world())
  end)
end)

teardown(helper.cleanup)
