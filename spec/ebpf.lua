-- SPDX-License-Identifier: MIT
-- Runs programs that decide on devices without a kernel: struct bpf_cgroup_dev_ctx in, yes or no out.
local ebpf = require("carton.ebpf")
local run = {}

local word = { b = 1, c = 2 }

--- Tell what a program says to an access; it has to end at an exit, and use nothing that was not set before.
-- @tparam string program
-- @tparam string kind `"b"` or `"c"`
-- @tparam int bits 1 to make a node, 2 to read, 4 to write
function run.allows(program, kind, major, minor, bits)
  local list = ebpf.disassemble(program)
  local context = { [0] = bits << 16 | word[kind], [4] = major, [8] = minor }
  local r, at, steps = { [1] = "context" }, 1, 0
  local function set(register, value)
    r[register] = value & 0xffffffff
  end
  while true do
    local item = assert(list[at], "it runs out of the program")
    local form = item[1]
    at, steps = at + 1, steps + 1
    if form == "exit" then
      return assert(r[0], "no result") == 1
    elseif form == "goto o" then
      at = at + item.o
    elseif form == "ra = i" then
      set(item.a, item.i)
    elseif form == "ra = *(u32 *)(rb + o)" then
      assert(r[item.b] == "context")
      set(item.a, assert(context[item.o], "no such field"))
    elseif form == "wa = wb" then
      set(item.a, assert(math.type(r[item.b])) and r[item.b])
    else
      local a = r[item.a]
      assert(math.type(a) == "integer", "a register that was not set")
      if form == "wa &= i" then
        set(item.a, a & item.i)
      elseif form == "wa >>= i" then
        set(item.a, a >> item.i)
      elseif (form == "if ra == i goto o" and a == item.i) or (form == "if ra != i goto o" and a ~= item.i)
        or (form == "if ra & i goto o" and a & item.i ~= 0) then
        at = at + item.o
      else
        assert(form:find("^if "), form)
      end
    end
    assert(steps < 10000, "it does not end")
  end
end

--- Tell which instructions nobody can reach: the kernel refuses a program that has some.
function run.unreached(program)
  local list, seen, todo = ebpf.disassemble(program), {}, { 1 }
  while #todo > 0 do
    local at = table.remove(todo)
    local item = list[at]
    if item and not seen[at] then
      seen[at] = true
      if item[1]:find("goto") then
        todo[#todo + 1] = at + 1 + item.o
      end
      if item[1] ~= "goto o" and item[1] ~= "exit" then
        todo[#todo + 1] = at + 1
      end
    end
  end
  local left = {}
  for at = 1, #list do
    left[#left + 1] = not seen[at] and at or nil
  end
  return left
end

return run
