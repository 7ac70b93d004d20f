-- Keeps a block a hundred times a second: outside of the heap that Lua collects. Says so once a second.
local ffi = require("ffi")
ffi.cdef [[
void *malloc(size_t size);
int poll(void *fds, unsigned long count, int milliseconds);
]]

local kept = {}
local function keep()
  kept[#kept + 1] = ffi.C.malloc(1024)
end

io.stdout:setvbuf("line")
while true do
  for _ = 1, 100 do
    keep()
    ffi.C.poll(nil, 0, 10)
  end
  print("tick", #kept)
end
