-- SPDX-License-Identifier: MIT

--- What limits let a caller do with a container: these are methods of it.
-- @module carton.control
local core = require("carton.core")
local methods = {}

local function fail(format, ...)
  core.misuse("container: " .. format:format(...))
end

-- Its cgroup, which it has while it runs with limits.
local function group_of(self, what)
  if not self.group then
    fail("%s: %s", what, self.status and "it has ended" or not self.process and "it was not started"
      or "it was started without limits")
  end
  return self.group
end

--- Tell what it uses and has used, while it runs or after its end.
-- @function container:stats
-- @treturn table as of `carton.cgroup`
-- @raise a string when it has no limits, and so no cgroup
function methods:stats()
  if not self.group and self.status and self.status.stats then
    return self.status.stats
  end
  return group_of(self, "stats"):stats()
end

--- Change limits while it runs, all of them or none.
-- @function container:update
-- @tparam table limits as of the field `limits`; `devices = false` lifts what was said of them
-- @tparam[opt] table raw as of the field `cgroup`
-- @raise `carton.error` that names file and value; nothing has changed then
-- @usage c:update{ memory = "1G", cpus = 2 }
function methods:update(limits, raw)
  local group, files = group_of(self, "update"), require("carton.limits")
  if limits ~= nil and type(limits) ~= "table" or raw ~= nil and type(raw) ~= "table" then
    fail("update: tables expected, as of the fields 'limits' and 'cgroup'")
  elseif limits and limits.manager ~= nil then
    fail("update: field 'manager': who made its group can't be changed")
  end
  local devices = type(limits) == "table" and limits.devices ~= nil and require("carton.devices")
  local list = files.files(limits, raw, devices and devices.nodes(self.fields))
  if devices and not limits.devices then
    list[#list + 1] = { file = "devices", value = devices.all }
  end
  group:update(list)
end

--- Stop all its processes, until `thaw`.
-- @function container:freeze
-- @raise `carton.error`: `EBUSY` one of them can't be stopped, as it waits for the answer of an `on_syscall` handler;
--   they go on then
function methods:freeze()
  local group = group_of(self, "freeze")
  local call = require("carton.wait").answering(self)
  if call then
    core.error { op = "cgroup", path = group:name(), code = "EBUSY",
      message = ("cannot be frozen while on_syscall answers %s of process %d"):format(call.name, call.pid) }
  end
  group:freeze()
end

--- Let them go on.
-- @function container:thaw
function methods:thaw()
  group_of(self, "thaw"):thaw()
end

return methods
