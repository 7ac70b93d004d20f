// The library that `dl.c` loads and unloads. -shared -fPIC -fno-omit-frame-pointer
#include <stdlib.h>

__attribute__((noinline, noclone, noipa)) void *plugin_allocate(size_t size) { return malloc(size); }
