-- SPDX-License-Identifier: MIT

--- Filters of system calls: the default profile, profiles of one's own, and what they say about a call.
--
-- A profile is a table:
--
--     { default = { "errno", "ENOSYS" },       -- what no rule is about
--       newer = { "errno", "ENOSYS" },         -- numbers above all that the rules name; the default unless given
--       architectures = { "x86_64", "i386" },  -- all that the kernel can enter unless given
--       flags = { "log" },                     -- or spec_allow
--       rules = {                              -- the first that applies decides
--         { names = { "socket" }, action = { "errno", "EACCES" },
--           args = { { index = 0, op = "==", value = 40, mask = 0xffffffff } } },
--         { names = { "read", "write", "socket" }, action = "allow", why = "for people who read it" },
--         { names = { "mount" }, action = "allow", caps = { "SYS_ADMIN" }, min_kernel = "5.2" },
--       } }
--
-- Actions are `allow`, `{ "errno", name or number }`, `kill`, `kill_thread`, `trap`, `{ "trace", number }`, `log` and,
-- where the container's `on_syscall` answers, `notify`.
-- A rule applies where all of its `args` hold (`==` and `!=` may have a mask, `==` a list of values), the container
-- has all of its `caps` and none of `without`, and the kernel is at least `min_kernel` and older than `before_kernel`.
-- A name that this table of calls does not have, for it is of a newer kernel or misspelt, takes no effect:
-- `carton seccomp check` names it.
-- On x86_64 the x32 convention is refused, and a call of an architecture that is not named ends the program.
--
-- The filter is the last step of a container but one: what a profile has to allow is what executes the program,
-- rt_sigaction, rt_sigprocmask, fcntl, execveat and execve; with `init` also rt_sigtimedwait, clone, setpgid, ioctl,
-- close_range, wait4, kill and exit; and openat, read and close for a good message when the program is not there.
-- With `on_syscall` also read, and prctl, pipe2 and close below an init; what is asked about is answered by the launch
-- itself.
-- Without no_new_privs a filter takes CAP_SYS_ADMIN, and so comes before the container's own capabilities are set: then
-- capget, capset, prctl and ppoll, too.
--
-- A profile of the OCI runtime specification, or of the engines' own kind with `includes`, `excludes` and `archMap`, is
-- understood as well, as a file `NAME.json` or as the decoded table, and means what libseccomp(3) makes of it:
-- `carton.seccomp.oci`.
-- @module carton.seccomp
local core = require("carton.core")
local ready = require("carton.seccomp.ready")
local counted, pick = ready.counted, ready.pick
local seccomp = {}

local OPEN <const> = { default = "allow" }
local LARGEST <const> = 16 << 20 -- bytes of a profile's file

local cache = {}

local function fail(format, ...)
  core.misuse("seccomp: " .. format:format(...))
end

local function to_set(list)
  local set = {}
  for _, name in ipairs(list) do
    set[name:match("^CAP_(.*)$") or name] = true
  end
  return set
end

local function machine()
  if core.architecture == "other" then
    fail("no filters for this kind of machine yet; false does without")
  end
  return core.architecture
end

local function options_of(capabilities, arch)
  return { arch = arch or machine(), capabilities = to_set(capabilities), kernel = core.host.uname().release,
    errno = core.errno }
end

local function read(path)
  local file <close>, _, errno = io.open(path, "rb")
  if not file then
    core.error { op = "seccomp", path = path, errno = errno }
  end
  local text, message, number = file:read(LARGEST + 1)
  if not text and number then
    core.error { op = "seccomp", path = path, errno = number, message = message }
  elseif text and #text > LARGEST then
    fail("%s is larger than %d MiB", path, LARGEST >> 20)
  end
  return text or ""
end

local function decode(text, path)
  local ok, value = pcall(require("carton.json").decode, text)
  if not ok or type(value) ~= "table" then
    fail("%s is not a JSON object: %s", path, ok and type(value) or value)
  end
  return value
end

local function evaluate(text, path)
  local value, why = require("carton.data").load(text, path)
  if not value then
    fail("%s has to return a table, and cannot call anything: %s", path, why)
  end
  return type(value.learned) == "table" and value.seccomp or value -- carton learn writes more than a filter
end

-- A profile's file or table as `{ name =, text = (what it is cached by), data =, program =, flags = }`.
local function source(wish)
  if type(wish) == "table" then
    return { name = wish.name or (wish.program and "program" or "table"), value = wish }
  elseif type(wish) ~= "string" or not wish:find("[./]") then
    fail("'%s' is not a profile: \"default\", false, a path, or a table expected", tostring(wish))
  end
  local text, name = read(wish), wish:match("([^/]+)$") or wish
  if wish:find("%.json$") then
    return { name = name, text = text, value = decode(text, wish) }
  elseif wish:find("%.bpf$") then
    return { name = name, value = { program = text } }
  end
  return { name = name, text = text, value = evaluate(text, wish) }
end

--- Load a profile.
-- @tparam ?string|table wish `"default"`, a path, or a table: as of the field `seccomp` of `carton.container`
-- @tparam[opt] string arch of the kernel, by default this one's
-- @treturn table `{ name =, data = (the profile), program = (or its instructions), flags = {...} }`
-- @raise a string that says what is wrong with it, or a `carton.error` when a file can't be read
function seccomp.load(wish, arch)
  if wish == nil or wish == "default" then
    return { name = "default", data = require("carton.seccomp.default"), flags = {} }
  end
  local loaded = source(wish)
  local value = loaded.value
  if value.program then
    if type(value.program) ~= "string" then
      fail("program: a string of instructions expected, got %s", type(value.program))
    end
    for key in pairs(value) do
      if key ~= "program" and key ~= "flags" and key ~= "name" then
        fail("a program has no field '%s'", tostring(key))
      end
    end
    loaded.program, loaded.flags = value.program, value.flags or {}
  else
    if value.defaultAction then
      value = require("carton.seccomp.oci").convert(value, arch or machine())
    end
    require("carton.seccomp.profile").check(value)
    loaded.data, loaded.flags = value, value.flags or {}
  end
  for _, flag in ipairs(loaded.flags) do
    if flag ~= "log" and flag ~= "spec_allow" then
      fail("unknown flag '%s' (log, spec_allow)", tostring(flag))
    end
  end
  return loaded
end

local function program_of(loaded, options)
  local profile = require("carton.seccomp.profile")
  local opened = pick(profile.capabilities(loaded.data), options.capabilities)
  local key = table.concat({ options.arch, opened, loaded.name == "default" and not loaded.value and "default"
    or loaded.text or require("carton.json").encode(loaded.value), options.notify and options.notify.key }, "\n")
  cache[key] = cache[key] or profile.compile(loaded.data, options)
  return cache[key]
end

--- Compile a profile; the same one again costs nothing.
-- @tparam ?string|table wish as of `load`
-- @tparam[opt] {string,...} capabilities of the container, by default those of `carton.capability`; `nestable` among
--   them stands for a nestable root
-- @tparam[opt] string arch of the kernel, by default this one's
-- @treturn string program for `carton.privilege.seccomp`
-- @raise a string that says what is wrong with the profile
-- @usage local program = carton.seccomp.compile{ default = "allow", rules = {
--   { names = { "ptrace" }, action = "errno" } } }
function seccomp.compile(wish, capabilities, arch)
  local loaded = seccomp.load(wish, arch)
  return loaded.program
    or program_of(loaded, options_of(capabilities or require("carton.capability").default, arch))
end

--- Make the step that installs a container's filter.
-- @tparam ?string|table|boolean wish as of the field `seccomp` of `carton.container`
-- @tparam {string,...} capabilities of the container
-- @tparam[opt=false] boolean nestable containers shall run inside: what the default profile's rules call `nestable`
-- @treturn ?table a step; nil for none
function seccomp.step(wish, capabilities, nestable)
  if wish == false then
    return nil
  elseif wish == nil or wish == "default" then
    local names = counted(capabilities, nestable).nestable
      and table.move(capabilities, 1, #capabilities, 2, { "nestable" }) or capabilities
    local program = ready.program(capabilities, nestable) or program_of(seccomp.load(), options_of(names))
    return { "privilege.seccomp", name = "default", program = program }
  end
  local loaded = seccomp.load(wish)
  local flags = to_set(loaded.flags)
  return { "privilege.seccomp", name = loaded.name, log = flags.log, spec_allow = flags.spec_allow,
    program = loaded.program or program_of(loaded, options_of(capabilities)) }
end

-- Every call that a profile itself asks about needs somebody who answers.
local function check_asked(data, wish)
  local function is_asked(action)
    return (type(action) == "table" and action[1] or action) == "notify"
  end
  if (is_asked(data.default) or is_asked(data.newer)) and not wish.all then
    fail("the profile asks about what it does not name, and on_syscall has no handler '*'")
  end
  for i, rule in ipairs(data.rules or {}) do
    for _, name in ipairs(is_asked(rule.action) and not wish.all and rule.names or {}) do
      if wish.handlers[name] == nil then
        fail("rule %d asks about %s, for which on_syscall has no handler", i, tostring(name))
      end
    end
  end
end

--- Make the steps that install a container's filter with questions in it. A program's own answers stay as they are:
-- it is installed beside, and what it does not allow is not asked about.
-- @tparam ?string|table|boolean wish as of `step`
-- @tparam {string,...} capabilities of the container
-- @tparam[opt=false] boolean nestable as of `step`
-- @tparam table asked `handlers` (by name), `all` (ask about all that is allowed), `denied` (and what is denied)
-- @treturn {step,...}
-- @treturn function gives the program without questions, where its answers are looked up
-- @raise a string: what is wrong, or a call for which there is no handler
function seccomp.notify_steps(wish, capabilities, nestable, asked)
  local loaded = wish ~= false and seccomp.load(wish) or { name = "none", data = OPEN, value = OPEN, flags = {} }
  local asking = loaded.program and { data = OPEN, value = OPEN } or loaded
  check_asked(asking.data, asked)
  local flags, names = to_set(loaded.flags), {}
  for name in pairs(asked.handlers) do
    names[#names + 1] = name
  end
  table.sort(names)
  local options = options_of({})
  options.capabilities = counted(capabilities, nestable)
  options.notify = { handlers = asked.handlers, all = asked.all, denied = asked.denied,
    key = table.concat(names, ",") .. (asked.all and ",*" or "") .. (asked.denied and ",!" or "") }
  if asked.all then
    table.insert(names, 1, "*")
  end
  local steps = { { "privilege.notify", name = loaded.name, calls = names, log = flags.log,
    spec_allow = flags.spec_allow, program = program_of(asking, options) } }
  if loaded.program then
    steps[2] = { "privilege.seccomp", name = loaded.name, log = flags.log, spec_allow = flags.spec_allow,
      program = loaded.program }
  end
  return steps, function()
    options.notify = { handlers = {}, key = "" } -- what it asks about itself stays a question
    return program_of(asking, options)
  end
end

--- Write a program in a few words, for plans.
-- @tparam string program
-- @treturn string `202 instructions, 9236e7643b3e1e9c`
function seccomp.summary(program)
  return ("%d instructions, %s"):format(require("carton.seccomp.bpf").summary(program))
end

local function errno_name(number)
  return core.errno[number] or tostring(number)
end

--- Write the instructions of a program out.
-- @tparam string program
-- @treturn string a line for each
function seccomp.text(program)
  return require("carton.seccomp.bpf").text(program, errno_name)
end

-- What a rule's tests look like.
local function test_text(test)
  local argument = ("argument %d"):format(test.index)
  if test.mask ~= -1 then
    argument = ("%s & %#x"):format(argument, test.mask)
  end
  return ("%s %s %#x"):format(argument, test.op, test.value)
end

local function link_text(link, bpf)
  local tests = {}
  for i, test in ipairs(link.tests) do
    tests[i] = test_text(test)
  end
  return { tests = tests, action = bpf.action_text(link.action, errno_name), rule = link.rule }
end

local function unsigned(number)
  return number >= -(1 << 32) and tostring(number) or ("%#x"):format(number)
end

-- Where a register has 32 bits, it may be written with a sign or without.
local function check_arguments(args, arch, bits)
  if #args > 6 then
    fail("a system call has at most 6 arguments")
  end
  for i, value in ipairs(args) do
    if math.type(value) ~= "integer" then
      fail("argument %d: an integer expected, got %s", i - 1, tostring(value))
    elseif bits == 32 and (value < -(1 << 31) or value > 0xffffffff) then
      fail("argument %d: %s does not fit into the 32 bits of %s", i - 1, unsigned(value), arch)
    end
  end
end

--- Say what a profile does with a system call, and why. Nothing is called: the program is run without a kernel, and
-- compared with what the rules say.
-- @tparam ?string|table wish as of `load`
-- @tparam string|int call a name or a number
-- @tparam[opt] {int,...} args the arguments, from the first; those that are not given are 0
-- @tparam[opt] table options `arch` (`x86_64 i386 aarch64 arm`), `capabilities`
-- @treturn table `{ profile =, name =, number =, arch =, action =, rule = (its place), why =, depends = { { tests =,
--   action =, rule = } }, instructions = (that were run) }`; `depends` is there when arguments decide
-- @raise a string: there is no such system call
function seccomp.explain(wish, call, args, options)
  local bpf, profile = require("carton.seccomp.bpf"), require("carton.seccomp.profile")
  local syscalls = require("carton.seccomp.syscalls")
  options = options or {}
  local arch = options.arch or machine()
  local known = syscalls.architectures[arch] or fail("unknown architecture '%s'", tostring(arch))
  local native = arch
  for name, other in pairs(syscalls.architectures) do
    native = other.companion == arch and name or native
  end
  local number = type(call) == "number" and math.tointeger(call) or syscalls.numbers(arch)[call]
    or fail("%s has no system call '%s'%s", arch, tostring(call),
      require("carton.hint").meant(call, syscalls.numbers(arch)))
  if number < 0 or number > 0xffffffff then
    fail("%s is not a system call number, which has 32 bits", unsigned(number))
  end
  check_arguments(args or {}, arch, known.bits)
  local loaded = seccomp.load(wish, native)
  local chosen = options_of(options.capabilities or require("carton.capability").default, native)
  local program = loaded.program or program_of(loaded, chosen)
  local value, steps = bpf.run(program, { number = number, arch = known.audit, args = args })
  local answer = { profile = loaded.name, name = syscalls.names(arch)[number], number = number, arch = arch,
    action = bpf.action_text(value, errno_name), instructions = steps }
  if loaded.data then
    local decided, rule, chain = profile.decide(loaded.data, { number = number, arch = arch, args = args }, chosen)
    if decided ~= value then -- never: the compiler would be wrong
      core.error { op = "explain", path = loaded.name, message = "the program says " .. answer.action
        .. ", the rules say " .. bpf.action_text(decided, errno_name) }
    end
    answer.rule = rule
    answer.why = rule and loaded.data.rules[rule].why
    if #chain > 1 then
      answer.depends = {}
      for i, link in ipairs(chain) do
        answer.depends[i] = link_text(link, bpf)
      end
    end
  end
  return answer
end

--- Look for what is wrong, or odd, in a profile that is well-formed.
-- @tparam ?string|table wish as of `load`
-- @treturn {string,...} findings, none for a good one
-- @raise a string when it is not well-formed
function seccomp.check(wish)
  local syscalls = require("carton.seccomp.syscalls")
  local loaded, found, closed = seccomp.load(wish), {}, {}
  for i, rule in ipairs(loaded.data and loaded.data.rules or {}) do
    for _, name in ipairs(rule.names) do
      if not syscalls.is_known(name) then
        found[#found + 1] = ("rule %d: there is no system call '%s'"):format(i, name)
      elseif closed[name] then
        found[#found + 1] = ("rule %d: %s is decided by rule %d"):format(i, name, closed[name])
      elseif not (rule.args and #rule.args > 0 or rule.caps or rule.without or rule.min_kernel
        or rule.before_kernel) then
        closed[name] = i
      end
    end
  end
  if loaded.data then
    loaded.program = program_of(loaded, options_of({}))
  end
  local ok, message = pcall(core.validate, { { "privilege.seccomp", program = loaded.program } })
  if not ok then
    found[#found + 1] = message
  end
  return found
end

return seccomp
