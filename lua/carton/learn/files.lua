-- SPDX-License-Identifier: MIT

--- The paths of a system call: found as the caller's side sees them, with the rights that their use takes.
--
-- A use is called as Landlock calls the right that it takes: `read_file read_dir write_file truncate execute ioctl_dev
-- make_reg make_dir make_sym make_sock make_fifo make_char make_block remove_file remove_dir refer`. `look` and
-- `attribute` take none. `DIRECTORY/*` stands for all below a directory in which chance gives the names; a file that is
-- called `*` is `[*]`, and `[*]` is `[[*]]`. What is below /proc/PID is called by the name `self`, or `PID` when it is
-- another's; a terminal is /dev/pts/N.
-- @module carton.learn.files
local calls = require("carton.learn.calls")
local core = require("carton.core")
local files = {}

local AT_FDCWD <const>, AT_SYMLINK_NOFOLLOW <const>, AT_REMOVEDIR <const> = -100, 0x100, 0x200
local AT_SYMLINK_FOLLOW <const> = 0x400
local O_ACCMODE <const>, O_CREAT <const>, O_TRUNC <const>, O_EXCL <const> = 3, 0x40, 0x200, 0x80
local O_NOATIME <const>, O_PATH <const>, O_TMPFILE <const> = 0x40000, 0x200000, 0x400000
local TIOCGPTPEER <const> = 0x5441
local O_DIRECTORY <const> = { x86_64 = 0x10000, i386 = 0x10000, aarch64 = 0x4000, arm = 0x4000 }
local O_NOFOLLOW <const> = { x86_64 = 0x20000, i386 = 0x20000, aarch64 = 0x8000, arm = 0x8000 }
local S_IFMT <const> = 0xf000
local HEAD <const> = 4096
local LINKS <const> = 8
local KNOWN_MAX <const> = 4096
local R <const>, W <const>, X <const> = 4, 2, 1

local NODES <const> = { [0x0000] = "make_reg", [0x8000] = "make_reg", [0x1000] = "make_fifo", [0xc000] = "make_sock",
  [0x2000] = "make_char", [0x6000] = "make_block" }
local MADE <const> = { file = "make_reg", directory = "make_dir", link = "make_sym", fifo = "make_fifo",
  socket = "make_sock", char = "make_char", block = "make_block" }
local STANDARD <const> = { stdin = "0", stdout = "1", stderr = "2" }

local methods = {}
local meta = { __name = "carton.learn.files", __index = methods }

-- Whether a name is `*`, in as many brackets as this says.
local function stars(name)
  local before, after = name:match("^(%[*)%*(%]*)$")
  return before and #before == #after and #before
end

--- Write a path so that no name in it is taken for a pattern.
-- @tparam string path
-- @treturn string
function files.escape(path)
  return (path:gsub("[^/]+", function(name)
    return stars(name) and "[" .. name .. "]"
  end))
end

--- Give the path that `escape` wrote.
-- @tparam string path
-- @treturn string
function files.unescape(path)
  return (path:gsub("[^/]+", function(name)
    return (stars(name) or 0) > 0 and name:sub(2, -2)
  end))
end

--- Begin with a container whose paths are recorded.
-- @tparam table to `note(path, use, call)` is told each use of a path, as `escape` writes it, `move(kind, from, to,
--   call)` what is renamed or linked from one directory to another, and `is_opened(path)` tells whether a path was
--   recorded
-- @tparam[opt=false] boolean every tell each use of a path, not only the first
-- @treturn files
function files.new(to, every)
  return setmetatable({ to = to, every = every, seen = {}, count = 0, open = {}, directories = 0 }, meta)
end

--- Forget what is known of paths: they may lead elsewhere now.
-- @function files:forget
-- @tparam string what `names`: directories let in whom they did; `all`
function methods:forget(what)
  self.seen, self.count = {}, 0
  if what == "all" then
    self.open, self.directories = {}, 0
  end
end

-- However many paths there are, not more are remembered.
local function bound(self)
  if self.count + self.directories >= KNOWN_MAX then
    self:forget("all")
  end
end

local function look(who, path, nofollow, head)
  return who.call.supervisor.listener:look(who.call.id, who.pid, path, nofollow, head)
end

local function directory_of(path)
  local parent = path:match("^(.*)/[^/]*$")
  return parent == "" and "/" or parent
end

-- The name of a file under which it is recorded: one that has none is any in its directory.
local function name_of(target)
  local directory = target.nameless and directory_of(target.path) or nil
  return directory and files.escape(directory == "/" and "" or directory) .. "/*" or files.escape(target.path)
end

-- Record a use of a file.
local function note(self, who, target, use)
  self.to.note(name_of(target), use, who.call)
end

-- A path from the caller's root, of one from that of its mount namespace.
local function inside(who, path)
  who.root = who.root or who:link("root") or "/"
  local root = who.root
  if root == "/" then
    return path
  end
  return path == root and "/" or path:sub(1, #root + 1) == root .. "/" and path:sub(#root + 1) or path
end

-- A file that the caller has open, by its name; nil: there is no such file, as of a pipe, or one that only lives in
-- memory, which Landlock leaves alone.
local function open_file(who, number)
  local path = who:link("fd/" .. number)
  if not path or path:sub(1, 1) ~= "/" or path:find("^/memfd:") then
    return nil
  end
  local stat = core.host.stat(("/proc/%d/fd/%s"):format(who.pid, number))
  if not stat then
    return nil
  end
  local gone = stat.links == 0 and path:find(" %(deleted%)$")
  return { path = inside(who, gone and path:sub(1, gone - 1) or path), exists = true, gone = gone and true,
    nameless = gone and path:find("/#%d+ %(deleted%)$") and true, type = stat.type, mode = tonumber(stat.mode, 8),
    uid = stat.uid, gid = stat.gid }
end

-- What the links of procfs that mean the caller lead to: a path, or a file whose name is gone; false: to no file.
local function through_self(who, path)
  local name, rest = path:match("^/proc/self/([^/]+)(.*)$")
  if not name then
    name, rest = path:match("^/proc/thread%-self/([^/]+)(.*)$")
  end
  if not name and path:find("^/proc/%d+/") then
    name, rest = path:match(("^/proc/%s/([^/]+)(.*)$"):format(who:ids().number))
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
  local open = rest == "" and name:find("^fd/") and open_file(who, name:sub(4))
  if open and open.gone then
    return open
  end
  local target = who:link(name)
  return target ~= nil and target:sub(1, 1) == "/" and inside(who, target) .. rest
end

-- Names of procfs are numbers that chance gives.
local function stable(who, path)
  local number, rest = path:match("^/proc/(%d+)(.*)$")
  if not number then
    return (path:gsub("^/proc/thread%-self", "/proc/self"):gsub("^/dev/pts/%d+$", "/dev/pts/N"))
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
-- @tparam[opt=0] int links that were followed to places where nothing is
-- @treturn ?table `{ path =, exists =, type =, mode =, uid =, gid =, mount =, head = }`, of an open file without a name
--   with `gone`; nil: there is no such path
function files.resolve(who, text, dirfd, nofollow, head, links)
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
  elseif type(other) == "table" then
    return other
  elseif other then
    text = other
  elseif text:find("^/proc/self/?") or text:find("^/proc/thread%-self") then
    return { path = stable(who, text):gsub("/$", ""), exists = true, type = "file", mode = 365, uid = 0, gid = 0 }
  end
  local found, why = look(who, text, nofollow, head and HEAD or 0)
  if found then
    found.path = stable(who, found.path)
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
  links = links or 0
  local link = not nofollow and links < LINKS and look(who, text, true, HEAD)
  if link and link.type == "link" and link.head then -- to what is not there, and is made there
    local directory = link.head:sub(1, 1) == "/" and "" or directory_of(inside(who, link.path))
    return files.resolve(who, directory .. "/" .. link.head, nil, false, head, links + 1)
  end
  local parent, name = text:gsub("/+$", ""):match("^(.*)/([^/]+)$")
  if not name or name == "." or name == ".." then
    return nil
  end
  found = look(who, parent == "" and "/" or parent)
  if not found or found.type ~= "directory" then
    return nil
  end
  return { path = stable(who, (found.path == "/" and "" or found.path) .. "/" .. name), exists = false,
    mount = found.mount }
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
  self.open[path], self.directories = stat, self.directories + 1
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
    note(self, who, target, "look")
  end
end

function hows.attribute(self, who, target)
  if target.exists then
    note(self, who, target, "attribute")
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
    note(self, who, target, word)
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
    local file = { path = target.path .. "/", nameless = true }
    note(self, who, file, "make_reg")
    note(self, who, file, "write_file")
    note(self, who, file, flags & O_ACCMODE == 1 and "write_file" or "read_file")
    return check(who, target, W | X)
  elseif target.exists then
    if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL then
      return false -- which fails
    end
    return open_existing(self, who, target, flags)
  elseif flags & O_CREAT ~= 0 then
    note(self, who, target, "make_reg")
    target.type, target.mode, target.uid = "file", 511, who:ids().Uid.fs
    open_existing(self, who, target, flags)
    change_directory(self, who, target)
    self:forget("names")
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
    if from < 1 or from > #head - 40 then
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
  note(self, who, target, "execute")
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
    note(self, who, target, use)
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
      note(self, who, target, use)
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
    note(self, who, target, "truncate")
    return check(who, target, W)
  end
end

-- Whether a file could be renamed or linked to a place at all: never to another mount.
local function is_near(from, to)
  return not from.mount or not to.mount or from.mount == to.mount
end

-- From one directory to another Landlock wants more.
local function refer(self, who, from, to)
  local one, other = name_of(from), name_of(to)
  if directory_of(one) ~= directory_of(other) then
    note(self, who, from, "refer")
    note(self, who, to, "refer")
    self.to.move(MADE[from.type] or "make_reg", one, other, who.call)
  end
end

function hows.rename(self, who, from, entry, to)
  if not to or not from.exists then
    return
  end
  local exchange = entry.bits_at and who.call.args[entry.bits_at] & 2 ~= 0 and to.exists
  local function remove(target)
    note(self, who, target, target.type == "directory" and "remove_dir" or "remove_file")
  end
  if not is_near(from, to) then
    note(self, who, from, "look")
    return
  end
  remove(from)
  note(self, who, to, MADE[from.type] or "make_reg")
  if to.exists then
    remove(to)
  end
  refer(self, who, from, to)
  if exchange then
    note(self, who, from, MADE[to.type] or "make_reg")
    refer(self, who, to, from)
  end
  change_directory(self, who, from)
  change_directory(self, who, to)
end

function hows.link(self, who, from, _, to)
  if not to or not from.exists or to.exists then
    return
  end
  note(self, who, from, "look")
  if not is_near(from, to) then
    return
  end
  make(self, who, to, MADE[from.type] or "make_reg")
  refer(self, who, from, to)
  if from.uid and who:ids().Uid.fs ~= from.uid and (from.type ~= "file" or from.mode & 2048 ~= 0
    or not is_allowed(who, from, R | W)) then
    who.need("FOWNER", from) -- proc(5) protected_hardlinks
  end
end

-- The path of an entry, found; with whether AT_* flags follow links.
local function target_of(self, who, entry)
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
    local open = dirfd and dirfd >= 0 and open_file(who, dirfd)
    if not open or open.gone then
      return open and self.to.is_opened(name_of(open)) and open or nil
    end
    text, nofollow, dirfd = open.path, false, nil
  end
  local found = files.resolve(who, text, dirfd, nofollow, entry.how == "execute")
  if found and found.gone and not self.to.is_opened(name_of(found)) then
    return nil -- from outside
  end
  return found
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
      local target = target_of(self, who, entry)
      local to = entry.to and target_of(self, who, entry.to)
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

--- Note the path of a socket.
-- @function files:record_socket
-- @tparam caller who
-- @tparam string path
function methods:record_socket(who, path)
  local found = files.resolve(who, path, nil, who.call.name == "bind")
  if found and who.call.name == "bind" then
    make(self, who, found, "make_sock")
  elseif found then
    hows.look(self, who, found)
  end
end

--- Note what a call does with a file that is open.
-- @function files:record_descriptor
-- @tparam caller who
-- @treturn ?table what the file was found to be
function methods:record_descriptor(who)
  local call = who.call
  local open = open_file(who, calls.int(call.args[1]))
  local found = open and (open.gone and open or files.resolve(who, open.path))
  local use = calls.descriptors[call.name]
  if found and found.exists and self.to.is_opened(name_of(found)) -- others came from outside
    and (use ~= "ioctl_dev" or found.type == "char" or found.type == "block") then
    note(self, who, found, use)
    if use == "ioctl_dev" and call.args[2] & 0xffffffff == TIOCGPTPEER then -- which opens the other side
      open_existing(self, who, { path = "/dev/pts/N", type = "char", mode = 438 }, call.args[3])
    end
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

return files
