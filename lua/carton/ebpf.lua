-- SPDX-License-Identifier: MIT

--- Programs of the kernel's extended BPF: assembled from rules of devices, and written out.
-- @module carton.ebpf
local ebpf = {}

local FORMAT <const> = "=I1I1i2i4" -- struct bpf_insn: code, registers, off, imm
local SIZE <const> = 8
local LITTLE <const> = string.pack("=I2", 1) == "\1\0"

-- Opcodes, by how they are written: linux/bpf.h. Registers are a and b, the offset is o, the number i.
local forms = {
  { 0x61, "ra = *(u32 *)(rb + o)" }, -- BPF_LDX | BPF_MEM | BPF_W
  { 0xb7, "ra = i" }, -- BPF_ALU64 | BPF_MOV | BPF_K
  { 0xbc, "wa = wb" }, -- BPF_ALU | BPF_MOV | BPF_X
  { 0x54, "wa &= i" }, -- BPF_ALU | BPF_AND | BPF_K
  { 0x74, "wa >>= i" }, -- BPF_ALU | BPF_RSH | BPF_K
  { 0x15, "if ra == i goto o" }, -- BPF_JMP | BPF_JEQ | BPF_K
  { 0x55, "if ra != i goto o" }, -- BPF_JMP | BPF_JNE | BPF_K
  { 0x45, "if ra & i goto o" }, -- BPF_JMP | BPF_JSET | BPF_K
  { 0x05, "goto o" }, -- BPF_JMP | BPF_JA
  { 0x95, "exit" }, -- BPF_JMP | BPF_EXIT
}

local code_of, form_of = {}, {}
for _, row in ipairs(forms) do
  code_of[row[2]], form_of[row[1]] = row[1], row[2]
end

--- Make a program of instructions.
-- @tparam {table,...} list `{ form, a =, b =, o = number or label, i = }`, a form being as above; a string is a label,
--   where a jump may go to
-- @treturn string as bpf(2) takes it
function ebpf.assemble(list)
  local place, count = {}, 0
  for _, item in ipairs(list) do
    if type(item) == "string" then
      place[item] = count
    else
      count = count + 1
    end
  end
  local parts = {}
  for _, item in ipairs(list) do
    if type(item) == "table" then
      local a, b, offset = item.a or 0, item.b or 0, item.o or 0
      if type(offset) == "string" then
        offset = place[offset] - #parts - 1
      end
      parts[#parts + 1] = FORMAT:pack(code_of[item[1]], LITTLE and b << 4 | a or a << 4 | b, offset, item.i or 0)
    end
  end
  return table.concat(parts)
end

--- Take a program apart.
-- @tparam string program
-- @treturn {table,...} `{ form, a =, b =, o = int, i = int }`; a jump's offset counts from the next instruction
function ebpf.disassemble(program)
  local list = {}
  for at = 1, #program, SIZE do
    local code, registers, offset, number = FORMAT:unpack(program, at)
    local low, high = registers & 15, registers >> 4
    list[#list + 1] = { form_of[code], a = LITTLE and low or high, b = LITTLE and high or low, o = offset, i = number }
  end
  return list
end

--- Write a program out.
-- @tparam string program
-- @treturn {string,...} an instruction each: `"if r2 != 2 goto 12"`, as other tools write them
function ebpf.text(program)
  local lines = {}
  for at, item in ipairs(ebpf.disassemble(program)) do
    local shown = { a = item.a, b = item.b, i = item.i, o = item[1]:find("goto") and at + item.o or item.o }
    lines[at] = item[1]:gsub("%f[%w]([rw]?)([abio])%f[%W]", function(register, name)
      return register .. shown[name]
    end)
  end
  return lines
end

local TYPES <const> = { b = 1, c = 2 } -- BPF_DEVCG_DEV_*

-- One rule: of what is asked for and nobody has decided on yet (in r3), it decides on what it speaks of.
local function add_rule(list, rule, next_rule)
  for _, test in ipairs { { 2, TYPES[rule.type] }, { 4, rule.major }, { 5, rule.minor } } do
    if test[2] then
      list[#list + 1] = { "if ra != i goto o", a = test[1], i = test[2], o = next_rule }
    end
  end
  if not rule.allow then
    list[#list + 1] = { "if ra & i goto o", a = 3, i = rule.bits, o = "deny" }
  elseif rule.bits == 7 then
    list[#list + 1] = { "goto o", o = "allow" }
  else
    list[#list + 1] = { "wa &= i", a = 3, i = 7 & ~rule.bits }
    list[#list + 1] = { "if ra == i goto o", a = 3, i = 0, o = "allow" }
  end
  list[#list + 1] = next_rule
end

local function add_end(list, label, result)
  list[#list + 1] = label
  list[#list + 1] = { "ra = i", a = 0, i = result }
  list[#list + 1] = { "exit" }
end

--- Make the program that decides on devices, from the last rule to the first.
-- @tparam {table,...} rules as of `carton.devices.parse`
-- @treturn string a program of the type BPF_PROG_TYPE_CGROUP_DEVICE
function ebpf.devices(rules)
  local list = {
    { "ra = *(u32 *)(rb + o)", a = 2, b = 1, o = 0 }, -- struct bpf_cgroup_dev_ctx: access_type
    { "wa = wb", a = 3, b = 2 },
    { "wa &= i", a = 2, i = 0xffff },
    { "wa >>= i", a = 3, i = 16 },
    { "ra = *(u32 *)(rb + o)", a = 4, b = 1, o = 4 }, -- major
    { "ra = *(u32 *)(rb + o)", a = 5, b = 1, o = 8 }, -- minor
  }
  local last, denies = nil, false
  for i = #rules, 1, -1 do
    if rules[i].type == "a" and rules[i].bits == 7 then -- what is before it says nothing any more
      last = rules[i]
      break
    end
    denies = denies or not rules[i].allow
    add_rule(list, rules[i], "rule " .. i)
  end
  if last and last.allow then
    add_end(list, "allow", 1)
    if denies then -- the kernel refuses what is never reached
      add_end(list, "deny", 0)
    end
  else
    list[#list + 1] = { "if ra == i goto o", a = 3, i = 0, o = "allow" }
    add_end(list, "deny", 0)
    add_end(list, "allow", 1)
  end
  return ebpf.assemble(list)
end

return ebpf
