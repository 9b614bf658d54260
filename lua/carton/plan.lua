-- SPDX-License-Identifier: MIT

--- Plans as text and JSON, and what is different between two.
-- @module carton.plan
local plan = {}

local SHOWN <const> = 60 -- bytes of a content

-- What a step is about comes first, the rest by name.
local first = { "source", "tree", "target", "path", "name", "kinds", "args" }
local rank = {}
for i, name in ipairs(first) do
  rank[name] = i
end

--- Write a string with nothing that a terminal would obey, whatever an image or a recipe calls its files.
-- @tparam string text
-- @tparam[opt=false] boolean whole do not cut it off
-- @treturn string as it is where that is harmless, otherwise in quotes, its end left out when it is long
function plan.quote(text, whole)
  if #text > SHOWN and not whole then
    text = text:sub(1, SHOWN) .. "..."
  end
  if text:find("^[%w%._/:@%%+=%-]+$") then
    return text
  end
  return '"' .. text:gsub('[%c"\\\127-\255]', function(c)
    return c == "\n" and "\\n" or c == '"' and '\\"' or c == "\\" and "\\\\"
      or ("\\x%02x"):format(c:byte())
  end) .. '"'
end

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    local x, y = rank[a] or 99, rank[b] or 99
    if x ~= y then
      return x < y
    end
    return tostring(a) < tostring(b)
  end)
  return keys
end

-- Instructions mean nothing to a reader: how many there are does, and whether they are the same.
local function is_program(step, key)
  return key == "program" and type(step[key]) == "string"
    and (step[1] == "privilege.seccomp" or step[1] == "privilege.notify")
end

local function show(value, whole)
  local meta = getmetatable(value)
  if type(value) == "string" then
    return plan.quote(value, whole)
  elseif type(value) == "userdata" or (type(meta) == "table" and meta.__name) then
    return "<" .. (meta and meta.__name or type(value)) .. ">"
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local parts, keys = {}, sorted_keys(value)
  if #keys == #value then
    for i, item in ipairs(value) do
      parts[i] = show(item, whole)
    end
    return #parts == 0 and "{}" or table.concat(parts, ",")
  end
  for i, key in ipairs(keys) do
    parts[i] = plan.quote(tostring(key)) .. "=" .. show(value[key], whole)
  end
  return "{" .. table.concat(parts, " ") .. "}"
end

--- Write one step on one line.
-- @tparam table step
-- @tparam[opt=false] boolean whole do not cut long contents off
-- @treturn string `mount.bind source=/usr target=/usr options=ro recursive=true`
function plan.step_text(step, whole)
  local parts = { plan.quote(tostring(step[1])) }
  for _, key in ipairs(sorted_keys(step)) do
    if is_program(step, key) then
      parts[#parts + 1] = ('program="%s"'):format(require("carton.seccomp").summary(step[key]))
    elseif key ~= 1 then
      parts[#parts + 1] = plan.quote(tostring(key)) .. "=" .. show(step[key], whole)
    end
  end
  return table.concat(parts, " ")
end

-- What is written to a cgroup, a line for each value or rule.
local function cgroup_lines(compiled, separator)
  local lines = {}
  for _, entry in ipairs(compiled.files or {}) do
    if entry.file == "devices" then
      for rule in entry.value:gmatch("[^\n]+") do
        lines[#lines + 1] = "devices" .. separator .. rule
      end
    else
      lines[#lines + 1] = ("cgroup%s%s %s"):format(separator, entry.file, separator == " " and entry.value
        or plan.quote(entry.value))
    end
  end
  return lines
end

--- Write the program that the rules of devices become with cgroup v2.
-- @tparam table compiled from `container:compile`
-- @treturn string an instruction a line, empty when there are no rules
-- @see carton.devices
function plan.instructions(compiled)
  local lines = {}
  for _, entry in ipairs(compiled.files or {}) do
    if entry.file == "devices" then
      local ebpf = require("carton.ebpf")
      for at, line in ipairs(ebpf.text(ebpf.devices(require("carton.devices").parse(entry.value)))) do
        lines[at] = ("%3d: %s\n"):format(at - 1, line)
      end
    end
  end
  return table.concat(lines)
end

local function namespaces(compiled)
  return #compiled.namespaces > 0 and table.concat(compiled.namespaces, " ") or "none"
end

--- Write a plan, a line for each step; the namespaces that are new come first.
-- @tparam table compiled from `container:compile`
-- @treturn string with a newline at the end
function plan.text(compiled)
  local lines = { "new namespaces: " .. namespaces(compiled) }
  for _, line in ipairs(cgroup_lines(compiled, ": ")) do
    lines[#lines + 1] = line
  end
  for i, step in ipairs(compiled.steps) do
    lines[#lines + 1] = ("%3d  %s"):format(i, plan.step_text(step))
  end
  return table.concat(lines, "\n") .. "\n"
end

local function plain(value)
  if type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[key] = plain(item)
  end
  return copy
end

--- Write a plan as JSON: `{ "namespaces": [...], "cgroup": [ { "file", "value" } ],
-- "steps": [ { "step": "mount.bind", ... } ] }`.
-- @tparam table compiled from `container:compile`
-- @treturn string with a newline at the end
function plan.json(compiled)
  local steps = {}
  for i, step in ipairs(compiled.steps) do
    steps[i] = plain(step)
    if is_program(step, "program") then
      steps[i].program = require("carton.seccomp").summary(step.program)
    end
    steps[i].step, steps[i][1] = step[1], nil
  end
  return require("carton.json").encode { namespaces = compiled.namespaces,
    cgroup = compiled.files and table.move(compiled.files, 1, #compiled.files, 1, {}), steps = steps } .. "\n"
end

local function lines_of(compiled)
  local lines = { "namespaces " .. namespaces(compiled) }
  for _, line in ipairs(cgroup_lines(compiled, " ")) do
    lines[#lines + 1] = line
  end
  for _, step in ipairs(compiled.steps) do
    lines[#lines + 1] = plan.step_text(step, true) -- what is different may come late
  end
  return lines
end

-- Lengths of the longest common subsequences of what is left of both.
local function measure(a, b)
  local lengths = {}
  for i = #a + 1, 1, -1 do
    lengths[i] = {}
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then
        lengths[i][j] = 0
      elseif a[i] == b[j] then
        lengths[i][j] = lengths[i + 1][j + 1] + 1
      else
        lengths[i][j] = math.max(lengths[i + 1][j], lengths[i][j + 1])
      end
    end
  end
  return lengths
end

--- Compare two plans.
-- @tparam table a from `container:compile`
-- @tparam table b likewise
-- @treturn {table,...} `{ op = "=" | "-" | "+", text = step }`: in both, in the first only, in the second only
function plan.diff(a, b)
  a, b = lines_of(a), lines_of(b)
  local lengths, out = measure(a, b), {}
  local i, j = 1, 1
  while i <= #a or j <= #b do
    if i <= #a and j <= #b and a[i] == b[j] then
      out[#out + 1] = { op = "=", text = a[i] }
      i, j = i + 1, j + 1
    elseif j > #b or (i <= #a and lengths[i + 1][j] >= lengths[i][j + 1]) then
      out[#out + 1] = { op = "-", text = a[i] }
      i = i + 1
    else
      out[#out + 1] = { op = "+", text = b[j] }
      j = j + 1
    end
  end
  return out
end

--- Write what is different between two plans, a line each.
-- @tparam table a from `container:compile`
-- @tparam table b likewise
-- @treturn string empty when they are the same
-- @usage io.write(carton.plan.diff_text(before:compile(), after:compile()))
function plan.diff_text(a, b)
  local lines = {}
  for _, entry in ipairs(plan.diff(a, b)) do
    if entry.op ~= "=" then
      lines[#lines + 1] = entry.op .. " " .. entry.text .. "\n"
    end
  end
  return table.concat(lines)
end

return plan
