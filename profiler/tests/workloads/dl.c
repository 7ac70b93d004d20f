// Loads a library, lets it allocate, unloads it: `--library PATH --cycles 500`. Per cycle three blocks, two freed. With `--early 1`
// the library is there from before READY on.
#include "workload.h"

#include <dlfcn.h>

enum { SIZE = 83 };

typedef void *allocate(size_t);

static void *volatile kept;

FRAME void *site_plugin(allocate *function) { return function(SIZE); }

int main(int argc, char **argv) {
    const char *library = NULL;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--library") == 0)
            library = argv[i + 1];
    uint64_t cycles = (uint64_t)option(argc, argv, "--cycles", 500);
    if (!library)
        return 64;
    void *early = option(argc, argv, "--early", 0) ? dlopen(library, RTLD_NOW) : NULL;
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (uint64_t i = 0; i < cycles; i++) {
        void *handle = dlopen(library, RTLD_NOW);
        if (!handle)
            return 65;
        allocate *function = (allocate *)dlsym(handle, "plugin_allocate");
        if (!function)
            return 66;
        free(site_plugin(function));
        free(site_plugin(function));
        kept = site_plugin(function);
        dlclose(handle);
        if (early)
            dlclose(early);
        early = NULL;
    }
    struct book book = {cycles * 3, cycles * 3 * SIZE, cycles * 2, cycles * 2 * SIZE};
    say_book("site_plugin", &book);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
