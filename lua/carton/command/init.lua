-- SPDX-License-Identifier: MIT
--- The command line: recipes, the classic call, commands; errors become one line and an exit status.
-- @module carton.command
local core = require("carton.core")
local host = core.host
local command = {}

local SETUP <const> = 125

--- Tell whether a stream may be coloured: a terminal, and nobody who minds.
-- @tparam int fd 1 or 2
-- @treturn boolean
-- @see no-color convention: the variable NO_COLOR
function command.has_colour(fd)
  local no = host.getenv("NO_COLOR")
  if (no and no ~= "") or host.getenv("TERM") == "dumb" then
    return false
  end
  local ok, descriptor = pcall(core.exec.descriptor, fd)
  if not ok then
    return false
  end
  local yes = descriptor:is_terminal()
  descriptor:close()
  return yes
end

--- Set the global `arg` as lua does.
local function set_arg(argv, from)
  arg = { [0] = argv[from] } -- luacheck: ignore 111
  for i = from + 1, #argv do
    arg[i - from] = argv[i] -- luacheck: ignore 112
  end
end

--- What a recipe's returned value means as an exit status.
local function conclude(result, run)
  if require("carton").is_container(result) then
    if result.status then
      return result.status.code
    end
    return run(result)
  elseif math.type(result) == "integer" then
    return result
  elseif type(result) == "table" and result.cause and result.code then
    return result.code -- a status
  elseif result == nil or type(result) == "boolean" then
    return result == false and 1 or 0
  end
  error({ usage = true,
    message = "a recipe returns a container, a status, a number or nothing, not a "
      .. type(result) }, 0)
end

local function foreground(c)
  c:start()
  return (c.status or require("carton.terminal").foreground(c)).code
end

--- Run a recipe.
-- @tparam string path of the file, `-` for standard input
-- @tparam {string,...} argv the path and the recipe's arguments
-- @tparam[opt] function run what to do with a container that it returns; gives an exit status
-- @treturn int exit status
function command.recipe(path, argv, run)
  set_arg(argv, 1)
  local chunk, message = loadfile(path ~= "-" and path or nil, "t")
  if not chunk then
    error({ usage = true, message = message }, 0)
  end
  return conclude(chunk(table.unpack(argv, 2)), run or foreground)
end

--- A user's own command; refused when somebody else could have written it.
local function own_command(name)
  if not name:find("^[%w_-]+$") then
    return nil
  end
  local config = host.getenv("XDG_CONFIG_HOME")
  if not config or config == "" then
    config = (host.getenv("HOME") or "") .. "/.config"
  end
  for _, directory in ipairs { config .. "/carton/commands", "/etc/carton/commands" } do
    local path = directory .. "/" .. name .. ".lua"
    local stat = directory:sub(1, 1) == "/" and host.stat(path)
    if stat then
      if (stat.uid ~= 0 and stat.uid ~= host.euid()) or tonumber(stat.mode:sub(-1), 8) & 2 ~= 0 then
        error({ usage = true, message = path .. " may be written by others: it is not run" }, 0)
      end
      return assert(loadfile(path, "t"))()
    end
  end
end

local commands = { run = true, plan = true, doctor = true, help = true }

local function find(name)
  if commands[name] then
    return require("carton.command." .. name)
  end
  return own_command(name)
end

local function version()
  io.write("carton ", core.version, " (", _VERSION, ")\n")
  return 0
end

local function code(argv, i)
  if not argv[i + 1] then
    error({ usage = true, message = "option '-e' needs CODE" }, 0)
  end
  local chunk, message = load(argv[i + 1], "=(command line)", "t")
  if not chunk then
    error({ usage = true, message = message }, 0)
  end
  set_arg(argv, i + 1)
  return conclude(chunk(table.unpack(argv, i + 2)), foreground)
end

local function rest(argv, i)
  return table.move(argv, i, #argv, 1, {})
end

--- What the first argument means.
local function dispatch(argv, i)
  local first = argv[i]
  if first == nil then
    io.stderr:write("usage: carton RECIPE.lua | ROOTFS COMMAND | COMMAND ...; see carton help\n")
    return SETUP
  elseif first == "-h" or first == "--help" then
    return find("help").run(rest(argv, i + 1))
  elseif first == "-V" or first == "--version" then
    return version()
  elseif first == "-e" then
    return code(argv, i)
  elseif first == "-" then
    return command.recipe("-", rest(argv, i))
  elseif first:sub(1, 1) == "-" then
    error({ usage = true, message = ("unknown option '%s'; see carton help"):format(first) }, 0)
  elseif first:find("%.lua$") then
    return command.recipe(first, rest(argv, i))
  end
  local found = not first:find("/", 1, true) and find(first)
  if found then
    return found.run(rest(argv, i + 1)) or 0
  end
  local stat, message = host.stat(first)
  if not stat then
    error({ usage = true, message = ("'%s' is neither a command, nor a recipe, nor a root file system (%s)"
      ):format(first, message) }, 0)
  elseif stat.type == "directory" then
    return require("carton.command.run").classic(rest(argv, i))
  end
  return command.recipe(first, rest(argv, i))
end

--- 127 and 126 for a program that is not there or can't be executed, 125 for all else.
local function status_of(err)
  if type(err) == "table" and err.step == "exec.exec" then
    if err.code == "ENOENT" or err.code == "ENOTDIR" then
      return (err.call == "execve" or err.call == nil) and 127 or 126
    end
    return 126
  end
  return SETUP
end

local function describe(err)
  if type(err) == "table" and err.usage then
    return err.message
  elseif type(err) == "table" and err.step then
    err.hint = err.hint or require("carton.hint").find(err)
  end
  return tostring(err)
end

--- Run a command line.
-- @tparam {string,...} argv with the program's name at 0
-- @treturn int exit status
function command.main(argv)
  local i, debugging = 1, false
  while argv[i] == "--debug" do
    i, debugging = i + 1, true
  end
  local trace
  local ok, result = xpcall(dispatch, function(err)
    if debugging then
      trace = debug.traceback("", 2)
    end
    return err
  end, argv, i)
  if ok then
    return result
  end
  io.stdout:flush()
  io.stderr:write("carton: ", describe(result), "\n", trace and trace .. "\n" or "")
  return status_of(result)
end

return command
