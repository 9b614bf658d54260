-- SPDX-License-Identifier: MIT
-- Hints: each situation is made, and the program says what is in the way.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

--- The program as a user without privileges: this one, or nobody where this one is root.
local function unprivileged(...)
  if not helper.is_root then
    return helper.carton(...)
  end
  local dir = helper.tmpdir()
  assert.is_true(os.execute(("cp '%s' '%s/carton'"):format(helper.program, dir)))
  return helper.run({ "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", dir .. "/carton", ... },
    { env = { HOME = "/" } })
end

--- What is said of a call that has to fail.
local function says(result, code)
  assert.equal(code or 125, result.code, result.stdout .. result.stderr)
  assert.matches("^carton: [^\n]*\n$", result.stderr) -- one line
  return result.stderr
end

local function run(...)
  return helper.carton("run", "-T", ...)
end

describe("hints of programs #userns", function()
  local root = helper.rootfs(true)
  it("say that the loader is missing", function()
    assert.is_true(os.execute(("cp /usr/bin/env '%s/bin/dynamic'"):format(root)))
    assert.matches("ELF interpreter is missing %(ENOENT%): /lib[^;]*; the program is there, but the loader",
      says(run(root, "dynamic"), 126))
  end)
  it("say that the interpreter is missing", function()
    helper.write(root .. "/bin/script", "#!/opt/python\n", "rwxr-xr-x")
    assert.matches("/opt/python; the program's first line names an interpreter", says(run(root, "script"), 126))
    helper.write(root .. "/bin/dos", "#!/bin/sh\r\n", "rwxr-xr-x")
    assert.matches("/bin/sh%?; the program's first line ends as lines of Windows do", says(run(root, "dos"), 126))
  end)
  it("say that the mount is noexec", function()
    local dir = helper.tmpdir()
    helper.write(dir .. "/program", "#!/bin/sh\n", "rwxr-xr-x")
    assert.matches(": is on a noexec mount %(EACCES%)\n$",
      says(run("-v", dir .. ":/data:noexec", root, "/data/program"), 126))
  end)
  it("say that it is not there, or no program", function()
    assert.matches("not in the root file system, or not in its PATH", says(run(root, "nowhere"), 127))
    helper.write(root .. "/plain", "text", "rw-r--r--")
    assert.matches("%(EACCES%); is it executable", says(run(root, "/plain"), 126))
  end)
  it("say that a text needs an interpreter", function()
    helper.write(root .. "/script", "echo no first line\n", "rwxr-xr-x")
    assert.matches("%(ENOEXEC%); it is neither a program of this machine nor a script with #!",
      says(run(root, "/script"), 126))
  end)
  it("say where a user's name is looked up", function()
    assert.matches("nobody%-here: has no such user .*; names are looked up in the files of the root file system",
      says(run("--user", "nobody-here", root, "true")))
  end)
  it("say where it should have started", function()
    assert.matches("working directory has to exist inside", says(run("--cwd", "/nope", root, "true")))
  end)
end)

describe("hints of paths #userns", function()
  it("say which directory may not be searched", function()
    local closed = "/root"
    if helper.is_root or posix.access(closed, "x") then
      closed = helper.tmpdir() .. "/closed"
      os.execute(("mkdir -p '%s'; chmod 0 '%s'"):format(closed, closed))
    end
    if not helper.is_root and closed ~= "/root" then
      return pending("every directory may be searched, or is this user's own")
    end
    local text = says(unprivileged("run", "-T", "-v", closed .. "/inner:/data", "host", "true"))
    assert.is_truthy(text:find(("; %s may not be searched by this user; chmod a+x %s\n"):format(closed, closed),
      1, true), text)
  end)
  it("say which part is missing, or leads nowhere", function()
    local dir = helper.tmpdir()
    assert.is_truthy(says(run("-v", dir .. "/no/such/place:/data", "host", "true")):find(
      "; " .. dir .. "/no does not exist", 1, true))
    posix.link("/gone", dir .. "/link", true)
    assert.is_truthy(says(run("-v", dir .. "/link/x:/data", "host", "true")):find(
      ("; %s/link is a link to /gone, which does not exist"):format(dir), 1, true))
    assert.matches("/nonexistent%-root does not exist", says(run("/nonexistent-root/x", "true")))
    assert.matches("mount nowhere: .*; a relative path is looked up in /",
      says(run("-v", "nowhere:/x", "host", "true")))
  end)
  it("say that layers overlap", function()
    assert.matches("its layers overlap", says(run("--lower", helper.rootfs(), helper.rootfs(), "true")))
  end)
  it("say which mount keeps a layer from being one #rootless", function()
    assert.matches("; /%S+ is mounted in the layer /, and without root an overlay takes no layer with mounts in it",
      says(run("--overlay", "/", "true")))
  end)
  it("say that a directory was bound on a file", function()
    local dir = helper.tmpdir()
    assert.is_truthy(says(run("-v", dir .. ":/etc/passwd", "--overlay", helper.rootfs(), "true"))
      :find("a directory goes on a directory, a file on a file: " .. dir .. " is a directory", 1, true))
  end)
  it("name the recipe's line when the recipe has returned", function()
    assert.matches("^carton: %(command line%):1: bind /nonexistent on /: ", says(helper.carton("-e",
      "return require('carton').container { rootfs = '/nonexistent', args = { 'true' } }")))
  end)
  it("say that a read-only root has no such place", function()
    assert.matches("%(EROFS%)[^;]*; the root is read%-only and the place is not there", says(helper.carton("-e", [[
      local carton = require "carton"
      return carton.container { args = { "true" }, rootfs = {
        { "mount.bind", source = arg[1], target = "/", options = { "ro" } },
        { "mount.tmpfs", target = "/new/place" } } }]], helper.rootfs())))
  end)
  it("say that a link stands in the place of a mount point", function()
    local root = helper.rootfs(true)
    os.execute(("rm -r '%s/dev'; ln -s /tmp '%s/dev'"):format(root, root))
    assert.matches("a symbolic link stands in the place of a mount point", says(run(root, "true")))
  end)
end)

describe("hints of privileges #userns", function()
  it("say that a user is not in the id map", function()
    assert.matches("1000 is not in the id map; idmap = \"auto\"",
      says(run("--idmap", "single", "--user", "1000:1000", helper.rootfs(), "true")))
  end)
  it("say that ids take a map of subordinate ones", function()
    assert.matches("may map only its own id; idmap = \"auto\" uses /etc/subuid", says(unprivileged("-e", [[
      local carton = require "carton"
      carton.exec.spawn { namespaces = { "user" }, steps = { { "namespace.idmap",
        uids = { { container_id = 0, host_id = 0, size = 5 } }, gids = { { container_id = 0, host_id = 0, size = 5 } },
      } } }]])))
  end)
  it("say that user namespaces are switched off", function()
    local result = helper.run { "unshare", "--user", "--map-root-user", "/bin/sh", "-c",
      [[echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" run -T --idmap single host true]], helper.program }
    assert.matches("; user namespaces are switched off; sysctl user.max_user_namespaces=", says(result))
    result = helper.run { "unshare", "--user", "--map-root-user", "/bin/sh", "-c",
      [[echo 0 >/proc/sys/user/max_user_namespaces; "$0" doctor]], helper.program }
    assert.matches("user.max_user_namespaces%s+0\n%s+%-> sysctl user.max_user_namespaces=", result.stdout)
  end)
  it("say that a user namespace is missing", function()
    assert.matches("without root, a user namespace has to be among the new ones",
      says(unprivileged("run", "-T", "--share", "user", "host", "true")))
  end)
  it("say that a capability is not there to be given #root", function()
    local result = helper.run { "setpriv", "--bounding-set=-sys_time", helper.program, "run", "-T", "--cap-add",
      "SYS_TIME", helper.rootfs(), "true" }
    if not helper.is_root then
      return pending("takes root")
    end
    assert.matches("a capability was asked for that this process itself does not have", says(result))
  end)
end)

describe("hints in a container #userns", function()
  --- The program inside of a container that has it.
  local function nested(outer, ...)
    local args = { "-v", helper.program .. ":/opt/carton", "--tmpfs", "/opt", -- the same file
      "--tmpfs", "/srv", "host", "/opt/carton", "run", "-T", ... }
    table.move(args, 1, #args, #outer + 1, outer)
    return run(table.unpack(outer))
  end
  it("say that a filter is in the way outside", function()
    assert.matches("a seccomp filter of the container that this runs in is in the way; run the outer .*nestable = true",
      says(nested({}, "--idmap", "single", "host", "true")))
  end)
  it("are not needed where a filter takes clone3 away: clone does", function()
    local outer = { "--nestable", "--seccomp", helper.write(helper.tmpdir() .. "/profile.lua",
      [[return { default = "allow", rules = { { names = { "clone3" }, action = { "errno", "ENOSYS" } } } }]]) }
    for _, more in ipairs { "--", "--bare", "--init", "--share=net" } do
      local result = nested(table.move(outer, 1, #outer, 1, {}), more, "host", "echo", "nested")
      assert.equal("nested\n", result.stdout, result.stderr)
    end
    local recipe = helper.write(helper.tmpdir() .. "/recipe.lua", [[
      local carton = require("carton")
      local function new(kinds)
        return carton.container { rootfs = "/", namespaces = kinds, args = { "sleep", "60" } }:start()
      end
      local container <close> = new()
      local entered <close> = container:exec { args = { "sh", "-c", "exit 7" } }
      local result, err = pcall(new, { time = true })
      print(entered:wait().code, result, err.call, err.code)
    ]])
    table.move({ "-v", recipe .. ":/srv/recipe.lua" }, 1, 2, #outer + 1, outer)
    local result = run(table.unpack(table.move({ "-v", helper.program .. ":/opt/carton", "--tmpfs", "/opt", "--tmpfs",
      "/srv", "host", "/opt/carton", "/srv/recipe.lua" }, 1, 9, #outer + 1, outer)))
    assert.equal("7\tfalse\tclone3\tENOSYS\n", result.stdout, result.stderr)
  end)
  it("say which setting of a service takes a call away", function()
    local profile = helper.write(helper.tmpdir() .. "/profile.lua", [[return { default = "allow", rules = { {
      names = { "openat2" }, action = { "errno", "ENOSYS" } } } }]])
    assert.matches("denies openat2; RestrictSUIDSGID= and DynamicUser=",
      says(nested({ "--nestable", "--seccomp", profile }, "host", "true")))
  end)
  it("say that /proc is masked outside", function()
    local text = says(nested({ "--seccomp", "none" }, "--idmap", "single", "host", "true"))
    assert.matches("proc.*the outer one is not masked, and /proc/[%w/-]+ is; run the outer .* nestable = true", text)
  end)
  it("name what helps", function()
    local result = nested({ "--nestable" }, "--idmap", "single", "host", "echo", "nested")
    assert.equal("nested\n", result.stdout, result.stderr)
  end)
  it("are not needed by root that lacks capabilities: it is any user then", function()
    for _, more in ipairs { {}, { "--cap-add", "SYS_ADMIN" }, { "--idmap", "single" } } do
      local outer = table.move(more, 1, #more, 2, { "--nestable" })
      local result = nested(outer, "host", "sh", "-c", "id -u; cat /proc/self/uid_map")
      assert.matches("^0\n%s+0%s+0%s+1\n$", result.stdout, result.stderr)
    end
    assert.matches("lacks CAP_SYS_ADMIN: is it in a container itself",
      says(nested({ "--nestable" }, "--share", "user", "host", "true")))
  end)
  describe("in a chroot #root", function()
    local root
    before_each(function()
      root = helper.rootfs(true)
      assert.is_true(os.execute(("mkdir -p '%s/opt' && cp '%s' '%s/opt/' && for file in $(ldd '%s' | "
        .. "grep -o '/[^ ]*'); do mkdir -p '%s'$(dirname $file) && cp $file '%s'$file; done"):format(root,
        helper.program, root, helper.program, root, root)))
    end)
    local function with_proc(...)
      return helper.run { "unshare", "-m", "sh", "-c", 'mount -t proc proc "$0/proc" && '
        .. 'exec chroot "$0" /opt/carton "$@"', root, ... }
    end
    it("say so", function()
      assert.matches("as below chroot%(2%)", says(with_proc("run", "/", "true")))
      local result = with_proc("doctor")
      assert.equal(1, result.code)
      assert.matches("missing root +is no mount", result.stdout)
    end)
    it("say that /proc is missing", function()
      if (os.getenv("LD_PRELOAD") or ""):find("asan") then
        return pending("the sanitizer reads /proc itself")
      end
      local result = helper.run { "chroot", root, "/opt/carton", "doctor" }
      assert.equal(1, result.code)
      assert.matches("missing /proc", result.stdout)
    end)
  end)
  it("say that programs in memory are forbidden #root", function()
    if not posix.access("/proc/sys/vm/memfd_noexec") then
      return pending("takes Linux 6.3")
    end
    assert.matches("vm.memfd_noexec = 2 forbids", says(helper.run { "unshare", "-pf", "--mount-proc", "sh", "-c",
      'echo 2 > /proc/sys/vm/memfd_noexec && exec "$@"', "sh", helper.program, "run", "-T", helper.rootfs(), "true" }))
  end)
end)

describe("hint.find", function()
  local find = carton.hint.find
  it("knows what a kernel lacks", function()
    assert.matches("lacks clone3, which Linux 5.3 has", find { code = "ENOSYS", call = "clone3" })
    assert.is_nil(find { code = "ENOSYS", call = "unheard_of" })
  end)
  it("knows what limits the guard, too", function()
    assert.matches("too many processes", find { code = "EAGAIN", op = "guard" })
  end)
  it("looks at errors of functions, too #userns", function()
    helper.isolated(function()
      local _, err = pcall(carton.mount.pivot_root, { new_root = helper.tmpdir() })
      local text = find(err)
      assert(text == "the new root has to be a mount of its own", tostring(text) .. tostring(err))
    end)
  end)
  it("has nothing to say of what it does not know, and never fails", function()
    for _, err in ipairs { "text", 1, {}, { code = "EWHATEVER" }, { code = "EACCES", source = 7 },
      { code = "EINVAL", call = "setresuid", fields = 3 }, { code = "ENOENT", text = "relative" },
      { code = "ENOENT", text = "/" } } do
      local ok, text = pcall(find, err)
      assert.is_true(ok)
      assert.is_true(text == nil or type(text) == "string")
    end
    assert.is_nil(find { code = "EMFILE", hint = "its own" })
  end)
end)

teardown(helper.cleanup)
