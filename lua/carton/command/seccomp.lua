-- SPDX-License-Identifier: MIT

--- `carton seccomp`: what a profile does with a system call, its instructions, and what is wrong with it.
-- @module carton.command.seccomp
local options = require("carton.command.options")
local seccomp = { summary = "say what a filter of system calls does with one, and why",
  usage = "carton seccomp explain [OPTION...] SYSCALL [ARG...] | carton seccomp show [OPTION...] | "
    .. "carton seccomp check PROFILE" }

seccomp.options = {
  { "--profile", arg = "PROFILE", help = "default, or a file NAME.json, NAME.lua (a learned one, too) or NAME.bpf (raw "
      .. "instructions)" },
  { "--arch", arg = "ARCH", help = "x86_64, i386, aarch64 or arm; this machine's by default" },
  { "--cap-add", arg = "NAME", many = true, help = "for a container with this capability, or all" },
  { "--cap-drop", arg = "NAME", many = true, help = "for a container without it, or without all" },
  { "--nestable", help = "for a container that runs containers inside" },
  { "--raw", help = "with show: write the instructions as bytes, to redirect to a file" },
  { "--json", help = "print JSON" },
}

-- Words that people have in mind rather than numbers.
local WORDS <const> = {
  AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10, AF_NETLINK = 16, AF_PACKET = 17, AF_ALG = 38, AF_VSOCK = 40,
  CLONE_NEWTIME = 0x80, CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_THREAD = 0x10000,
  CLONE_NEWNS = 0x20000, CLONE_NEWCGROUP = 0x2000000, CLONE_NEWUTS = 0x4000000, CLONE_NEWIPC = 0x8000000,
  CLONE_NEWUSER = 0x10000000, CLONE_NEWPID = 0x20000000, CLONE_NEWNET = 0x40000000,
  TCGETS = 0x5401, TIOCSTI = 0x5412, TIOCGWINSZ = 0x5413, TIOCLINUX = 0x541c, FIONREAD = 0x541b,
}

local function fail(format, ...)
  error({ usage = true, message = format:format(...) .. "; see carton help seccomp" }, 0)
end

-- Options may come before, between and after the operands; a negative number is no option.
local function parse(argv)
  local values, operands, rest = {}, {}, argv
  while rest[1] do
    if not rest[1]:find("^%-%d") then
      local more
      more, rest = options.parse("seccomp", seccomp.options, rest)
      for key, value in pairs(more) do
        if type(value) == "table" then
          value = table.move(value, 1, #value, #(values[key] or {}) + 1, values[key] or {})
        end
        values[key] = value
      end
    end
    operands[#operands + 1] = table.remove(rest, 1)
  end
  return values, operands
end

local function number_of(text)
  local number = 0
  for word in (text .. "|"):gmatch("([^|]*)|") do
    local value = WORDS[word] or require("carton.seccomp.bpf").number((word:gsub("^%-", "")))
    if not value or (word:find("^%-") and math.ult(math.mininteger, value)) then
      fail("'%s' is not an argument of a system call: a 64-bit number expected", word)
    end
    number = number | (word:find("^%-") and -value or value)
  end
  return number
end

-- On one line, and nothing that a terminal would obey.
local function line(text)
  return (require("carton.command").clean(text):gsub("[\n\t]", " "))
end

local function capabilities_of(values)
  local names = require("carton.capability").resolve((values.cap_add or values.cap_drop)
    and { add = values.cap_add, drop = values.cap_drop } or nil)
  return values.nestable and table.move(names, 1, #names, 2, { "nestable" }) or names
end

local function explain_text(answer)
  local lines = { ("%s (%d, %s): %s"):format(answer.name or "no system call", answer.number, answer.arch,
    answer.action) }
  if answer.rule then
    lines[#lines + 1] = ("  rule %d%s"):format(answer.rule, answer.why and ": " .. line(answer.why) or "")
  else
    lines[#lines + 1] = "  no rule is about it"
  end
  if answer.depends then
    lines[#lines + 1] = "  arguments decide:"
    for _, link in ipairs(answer.depends) do
      lines[#lines + 1] = ("    %s: %s%s"):format(#link.tests > 0 and table.concat(link.tests, " and ") or "otherwise",
        link.action, link.rule and (" (rule %d)"):format(link.rule) or "")
    end
  end
  lines[#lines + 1] = ("  profile %s, %d instructions run"):format(line(answer.profile), answer.instructions)
  return table.concat(lines, "\n") .. "\n"
end

local verbs = {}

function verbs.explain(values, operands)
  local call = table.remove(operands, 1) or fail("a system call is missing")
  local args = {}
  for i, text in ipairs(operands) do
    args[i] = number_of(text)
  end
  if #args > 6 then
    fail("a system call has at most 6 arguments")
  end
  local answer = require("carton.seccomp").explain(values.profile,
    call:find("^%d") and require("carton.seccomp.bpf").number(call) or call, args,
    { arch = values.arch, capabilities = capabilities_of(values) })
  io.write(values.json and require("carton.json").encode(answer) .. "\n" or explain_text(answer))
  return 0
end

function verbs.show(values, operands)
  local module = require("carton.seccomp")
  if operands[1] then
    fail("show takes no operand, but --profile")
  end
  local program = module.compile(values.profile, capabilities_of(values), values.arch)
  if values.raw then
    io.write(program)
  elseif values.json then
    io.write(require("carton.json").encode(require("carton.seccomp.bpf").instructions(program)), "\n")
  else
    io.write("# ", line(values.profile or "default"), ": ", module.summary(program), "\n", module.text(program))
  end
  return 0
end

function verbs.check(values, operands)
  local module = require("carton.seccomp")
  local path = operands[1] or values.profile or fail("a profile is missing")
  local ok, found = pcall(module.check, path)
  if not ok and type(found) == "table" then
    error(found, 0) -- it could not be read
  elseif not ok then
    found = { found }
  end
  if values.json then
    io.write(require("carton.json").encode(found), "\n")
  else
    for _, finding in ipairs(found) do
      io.write(line(path), ": ", line(finding), "\n")
    end
    if #found == 0 then
      io.write(line(path), ": ", module.summary(module.compile(path)), "\n")
    end
  end
  return #found == 0 and 0 or 1
end

function seccomp.run(argv)
  local values, operands = parse(argv)
  local name = table.remove(operands, 1) or fail("explain, show or check expected")
  local verb = verbs[name] or fail("'%s': explain, show or check expected", name)
  return verb(values, operands)
end

return seccomp
