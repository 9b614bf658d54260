-- SPDX-License-Identifier: MIT

--- Subordinate ids, and maps for a user namespace.
-- @module carton.idmap
local core = require("carton.core")
local host = core.host
local idmap = {}

local RANGE <const> = { container_id = true, host_id = true, size = true }
local LAST_ID <const> = 4294967294 -- (uid_t)-1 is not one
local SAID_MAX <const> = 4096 -- bytes that are kept of what newuidmap says

--- Seconds that newuidmap and newgidmap may take.
idmap.patience = 30

--- Read the subordinate ids granted to a user.
-- @tparam string path `/etc/subuid` or `/etc/subgid`
-- @tparam ?string user login name
-- @tparam int uid the same user by number, as the file may spell it
-- @treturn {range,...} `{ first = int, count = int }` in file order; empty when none is granted
-- @raise `carton.error`: `EACCES` not readable
-- @see subuid(5)
function idmap.subordinate(path, user, uid)
  local ranges = {}
  local file <close> = io.open(path)
  if not file then
    return ranges
  end
  for line in file:lines() do
    local owner, first, count = line:match("^([^:]+):(%d+):(%d+)%s*$")
    first, count = math.tointeger(tonumber(first)), math.tointeger(tonumber(count))
    if (owner == user or owner == tostring(uid)) and first and count and count > 0
      and first <= LAST_ID and count <= LAST_ID and first + count - 1 <= LAST_ID then
      ranges[#ranges + 1] = { first = first, count = count }
    end
  end
  return ranges
end

-- Put ranges one after the other, beginning at a container's id.
local function lay(map, ranges, from)
  for _, range in ipairs(ranges) do
    map[#map + 1] = { container_id = from, host_id = range.first, size = range.count }
    from = from + range.count
  end
  return map
end

-- Map the caller to one id and the subordinate ranges to all others from 0 on.
local function lay_around(own, id, ranges)
  local map, at = {}, 0
  for _, range in ipairs(ranges) do
    local first, count = range.first, range.count
    if at < id then
      local below = math.min(count, id - at)
      map[#map + 1] = { container_id = at, host_id = first, size = below }
      at, first, count = at + below, first + below, count - below
    end
    if at == id then
      at = at + 1
    end
    if count > 0 then
      map[#map + 1] = { container_id = at, host_id = first, size = count }
      at = at + count
    end
  end
  map[#map + 1] = { container_id = id, host_id = own, size = 1 }
  return map
end

local function helper(name)
  for _, directory in ipairs { "/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin" } do
    local path = directory .. "/" .. name
    if host.access(path, "x") then
      return path
    end
  end
end

--- What the caller has been granted, or why that can't be used.
-- @treturn ?table `{ uids = ranges, gids = ranges }`
-- @treturn ?string the file, program or line in the way
-- @treturn ?boolean whether some are granted all the same
function idmap.granted()
  local euid = host.euid()
  if not host.access("/etc/subuid", "r") then
    return nil, "/etc/subuid cannot be read"
  end
  local user = host.user_name()
  local uids = idmap.subordinate("/etc/subuid", user, euid)
  local gids = idmap.subordinate("/etc/subgid", user, euid)
  for file, ranges in pairs { ["/etc/subuid"] = uids, ["/etc/subgid"] = gids } do
    if #ranges == 0 then
      return nil, ("%s has no line for %s; add '%s:100000:65536'"):format(
        file, user or euid, user or euid), #uids + #gids > 0
    end
  end
  if euid ~= 0 then
    for _, name in ipairs { "newuidmap", "newgidmap" } do
      if not helper(name) then
        return nil, name .. " is not installed (package uidmap or shadow-utils)", true
      end
    end
  end
  return { uids = uids, gids = gids }
end

local function check_entries(name, entries)
  if type(entries) ~= "table" or #entries == 0 then
    core.misuse(("idmap: field '%s' is a list of { container_id =, host_id =, size = }"):format(name))
  end
  local function fail(i, format, ...)
    core.misuse(("idmap: field '%s': entry %s "):format(name, tostring(i)) .. format:format(...))
  end
  local stray = require("carton.list").stray(entries)
  if stray ~= nil then
    fail(stray, "is not in the list: its entries are numbered from 1, without a hole")
  end
  for i, entry in ipairs(entries) do
    for _, key in ipairs { "container_id", "host_id", "size" } do
      if type(entry) ~= "table" or math.type(entry[key]) ~= "integer" then
        fail(i, "has no integer '%s'", key)
      end
    end
    for key in pairs(entry) do
      if not RANGE[key] then
        fail(i, "has an unknown field '%s'", tostring(key))
      end
    end
    for _, key in ipairs { "container_id", "host_id" } do
      if entry.size < 1 or entry[key] < 0 or entry[key] > LAST_ID or entry.size > LAST_ID - entry[key] + 1 then
        fail(i, "ends beyond the ids from 0 to %d", LAST_ID)
      end
      for k = 1, i - 1 do
        if entry[key] < entries[k][key] + entries[k].size and entries[k][key] < entry[key] + entry.size then
          fail(i, "overlaps entry %d in '%s'", k, key)
        end
      end
    end
  end
  return entries
end

local function covers(entries, id)
  for _, entry in ipairs(entries) do
    if id >= entry.container_id and id < entry.container_id + entry.size then
      return true
    end
  end
  return false
end

-- Root that may write any map does so, as the process that writes its own may not set its groups afterwards, and would
-- keep the caller's: user_namespaces(7).
local function may_map()
  local set = {}
  for _, name in ipairs(host.euid() == 0 and core.privilege.get().effective or {}) do
    set[name] = true
  end
  return set.SETUID and set.SETGID and set.SETFCAP or false
end

local function single(container_uid, container_gid)
  return {
    uids = { { container_id = container_uid, host_id = host.euid(), size = 1 } },
    gids = { { container_id = container_gid, host_id = host.egid(), size = 1 } },
    single = not may_map(),
  }
end

--- Work out the maps of a container.
-- @tparam ?string|table wish `"auto"`: the caller is 0, granted ids follow; `"single"`: the caller is 0 and
--   there is no other; `"keep-id"`: the caller keeps its id, granted ids are the others;
--   or `{ uids = entries, gids = entries }`; nil: as `"auto"`, or `"single"` where what is granted cannot be used
-- @tparam[opt=false] boolean confined the caller is root that lacks capabilities: nil is `"single"` then
-- @treturn table `{ uids =, gids =, single = boolean, root = boolean, user = ?string }`; `single` maps can be
--   written by the process itself, `root` tells whether 0 is mapped, `user` who the payload is by default
-- @raise `carton.error` when ids are not granted; a string when the wish is none
-- @see user_namespaces(7)
function idmap.resolve(wish, confined)
  local euid, egid = host.euid(), host.egid()
  local is_asked, map = wish ~= nil, nil
  wish = wish or (confined and euid == 0 and "single") or "auto"
  if type(wish) == "table" then
    for key in pairs(wish) do
      if key ~= "uids" and key ~= "gids" then
        core.misuse(("idmap: unknown field '%s'"):format(tostring(key)))
      end
    end
    map = { uids = check_entries("uids", wish.uids), gids = check_entries("gids", wish.gids) }
    local uid, gid = map.uids[1], map.gids[1]
    map.single = euid ~= 0 and #map.uids == 1 and #map.gids == 1 and uid.size == 1
      and gid.size == 1 and uid.host_id == euid and gid.host_id == egid
  elseif wish == "single" then
    map = single(0, 0)
  elseif wish == "auto" or wish == "keep-id" then
    local granted, why, is_partly = idmap.granted()
    local keep = wish == "keep-id"
    if granted and euid == 0 then
      map = { uids = lay({}, granted.uids, 0), gids = lay({}, granted.gids, 0) }
    elseif granted then
      map = { uids = lay_around(euid, keep and euid or 0, granted.uids),
        gids = lay_around(egid, keep and egid or 0, granted.gids) }
    elseif euid == 0 or is_partly and is_asked then
      core.error { op = "idmap", path = wish, message = "no ids to map", hint = why }
    else
      map = keep and single(euid, egid) or single(0, 0)
    end
    map.user = keep and ("%d:%d"):format(euid, egid) or nil
  else
    core.misuse("idmap: \"auto\", \"single\", \"keep-id\" or a table expected")
  end
  map.root = covers(map.uids, 0) and covers(map.gids, 0)
  return map
end

local function arguments(program, pid, entries)
  local args = { program, tostring(pid) }
  for _, entry in ipairs(entries) do
    args[#args + 1] = ("%d"):format(entry.container_id)
    args[#args + 1] = ("%d"):format(entry.host_id)
    args[#args + 1] = ("%d"):format(entry.size)
  end
  return args
end

local function run_helper(name, file, pid, entries)
  local path = helper(name)
  if not path then
    core.error { op = name, path = file, code = "ENOENT", message = "is not installed",
      hint = "install the package uidmap (Debian) or shadow-utils" }
  end
  local reader <close>, writer = core.exec.pipe()
  local process <close> = core.exec.spawn {
    steps = {
      { "exec.descriptors", fds = { core.exec.null(), writer, writer } },
      { "exec.exec", args = arguments(path, pid, entries) },
    },
  }
  writer:close()
  local said, deadline = "", host.monotonic() + idmap.patience
  while #core.exec.poll({ { reader, "r" } }, math.max(0, deadline - host.monotonic())) > 0 do
    local text = reader:read()
    if not text then
      break
    end
    said = (said .. text):sub(1, SAID_MAX)
  end
  local status = process:wait(math.max(0, deadline - host.monotonic()))
  if not status then
    process:kill()
    process:wait(1)
    core.error { op = name, path = file, code = "ETIMEDOUT", message = ("did not finish within %g s"):format(
      idmap.patience) }
  elseif status.code ~= 0 then
    core.error { op = name, path = file, code = "EPERM", message = "ids were not mapped",
      text = (said:gsub("%s+$", "")),
      hint = ("see the lines of this user in %s"):format(file) }
  end
end

--- Write the maps of a child's new user namespace, directly or by newuidmap and newgidmap.
-- @tparam int pid the child
-- @tparam table map from `resolve`
-- @raise `carton.error`: `EPERM` with what newuidmap says
-- @see newuidmap(1), user_namespaces(7)
function idmap.write(pid, map)
  if host.euid() == 0 then
    core.namespace.idmap { pid = pid, uids = map.uids, gids = map.gids, setgroups = true }
    return
  end
  run_helper("newgidmap", "/etc/subgid", pid, map.gids)
  run_helper("newuidmap", "/etc/subuid", pid, map.uids)
end

return idmap
