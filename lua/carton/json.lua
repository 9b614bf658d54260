-- SPDX-License-Identifier: MIT

--- JSON: written with its keys in order, so that the same value is the same text at each run; read without losing a
-- digit of an integer, which lua-cjson reads as a float.
-- @module carton.json
local json = {}

local DEPTH <const> = 64 -- of values in values

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

local ESCAPES <const> = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local WORDS <const> = { ["true"] = true, ["false"] = false }

local function refuse(at, format, ...)
  error(("%s at byte %d"):format(format:format(...), at), 0)
end

-- The four hexadecimal digits of an escape, and where it ends.
local function decode_unit(text, at)
  local digits = text:match("^\\u(%x%x%x%x)", at) or refuse(at, "invalid escape")
  return tonumber(digits, 16), at + 6
end

local function decode_escape(text, at)
  local known = ESCAPES[text:sub(at + 1, at + 1)]
  if known then
    return known, at + 2
  end
  local code, after = decode_unit(text, at)
  if code >= 0xD800 and code <= 0xDBFF then
    local low
    low, after = decode_unit(text, after)
    if low < 0xDC00 or low > 0xDFFF then
      refuse(at, "unpaired surrogate")
    end
    code = 0x10000 + (code - 0xD800 << 10) + (low - 0xDC00)
  elseif code >= 0xDC00 and code <= 0xDFFF then
    refuse(at, "unpaired surrogate")
  end
  return utf8.char(code), after
end

local function decode_string(text, at)
  local parts, from = {}, at + 1
  while true do
    local stop = text:find('[%c"\\]', from) or refuse(at, "unterminated string")
    parts[#parts + 1] = text:sub(from, stop - 1)
    local byte = text:sub(stop, stop)
    if byte == '"' then
      return table.concat(parts), stop + 1
    elseif byte == "\\" then
      parts[#parts + 1], from = decode_escape(text, stop)
    elseif byte == "\127" then -- which %c has, and JSON allows
      parts[#parts + 1], from = byte, stop + 1
    else
      refuse(stop, "a control character in a string")
    end
  end
end

local function decode_number(text, at)
  local digits = text:match("^%-?%d+", at) or refuse(at, "a value expected")
  local rest = text:match("^%.%d+", at + #digits) or ""
  rest = rest .. (text:match("^[eE][-+]?%d+", at + #digits + #rest) or "")
  if digits:find("^%-?0%d") then
    refuse(at, "a number with a leading zero")
  elseif rest ~= "" then
    return tonumber(digits .. rest) + 0.0, at + #digits + #rest
  end
  local number = tonumber(digits)
  return math.type(number) == "integer" and number or digits, at + #digits
end

local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local decode

-- What stands between brackets; `item` reads one and gives the place after it.
local function decode_items(text, at, close, item)
  at = skip(text, at + 1)
  if text:sub(at, at) == close then
    return at + 1
  end
  while true do
    at = skip(text, item(at))
    local byte = text:sub(at, at)
    if byte == close then
      return at + 1
    elseif byte ~= "," then
      refuse(at, "'%s' or ',' expected", close)
    end
    at = skip(text, at + 1)
  end
end

local function decode_list(text, at, depth)
  local list = {}
  return list, decode_items(text, at, "]", function(place)
    local value, after = decode(text, place, depth)
    if value == nil then
      refuse(place, "null in a list")
    end
    list[#list + 1] = value
    return after
  end)
end

local function decode_object(text, at, depth)
  local object, seen = {}, {}
  return object, decode_items(text, at, "}", function(place)
    if text:sub(place, place) ~= '"' then
      refuse(place, "a name expected")
    end
    local name, after = decode_string(text, place)
    if seen[name] then
      refuse(place, "duplicate name")
    end
    after = skip(text, after)
    if text:sub(after, after) ~= ":" then
      refuse(after, "':' expected")
    end
    seen[name] = true
    object[name], after = decode(text, skip(text, after + 1), depth)
    return after
  end)
end

function decode(text, at, depth)
  local byte = text:sub(at, at)
  if depth > DEPTH then
    refuse(at, "nested too deeply")
  elseif byte == "{" then
    return decode_object(text, at, depth + 1)
  elseif byte == "[" then
    return decode_list(text, at, depth + 1)
  elseif byte == '"' then
    return decode_string(text, at)
  end
  local word = text:match("^%a+", at)
  if word == "null" then
    return nil, at + 4
  elseif word and WORDS[word] ~= nil then
    return WORDS[word], at + #word
  end
  return decode_number(text, at)
end

--- Read JSON.
-- @tparam string text one value
-- @return the value: arrays and objects are tables, members that are null are left out. An integer beyond 64 bits with
--   a sign is the string of its digits, so that no consumer takes it for another number
-- @raise a string that says what is wrong, and at which byte: also for null in an array, a name that an object has
--   twice, and values more than 64 deep
-- @usage json.decode('{"value": 18446744073709551608}').value --> "18446744073709551608"
function json.decode(text)
  local value, at = decode(text, skip(text, 1), 1)
  at = skip(text, at)
  if at <= #text then
    refuse(at, "unexpected text after the value")
  end
  return value
end

return json
