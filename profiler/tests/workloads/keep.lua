-- A server in LuaJIT that keeps what it should not: 10007 blocks of the C library at every `go`, in a loop that is compiled.
local ffi = require("ffi")
ffi.cdef("void *malloc(size_t);")
local held = {}

local function keep_chat(n)
    held[n % 100] = ffi.C.malloc(100 + n % 7)
end

io.write("READY\n")
io.flush()
while io.read() == "go" do
    for i = 1, 10007 do
        keep_chat(i)
    end
    io.write("{}\n")
    io.flush()
end
