-- SPDX-License-Identifier: MIT

--- Who makes a system call: its ids, capabilities and descriptors, as procfs tells them while it waits.
-- @module carton.learn.caller
local core = require("carton.core")
local host = core.host
local caller = {}

local methods = {}
local meta = { __name = "carton.learn.caller", __index = methods }

local bits

-- A capability's bit.
local function bit_of(name)
  if not bits then
    bits = {}
    for i, known in ipairs(core.privilege.capability_names()) do
      bits[known] = 1 << (i - 1)
    end
  end
  return bits[name] or 0
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a") or ""
end

local function map_of(text)
  local map = {}
  for inside, outside, size in text:gmatch("(%d+)%s+(%d+)%s+(%d+)") do
    map[#map + 1] = { inside = tonumber(inside), outside = tonumber(outside), size = tonumber(size) }
  end
  return map
end

-- Translate an id by a map; nil: it has none.
local function translate(map, id, from, to)
  for _, entry in ipairs(map) do
    if id >= entry[from] and id < entry[from] + entry.size then
      return entry[to] + id - entry[from]
    end
  end
end

-- The ids and sets of a status file: proc(5).
local function parse(text)
  local ids = {}
  for _, key in ipairs { "Uid", "Gid" } do
    local r, e, s, f = text:match("\n" .. key .. ":%s+(%d+)%s+(%d+)%s+(%d+)%s+(%d+)")
    ids[key] = { real = tonumber(r), effective = tonumber(e), saved = tonumber(s), fs = tonumber(f) }
  end
  ids.groups = {}
  for group in (text:match("\nGroups:([^\n]*)") or ""):gmatch("%d+") do
    ids.groups[tonumber(group)] = true
  end
  for _, key in ipairs { "CapInh", "CapPrm", "CapEff" } do
    ids[key] = tonumber(text:match("\n" .. key .. ":%s+(%x+)") or "0", 16)
  end
  ids.no_new_privs = text:find("\nNoNewPrivs:%s+1") ~= nil
  ids.number = text:match("\nNSpid:[^\n]-(%d+)\n") or text:match("\nTgid:%s+(%d+)")
  ids.size = (tonumber(text:match("\nVmSize:%s+(%d+)")) or 0) << 10
  return ids
end

--- Look at who makes a call; what is asked of it is read when it is asked.
-- @tparam call call of `carton.syscall.call`
-- @tparam table container what is known of its container: `userns`, `root`, `allowed`; filled in at first
-- @treturn caller
function caller.new(call, container)
  return setmetatable({ call = call, pid = call.pid, container = container }, meta)
end

--- Read a file of its procfs directory.
-- @function caller:file
-- @tparam string name
-- @treturn string empty when it can't be
function methods:file(name)
  return read(("/proc/%d/%s"):format(self.pid, name))
end

--- Tell where a link of its procfs directory leads.
-- @function caller:link
-- @tparam string name `cwd`, `root`, `exe`, `fd/3`
-- @treturn ?string
function methods:link(name)
  return (host.readlink(("/proc/%d/%s"):format(self.pid, name)))
end

--- Give its ids and sets.
-- @function caller:ids
-- @treturn table `Uid` and `Gid` with `real`, `effective`, `saved`, `fs`, as the recipe's user namespace has them;
--   `groups` (a set), `CapInh`, `CapPrm`, `CapEff` (bits), `no_new_privs`, `size` (bytes of memory),
--   `number` (its own, as it knows it)
function methods:ids()
  if not self.known then
    self.known = parse(self:file("status"))
  end
  return self.known
end

--- Translate an id that an argument says.
-- @function caller:outside
-- @tparam string kind `Uid` or `Gid`
-- @tparam int id as its user namespace has it
-- @treturn ?int as the recipe's has it; nil: it is not mapped
function methods:outside(kind, id)
  local name = kind == "Uid" and "uid_map" or "gid_map"
  self[name] = self[name] or map_of(self:file(name))
  return translate(self[name], id, "inside", "outside")
end

--- Tell whether a file's owner has an id in its user namespace: without, no capability helps.
-- @function caller:is_mapped
-- @tparam table stat with `uid` and `gid`
-- @treturn boolean
function methods:is_mapped(stat)
  self:outside("Uid", 0)
  self:outside("Gid", 0)
  return translate(self.uid_map, stat.uid, "outside", "inside") ~= nil
    and translate(self.gid_map, stat.gid, "outside", "inside") ~= nil
end

--- Tell whether it is of a group.
-- @function caller:is_member
-- @tparam int gid
-- @treturn boolean
function methods:is_member(gid)
  local ids = self:ids()
  return ids.Gid.fs == gid or ids.groups[gid] == true
end

-- Whether it is in the user namespace that its container has: what it may in one of its own, is not the container's.
local function is_home(self)
  local container, own = self.container, self:link("ns/user")
  container.userns = container.userns or own
  return own == container.userns
end

--- Tell whether it is in the user namespace that the first has, where all hardware belongs to.
-- @function caller:is_initial
-- @treturn boolean
function methods:is_initial()
  self:outside("Uid", 0)
  local first = self.uid_map[1]
  return first ~= nil and first.inside == 0 and first.outside == 0 and first.size == 0xffffffff
end

--- Tell whether it has a capability in its container; while a profile is enforced, whether it would have it without.
-- @function caller:has
-- @tparam string name
-- @treturn boolean
function methods:has(name)
  local ids = self:ids()
  if not ids.CapEff or not is_home(self) then
    return false
  elseif ids.CapEff & bit_of(name) ~= 0 then
    return true
  end
  return self.container.withheld ~= nil and self.container.withheld[name] == true
    and ids.Uid.effective == self:outside("Uid", 0)
end

--- Give the names of capabilities in a set of bits.
-- @tparam int set
-- @treturn {string,...}
function caller.names(set)
  local names = {}
  for _, name in ipairs(core.privilege.capability_names()) do
    if set & bit_of(name) ~= 0 then
      names[#names + 1] = name
    end
  end
  return names
end

return caller
