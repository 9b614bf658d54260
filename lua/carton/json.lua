-- SPDX-License-Identifier: MIT

--- JSON with its keys in order, so that the same value is the same text at each run.
-- @module carton.json
local json = {}

local names = { ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
  ['"'] = '\\"', ["\\"] = "\\\\" }

-- Bytes that are no UTF-8 become U+FFFD: a path may hold anything, JSON may not.
local function clean(text)
  local parts, at = {}, 1
  while at <= #text do
    local _, bad = utf8.len(text, at)
    parts[#parts + 1] = text:sub(at, (bad or #text + 1) - 1)
    if not bad then
      break
    end
    parts[#parts + 1] = "\u{FFFD}"
    at = bad + 1
  end
  return table.concat(parts)
end

local function quote(text)
  return '"' .. clean(text):gsub('[%c"\\\127]', function(c)
    return names[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local encode

local function encode_list(list)
  local parts = {}
  for i, value in ipairs(list) do
    parts[i] = encode(value)
  end
  return "[" .. table.concat(parts, ", ") .. "]"
end

local function encode_object(object)
  local keys, values, parts = {}, {}, {}
  for key, value in pairs(object) do
    local name = tostring(key)
    keys[#keys + 1], values[name] = name, value
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = quote(key) .. ": " .. encode(values[key])
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- Entries 1 to n and no other, or none at all.
local function is_list(value)
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count == #value
end

-- As short as it can be without becoming another number.
local function float(value)
  local text = ("%.14g"):format(value)
  return tonumber(text) == value and text or ("%.17g"):format(value)
end

function encode(value)
  local kind = type(value)
  if kind == "string" then
    return quote(value)
  elseif math.type(value) == "float" and (value ~= value or math.abs(value) == math.huge) then
    return "null"
  elseif math.type(value) == "float" then
    return float(value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind == "table" and is_list(value) then
    return encode_list(value)
  elseif kind == "table" then
    return encode_object(value)
  elseif value == nil then
    return "null"
  end
  local meta = getmetatable(value)
  return quote("<" .. (type(meta) == "table" and meta.__name or kind) .. ">")
end

--- Write a value as JSON.
-- @param value tables with entries 1 to n and no other become arrays, others objects; an empty table an array;
--   handles their type in angle brackets
-- @treturn string one line
-- @usage json.encode{ code = 0 }
function json.encode(value)
  return encode(value)
end

return json
