-- SPDX-License-Identifier: MIT

--- What each step of a launch took: as text, as JSON, as a picture.
-- @module carton.trace
local trace = {}

local function entries(c)
  local list = c:trace()
  if not list then
    require("carton.core").misuse("trace: the container was not started with trace = true")
  end
  return list
end

local function text_of(c, entry)
  return require("carton.plan").step_text(c.compiled.steps[entry.step])
end

--- Write a table of steps.
-- @tparam container c one that was started with `trace = true`
-- @treturn string a line each: when it began, what it took (microseconds), the step
function trace.text(c)
  local lines, total = { "  began   took  step" }, 0
  for _, entry in ipairs(entries(c)) do
    lines[#lines + 1] = ("%7d %6s  %s%s"):format(entry.began, entry.took or "-", text_of(c, entry),
      (entry.errno or 0) ~= 0 and "  FAILED" or "")
    total = entry.began + (entry.took or 0)
  end
  lines[#lines + 1] = ("%7d microseconds until the program"):format(total)
  return table.concat(lines, "\n") .. "\n"
end

--- Write the same as JSON: a list of `{ "step", "name", "began", "took", "errno", "text" }`.
-- @tparam container c
-- @treturn string
function trace.json(c)
  local list = {}
  for i, entry in ipairs(entries(c)) do
    list[i] = { step = entry.step, name = entry.name, began = entry.began, took = entry.took,
      errno = entry.errno, text = text_of(c, entry) }
  end
  return require("carton.json").encode(list) .. "\n"
end

local function escape(text)
  return (text:gsub('[&<>"]', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local colours = { mount = "#4c78a8", namespace = "#f58518", exec = "#54a24b",
  privilege = "#b279a2", sync = "#e45756" }

--- Draw a timeline, one bar a step.
-- @tparam container c
-- @treturn string an SVG document
function trace.svg(c)
  local list = entries(c)
  local last = list[#list]
  local total = math.max(1, last and last.began + (last.took or 0) or 1)
  local row, left, width = 16, 180, 640
  local out = { ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
    .. 'font-family="monospace" font-size="11">'):format(left + width + 90, row * (#list + 2)) }
  for i, entry in ipairs(list) do
    local y = i * row
    local x = left + entry.began / total * width
    local w = math.max(1, (entry.took or 0) / total * width)
    local colour = colours[entry.name:match("^%a+")] or "#888888"
    out[#out + 1] = ('<g><title>%s</title><text x="4" y="%d">%s</text>'
      .. '<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>'
      .. '<text x="%.1f" y="%d">%s</text></g>'):format(escape(text_of(c, entry)), y + 11,
      escape(entry.name), x, y + 2, w, row - 4, colour, x + w + 4, y + 11,
      entry.took and entry.took .. " us" or "")
  end
  out[#out + 1] = ('<text x="%d" y="%d">%d us</text></svg>'):format(left, row * (#list + 1) + 11,
    total)
  return table.concat(out, "\n") .. "\n"
end

return trace
