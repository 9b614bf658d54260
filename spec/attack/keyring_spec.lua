-- SPDX-License-Identifier: MIT
-- A payload finds the keys of who started its container in the session keyring that it inherited.
local helper = require("spec.helper")
local attack = require("spec.attack.attack")

attack.any("a payload reads the caller's session keyring", { "keyring leak" }, function(r)
  local words = { attack.tool("payload"), "key-add", "carton-canary", "secret" }
  for _, word in ipairs(r:command { rootfs = attack.image(), seccomp = false, args = { "sh", "-c",
    "payload key-find carton-canary; echo ran" } }) do
    words[#words + 1] = word
  end
  local result = helper.run(words)
  assert(result.stdout:find("ran"), result.stdout .. result.stderr)
  attack.holds(not result.stdout:find("secret"), "%s", result.stdout)
  result = helper.run { attack.tool("payload"), "key-add", "carton-canary", "secret",
    attack.tool("payload"), "key-find", "carton-canary" }
  assert(result.stdout:find("found secret"), "nobody finds it")
end)

teardown(helper.cleanup)
