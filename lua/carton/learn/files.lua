-- SPDX-License-Identifier: MIT

--- The paths of a system call: found as the caller's side sees them, with the rights that their use takes.
--
-- A use is called as Landlock calls the right that it takes: `read_file read_dir write_file truncate execute ioctl_dev
-- make_reg make_dir make_sym make_sock make_fifo make_char make_block remove_file remove_dir refer`. `look` and
-- `attribute` take none. `DIRECTORY/*` stands for what is made in there under names that chance gives; a file that is
-- called `*` is `[*]`. What is below /proc/PID is called by the name `self`, or `PID` when it is another's.
-- @module carton.learn.files
local calls = require("carton.learn.calls")
local files = {}

local AT_FDCWD <const>, AT_SYMLINK_NOFOLLOW <const>, AT_REMOVEDIR <const> = -100, 0x100, 0x200
local AT_SYMLINK_FOLLOW <const> = 0x400
local O_ACCMODE <const>, O_CREAT <const>, O_TRUNC <const>, O_EXCL <const> = 3, 0x40, 0x200, 0x80
local O_NOATIME <const>, O_PATH <const>, O_TMPFILE <const> = 0x40000, 0x200000, 0x400000
local O_DIRECTORY <const> = { x86_64 = 0x10000, i386 = 0x10000, aarch64 = 0x4000, arm = 0x4000 }
local O_NOFOLLOW <const> = { x86_64 = 0x20000, i386 = 0x20000, aarch64 = 0x8000, arm = 0x8000 }
local S_IFMT <const> = 0xf000
local HEAD <const> = 4096
local KNOWN_MAX <const> = 4096
local R <const>, W <const>, X <const> = 4, 2, 1

local NODES <const> = { [0x0000] = "make_reg", [0x8000] = "make_reg", [0x1000] = "make_fifo", [0xc000] = "make_sock",
  [0x2000] = "make_char", [0x6000] = "make_block" }
local MADE <const> = { file = "make_reg", directory = "make_dir", link = "make_sym", fifo = "make_fifo",
  socket = "make_sock", char = "make_char", block = "make_block" }
local STANDARD <const> = { stdin = "0", stdout = "1", stderr = "2" }

local methods = {}
local meta = { __name = "carton.learn.files", __index = methods }

--- Begin with a container whose paths are recorded.
-- @tparam function note is told `path`, `use`, the call, and whether it is about any file in there
-- @tparam[opt=false] boolean every tell each use of a path, not only the first
-- @treturn files
function files.new(note, every)
  return setmetatable({ note = note, every = every, seen = {}, count = 0, open = {} }, meta)
end

--- Forget what is known of paths: they may lead elsewhere now.
-- @function files:forget
function methods:forget()
  self.seen, self.count, self.open = {}, 0, {}
end

-- However many paths there are, not more are remembered.
local function bound(self)
  if self.count >= KNOWN_MAX then
    self:forget()
  end
end

local function look(who, path, nofollow, head)
  return who.call.supervisor.listener:look(who.call.id, who.pid, path, nofollow, head)
end

local function directory_of(path)
  local parent = path:match("^(.*)/[^/]*$")
  return parent == "" and "/" or parent
end

-- A path from the caller's root, of one from that of its mount namespace.
local function inside(who, path)
  local root = who.root
  if root == "/" or not root then
    return path
  end
  return path == root and "/" or path:sub(1, #root + 1) == root .. "/" and path:sub(#root + 1) or path
end

-- What the links of procfs that mean the caller lead to; false: to no file.
local function through_self(who, path)
  local name, rest = path:match("^/proc/self/([^/]+)(.*)$")
  if not name then
    name, rest = path:match("^/proc/thread%-self/([^/]+)(.*)$")
  end
  local standard = path:match("^/dev/(std%l+)$")
  if standard then
    name, rest = "fd", "/" .. (STANDARD[standard] or "")
  elseif path:find("^/dev/fd/") then
    name, rest = "fd", path:sub(8)
  end
  if name == "fd" and rest:find("^/%d") then
    local number, further = rest:match("^/(%d+)(.*)$")
    name, rest = "fd/" .. number, further
  elseif name ~= "exe" and name ~= "cwd" and name ~= "root" then
    return nil
  end
  local target = who:link(name)
  return target ~= nil and target:sub(1, 1) == "/" and inside(who, target) .. rest
end

-- Names of procfs are numbers that chance gives.
local function stable(who, path)
  local number, rest = path:match("^/proc/(%d+)(.*)$")
  if not number then
    return (path:gsub("^/proc/thread%-self", "/proc/self"))
  end
  return ("/proc/%s%s"):format(who:ids().number == number and "self" or "PID", rest:gsub("^/task/%d+", "/task/TID"))
end

-- What the caller may see, but not whoever looks, who has none of its capabilities: as it is written, from the last
-- directory on that can be found.
local function unseen(who, text)
  local rest = ""
  while text:find("/", 2, true) do
    local parent, name = text:match("^(.*)/([^/]*)$")
    text, rest = parent, name ~= "" and "/" .. name .. rest or rest
    local found = look(who, text)
    if found then
      return { path = stable(who, (found.path == "/" and "" or found.path) .. rest), exists = true, type = "file",
        mode = 511 }
    end
  end
end

--- Find what a path leads to.
-- @tparam caller who
-- @tparam string text the path
-- @tparam ?int dirfd where it begins
-- @tparam[opt=false] boolean nofollow a link that it ends in is meant itself
-- @tparam[opt=false] boolean head with its first bytes
-- @treturn ?table `{ path =, exists =, type =, mode =, uid =, gid =, head = }`; nil: there is no such path
function files.resolve(who, text, dirfd, nofollow, head)
  if not who.root then
    who.root = who:link("root") or "/"
  end
  if text:sub(1, 1) ~= "/" then
    local base = who:link((dirfd or AT_FDCWD) == AT_FDCWD and "cwd" or "fd/" .. dirfd)
    if not base or base:sub(1, 1) ~= "/" then
      return nil -- a pipe, or nothing at all
    end
    text = inside(who, base):gsub("/$", "") .. (text ~= "" and "/" .. text or "")
    text = text == "" and "/" or text
  end
  local other = not nofollow and through_self(who, text)
  if other == false and text:find("^/dev/") then
    return nil
  elseif other then
    text = other
  elseif text:find("^/proc/self/?") or text:find("^/proc/thread%-self") then
    return { path = stable(who, text):gsub("/$", ""), exists = true, type = "file", mode = 365, uid = 0, gid = 0 }
  end
  local found, why = look(who, text, nofollow, head and HEAD or 0)
  if found then
    found.path = stable(who, found.path:gsub(" %(deleted%)$", ""))
    found.exists = true
    return found
  elseif why == "EACCES" then
    return unseen(who, text)
  elseif why == "EPERM" then
    who.hidden()
  end
  if why ~= "ENOENT" then
    return nil
  end
  local parent, name = text:gsub("/+$", ""):match("^(.*)/([^/]+)$")
  if not name or name == "." or name == ".." then
    return nil
  end
  found = look(who, parent == "" and "/" or parent)
  if not found or found.type ~= "directory" then
    return nil
  end
  return { path = stable(who, (found.path == "/" and "" or found.path) .. "/" .. name), exists = false }
end

-- Whether everybody may.
local function is_open(stat, want)
  local all = want * 73 -- 0111
  return stat.mode & all == all
end

-- Whether the mode allows it to the caller.
local function is_allowed(who, stat, want)
  local ids = who:ids()
  local shift = not ids.Uid.fs and 0 or ids.Uid.fs == stat.uid and 6 or who:is_member(stat.gid) and 3 or 0
  return stat.mode >> shift & want == want
end

-- Ask for the capability that a mode makes necessary; true when nobody needs one.
local function check(who, stat, want)
  if is_open(stat, want) or stat.type == "link" then
    return true
  elseif not is_allowed(who, stat, want) and who:is_mapped(stat) then
    local searches = stat.type == "directory" and want & W == 0 or want == R
    who.need(searches and who:has("DAC_READ_SEARCH") and "DAC_READ_SEARCH" or "DAC_OVERRIDE", stat)
  end
  return false
end

-- Look at a directory, which may be remembered when everybody may search it.
local function check_directory(self, who, path, want)
  local known = self.open[path]
  if known and is_open(known, want) then
    return known, true
  end
  local stat = look(who, inside(who, path), true)
  if not stat then
    return nil, false
  end
  local open = check(who, stat, want)
  bound(self)
  self.open[path], self.count = stat, self.count + 1
  return stat, open
end

-- All directories on the way to a path have to be searched.
local function check_way(self, who, path)
  local open, directory = true, path
  if path:sub(1, 6) == "/proc/" then
    return true -- which has rules of its own
  end
  while directory ~= "/" do
    directory = directory_of(directory)
    local _, is_free = check_directory(self, who, directory, X)
    open = open and is_free
  end
  return open
end

-- What is in a sticky directory belongs to its owner: unlink(2).
local function check_sticky(who, directory, target)
  if directory and directory.mode & 512 ~= 0 and target.exists then
    local fs = who:ids().Uid.fs
    if target.uid and fs ~= target.uid and fs ~= directory.uid and who:is_mapped(target) then
      who.need("FOWNER", target)
    end
  end
end

-- A name that is made or removed.
local function change_directory(self, who, target)
  local directory = check_directory(self, who, directory_of(target.path), W | X)
  check_sticky(who, directory, target)
end

local hows = {}

function hows.look(self, who, target)
  if target.exists then
    self.note(target.path, "look", who.call)
  end
end

function hows.attribute(self, who, target)
  if target.exists then
    self.note(target.path, "attribute", who.call)
  end
end

local function open_flags(call, entry)
  if entry.how2 then
    return string.unpack("=I8", call:bytes(entry.how2, 8))
  end
  return entry.bits or call.args[entry.open]
end

local function open_existing(self, who, target, flags)
  local mode, want = flags & O_ACCMODE, 0
  local function use(word)
    self.note(target.path, word, who.call)
  end
  if mode ~= 1 then
    want = R
    use((target.type == "directory" or flags & O_DIRECTORY[who.call.arch] ~= 0) and "read_dir" or "read_file")
  end
  if mode ~= 0 then
    want = want | W
    use("write_file")
  end
  if flags & O_TRUNC ~= 0 and target.type == "file" then
    want = want | W
    use("truncate")
  end
  if flags & O_NOATIME ~= 0 and target.uid and who:ids().Uid.fs ~= target.uid then
    who.need("FOWNER", target)
  end
  return target.path:sub(1, 6) == "/proc/" or check(who, target, want)
end

function hows.open(self, who, target, entry)
  local flags = open_flags(who.call, entry)
  if flags & O_PATH ~= 0 then
    hows.look(self, who, target)
  elseif flags & O_TMPFILE ~= 0 and target.type == "directory" then
    self.note(target.path, "make_reg", who.call, true)
    self.note(target.path, "write_file", who.call, true)
    self.note(target.path, flags & O_ACCMODE == 1 and "write_file" or "read_file", who.call, true)
    return check(who, target, W | X)
  elseif target.exists then
    if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL then
      return false -- which fails
    end
    return open_existing(self, who, target, flags)
  elseif flags & O_CREAT ~= 0 then
    self.note(target.path, "make_reg", who.call)
    target.type, target.mode, target.uid = "file", 511, who:ids().Uid.fs
    open_existing(self, who, target, flags)
    change_directory(self, who, target)
    self:forget()
  end
  return false
end

-- The loader that an ELF file names.
local function elf_interpreter(head)
  local class, order = head:byte(5, 6)
  local wide, e = class == 2, order == 2 and ">" or "<"
  if #head < 64 then
    return nil
  end
  local offset = string.unpack(e .. (wide and "I8" or "I4"), head, wide and 33 or 29)
  local size, count = string.unpack(e .. "I2I2", head, wide and 55 or 43)
  for i = 0, math.min(count, 64) - 1 do
    local from = offset + i * size + 1
    if from < 1 or from + 40 > #head then
      return nil
    end
    if string.unpack(e .. "I4", head, from) == 3 then -- PT_INTERP
      local at = string.unpack(e .. (wide and "I8" or "I4"), head, from + (wide and 8 or 4))
      return at >= 0 and at < #head and head:sub(at + 1):match("^(/[^%z]+)%z") or nil
    end
  end
end

local function interpreter(head)
  if head:sub(1, 2) == "#!" then
    return head:match("^#![ \t]*([^ \t\n%z]+)")
  elseif head:sub(1, 4) == "\127ELF" then
    return elf_interpreter(head)
  end
end

--- Note that a program is executed, with all that executes it: interpreters and the loader.
-- @function files:execute
-- @tparam caller who
-- @tparam table target as of `resolve`, with its head
-- @tparam[opt=1] int depth of interpreters
-- @treturn boolean whether everybody may
function methods:execute(who, target, depth)
  if not target.exists or target.type ~= "file" then
    return false
  end
  self.note(target.path, "execute", who.call)
  local open = check_way(self, who, target.path) and check(who, target, X)
  local next = target.head and interpreter(target.head)
  if next and (depth or 1) < 6 then
    local found = files.resolve(who, next, nil, false, true)
    open = found and self:execute(who, found, (depth or 1) + 1) and open
  end
  return open and true or false
end

function hows.execute(self, who, target)
  return self:execute(who, target)
end

local function make(self, who, target, use)
  if not target.exists then
    self.note(target.path, use, who.call)
    change_directory(self, who, target)
  end
end

for _, use in ipairs { "make_dir", "make_sym" } do
  hows[use] = function(self, who, target)
    make(self, who, target, use)
  end
end

function hows.mknod(self, who, target, entry)
  make(self, who, target, NODES[who.call.args[entry.mode] & S_IFMT] or "make_reg")
end

for _, use in ipairs { "remove_file", "remove_dir" } do
  hows[use] = function(self, who, target)
    if target.exists then
      self.note(target.path, use, who.call)
      change_directory(self, who, target)
    end
  end
end

function hows.unlinkat(self, who, target, entry)
  local removes = who.call.args[entry.bits_at] & AT_REMOVEDIR ~= 0
  return hows[removes and "remove_dir" or "remove_file"](self, who, target)
end

function hows.truncate(self, who, target)
  if target.exists then
    self.note(target.path, "truncate", who.call)
    return check(who, target, W)
  end
end

local function refer(self, who, from, to)
  if directory_of(from.path) ~= directory_of(to.path) then
    self.note(from.path, "refer", who.call)
    self.note(to.path, "refer", who.call)
  end
end

function hows.rename(self, who, from, entry, to)
  if not to or not from.exists then
    return
  end
  local exchange = entry.bits_at and who.call.args[entry.bits_at] & 2 ~= 0
  local function remove(target)
    self.note(target.path, target.type == "directory" and "remove_dir" or "remove_file", who.call)
  end
  remove(from)
  self.note(to.path, MADE[from.type], who.call)
  if exchange and to.exists then
    self.note(from.path, MADE[to.type], who.call)
  end
  if to.exists then
    remove(to)
  end
  refer(self, who, from, to)
  change_directory(self, who, from)
  change_directory(self, who, to)
end

function hows.link(self, who, from, _, to)
  if not to or not from.exists or to.exists then
    return
  end
  self.note(from.path, "look", who.call)
  make(self, who, to, MADE[from.type] or "make_reg")
  refer(self, who, from, to)
  if from.uid and who:ids().Uid.fs ~= from.uid and (from.type ~= "file" or from.mode & 2048 ~= 0
    or not is_allowed(who, from, R | W)) then
    who.need("FOWNER", from) -- proc(5) protected_hardlinks
  end
end

-- The path of an entry, found; with whether AT_* flags follow links.
local function target_of(who, entry)
  local call = who.call
  local text = call:string(entry.path)
  local dirfd = entry.dir and calls.int(call.args[entry.dir])
  local flags = entry.flags and call.args[entry.flags] or 0
  local nofollow = entry.nofollow or flags & AT_SYMLINK_NOFOLLOW ~= 0
  if entry.follow_flag then
    nofollow = call.args[entry.follow_flag] & AT_SYMLINK_FOLLOW == 0
  elseif entry.how == "open" and not entry.bits then
    local bits = open_flags(call, entry)
    nofollow = bits & O_NOFOLLOW[call.arch] ~= 0 or bits & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL
  end
  if text == nil or text == "" then
    local number = dirfd and dirfd >= 0 and who:link("fd/" .. dirfd)
    if not number or number:sub(1, 1) ~= "/" or number:find("^/memfd:") or number:find(" %(deleted%)$") then
      return nil
    end
    text, nofollow, dirfd = number, false, nil
  end
  return files.resolve(who, text, dirfd, nofollow, entry.how == "execute")
end

-- What is known of an absolute path under the same name and flags.
local function key_of(call, entry)
  local text = call:string(entry.path)
  if not text or text:sub(1, 1) ~= "/" or entry.how == "attribute" then
    return nil
  end
  return ("%s:%d:%s"):format(entry.how, entry.open and call.args[entry.open] or entry.how2 and open_flags(call, entry)
    or entry.flags and call.args[entry.flags] or 0, text)
end

--- Note the paths of a call and the rights that it takes for them.
-- @function files:record
-- @tparam caller who
-- @treturn {table,...} what its paths were found to be, in their order; empty for what is known already
function methods:record(who)
  local found = {}
  for _, entry in ipairs(calls.paths[who.call.name]) do
    local key = not calls.moving[who.call.name] and key_of(who.call, entry)
    if not key or not self.seen[key] then
      local target = target_of(who, entry)
      local to = entry.to and target_of(who, entry.to)
      local open = not target -- what is not there, nobody needs anything for
      if target then
        found[#found + 1] = target
        open = check_way(self, who, target.path)
        open = hows[entry.how](self, who, target, entry, to) ~= false and open
      end
      if key and open and not self.every then
        bound(self)
        self.seen[key], self.count = true, self.count + 1
      end
    end
  end
  return found
end

--- Note what a call does with a file that is open.
-- @function files:record_descriptor
-- @tparam caller who
-- @tparam function is_known tells whether a path was recorded already; others came from outside
-- @treturn ?table what the file was found to be
function methods:record_descriptor(who, is_known)
  local call = who.call
  local path = who:link("fd/" .. calls.int(call.args[1]))
  if not path or path:sub(1, 1) ~= "/" or path:find(" %(deleted%)$") then
    return nil
  end
  local found = files.resolve(who, inside(who, path))
  local use = calls.descriptors[call.name]
  if found and found.exists and is_known(found.path)
    and (use ~= "ioctl_dev" or found.type == "char" or found.type == "block") then
    self.note(found.path, use, call)
  end
  return found
end

--- Note the program that a container begins with, which was executed before its first call.
-- @function files:begin
-- @tparam caller who
-- @tparam string program as the plan has it
-- @tparam ?string search the PATH
function methods:begin(who, program, search)
  local places = {}
  if program:find("/", 1, true) then
    places[1] = program
  else
    for directory in ((search or "") .. ":"):gmatch("([^:]*):") do
      places[#places + 1] = (directory == "" and "." or directory) .. "/" .. program
    end
  end
  for _, place in ipairs(places) do
    local found = files.resolve(who, place, nil, false, true)
    if found and found.exists and found.type == "file" and found.mode & 73 ~= 0 then
      self:execute(who, found)
      return
    end
  end
end

--- Tell the program of a process, as it runs.
-- @function files:running
-- @tparam caller who
function methods:running(who)
  local exe = who:link("exe")
  local found = exe and exe:sub(1, 1) == "/" and not exe:find("^/memfd:") and files.resolve(who, inside(who, exe), nil,
    false, true)
  if found then
    self:execute(who, found)
  end
end

return files
