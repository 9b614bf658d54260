-- SPDX-License-Identifier: MIT

--- `carton help`: the commands, one command, the man page, completions; all from the commands' own tables.
-- @module carton.command.help
local options = require("carton.command.options")
local help = { summary = "show help about a command; --man: the man page; --completion: completions for a shell",
  usage = "carton help [COMMAND] | carton help --man | carton help --completion bash|zsh|fish" }

help.options = {
  { "--man", help = "print the man page" },
  { "--completion", arg = "SHELL", help = "print completions for bash, zsh or fish" },
}

local COMMANDS <const> = { "run", "plan", "learn", "seccomp", "doctor", "help" }

local GENERAL <const> = {
  { "-e", arg = "CODE", key = "code", help = "run Lua code" },
  { "--debug", help = "show stack traces" },
  { "-V --version", help = "print the version" },
}

local INTRODUCTION <const> = "Run containers that are written as Lua scripts."

local function parser()
  local all = require("argparse")("carton", INTRODUCTION)
  all:help_max_width(80)
  all:require_command(false)
  options.describe(all, GENERAL)
  for _, name in ipairs(COMMANDS) do
    local module = require("carton.command." .. name)
    local command = all:command(name, module.summary)
    command:usage("Usage: " .. module.usage)
    options.describe(command, module.options)
    if name == "run" or name == "plan" or name == "learn" then
      command:argument("rootfs", "a directory, a recipe, or 'host'"):args("?")
      command:argument("command", "and its arguments"):args("*")
    elseif name == "seccomp" then
      command:argument("verb", "explain, show or check"):args("?")
      command:argument("operand", "a system call and its arguments, or a profile"):args("*")
    end
  end
  all:usage("Usage: carton [--debug] RECIPE.lua [ARG...]\n"
    .. "       carton ROOTFS COMMAND [ARG...]\n       carton -e CODE | carton -\n"
    .. "       carton COMMAND ...")
  return all
end

local function roff(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("^([.'])", "\\&%1"))
end

local function man_options(list, out)
  for _, option in ipairs(list) do
    local names = option[1]:gsub(" ", ", ")
    if option.arg then
      names = names .. " " .. option.arg
    end
    out[#out + 1] = ".TP\n.B " .. roff(names) .. "\n" .. roff(option.help)
  end
end

local function man()
  local version = require("carton.core").version
  local out = {
    ('.TH CARTON 1 "" "carton %s"'):format(version),
    ".SH NAME\ncarton \\- run containers that are written as Lua scripts",
    ".SH SYNOPSIS\n.B carton\nRECIPE.lua [ARG...]\n.br\n.B carton\nROOTFS COMMAND [ARG...]\n.br\n"
      .. ".B carton\n\\-e CODE\n.br\n.B carton\nCOMMAND ...",
    ".SH DESCRIPTION\nA recipe is a Lua script. One that returns a container has it run, and "
      .. "carton exits with its status. With a directory for its first argument, or host for the host's own "
      .. "/usr, carton runs the command in it. A file NAME.lua in $XDG_CONFIG_HOME/carton/commands or "
      .. "/etc/carton/commands becomes the command NAME; it returns a table with a function run(argv), which "
      .. "gives an exit status, and the texts summary and usage.",
    ".SH OPTIONS",
  }
  man_options(GENERAL, out)
  out[#out + 1] = ".SH COMMANDS"
  for _, name in ipairs(COMMANDS) do
    local module = require("carton.command." .. name)
    out[#out + 1] = ".SS carton " .. name .. "\n" .. roff(module.summary) .. ".\n.PP\n"
      .. roff(module.usage)
    man_options(module.options, out)
  end
  out[#out + 1] = ".SH EXIT STATUS\nThat of the program in the container; 128+n when signal n ended "
    .. "it, 137 at the time-out; 125 when carton failed; 126 when the program could not be executed; 127 when it was "
    .. "not found."
  out[#out + 1] = ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nNo colours.\n.TP\n.B XDG_CONFIG_HOME\n"
    .. "Where the user's own commands are; ~/.config by default.\n.TP\n.B CARTON_CGROUP_MANAGER\n"
    .. "systemd or cgroupfs: who makes cgroups, when a recipe does not say."
  out[#out + 1] = ".SH SEE ALSO\nlua(1), namespaces(7), user_namespaces(7), capabilities(7), "
    .. "mount_setattr(2)"
  return table.concat(out, "\n") .. "\n"
end

local function completion(shell)
  local all = parser()
  local make = all["get_" .. shell .. "_complete"]
  if not make then
    error({ usage = true, message = "completions are for bash, zsh or fish" }, 0)
  end
  return make(all)
end

function help.run(argv)
  local values, operands = options.parse("help", help.options, argv)
  if values.man then
    io.write(man())
  elseif values.completion then
    io.write(completion(values.completion), "\n")
  elseif operands[1] then
    local all = parser()
    for _, command in ipairs(all._commands) do
      if command._name == operands[1] then
        io.write(command:get_help(), "\n")
        return 0
      end
    end
    local own = require("carton.command").find(operands[1])
    if not own then
      error({ usage = true, message = ("there is no command '%s'; see carton help"):format(operands[1]) }, 0)
    end
    io.write("Usage: ", own.usage or "carton " .. operands[1], "\n", own.summary and "\n" .. own.summary .. "\n"
      or "")
  else
    io.write(parser():get_help(), "\n")
  end
  return 0
end

return help
