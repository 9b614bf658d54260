-- SPDX-License-Identifier: MIT
-- Profiles that are learned: held to, they let a program do what it did and nothing else; files, merging, replay.
local posix = require("posix")
local carton = require("carton")
local core = require("carton.core")
local helper = require("spec.helper")
local learned_programs = require("spec.learned")
local profile = require("carton.learn.profile")
local text = require("carton.learn.text")

local ABI <const> = core.privilege.landlock_abi()

local payload

--- A root with the program of learn_payload.c as /bin/payload.
local function root()
  if not payload then
    payload = helper.rootfs(true)
    assert(os.execute(("cc -static -O1 -pthread -D_GNU_SOURCE -o '%s/bin/payload' spec/learn_payload.c")
      :format(payload)))
    assert(os.execute(("mkdir -p '%s/srv/locked' && echo secret > '%s/srv/locked/file' && chmod 0 '%s/srv/locked'")
      :format(payload, payload, payload)))
  end
  return payload
end

local function fields_of(args, more)
  local fields = { rootfs = root(), args = args, stdin = "null", stdout = "capture", stderr = "capture", timeout = 60,
    mounts = { { type = "tmpfs", target = "/tmp" } } }
  for key, value in pairs(more or {}) do
    fields[key] = value
  end
  return fields
end

local function run(args, more)
  local c <close> = carton.container(fields_of(args, more))
  return c:run()
end

local function sh(script)
  return { "sh", "-c", script }
end

--- Learn what a program uses; gives the profile and its status.
local function learn(args, more, options)
  local recording <close> = carton.learn.record(options)
  local status = run(args, more)
  return recording:profiles().container, status, recording
end

local function with(learned, more)
  local fields = { seccomp = learned.seccomp, capabilities = learned.capabilities, landlock = learned.landlock }
  for key, value in pairs(more or {}) do
    fields[key] = value
  end
  return fields
end

--- What a profile would deny of a program.
local function findings(learned, args, more, options)
  local replay <close> = carton.learn.replay({ container = learned }, options)
  run(args, more)
  return replay:findings()
end

local function words(list)
  return table.concat(list, " ")
end

local function names_of(learned)
  local set = {}
  for _, rule in ipairs(learned.seccomp.rules) do
    for _, name in ipairs(rule.action == "allow" and rule.names or {}) do
      set[name] = rule.args and rule.args[1].value or true
    end
  end
  return set
end

--- A recipe in a file.
local function recipe(code)
  return helper.write(helper.tmpdir() .. "/recipe.lua", code)
end

local function recipe_of(script, more)
  return recipe(([[
    local carton = require "carton"
    return carton.container { rootfs = %q, mounts = { { type = "tmpfs", target = "/tmp" } },
      args = { "sh", "-c", arg[1] or %q }, stdin = "null" %s }
  ]]):format(root(), script, more or ""))
end

describe("carton.learn #userns", function()
  before_each(function()
    collectgarbage()
  end)
  teardown(function()
    payload = nil
    helper.cleanup()
  end)

  it("learns a profile that lets the same program run, and no other", function()
    local script = "echo x > /tmp/f; cat /etc/passwd"
    local learned, status = learn(sh(script))
    assert.equal(0, status.code, status.stderr)
    local again = run(sh(script), with(learned))
    assert.equal(0, again.code, again.stderr)
    assert.equal(status.stdout, again.stdout)
    local other = run(sh("mkdir /tmp/d"), with(learned))
    assert.not_equal(0, other.code)
    assert.is_nil(names_of(learned).mkdir)
    if ABI > 0 then
      assert.not_equal(0, run(sh("cat /etc/group"), with(learned)).code)
      assert.not_equal(0, run(sh("echo x > /etc/new"), with(learned)).code)
    end
    assert.same({ drop = "all", add = {} }, learned.capabilities)
  end)

  it("holds with an init, on a terminal, and for further programs", function()
    for _, more in ipairs { { init = true }, { no_new_privs = false } } do
      local learned = learn(sh("true"), more)
      assert.equal(0, run(sh("true"), with(learned, more)).code)
      more.on_syscall = { getppid = function() return 1 end }
      assert.equal(0, run(sh("true"), with(learned, more)).code)
    end
    local recording <close> = carton.learn.record()
    local function both(fields)
      local c <close> = carton.container(fields_of({ "sleep", "60" }, fields)):start()
      return c:exec { args = sh("cat /etc/group; echo $((6 * 7))"), stdout = "capture" }:wait()
    end
    assert.matches("42\n$", both({ name = "web" }).stdout)
    recording:stop()
    local learned = recording:profiles().web
    assert.is_truthy(learned.paths["/etc/group"])
    assert.matches("42\n$", both(with(learned, { name = "web" })).stdout)
  end)

  it("tells paths with how they are used, as the payload's side sees them", function()
    local learned = learn(sh("cd /tmp; mkdir a; echo x > a/f; ln -s a/f link 2>/dev/null; cat ./a/../a/f; rm a/f; "
      .. "rmdir a 2>/dev/null; cd /etc; cat passwd; [ -e group ]; ls /proc/self/fd; cat /proc/$$/stat; "
      .. "echo > /dev/null"))
    local uses = {}
    for path, list in pairs(learned.paths) do
      uses[path] = words(list)
    end
    assert.matches("make_dir", uses["/tmp/a"])
    assert.equal("look make_reg read_file remove_file truncate write_file", uses["/tmp/a/f"])
    assert.matches("read_file", uses["/etc/passwd"])
    assert.equal("look", uses["/etc/group"])
    assert.matches("execute", uses["/bin/busybox"])
    assert.matches("read_file", uses["/proc/self/stat"] or uses["/proc/PID/stat"])
    assert.matches("write_file", uses["/dev/null"])
    assert.equal("make_sym", uses["/tmp/link"])
  end)

  it("makes rules of what is there before, and one for many", function()
    local seen = require("carton.learn.observation").new()
    for i = 1, 9 do
      seen:add_path(("/usr/share/many/%d"):format(i), "read_file", "openat")
      seen:add_path(("/etc/%d"):format(i), "read_file", "openat")
    end
    for i = 1, 8 do
      seen:add_path(("/usr/share/few/%d"):format(i), "read_file", "openat")
    end
    seen:add_path("/data/new", "make_dir", "mkdir")
    seen:add_path("/data/new/file", "make_reg", "openat")
    seen:add_path("/data/new/file", "write_file", "openat")
    seen:add_path("/data/old", "remove_file", "unlink")
    seen:add_path("/data/old", "read_file", "openat")
    seen:add_path("/data/dir", "remove_dir", "rmdir")
    seen:add_path("/data/dir/file", "truncate", "truncate")
    seen:add_path("/usr/bin/tool", "execute", "execve")
    seen:add_path("/usr/bin/other", "look", "stat")
    local wish = profile.landlock(seen, 6)
    assert.equal(17, #wish.read)
    assert.is_nil(words(wish.read):find("many", 1, true))
    assert.same({ "/usr/bin/tool" }, wish.execute)
    assert.same({
      { path = "/data", access = { "make_dir", "make_reg", "remove_dir", "remove_file", "write_file" },
        nofollow = true },
      { path = "/data/dir/file", access = { "truncate" }, optional = true, nofollow = true },
      { path = "/data/old", access = { "read_file" }, optional = true, nofollow = true },
      { path = "/usr/share/many", access = { "read_file" }, nofollow = true } }, wish.rules)
    seen:add_note("mounts")
    assert.is_nil(profile.landlock(seen, 6))
    assert.is_nil(profile.landlock(seen, 0))
  end)

  it("gives what moves to another directory, where it was, the rights that it will have", function()
    local function rules_of(kind, made, abi)
      local seen = require("carton.learn.observation").new()
      for path, uses in pairs { ["/in/f"] = "remove_file refer " .. (made and kind or ""),
        ["/out/f"] = kind .. " refer write_file" } do
        for use in uses:gmatch("%S+") do
          seen:add_path(path, use, "rename")
        end
      end
      seen:add_move(kind, "/in/f", "/out/f", "rename")
      local result = profile.make(seen, "x86_64", abi or 6)
      return result.landlock and result.landlock.rules, result.notes
    end
    local out = { path = "/out", access = { "make_reg", "refer", "write_file" }, nofollow = true }
    assert.same({ { path = "/in", access = { "refer", "remove_file" }, nofollow = true },
      { path = "/in/f", access = { "write_file" }, optional = true, nofollow = true }, out },
      (rules_of("make_reg")))
    assert.same({ { path = "/in", access = { "make_reg", "refer", "remove_file", "write_file" }, nofollow = true },
      out }, (rules_of("make_reg", true)))
    assert.same({ "refer", "remove_file", "write_file" }, rules_of("make_sym")[1].access) -- a link has no rule itself
    assert.same({ "make_dir", "refer", "remove_file", "write_file" }, rules_of("make_dir")[1].access)
    local none, notes = rules_of("make_reg", false, 1) -- whose Landlock lets nothing move
    assert.is_nil(none)
    assert.same({ "moves" }, notes)
  end)

  -- /work with directories to move things between, anew for each run
  local function places()
    local dir = helper.tmpdir()
    assert(os.execute(("cd '%s' && %s"):format(dir, learned_programs.places)))
    return { mounts = { { type = "tmpfs", target = "/tmp" }, dir .. ":/work" } }
  end

  it("lets calls about files pass that chance gives", function()
    for _, seed in ipairs { 1, 149 } do
      learned_programs.check_chance(root(), seed)
    end
  end)

  it("learns what renames, links and files without a name take", function()
    for _, what in ipairs { "moves", "nameless", "across" } do
      local learned, status = learn({ "payload", what }, places())
      assert.equal(what .. " 0 \n", status.stdout)
      assert.equal(what .. " 0 \n", run({ "payload", what }, with(learned, places())).stdout)
      assert.same({}, findings(learned, { "payload", what }, places()))
      if what == "across" then
        assert.same({ "look" }, learned.paths["/work/one/file"])
      elseif what == "moves" and ABI > 1 then
        for _, rule in ipairs(learned.landlock.rules) do -- a right less where things move from
          if rule.path == "/work/one" then
            rule.access = { "remove_file", "remove_dir", "refer", "make_reg" }
          end
        end
        assert.matches("^moves %-1 ", run({ "payload", what }, with(learned, places())).stdout)
        for _, enforce in ipairs { false, true } do
          local denied = findings(learned, { "payload", what }, places(), { enforce = enforce })
          local told = {}
          for _, finding in ipairs(denied) do
            told[("%s %s %s"):format(finding.path, finding.to, finding.right)] = finding.call
          end
          assert.equal("rename", told["/work/one/sub /work/two/sub refer"])
          assert.equal("renameat2", told["/work/one/a /work/two/b refer"])
        end
      end
    end
  end)

  it("learns a port that the kernel chose as any", function()
    local learned, status = learn { "payload", "chosen" }
    assert.equal("chosen 0 \n", status.stdout)
    assert.equal("chosen 0 \n", run({ "payload", "chosen" }, with(learned)).stdout)
    assert.same({ "bind", "connect" }, learned.notes)
    if ABI >= 4 then
      assert.is_nil(learned.landlock.tcp)
      learned.landlock.tcp = { bind = { 0 }, connect = { 80 } }
      local ports = {}
      for _, finding in ipairs(findings(learned, { "payload", "chosen" })) do
        ports[finding.call] = finding.port
      end
      assert.same({ bind = -1, connect = -1 }, ports)
    end
  end)

  it("interrupts no call because a child ends", function()
    local _, status = learn { "payload", "children" }
    assert.equal("children 0 \n", status.stdout)
  end)

  it("pins the arguments that say what a call is about", function()
    local learned = learn { "payload", "sockets" }
    assert.same({ 1, 2 }, names_of(learned).socket)
    local denied = findings(learned, { "payload", "netlink" })
    assert.equal("socket 16", denied[1].call .. " " .. denied[1].value)
  end)

  it("keeps the container's own walls, and says so", function()
    local learned, status = learn { "payload", "unshare" }
    assert.equal("unshare -1 EPERM\n", status.stdout)
    assert.is_nil(names_of(learned).unshare)
    assert.equal("unshare -1 EPERM\n", run({ "payload", "unshare" }, with(learned)).stdout)
    local kill = { default = "allow", rules = { { names = { "getppid" }, action = "kill" } } }
    local _, killed = learn({ "payload", "getppid" }, { seccomp = kill })
    assert.equal("SIGSYS", killed.signal)
  end)

  it("leaves a recipe's own answers alone", function()
    local asked = 0
    local on = { getppid = function() asked = asked + 1 return 42 end }
    local learned, status = learn({ "payload", "getppid" }, { on_syscall = on })
    assert.equal("getppid 42 \n", status.stdout)
    assert.equal(1, asked)
    assert.equal("getppid 42 \n", run({ "payload", "getppid" }, with(learned, { on_syscall = on })).stdout)
  end)

  -- Each takes a capability; what it prints says whether it had it.
  local cases = {
    { "chown", "CHOWN" }, { "bind_low", "NET_BIND_SERVICE" }, { "setuid", "SETUID" }, { "setgid", "SETGID" },
    { "setgroups", "SETGID" }, { "chmod_other", "CHOWN FOWNER" }, { "sethostname", "SYS_ADMIN" },
    { "chroot", "SYS_CHROOT" }, { "locked", "DAC_OVERRIDE" }, { "capbset", "SETPCAP" }, { "raw", "NET_RAW" },
    { "kill_other", "KILL SETUID" }, { "sgid", "CHOWN FSETID" }, { "setfcap", "SETFCAP" }, { "utime", "CHOWN FOWNER" },
    { "own", "" }, { "bind_high", "" }, { "same", "" },
  }
  local MORE <const> = { add = { "NET_RAW", "SYS_ADMIN" } }

  for _, case in ipairs(cases) do
    local what, expected = case[1], case[2]
    it("tells that " .. what .. " takes " .. (expected == "" and "no capability" or expected), function()
      local more = { capabilities = MORE, idmap = not helper.is_root and "auto" or nil }
      local learned, status = learn({ "payload", what }, more)
      if status.stdout:find("EINVAL") and not helper.is_root then
        return pending("this user has no subordinate ids")
      end
      assert.matches("^" .. what .. " 0 \n$", status.stdout, nil, status.stderr)
      assert.equal(expected, words(learned.capabilities.add))
      -- with just these it does the same; without one of them it does not, and a replay says which
      more.capabilities = learned.capabilities
      assert.equal(status.stdout, run({ "payload", what }, more).stdout)
      for i, name in ipairs(learned.capabilities.add) do
        local less = { drop = "all", add = table.move(learned.capabilities.add, 1, 99, 1, {}) }
        table.remove(less.add, i)
        more.capabilities = less
        assert.not_equal(status.stdout, run({ "payload", what }, more).stdout, name)
        more.capabilities = MORE
        local without = { seccomp = learned.seccomp, capabilities = less }
        local denied = findings(without, { "payload", what }, more)
        assert.equal(name, denied[1] and denied[1].capability)
        denied = findings(without, { "payload", what }, more, { enforce = true })
        assert.equal(name, denied[1] and denied[1].capability)
      end
    end)
  end

  it("learns ports of TCP", function()
    local learned, status = learn({ "payload", "ports" })
    assert.equal("ports 0 \n", status.stdout)
    if ABI < 4 then
      return pending("this kernel's Landlock knows no ports")
    end
    assert.same({ bind = { 0, 8080 }, connect = { 8080 } }, learned.landlock.tcp)
    assert.equal("ports 0 \n", run({ "payload", "ports" }, with(learned)).stdout)
  end)

  it("is harmed by none of: threads, signals, callers that die, wild pointers", function()
    for _, what in ipairs { "threads", "signals", "dying", "pointers" } do
      local before = helper.fds()
      local learned, status = learn { "payload", what }
      assert.equal(what .. " 0 \n", status.stdout, status.stderr)
      assert.equal(what .. " 0 \n", run({ "payload", what }, with(learned)).stdout)
      assert.same(before, helper.fds())
    end
  end)

  it("writes hostile names so that they are nothing but names", function()
    local learned, status = learn { "payload", "names" }
    assert.equal("names 0 \n", status.stdout)
    local path = helper.tmpdir() .. "/learned.lua"
    carton.learn.save(path, { container = learned })
    for line in helper.read(path):gmatch("[^\n]*") do
      assert.is_nil(line:find("[^\32-\126]"), line)
    end
    local loaded = carton.learn.load(path).container
    assert.same(learned.paths, loaded.paths)
    assert.is_truthy(loaded.paths["/tmp/[*]"])
    assert.is_truthy(loaded.paths["/tmp/\"]]\n--'\\\255\27[31m"])
    assert.is_true(#require("carton.json").encode(carton.learn.oci(loaded)) > 0)
    loaded.notes = { "x\nos.exit(9)" } -- of a file that came from elsewhere
    assert.is_nil(carton.learn.text({ container = loaded }):find("\nos.exit", 1, true))
  end)

  it("is bounded, whatever a program does", function()
    local learned = learn({ "payload", "many" }, nil, { limit = 50 })
    local count = 0
    for _ in pairs(learned.paths) do
      count = count + 1
    end
    assert.is_true(count <= 50, count)
    assert.same({ "paths" }, learned.notes)
    learned = learn { "payload", "made" }
    assert.same({ "make_reg", "remove_file", "write_file" }, learned.paths["/tmp/*"])
    assert.same({}, learned.notes)
    assert.equal(0, run({ "payload", "made" }, with(learned)).code)
    learned = carton.learn.merge { container = learn { "payload", "many" } }.container -- names that are directories
    assert.same({ "make_dir", "make_reg", "write_file" }, learned.paths["/tmp/*"])
    assert.equal("many 0 \n", run({ "payload", "many" }, with(learned)).stdout)
  end)

  it("takes no name for a pattern", function()
    local files = require("carton.learn.files")
    for path, written in pairs { ["/a/*"] = "/a/[*]", ["/[*]/*/f"] = "/[[*]]/[*]/f", ["/a/[[*]"] = "/a/[[*]",
      ["/?/**/[a]"] = "/?/**/[a]", ["/"] = "/" } do
      assert.equal(written, files.escape(path))
      assert.equal(path, files.unescape(written))
    end
    local seen = require("carton.learn.observation").new()
    seen:add_path(files.escape("/srv/*"), "read_file", "open")
    seen:add_path(files.escape("/opt/*/*"), "read_file", "open")
    seen:add_path(files.escape("/srv/[*]"), "write_file", "open")
    assert.same({ read = { "/opt/*/*", "/srv/*" }, rules = { { path = "/srv/[*]", access = { "write_file" },
      nofollow = true } } }, { read = profile.landlock(seen, 6).read, rules = profile.landlock(seen, 6).rules })
  end)

  for _, program in ipairs(learned_programs.programs) do
    if program.quick then
      it("lets pass: " .. program.name, function()
        local lacking = learned_programs.lacks(program)
        if lacking then
          return pending(lacking .. " is not installed")
        end
        learned_programs.check(program)
      end)
    end
  end

  it("writes the same bytes for the same run", function()
    local script = sh("echo x > /tmp/f; cat /etc/passwd; ls /; id")
    local first = carton.learn.text { container = learn(script) }
    assert.equal(first, carton.learn.text { container = learn(script) })
  end)

  it("merges runs: what any of them used, in any order, and once is enough", function()
    local a = { container = learn(sh("mkdir /tmp/a")) }
    local b = { container = learn(sh("cat /etc/group")), other = learn(sh("true")) }
    local ab = carton.learn.text(carton.learn.merge(a, b))
    assert.equal(ab, carton.learn.text(carton.learn.merge(b, a)))
    assert.equal(ab, carton.learn.text(carton.learn.merge(carton.learn.merge(a, b), a)))
    assert.equal(carton.learn.text(a), carton.learn.text(carton.learn.merge(a, a)))
    local merged = carton.learn.merge(a, b).container
    assert.equal(0, run(sh("mkdir /tmp/a"), with(merged)).code)
    assert.equal(0, run(sh("cat /etc/group"), with(merged)).code)
    assert.is_truthy(carton.learn.merge(a, b).other)
  end)

  it("merges step by step as at once", function()
    for seed = 1, 60 do
      learned_programs.check_merge(seed)
    end
  end)

  it("reads back what it writes, and refuses what it did not", function()
    local path = helper.tmpdir() .. "/learned.lua"
    local learned = { container = learn { "payload", "sockets" }, web = learn(sh("true")) }
    carton.learn.save(path, learned)
    assert.equal(helper.read(path), carton.learn.text(carton.learn.load(path)))
    for content, why in pairs { ["return {"] = "near <eof>", ["return 5"] = "it is a number",
      ["return { seccomp = {} }"] = "no table 'learned'", ["while true do end"] = "it does not come to an end",
      ["return ('x'):rep(1 << 40)"] = "attempt to index a string", ["x('\27[2J')"] = "attempt to call a nil value",
      ["return { learned = { version = 1 }, seccomp = function() end }"] = "it holds a function",
      ["local t = {} t[1] = t return t"] = "nested too deeply", ["return {}\27[2J"] = "near '<\\27>'",
      ["return { learned = { version = 1 }, containers = 5 }"] = "'containers' is not a table",
      ["return { learned = { version = 9 } }"] = "version 9, not 1",
      ["return { learned = { version = 1 } }"] = "has no field 'seccomp'" } do
      helper.write(path, content)
      local err = helper.raises(text.load, path)
      assert.is_true(err.usage)
      assert.is_truthy(err.message:find(why, 1, true), err.message)
    end
    local edited = { container = learned.web }
    table.insert(edited.container.seccomp.rules, { names = { "mount" }, action = "log" })
    assert.matches("rule %d+ is none that was learned", helper.raises(carton.learn.merge, edited))
    for pattern, change in pairs {
      ["notes: 'x\nos%.exit%(9%)' is none that was learned"] = { notes = { "x\nos.exit(9)" } },
      ["starts: 'x' is none that was learned"] = { starts = { "x" } }, ["notes: a list"] = { notes = "paths" },
      ["paths: 'etc' is none"] = { paths = { etc = { "look" } } }, ["paths: '1' is none"] = { paths = { { "look" } } },
      ["paths: a list expected, got number"] = { paths = { ["/etc"] = 5 } },
      ["capabilities: a table expected, got string"] = { capabilities = "all" },
      ["capabilities.add: 'x\n' is none"] = { capabilities = { add = { "x\n" } } },
      ["moves: 'table: [%w]+' is none"] = { moves = { { kind = "make_reg", from = "/a", to = "b" } } },
      ["landlock.tcp: '70000' is none"] = { landlock = { tcp = { bind = { 70000 } } } },
      ["rule 1 is none"] = { seccomp = { default = "allow", rules = { { names = { "read" },
        action = { "errno", {} } } } } },
    } do
      change.seccomp = change.seccomp or { default = "allow" }
      assert.matches(pattern, helper.raises(carton.learn.merge, { container = change }))
    end
    helper.raises_code("ENOENT", carton.learn.load, path .. ".none")
  end)

  it("enforces nothing that would open what the container's own fields close", function()
    local wide = { container = { seccomp = { default = "allow" }, capabilities = { add = { "SYS_ADMIN" } } } }
    local try <close> = carton.learn.replay(wide, { enforce = true })
    local status = run(sh("grep CapPrm /proc/self/status; cat /etc/group || echo denied"), { capabilities = "none",
      landlock = { execute = { "/bin" }, read = { "/proc" }, optional = true } })
    assert.equal("CapPrm:\t0000000000000000\ndenied\n", status.stdout, try)
  end)

  it("says of the first program, too, that it was executed", function()
    local more = { rootfs = carton.rootfs.host() }
    local learned = learn({ "/usr/bin/true" }, more)
    local executed = {}
    for _, finding in ipairs(findings(learned, { "/usr/bin/ls" }, more)) do
      if finding.right == "execute" then
        executed[#executed + 1] = finding.call
      end
    end
    assert.same({ "execve" }, executed)
  end)
  it("replays no profile that is none, and says so before anything runs", function()
    for pattern, change in pairs {
      ["default is missing"] = { seccomp = {} }, ["got number"] = { capabilities = 5 },
      ["rule 1: unknown errno 'x'"] = { seccomp = { default = "allow", rules = { { names = { "read" },
        action = { "errno", "x" } } } } },
      ["unknown field 'x'"] = { landlock = { x = 1 } }, ["field 'rules'"] = { landlock = { rules = { 5 } } },
    } do
      change.seccomp = change.seccomp or { default = "allow" }
      assert.matches(pattern, helper.raises(carton.learn.replay, { container = change }))
      assert.is_nil(require("carton.container").observer)
    end
  end)

  it("refuses options that there are not", function()
    assert.matches("record: unknown field 'limits' %(did you mean 'limit'%?%)",
      helper.raises(carton.learn.record, { limits = 5 }))
    assert.matches("enforce': boolean expected, got string",
      helper.raises(carton.learn.replay, {}, { enforce = "yes" }))
  end)

  it("costs nothing when nobody learns", function()
    do
      local recording <close> = carton.learn.record() -- luacheck: ignore recording
    end
    assert.is_nil(require("carton.container").observer)
    local c = carton.container(fields_of { "true" })
    c:run()
    assert.is_nil(c.fields.on_syscall)
    local path = recipe_of("true")
    local loaded = helper.carton("-e", ([[
      assert(loadfile(%q))():run()
      for name in pairs(package.loaded) do assert(not name:find("learn"), name) end
    ]]):format(path), "true")
    assert.equal("", loaded.stderr)
  end)

  it("makes a profile that its own loader takes as the specification's", function()
    local learned = learn { "payload", "sockets" }
    local path = helper.write(helper.tmpdir() .. "/oci.json",
      require("carton.json").encode(carton.learn.oci(learned)))
    assert.same({}, carton.seccomp.check(path))
    assert.equal("allow", carton.seccomp.explain(path, "socket", { 2 }).action)
    assert.equal("errno ENOSYS", carton.seccomp.explain(path, "socket", { 16 }).action)
    assert.equal("errno ENOSYS", carton.seccomp.explain(path, "mount").action)
    assert.equal("sockets 0 \n", run({ "payload", "sockets" }, { seccomp = path }).stdout)
    local decoded = require("cjson").decode(helper.read(path))
    assert.is_table(decoded.process.capabilities.bounding)
  end)
end)

describe("carton learn #userns", function()
  teardown(function()
    payload = nil
    helper.cleanup()
  end)

  it("writes a file that a recipe uses", function()
    local path, dir = recipe_of("cat /etc/passwd; exit 3"), helper.tmpdir()
    local result = helper.carton("learn", "-o", dir .. "/p.lua", "--oci", dir .. "/p.json", path)
    assert.equal(3, result.code, result.stderr)
    assert.matches("root:x:0:0", result.stdout)
    assert.matches("^carton learn: %d+ system calls, %d+ paths, 0 capabilities; written to .*/p.lua and .*/p.json\n$",
      result.stderr)
    local bound = recipe_of("cat /etc/passwd; exit 3",
      (", seccomp = dofile(%q).seccomp, landlock = dofile(%q).landlock"):format(dir .. "/p.lua", dir .. "/p.lua"))
    assert.equal(3, helper.carton(bound).code)
    assert.not_equal(0, helper.carton(bound, "mkdir /tmp/x").code)
  end)

  it("adds runs to the file, and leaves another one alone", function()
    local path, dir = recipe_of("cat /etc/passwd"), helper.tmpdir()
    helper.carton("learn", "-o", dir .. "/p.lua", path)
    local first = helper.read(dir .. "/p.lua")
    helper.carton("learn", "-o", dir .. "/p.lua", path)
    assert.equal(first, helper.read(dir .. "/p.lua"))
    helper.carton("learn", "-o", dir .. "/q.lua", path, "mkdir /tmp/d")
    local merged = helper.carton("learn", "--merge", dir .. "/q.lua", path)
    assert.matches('"mkdir"', merged.stdout)
    helper.write(dir .. "/mine.lua", "return { precious = true }")
    local refused = helper.carton("learn", "-o", dir .. "/mine.lua", path)
    assert.equal(125, refused.code)
    assert.matches("is not a learned profile", refused.stderr)
    assert.equal("", refused.stdout) -- before anything ran
    assert.equal("return { precious = true }", helper.read(dir .. "/mine.lua"))
    local files = {}
    for _, name in ipairs(posix.dir(dir)) do
      files[#files + 1] = name:sub(1, 1) ~= "." and name or nil
    end
    table.sort(files)
    assert.same({ "mine.lua", "p.lua", "q.lua" }, files)
  end)

  it("replaces nothing but files", function()
    local path, dir = recipe_of("echo ran"), helper.tmpdir()
    assert(posix.mkfifo(dir .. "/fifo"))
    assert(posix.link("fifo", dir .. "/link", true))
    for _, name in ipairs { "fifo", "link", "." } do
      local result = helper.carton("learn", "--oci", dir .. "/" .. name, path)
      assert.equal("125", tostring(result.code) .. result.stdout)
      assert.matches("not a regular file", result.stderr)
    end
    assert.equal("fifo", posix.stat(dir .. "/fifo").type)
  end)

  it("records each container of a recipe by its name", function()
    local path = recipe(([[
      local carton = require "carton"
      for _, name in ipairs { "a", "b" } do
        local c <close> = carton.container { name = name, rootfs = %q,
          args = { "sh", "-c", "cat /etc/" .. arg[name == "a" and 1 or 2] .. " > /dev/null" } }
        c:start():wait()
      end
    ]]):format(root()))
    local out = helper.tmpdir() .. "/p.lua"
    assert.equal(0, helper.carton("learn", "-o", out, path, "passwd", "group").code)
    local profiles = carton.learn.load(out)
    assert.is_truthy(profiles.a.paths["/etc/passwd"])
    assert.is_nil(profiles.a.paths["/etc/group"])
    assert.is_truthy(profiles.b.paths["/etc/group"])
  end)

  it("tells what a profile would deny, and denies it when asked", function()
    local path, out = recipe_of("cat /etc/passwd > /tmp/x; true"), helper.tmpdir() .. "/p.lua"
    helper.carton("learn", "-o", out, path)
    for _, how in ipairs { {}, { "--enforce" } } do
      local args = table.move(how, 1, #how, 4, { "learn", "--replay", out })
      args[#args + 1] = path
      local same = helper.carton(table.unpack(args))
      assert.equal("", same.stdout)
      assert.equal(0, same.code, same.stderr)
      args[#args + 1] = "mkdir /tmp/d && echo made; true"
      local other = helper.carton(table.unpack(args))
      assert.equal(1, other.code)
      assert.matches("container: mkdir: 1 time\n", other.stdout)
      assert.equal(how[1] == nil, other.stdout:find("made\n", 1, true) ~= nil)
      table.insert(args, 2, "--json")
      local decoded = require("cjson").decode(helper.carton(table.unpack(args)).stdout:match("({.*})"))
      assert.equal(how[1] ~= nil, decoded.enforced)
      local found = false
      for _, denied in ipairs(decoded.denied) do
        found = found or (denied.call == "mkdir" and denied.kind == "call" and denied.count == 1)
      end
      assert.is_true(found)
    end
  end)

  it("gives the status of the program when nothing is denied", function()
    local path, out = recipe_of("exit 3"), helper.tmpdir() .. "/p.lua"
    helper.carton("learn", "-o", out, path)
    for _, how in ipairs { {}, { "--enforce" } } do
      local args = table.move(how, 1, #how, 4, { "learn", "--replay", out })
      args[#args + 1] = path
      local result = helper.carton(table.unpack(args))
      assert.equal("", result.stdout)
      assert.equal(3, result.code, result.stderr)
    end
  end)

  it("refuses, by name, what does not go together", function()
    local path = recipe_of("true")
    for message, args in pairs {
      ["a recipe, or a root file system and a command, is missing"] = {},
      ["'%-%-enforce' goes with %-%-replay"] = { "--enforce", path },
      ["'%-%-limit': 'x' is not a number above 0"] = { "--limit", "x", path },
      ["unknown option '%-%-replai' %(did you mean '%-%-replay'%?%)"] = { "--replai", path },
      ["none.lua: No such file"] = { "--replay", "none.lua", path },
      ["'%-%-output' does not go with %-%-replay"] = { "--replay", "none.lua", "-o", "x", path },
      ["it started no container"] = { recipe("return 0") },
    } do
      local result = helper.carton("learn", table.unpack(args))
      assert.equal(125, result.code)
      assert.matches(message, result.stderr)
    end
  end)

  it("learns a command, too, and leaves nothing behind", function()
    local world = helper.world()
    local result = helper.carton("learn", "--json", root(), "sh", "-c", "true")
    assert.equal(0, result.code, result.stderr)
    local decoded = require("cjson").decode(result.stdout)
    assert.is_true(decoded.counts.container.total > 0)
    assert.same({}, decoded.profiles.container.capabilities.add)
    assert.same(world, helper.world())
  end)
end)

describe("carton learn beside crun #root", function()
  teardown(helper.cleanup)

  it("writes a profile that crun runs with", function()
    if not helper.is_root or os.execute("command -v crun > /dev/null") ~= true then
      return pending("crun is not installed, or this is not root")
    end
    local dir = helper.tmpdir()
    local function script(code)
      return { "sh", "-c", code }
    end
    local learned
    do
      local recording <close> = carton.learn.record()
      carton.container { rootfs = helper.rootfs(), args = script("cat /etc/passwd > /dev/null"), stdin = "null" }:run()
      learned = carton.learn.oci(recording:profiles().container)
    end
    local process = learned.process
    learned.process = nil
    local function bundle(name, code)
      local path = dir .. "/" .. name
      posix.mkdir(path)
      helper.write(path .. "/config.json", require("carton.json").encode {
        ociVersion = "1.0.0", root = { path = helper.rootfs() }, hostname = "crun",
        process = { cwd = "/", args = script(code), env = { "PATH=/bin" }, user = { uid = 0, gid = 0 },
          capabilities = process.capabilities, noNewPrivileges = true },
        mounts = { { destination = "/proc", type = "proc", source = "proc" },
          { destination = "/dev", type = "tmpfs", source = "tmpfs" } },
        linux = { seccomp = learned, namespaces = { { type = "pid" }, { type = "mount" }, { type = "uts" },
          { type = "ipc" }, { type = "network" } } },
      })
      return path
    end
    local same, other = bundle("same", "cat /etc/passwd > /dev/null"), bundle("other", "mkdir /dev/x")
    helper.isolated(function()
      if core.host.statfs("/sys/fs/cgroup").type ~= "cgroup2" then
        core.mount.tmpfs { target = "/sys/fs/cgroup" } -- it does not start beside two hierarchies: it sees none here
      end
      local function crun(path, name)
        return helper.run { "crun", "--root", dir .. "/state", "--cgroup-manager=disabled", "run", "-b", path, name }
      end
      local result = crun(same, "learn-same")
      assert.equal(0, result.code, result.stderr)
      assert.not_equal(0, crun(other, "learn-other").code)
    end)
  end)
end)
