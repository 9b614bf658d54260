-- SPDX-License-Identifier: MIT
-- What is read from elsewhere, changed by chance: it is taken, or refused in words of ours, never in Lua's own.
local cjson = require("cjson")
local bpf = require("carton.seccomp.bpf")
local devices = require("carton.devices")
local json = require("carton.json")
local learn = require("carton.learn")
local limits = require("carton.limits")
local seccomp = require("carton.seccomp")
local helper = require("spec.helper")

local OTHERS <const> = { true, false, 0, -1, 1 << 62, 1.5, 0 / 0, 1 / 0, "", "x", "\0\27\255\n", "SYS_ADMIN", {},
  { {} }, { x = 1 }, { 1, "x" }, cjson.null, print }
local LUAS_OWN <const> = { "attempt to", "bad argument", "invalid value", "no integer representation", "stack overflow",
  "index is", "not enough memory", "table overflow", "stack index", "out of range", "too short", "is not a string" }

local function copy(value)
  local made = {}
  for key, item in pairs(type(value) == "table" and value or {}) do
    made[key] = copy(item)
  end
  return type(value) == "table" and made or value
end

local function any_key(value)
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys[#keys > 0 and math.random(#keys)]
end

-- Change something somewhere in a table.
local function mutate(value)
  local at = value
  while true do
    local key = any_key(at)
    if key ~= nil and type(at[key]) == "table" and math.random(4) > 1 then
      at = at[key]
    else
      local what = math.random(4)
      if what == 1 and key ~= nil then
        at[key] = nil
      elseif what == 2 then
        at[({ "other", 7, true, 1.5 })[math.random(4)]] = copy(OTHERS[math.random(#OTHERS)])
      else
        at[key or 1] = copy(OTHERS[math.random(#OTHERS)])
      end
      return value
    end
  end
end

local function change_bytes(text)
  for _ = 1, math.random(3) do
    local at, what = math.random(#text), math.random(3)
    text = text:sub(1, at - 1) .. (what == 1 and "" or string.char(math.random(0, 255)))
      .. text:sub(what == 3 and at or at + 1)
    text = math.random(10) == 1 and #text > 1 and text:sub(1, at) or text
    text = text == "" and "x" or text
  end
  return text
end

-- Call it; true when it succeeded. What it raises is about what it was given.
local function orderly(f, ...)
  local ok, err = pcall(f, ...)
  if not ok then
    local text = type(err) == "table" and err.usage and err.message or tostring(err)
    for _, words in ipairs(LUAS_OWN) do
      if text:find(words, 1, true) and not text:find("is not a learned profile", 1, true) then
        error("not in words of ours: " .. text, 0)
      end
    end
  end
  return ok
end

-- Some are taken, some are refused.
local function try(count, make, f)
  local taken = 0
  for _ = 1, count do
    taken = taken + (orderly(f, make()) and 1 or 0)
  end
  assert.is_true(taken > 0 and taken < count, taken)
end

describe("what is changed by chance", function()
  before_each(function()
    math.randomseed(20)
  end)

  it("is a profile of the OCI runtime specification, or refused", function()
    local profile = { defaultAction = "SCMP_ACT_ERRNO", defaultErrnoRet = 38, architectures = { "SCMP_ARCH_X86_64" },
      flags = { "SECCOMP_FILTER_FLAG_LOG" }, archMap = { { architecture = "SCMP_ARCH_X86_64",
        subArchitectures = { "SCMP_ARCH_X86" } } },
      syscalls = {
        { names = { "read", "write" }, action = "SCMP_ACT_ALLOW", comment = "why",
          includes = { arches = { "amd64" } } },
        { names = { "clone" }, action = "SCMP_ACT_ALLOW", excludes = { caps = { "CAP_SYS_ADMIN" }, minKernel = "4.8" },
          args = { { index = 0, value = 2114060288, valueTwo = 0, op = "SCMP_CMP_MASKED_EQ" } } },
        { name = "bpf", action = "SCMP_ACT_ERRNO", errnoRet = 1, errno = "EPERM", includes = { minKernel = "4.8" } },
      } }
    try(400, function() return mutate(copy(profile)) end, function(value)
      seccomp.compile(value, { "SYS_ADMIN" }, "x86_64")
    end)
    local whole, path = json.encode(profile), helper.tmpdir() .. "/profile.json"
    try(1000, function() return change_bytes(whole) end, function(text)
      seccomp.compile(helper.write(path, text), { "SYS_ADMIN" }, "x86_64")
    end)
  end)

  it("is JSON, or refused", function()
    local whole = '{"a": [1, -2.5e3, "\\u00e9\\ud83d\\ude00\\n", true, null, {}], "b": {"c": 18446744073709551608}}'
    whole = whole:gsub("null, ", "")
    try(2000, function() return change_bytes(whole) end, json.decode)
  end)

  it("is a profile of the project's own, or refused", function()
    local profile = { default = { "errno", "ENOSYS" }, newer = "allow", architectures = { "x86_64" }, flags = { "log" },
      rules = {
        { names = { "socket" }, action = { "errno", "EACCES" }, args = { { index = 0, op = "==", value = { 1, 2 },
          mask = 255 } }, caps = { "SYS_ADMIN" } },
        { names = { "read", "write" }, action = "allow", why = "x", without = { "BPF" }, min_kernel = "5.2" },
      } }
    try(400, function() return mutate(copy(profile)) end, function(value)
      seccomp.compile(value, { "SYS_ADMIN" }, "x86_64")
    end)
  end)

  it("is a learned profile, or refused, as a value and as a file", function()
    local profile = { seccomp = { default = { "errno", "ENOSYS" }, architectures = { "x86_64" }, rules = {
        { names = { "read", "write" }, action = "allow", why = "was called" },
        { names = { "socket" }, action = "allow", args = { { index = 0, mask = 0xffffffff, value = { 1, 2 } } } },
        { names = { "mount" }, action = { "errno", "EPERM" } } } },
      capabilities = { drop = "all", add = { "CHOWN" }, ambient = { "CHOWN" } },
      landlock = { read = { "/etc/passwd" }, rules = {}, tcp = { bind = { 80 }, connect = {} } },
      paths = { ["/etc/passwd"] = { "look", "read_file" }, ["/tmp/*"] = { "make_reg" } },
      starts = { "program" }, notes = { "paths" } }
    local whole = learn.text { container = profile }
    local path = helper.tmpdir() .. "/learned.lua"
    local function again(profiles)
      local written = learn.text(learn.merge(profiles))
      assert(load(written, "=written", "t", {}))
      json.encode(learn.oci(learn.merge(profiles)[next(profiles)]))
    end
    try(400, function() return mutate(copy(profile)) end, function(value)
      again { container = value }
    end)
    try(400, function() return change_bytes(whole) end, function(text)
      helper.write(path, text)
      again(learn.load(path))
    end)
  end)

  it("is a program, or refused", function()
    local program = seccomp.compile({ default = "allow", rules = { { names = { "socket" }, action = "errno",
      args = { { index = 0, value = 5 } } } } }, {}, "x86_64")
    try(2000, function() return change_bytes(program) end, function(text)
      bpf.text(text)
      bpf.summary(text)
      bpf.run(text, { number = 41, arch = 0xc000003e, args = { 5 } })
    end)
  end)

  it("is limits and devices, or refused", function()
    local wish = { memory = "512M", swap = 0, cpus = 1.5, cpu_burst = 0.1, cpu_weight = 100, cpuset = { 0, "2-3" },
      pids = 10, io = { ["8:0"] = { rbps = "1M", weight = 10 } }, hugetlb = { ["2MB"] = "64M" },
      devices = { { allow = true, type = "c", major = 1, minor = 3, access = "r" }, "c 10:229 rw", { allow = false } } }
    try(1500, function() return mutate(copy(wish)) end, limits.files)
    local rules = devices.text(wish.devices)
    try(1000, function() return change_bytes(rules) end, devices.parse)
  end)

  it("is JSON, whatever it was", function()
    for _ = 1, 1000 do
      local value = { "text", { a = 1, b = { true, 1.5 } }, [5] = "x", name = "\u{20ac}", { { {} } } }
      for _ = 1, 5 do
        mutate(value)
      end
      local text = json.encode(value)
      assert.is_nil(text:find("[%c]"))
      assert.is_truthy(utf8.len(text))
      assert.is_truthy(cjson.decode(text))
    end
  end)
end)
