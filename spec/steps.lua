-- SPDX-License-Identifier: MIT
-- What specs of steps share: a plan of them with a script at its end, and what that script sees.
local assert = require("luassert")
local posix = require("posix")
local carton = require("carton")
local helper = require("spec.helper")
local exec, privilege = carton.exec, carton.privilege
local steps_of = {}

function steps_of.program(script)
  return { "exec.exec", args = { "/bin/sh", "-c", script }, env = { PATH = "/usr/bin:/bin:/usr/sbin:/sbin" } }
end

--- What a script writes after the steps; an unprivileged caller is root of a user namespace.
function steps_of.output(steps, script, kinds)
  local reader <close>, writer = exec.pipe()
  local all = { table.unpack(steps) }
  if not helper.is_root then
    kinds = table.move(kinds or {}, 1, #(kinds or {}), 2, { "user" })
    table.insert(all, 1, { "namespace.idmap",
      uids = { { container_id = 0, host_id = posix.geteuid(), size = 1 } },
      gids = { { container_id = 0, host_id = posix.getegid(), size = 1 } } })
  end
  all[#all + 1] = { "exec.descriptors", fds = { exec.null(), writer, writer } }
  all[#all + 1] = steps_of.program(script)
  local ok, process = pcall(exec.spawn, { namespaces = kinds, steps = all })
  writer:close()
  if not ok then
    error(process, 0)
  end
  local said = {}
  for text in function() return reader:read() end do
    said[#said + 1] = text
  end
  process:wait()
  process:close()
  return (table.concat(said):gsub("\n$", ""))
end

--- One line of /proc/self/status of the program.
function steps_of.status(steps, name)
  return steps_of.output(steps, "grep ^" .. name .. ": /proc/self/status"):match(":%s*(.-)%s*$")
end

function steps_of.fails(code, step, kinds)
  local err = helper.raises(steps_of.output, { step }, "true", kinds)
  assert.equal("table", type(err), tostring(err))
  assert.equal(code, err.code, tostring(err))
  assert.equal(step[1], err.step)
  return err
end

function steps_of.refused(pattern, name, fields)
  assert.matches(pattern, tostring(helper.raises(privilege[name], fields)))
end

--- Do it in a child, and compare there.
function steps_of.inside(f)
  helper.isolated(function()
    local ok, err = pcall(f)
    assert(ok, tostring(err))
  end)
end

function steps_of.same(list, others)
  table.sort(list)
  table.sort(others)
  assert(table.concat(list, " ") == table.concat(others, " "),
    table.concat(list, " ") .. " is not " .. table.concat(others, " "))
end

return steps_of
