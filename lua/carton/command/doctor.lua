-- SPDX-License-Identifier: MIT

--- `carton doctor`: looks whether a host can run containers, and says what to do where it can't.
-- @module carton.command.doctor
local options = require("carton.command.options")
local doctor = { summary = "look whether this host can run containers, and what is in the way",
  usage = "carton doctor [--json]" }

doctor.options = { { "--json", help = "print JSON" } }

function doctor.run(argv)
  local values, operands = options.parse("doctor", doctor.options, argv)
  if operands[1] then
    error({ usage = true, message = "doctor takes no operand; see carton help doctor" }, 0)
  end
  local look = require("carton.doctor")
  local list = look.check()
  if values.json then
    io.write(look.json(list))
  else
    io.write(look.text(list, require("carton.command").has_colour(1)))
  end
  return look.is_fit(list) and 0 or 1
end

return doctor
