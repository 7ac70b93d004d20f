// Loads, calls and unloads plugins in turns. They are alike, so that each is mapped where the one before was, but their
// functions have other names and other frames. The argument `slow` waits for a line before each plugin.
#include "chains.h"
#include <dlfcn.h>

#define ROUNDS 101
#define BLOCKS 13

STEP void use(const char *path) {
    void *plugin = dlopen(path, RTLD_NOW);
    if (plugin == NULL)
        _exit(3);
    void (*tick)(int) = (void (*)(int))dlsym(plugin, "tick");
    for (int i = 0; i < BLOCKS; i++)
        tick(i);
    dlclose(plugin);
}

int main(int argc, char **argv) {
    struct tail tail = {0};
    learn_tail(&tail);
    if (argc < 3 || !start())
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        for (int plugin = 1; plugin < argc; plugin++)
            use(argv[plugin]);
    book("keep", 0, &tail);
    finish_with("each", ROUNDS * BLOCKS);
    return 0;
}
