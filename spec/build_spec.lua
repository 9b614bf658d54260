-- SPDX-License-Identifier: MIT
-- The Makefile with other linkers, options and places than the usual ones.
local helper = require("spec.helper")

local function make(...)
  return helper.run({ "make", "-s", ... }, { env = { MAKEFLAGS = "" }, timeout = 300 })
end

describe("the build", function()
  teardown(helper.cleanup)

  it("needs no symbol that only GNU ld defines, and takes an absolute BUILD", function()
    local build = helper.tmpdir() .. "/build"
    local made = make("-j2", "LDFLAGS=-Wl,--no-eh-frame-hdr", "CFLAGS=-O0", "BUILD=" .. build)
    assert.equal(0, made.code, made.stderr)
    local said = helper.run { build .. "/bin/carton", "-e", "print(math.sin(0))" }
    assert.equal("0.0\n", said.stdout, said.stderr)
    local env = make("env", "BUILD=" .. build)
    assert.truthy(env.stdout:find('PATH="' .. build .. "/bin:", 1, true), env.stdout)
  end)

  it("cleans before it builds, whatever -j says", function()
    local build = helper.tmpdir() .. "/build"
    local program = build .. "/bin/carton"
    for _ = 1, 2 do
      local made = make("-j2", "clean", "all", "CFLAGS=-O0", "BUILD=" .. build)
      assert.equal(0, made.code, made.stderr)
      assert.equal(0, helper.run({ program, "--version" }).code)
    end
  end)

  it("honours CPPFLAGS", function()
    local made = make("CPPFLAGS=-include /nonexistent.h", "BUILD=" .. helper.tmpdir() .. "/build")
    assert.truthy(made.stderr:find("/nonexistent.h", 1, true), made.stderr)
  end)

  it("refuses another machine in one line", function()
    local said = helper.run { "sh", "-c",
      "echo '#include \"sys.h\"' | cc -Isrc -U__x86_64__ -U__aarch64__ -D_GNU_SOURCE -fsyntax-only -x c - 2>&1" }
    assert.not_equal(0, said.code)
    assert.truthy(said.stdout:find("Carton supports x86_64 and aarch64 only", 1, true), said.stdout)
  end)

  it("names the version of Lua that it needs", function()
    local place = helper.tmpdir()
    local said = helper.run { "sh", "-c", ([[
      printf '#define LUA_VERSION_NUM 503\n' > %s/lua.h
      echo '#include "carton.h"' | cc -I%s -Iinclude -fsyntax-only -x c - 2>&1]]):format(place, place) }
    assert.truthy(said.stdout:find("Lua 5.4 needed", 1, true), said.stdout)
    if helper.run({ "sh", "-c", "command -v lua5.3" }).code ~= 0 then
      pending("lua5.3 is not installed")
      return
    end
    local made = make("LUA=lua5.3", "BUILD=" .. place .. "/build")
    assert.not_equal(0, made.code)
    assert.truthy(made.stderr:find("Lua 5.4 needed", 1, true), made.stderr)
    local required = helper.run({ "lua5.3", "-e", "require 'carton'" }, { env = { LUA_PATH = "lua/?/init.lua" } })
    assert.truthy(required.stderr:find("Lua 5.4 needed", 1, true), required.stderr)
  end)
end)
