-- SPDX-License-Identifier: MIT
-- The order of the steps of a plan: what comes before what, and why. `spec/containment/order_spec.lua` holds every plan
-- against it; `make prove` exchanges two steps and has the probe notice.
local order = {}

local function is(name)
  return function(step) return step[1] == name end
end

local function is_mount(step)
  return step[1]:find("^mount%.") ~= nil and step[1] ~= "mount.propagation" and step[1] ~= "mount.pivot_root"
    and not order.is_wall(step) and not order.is_sealing(step)
end

local function is_root(step)
  return type(step.target) == "string" and step.target:find("^/+$") ~= nil
end

--- Steps that hide paths of procfs and sysfs, or keep them from being written.
function order.is_wall(step)
  return step[1] == "mount.mask" or step[1] == "mount.readonly" or step[1] == "mount.protect"
end

--- The step that makes the root read-only.
function order.is_sealing(step)
  return step[1] == "mount.setattr" and is_root(step) and not step.below
end

local function is_procfs(step)
  return step[1] == "mount.proc" or step[1] == "mount.sysfs"
end

local function is_bounding(step)
  return step[1] == "privilege.capabilities" and step.bounding ~= nil
end

local function is_surrender(step)
  return is_bounding(step) and step.permitted ~= nil
end

local function is_final(step)
  return step[1] == "privilege.capabilities" and step.permitted ~= nil and not is_surrender(step)
end

local function is_last_user(step, at, steps)
  for i = at + 1, #steps do
    if steps[i][1] == "privilege.user" then
      return false
    end
  end
  return step[1] == "privilege.user"
end

local function is_mapping(step)
  return step[1] == "namespace.idmap" or (step[1] == "sync" and step.name == "idmap")
end

local function is_last_death(step, at, steps)
  for i = at + 1, #steps do
    if steps[i][1] == "exec.die_with_parent" then
      return false
    end
  end
  return step[1] == "exec.die_with_parent"
end

-- `first` comes before `second`. With `all`, every one of the first before every one of the second; otherwise each of
-- the second has one of the first before it. To break it, one of the first is moved, of those that `moved` tells. What
-- no probe can see of it says `unseen` why, what it sees in some plans alone says `sometimes`, in
-- those of root alone `of_root`.
order.rules = {
  { first = is("mount.propagation"), second = is_mount, because = "what is mounted would be mounted on the host too",
    sometimes = "in a user namespace of its own it is not", of_root = true },
  { first = function(step) return is_mount(step) and is_root(step) end,
    second = function(step) return is_mount(step) and not is_root(step) end,
    because = "places are looked up in the container's root, and in the host's until there is one",
    sometimes = "the host's own / has the same" },
  { first = is_mount, moved = is_procfs, second = order.is_wall, all = true,
    because = "what is mounted later would not be covered" },
  { first = is_mount, second = order.is_sealing, all = true,
    because = "a later mount may need a place to be made", sometimes = "or its place is there" },
  { first = is_mount, second = is("mount.pivot_root"), all = true,
    because = "afterwards there is no path to what is bound",
    sometimes = "the host's own / has the same" },
  { first = is("mount.pivot_root"), second = order.is_wall, all = true,
    because = "the list of mounts that it reads has none of the host's only then",
    unseen = "it does no more with them than take its time" },
  { first = order.is_sealing, second = is("mount.pivot_root"), all = true,
    because = "nothing is changed once the root is entered", unseen = "/ is the same root" },
  { first = is("mount.pivot_root"), second = is("exec.exec"), because = "the program would be the host's" },
  { first = is_mapping, second = is("privilege.user"), because = "ids mean nothing before they are mapped" },
  { first = is_bounding, second = is_last_user, all = true,
    because = "it hides the process, which others of the same user could trace from then on",
    unseen = "nobody tries here" },
  { first = is_last_user, second = is_final, all = true,
    because = "a change of ids empties the effective and the ambient set",
    sometimes = "execve(2) makes the same sets of a bounding set without an ambient one" },
  { first = is_last_user, second = is("exec.chdir"), all = true,
    because = "a directory that this user cannot enter is none for it", unseen = "no directory here is closed to one" },
  { first = is_last_user, second = is_last_death, all = true, because = "a change of ids clears the signal",
    sometimes = "root has changed none, and nobody inside can ask an init" },
  { first = is("privilege.no_new_privs"), second = is("privilege.seccomp"), all = true,
    because = "without CAP_SYS_ADMIN a filter takes no_new_privs" },
  { first = is("cgroup.enter"), second = function(step)
      return step[1] == "namespace.unshare" and table.concat(step.kinds, " "):find("cgroup") ~= nil
    end, all = true, because = "a cgroup namespace begins where its maker is", of_root = true },
  { first = is("namespace.enter"), second = is("exec.fork"), all = true,
    because = "only a child is in a pid namespace" },
  { first = is_surrender, second = is("exec.fork"), all = true,
    because = "who may trace the child could take what it has", unseen = "nobody tries here" },
  { first = is("privilege.session_keyring"), second = is_last_user, all = true,
    because = "it counts against root's quota", unseen = "a quota is not exhausted here" },
  { first = is("exec.descriptors"), second = is("privilege.seccomp"), all = true,
    because = "the filter need not allow it", unseen = "the default filter allows it" },
}

--- Where steps are in the wrong order: a list of texts.
function order.check(steps)
  local wrong = {}
  for _, rule in ipairs(order.rules) do
    local firsts, seconds = {}, {}
    for i, step in ipairs(steps) do
      if rule.first(step, i, steps) then
        firsts[#firsts + 1] = i
      elseif rule.second(step, i, steps) then
        seconds[#seconds + 1] = i
      end
    end
    local at = rule.all and firsts[#firsts] or firsts[1]
    for _, second in ipairs(at and seconds or {}) do
      if second < at then
        wrong[#wrong + 1] = ("%s (%d) before %s (%d): %s"):format(steps[second][1], second, steps[at][1], at,
          rule.because)
      end
    end
  end
  return wrong
end

--- Break a rule: a copy of the steps in which the first one comes after the second; nil when a plan has not both.
function order.broken(rule, steps)
  local first, second
  for i, step in ipairs(steps) do
    if (rule.moved or rule.first)(step, i, steps) then
      first = (rule.all or not first) and i or first
    end
  end
  for i, step in ipairs(steps) do
    if i ~= first and rule.second(step, i, steps) and (rule.all or not second) then
      second = second and rule.all and second or i
    end
  end
  if not first or not second or first > second then
    return nil
  end
  local copy = table.move(steps, 1, #steps, 1, {})
  local moved = table.remove(copy, first)
  table.insert(copy, second, moved)
  return copy
end

return order
