// A server as it is shipped: no frame pointers, and a C++ library without them between it and malloc. Every block is
// kept. `plugin` instead of a number: the blocks come from a library that is loaded after `load` on stdin.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {
std::vector<std::string *> history;
std::map<int, std::string> sessions;
} // namespace

#define FRAME __attribute__((noinline))

FRAME void keep_chat(int i) {
    history.push_back(new std::string(100 + i % 50, 'x'));
    asm volatile("" ::: "memory");
}
FRAME void keep_session(int i) {
    sessions.emplace(i, std::string(64, 'y'));
    asm volatile("" ::: "memory");
}
FRAME void on_message(int i) {
    // A frame of a size that no row of a table can say.
    char large[100000];
    asm volatile("" ::"r"(large) : "memory");
    keep_chat(i);
    keep_session(i);
    asm volatile("" ::: "memory");
}
FRAME void tick(int i) {
    on_message(i);
    asm volatile("" ::: "memory");
}

int main(int argc, char **argv) {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    using step = void (*)(int);
    step work = tick;
    puts("READY");
    char line[64];
    while (fgets(line, sizeof line, stdin) != nullptr && strncmp(line, "quit", 4) != 0) {
        if (strncmp(line, "load", 4) == 0 && argc > 1) {
            void *plugin = dlopen(argv[1], RTLD_NOW);
            work = plugin == nullptr ? nullptr : reinterpret_cast<step>(dlsym(plugin, "plugin_tick"));
            if (work == nullptr)
                return 1;
        }
        for (int i = 0; i < 1009; i++)
            work(i);
        puts("{}");
    }
    return 0;
}
