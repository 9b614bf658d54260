-- SPDX-License-Identifier: MIT

--- `carton learn`: the smallest profile of what a recipe runs, and what a profile would deny of it.
-- @module carton.command.learn
local options = require("carton.command.options")
local learn = { summary = "record what containers really use and write the smallest profile, or try one",
  usage = "carton learn [OPTION...] RECIPE.lua [ARG...] | carton learn [OPTION...] ROOTFS COMMAND [ARG...]" }

learn.options = {
  { "-o --output", arg = "FILE.lua", help = "write the profile to FILE.lua, or add to the one in it" },
  { "--oci", arg = "FILE.json", help = "write it, too, as a seccomp profile of the OCI runtime specification, with its "
    .. "capabilities" },
  { "--merge", arg = "OLD.lua", many = true, help = "add what the learned profile OLD.lua allows" },
  { "--replay", arg = "PROFILE.lua", help = "write nothing; print what that profile would deny; exit with 1 if "
    .. "anything, otherwise with the status of the container" },
  { "--enforce", help = "with --replay: deny it, instead of only reporting it" },
  { "--limit", arg = "N", help = "keep at most N paths for each container (default 4096)" },
  { "--json", help = "print the summary, or what would be denied, as JSON" },
}

local function fail(format, ...)
  error({ usage = true, message = format:format(...) .. "; see carton help learn" }, 0)
end

local function say(...)
  io.stdout:flush()
  io.stderr:write("carton learn: ", ...)
  io.stderr:write("\n")
end

-- What to run: a recipe, or a command in a root file system; gives its exit status.
local function run(operands)
  local command = require("carton.command")
  if command.is_recipe(operands[1]) then
    return command.recipe(operands[1], operands)
  end
  return require("carton.command.run").classic(operands)
end

local function count(set)
  local n = 0
  for _ in pairs(set) do
    n = n + 1
  end
  return n
end

local function plural(n, word)
  return ("%d %s"):format(n, n == 1 and word or word:gsub("y$", "ie") .. "s")
end

-- Totals of what was seen by all containers.
local function summary(observations)
  local calls, capabilities, paths, total, denied = {}, {}, 0, 0, {}
  for _, seen in pairs(observations) do
    for name in pairs(seen.calls) do
      calls[name] = true
    end
    for name in pairs(seen.capabilities) do
      capabilities[name] = true
    end
    for name in pairs(seen.denied) do
      denied[name] = true
    end
    paths, total = paths + count(seen.paths), total + seen.total
  end
  return { calls = count(calls), capabilities = count(capabilities), paths = paths, total = total,
    denied = require("carton.learn.profile").sorted(denied) }
end

local function json(value)
  io.write(require("carton.json").encode(value), "\n")
end

-- All notes, each once for each container.
local function say_notes(profiles)
  local text = require("carton.learn.text")
  for _, name in ipairs(require("carton.learn.profile").sorted(profiles)) do
    for _, note in ipairs(profiles[name].notes) do
      say(require("carton.plan").quote(name), ": ", text.note(note))
    end
  end
end

local function oci_text(profiles)
  local module, names = require("carton.learn"), require("carton.learn.profile").sorted(profiles)
  if #names == 1 then
    return require("carton.json").encode(module.oci(profiles[names[1]])) .. "\n"
  end
  local all = {}
  for _, name in ipairs(names) do
    all[name] = module.oci(profiles[name])
  end
  return require("carton.json").encode(all) .. "\n"
end

local function counts_of(observations)
  local all = {}
  for name, seen in pairs(observations) do
    all[name] = { calls = seen.counts, denied = seen.refused, total = seen.total }
  end
  return all
end

local function write(values, recording, before)
  local module = require("carton.learn")
  local profiles = recording:profiles()
  if next(profiles) == nil then
    fail("it started no container, so there is nothing to learn")
  end
  profiles = module.merge(profiles, table.unpack(before))
  local text = require("carton.learn.text")
  if values.output then
    module.save(values.output, profiles)
  end
  if values.oci then
    text.save(values.oci, oci_text(profiles))
  end
  local sums = summary(recording:observations())
  if values.json then
    json { profiles = profiles, counts = counts_of(recording:observations()), summary = sums }
  elseif not values.output and not values.oci then
    io.write(module.text(profiles))
  end
  say_notes(profiles)
  local written = {}
  for _, path in ipairs { values.output or false, values.oci or false } do
    written[#written + 1] = path and require("carton.plan").quote(path, true) or nil
  end
  say(plural(sums.calls, "system call"), ", ", plural(sums.paths, "path"), ", ",
    plural(sums.capabilities, "capability"),
    #sums.denied > 0 and "; denied as before: " .. table.concat(sums.denied, " ") or "",
    #written > 0 and "; written to " .. table.concat(written, " and ") or "")
end

-- Files are looked at before anything runs: what would be refused afterwards, is refused now.
local function load_before(values)
  local text, list = require("carton.learn.text"), {}
  for _, path in ipairs { values.output or false, values.oci or false } do
    if path then
      text.try(path)
    end
  end
  for _, path in ipairs(values.merge or {}) do
    list[#list + 1] = require("carton.learn").load(path)
  end
  list[#list + 1] = values.output and text.load(values.output)
  require("carton.learn").merge(table.unpack(list))
  return list
end

local function finding_text(finding)
  local quote = require("carton.plan").quote
  local what
  if finding.kind == "container" then
    what = "there is no profile for it"
  elseif finding.kind == "path" then
    what = ("%s %s%s (%s)"):format(finding.call, quote(finding.path, true),
      finding.to and " to " .. quote(finding.to, true) or "", finding.right)
  elseif finding.kind == "port" then
    what = finding.port < 0 and finding.call .. " a port that the kernel had chosen"
      or ("%s port %d"):format(finding.call, finding.port)
  elseif finding.kind == "capability" then
    what = ("%s (capability %s)"):format(finding.call, finding.capability)
  elseif finding.value then
    what = ("%s (argument %d: %#x)"):format(finding.call, finding.argument, finding.value)
  else
    what = finding.call
  end
  return ("%s: %s: %s"):format(quote(finding.container), what, plural(finding.count, "time"))
end

local function replay(values, operands)
  for _, name in ipairs { "output", "oci", "merge", "limit" } do
    if values[name] then
      fail("option '--%s' does not go with --replay, which writes nothing", name)
    end
  end
  local module = require("carton.learn")
  local profiles = module.load(values.replay)
  local try <close> = module.replay(profiles, { enforce = values.enforce })
  local code = run(operands)
  local findings = try:findings()
  if values.json then
    json { denied = findings, code = code, enforced = values.enforce or false }
  else
    for _, finding in ipairs(findings) do
      io.write(finding_text(finding), "\n")
    end
  end
  say(#findings == 0 and "nothing is denied" or plural(#findings, "thing") .. (values.enforce and " denied"
    or " would be denied"), code ~= 0 and ("; it ended with %d"):format(code) or "")
  return #findings == 0 and code or 1
end

function learn.run(argv)
  local values, operands = options.parse("learn", learn.options, argv)
  if not operands[1] then
    fail("a recipe, or a root file system and a command, is missing")
  elseif values.enforce and not values.replay then
    fail("option '--enforce' goes with --replay")
  elseif values.replay then
    return replay(values, operands)
  end
  local limit = values.limit and math.tointeger(tonumber(values.limit))
  if values.limit and not (limit and limit > 0) then
    fail("option '--limit': '%s' is not a number above 0", values.limit)
  end
  local before = load_before(values)
  local recording <close> = require("carton.learn").record { limit = limit }
  local code = run(operands)
  write(values, recording, before)
  return code
end

return learn
