-- SPDX-License-Identifier: MIT

--- Classic BPF as seccomp(2) takes it: assembled, written out, and run without a kernel.
-- @module carton.seccomp.bpf
local bpf = {}

local FORMAT <const> = "=I2BBI4" -- struct sock_filter: code, jt, jf, k
local SIZE <const> = 8

--- Opcodes that the compiler uses: linux/filter.h.
bpf.LOAD = 0x20 -- BPF_LD | BPF_W | BPF_ABS
bpf.AND = 0x54 -- BPF_ALU | BPF_AND | BPF_K
bpf.JUMP = 0x05 -- BPF_JMP | BPF_JA
bpf.EQ = 0x15 -- BPF_JMP | BPF_JEQ | BPF_K
bpf.GT = 0x25
bpf.GE = 0x35
bpf.RETURN = 0x06 -- BPF_RET | BPF_K

--- Where things are in struct seccomp_data.
bpf.NUMBER = 0
bpf.ARCH = 4
bpf.ARGUMENTS = 16

--- Read a number of 64 bits without a sign, every digit of it.
-- @tparam string text decimal digits, or `0x` and hexadecimal ones
-- @treturn ?int nil when it is no number, or has more bits
function bpf.number(text)
  local digits = text:match("^0[xX]0*(%x+)$")
  if digits then
    return #digits <= 16 and tonumber(digits, 16) or nil
  elseif not text:find("^%d+$") then
    return nil
  end
  local number = 0
  for digit in text:gmatch("%d") do
    if math.ult(0x1999999999999999, number) or number == 0x1999999999999999 and digit > "5" then
      return nil
    end
    number = number * 10 + tonumber(digit)
  end
  return number
end

local little = string.pack("=I2", 1) == "\1\0"

--- Tell where half of an argument is.
-- @tparam int index 0 to 5
-- @tparam boolean high the upper 32 bits
-- @treturn int offset in struct seccomp_data
function bpf.argument(index, high)
  return bpf.ARGUMENTS + 8 * index + (high == little and 4 or 0)
end

--- Make a program of instructions.
-- @tparam {{int,int,int,int},...} list `{ code, jt, jf, k }`
-- @treturn string as seccomp(2) takes it
function bpf.assemble(list)
  local parts = {}
  for i, instruction in ipairs(list) do
    parts[i] = FORMAT:pack(table.unpack(instruction))
  end
  return table.concat(parts)
end

--- Take a program apart.
-- @tparam string program
-- @treturn {{int,int,int,int},...} `{ code, jt, jf, k }`
function bpf.instructions(program)
  local list = {}
  for at = 1, #program - SIZE + 1, SIZE do
    list[#list + 1] = { FORMAT:unpack(program, at) }
    list[#list][5] = nil
  end
  return list
end

-- What a filter returns, by the upper half: seccomp(2).
local returned = {
  [0x80000000] = "kill", [0x00000000] = "kill_thread", [0x00030000] = "trap", [0x00050000] = "errno",
  [0x7fc00000] = "notify", [0x7ff00000] = "trace", [0x7ffc0000] = "log", [0x7fff0000] = "allow",
}

--- Give the number that a filter returns for an action.
-- @tparam string action `allow errno kill kill_thread trap trace log`
-- @tparam[opt=0] int data errno, or what a tracer is told
-- @treturn ?int nil for an unknown action
function bpf.encode(action, data)
  for value, name in pairs(returned) do
    if name == action then
      return value | (data or 0)
    end
  end
  return nil
end

--- Tell what a returned number means.
-- @tparam int value
-- @treturn string action
-- @treturn int data
function bpf.decode(value)
  return returned[value & 0xffff0000] or "kill", value & 0xffff
end

--- Count and name a program.
-- @tparam string program
-- @treturn int instructions
-- @treturn string 16 digits that are others for another program (FNV-1a, which is no proof)
function bpf.summary(program)
  local hash = 0xcbf29ce484222325
  for i = 1, #program do
    hash = (hash ~ program:byte(i)) * 0x100000001b3
  end
  return #program // SIZE, ("%016x"):format(hash)
end

local alu = {
  [0x00] = function(a, b) return a + b end,
  [0x10] = function(a, b) return a - b end,
  [0x20] = function(a, b) return a * b end,
  [0x30] = function(a, b) return b ~= 0 and a // b or nil end, -- a division by 0 kills
  [0x40] = function(a, b) return a | b end,
  [0x50] = function(a, b) return a & b end,
  [0x60] = function(a, b) return b < 32 and a << b or 0 end,
  [0x70] = function(a, b) return b < 32 and a >> b or 0 end,
  [0x80] = function(a) return -a end,
  [0xa0] = function(a, b) return a ~ b end,
}

local compare = {
  [0x10] = function(a, b) return a == b end,
  [0x20] = function(a, b) return a > b end,
  [0x30] = function(a, b) return a >= b end,
  [0x40] = function(a, b) return a & b ~= 0 end,
}

local function refuse(what)
  error("it is not a program for seccomp(2): " .. what, 0)
end

local function load(state, code, k)
  local mode = code & 0xe0
  if mode == 0x20 and code & 0x07 == 0 then
    if k > #state.data - 4 then
      refuse(("it looks at byte %d of %d"):format(k, #state.data))
    end
    state.looked = math.max(state.looked, k)
    return string.unpack("=I4", state.data, k + 1)
  elseif mode == 0x00 then
    return k
  elseif mode == 0x60 then
    return state.memory[k] or 0
  end
  return #state.data -- BPF_LEN
end

--- Build struct seccomp_data.
-- @tparam table call `{ number =, arch = (of linux/audit.h), args = {...} }`
-- @treturn string 64 bytes
function bpf.data(call)
  local args = call.args or {}
  return string.pack("=I4I4i8i8i8i8i8i8i8", call.number & 0xffffffff, call.arch, 0, args[1] or 0, args[2] or 0,
    args[3] or 0, args[4] or 0, args[5] or 0, args[6] or 0)
end

--- Run a program on one system call.
-- @tparam string program
-- @tparam table call as of `data`
-- @treturn int what it returns
-- @treturn int instructions that were run
-- @treturn int the last place in struct seccomp_data that it looked at
-- @raise a string when the program is not one
function bpf.run(program, call)
  local state = { data = bpf.data(call), memory = {}, looked = 0 }
  local a, x, at, steps = 0, 0, 0, 0
  while true do
    if at * SIZE + SIZE > #program then
      error("the program ends without a return", 0)
    end
    local code, jt, jf, k = FORMAT:unpack(program, at * SIZE + 1)
    local class = code & 0x07
    at, steps = at + 1, steps + 1
    if class == 0 then
      a = load(state, code, k)
    elseif class == 1 then
      x = load(state, code, k)
    elseif class == 2 then
      state.memory[k] = a
    elseif class == 3 then
      state.memory[k] = x
    elseif class == 4 then
      local result = alu[code & 0xf0] and alu[code & 0xf0](a, code & 0x08 ~= 0 and x or k)
      if not result then
        return bpf.encode("kill"), steps, state.looked
      end
      a = result & 0xffffffff
    elseif code & 0xff == bpf.JUMP then
      at = at + k
    elseif class == 5 then
      local is_true = compare[code & 0xf0] or refuse(("instruction %#x"):format(code))
      at = at + (is_true(a, code & 0x08 ~= 0 and x or k) and jt or jf)
    elseif class == 6 then
      return code & 0x18 == 0x10 and a or k, steps, state.looked
    elseif code & 0x80 ~= 0 then
      a = x
    else
      x = a
    end
  end
end

--- Write an action as people say it.
-- @tparam int value that a filter returns
-- @tparam[opt] function errno_name number to name
-- @treturn string `allow`, `errno EPERM`, `kill`
function bpf.action_text(value, errno_name)
  local action, data = bpf.decode(value)
  if action == "errno" then
    return "errno " .. (errno_name and errno_name(data) or data)
  elseif action == "trace" or (data ~= 0 and action ~= "allow") then
    return action .. " " .. data
  end
  return action
end

local words = { [0x10] = "==", [0x20] = ">", [0x30] = ">=", [0x40] = "&" }
local signs = { [0x00] = "+", [0x10] = "-", [0x20] = "*", [0x30] = "/", [0x40] = "|", [0x50] = "&", [0x60] = "<<",
  [0x70] = ">>", [0xa0] = "^" }

local function subject(k)
  if k == bpf.NUMBER then
    return "number"
  elseif k == bpf.ARCH then
    return "architecture"
  elseif k >= bpf.ARGUMENTS and k < bpf.ARGUMENTS + 48 then
    local high = (k % 8 == 4) == little
    return ("argument %d, %s half"):format((k - bpf.ARGUMENTS) // 8, high and "high" or "low")
  end
  return ("data[%d]"):format(k)
end

local function one(at, instruction, errno_name)
  local code, jt, jf, k = table.unpack(instruction)
  local class = code & 0x07
  if code == bpf.LOAD then
    return "load " .. subject(k)
  elseif code == bpf.JUMP then
    return ("go to %d"):format(at + 1 + k)
  elseif class == 5 then
    return ("if %s %s then %d else %d"):format(words[code & 0xf0] or "?",
      code & 0x08 ~= 0 and "x" or ("%#x"):format(k), at + 1 + jt, at + 1 + jf)
  elseif class == 6 then
    return code & 0x18 == 0x10 and "return a" or "return " .. bpf.action_text(k, errno_name)
  elseif class == 4 then
    return code & 0xf0 == 0x80 and "a = -a"
      or ("a = a %s %s"):format(signs[code & 0xf0] or "?", code & 0x08 ~= 0 and "x" or ("%#x"):format(k))
  elseif class == 7 then
    return code & 0x80 ~= 0 and "a = x" or "x = a"
  elseif class == 2 or class == 3 then
    return ("m[%d] = %s"):format(k, class == 2 and "a" or "x")
  end
  return ("%s = %s"):format(class == 0 and "a" or "x", code & 0xe0 == 0x00 and ("%#x"):format(k)
    or code & 0xe0 == 0x60 and ("m[%d]"):format(k) or "length")
end

--- Write a program out, a line for each instruction, with its place first.
-- @tparam string program
-- @tparam[opt] function errno_name number to name
-- @treturn string
function bpf.text(program, errno_name)
  local lines = {}
  for i, instruction in ipairs(bpf.instructions(program)) do
    lines[i] = ("%4d  %s"):format(i - 1, one(i - 1, instruction, errno_name))
  end
  return table.concat(lines, "\n") .. "\n"
end

return bpf
