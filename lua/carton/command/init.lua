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

-- Set the global `arg` as lua does.
local function set_arg(argv, from)
  arg = { [0] = argv[from] } -- luacheck: ignore 111
  for i = from + 1, #argv do
    arg[i - from] = argv[i] -- luacheck: ignore 112
  end
end

-- What a recipe's returned value means as an exit status.
local function conclude(result, run)
  if require("carton").is_container(result) then
    if result.status then
      return result.status.code
    end
    return run(result)
  elseif math.type(result) == "integer" and result >= 0 and result <= 255 then
    return result
  elseif type(result) == "table" and result.cause and result.code then
    return result.code -- a status
  elseif result == nil or type(result) == "boolean" then
    return result == false and 1 or 0
  end
  error({ usage = true,
    message = "a recipe returns a container, a status, a number from 0 to 255 or nothing, not "
      .. (type(result) == "number" and tostring(result) or "a " .. type(result)) }, 0)
end

--- Say on standard error why the program was killed, where its status is that of any SIGKILL.
-- @tparam container c
-- @tparam table status
function command.say_cause(c, status)
  if status.cause == "timeout" then
    io.stderr:write(("carton: killed after its time-out of %g s\n"):format(c.fields.timeout))
  elseif status.cause == "oom" then
    io.stderr:write("carton: killed for want of memory\n")
  end
end

local function foreground(c)
  local status = require("carton.terminal").foreground(c)
  command.say_cause(c, status)
  return status.code
end

-- A variable that has to be closed: in its scope `return carton.container { ... }` is no tail call, which would
-- take the recipe's line out of the messages about these fields.
local PREFIX <const> = "local carton_recipe <close> = nil; "

local function load_text(text, name)
  if text:sub(1, 1) == "\27" then
    error({ usage = true, message = name:sub(2) .. ": a recipe is text, not a compiled chunk" }, 0)
  elseif text:sub(1, 4) == "\127ELF" then
    error({ usage = true, message = name:sub(2)
      .. ": is a program, not a recipe; carton ROOTFS COMMAND runs one, carton host COMMAND too" }, 0)
  end
  local chunk, message = load(PREFIX .. text, name, "t")
  if not chunk then
    error({ usage = true, message = message }, 0)
  end
  return chunk
end

-- As loadfile: a byte order mark and a first line that begins with # are left out.
local function load_recipe(path)
  local file, message = io.stdin, nil
  if path ~= "-" then
    file, message = io.open(path)
  end
  local text
  if file then
    text, message = file:read("a")
  end
  if not text then
    error({ usage = true, message = file and path .. ": " .. message or message }, 0)
  elseif path ~= "-" then
    file:close()
  end
  text = text:gsub("^\xEF\xBB\xBF", ""):gsub("^#[^\n]*", "")
  return load_text(text, path == "-" and "=stdin" or "@" .. path)
end

--- Tell whether an operand is a recipe, not the directory of a root file system.
-- @tparam ?string path
-- @treturn boolean
function command.is_recipe(path)
  if not path or path:find("%.lua$") then
    return path ~= nil
  end
  local stat = host.stat(path)
  return stat ~= nil and stat.type ~= "directory"
end

--- Refuse options that mean nothing for a recipe, which says these things itself.
-- @tparam {table,...} list as of `options.parse`
-- @tparam table values from there
-- @tparam table allowed by key
function command.refuse(list, values, allowed)
  for _, option in ipairs(list) do
    local name = option[1]:match("%-%-(%S+)")
    local key = name:gsub("%-", "_")
    if values[key] ~= nil and not allowed[key] then
      error({ usage = true,
        message = ("option '--%s' goes with a root file system, not with a recipe"):format(name) }, 0)
    end
  end
end

--- Run a recipe.
-- @tparam string path of the file, `-` for standard input
-- @tparam {string,...} argv the path and the recipe's arguments
-- @tparam[opt] function run what to do with a container that it returns; gives an exit status
-- @treturn int exit status
function command.recipe(path, argv, run)
  set_arg(argv, 1)
  local chunk = load_recipe(path)
  return conclude(chunk(table.unpack(argv, 2)), run or foreground)
end

local function is_others(stat)
  return (stat.uid ~= 0 and stat.uid ~= host.euid()) or tonumber(stat.mode:sub(-1), 8) & 2 ~= 0
end

-- A user's own command; refused when somebody else could have written it.
local function own_command(name)
  if not name:find("^[%w_-]+$") then
    return nil
  end
  local config, home = host.getenv("XDG_CONFIG_HOME"), host.getenv("HOME")
  if not config or config == "" then
    config = home and home ~= "" and home .. "/.config" or ""
  end
  local places = { "/etc/carton/commands" }
  if config:sub(1, 1) == "/" then
    table.insert(places, 1, config .. "/carton/commands")
  end
  for _, directory in ipairs(places) do
    local path = directory .. "/" .. name .. ".lua"
    local stat = host.stat(path)
    if stat then
      if is_others(stat) or is_others(host.stat(directory)) then
        error({ usage = true, message = path .. " may be written by others: it is not run" }, 0)
      end
      local module = load_recipe(path)(name)
      if type(module) ~= "table" or type(module.run) ~= "function" then
        error({ usage = true, message = path .. " returns no table with a function 'run'" }, 0)
      end
      return module
    end
  end
end

local commands = { run = true, plan = true, learn = true, seccomp = true, doctor = true, help = true }

--- Find a command, built in or the user's own.
-- @tparam string name
-- @treturn ?table with `run(argv)`, and `summary` and `usage` for help
function command.find(name)
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
  local chunk = load_text(argv[i + 1], "=(command line)")
  set_arg(argv, i + 1)
  return conclude(chunk(table.unpack(argv, i + 2)), foreground)
end

local function rest(argv, i)
  return table.move(argv, i, #argv, 1, {})
end

-- What the first argument means.
local function dispatch(argv, i)
  local first = argv[i]
  if first == nil then
    io.stderr:write("usage: carton RECIPE.lua | ROOTFS COMMAND | COMMAND ...; see carton help\n")
    return SETUP
  elseif first == "-h" or first == "--help" then
    return command.find("help").run(rest(argv, i + 1))
  elseif first == "-V" or first == "--version" then
    return version()
  elseif first == "-e" then
    return code(argv, i)
  elseif first == "-" then
    return command.recipe("-", rest(argv, i))
  elseif first:sub(1, 1) == "-" then
    local name = first:match("^[^=]+")
    error({ usage = true, message = ("unknown option '%s'; %ssee carton help"):format(first,
      require("carton.command.options").is_known(require("carton.command.run").options, name)
        and ("it belongs behind 'run': carton run %s ...; "):format(name) or "") }, 0)
  elseif first:find("%.lua$") then
    return command.recipe(first, rest(argv, i))
  end
  local found = not first:find("/", 1, true) and command.find(first)
  if found then
    return found.run(rest(argv, i + 1)) or 0
  end
  local stat, message = host.stat(first)
  if first == "host" then
    return require("carton.command.run").classic(rest(argv, i))
  elseif not stat then
    error({ usage = true, message = ("'%s' is neither a command, nor a recipe, nor a root file system (%s)%s"
      ):format(first, message, require("carton.hint").meant(first, commands)) }, 0)
  elseif stat.type == "directory" then
    return require("carton.command.run").classic(rest(argv, i))
  end
  return command.recipe(first, rest(argv, i))
end

--- Tell the exit status of a failure: 127 and 126 for a program that is not there or can't be executed, 125 for
-- all else.
-- @param err what was raised
-- @treturn int
function command.status_of(err)
  if type(err) == "table" and err.step == "exec.exec" then
    if err.code == "ENOENT" or err.code == "ENOTDIR" then
      return (err.call == "execve" or err.call == nil) and 127 or 126
    end
    return 126
  end
  return SETUP
end

--- Escape control characters, so that a name in an image cannot send commands to the terminal.
-- @tparam string text
-- @treturn string with `\x1b` and the like for control characters but newlines and tabs, and for what is no UTF-8
function command.clean(text)
  local parts, at = {}, 1
  while at <= #text do
    local _, bad = utf8.len(text, at)
    local good = text:sub(at, (bad or #text + 1) - 1):gsub("[^\n\t\32-\126\128-\255]", function(c)
      return ("\\x%02x"):format(c:byte())
    end)
    parts[#parts + 1] = good:gsub("\xC2([\x80-\x9F])", function(c) -- as C1 controls are in UTF-8
      return ("\\x%02x"):format(c:byte())
    end)
    if not bad then
      break
    end
    parts[#parts + 1] = ("\\x%02x"):format(text:byte(bad))
    at = bad + 1
  end
  return table.concat(parts)
end

--- Say what went wrong, with a hint where looking finds one.
-- @param err what was raised
-- @treturn string
function command.describe(err)
  if type(err) == "table" and err.usage and type(err.message) == "string" then
    return command.clean(err.message)
  elseif type(err) == "table" and err.step then
    err.hint = err.hint or require("carton.hint").find(err)
  elseif type(err) == "string" and err:find("(global 'carton')", 1, true) then
    err = err .. "; a recipe begins with local carton = require \"carton\""
  end
  return command.clean(tostring(err))
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
    if type(err) == "string" and (err:find("^%?:%-1: ") or err:find("^bad argument #")) then
      -- from a module without lines: say the recipe's
      err = select(2, pcall(core.misuse, "")) .. err:gsub("^%?:%-1: ", "")
    end
    if debugging then
      trace = debug.traceback("", 2)
    end
    return err
  end, argv, i)
  if ok then
    return result
  elseif type(result) == "table" and result.usage and result.help then
    return command.find("help").run { result.help }
  end
  io.stdout:flush()
  io.stderr:write("carton: ", command.describe(result), "\n", trace and command.clean(trace) .. "\n" or "")
  return command.status_of(result)
end

return command
