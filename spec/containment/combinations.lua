-- SPDX-License-Identifier: MIT
-- Which combinations of values are tried: all pairs, random ones by seed, and what is left of one when all that is not
-- needed to fail is made plain.
local dimensions = require("spec.containment.dimensions")
local combinations = {}

local TRIES <const> = 100 -- to complete a pair

--- A generator of numbers of its own, the same on every machine: xorshift64*.
function combinations.generator(seed)
  local state = seed * 0x9E3779B97F4A7C15 ~ 0x2545F4914F6CDD1D
  return function(n)
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    return ((state * 0x2545F4914F6CDD1D) >> 33) % n + 1
  end
end

-- Pins of the environment: `CONTAINMENT_ONLY="layout=dir limits=none"` tries no other values of these.
local function values_of(dimension)
  local only = (" " .. (os.getenv("CONTAINMENT_ONLY") or "")):match(" " .. dimension[1] .. "=(%S+)")
  return only and { only } or table.move(dimension, 2, #dimension, 1, {})
end

--- Write a combination in a line: what is not plain.
function combinations.text(combination)
  local parts = {}
  for _, dimension in ipairs(dimensions.list) do
    local name = dimension[1]
    if combination[name] and combination[name] ~= dimensions.plain[name] then
      parts[#parts + 1] = name .. "=" .. combination[name]
    end
  end
  return #parts > 0 and table.concat(parts, " ") or "plain"
end

--- Read such a line.
function combinations.parse(text)
  local combination = {}
  for name, value in pairs(dimensions.plain) do
    combination[name] = value
  end
  for name, value in text:gmatch("(%S+)=(%S+)") do
    combination[name] = value
  end
  return combination
end

--- A random combination that is allowed.
function combinations.random(random)
  while true do
    local combination = {}
    for _, dimension in ipairs(dimensions.list) do
      local values = values_of(dimension)
      combination[dimension[1]] = values[random(#values)]
    end
    if not dimensions.forbidden(combination) then
      return combination
    end
  end
end

-- All pairs of values of two dimensions that some combination has: `pending[key] = { names and values }`.
local function every_pair(lists)
  local pending, count = {}, 0
  for i = 1, #lists do
    for j = i + 1, #lists do
      for _, a in ipairs(lists[i].values) do
        for _, b in ipairs(lists[j].values) do
          local pair = { [lists[i].name] = a, [lists[j].name] = b }
          pending[i .. a .. "\0" .. j .. b] = pair
          count = count + 1
        end
      end
    end
  end
  return pending, count
end

-- What most rules speak of is decided first.
local early = { way = 1, idmap = 2, layout = 3, mounts = 4, pid = 5, capabilities = 6 }

-- Complete a combination: of each dimension the value with which the most pending pairs are met.
local function complete(combination, lists, pending, random)
  local order = {}
  for i in ipairs(lists) do
    table.insert(order, random(#order + 1), i)
  end
  local rank = {}
  for at, i in ipairs(order) do
    rank[i] = early[lists[i].name] or #lists + at
  end
  table.sort(order, function(a, b) return rank[a] < rank[b] end)
  local function gain(i, value)
    local score = 0
    for j, other in ipairs(lists) do
      local its = j ~= i and combination[other.name]
      if its and pending[i < j and i .. value .. "\0" .. j .. its or j .. its .. "\0" .. i .. value] then
        score = score + 1
      end
    end
    return score
  end
  for _, i in ipairs(order) do
    local list = lists[i]
    if not combination[list.name] then
      local best, best_score = nil, -1
      local offset = random(#list.values)
      for k = 1, #list.values do
        local value = list.values[(k + offset) % #list.values + 1]
        combination[list.name] = value
        local score = dimensions.forbidden(combination) and -1 or gain(i, value)
        if score > best_score then
          best, best_score = value, score
        end
      end
      combination[list.name] = best
      if not best then
        return nil
      end
    end
  end
  return combination
end

--- Combinations that together have every pair of values that is allowed.
function combinations.pairs(seed)
  local random = combinations.generator(seed or 1)
  local lists = {}
  for i, dimension in ipairs(dimensions.list) do
    lists[i] = { name = dimension[1], values = values_of(dimension) }
  end
  local pending = every_pair(lists)
  local keys, out, impossible = {}, {}, {}
  for key in pairs(pending) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local pair = pending[key]
    for try = 1, pair and TRIES or 0 do
      local start = {}
      for name, value in pairs(pair) do
        start[name] = value
      end
      local combination = complete(start, lists, pending, random)
      if combination and not dimensions.forbidden(combination) then
        out[#out + 1] = combination
        for i = 1, #lists do
          for j = i + 1, #lists do
            pending[i .. combination[lists[i].name] .. "\0" .. j .. combination[lists[j].name]] = nil
          end
        end
        break
      elseif try == TRIES then
        impossible[#impossible + 1] = pair
      end
    end
  end
  return out, impossible
end

--- Make everything plain that is not needed for a combination to fail.
-- @param combination one that fails
-- @param fails a function of a combination
function combinations.shrink(combination, fails)
  local smallest = {}
  for name, value in pairs(combination) do
    smallest[name] = value
  end
  local changed = true
  while changed do
    changed = false
    for _, dimension in ipairs(dimensions.list) do
      local name = dimension[1]
      local kept = smallest[name]
      if kept ~= dimensions.plain[name] then
        smallest[name] = dimensions.plain[name]
        if not dimensions.forbidden(smallest) and fails(smallest) then
          changed = true
        else
          smallest[name] = kept
        end
      end
    end
  end
  return smallest
end

return combinations
