-- SPDX-License-Identifier: MIT
-- Id maps: subordinate ids, the wishes that stand for a map, and what is in /proc/PID/uid_map then.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local idmap = carton.idmap
local output = helper.output

local uid, gid = posix.geteuid(), posix.getegid()

--- The map of a running container: { {container, host, size}, ... }.
local function map_of(fields, kind)
  local all = { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null" }
  for key, value in pairs(fields) do
    all[key] = value
  end
  local c <close> = carton.container(all)
  c:start()
  local list = {}
  for line in io.lines(("/proc/%d/%s_map"):format(c:pid(), kind or "uid")) do
    local a, b, n = line:match("(%d+)%s+(%d+)%s+(%d+)")
    list[#list + 1] = { tonumber(a), tonumber(b), tonumber(n) }
  end
  return list
end

local granted = idmap.granted()

describe("idmap.subordinate", function()
  local function ranges(text, user, id)
    return idmap.subordinate(helper.write(helper.tmpdir() .. "/subuid", text), user, id)
  end
  it("reads ranges by name and by number, in file order", function()
    assert.same({ { first = 200000, count = 10 }, { first = 100000, count = 65536 } },
      ranges("me:200000:10\nother:1:1\n1000:100000:65536\n", "me", 1000))
    assert.same({ { first = 5, count = 6 } }, ranges("me:5:6", "me", 1000))
    assert.same({ { first = 5, count = 6 } }, ranges("7:5:6\n", nil, 7))
  end)
  it("passes over lines that are none, whatever is in them", function()
    local hostile = {
      "me", "me:", "me::", "me:1", "me:1:", "me::1", "me:a:b", "me:-5:10", "me:1:-1", "me:1:0", "me:0x10:16",
      "me:1e3:5", "me:1.0:5", " me:1:5", "me :1:5", "me:1:5:6", "me:1:5x", "xme:1:5", "mex:1:5", "#me:1:5",
      "me:4294967295:1", "me:4294967294:2", "me:99999999999999999999:1", "me:1:99999999999999999999",
      "me:9223372036854775807:2", "me:2:9223372036854775807", "me:9223372036854775807:9223372036854775807",
      ("me:1:5"):rep(1000), "\0me:1:5", "me:1\0:5", ":1:5", "::", "\255\254:1:1", "",
    }
    assert.same({}, ranges(table.concat(hostile, "\n") .. "\n", "me", 1000))
    assert.same({ { first = 4294967294, count = 1 } }, ranges("me:4294967294:1\r\n", "me", 1000))
    assert.same({}, ranges(":1:5\n", nil, 7))
  end)
  it("finds none in a file that is not there", function()
    assert.same({}, idmap.subordinate("/no/such/file", "me", 1))
  end)
end)

describe("idmap.granted #root", function()
  --- Called with files of one's own in the place of /etc/subuid and /etc/subgid.
  local function with(subuid, subgid, test)
    helper.isolated(function()
      local dir = helper.tmpdir()
      for name, text in pairs { subuid = subuid, subgid = subgid } do
        carton.mount.bind { source = helper.write(dir .. "/" .. name, text), target = "/etc/" .. name }
      end
      test()
    end)
  end
  it("says which file lacks which line", function()
    with("someone:1:1\n", "root:300000:65536\n", function()
      local ranges, why = idmap.granted()
      assert(ranges == nil)
      assert(why == "/etc/subuid has no line for root; add 'root:100000:65536'", why)
      local ok, err = pcall(idmap.resolve, "auto")
      assert(not ok and tostring(err):find("no ids to map", 1, true) and tostring(err):find(why, 1, true),
        tostring(err))
      assert(tostring(err):find("idmap_spec.lua:%d+: "), tostring(err))
    end)
    with("root:300000:65536\n", "", function()
      local _, why = idmap.granted()
      assert(why:find("^/etc/subgid has no line for root"), why)
    end)
  end)
  it("are used when they are asked for, or it is said why not", function()
    local line = "1234:300000:65536\n"
    local function as_user(subuid, subgid, hide, test)
      with(subuid, subgid, function()
        for _, name in ipairs(hide and { "newuidmap", "newgidmap" } or {}) do
          for _, directory in ipairs { "/usr/bin", "/usr/local/bin", "/usr/sbin" } do
            if carton.host.stat(directory .. "/" .. name) then
              carton.mount.bind { source = "/dev/null", target = directory .. "/" .. name }
            end
          end
        end
        carton.privilege.user { uid = 1234, gid = 1234, groups = {} }
        test()
      end)
    end
    local function refused(why)
      for _, wish in ipairs { "auto", "keep-id" } do
        local ok, err = pcall(idmap.resolve, wish)
        assert(not ok and tostring(err):find(why, 1, true), tostring(err))
      end
      assert(idmap.resolve(nil).single)
    end
    as_user(line, line, true, function() refused("newuidmap is not installed") end)
    as_user(line, "", false, function() refused("/etc/subgid has no line") end)
    as_user("", "", true, function() assert(idmap.resolve("auto").single and idmap.resolve("keep-id").single) end)
  end)
  it("lays ranges of root one after the other from 0", function()
    with("root:300000:1000\nroot:500000:10\n", "root:300000:65536\n", function()
      local map = idmap.resolve "auto"
      assert(#map.uids == 2 and #map.gids == 1 and map.root)
      assert(map.uids[1].container_id == 0 and map.uids[1].host_id == 300000 and map.uids[1].size == 1000)
      assert(map.uids[2].container_id == 1000 and map.uids[2].host_id == 500000 and map.uids[2].size == 10)
      local seen = map_of({ idmap = "auto", rootfs = carton.rootfs.host() })
      assert(seen[1][2] == 300000 and seen[2][1] == 1000 and seen[2][2] == 500000)
    end)
  end)
end)

describe("idmap.resolve", function()
  it("single: the caller is 0", function()
    local map = idmap.resolve "single"
    assert.same({ { container_id = 0, host_id = uid, size = 1 } }, map.uids)
    assert.same({ { container_id = 0, host_id = gid, size = 1 } }, map.gids)
    assert.is_true(map.root)
    assert.equal(not helper.is_root, map.single) -- the caller's groups are dropped where they can be
  end)
  it("refuses what is no map, by name", function()
    local entry = { container_id = 0, host_id = 1, size = 1 }
    for pattern, wish in pairs {
      ["unknown field 'uid'"] = { uid = { entry } }, ["field 'uids' is a list"] = { gids = { entry } },
      ["field 'gids' is a list"] = { uids = { entry }, gids = {} },
      ["'uids': entry 2 has no integer 'size'"] = { uids = { entry, { container_id = 1, host_id = 2 } },
        gids = { entry } },
      ["'gids': entry 1 has no integer 'container_id'"] = { uids = { entry }, gids = { 1 } },
      ["'uids': entry 1 has no integer 'host_id'"] = { uids = { { container_id = 0, host_id = 1.5, size = 1 } },
        gids = { entry } },
      ['"auto", "single", "keep%-id" or a table'] = "all",
      ["'uids': entry 1 has an unknown field 'sise'"] = { gids = { entry },
        uids = { { container_id = 0, host_id = 1, size = 1, sise = 2 } } },
      ["'uids': entry x is not in the list"] = { gids = { entry }, uids = { entry, x = entry } },
      ["'uids': entry 1 ends beyond the ids"] = { gids = { entry },
        uids = { { container_id = 0, host_id = 4294967294, size = 2 } } },
      ["'gids': entry 1 ends beyond"] = { uids = { entry }, gids = { { container_id = -1, host_id = 1, size = 1 } } },
      ["'gids': entry 1 ends"] = { uids = { entry }, gids = { { container_id = 0, host_id = 1, size = 0 } } },
      ["'gids': entry 1"] = { uids = { entry }, gids = { { container_id = 0, host_id = 1, size = math.maxinteger } } },
      ["'gids': entry 2 overlaps entry 1 in 'host_id'"] = { uids = { entry },
        gids = { { container_id = 0, host_id = 5, size = 5 }, { container_id = 5, host_id = 9, size = 5 } } },
    } do
      assert.matches("idmap_spec.lua:%d+: idmap: .*" .. pattern, helper.raises(function() idmap.resolve(wish) end))
    end
  end)
  it("no entry overlaps, and each id of a grant is there once #rootless", function()
    if not granted then
      return pending("no subordinate ids are granted to this user")
    end
    for _, wish in ipairs { "auto", "keep-id" } do
      local map = idmap.resolve(wish)
      local total, seen = 0, {}
      for _, entry in ipairs(map.uids) do
        total = total + entry.size
        seen[#seen + 1] = entry
      end
      table.sort(seen, function(a, b) return a.container_id < b.container_id end)
      for i = 2, #seen do
        assert.is_true(seen[i - 1].container_id + seen[i - 1].size <= seen[i].container_id)
      end
      local expected = uid == 0 and 0 or 1
      for _, range in ipairs(granted.uids) do
        expected = expected + range.count
      end
      assert.equal(expected, total)
    end
  end)
end)

describe("id maps of a container #userns", function()
  it("single", function()
    assert.same({ { 0, uid, 1 } }, map_of { idmap = "single", rootfs = carton.rootfs.host() })
    assert.same({ { 0, gid, 1 } }, map_of({ idmap = "single", rootfs = carton.rootfs.host() }, "gid"))
    assert.equal("0:0", output("echo $(id -u):$(id -g)", { idmap = "single", rootfs = carton.rootfs.host() }))
    local err = helper.raises_code("EINVAL", output, "true", { idmap = "single", user = "33:34" })
    assert.equal("privilege.user", err.step)
  end)
  it("a layout that suffices with one id has one", function()
    if uid == 0 then
      assert.same({ { 0, 0, 4294967295 } }, map_of { rootfs = carton.rootfs.host() }) -- the caller's own namespace
    else
      assert.same({ { 0, uid, 1 } }, map_of { rootfs = carton.rootfs.host() })
    end
  end)
  it("auto: the caller is root, others follow #rootless", function()
    if uid == 0 or not granted then
      return pending("this is for an unprivileged user with subordinate ids")
    end
    local map = map_of { idmap = "auto" }
    assert.same({ 0, uid, 1 }, map[1][1] == 0 and map[1] or map[#map])
    local file = helper.tmpdir()
    posix.chmod(file, "rwxrwxrwx")
    output("touch /data/root /data/web; chown 33:34 /data/web", { idmap = "auto", mounts = { file .. ":/data" } })
    assert.equal(uid, posix.stat(file .. "/root").uid)
    assert.equal(granted.uids[1].first + 32, posix.stat(file .. "/web").uid)
    output("rm /data/web", { idmap = "auto", mounts = { file .. ":/data" } })
  end)
  it("keep-id: the caller keeps its id #rootless", function()
    if uid == 0 then
      return pending("this is for an unprivileged user")
    end
    local seen = output("echo $(id -u):$(id -g); touch /data/mine", { idmap = "keep-id",
      mounts = { helper.tmpdir() .. ":/data" } })
    assert.equal(("%d:%d"):format(uid, gid), seen)
  end)
  it("explicit, by root #root", function()
    local maps = { { container_id = 0, host_id = 700000, size = 10 },
      { container_id = 10, host_id = 800000, size = 20 } }
    local fields = { idmap = { uids = maps, gids = maps }, rootfs = carton.rootfs.host() }
    assert.same({ { 0, 700000, 10 }, { 10, 800000, 20 } }, map_of(fields))
    assert.same({ { 0, 700000, 10 }, { 10, 800000, 20 } }, map_of(fields, "gid"))
    fields.user = "15:16"
    assert.equal("15:16", output("echo $(id -u):$(id -g)", fields))
    fields.user = "30:0"
    assert.equal("privilege.user", helper.raises_code("EINVAL", output, "true", fields).step)
    assert.matches("entry 2 overlaps entry 1 in 'container_id'",
      helper.raises(output, "true", { idmap = { uids = { maps[1], maps[1] }, gids = maps } }))
  end)
  it("is refused beside the user namespace of a container that is joined", function()
    local function plan(wish, idmap_wish)
      return carton.container { rootfs = "/", args = { "x" }, namespaces = wish, idmap = idmap_wish }:compile()
    end
    local one = carton.container { rootfs = "/", args = { "x" }, name = "one", namespaces = { user = true },
      idmap = "single" }
    local two = carton.container { rootfs = "/", args = { "x" }, name = "two", namespaces = { user = true },
      idmap = "single" }
    assert.equal(one, plan({ net = one }).facts.joined.user)
    assert.matches("field 'idmap': namespaces.net joins the user namespace of one, which has a map",
      helper.raises(plan, { net = one }, "single"))
    assert.matches("one and two are in different user namespaces", helper.raises(plan, { ipc = one, net = two }))
    assert.equal(two, plan({ ipc = one, net = two, user = two }).facts.joined.user)
    local guest = carton.container { rootfs = "/", args = { "x" }, name = "guest", namespaces = { net = one } }
    assert.equal(guest, plan({ uts = guest }).facts.joined.user) -- that of one
    assert.equal(guest, plan({ ipc = guest, net = one }).facts.joined.user)
    assert.matches("guest and two are in different user namespaces", helper.raises(plan, { ipc = guest, net = two }))
    assert.is_true(plan({ net = one, user = true }, "single").facts.new.user)
  end)
  it("holds for what else a joined container's namespaces are made with, and for its terminals #root", function()
    local ids = { { container_id = 0, host_id = 300000, size = 65536 } }
    local first <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null",
      idmap = { uids = ids, gids = ids } }:start()
    assert.equal("mine", output("hostname", { hostname = "mine", namespaces = { user = first } }))
    local terminal <close> = first:exec { args = { "sleep", "60" }, terminal = true } -- luacheck: ignore terminal
    assert.equal(300000, carton.host.stat(("/proc/%d/root/dev/pts/0"):format(first:pid())).uid)
  end)
  it("explicit, of one's own id #rootless", function()
    if uid == 0 then
      return pending("this is for an unprivileged user")
    end
    local function own(id)
      return { uids = { { container_id = id, host_id = uid, size = 1 } },
        gids = { { container_id = id, host_id = gid, size = 1 } } }
    end
    assert.same({ { 0, uid, 1 } }, map_of { idmap = own(0) })
    assert.equal("1000", output("id -u", { idmap = own(1000), user = "1000:1000" }))
  end)
  it("explicit, of ids that are not granted, are refused with the words of newuidmap #rootless", function()
    if uid == 0 then
      return pending("root may map every id")
    end
    local before = helper.world()
    local maps = { { container_id = 0, host_id = 0, size = 2 } }
    local err = helper.raises(output, "true", { idmap = { uids = maps, gids = maps } })
    assert.matches("/etc/sub%aid", tostring(err))
    assert.matches("ids were not mapped", tostring(err))
    assert.same(before, helper.world())
  end)
end)

describe("idmap: newuidmap #root", function()
  it("that does not end, or says too much, does not keep its caller", function()
    helper.isolated(function()
      local dir = helper.tmpdir()
      local path = helper.write(dir .. "/map", "#!/bin/sh\nhead -c 300000 /dev/zero; exec sleep 60\n", "rwxr-xr-x")
      for _, name in ipairs { "newuidmap", "newgidmap" } do
        carton.mount.bind { source = path, target = "/usr/bin/" .. name }
      end
      posix.setpid("u", 65534)
      idmap.patience = 0.3
      local began, before = carton.host.monotonic(), #helper.children()
      local err = helper.raises(idmap.write, 1, { uids = {}, gids = {} })
      assert(err.code == "ETIMEDOUT" and err.op == "newgidmap", tostring(err))
      assert(carton.host.monotonic() - began < 10 and #helper.children() == before)
    end)
  end)
end)

teardown(helper.cleanup)
