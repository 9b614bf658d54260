-- SPDX-License-Identifier: MIT

--- What keeps a program to itself: no further user namespaces, the label of a security module.
-- @module carton.confine
local core = require("carton.core")
local capability = require("carton.capability")
local confine = {}

local function fail(format, ...)
  core.misuse("container: " .. format:format(...))
end

--- Refuse `no_userns` where it could not be kept.
-- Without a user namespace of its own the limit would be the host's; with CAP_SYS_RESOURCE in it the program could
-- raise the limit again.
-- @tparam table fields as of `carton.container`
-- @tparam table facts which namespaces are `new` and `joined`
-- @raise a string that says what to do
function confine.check_userns(fields, facts)
  if not (facts.new.user or facts.joined.user) then
    fail("field 'no_userns' needs a user namespace of its own, for the limit is one of it: idmap = \"auto\"")
  end
  for _, name in ipairs(capability.resolve(fields.capabilities)) do
    if name == "SYS_RESOURCE" then
      fail("field 'no_userns': with the capability SYS_RESOURCE a program raises the limit again; drop it")
    end
  end
end

--- Turn the field `label` into steps. The module decides when the init or the shield of the program is executed, and
-- the program itself follows from there: a policy has to let the label be entered from a file in memory.
-- @tparam table label `{ selinux = context }`, `{ apparmor = profile }`, or both
-- @treturn {step,...}
-- @raise a string that says what is wrong with it
function confine.labels(label)
  local steps = {}
  for module, text in pairs(label) do
    if (module ~= "selinux" and module ~= "apparmor") or type(text) ~= "string" then
      fail("field 'label': { selinux = context } or { apparmor = profile } expected")
    end
    steps[#steps + 1] = { "privilege.label", module = module, label = text }
  end
  if #steps == 0 then
    fail("field 'label' is empty")
  end
  table.sort(steps, function(a, b) return a.module < b.module end)
  return steps
end

return confine
