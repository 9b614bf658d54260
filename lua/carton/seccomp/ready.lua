-- SPDX-License-Identifier: MIT

--- The default profile as it was compiled when Carton was built, so that a launch loads no compiler of filters.
-- @module carton.seccomp.ready
local default_filter = require("carton.core").privilege.default_filter
local ready = {}

-- Capabilities that open something in the default profile.
local OPENERS <const> = { "BPF", "DAC_READ_SEARCH", "PERFMON", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE",
  "SYS_NICE", "SYS_PACCT", "SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG", "nestable" }

--- Tell which capabilities count in a profile, with what the default one's rules call `nestable`.
-- @tparam {string,...} capabilities with or without `CAP_`
-- @tparam[opt=false] boolean nestable
-- @treturn table a set of names without `CAP_`
function ready.counted(capabilities, nestable)
  local set = {}
  for _, name in ipairs(capabilities) do
    set[name:match("^CAP_(.*)$") or name] = true
  end
  set.nestable = (nestable or set.nestable) and not set.SYS_ADMIN -- which opens the same
  return set
end

--- Write down which of a profile's capabilities are in a set.
-- @tparam {string,...} openers
-- @tparam table set
-- @treturn string `"BPF,PERFMON"`
function ready.pick(openers, set)
  local names = {}
  for _, name in ipairs(openers) do
    if set[name] then
      names[#names + 1] = name
    end
  end
  return table.concat(names, ",")
end

--- Give the default profile's program for a container.
-- @tparam {string,...} capabilities of the container
-- @tparam[opt=false] boolean nestable as of `carton.seccomp.step`
-- @treturn ?string nil when none was compiled for these
function ready.program(capabilities, nestable)
  return default_filter(ready.pick(OPENERS, ready.counted(capabilities, nestable)))
end

return ready
