-- SPDX-License-Identifier: MIT

--- What a container's standard input, output and error are connected to.
-- @module carton.stdio
local core = require("carton.core")
local exec = core.exec
local stdio = {}

local PIPE_MAX <const> = 1 << 20 -- bytes that a pipe holds at most: /proc/sys/fs/pipe-max-size, pipe(7)
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
    if not (key == "path" or (key == "mode" and value.path) or (key == "data" and not value.path)) then
      fail(name, "unknown field '%s'", tostring(key))
    end
  end
  if value == nil or value == "inherit" then
    return number
  elseif value == "null" or (value == "capture" and name ~= "stdin")
    or (value == "stdout" and name == "stderr") then
    return value
  elseif type(value) == "table" and type(value.path) == "string" then
    return value.path
  elseif is_handle(value) then
    return value
  elseif type(value) == "function" or (name == "stdin"
    and (type(value) == "string" or type(value) == "table" and type(value.data) == "string")) then
    return "pipe"
  end
  fail(name, "cannot be %s, but \"inherit\", \"null\", %s, a function, { path = } or a handle",
    type(value) == "string" and ("'%s'"):format(value) or type(value),
    name == "stdin" and "a string, { data = }" or "\"capture\"")
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

local function connect(prepared, name, value)
  local word = stdio.word(name, value)
  if word == "null" then
    return open(prepared, exec.null())
  elseif word == "capture" then
    return pipe(prepared, name, { chunks = {} })
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
    return open(prepared, exec.open(value.path, mode))
  end
  return word
end

--- Open what the fields of a container ask for.
-- @tparam table fields `stdin`: `"inherit"`, `"null"`, a string that is fed, `{ data = string }`, or a function that
--   gives strings and then nil; `stdout` and `stderr`: `"inherit"`, `"null"`, `"capture"`, or a function that
--   takes strings; `stderr` also `"stdout"`; each also `{ path =, mode = }`, a handle or a number
-- @treturn table `{ fds = {three of them}, streams = {}, temporary = {handles to close after the start} }`
-- @raise `carton.error`: a file that cannot be opened; a string for a value that means nothing
function stdio.prepare(fields)
  local prepared = { fds = {}, streams = {}, temporary = {} }
  for i, name in ipairs(NAMES) do
    prepared.fds[i] = connect(prepared, name, fields[name])
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
    for _, stream in ipairs(prepared.streams) do
      stream.descriptor:close()
    end
    prepared.streams = {}
  end
end

local function finish(stream)
  stream.descriptor:close()
  stream.done = true
end

local function feed(stream)
  if stream.at > #stream.pending then
    local text = stream.source and stream.source()
    if text == nil or text == false then
      return finish(stream)
    elseif type(text) ~= "string" then
      fail(stream.name, "its function gave a %s, string or nil expected", type(text))
    end
    stream.pending, stream.at = text, 1 -- an empty one is not the end
    if text == "" then
      return
    end
  end
  local ok, written = pcall(stream.descriptor.write, stream.descriptor, stream.pending, stream.at)
  if not ok then
    if type(written) == "table" and written.code == "EPIPE" then
      return finish(stream) -- it reads no more: that is its right
    end
    error(written, 0)
  end
  stream.at = stream.at + (written or 0)
end

--- Move what can be moved without waiting.
-- @tparam table stream one of `prepared.streams`
-- @treturn int|boolean whether anything moved; of what was read, how many bytes
function stdio.move(stream)
  if stream.events == "w" then
    feed(stream)
    return not stream.done
  end
  local data = stream.descriptor:read()
  if data == nil then
    finish(stream)
  elseif data and stream.sink then
    stream.sink(data)
  elseif data then
    stream.chunks[#stream.chunks + 1] = data
  end
  return data and #data or false
end

--- Take what an ended program left in its pipes.
-- @tparam {table,...} streams
-- @treturn table what was captured, by name
function stdio.drain(streams)
  local captured = {}
  for _, stream in ipairs(streams) do
    if stream.events == "r" then
      local most = PIPE_MAX -- what others that hold the pipe go on writing is not its output
      while not stream.done and most > 0 do
        local moved = stdio.move(stream)
        most = moved and most - moved or 0
      end
    end
    if not stream.done then
      finish(stream)
    end
    if stream.chunks then
      captured[stream.name] = table.concat(stream.chunks)
    end
  end
  return captured
end

return stdio
