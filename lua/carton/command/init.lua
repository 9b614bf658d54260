return { main = function(argv)
  local chunk = assert(loadfile(argv[1]))
  local c = chunk(table.unpack(argv, 2))
  if c then return c:run().code end
  return 0
end }
