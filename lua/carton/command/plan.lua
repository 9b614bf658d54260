-- SPDX-License-Identifier: MIT
--- `carton plan`: what a recipe, or `carton run` with the same arguments, would do.
-- @module carton.command.plan
local options = require("carton.command.options")
local plan = { summary = "print every step of a recipe, or of carton run, and do none of them",
  usage = "carton plan [--json] [--diff OTHER.lua] RECIPE.lua [ARG...] | "
    .. "carton plan [OPTION...] ROOTFS COMMAND [ARG...]" }

plan.options = {
  { "--json", help = "as JSON" },
  { "--diff", arg = "RECIPE", help = "print what is different from that other recipe's plan" },
}

local function all_options()
  local list = table.move(plan.options, 1, #plan.options, 1, {})
  for _, option in ipairs(require("carton.command.run").options) do
    list[#list + 1] = option
  end
  return list
end

--- The containers that a recipe starts or returns.
local function containers_of(operands)
  local command, container = require("carton.command"), require("carton.container")
  local list = {}
  container.planning = function(c)
    list[#list + 1] = c
  end
  command.recipe(operands[1], operands, function(c)
    list[#list + 1] = c
    return 0
  end)
  container.planning = nil
  if #list == 0 then
    error({ usage = true, message = operands[1] .. " makes no container" }, 0)
  end
  return list
end

local function gather(values, operands)
  local command = require("carton.command")
  if command.is_recipe(operands[1]) then
    command.refuse(require("carton.command.run").options, values, {})
    return containers_of(operands)
  end
  return { require("carton.command.run").container(values, operands) }
end

function plan.run(argv)
  local values, operands = options.parse("plan", all_options(), argv)
  local writer = require("carton.plan")
  local list = gather(values, operands)
  if values.diff then
    local other = gather({}, { values.diff })
    for i, c in ipairs(list) do
      if other[i] then
        io.write(writer.diff_text(other[i]:compile(), c:compile()))
      end
    end
    return 0
  end
  for i, c in ipairs(list) do
    if values.json then
      io.write(writer.json(c:compile()))
    else
      if #list > 1 then
        io.write(i > 1 and "\n" or "", "container ", writer.quote(c.name or tostring(i)), "\n")
      end
      io.write(writer.text(c:compile()))
    end
  end
  return 0
end

return plan
