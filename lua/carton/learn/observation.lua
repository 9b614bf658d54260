-- SPDX-License-Identifier: MIT

--- What was seen of a container: calls, paths, ports, capabilities; bounded, whatever a program does.
-- @module carton.learn.observation
local observation = {}

local PATHS <const> = 4096 -- of a container, and as many moves
local VALUES <const> = 64 -- of a pinned argument
local PORTS <const> = 1024
local MADE <const> = 64 -- names that are made in one directory

--- The name under which containers without one are recorded.
observation.UNNAMED = "container"

local methods = {}
local meta = { __name = "carton.learn.observation", __index = methods }

--- Begin with nothing seen.
-- @tparam[opt=4096] int limit paths that are kept; `math.huge`: all of everything, as merging has it
-- @treturn observation `calls` (by name: true, or the values of a pinned argument), `denied` (an errno by name),
--   `capabilities` and `paths` (sets of uses, each with `call` and `count`), `moves` (by key: `kind`, `from`, `to`),
--   `bind` and `connect` (ports), `ambient`, `starts`, `architectures`, `notes` (sets), `counts` (of calls by name),
--   `total`
function observation.new(limit)
  return setmetatable({ limit = limit or PATHS, calls = {}, denied = {}, capabilities = {}, ambient = {},
    paths = {}, moves = {}, bind = {}, connect = {}, starts = {}, architectures = {}, notes = {}, counts = {},
    refused = {}, made = {}, total = 0, path_count = 0, move_count = 0 }, meta)
end

local function count_of(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

--- Add a call that went on.
-- @function observation:add_call
-- @tparam string name
-- @tparam ?table pin as of `carton.learn.calls.pinned`
-- @tparam {int,...} args
function methods:add_call(name, pin, args)
  self.total = self.total + 1
  self.counts[name] = (self.counts[name] or 0) + 1
  if not pin then
    self.calls[name] = true
  else
    self:add_value(name, args[pin.index + 1] & pin.mask)
  end
end

--- Add a value of a pinned argument.
-- @function observation:add_value
-- @tparam string name
-- @tparam int value
function methods:add_value(name, value)
  local values = self.calls[name] or {}
  if values == true then
    return -- with any value
  end
  self.calls[name] = values
  if not values[value] then
    if self.limit ~= math.huge and count_of(values) >= VALUES then
      self:add_note("values")
      return
    end
    values[value] = true
  end
end

--- Add a call that went on and has no name.
-- @function observation:add_unnamed
function methods:add_unnamed()
  self.total = self.total + 1
  self:add_note("unnamed")
end

--- Add a call that the container's own profile denied.
-- @function observation:add_denied
-- @tparam string name
-- @tparam string errno its name
function methods:add_denied(name, errno)
  self.total = self.total + 1
  self.refused[name] = (self.refused[name] or 0) + 1
  self.denied[name] = self.denied[name] and self.denied[name] < errno and self.denied[name] or errno
end

local function add_use(uses, use, call, count)
  local known = uses[use]
  if not known then
    known = { call = call, count = 0 }
    uses[use] = known
  end
  known.count = known.count + (count or 1)
end

local function parent_of(path)
  local parent = path:match("^(.*)/[^/]*$")
  return parent == "" and "/" or parent
end

--- Give the name under which a path is recorded: itself, or `DIRECTORY/*` below a directory in which names are chance.
-- @function observation:name_of
-- @tparam string path as `carton.learn.files.escape` writes it
-- @treturn string
function methods:name_of(path)
  local directory, name = path, path
  while directory ~= "/" and not self.paths[path] do
    directory = parent_of(directory)
    if directory ~= "/" and (self.made[directory] or 0) >= MADE then
      name = directory .. "/*"
    end
  end
  return name
end

--- Add a use of a path.
-- @function observation:add_path
-- @tparam string path as `carton.learn.files.escape` writes it
-- @tparam string use as of `carton.learn.files`
-- @tparam string call its name
function methods:add_path(path, use, call)
  path = self:name_of(path)
  local uses = self.paths[path]
  if not uses then
    if self.path_count >= self.limit then
      self:add_note("paths")
      return
    end
    if use:find("^make_") and self.limit ~= math.huge then
      local parent = parent_of(path)
      self.made[parent] = (self.made[parent] or 0) + 1
    end
    uses = {}
    self.paths[path], self.path_count = uses, self.path_count + 1
  end
  add_use(uses, use, call)
end

--- Add a rename, or a link, from one directory to another.
-- @function observation:add_move
-- @tparam string kind of the file: `make_reg`, `make_dir`, ...
-- @tparam string from as `carton.learn.files.escape` writes it
-- @tparam string to likewise
-- @tparam string call its name
function methods:add_move(kind, from, to, call)
  from, to = self:name_of(from), self:name_of(to)
  local key = ("%s\0%s\0%s"):format(from, to, kind)
  if not self.moves[key] and self.move_count >= self.limit then
    self:add_note("paths")
    return
  end
  self.move_count = self.move_count + (self.moves[key] and 0 or 1)
  self.moves[key] = self.moves[key] or { kind = kind, from = from, to = to, call = call, count = 0 }
  self.moves[key].count = self.moves[key].count + 1
end

--- Tell whether a path was opened, as far as it is recorded.
-- @function observation:is_opened
-- @tparam string path as `carton.learn.files.escape` writes it
-- @treturn boolean
function methods:is_opened(path)
  local uses = self.paths[self:name_of(path)]
  return uses ~= nil and (uses.read_file or uses.write_file or uses.make_reg) ~= nil
end

--- Add a port of TCP.
-- @function observation:add_port
-- @tparam string call `bind` or `connect`
-- @tparam int port
function methods:add_port(call, port)
  if not self[call][port] and self.limit ~= math.huge and count_of(self[call]) >= PORTS then
    self:add_note("ports")
    return
  end
  add_use(self[call], port, call)
end

--- Add a capability.
-- @function observation:add_capability
-- @tparam string name
-- @tparam string call that took it
function methods:add_capability(name, call)
  self.capabilities[name] = self.capabilities[name] or {}
  add_use(self.capabilities[name], call, call)
end

--- Add an architecture that was called by.
-- @function observation:add_architecture
-- @tparam string name
function methods:add_architecture(name)
  self.architectures[name] = true
end

--- Add a way in which it is started: `program`, `init`, `privileges`, `threads`.
-- @function observation:add_start
-- @tparam string name
function methods:add_start(name)
  self.starts[name] = true
end

--- Add something that a reader has to know: `mounts`, `privileges`, `io_uring`, `hidden`, `unnamed`, `paths`,
--   `values`, `ports`, `bind`, `connect`.
-- @function observation:add_note
-- @tparam string name
function methods:add_note(name)
  self.notes[name] = true
end

local function merge_uses(into, from)
  for use, known in pairs(from) do
    add_use(into, use, known.call, known.count)
  end
end

--- Add all that was seen by another.
-- @function observation:merge
-- @tparam observation other
function methods:merge(other)
  for name, values in pairs(other.calls) do
    for value in pairs(type(values) == "table" and values or {}) do
      self:add_value(name, value)
    end
    self.calls[name] = values == true or self.calls[name] or {}
    self.counts[name] = (self.counts[name] or 0) + (other.counts[name] or 0)
  end
  for name, errno in pairs(other.denied) do
    self.denied[name] = self.denied[name] and self.denied[name] < errno and self.denied[name] or errno
  end
  for path, uses in pairs(other.paths) do
    for use, known in pairs(uses) do
      self:add_path(path, use, known.call)
    end
  end
  for _, move in pairs(other.moves) do
    self:add_move(move.kind, move.from, move.to, move.call)
  end
  for name, by_call in pairs(other.capabilities) do
    self.capabilities[name] = self.capabilities[name] or {}
    merge_uses(self.capabilities[name], by_call)
  end
  for _, name in ipairs { "bind", "connect" } do
    for port in pairs(other[name]) do
      self:add_port(name, port)
    end
  end
  for _, set in ipairs { "ambient", "starts", "architectures", "notes" } do
    for name in pairs(other[set]) do
      self[set][name] = true
    end
  end
  self.total = self.total + other.total
end

return observation
