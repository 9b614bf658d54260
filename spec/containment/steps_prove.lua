-- SPDX-License-Identifier: MIT
-- Every step of a plan is necessary: without it the probe sees a difference, or the launch fails. So is the order: two
-- steps that are exchanged are noticed likewise. What no probe can see is listed, with its reason.
-- PROVE_ONLY="layout=own" proves the plans with these values alone.
local compile = require("carton.compile")
local core = require("carton.core")
local plan = require("carton.plan")
local combinations = require("spec.containment.combinations")
local launch = require("spec.containment.launch")
local order = require("spec.containment.order")
local helper = require("spec.helper")

-- Steps that the probe does not miss, each with why.
local unseen = {
  { "^exec.die_with_parent$", until_last = true,
    because = "until the last one: only a parent that dies during the set-up is outlived" },
  { "^exec.die_with_parent$", because = "it is the init's, which nobody inside can ask",
    when = function(c) return c.init == "true" end },
  { "^exec.die_with_parent$", because = "root changes no ids, which leaves the first one in force",
    when = function(c) return c.user == "root" and c.way ~= "exec-user" end },
  { "^privilege.user gid=0 uid=0", because = "the one before the last makes the process the same user",
    when = function(c) return c.way == "exec" end },
  { "^privilege.user gid=0 uid=0", because = "there are two, and a single id is the caller's own",
    when = function(c) return c.idmap == "single" and helper.is_root end },
  { "^privilege.user gid=0 uid=0", because = "the caller is the root of its user namespace already",
    when = function() return not helper.is_root end },
  { "^namespace.time_offsets$", because = "no offset is asked for" },
  { "^mount.setattr .*below=true", because = "nothing is mounted below this root",
    when = function(c) return c.layout ~= "submounts" and c.layout ~= "own" end },
  { "^mount%.%l+ .*target=/ ", until_last = "^mount%.%l+ .*target=/ ", because = "the next one on / hides it",
    when = function(c) return c.layout == "stacked" end },
  { "^privilege.no_userns check=true", because = "it looks whether the limit holds, which it does" },
  { "^mount.mkdir target=/var$", because = "the first link in it makes it as well" },
  { "^exec.chdir path=/$", because = "setns(2) leaves the process at the root",
    when = function(c) return c.way:find("^exec") end },
  { "^privilege.session_keyring", because = "the default filter lets nobody ask for the keyring",
    when = function(c) return c.seccomp == "default" end },
  { "^privilege.capabilities ambient={}", because = "execve(2) leaves the same sets of the same bounding set",
    when = function(c) return c.idmap ~= "none" or not helper.is_root end },
  { "^cgroup.enter", because = "it is there to be ended by, and the probe ends by itself",
    when = function(c) return c.way == "pod" and c.limits == "none" end },
  { "^mount.propagation", because = "a user cannot share a mount, and the host may have none that is",
    when = function() return not helper.is_root end },
}

local plans = helper.is_root and {
  "way=start idmap=explicit user=uid caller=umask limits=pids process=rlimits readonly=true time=new mounts=nested",
  "layout=overlay user=groups capabilities=ambient caller=ignored",
  "layout=layers capabilities=drop user=string stdio=file caller=umask",
  "layout=empty readonly=true seccomp=false caller=shared user=uid no_new_privs=false",
  "layout=host idmap=single no_userns=true",
  "way=start layout=steps mounts=bind-ro caller=descriptors limits=memory",
  "layout=stacked mounts=proc user=uid",
  "layout=submounts readonly=true user=name idmap=explicit",
  "layout=link stdio=terminal process=cwd",
  "layout=own mounts=tmpfs caller=shared",
  "init=true user=uid caller=shared",
  "way=exec idmap=explicit user=uid process=rlimits caller=umask",
  "way=exec idmap=explicit stdio=terminal",
  "way=exec-user limits=pids seccomp=false caller=umask",
  "way=pod pid=joined net=joined ipc=joined uts=joined cgroup=joined user=uid caller=umask",
} or {
  "user=uid process=rlimits readonly=true time=new mounts=nested caller=umask",
  "layout=overlay user=groups capabilities=ambient caller=ignored",
  "layout=host idmap=single no_userns=true caller=umask",
  "layout=empty readonly=true mounts=tmpfs",
  "way=exec user=uid process=rlimits caller=umask",
  "way=pod pid=joined net=joined ipc=joined uts=joined cgroup=joined user=uid",
}

-- What a caller has that a step may not pass on.
local function make_conspicuous()
  core.privilege.umask { mask = "0026" }
  if helper.is_root then
    core.mount.propagation { propagation = "rshared" }
    core.privilege.user { uid = 0, gid = 0, groups = { 27 } }
    core.privilege.capabilities { inheritable = { "NET_RAW" } }
  end
end

-- The compiler's function whose plan a combination is about.
local function target_of(combination)
  return combination.way:find("^exec") and "exec" or "plan"
end

-- Launch with the steps that a function makes of the compiled ones; a plan that is only looked at stays as it is.
-- Gives the violations, and the texts of the compiled steps, nil when they were not changed.
local function launch_with(combination, change)
  local name = target_of(combination)
  return launch.run(combination, { before = function(at)
    make_conspicuous()
    local original = compile[name]
    compile[name] = function(fields, second, third) -- luacheck: ignore
      local compiled = original(fields, second, third)
      local is_it = fields.args[4] == at.token and (third or (name == "plan" and second)) -- not the joined one
      local steps = is_it and change(compiled.steps)
      if steps then
        at.note = {}
        for i, step in ipairs(compiled.steps) do
          at.note[i] = plan.step_text(step)
        end
        compiled.steps = steps
      end
      return compiled
    end
  end })
end

local function unchanged(steps)
  return steps
end

-- Why nobody notices that the step of a line is missing; nil when somebody has to.
local function reason_of(combination, texts, i)
  for _, entry in ipairs(unseen) do
    local is_last = true
    for j = i + 1, #texts do
      is_last = is_last and not texts[j]:find(entry.until_last == true and texts[i]:match("^%S+")
        or entry.until_last or entry[1])
    end
    if texts[i]:find(entry[1]) and not (entry.until_last and is_last)
      and (not entry.when or entry.when(combination)) then
      return entry.because
    end
  end
end

describe("every step is necessary #userns", function()
  launch.patience = 2

  for _, text in ipairs(plans) do
    local combination = combinations.parse(text)
    local only = os.getenv("PROVE_ONLY")
    if not only or (" " .. text .. " "):find(" " .. only .. " ", 1, true) then
      it("and its plan is whole: " .. text, function()
        local violations, texts = launch_with(combination, unchanged)
        assert.same({}, violations)
        assert.is_true(#texts > 10)
      end)

      it("and noticed when it is missing: " .. text, function()
        local _, texts = launch_with(combination, unchanged)
        local wrong = {}
        for i, step in ipairs(texts) do
          local reason = reason_of(combination, texts, i)
          local violations = launch_with(combination, function(steps)
            local copy = table.move(steps, 1, #steps, 1, {})
            table.remove(copy, i)
            return copy
          end)
          if #violations == 0 and not reason then
            wrong[#wrong + 1] = ("nobody notices without %d, %s"):format(i, step)
          end
        end
        assert.equal("", table.concat(wrong, "\n"))
      end)

      it("and where it stands: " .. text, function()
        local wrong = {}
        for _, rule in ipairs(order.rules) do
          local violations, changed = {}, nil
          if not rule.unseen then
            violations, changed = launch_with(combination, function(steps) return order.broken(rule, steps) end)
          end
          if changed and #violations > 0 then
            rule.noticed = true
          elseif changed and not rule.sometimes then
            wrong[#wrong + 1] = "nobody notices the other order: " .. rule.because
          end
        end
        assert.equal("", table.concat(wrong, "\n"))
      end)
    end
  end

  it("and each rule of the order is noticed in some plan", function()
    for _, rule in ipairs(order.rules) do
      local is_seen = rule.noticed or rule.unseen ~= nil or (rule.of_root and not helper.is_root)
      assert.is_true(os.getenv("PROVE_ONLY") ~= nil or is_seen, rule.because)
    end
  end)

  teardown(helper.cleanup)
end)
