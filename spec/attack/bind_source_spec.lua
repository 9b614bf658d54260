-- SPDX-License-Identifier: MIT
-- CVE-2024-42472: the source of a bind mount is replaced between a check and the mount.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local expect = require("spec.attack.places").expect
local mount, host = carton.mount, carton.host

--- Do it 1000 times while `swap` is exchanged for `other`, in mount namespaces of our own.
local function race(base, try)
  local swapper <close> = attack.swapper(base .. "/swap", base .. "/other")
  for _ = 1, 1000 do
    swapper:look()
    try()
  end
  swapper:assert_live(1000)
end

describe("the source of a mount #userns", function()
  it("that was opened and looked at is what is mounted, whatever its name leads to by then", function()
    helper.isolated(function()
      local base, canary = helper.tmpdir(), attack.canary()
      posix.mkdir(base .. "/swap")
      posix.mkdir(base .. "/target")
      helper.write(base .. "/swap/file", "mine\n")
      posix.link(canary, base .. "/other", true)
      local mine = host.stat(base .. "/swap").ino
      local seen = {}
      race(base, function()
        local tree <close> = mount.open_tree(base .. "/swap")
        carton.exec.poll({}, 0) -- the name leads elsewhere by now
        mount.bind { tree = tree, target = base .. "/target" }
        local ino = host.stat(base .. "/target").ino
        local text = helper.read(base .. "/target/file")
        expect((ino == mine) == (text == "mine\n"), "half of one, half of the other")
        mount.unmount { target = base .. "/target", detach = true } -- which the handle keeps busy
        seen[text] = true
      end)
      expect(seen["mine\n"] and seen["canary\n"], "only one of them was there")
    end)
  end)
  it("is a file or a directory, as is made for it in the root", function()
    helper.isolated(function()
      local base, root_path = helper.tmpdir(), helper.tmpdir()
      posix.mkdir(base .. "/swap")
      helper.write(base .. "/other", "file\n")
      mount.tmpfs { target = root_path }
      local kinds = {}
      race(base, function()
        local root <close> = mount.open_root(root_path)
        mount.bind { root = root, source = base .. "/swap", target = "/at" } -- raises when they do not fit
        local kind = host.stat(root_path .. "/at").type
        kinds[kind] = true
        mount.unmount { target = root_path .. "/at" }
        os.remove(root_path .. "/at")
      end)
      expect(kinds.directory and kinds.file, "only one of them was there")
    end)
  end)
  it("is the device that it is said to be", function()
    helper.isolated(function()
      local base, root_path = helper.tmpdir(), helper.tmpdir()
      posix.link("/dev/null", base .. "/swap", true)
      posix.link("/dev/zero", base .. "/other", true)
      mount.tmpfs { target = root_path }
      local done, refused = 0, 0
      race(base, function()
        local root <close> = mount.open_root(root_path)
        local ok, err = pcall(mount.device, { root = root, path = "/node", source = base .. "/swap", bind = true,
          type = "char", major = 1, minor = 3 })
        if ok then
          done = done + 1
          expect(host.stat(root_path .. "/node").minor == 3, "another device")
          mount.unmount { target = root_path .. "/node" }
        else
          refused = refused + 1
          expect(err.code == "ENODEV", tostring(err))
        end
      end)
      expect(done > 0 and refused > 0, done .. " done, " .. refused .. " refused")
    end)
  end)
end)

teardown(helper.cleanup)
