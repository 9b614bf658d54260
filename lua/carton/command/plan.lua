-- SPDX-License-Identifier: MIT

--- `carton plan`: what a recipe, or `carton run` with the same arguments, would do.
-- @module carton.command.plan
local options = require("carton.command.options")
local plan = { summary = "print every step of a recipe, or of carton run, and do none of them",
  usage = "carton plan [--json | --instructions] [--diff OTHER.lua] RECIPE.lua [ARG...] | "
    .. "carton plan [OPTION...] ROOTFS COMMAND [ARG...]" }

plan.options = {
  { "--json", help = "print JSON" },
  { "--instructions", help = "print the device program (cgroup v2) instead of the steps" },
  { "--diff", arg = "RECIPE", help = "print the differences from the plan of RECIPE" },
}

local function all_options()
  local list = table.move(plan.options, 1, #plan.options, 1, {})
  for _, option in ipairs(require("carton.command.run").options) do
    list[#list + 1] = option
  end
  list.others = require("carton.command.run").options.others
  return list
end

-- The containers that a recipe starts or returns, also when it raises later because nothing has really run.
local function containers_of(operands)
  local command, container = require("carton.command"), require("carton.container")
  local list = {}
  local function add(c) -- as it is now: handles may be closed later
    list[#list + 1] = { name = c.name, compiled = c:compile() }
    return 0
  end
  container.planning = add
  local ok, err = pcall(command.recipe, operands[1], operands, add)
  container.planning = nil
  if not ok and #list == 0 then
    error(err, 0)
  elseif #list == 0 then
    error({ usage = true, message = operands[1] .. " makes no container" }, 0)
  end
  return list, not ok and err or nil
end

local function gather(values, operands)
  local command = require("carton.command")
  if command.is_recipe(operands[1]) then
    command.refuse(require("carton.command.run").options, values, {})
    return containers_of(operands)
  end
  local c = require("carton.command.run").container(values, operands)
  return { { name = c.name, compiled = c:compile() } }
end

function plan.run(argv)
  local values, operands = options.parse("plan", all_options(), argv)
  local writer = require("carton.plan")
  local list, err = gather(values, operands)
  if values.diff then
    local other = gather({}, { values.diff })
    local none = { compiled = { namespaces = {}, steps = {} } }
    for i = 1, math.max(#list, #other) do
      io.write(writer.diff_text((other[i] or none).compiled, (list[i] or none).compiled))
    end
    list = {}
  end
  for i, c in ipairs(list) do
    if values.json then
      io.write(writer.json(c.compiled))
    elseif values.instructions then
      io.write(writer.instructions(c.compiled))
    else
      if #list > 1 then
        io.write(i > 1 and "\n" or "", "container ", writer.quote(c.name or tostring(i)), "\n")
      end
      io.write(writer.text(c.compiled))
    end
  end
  if err then -- after what was planned until then
    error(err, 0)
  end
  return 0
end

return plan
