-- SPDX-License-Identifier: MIT
-- A payload gets at the host through /proc/PID of other processes: their roots, descriptors, namespaces, memory.
local posix = require("posix")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")

local SCRIPT <const> = [[
  for p in /proc/[0-9]* /proc/self; do
    for way in root cwd root/.. cwd/../../../../../..; do
      [ -e $p/$way$1/file ] && echo "reached by $p/$way"
    done
    for kind in mnt net pid user uts ipc cgroup; do
      n=$(readlink $p/ns/$kind) && case " $2 " in *" $n "*) echo "host's $p/ns/$kind $n";; esac
    done
  done; echo ran]]

attack.any("a payload reaches the host by /proc of a process", { "/proc/PID/root, ns" }, function(r)
  local path = attack.canary()
  local held = posix.open(path, posix.O_RDONLY)
  local names = {}
  for _, kind in ipairs { "mnt", "net", "pid", "uts", "ipc", "cgroup" } do
    names[#names + 1] = posix.readlink("/proc/self/ns/" .. kind)
  end
  local root = attack.image()
  local args = { "sh", "-c", SCRIPT, "sh", path, table.concat(names, " ") }
  local c <close> = r:start { rootfs = root, args = { "sleep", "60" } }
  local before = posix.getcwd()
  posix.chdir(path)
  local results = { r:run { rootfs = root, args = args }, c:exec { args = args } }
  posix.chdir(before)
  for _, result in ipairs(results) do
    assert(result.code == 0, result.stderr)
    attack.holds(result.stdout == "ran\n", "%s", result.stdout)
  end
  posix.close(held)
end)

describe("processes of the host #userns", function()
  it("are seen with the host's pid namespace, and lead nowhere", function()
    local path = attack.canary()
    local own = posix.getpid("pid")
    local script = ([[cd /proc/PID && pwd
      for way in root cwd fd/0 exe; do ls -d /proc/PID/$way/. /proc/PID/$way%s; done
      readlink /proc/PID/ns/mnt; cat /proc/PID/environ; dd if=/proc/PID/mem count=0]]):format(path):gsub("PID", own)
    if not helper.can_share_pid() then
      helper.raises_code("EACCES", helper.shell, script, { namespaces = { pid = "host" } })
      return
    end
    local status = helper.shell(script, { namespaces = { pid = "host" },
      idmap = not helper.is_root and "single" or nil })
    assert.equal(("/proc/%d\n"):format(own), status.stdout)
    local outside = helper.run { "/bin/sh", "-c", ("readlink /proc/%d/ns/mnt"):format(own) }
    assert.matches("mnt:", outside.stdout)
  end)
  it("can't be entered by a handle that is passed on by mistake", function()
    local net <close> = carton.namespace.open(0, "net")
    local text = helper.output("ls -l /proc/self/fd", { idmap = not helper.is_root and "single" or nil })
    assert.is_nil(text:find("net:", 1, true))
    assert.is_truthy(net)
  end)
end)

teardown(helper.cleanup)
