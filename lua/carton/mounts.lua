-- SPDX-License-Identifier: MIT

--- Mounts as people write them, turned into steps.
-- @module carton.mounts
local core = require("carton.core")
local mounts = {}

-- File systems that have a primitive of their own, and the parameters that are fields of it.
local own = {
  tmpfs = { size = "size", mode = "mode", nr_inodes = "inodes", inodes = "inodes" },
  proc = { subset = "subset", hidepid = "hidepid", gid = "gid" },
  sysfs = {},
  devpts = { mode = "mode", ptmxmode = "ptmxmode", gid = "gid", max = "max", newinstance = false },
  mqueue = {},
}

local function fail(format, ...)
  core.misuse("mounts: " .. format:format(...))
end

--- An absolute path of the caller's own view.
-- @tparam string path
-- @treturn string
-- @raise `carton.error`: `ENOENT`
function mounts.absolute(path)
  if path:sub(1, 1) == "/" then
    return path
  end
  local real, _, errno = core.host.realpath(path)
  if not real then
    core.error { op = "mount", path = path, errno = errno, code = core.errno[errno],
      hint = "a relative path is looked up in " .. (core.host.realpath(".") or "the working directory") }
  end
  return real
end

-- The parts between colons; the last one as a list.
local function split(text, most, form)
  local parts = { "" }
  local escaped = false
  for c in text:gmatch(".") do
    if escaped then
      parts[#parts], escaped = parts[#parts] .. c, false
    elseif c == "\\" then
      escaped = true
    elseif c == ":" then
      parts[#parts + 1] = ""
    else
      parts[#parts] = parts[#parts] .. c
    end
  end
  if escaped then
    fail("'%s' ends with a backslash", text)
  end
  local options = {}
  for option in (parts[most] or ""):gmatch("[^,]+") do
    options[#options + 1] = option
  end
  for i = 1, math.max(#parts, most) do
    if i > most or i < most and parts[i] == "" then
      fail("'%s' is not %s", text, form)
    end
  end
  return options, table.unpack(parts, 1, most - 1)
end

-- "/src:/dst,ro" would mount it at a directory of that name, and writable.
local function check_commas(text, target)
  for word in target:gmatch(",(%l+)") do
    if core.mount.kind_of(word) or word == "size" or word == "mode" then
      fail("'%s': options follow a colon, as in '%s:%s'; a comma in a path is written \\,", text,
        target:match("^[^,]*"), word)
    end
  end
end

--- Read `"/src:/dst:ro,nosuid"`; a colon or backslash in a path is written `\:` or `\\`. A single path is bound in
-- the same place inside.
-- @tparam string text
-- @treturn table `{ source =, target =, options = {} }`
-- @raise a string that says what is wrong with it
function mounts.parse(text)
  if text:find("^type=%l+,") then -- as docker's --mount has it
    fail("'%s' is not SOURCE:TARGET[:OPTIONS]", text)
  end
  local options, source, target = split(text, 3, "SOURCE:TARGET[:OPTIONS]")
  check_commas(text, text:gsub("\\.", ""):match("^[^:]*:([^:]*)") or "")
  return { source = source, target = target or source, options = options }
end

--- Read `"/tmp:size=64m,mode=1777"`, a file system in memory; it has nosuid and nodev unless `suid` or `dev` is said.
-- @tparam string text
-- @treturn table `{ type = "tmpfs", target =, options = {} }`
-- @raise a string that says what is wrong with it
function mounts.parse_tmpfs(text)
  local options, target = split(text, 2, "TARGET[:OPTIONS]")
  check_commas(text, text:gsub("\\.", ""):match("^[^:]*"))
  local said = {}
  for _, option in ipairs(options) do
    said[option] = true
  end
  for _, word in ipairs { "suid", "dev" } do
    if not said[word] and not said["no" .. word] then
      options[#options + 1] = "no" .. word
    end
  end
  return { type = "tmpfs", target = target, options = options }
end

local function check_list(list, name)
  local stray = require("carton.list").stray(list)
  for i, item in ipairs(list) do
    stray = stray or type(item) ~= "string" and i or nil
  end
  if stray ~= nil then
    fail("field '%s': a list of strings expected, got %s at '%s'", name, type(list[stray]), tostring(stray))
  end
end

-- Sort options into what the primitives call them.
local function sort_options(options)
  local sorted = { options = {}, data = {} }
  local function keep(place, key, value)
    if place[key] ~= nil and place[key] ~= value then
      fail("options '%s' and '%s' contradict each other", place[key] == true and key or place[key], value)
    end
    place[key] = value
  end
  check_list(options or {}, "options")
  for _, option in ipairs(options or {}) do
    local key, value = option:match("^([^=]+)=(.*)$")
    local kind = core.mount.kind_of(option)
    if kind == "attribute" then
      sorted.options[#sorted.options + 1] = option
    elseif kind == "propagation" then
      keep(sorted, "propagation", option)
    elseif option == "bind" or option == "rbind" then
      keep(sorted, "bind", option)
    elseif option == "optional" or option == "nofollow" then
      sorted[option] = true
    elseif option ~= "defaults" then
      key = key or option
      if sorted.data[key] ~= nil then
        fail("option '%s' is given twice", key)
      end
      sorted.data[key] = value or true
    end
  end
  return sorted
end

-- What each kind of mount may be told; the options that are words for a field likewise.
local known = {
  bind = { type = 1, source = 1, target = 1, options = 1, idmap = 1, tree = 1, optional = 1, create = 1,
    nofollow = 1, propagation = 1 },
  overlay = { type = 1, source = 1, target = 1, options = 1, create = 1, lower = 1, upper = 1, work = 1,
    temporary = 1, size = 1 },
  filesystem = { type = 1, source = 1, target = 1, options = 1, data = 1, create = 1, nofollow = 1 },
}
local every = {}
for _, set in pairs(known) do
  for key in pairs(set) do
    every[key] = true
  end
end
every.propagation = nil

local function check(mount, sorted, kind)
  for key in pairs(mount) do
    if not known[kind][key] or key == "propagation" then
      fail("field '%s' does not apply to %s on %s", tostring(key), mount.type or "bind", mount.target)
    end
  end
  for _, key in ipairs { "propagation", "optional", "nofollow" } do
    if sorted[key] and not known[kind][key] then
      fail("option '%s' does not apply to %s on %s", key == "propagation" and sorted[key] or key, mount.type,
        mount.target)
    end
  end
end

-- Device nodes in a directory of the host cannot be opened unless it is in /dev, or "dev" is given.
local function without_devices(options, source)
  local is_dev = source == "/dev" or source and source:find("^/dev/") and not (source .. "/"):find("/../", 1, true)
  local said = source == nil or is_dev
  for _, option in ipairs(options) do
    said = said or option == "dev" or option == "nodev"
  end
  if not said then
    options[#options + 1] = "nodev"
  end
  return #options > 0 and options or nil
end

-- A slave has what the host gives it, now as later: "dev" agrees to that, and clears nothing. In a user namespace what
-- the host mounted with nodev could not be cleared.
local function without_dev(options)
  local rest = {}
  for _, option in ipairs(options) do
    rest[#rest + 1] = option ~= "dev" and option or nil
  end
  return #rest > 0 and rest or nil
end

local function bind_step(mount, sorted)
  check(mount, sorted, "bind")
  if next(sorted.data) then
    local name = next(sorted.data)
    fail("unknown option '%s' of a bind mount%s", name, (name == "z" or name == "Z" or name == "U")
      and "; labels and owners of the host's files are left alone" or "")
  end
  local source = mount.source and mounts.absolute(mount.source)
  local options = without_devices(sorted.options, source)
  if options and (sorted.propagation == "slave" or sorted.propagation == "rslave") then
    options = without_dev(options)
  end
  return {
    "mount.bind",
    source = source,
    tree = mount.tree,
    target = mount.target,
    recursive = sorted.bind ~= "bind",
    optional = mount.optional or sorted.optional,
    nofollow = mount.nofollow or sorted.nofollow,
    create = mount.create,
    idmap = mount.idmap,
    options = options,
    propagation = sorted.propagation,
  }
end

local function overlay_step(mount, sorted)
  check(mount, sorted, "overlay")
  local lower = type(mount.lower) == "table" and {} or mount.lower
  check_list(type(mount.lower) == "table" and mount.lower or {}, "lower")
  for i, path in ipairs(type(mount.lower) == "table" and mount.lower or {}) do
    lower[i] = mounts.absolute(path)
  end
  return { "mount.overlay", lower = lower, upper = mount.upper and mounts.absolute(mount.upper),
    work = mount.work and mounts.absolute(mount.work), temporary = mount.temporary, size = mount.size,
    target = mount.target, create = mount.create, data = next(sorted.data) and sorted.data or nil,
    options = without_devices(sorted.options, "overlay") }
end

local function filesystem_step(mount, sorted)
  check(mount, sorted, "filesystem")
  local fields = own[mount.type]
  local step = { "mount." .. (fields and mount.type or "filesystem"), target = mount.target,
    create = mount.create, nofollow = sorted.nofollow or mount.nofollow,
    options = #sorted.options > 0 and sorted.options or nil }
  for key, value in pairs(mount.data or {}) do
    if sorted.data[key] ~= nil then
      fail("'%s' of %s on %s is in 'data' and in 'options'", tostring(key), mount.type, mount.target)
    end
    sorted.data[key] = value
  end
  if not fields then
    step.type, step.source = mount.type, mount.source
    step.data = next(sorted.data) and sorted.data or nil
    return step
  end
  for key, value in pairs(sorted.data) do
    if fields[key] == nil then
      fail("unknown option '%s' of %s on %s", key, mount.type, mount.target)
    elseif fields[key] and step[fields[key]] ~= nil then
      fail("'%s' of %s on %s is given twice", fields[key], mount.type, mount.target)
    elseif fields[key] then
      step[fields[key]] = value
    end
  end
  return step
end

--- Turn one entry of `mounts` into a step.
-- Binds and overlays are nodev unless the source is in /dev or the option `dev` is given. A bind with the option
-- `rslave` also shows what the host mounts below its source later. Such mounts keep the host's options, so `rslave`
-- needs `dev`, and excludes `ro` and the like.
-- @tparam string|table mount `"/src:/dst:ro"`; `{ type =, source =, target =, options = {} }`
--   (type is `bind` when only a source is given); or a step, which stays as it is
-- @treturn table a step
-- @raise a string that says what is wrong with it
function mounts.step(mount)
  if type(mount) == "string" then
    mount = mounts.parse(mount)
  elseif type(mount) ~= "table" then
    fail("string or table expected, got %s", type(mount))
  elseif type(mount[1]) == "string" then
    return mount
  end
  for key in pairs(mount) do
    if not every[key] then
      fail("unknown field '%s'%s", tostring(key), require("carton.hint").meant(key, every))
    end
  end
  if type(mount.target) ~= "string" then
    fail("field 'target': string expected, got %s", type(mount.target))
  elseif mount.target == "" then
    fail("field 'target' is empty; / is the root itself")
  end
  if mount.options ~= nil and type(mount.options) ~= "table" then
    fail("field 'options': list expected, got %s", type(mount.options))
  end
  local sorted = sort_options(mount.options)
  if mount.type == "overlay" and mount.lower then
    return overlay_step(mount, sorted)
  elseif mount.type == nil or mount.type == "bind" or mount.type == "none" or sorted.bind then
    if not mount.source and not mount.tree then
      fail("a bind mount on %s has no source", mount.target)
    end
    return bind_step(mount, sorted)
  end
  return filesystem_step(mount, sorted)
end

return mounts
