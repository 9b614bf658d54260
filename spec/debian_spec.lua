-- SPDX-License-Identifier: MIT
-- Real images: the same checks in a minimal Debian system and in a busybox one, as root and without.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local pty = require("spec.pty")

local debian, reason

--- The Debian system of CARTON_DEBIAN, or one that is made once and kept outside of the tree.
local function find_debian()
  if debian or reason then
    return debian
  end
  local given = os.getenv("CARTON_DEBIAN")
  if given and given ~= "" then
    debian = given
    return debian
  end
  local path = helper.tmpdir() .. "/debian"
  local result = helper.run({ ".ci/debian", "--unpack", path }, { timeout = 900 })
  if result.code == 0 then
    debian = path
  else
    reason = "no Debian system could be made: " .. result.stderr
  end
  return debian
end

local function run(root, ...)
  return helper.carton("run", "-T", root, ...)
end

local function says(root, script)
  local result = run(root, "sh", "-c", script)
  assert.equal(0, result.code, result.stderr)
  assert.equal("", result.stderr)
  return (result.stdout:gsub("\n$", ""))
end

--- What holds in any image; `find` gives its directory.
local function any_image(find)
  local function check(description, f)
    it(description, function()
      local root = find()
      if not root then
        return pending(reason)
      end
      return f(root)
    end)
  end

  check("runs a shell as process 1 and root", function(root)
    assert.equal("1 0 0 carton /", says(root, "echo $$ $(id -u) $(id -g) $(hostname) $PWD"))
  end)
  check("passes input, output and status on", function(root)
    local reader, writer = carton.exec.pipe()
    writer:write("some\nlines\n")
    writer:close()
    local result = helper.carton("run", "-T", root, "sh", "-c", "cat; echo error >&2; exit 9", { stdin = reader })
    assert.same({ 9, "some\nlines\n", "error\n" }, { result.code, result.stdout, result.stderr })
  end)
  check("has its own /proc, /dev and /sys", function(root)
    assert.equal("1", says(root, "ls -d /proc/[0-9]* | head -n 1 | tr -cd 0-9"))
    assert.equal("null ok", says(root, "echo gone > /dev/null && test -c /dev/null && echo null ok"))
    assert.equal("16", says(root, "head -c 16 /dev/urandom | wc -c | tr -d ' '"))
    assert.equal("lo", says(root, "ls /sys/class/net"))
    local own = posix.readlink("/proc/self/ns/mnt")
    assert.not_equal(own, says(root, "readlink /proc/self/ns/mnt"))
  end)
  check("shows nothing of the host", function(root)
    local marker = helper.tmpdir()
    assert.equal("gone", says(root, ("test -e %s || echo gone"):format(marker)))
    assert.equal("", says(root, "cut -d ' ' -f 4,5 /proc/self/mountinfo | grep carton-spec | grep -v ' /$' || true"))
  end)
  check("says 127 and 126", function(root)
    assert.equal(127, run(root, "no-such-program").code)
    assert.equal(126, run(root, "/etc/passwd").code)
  end)
  check("can be written in memory, and stays as it is", function(root)
    local result = helper.carton("run", "-T", "--overlay", root, "sh", "-c",
      "echo changed > /etc/passwd && rm -rf /usr/share && touch /new && cat /etc/passwd")
    assert.equal("changed\n", result.stdout, result.stderr)
    assert.is_nil(posix.stat(root .. "/new"))
    assert.matches("^root:", helper.read(root .. "/etc/passwd"))
  end)
  check("has a shell on a terminal", function(root)
    local t <close> = pty.spawn(helper.program, "run", "--env", "PS1=image# ", root, "sh", "-i")
    t:expect("image# ")
    t:type("tty; stty size; echo $((6 * 7))\r")
    t:expect("/dev/%w+.*24 80\r\n42\r\n")
    local seconds, nap = pty.nap()
    t:type("sleep " .. seconds .. "\r")
    pty.until_true("sleeping", function() return pty.states(nap):find("S") ~= nil end)
    t:type("\3")
    pty.until_true("interrupted", function() return pty.states(nap) == "" end)
    t:type("exit 4\r")
    assert.equal(4, t:finish().code)
  end)
  check("leaves nothing behind", function(root)
    local before = helper.world()
    run(root, "true")
    run(root, "no-such-program")
    assert.same(before, helper.world())
  end)
end

describe("a busybox image #userns", function()
  any_image(helper.rootfs)
end)

describe("a Debian image #userns", function()
  any_image(find_debian)

  local function check(description, f)
    it(description, function()
      local root = find_debian()
      if not root then
        return pending(reason)
      end
      return f(root)
    end)
  end
  check("has apt", function(root)
    assert.matches("^apt %d+%.%d+", says(root, "apt-get --version"))
    assert.equal("install ok installed", says(root, "dpkg-query -W -f '${Status}' dpkg"))
  end)
  check("is Debian, whatever the host is", function(root)
    assert.equal("debian", says(root, ". /etc/os-release; echo $ID"))
  end)
  check("knows its users", function(root)
    if not helper.is_root and not carton.idmap.granted() then
      return pending("takes subordinate ids")
    end
    local result = helper.carton("run", "-T", "--user", "nobody", root, "sh", "-c", "echo $(id -un) $(id -u):$(id -g)")
    assert.equal("nobody 65534:65534\n", result.stdout, result.stderr)
  end)
  check("can install a package's files over an overlay", function(root)
    local result = helper.carton("run", "-T", "--overlay", "--init", root, "sh", "-ec", [[
      mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin
      printf 'Package: own\nVersion: 1\nArchitecture: all\nMaintainer: me <me@example.org>\nDescription: own\n' \
        > /tmp/p/DEBIAN/control
      printf '#!/bin/sh\necho installed\n' > /tmp/p/usr/bin/own && chmod 755 /tmp/p/usr/bin/own
      dpkg-deb --root-owner-group --build /tmp/p /tmp/p.deb >/dev/null
      dpkg --install /tmp/p.deb >/dev/null
      own]])
    assert.equal("installed\n", result.stdout, result.stderr)
    assert.is_nil(posix.stat(root .. "/usr/bin/own"))
  end)
  check("runs as a recipe's image, with perl and processes of its own", function(root)
    local c <close> = carton.container { rootfs = root, init = true, stdout = "capture",
      args = { "perl", "-e", "print join(',', map { fork // 0 ? wait : exit 0; 1 } 1 .. 20), ' ', $$" } }
    local status = c:run()
    assert.equal(0, status.code)
    assert.equal(("1,"):rep(19) .. "1 2", status.stdout)
  end)
end)

teardown(helper.cleanup)
