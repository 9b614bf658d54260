-- SPDX-License-Identifier: MIT
-- What a program was given as standard input, output and error leads to no more than was meant: CVE-2024-21626,
-- proc_pid_fd(5).
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")

describe("standard descriptors #userns", function()
  local dir = helper.tmpdir()
  it("of a file to read can't be opened anew to write, or change the file", function()
    local path = helper.write(dir .. "/in", "content\n", "rw-rw-rw-")
    local script = [[cat
      for way in /proc/self/fd/0 /dev/stdin /proc/$$/fd/0; do
        (echo overwritten >>$way) 2>/dev/null && echo "$way was written"
        (: >$way) 2>/dev/null && echo "$way was emptied"
      done
      chmod 0600 /proc/self/fd/0 2>/dev/null && echo "its mode was changed"
      exit 0]]
    local said = helper.output(script, { stdin = { path = path } })
    assert.equal(helper.is_root and "content" or said, said) -- who can't mount has a pipe there
    assert.matches("^content", said)
    assert.equal("content\n", helper.read(path))
    assert.equal("rw-rw-rw-", posix.stat(path, "mode"))
    local c <close> = helper.start("sleep 60")
    local e <close> = c:exec { args = { "sh", "-c", script }, stdin = { path = path }, stdout = "capture" }
    assert.matches("^content\n", e:wait(20).stdout)
    assert.equal("content\n", helper.read(path))
  end)
  it("of a file to append to neither tell what it held, nor overwrite it", function()
    local path = helper.write(dir .. "/log", "secret\n", "rw-rw-rw-")
    helper.shell([[(: >/dev/stdout) 2>/dev/null; test -f /proc/self/fd/1 && cat /proc/self/fd/1 >&2
      echo line; (echo start 1<>/proc/self/fd/1) 2>/dev/null; exit 0]],
      { stdout = { path = path, mode = "a" }, stderr = function(text) error(text) end })
    assert.equal("secret\nline\nstart\n", helper.read(path))
  end)
  it("of a file that we would have to pass on are refused to one that outlives us", function()
    helper.raises_code("EINVAL", helper.shell, "true",
      { stdout = { path = dir .. "/log", mode = "a" }, die_with_parent = false })
  end)
  it("that are directories, or paths only, are refused", function()
    local before = helper.world()
    local place = helper.raises_code("EISDIR", helper.shell, "true", { stdin = { path = "/" } })
    assert.same({ "stdin", "/" }, { place.op, place.path })
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
      local handle <close> = carton.exec.open("/", "r")
      helper.raises_code("EISDIR", helper.shell, "true", { [name] = handle })
      local root <close> = carton.mount.open_root("/")
      assert.equal(name, helper.raises(helper.shell, "true", { [name] = root }).op)
    end
    assert.same(before, helper.world())
    for _, redirection in ipairs { "</", "3</ 1>&3", "3</ 2>&3" } do
      local said = helper.run { "/bin/sh", "-c", ("exec %s run %s sh -c 'echo ran >/dev/null; exit 7' %s"):format(
        helper.program, helper.rootfs(), redirection) }
      assert.equal(125, said.code, redirection .. said.stderr .. said.stdout)
    end
  end)
end)

teardown(helper.cleanup)
