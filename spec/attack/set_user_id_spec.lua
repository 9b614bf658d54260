-- SPDX-License-Identifier: MIT
-- CVE-2020-5291: a sandbox that is installed set-user-ID lends its privileges to whoever calls it.
local helper = require("spec.helper")

describe("the program", function()
  it("refuses to run with somebody else's privileges #root", function()
    if not helper.is_root then
      return
    end
    local path = helper.tmpdir() .. "/carton"
    assert(os.execute(("cp '%s' '%s' && chmod 4755 '%s'"):format(helper.program, path, path)))
    local result = helper.run { "/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", path,
      "--version" }
    assert.equal(125, result.code)
    assert.matches("set%-user%-ID", result.stderr)
  end)
end)

teardown(helper.cleanup)
