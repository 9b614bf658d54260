-- SPDX-License-Identifier: MIT

--- What a container's standard input, output and error are connected to.
-- @module carton.stdio
local core = require("carton.core")
local exec = core.exec
local stdio = {}

local CAPTURE_MAX <const> = 16 << 20 -- bytes that are kept of a captured stream by default
local NAMES <const> = { "stdin", "stdout", "stderr" }

local function fail(name, format, ...)
  core.misuse(("container: field '%s': "):format(name) .. format:format(...))
end

local function is_handle(value)
  return type(value) == "userdata" or math.type(value) == "integer"
end

--- Say in a word what a field means, for a plan that is only looked at.
-- @tparam string name `stdin`, `stdout` or `stderr`
-- @param value the field
-- @treturn string|int
function stdio.word(name, value)
  local number = name == "stdin" and 0 or name == "stdout" and 1 or 2
  for key in pairs(type(value) == "table" and value or {}) do
    if not (key == "path" or (key == "mode" and value.path) or (key == "data" and not value.path)
      or (key == "capture" and not value.path and not value.data)) then
      fail(name, "unknown field '%s'", tostring(key))
    end
  end
  if type(value) == "table" and value.capture ~= nil and name ~= "stdin" then
    if math.type(value.capture) ~= "integer" or value.capture < 0 then
      fail(name, "'capture': a number of bytes expected")
    end
    return "capture"
  end
  if value == nil or value == "inherit" then
    return number
  elseif value == "null" or (value == "capture" and name ~= "stdin")
    or (value == "stdout" and name == "stderr") then
    return value
  elseif type(value) == "table" and type(value.path) == "string" then
    return value.path
  elseif io.type(value) then
    fail(name, "a file of io.open has a buffer of its own: { path = } or a handle of carton.exec.open expected")
  elseif is_handle(value) then
    return value
  elseif type(value) == "function" or (name == "stdin"
    and (type(value) == "string" or type(value) == "table" and type(value.data) == "string")) then
    return "pipe"
  end
  fail(name, "\"inherit\", \"null\", %s, a function, { path = } or a handle expected, got %s",
    name == "stdin" and "a string, { data = }" or "\"capture\", { capture = bytes }",
    type(value) == "string" and ("'%s'"):format(value) or type(value))
end

-- Give our end of a pipe to the loop, the other to the program.
local function pipe(prepared, name, stream)
  local reader, writer = exec.pipe()
  local ours, theirs = reader, writer
  if name == "stdin" then
    ours, theirs = writer, reader
  end
  stream.name, stream.descriptor, stream.events = name, ours:nonblocking(),
    name == "stdin" and "w" or "r"
  prepared.streams[#prepared.streams + 1] = stream
  prepared.temporary[#prepared.temporary + 1] = theirs
  return theirs
end

local function open(prepared, descriptor)
  prepared.temporary[#prepared.temporary + 1] = descriptor
  return descriptor
end

-- A directory leads out of the container: openat(0, "..") is the host's. A path descriptor may be one, or reopen it.
local function check_kind(name, descriptor, path)
  local kind, is_path = exec.file_type(descriptor)
  if kind == "directory" or is_path then
    core.error { op = name, path = path or tostring(descriptor), code = is_path and "EBADF" or "EISDIR",
      message = is_path and "a path descriptor can't be read or written"
        or "a directory would lead the program out of its root",
      hint = not path and "the field 'descriptors' passes one on purpose" or nil }
  end
  return kind
end

-- Data that this process passes on stops when it ends.
local function check_fed(name, fields, path)
  if fields.die_with_parent == false then
    core.error { op = name, path = path, code = "EINVAL", message = "the recipe would pass this file's data on, and "
      .. "a container with die_with_parent = false outlives it", hint = "give it a handle of carton.exec.open" }
  end
end

-- A process can reopen a file that it holds, as /proc/self/fd/0, in another mode: proc_pid_fd(5). So a file to read is
-- opened on a read-only mount; where the caller cannot mount, its content is fed through a pipe.
local function open_input(prepared, fields, name, path)
  local file = exec.open(path, "r")
  local kind = check_kind(name, file, path)
  if kind ~= "file" and kind ~= "block" then
    return open(prepared, file)
  end
  local tree <close> = kind == "file" and core.try(core.mount.open_tree, path, { options = { "ro", "nosuid" } }) or nil
  if tree then
    file:close()
    return open(prepared, exec.reopen(tree, "r"))
  end
  check_fed(name, fields, path)
  return pipe(prepared, name, { source = function() return file:read() end, file = file, pending = "", at = 1 })
end

-- Likewise, a file opened for appending could be reopened to read or overwrite it.
local function open_appended(prepared, fields, name, path)
  check_fed(name, fields, path)
  local file = exec.open(path, "a")
  return pipe(prepared, name, { file = file, sink = function(data)
    local at = 1
    while at <= #data do
      at = at + file:write(data, at)
    end
  end })
end

local function connect(prepared, fields, name, value)
  local word = stdio.word(name, value)
  if word == "null" then
    return open(prepared, exec.null())
  elseif word == "capture" then
    return pipe(prepared, name, { chunks = {}, left = type(value) == "table" and value.capture or CAPTURE_MAX })
  elseif word == "stdout" then
    return prepared.fds[2]
  elseif word == "pipe" and name == "stdin" then
    local data = type(value) == "table" and value.data or value
    return pipe(prepared, name, { source = type(data) == "function" and data,
      pending = type(data) == "string" and data or "", at = 1 })
  elseif word == "pipe" then
    return pipe(prepared, name, { sink = value })
  elseif type(value) == "table" then
    local mode = value.mode or (name == "stdin" and "r" or "w")
    if mode == "r" then
      return open_input(prepared, fields, name, value.path)
    elseif mode == "a" then
      return open_appended(prepared, fields, name, value.path)
    end
    return open(prepared, exec.open(value.path, mode))
  elseif not fields.terminal then
    check_kind(name, word)
  end
  return word
end

--- Open what the fields of a container ask for.
-- @tparam table fields `stdin`: `"inherit"`, `"null"`, a string that is fed, `{ data = string }`, or a function that
--   gives strings and then nil; `stdout` and `stderr`: `"inherit"`, `"null"`, `"capture"` (at most 16 MiB are kept, the
--   rest is read and dropped), `{ capture = bytes }`, or a function that takes strings; `stderr` also `"stdout"`; each
--   also `{ path =, mode = }`, a handle or a number. A file at a path with mode `"r"` cannot be reopened for writing,
--   one with mode `"a"` is written by `wait`. An inherited descriptor, a handle, a FIFO and a character device
--   are given as they are: through /proc/self/fd the program can open the file behind them in any mode its user may
-- @treturn table `{ fds = {three of them}, streams = {}, temporary = {handles to close after the start} }`
-- @raise `carton.error`: a file that cannot be opened, `EISDIR` a directory; a string for a value that means nothing
function stdio.prepare(fields)
  local prepared = { fds = {}, streams = {}, temporary = {} }
  local ok, err = pcall(function()
    for i, name in ipairs(NAMES) do
      prepared.fds[i] = connect(prepared, fields, name, fields[name])
    end
  end)
  if not ok then
    stdio.release(prepared, true)
    error(err, 0)
  end
  return prepared
end

--- Close what the started program now has, or everything after a failure.
-- @tparam table prepared from `prepare`
-- @tparam[opt=false] boolean all our own ends too
function stdio.release(prepared, all)
  for _, handle in ipairs(prepared.temporary) do
    handle:close()
  end
  prepared.temporary = {}
  if all then
    stdio.close(prepared.streams)
    prepared.streams = {}
  end
end

--- Close our ends.
-- @tparam {table,...} streams
function stdio.close(streams)
  if streams[1] then
    require("carton.pipe").close(streams)
  end
end

--- Move what can be moved without waiting.
-- @tparam table stream one of `prepared.streams`
-- @treturn int|boolean whether anything moved; of what was read, how many bytes
function stdio.move(stream)
  return require("carton.pipe").move(stream)
end

--- Take what an ended program left in its pipes.
-- @tparam {table,...} streams
-- @treturn table what was captured, by name
-- @treturn ?table by name, what was captured only in part
function stdio.drain(streams)
  if streams[1] then
    return require("carton.pipe").drain(streams)
  end
  return {}
end

return stdio
