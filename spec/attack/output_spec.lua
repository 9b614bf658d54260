-- SPDX-License-Identifier: MIT
-- CVE-2022-31030: an output without end takes the memory or the time of who reads it.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local host = carton.host

describe("an output without end", function()
  it("of what a program left behind does not keep the caller #userns", function()
    local c <close> = carton.container { rootfs = helper.rootfs(), args = { "sleep", "60" }, stdin = "null",
      idmap = not helper.is_root and "single" or nil }
    c:start()
    local e <close> = c:exec { args = { "sh", "-c", "cat /dev/zero & exit 3" }, stdin = "null", stdout = "capture",
      stderr = "null" }
    local began = host.monotonic()
    local status = e:wait(20)
    assert.equal(3, status.code)
    assert.is_true(host.monotonic() - began < 10)
  end)
  it("is not read to its end when its program has ended, however fast it goes on", function()
    local read = 0
    local endless = { read = function() read = read + 65536; return ("x"):rep(65536) end, close = function() end }
    local captured, truncated = require("carton.stdio").drain {
      { name = "stdout", events = "r", descriptor = setmetatable({}, { __index = function(_, name)
        assert(read < 64 << 20, "it goes on and on")
        return endless[name]
      end }), chunks = {}, left = 10 } }
    assert.same({ { stdout = ("x"):rep(10) }, { stdout = true } }, { captured, truncated })
  end)
  it("does not fill the memory of who captures it, in large pieces or in single bytes #userns", function()
    local function memory(script)
      local path = helper.write(helper.tmpdir() .. "/recipe.lua", ([[
        local carton = require("carton")
        local c <close> = carton.container { rootfs = %q, args = { "sh", "-c", %q }, stdin = "null",
          stdout = "capture", timeout = 60 }
        local status = c:run()
        local peak = io.open("/proc/self/status"):read("a"):match("VmHWM:%%s*(%%d+)")
        io.write(status.code, " ", #status.stdout, " ", peak)
      ]]):format(helper.rootfs(), script))
      local said = helper.carton(path)
      local code, size, peak = said.stdout:match("(%d+) (%d+) (%d+)")
      assert.equal("0", code, said.stderr)
      return tonumber(size), tonumber(peak)
    end
    local _, least = memory("true")
    local size, peak = memory("head -c 300000000 /dev/zero")
    assert.equal(16 << 20, size)
    assert.is_true(peak - least < 80 << 10, peak - least .. " KiB")
    size, peak = memory("dd if=/dev/zero bs=1 count=300000 2>/dev/null")
    assert.equal(300000, size)
    assert.is_true(peak - least < 6 << 10, peak - least .. " KiB")
  end)
  it("that nobody reads does not keep a container from its time-out #userns", function()
    local reader <close>, writer = carton.exec.pipe()
    local process <close> = carton.exec.spawn { steps = {
      { "exec.descriptors", fds = { carton.exec.null(), writer, 2 } },
      { "exec.exec", args = { helper.program, "run", "-t", "--timeout", "0.5", helper.rootfs(), "cat", "/dev/zero" },
        env = { PATH = os.getenv("PATH"), LD_PRELOAD = os.getenv("LD_PRELOAD"),
          ASAN_OPTIONS = os.getenv("ASAN_OPTIONS") } } } }
    writer:close()
    assert.is_truthy(reader:read())
    local status = process:wait(10)
    process:kill("SIGKILL")
    assert.equal(137, status and status.code)
  end)
  it("does not fill the memory of who passes it on #userns", function()
    local reader <close>, writer = carton.exec.pipe()
    local process <close> = carton.exec.spawn { steps = {
      { "exec.descriptors", fds = { carton.exec.null(), writer, 2 } },
      { "exec.exec", args = { helper.program, "run", "-t", helper.rootfs(), "cat", "/dev/zero" },
        env = { PATH = os.getenv("PATH"), LD_PRELOAD = os.getenv("LD_PRELOAD"),
          ASAN_OPTIONS = os.getenv("ASAN_OPTIONS") } } } }
    writer:close()
    local function memory()
      return tonumber(helper.read(("/proc/%d/status"):format(process:pid())):match("VmHWM:%s*(%d+)"))
    end
    assert.is_truthy(reader:read())
    local before, got = memory(), 0
    while got < 8 << 20 do
      got = got + #reader:read()
    end
    posix.sleep(1) -- nobody reads
    local after = memory()
    process:kill("SIGKILL")
    process:wait()
    assert.is_true(after - before < 4096, ("%d KiB, then %d KiB"):format(before, after))
  end)
end)

teardown(helper.cleanup)
