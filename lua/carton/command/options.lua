-- SPDX-License-Identifier: MIT

--- Command lines, read exactly as a table of options says; argparse shows the same table as help.
-- @module carton.command.options
local options = {}

local function usage(command, format, ...)
  error({ usage = true, message = ("%s; see carton help %s"):format(format:format(...), command) }, 0)
end

local function index(list)
  local known = { others = list.others or {} }
  for _, option in ipairs(list) do
    for name in option[1]:gmatch("%S+") do
      known[name] = option
    end
  end
  return known
end

-- The long option that was meant by one that there is not.
local function meant(known, name)
  local long = {}
  for other in pairs(known) do -- "others" has no dashes
    long[other:match("^%-%-(.*)") or 0] = true
  end
  long[0] = nil
  return (require("carton.hint").meant(name:match("^%-%-(.*)"), long):gsub("'", "'--", 1))
end

--- Tell whether there is such an option.
-- @tparam {table,...} list as of `parse`
-- @tparam string name with its dashes
-- @treturn boolean
function options.is_known(list, name)
  return index(list)[name] ~= nil
end

local function key_of(option)
  return option.key or option[1]:match("%-%-(%S+)"):gsub("%-", "_")
end

local function store(command, values, option, name, value)
  local key = key_of(option)
  if option.many then
    values[key] = values[key] or {}
    table.insert(values[key], value)
  elseif values[key] ~= nil and (option.arg or values[key] ~= value) then
    usage(command, "option '%s' is given twice", name)
  else
    values[key] = value
  end
end

-- One argument of the form --name, --name=value, -n, -nm or -nvalue; gives how many were used.
local function take(command, known, values, argv, i)
  local text = argv[i]
  local name, inline = text:match("^(%-%-[^=]+)=(.*)$")
  name = name or (text:sub(1, 2) == "--" and text) or text:sub(1, 2)
  if not known[name] and (name == "--help" or name == "-h") then
    error({ usage = true, help = command, message = "see carton help " .. command }, 0)
  end
  local option = known[name] or usage(command, "unknown option '%s'%s", name,
    known.others[name] and "; " .. known.others[name] or meant(known, name))
  local rest = text:sub(1, 2) ~= "--" and text:sub(3) or ""
  if not option.arg then
    if inline and not option.optional then
      usage(command, "option '%s' takes no value", name)
    end
    store(command, values, option, name, inline or true)
    if rest ~= "" then -- flags in one word
      argv[i] = "-" .. rest
      return 0
    end
    return 1
  end
  if inline or rest ~= "" then
    store(command, values, option, name, inline or rest)
    return 1
  elseif argv[i + 1] == nil then
    usage(command, "option '%s' needs %s", name, option.arg)
  end
  store(command, values, option, name, argv[i + 1])
  return 2
end

--- Read options up to the first operand or `--`; what follows is not looked at.
-- @tparam string command name, for messages
-- @tparam {table,...} list `{ "-e --env", arg = "NAME=VALUE", many = true, help = }`; without `arg` a flag,
--   with `optional` a flag that may have a value after `=`; `list.others` has what to do instead of an option that
--   other programs have, by name
-- @tparam {string,...} argv arguments
-- @treturn table values by long name, dashes as underscores
-- @treturn {string,...} the operands
-- @raise a table with `usage = true` and `message`, also for an option given twice that is not `many`; also with
--   `help = command` for `--help`
function options.parse(command, list, argv)
  local known, values, i = index(list), {}, 1
  argv = table.move(argv, 1, #argv, 1, {})
  while argv[i] and argv[i]:sub(1, 1) == "-" and argv[i] ~= "-" do
    if argv[i] == "--" then
      i = i + 1
      break
    end
    i = i + take(command, known, values, argv, i)
  end
  return values, table.move(argv, i, #argv, 1, {})
end

--- Give an argparse command the same options.
-- @param parser of argparse
-- @tparam {table,...} list as of `parse`
function options.describe(parser, list)
  for _, option in ipairs(list) do
    local described = parser:option(option[1], option.help)
    if option.arg then
      described:argname("<" .. option.arg .. ">"):args(1)
    else
      described:args(0)
    end
    if option.many then
      described:count("*")
    end
    described:target(key_of(option))
    described:show_default(false)
  end
end

return options
