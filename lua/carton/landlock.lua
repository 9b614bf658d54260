-- SPDX-License-Identifier: MIT

--- Landlock in words: groups of access rights, and the step that they become. It holds for what is opened from then on:
-- descriptors that are open already, standard input and output among them, are not held back, nor are programs that are
-- made in memory (memfd_create(2)).
-- @module carton.landlock
local core = require("carton.core")
local landlock = {}

local READ <const> = { "read_file", "read_dir" }
local CHANGE <const> = { "write_file", "truncate", "make_reg", "make_dir", "make_sym", "make_sock", "make_fifo",
  "remove_file", "remove_dir", "refer" }

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do
    table.move(list, 1, #list, #all + 1, all)
  end
  return all
end

--- What each word allows, for a path and all below it. Who may execute or write may also read; nobody may make device
-- nodes, which `rules` can say.
landlock.groups = {
  read = READ,
  execute = join({ "execute" }, READ),
  write = join(READ, CHANGE),
  device = { "read_file", "write_file", "ioctl_dev" },
}

local ORDER <const> = { "execute", "read", "write", "device" }
local known = { read = true, execute = true, write = true, device = true, rules = true, handled = true, tcp = true,
  scopes = true, optional = true }

local function fail(format, ...)
  core.misuse("container: field 'landlock': " .. format:format(...))
end

local function add_group(rules, name, paths)
  if type(paths) == "string" then
    paths = { paths }
  elseif type(paths) ~= "table" then
    fail("%s: a list of paths expected, got %s", name, type(paths))
  end
  local stray = require("carton.list").stray(paths)
  if stray ~= nil then
    fail("%s: a list of paths expected, got the key '%s'", name, tostring(stray))
  end
  for _, entry in ipairs(paths) do
    if type(entry) ~= "string" and type(entry) ~= "table" then
      fail("%s: a path expected, got %s", name, type(entry))
    end
  end
  for _, entry in ipairs(paths) do
    local rule = { access = landlock.groups[name], nofollow = true }
    for key, value in pairs(type(entry) == "table" and entry or { path = entry }) do
      if key ~= "path" and key ~= "optional" and key ~= "nofollow" then
        fail("%s: unknown field '%s' of a path", name, tostring(key))
      end
      rule[key] = value
    end
    rules[#rules + 1] = rule
  end
end

--- Turn wishes into a step.
-- @tparam table wish what is allowed; of what it has any word for, everything else is denied
-- @tparam[opt] {string,...} wish.read paths, or `{ path =, optional = true, nofollow = false }`: an optional one may be
--   missing; symbolic links are refused unless `nofollow` is false
-- @tparam[opt] {string,...} wish.execute likewise: programs, their loader and libraries
-- @tparam[opt] {string,...} wish.write likewise: files and directories that may be changed
-- @tparam[opt] {string,...} wish.device likewise: device nodes, or a directory of them
-- @tparam[opt] {table,...} wish.rules further ones in the words of `privilege.landlock`; also `handled`
-- @tparam[opt] table wish.tcp `{ bind = {ports}, connect = {ports}, optional = true }`
-- @tparam[opt] {string,...} wish.scopes `abstract_unix_socket`, `signal`, and `optional = true` beside them
-- @tparam[opt=false] boolean wish.optional do without the rights to files that the kernel lacks
-- @treturn step `privilege.landlock`
-- @raise a string that says what is wrong with it
-- @usage landlock.step{ execute = { "/usr" }, write = { "/tmp" }, tcp = { connect = { 443 } } }
function landlock.step(wish)
  if type(wish) ~= "table" then
    fail("a table expected, got %s", type(wish))
  end
  for key in pairs(wish) do
    if not known[key] then
      fail("unknown field '%s'", tostring(key))
    end
  end
  local step = { "privilege.landlock", handled = wish.handled, tcp = wish.tcp, scopes = wish.scopes,
    optional = wish.optional }
  for _, name in ipairs(ORDER) do
    if wish[name] ~= nil then
      step.rules = step.rules or {}
      add_group(step.rules, name, wish[name])
    end
  end
  if wish.rules ~= nil then
    if type(wish.rules) ~= "table" then
      fail("rules: a list expected, got %s", type(wish.rules))
    end
    local stray = require("carton.list").stray(wish.rules)
    if stray ~= nil then
      fail("rules: a list expected, got the key '%s'", tostring(stray))
    end
    step.rules = table.move(wish.rules, 1, #wish.rules, #(step.rules or {}) + 1, step.rules or {})
  end
  if not (step.handled or step.rules or step.tcp or step.scopes) then
    fail("it says nothing")
  end
  return step
end

-- Since when Linux has what.
local since = { "5.13", "5.19", "6.2", "6.7", "6.10", "6.12" }
local has = { "files", "refer", "truncate", "TCP ports", "ioctl_dev", "scopes" }

--- Tell what this kernel has of Landlock.
-- @treturn int version of its ABI, 0 without
-- @treturn {string,...} what it lacks, each with the version of Linux that has it
-- @treturn ?string why it has none: `ENOSYS`, `EOPNOTSUPP`
function landlock.abi()
  local abi, why = core.privilege.landlock_abi()
  local lacking = {}
  for i = abi + 1, #since do
    lacking[#lacking + 1] = ("%s (Linux %s)"):format(has[i], since[i])
  end
  return abi, lacking, why
end

return landlock
