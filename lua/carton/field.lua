-- SPDX-License-Identifier: MIT

--- What the fields of a container and of a further program may be, before anything is made of them.
-- @module carton.field
local core = require("carton.core")
local field = {}

-- What each field may be; the rest is checked where it is used.
local known = {
  name = "string", rootfs = "string table", args = "table", env = "table", cwd = "string",
  path = "string", user = "string number table", hostname = "string", domainname = "string",
  terminal = "boolean table", namespaces = "table", idmap = "string table", mounts = "table",
  devices = "table", capabilities = "table string", seccomp = "string boolean table", rlimits = "table",
  limits = "table", cgroup = "table", delegate = "boolean",
  network = "any", timeout = "number", on = "table", init = "boolean",
  readonly = "boolean", umask = "string", oom_score_adj = "number", scheduler = "table",
  ioprio = "table", affinity = "string table", personality = "string", sysctl = "table",
  time_offsets = "table", no_new_privs = "boolean", die_with_parent = "boolean",
  descriptors = "table", stdin = "any", stdout = "any", stderr = "any", trace = "boolean",
  keyring = "string", label = "table", landlock = "table", no_userns = "boolean", on_syscall = "table",
}

-- Those of a further program.
local exec_known = {}
for _, name in ipairs { "args", "env", "cwd", "path", "user", "terminal", "stdin", "stdout", "stderr",
  "capabilities", "seccomp", "rlimits", "umask", "timeout", "descriptors", "no_new_privs", "on", "trace",
  "keyring", "label", "landlock", "on_syscall" } do
  exec_known[name] = known[name]
end

-- What can only be done in a new namespace.
local own = {
  { "rootfs", "mnt" }, { "mounts", "mnt" }, { "devices", "mnt" }, { "readonly", "mnt" },
  { "idmap", "user" }, { "hostname", "uts" }, { "domainname", "uts" }, { "time_offsets", "time" },
}

-- What a layout says of itself, beside its steps.
local layout_known = { readonly = "boolean", nestable = "boolean", idmap = "string table" }

local function fail(format, ...)
  core.misuse("container: " .. format:format(...))
end

-- A misspelt `readonly` would leave the root writable.
local function check_layout(layout)
  local stray = require("carton.list").stray(layout, layout_known)
  if math.type(stray) == "integer" then
    fail("field 'rootfs': the list has a hole before item %d", stray)
  elseif stray ~= nil then
    fail("field 'rootfs': unknown name '%s'%s", tostring(stray), require("carton.hint").meant(stray, layout_known))
  end
  for name, types in pairs(layout_known) do
    if layout[name] ~= nil and not types:find(type(layout[name]), 1, true) then
      fail("field 'rootfs': %s: %s expected, got %s", name, types:gsub(" ", " or "), type(layout[name]))
    end
  end
end

-- What is no list, or has a hole, would be left out from there on.
local function check_lists(fields)
  for _, name in ipairs { "args", "mounts", "devices" } do
    local list, count = fields[name] or {}, 0
    for i in ipairs(list) do
      count = i
    end
    for key in pairs(list) do
      if math.type(key) ~= "integer" then
        fail("field '%s': a list expected, got the key '%s'", name, tostring(key))
      elseif key > count then -- below 1 is the script's name, in `arg`
        fail("field '%s': item %d is there, but item %d is nil", name, key, count + 1)
      end
    end
  end
end

local function check_args(fields)
  if type(fields.args) ~= "table" or #fields.args == 0 then
    fail("field 'args': a list of at least one string expected")
  end
  for i, value in ipairs(fields.args) do
    if type(value) ~= "string" then
      fail("field 'args': item %d: string expected, got %s", i, type(value))
    end
  end
end

local function check_env(fields)
  for name, value in pairs(fields.env or {}) do
    if value ~= false and type(value) ~= "string" then
      fail("field 'env.%s': string expected, got %s", tostring(name), type(value))
    end
  end
end

local function check_kinds(fields, is_container)
  local kinds = { cgroup = 1, ipc = 1, mnt = 1, net = 1, pid = 1, time = 1, user = 1, uts = 1 }
  for kind, value in pairs(fields.namespaces or {}) do
    if not kinds[kind] then
      fail("field 'namespaces': unknown kind '%s' (cgroup, ipc, mnt, net, pid, time, user, uts)", tostring(kind))
    elseif not value or type(value) == "number"
      or (type(value) == "string" and value ~= "new" and value ~= "host" and not value:find("/", 1, true))
      or (type(value) == "table" and not is_container(value)) then
      fail("field 'namespaces.%s': true, \"host\", a handle, a path or a container expected", kind)
    elseif type(value) == "userdata" then -- one of another kind would be entered, and the host's of this kind kept
      local ok, found = pcall(function() return value:kind() end)
      if not ok or found ~= kind then
        fail("field 'namespaces.%s': an open %s namespace expected, got %s", kind, kind, ok and "one of kind " .. found
          or tostring(value))
      end
    end
  end
end

local function is_new(fields, kind)
  local value = fields.namespaces and fields.namespaces[kind]
  return value == nil or value == true or value == "new"
end

-- What belongs to a namespace is never done to the host, and never left out.
local function check_own(fields)
  for _, pair in ipairs(own) do
    local name, kind = pair[1], pair[2]
    local value = fields[name]
    if value and not (type(value) == "table" and next(value) == nil) and not is_new(fields, kind) then
      fail("field '%s' needs a new %s namespace", name, kind)
    end
  end
  local net = fields.namespaces and fields.namespaces.net
  if net ~= nil and fields.network and ((net == "host") ~= (fields.network == "host")
    or fields.network == "none" and not is_new(fields, "net")) then
    fail("field 'network' says something else than 'namespaces.net'")
  end
  for name in pairs(fields.sysctl or {}) do
    local kind = tostring(name):find("^net[./]") and "net" or "ipc"
    if (fields.namespaces and fields.namespaces[kind] == "host")
      or (kind == "net" and fields.network == "host") then
      fail("field 'sysctl': %s would be the host's, whose %s namespace is shared", tostring(name), kind)
    end
  end
end

local function check_hooks(on, known_hooks)
  for name, hook in pairs(on or {}) do
    local exists = (" %s "):format(known_hooks):find((" %s "):format(name), 1, true)
    if not exists or type(hook) ~= "function" then
      fail("field 'on.%s': %s", tostring(name), exists and "function expected"
        or ("no such hook (%s)"):format(known_hooks))
    end
  end
end

-- What a container and a further program in it have in common.
local function check_fields(fields, allowed, known_hooks, what)
  for key, value in pairs(fields) do
    local types = allowed[key]
    if not types then
      fail("%sunknown field '%s'%s", what, tostring(key), require("carton.hint").meant(key, allowed))
    elseif types ~= "any" and not types:find(type(value), 1, true) then
      fail("%sfield '%s': %s expected, got %s", what, key, types:gsub(" ", " or "), type(value))
    end
  end
  check_lists(fields)
  check_args(fields)
  check_env(fields)
  check_hooks(fields.on, known_hooks)
  if fields.on_syscall then
    require("carton.syscall").check(fields.on_syscall)
  end
  if fields.keyring and fields.keyring ~= "new" and fields.keyring ~= "inherit" then
    fail("field 'keyring': \"new\" or \"inherit\" expected")
  end
  local timeout = fields.timeout
  if timeout and not (timeout > 0 and timeout < math.huge) then
    fail("field 'timeout': a number of seconds above 0 expected")
  end
  for name in pairs(fields.descriptors or {}) do
    if type(name) ~= "string" or not name:find("^[^%c:]+$") then
      fail("field 'descriptors': a name without colons expected, got '%s'", tostring(name))
    end
  end
  for key in pairs(type(fields.terminal) == "table" and fields.terminal or {}) do
    if key ~= "rows" and key ~= "columns" then
      fail("field 'terminal': unknown field '%s'", tostring(key))
    end
  end
  for _, name in ipairs(fields.terminal and { "stdin", "stdout", "stderr" } or {}) do
    if fields[name] ~= nil then
      fail("field '%s': it is the terminal already", name)
    end
  end
end

--- Check what describes a container.
-- @tparam table fields as of `carton.container`
-- @tparam function is_container
-- @raise a string that says what is wrong
function field.check(fields, is_container)
  check_fields(fields, known, "created started exited", "")
  check_kinds(fields, is_container)
  if fields.network and fields.network ~= "none" and fields.network ~= "host" then
    fail("field 'network': \"none\" or \"host\" expected; more is not supported yet")
  elseif fields.rootfs == nil and is_new(fields, "mnt") then
    fail("field 'rootfs' is missing")
  elseif type(fields.rootfs) == "table" and type(fields.rootfs[1]) ~= "table" then
    fail("field 'rootfs': a path or a list of steps expected")
  elseif type(fields.rootfs) == "table" then
    check_layout(fields.rootfs)
  end
  for key in pairs(fields.time_offsets or {}) do
    if key ~= "monotonic" and key ~= "boottime" then
      fail("field 'time_offsets': unknown field '%s'", tostring(key))
    end
  end
  check_own(fields)
end

--- Check what describes a further program in a container.
-- @tparam table fields as of `container:exec`
-- @raise a string that says what is wrong
function field.check_exec(fields)
  check_fields(fields, exec_known, "started exited", "exec: ")
end

return field
