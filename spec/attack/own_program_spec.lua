-- SPDX-License-Identifier: MIT
-- CVE-2019-5736: a payload gets hold of the program of who starts or enters its container, and overwrites it.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local exec, host = carton.exec, carton.host

local container = attack.container
local shell = attack.shell

local ENTRIES <const> = { "/proc/self/exe", "/bin/self", "/bin/script", "/bin/version", "self", "script" }

--- An image whose programs are links and scripts to the program that executes them; a program of its own, too.
local function image()
  local root = attack.image()
  posix.link("/proc/self/exe", root .. "/bin/self", true)
  helper.write(root .. "/bin/script", "#!/proc/self/exe\nprint('interpreter')\n", "rwxr-xr-x")
  helper.write(root .. "/bin/version", "#!/proc/self/exe -v\n", "rwxr-xr-x")
  posix.mkdir(root .. "/opt")
  assert(os.execute(("cp '%s/bin/busybox' '%s/opt/sleep'"):format(root, root)))
  return root
end

local function contents(paths)
  local list = {}
  for i, path in ipairs(paths) do
    list[i] = helper.read(path)
  end
  return list
end

--- What lines of a payload begin with this word, its own image's program apart.
local function lines(text, word)
  local list = {}
  for name in text:gmatch(word .. " (%C*)\n") do
    if not name:find("/opt/sleep", 1, true) then
      list[#list + 1] = name
    end
  end
  return table.concat(list, " ")
end

attack.any("entry points and a race for /proc/PID/exe reach the runtime's program", { "CVE-2019-5736" }, function(r)
  local root = image()
  local before = contents(r.programs)
  local function tries(run)
    for _, program in ipairs(ENTRIES) do
      local result = run { program, "-e", "print('interpreter')" }
      attack.holds(not result.stdout:find("interpreter"), "%s ran", program)
    end
  end
  tries(function(args)
    return r:run { rootfs = root, args = args }
  end)
  local own = r.name == "Carton" and "" or " -w" -- this very interpreter need not suffer
  local c <close> = r:start { rootfs = root, args = { "sh", "-c", "exec payload executables" .. own
    .. " >/tmp/caught 2>&1" } }
  local caught = root .. "/tmp/caught"
  assert(helper.eventually(function() return host.stat(caught) end))
  assert(c:exec { args = { "/opt/sleep", "0.3" } }.code == 0, "no program enters")
  tries(function(args)
    return c:exec { args = args }
  end)
  local count, began = 0, host.monotonic()
  while count < 150 and host.monotonic() - began < r.seconds do
    c:exec { args = { "true" } }
    count = count + 1
  end
  assert(helper.eventually(function()
    return helper.read(caught):find("opened /opt/sleep", 1, true)
  end), "the payload does nothing")
  c:close()
  local said = helper.read(caught)
  attack.holds(lines(said, "overwrote") == "", "overwrote %s", lines(said, "overwrote"))
  attack.holds(r.name ~= "Carton" or lines(said, "opened"):gsub("/memfd:carton%-init[^/]*", "") == "", "%s", said)
  for i, content in ipairs(contents(r.programs)) do
    attack.holds(content == before[i], "%s was changed", r.programs[i])
  end
  return count .. " times entered"
end)

attack.any("a dynamic loader of the image runs inside of the runtime's program", { "CVE-2019-5736" }, function(r)
  local loader = helper.read("/usr/bin/env"):match("/lib[%w/]*/ld%-linux[%w%-%.]+")
  local root = image()
  assert(os.execute(("mkdir -p '%s%s' && cp '%s' '%s%s'"):format(root, loader:match("(.*)/"), attack.tool("loader"),
    root, loader)))
  assert(os.execute(("cp /usr/bin/env '%s/opt/env'"):format(root))) -- any that asks for a loader
  local before = contents(r.programs)
  local function ran()
    return os.remove(root .. "/ran")
  end
  local copy = helper.read(root .. "/opt/env")
  r:run { rootfs = root, args = { "/opt/env" } }
  assert(ran(), "the loader does not run")
  assert(helper.read(root .. "/opt/env") == copy .. "evil", "the payload does not write")
  for _, program in ipairs(ENTRIES) do
    r:run { rootfs = root, args = { program } }
    attack.holds(r.name ~= "Carton" or not ran(), "%s ran", program)
  end
  local c <close> = r:start { rootfs = root, args = { "sleep", "60" } }
  for _, program in ipairs(ENTRIES) do
    c:exec { args = { program } }
    attack.holds(r.name ~= "Carton" or not ran(), "%s ran", program)
  end
  for i, content in ipairs(contents(r.programs)) do
    attack.holds(content == before[i], "%s was changed", r.programs[i])
  end
end)

describe("the caller's own program #userns", function()
  local function own()
    return posix.readlink("/proc/self/exe")
  end
  it("is found out before it runs, where all is there that it needs", function()
    local marker = helper.tmpdir()
    posix.chmod(marker, "rwxrwxrwx")
    local layout = carton.steps(carton.rootfs.host(), {
      { "mount.symlink", path = "/tmp/self", target = "/proc/self/exe" },
      { "mount.write", target = "/tmp/script", mode = "0755",
        content = "#!/proc/self/exe\nio.open('/marker/ran', 'w'):close()\n" },
      { "mount.write", target = "/tmp/second", mode = "0755", content = "#!/tmp/script\n" },
      { "mount.bind", source = marker, target = "/marker" } })
    for _, wish in ipairs { {}, { init = true }, { die_with_parent = false },
      helper.can_share_pid() and { namespaces = { pid = "host" } } or nil } do
      for _, program in ipairs { "/proc/self/exe", "/tmp/self", "/tmp/script", "/tmp/second" } do
        local before = helper.children()
        local ok, status = pcall(shell, "", { rootfs = layout, init = wish.init, namespaces = wish.namespaces,
          die_with_parent = wish.die_with_parent, args = { program, "-e", "io.open('/marker/ran', 'w'):close()" } })
        if ok then -- the small program in memory refuses to be anything else
          assert.equal(125, status.code, program)
        else
          assert.equal("exec.exec", status.step, tostring(status))
        end
        assert.is_nil(host.stat(marker .. "/ran"), program)
        assert.same(before, helper.children())
      end
    end
  end)
  it("is refused by name, and a program that is another's runs", function()
    local layout = carton.steps(carton.rootfs.host(), {
      { "mount.write", target = "/tmp/script", mode = "0755", content = "#!/proc/self/exe\n" } })
    local err = helper.raises_code("EPERM", shell, "", { rootfs = layout, args = { "/tmp/script" } })
    assert.matches("is the file of who starts it", tostring(err))
    assert.equal("fine\n", shell("echo fine", { rootfs = carton.rootfs.host() }).stdout)
  end)
  it("is out of sight of those inside while another program enters, though they are as mighty", function()
    local root = image()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local c <close> = container { rootfs = root, capabilities = "all", seccomp = false,
      idmap = helper.is_root and { uids = ids, gids = ids } or "single",
      args = { "sh", "-c", "exec payload executables >/tmp/caught 2>&1" } }
    c:start()
    for i = 0, 100 do
      local e <close> = c:exec { args = i > 0 and { "true" } or { "/opt/sleep", "0.2" }, stdin = "null",
        stdout = "null", stderr = "null" }
      assert.equal(0, e:wait(10).code)
    end
    c:close()
    local said = helper.read(root .. "/tmp/caught")
    assert.matches("caught /opt/sleep", said)
    assert.equal("", (lines(said, "caught"):gsub("/memfd:carton%-init %(deleted%) ?", "")))
  end)
  it("is out of sight from the moment of entering, even for who may do anything inside", function()
    local ids = { { container_id = 0, host_id = 200000, size = 1000 } }
    local c <close> = container { capabilities = "all",
      idmap = helper.is_root and { uids = ids, gids = ids } or "single" }
    c:start()
    local seen
    local p <close> = exec.spawn { steps = {
      { "namespace.enter", process = c.process, kinds = { "user", "mnt", "pid" } }, { "exec.fork" },
      { "sync", name = "look" }, { "exec.exec", args = { "/bin/true" } } },
      sync = { look = function()
        local e <close> = c:exec { args = { "sh", "-c", "for p in /proc/[0-9]*; do readlink $p/exe; done" },
          stdin = "null",
          stdout = "capture", stderr = "null", capabilities = "all" }
        seen = e:wait(10).stdout
      end } }
    assert.equal(0, p:wait().code)
    assert.matches("busybox", seen)
    assert.is_nil(seen:find(own(), 1, true), seen)
  end)
  it("and its memory are closed to others with the privileges of the program to come", function()
    local drop = { "privilege.capabilities", permitted = {}, effective = {}, inheritable = {},
      bounding = helper.is_root and {} or nil }
    local looked
    local p <close> = exec.spawn { steps = { drop, { "sync", name = "look" },
      { "exec.exec", args = { "/bin/true" } } },
      sync = { look = function(process)
        local reader <close> = exec.spawn { steps = { drop, { "exec.exec", args = { "/bin/sh", "-c",
          ("readlink /proc/%d/exe || dd if=/proc/%d/mem count=0 2>/dev/null"):format(process:pid(), process:pid()) },
          env = { PATH = "/usr/bin:/bin" } } } }
        looked = reader:wait()
      end } }
    assert.equal(0, p:wait().code)
    assert.equal(1, looked.code)
    assert.is_truthy(posix.access("/proc/self/mem", "r")) -- and are our own again
  end)
  it("is neither copied at a start nor started again by require", function()
    local script = [[
      io.write("begun ")
      local carton, posix = require "carton", require "posix"
      io.write(posix.readlink("/proc/self/exe"), " ")
      carton.container { rootfs = arg[1], args = { "true" }, idmap = posix.geteuid() ~= 0 and "single" or nil,
        on = { created = function(c) io.write(posix.readlink("/proc/" .. c:pid() .. "/exe")) end } }:run() ]]
    local path = helper.write(helper.tmpdir() .. "/script.lua", script)
    for _, program in ipairs { own(), host.realpath(helper.program) } do
      local result = helper.run { program, path, helper.rootfs() }
      assert.equal(("begun %s %s"):format(program, program), result.stdout, result.stderr)
    end
  end)
  it("stays what it was when it enters a payload that overwrites", function()
    local place, root = helper.tmpdir(), image()
    local program = place .. "/carton"
    assert(os.execute(("cp '%s' '%s'"):format(helper.program, program)))
    local recipe = helper.write(place .. "/recipe.lua", [[
      local carton = require "carton"
      local c <close> = carton.container { rootfs = arg[1], capabilities = "all", seccomp = false,
        args = { "sh", "-c", "exec payload executables -w >/tmp/caught 2>&1" }, stdin = "null" }
      c:start()
      for i = 1, 100 do
        local e <close> = c:exec { args = { i == 1 and "/proc/self/exe" or "true" }, stderr = "null" }
        e:wait(10)
      end ]])
    helper.run { program, recipe, root }
    assert.is_truthy(host.stat(root .. "/tmp/caught"))
    assert.equal("", lines(helper.read(root .. "/tmp/caught"), "overwrote"))
    assert.equal(helper.read(helper.program), helper.read(program))
  end)
end)

teardown(helper.cleanup)
