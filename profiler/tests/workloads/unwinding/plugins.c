// Loads, calls and unloads plugins in turns. They are alike, so that each would be mapped where the one before was, but
// their functions have other names and other frames. With `apart` before the plugins, no address is used twice.
#include "chains.h"
#include <dlfcn.h>
#include <sys/mman.h>

#define ROUNDS 101
#define BLOCKS 13
#define LINES 20

// Keeps addresses that are free from here on from being used again.
static void occupy(char *from) {
    for (int page = 0; page < 16; page++)
        mmap(from + 4096 * page, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

STEP void use(const char *path, int apart) {
    void *plugin = dlopen(path, RTLD_NOW);
    if (plugin == NULL)
        _exit(3);
    void (*tick)(int) = (void (*)(int))dlsym(plugin, "tick");
    for (int i = 0; i < BLOCKS; i++)
        tick(i);
    Dl_info where;
    if (dladdr((void *)tick, &where) == 0 || dlclose(plugin) != 0)
        _exit(4);
    if (apart)
        occupy(where.dli_fbase);
}

// A plugin that stays for some lines, and works at each.
STEP void stay(const char *path, int for_ever) {
    void *plugin = dlopen(path, RTLD_NOW);
    if (plugin == NULL)
        _exit(3);
    void (*tick)(int) = (void (*)(int))dlsym(plugin, "tick");
    for (int line = 0; line < LINES && next_line(); line++)
        for (int i = 0; i < BLOCKS; i++)
            tick(i);
    if (!for_ever && dlclose(plugin) != 0)
        _exit(4);
}

int main(int argc, char **argv) {
    struct tail tail = {0};
    learn_tail(&tail);
    if (argc < 3 || !start())
        return 1;
    if (strcmp(argv[1], "same") == 0) // Each is there for longer than it takes until the mappings are read again.
        for (int plugin = 2; plugin < argc; plugin++)
            stay(argv[plugin], 0);
    for (int round = 0; round < ROUNDS; round++)
        for (int plugin = 2; plugin < argc; plugin++)
            use(argv[plugin], strcmp(argv[1], "apart") == 0);
    stay(argv[argc - 1], 1);
    book("keep", 0, &tail);
    finish_with("each", ROUNDS * BLOCKS);
    return 0;
}
