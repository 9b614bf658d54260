-- SPDX-License-Identifier: MIT
-- CVE-2025-24965: a file that is written into a root file system goes where a link of the image leads.
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local expect = require("spec.attack.places").expect
local mount = carton.mount

describe("a file that is written into a root #userns", function()
  it("stays in it, whatever the image has in its place", function()
    local path, look = attack.canary()
    local before, written = look(), 0
    for _, how in ipairs { "ln -s $canary/file $1", "ln -s ../../../../../../..$canary/file $1", "mkfifo $1",
      "mkdir $1",
      "ln -s /proc/self/root$canary/file $1", "ln -s hosts $1", "ln -s $canary/new $1", "ln -s /dev/null $1",
      "ln -s /etc/group $1",
      "rm -r ${1%/*}; ln -s $canary ${1%/*}", "rm -r ${1%/*}; ln -s ../../../../../..$canary ${1%/*}" } do
      local root = attack.image()
      assert(os.execute(("canary='%s'; set -- '%s/etc/hosts'; rm -f \"$1\"; %s"):format(path, root, how)))
      for _, append in ipairs { false, true } do
        local ok, err = pcall(helper.shell, "cat /etc/hosts", { idmap = not helper.is_root and "single" or nil,
          rootfs = carton.steps(carton.rootfs.dir(root), {
            { "mount.write", target = "/etc/hosts", content = "evil\n", append = append } }) })
        assert.is_true(ok or type(err) == "table" and err.step == "mount.write", tostring(err))
        written = written + (ok and 1 or 0)
        assert.equal(before, look(), how)
      end
    end
    assert.is_true(written >= 2, written .. " were written")
  end)
  it("stays in it while its name is exchanged, 1000 times", function()
    helper.isolated(function()
      local canary, look = attack.canary()
      local path, before, done = helper.tmpdir(), look(), 0
      for i, target in ipairs { canary .. "/file", "../../../../../../../" .. canary .. "/file" } do
        os.remove(path .. "/swap")
        os.remove(path .. "/other")
        helper.write(path .. "/swap", "")
        posix.link(target, path .. "/other", true)
        local race <close> = attack.swapper(path .. "/swap", path .. "/other")
        for _ = 1, 500 do
          race:look()
          local root <close> = mount.open_root(path)
          local ok = pcall(mount.write, { root = root, target = "/swap", content = "evil\n", append = i == 1 })
          done = done + (ok and 1 or 0)
        end
        race:assert_live(500)
        expect(look() == before, look())
      end
      expect(done > 50 and done < 1000, done .. " written")
    end)
  end)
end)

teardown(helper.cleanup)
