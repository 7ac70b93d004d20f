// A library that a server loads while it runs.
#include <string>
#include <vector>

static std::vector<std::string *> kept;

extern "C" __attribute__((noinline)) void plugin_keeps(int i) {
    kept.push_back(new std::string(200 + i % 7, 'z'));
    asm volatile("" ::: "memory");
}

extern "C" void plugin_tick(int i) {
    plugin_keeps(i);
    asm volatile("" ::: "memory");
}
