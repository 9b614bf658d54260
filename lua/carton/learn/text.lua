-- SPDX-License-Identifier: MIT

--- Learned profiles as files: Lua that a recipe can use, and what the OCI runtime specification calls them.
-- @module carton.learn.text
local core = require("carton.core")
local sorted = require("carton.learn.profile").sorted
local text = {}

local WIDTH <const> = 100

--- The version of what is written.
text.VERSION = 1

--- Write a string as Lua source in one line of harmless bytes, whatever is in it.
-- @tparam string value
-- @treturn string
function text.quote(value)
  return '"' .. value:gsub('[%c"\\\127-\255]', function(c)
    return (c == '"' or c == "\\") and "\\" .. c or ("\\x%02x"):format(c:byte())
  end) .. '"'
end
local quote = text.quote

local RESERVED <const> = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch("%S+") do
  RESERVED[word] = true
end

local function key_of(key)
  return key:find("^[%a_][%w_]*$") and not RESERVED[key] and key or "[" .. quote(key) .. "]"
end

local write

-- What stands in a table's first place is said first.
local ORDER <const> = { "learned", "version", "names", "path", "action", "index", "default", "architectures", "args",
  "seccomp", "capabilities", "landlock", "drop", "add", "paths", "moves", "why" }
local rank = {}
for i, name in ipairs(ORDER) do
  rank[name] = i
end

local function keys_of(value)
  local keys = {}
  for key in pairs(value) do
    if math.type(key) ~= "integer" then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, function(a, b)
    local x, y = rank[a] or 99, rank[b] or 99
    if x ~= y then
      return x < y
    end
    return a < b
  end)
  return keys
end

local function numeral(value)
  return value >= 16 and ("%#x"):format(value) or tostring(value)
end

local function entries_of(value, indent, hex)
  local entries = {}
  for _, item in ipairs(value) do
    entries[#entries + 1] = write(item, indent, hex)
  end
  for _, key in ipairs(keys_of(value)) do
    local is_hex = key == "value" or key == "mask"
    entries[#entries + 1] = key_of(key) .. " = " .. write(value[key], indent, is_hex)
  end
  return entries
end

-- In one line where that is short, otherwise in one for each entry; words are filled up to the width.
local function write_table(value, indent, hex)
  local inner = indent .. "  "
  local entries = entries_of(value, inner, hex)
  local line = "{ " .. table.concat(entries, ", ") .. " }"
  if #entries == 0 then
    return "{}"
  elseif #line + #indent <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local lines = {}
  local fills = #entries == #value and #value > 0 and type(value[1]) ~= "table" and not tostring(value[1]):find("/")
  for _, entry in ipairs(entries) do
    local last = lines[#lines]
    if fills and last and #inner + #last + #entry + 2 <= WIDTH then
      lines[#lines] = last .. " " .. entry .. ","
    else
      lines[#lines + 1] = entry .. ","
    end
  end
  return "{\n" .. inner .. table.concat(lines, "\n" .. inner) .. "\n" .. indent .. "}"
end

function write(value, indent, hex)
  if type(value) == "table" then
    return write_table(value, indent, hex)
  elseif type(value) == "string" then
    return quote(value)
  elseif hex and math.type(value) == "integer" then
    return numeral(value)
  end
  return tostring(value)
end

--- What a profile's notes mean.
text.NOTES = {
  mounts = "mounts were changed, which Landlock forbids: there are no rules for it",
  privileges = "it was started without no_new_privs, which Landlock takes: there are no rules for it",
  io_uring = "io_uring(7) was used, and what a ring does nobody sees: this is not all of it",
  hidden = "a program could not be looked into, as it is not dumpable: its paths are left out",
  unnamed = "system calls were called that have no name here: they are left out",
  paths = "there were more paths than are kept: the rest is left out",
  moves = "files were renamed or linked to another directory, which this kernel's Landlock forbids: there are no rules",
  bind = "it bound a port that the kernel had chosen, which differs each time: all ports may be bound",
  connect = "it connected to a port that the kernel had chosen, which differs each time: all ports may be connected to",
  values = "there were more values of an argument than are kept: the rest is left out",
  ports = "there were more ports than are kept: the rest is left out",
}

--- Say in words what a note means.
-- @tparam string note
-- @treturn string
function text.note(note)
  return text.NOTES[note] or quote(note)
end

local HEADER <const> = [[
-- What a program really used, recorded by carton learn: all else is denied. In a recipe:
--   local learned = dofile("FILE")
--   carton.container { seccomp = learned.seccomp, capabilities = learned.capabilities,
--     landlock = learned.landlock, ... }
-- Its environment may lead a program elsewhere another time: more runs are added with carton learn -o FILE.
-- It describes a program that is trusted, not one that knew that it was watched.
]]

--- Write profiles as a Lua file.
-- @tparam table profiles by name of the container
-- @tparam table about what goes into `learned`
-- @treturn string
function text.lua(profiles, about)
  local learned = { version = text.VERSION, architecture = about.architecture, kernel = about.kernel }
  local names, result = sorted(profiles), {}
  if #names == 1 then
    for key, value in pairs(profiles[names[1]]) do
      result[key] = value
    end
    learned.container = names[1]
  else
    result.containers = profiles
  end
  result.learned = learned
  local lines = { HEADER }
  for _, name in ipairs(names) do
    for _, note in ipairs(profiles[name].notes) do
      lines[#lines + 1] = "-- Note: " .. text.note(note) .. ".\n"
    end
  end
  lines[#lines + 1] = "return " .. write(result, "") .. "\n"
  return table.concat(lines)
end

local function refuse(path, why)
  error({ usage = true, message = ("%s is not a learned profile (%s), and is unchanged; name another file"):format(path,
    why) }, 0)
end

--- Read profiles from a file that `lua` wrote.
-- @tparam string path
-- @treturn ?table profiles by name; nil: there is no such file
-- @raise `carton.error`, or a table with `usage` and a message: it is no learned profile
function text.load(path)
  local file <close>, message, errno = io.open(path, "rb")
  if not file and errno == core.errno.ENOENT then
    return nil
  elseif not file then
    core.error { op = "open", path = path, errno = errno, message = message:gsub("^.*: ", "") }
  end
  local source = file:read("a")
  local value, why = require("carton.data").load(source or "", path)
  if not value then
    refuse(path, why)
  elseif type(value.learned) ~= "table" then
    refuse(path, "it has no table 'learned'")
  elseif value.learned.version ~= text.VERSION then
    refuse(path, ("version %s, not %d"):format(tostring(value.learned.version), text.VERSION))
  end
  local profiles = value.containers or { [value.learned.container or "container"] = value }
  if type(profiles) ~= "table" then
    refuse(path, "'containers' is not a table")
  end
  for name, made in pairs(profiles) do
    if type(name) ~= "string" or type(made) ~= "table" or type(made.seccomp) ~= "table" then
      refuse(path, "a container's profile has no field 'seccomp'")
    end
  end
  return profiles, value.learned
end

local function fail(op, path, errno)
  core.error { op = op, path = path, errno = errno }
end

-- A new file beside one that is to be written: what somebody has put there, a link above all, is left alone.
local function create(path)
  local stat = core.host.stat(path)
  if stat and stat.type ~= "file" then
    core.error { op = "write", path = path, message = "not a regular file, and it would be replaced by one" }
  end
  local part = ("%s.%08x.new"):format(path, math.random(0) & 0xffffffff)
  local file, _, errno = core.try(core.exec.open, part, "x")
  return part, file or fail("write", path, errno)
end

--- Look whether a file could be written, before something is done of which it shall tell.
-- @tparam string path
-- @raise `carton.error`
function text.try(path)
  local part, file = create(path)
  file:close()
  os.remove(part)
end

--- Write a file whole: there is the old one or the new one, nothing in between.
-- @tparam string path
-- @tparam string content
-- @raise `carton.error`
function text.save(path, content)
  local part, file = create(path)
  local _, _, errno = core.try(function()
    local at = 1
    while at <= #content do
      at = at + file:write(content, at)
    end
  end)
  file:close()
  if errno then
    os.remove(part)
    fail("write", path, errno)
  end
  local ok
  ok, _, errno = os.rename(part, path)
  if not ok then
    os.remove(part)
    fail("rename", path, errno)
  end
end

local OCI_ARCHITECTURES <const> = { x86_64 = "SCMP_ARCH_X86_64", i386 = "SCMP_ARCH_X86", aarch64 = "SCMP_ARCH_AARCH64",
  arm = "SCMP_ARCH_ARM" }

-- What crun and runc call themselves after they have installed the filter: they start the program, too.
local RUNTIME <const> = [[close close_range epoll_ctl epoll_pwait execve exit_group fcntl fstat fstatfs futex getdents64
  getpid getppid gettid madvise mmap mprotect munmap nanosleep newfstatat openat prctl read rt_sigaction rt_sigprocmask
  rt_sigreturn sched_yield setgid setgroups setresgid setresuid setuid tgkill write]]

local function oci_rule(names, action, args, errno)
  return { names = names, action = action, args = args, errnoRet = errno }
end

local function oci_filter(seccomp)
  local rules, plain, conditional = {}, {}, {}
  for name in RUNTIME:gmatch("%S+") do
    plain[name] = true
  end
  for _, rule in ipairs(seccomp.rules) do
    if rule.action == "allow" and not rule.args then
      for _, name in ipairs(rule.names) do
        plain[name] = true
      end
    end
  end
  for _, rule in ipairs(seccomp.rules) do
    local test = rule.args and rule.args[1]
    for _, name in ipairs(rule.names) do
      for _, value in ipairs(test and not plain[name] and test.value or {}) do
        conditional[name] = true
        rules[#rules + 1] = oci_rule({ name }, "SCMP_ACT_ALLOW", { { index = test.index, value = test.mask,
          valueTwo = value, op = "SCMP_CMP_MASKED_EQ" } })
      end
      -- a rule with arguments and one without can't stand side by side there: such a call has the default's errno
      if type(rule.action) == "table" and rule.action[2] ~= "ENOSYS" and not plain[name] and not conditional[name] then
        rules[#rules + 1] = oci_rule({ name }, "SCMP_ACT_ERRNO", nil, core.errno[rule.action[2]])
      end
    end
  end
  table.insert(rules, 1, oci_rule(sorted(plain), "SCMP_ACT_ALLOW"))
  local architectures = {}
  for i, arch in ipairs(seccomp.architectures) do
    architectures[i] = OCI_ARCHITECTURES[arch]
  end
  return { defaultAction = "SCMP_ACT_ERRNO", defaultErrnoRet = core.errno.ENOSYS, architectures = architectures,
    syscalls = rules }
end

local function with_prefix(names)
  local list = {}
  for i, name in ipairs(names) do
    list[i] = "CAP_" .. name
  end
  return list
end

--- Turn a profile into what the OCI runtime specification calls `linux.seccomp`, and Podman and Docker take as a file.
-- What a runtime itself calls behind the filter is allowed, too. Beside it, which they leave alone, are the
-- capabilities under the name that a config.json has for them.
-- @tparam table made as of `carton.learn.profile`
-- @treturn table `{ defaultAction =, ..., process = { noNewPrivileges = true, capabilities = ... } }`
-- @see carton.seccomp
function text.oci(made)
  local function set()
    return with_prefix(made.capabilities.add)
  end
  local filter = oci_filter(made.seccomp)
  local ambient = with_prefix(made.capabilities.ambient or {})
  filter.process = { noNewPrivileges = true, capabilities = { bounding = set(), effective = set(), permitted = set(),
    inheritable = ambient, ambient = ambient } }
  return filter
end

return text
