-- SPDX-License-Identifier: MIT
-- An image, or a directory that is bound, brings device nodes along, such as one of the host's disk. Here it is zero,
-- which any group may open.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")
local carton = require("carton")

local TRY <const> = { "/bin/sh", "-c", "head -c 1 /evil 2>/dev/null | wc -c; head -c 1 /dev/zero | wc -c" }

local function with_node()
  local root = attack.image()
  assert(os.execute(("mknod -m 666 '%s/evil' c 1 5"):format(root)))
  return root
end

describe("a device node of an image #root", function()
  for name, layout in pairs { directory = carton.rootfs.dir, layer = function(path)
    return carton.rootfs.overlay { lower = { path } }
  end } do
    it("is no device in a " .. name, function()
      local status = helper.shell("", { rootfs = layout(with_node()), args = TRY, capabilities = "all" })
      assert.equal("0\n1\n", status.stdout)
    end)
  end
  it("is none where nothing else is mounted", function()
    local root = with_node()
    local status = helper.shell("", { rootfs = carton.rootfs.dir { path = root, system = false },
      args = { "/bin/sh", "-c", "head -c 1 /evil" }, stderr = "capture" })
    assert.matches("Permission denied", status.stderr)
  end)
  it("is none in what is bound either, unless that is asked for", function()
    local root, source = attack.image(), with_node()
    local try = { "/bin/sh", "-c", "head -c 1 /vol/evil 2>/dev/null | wc -c" }
    for options, expected in pairs { [""] = "0\n", [":rw"] = "0\n", [":dev"] = "1\n" } do
      local status = helper.shell("", { rootfs = root, args = try, mounts = { source .. ":/vol" .. options } })
      assert.equal(expected, status.stdout, options)
    end
  end)
  it("is none in layers that are mounted elsewhere, unless that is asked for", function()
    local root, source = attack.image(), with_node()
    local try = { "/bin/sh", "-c", "head -c 1 /vol/evil 2>/dev/null | wc -c" }
    for options, expected in pairs { nosuid = "0\n", dev = "1\n" } do
      local status = helper.shell("", { rootfs = root, args = try, mounts = { { type = "overlay", lower = { source },
        temporary = true, target = "/vol", options = { options } } } })
      assert.equal(expected, status.stdout, options)
    end
  end)
end)

teardown(helper.cleanup)
