-- SPDX-License-Identifier: MIT

--- What a profile denies, or would deny, of a run.
-- @module carton.learn.replay
local core = require("carton.core")
local bpf = require("carton.seccomp.bpf")
local calls = require("carton.learn.calls")
local files = require("carton.learn.files")
local landlock_rules = require("carton.learn.rules")
local capability = require("carton.capability")
local replay = {}

local MOST <const> = 4096 -- findings

local methods = {}
local meta = { __name = "carton.learn.replay", __index = methods }

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do
    set[name] = true
  end
  return set
end

local function common(list, other)
  local names, set = {}, set_of(other)
  for _, name in ipairs(list) do
    names[#names + 1] = set[name] and name
  end
  return names
end

-- Give a container its profile, but no capability that it has not, and nothing in place of rules that it has; what it
-- has not any more is remembered.
local function enforce(c, made)
  local fields = c.fields
  local own, ambient = capability.resolve(fields.capabilities), capability.ambient(fields.capabilities)
  local kept = own
  if made.capabilities ~= nil then
    kept = common(own, capability.resolve(made.capabilities))
    fields.capabilities = { drop = "all", add = kept, ambient = common(ambient, capability.ambient(made.capabilities)) }
  end
  local set = set_of(kept)
  c.withheld = {}
  for _, name in ipairs(own) do
    c.withheld[name] = not set[name] or nil
  end
  fields.seccomp, fields.landlock = made.seccomp, made.landlock or fields.landlock
end

local function add(self, key, finding)
  local known = self.found[key]
  if not known and self.count < MOST then
    known = finding
    known.count = 0
    self.found[key], self.count = known, self.count + 1
  end
  if known then
    known.count = known.count + 1
  end
end

-- The filter of a profile, compiled once.
local function program_of(self, name)
  local made = self.profiles[name]
  if made and not self.programs[name] then
    self.programs[name] = { code = require("carton.seccomp").compile(made.seccomp,
      made.capabilities and made.capabilities.add or {}), known = {} }
  end
  return self.programs[name]
end

-- What a filter says of a call: true when it goes on. Remembered where no argument matters.
local function is_allowed(program, call)
  local key = call.audit << 32 | call.number
  if program.known[key] == nil then
    local value, _, looked = bpf.run(program.code, { number = call.number, arch = call.audit, args = call.args })
    local action = bpf.decode(value)
    local allowed = action == "allow" or action == "log" or action == "notify"
    if looked >= bpf.ARGUMENTS then
      return allowed
    end
    program.known[key] = allowed
  end
  return program.known[key]
end

-- Whether a profile denies a call because it was denied when it was learned.
local function is_expected(made, name, verdict)
  for _, rule in ipairs(made.seccomp.rules or {}) do
    if type(rule.action) == "table" and rule.action[2] == verdict then
      for _, other in ipairs(rule.names) do
        if other == name then
          return true
        end
      end
    end
  end
  return false
end

local function judge(self, name, call, verdict)
  local made, program = self.profiles[name], program_of(self, name)
  if not program then
    add(self, "container " .. name, { container = name, kind = "container" })
    return
  elseif self.enforces and verdict == "allow" or not self.enforces and verdict ~= "allow" then
    return
  elseif self.enforces and is_expected(made, call.name, verdict) or not self.enforces
    and is_allowed(program, call) then
    return
  end
  local pin = calls.pinned[call.name]
  local value = pin and call.args[pin.index + 1] & pin.mask
  add(self, ("call %s %s %s"):format(name, call.name, value), { container = name, kind = "call", call = call.name,
    argument = pin and pin.index + 1, value = value })
end

-- What is no profile is refused before anything runs.
local function check(self)
  for name, made in pairs(self.profiles) do
    capability.resolve(made.capabilities)
    program_of(self, name)
    if made.landlock ~= nil then
      core.validate { require("carton.landlock").step(made.landlock) }
    end
  end
end

--- Compare containers that are started from now on.
-- @tparam table profiles by name of the container
-- @tparam[opt] table options `enforce`
-- @treturn replay
-- @raise a string: what is wrong with a profile
function replay.new(profiles, options)
  local self = setmetatable({ profiles = profiles, enforces = options and options.enforce or false, programs = {},
    found = {}, count = 0 }, meta)
  check(self)
  self.recorder = require("carton.learn.recorder").new {
    every = true,
    judge = function(name, call, verdict)
      judge(self, name, call, verdict)
    end,
    prepare = self.enforces and function(c)
      local made = profiles[c.name or require("carton.learn.observation").UNNAMED]
      if not made then
        core.misuse(("learn: there is no profile for container '%s'"):format(c.name
          or require("carton.learn.observation").UNNAMED))
      end
      enforce(c, made)
    end or nil,
  }
  return self
end

--- Compare no further containers.
-- @function replay:stop
function methods:stop()
  self.recorder:stop()
end

meta.__close = methods.stop

-- Rights by path of what a field `landlock` says.
local function rights_by_path(wish)
  local rights = {}
  for _, rule in ipairs(require("carton.landlock").step(wish).rules or {}) do
    rights[rule.path] = rights[rule.path] or {}
    for _, right in ipairs(rule.access) do
      rights[rule.path][right] = true
    end
  end
  return rights
end

-- What of the paths that were seen rules do not allow. What the program makes is not what was there under that name.
local function compare_paths(name, seen, rights, list)
  local known = {}
  landlock_rules.each(seen.paths, function(path, right, where)
    if not landlock_rules.given(rights, files.unescape(where), known)[right] then
      local use = seen.paths[path][right]
      list[#list + 1] = { container = name, kind = "path", call = use.call, path = path, right = right,
        count = use.count }
    end
  end)
  for _, move in pairs(seen.moves) do
    local real = { kind = move.kind, from = files.unescape(move.from), to = files.unescape(move.to) }
    local source = files.unescape(landlock_rules.source(seen.paths, move))
    if #landlock_rules.gained(rights, real, source, known) > 0 then
      list[#list + 1] = { container = name, kind = "path", call = move.call, path = move.from, to = move.to,
        right = "refer", count = move.count }
    end
  end
end

-- What of an observation a profile does not hold.
local function compare(name, seen, made, list)
  if made.landlock then
    compare_paths(name, seen, rights_by_path(made.landlock), list)
  end
  for _, call in ipairs { "bind", "connect" } do
    local ports = made.landlock and made.landlock.tcp and made.landlock.tcp[call]
    local allowed = ports and set_of(ports)
    for port, known in pairs(allowed and seen[call] or {}) do
      if not allowed[port] then
        list[#list + 1] = { container = name, kind = "port", call = call, port = port, count = known.count }
      end
    end
  end
  local kept = made.capabilities and set_of(capability.resolve(made.capabilities))
  for capability_name, by_call in pairs(kept and seen.capabilities or {}) do
    for call, known in pairs(by_call) do
      if not kept[capability_name] then
        list[#list + 1] = { container = name, kind = "capability", capability = capability_name, call = call,
          count = known.count }
      end
    end
  end
end

local function text_of(finding)
  return ("%s\0%s\0%s\0%s\0%s\0%s\0%s"):format(finding.container, finding.kind, finding.call or "",
    finding.path or "", finding.to or "", finding.capability or finding.right or "",
    ("%020d"):format(finding.port or finding.value or 0))
end

--- Give what is, or would be, denied.
-- @function replay:findings
-- @treturn {table,...} as of `carton.learn.replay`, in a fixed order
function methods:findings()
  local list = {}
  for _, finding in pairs(self.found) do
    list[#list + 1] = finding
  end
  for name, seen in pairs(self.recorder.observations) do
    if self.profiles[name] then
      compare(name, seen, self.profiles[name], list)
    end
  end
  table.sort(list, function(a, b)
    return text_of(a) < text_of(b)
  end)
  return list
end

return replay
