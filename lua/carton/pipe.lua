-- SPDX-License-Identifier: MIT

--- Our ends of a container's pipes: feeding them, and keeping what comes out. `carton.stdio` makes them.
-- @module carton.pipe
local core = require("carton.core")
local pipe = {}

local PIPE_MAX <const> = 1 << 20 -- bytes that a pipe holds at most: /proc/sys/fs/pipe-max-size, pipe(7)
local PIECE <const> = 65536 -- bytes up to which the pieces of a captured stream are joined

local function finish(stream)
  stream.descriptor:close()
  if stream.file then
    stream.file:close()
  end
  stream.done = true
end

--- Close our ends.
-- @tparam {table,...} streams
function pipe.close(streams)
  for _, stream in ipairs(streams) do
    finish(stream)
  end
end

local function feed(stream)
  if stream.at > #stream.pending then
    local text = stream.source and stream.source()
    if text == nil or text == false then
      return finish(stream)
    elseif type(text) ~= "string" then
      core.misuse(("container: field '%s': its function gave a %s, string or nil expected"):format(stream.name,
        type(text)))
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

-- Keep what was captured, up to the bound. Small pieces are joined with those before them that are no larger, so that
-- there are few of them and each byte is copied a few times only.
local function keep(stream, data)
  if #data > stream.left then
    data, stream.truncated = data:sub(1, stream.left), true
  end
  stream.left = stream.left - #data
  local chunks = stream.chunks
  while #chunks > 0 and #chunks[#chunks] <= #data and #chunks[#chunks] + #data <= PIECE do
    data = table.remove(chunks) .. data
  end
  if data ~= "" then
    chunks[#chunks + 1] = data
  end
end

--- Move what can be moved without waiting.
-- @tparam table stream one of `prepared.streams`
-- @treturn int|boolean whether anything moved; of what was read, how many bytes
function pipe.move(stream)
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
    keep(stream, data)
  end
  return data and #data or false
end

--- Take what an ended program left in its pipes.
-- @tparam {table,...} streams
-- @treturn table what was captured, by name
-- @treturn ?table by name, what was captured only in part
function pipe.drain(streams)
  local captured, truncated = {}, nil
  for _, stream in ipairs(streams) do
    if stream.events == "r" then
      local most = PIPE_MAX -- what others that hold the pipe go on writing is not its output
      while not stream.done and most > 0 do
        local moved = pipe.move(stream)
        most = moved and most - moved or 0
      end
    end
    if not stream.done then
      finish(stream)
    end
    if stream.chunks then
      captured[stream.name] = table.concat(stream.chunks)
    end
    if stream.truncated then
      truncated = truncated or {}
      truncated[stream.name] = true
    end
  end
  return captured, truncated
end

return pipe
