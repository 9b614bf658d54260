-- SPDX-License-Identifier: MIT

--- The smallest profile of a program, from what it really uses: system calls, paths, ports, capabilities.
--
-- While a recording goes on, each container that is started has its calls asked about (`carton.syscall`), noted, and
-- answered as if nobody had looked: what the container's own profile denies stays denied. It takes no privilege. What
-- the recipe answers itself with `on_syscall` is answered so.
--
-- A profile is `seccomp`, `capabilities` and `landlock` as of `carton.container`; `paths`: each with its uses, in the
-- words that Landlock has for rights, `look` and `attribute`; and `moves`: renames and links from one directory to
-- another. How paths become rules, `carton.learn.rules` says; which argument of a call is pinned, `carton.learn.calls`;
-- how capabilities are told, `carton.learn.needs`.
--
-- An asked call takes some 100 microseconds, a path that is new, or a file that is made, a few hundred.
--
-- It describes a program that is trusted, in the runs that were recorded. One that knows that it is watched shows what
-- it likes: memory is read before the kernel reads it again. What a run did not need, the profile denies.
-- @module carton.learn
-- @usage local recording <close> = carton.learn.record()
-- carton.container{ rootfs = carton.rootfs.host(), args = { "id" } }:run()
-- recording:save("id.lua")
local core = require("carton.core")
local learn = {}

local methods = {}
local meta = { __name = "carton.learn.recording", __index = methods }

local function check_options(options, known, what)
  for key, value in pairs(options or {}) do
    if not known[key] then
      core.misuse(("learn: %s: unknown field '%s'%s"):format(what, tostring(key),
        require("carton.hint").meant(key, known)))
    elseif type(value) ~= known[key] then
      core.misuse(("learn: %s: field '%s': %s expected, got %s"):format(what, key, known[key], type(value)))
    end
  end
end

--- Record what containers use that are started from now on, to the end of a `<close>` block or to `stop`.
-- @tparam[opt] table options
-- @tparam[opt=4096] int options.limit paths that are kept of each container
-- @treturn recording
-- @raise a string: unknown options
-- @usage local recording <close> = carton.learn.record()
function learn.record(options)
  check_options(options, { limit = "number" }, "record")
  return setmetatable({ recorder = require("carton.learn.recorder").new(options) }, meta)
end

--- Record no more containers.
-- @function recording:stop
function methods:stop()
  self.recorder:stop()
end

meta.__close = methods.stop

--- Give what was seen, by the names of the containers.
-- @function recording:observations
-- @treturn table `calls`, `denied`, `paths`, ... by name: see `carton.learn.observation`
function methods:observations()
  return self.recorder.observations
end

local function make_all(observations)
  local profiles = {}
  for name, seen in pairs(observations) do
    profiles[name] = require("carton.learn.profile").make(seen, core.architecture, (core.privilege.landlock_abi()))
  end
  return profiles
end

--- Give the profiles.
-- @function recording:profiles
-- @treturn table by name of the container; `container` for those without a name
function methods:profiles()
  return make_all(self.recorder.observations)
end

local function observe(profiles, path)
  local seen = {}
  for name, made in pairs(profiles) do
    seen[name] = require("carton.learn.observation").new(math.huge)
    local ok, message = pcall(require("carton.learn.profile").read, made, seen[name])
    if not ok then
      core.misuse(("learn: %s: %s"):format(path or name, type(message) == "string" and message or tostring(message)))
    end
  end
  return seen
end

--- Add profiles to others.
-- @tparam table ... profiles by name, as of `recording:profiles` or `load`
-- @treturn table profiles that allow what any of them allows; the same whatever their order
-- @raise a string: one that was not learned
-- @usage carton.learn.merge(carton.learn.load("monday.lua"), carton.learn.load("tuesday.lua"))
function learn.merge(...)
  local all = {}
  for i = 1, select("#", ...) do
    for name, seen in pairs(observe((select(i, ...)))) do
      all[name] = all[name] or require("carton.learn.observation").new(math.huge)
      all[name]:merge(seen)
    end
  end
  return make_all(all)
end

--- Load learned profiles.
-- @tparam string path
-- @treturn table by name of the container
-- @raise `carton.error`: `ENOENT`, `EACCES`; a table with `usage` and `message` for a file that is no such profile
-- @usage local web = carton.learn.load("web.lua").web
function learn.load(path)
  local profiles = require("carton.learn.text").load(path)
  if not profiles then
    core.error { op = "open", path = path, errno = core.errno.ENOENT, message = "No such file or directory" }
  end
  return profiles
end

--- Write profiles as Lua.
-- @tparam table profiles by name of the container
-- @treturn string the same for the same profiles
function learn.text(profiles)
  local release = core.host.uname().release
  return require("carton.learn.text").lua(profiles, { architecture = core.architecture,
    kernel = release:match("^%d+%.%d+") or release })
end

--- Write profiles to a file, whole or not at all.
-- @tparam string path
-- @tparam table profiles by name of the container
-- @raise `carton.error`: it can't be written
function learn.save(path, profiles)
  require("carton.learn.text").save(path, learn.text(profiles))
end

--- Write what was recorded to a file, added to what that holds already.
-- @function recording:save
-- @tparam string path a learned profile or no file yet
-- @treturn table the profiles that are written
-- @raise `carton.error`: it can't be written; a table with `usage` and `message`: it is something else
function methods:save(path)
  local before = require("carton.learn.text").load(path)
  local profiles = before and learn.merge(before, self:profiles()) or self:profiles()
  learn.save(path, profiles)
  return profiles
end

--- Turn a profile into one of the OCI runtime specification.
-- @tparam table made one profile
-- @treturn table `linux.seccomp` of that specification, with `process.capabilities` in a field `process`; `carton.json`
--   writes it
-- @usage io.write(carton.json.encode(carton.learn.oci(profile)))
function learn.oci(made)
  return require("carton.learn.text").oci(made)
end

--- Compare what containers do that are started from now on with profiles: nothing is denied, only told.
-- @tparam table profiles by name of the container, as of `load`
-- @tparam[opt] table options
-- @tparam[opt=false] boolean options.enforce deny it, too: the containers get the profiles, but no capability that
--   their own fields have not
-- @treturn replay `replay:stop()`, and `replay:findings()` gives a list of `{ container =, kind = "call" | "path" |
--   "port" | "capability" | "container", call =, argument =, value =, path =, right =, to =, port =, capability =,
--   count = }`; the right `refer` with `to`: a file that is moved there would gain rights; port -1: one that the kernel
--   had chosen
-- @raise a string: unknown options
-- @usage local replay <close> = carton.learn.replay(carton.learn.load("web.lua"))
function learn.replay(profiles, options)
  check_options(options, { enforce = "boolean" }, "replay")
  return require("carton.learn.replay").new(profiles, options)
end

return learn
