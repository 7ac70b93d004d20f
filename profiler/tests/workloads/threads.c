// A thread storm: `--threads 10000` short threads, `--at-once 32` of them side by side, each with `--mallocs 20`
// allocations. Each frees all but its last block, which stays live.
#include "workload.h"

#include <pthread.h>

enum { AT_ONCE_MAX = 256, SIZE = 61 };

static long mallocs;
static void *volatile kept;

FRAME void *site_thread(size_t size) { return malloc(size); }

static void *storm(void *argument) {
    for (long i = 0; i < mallocs; i++) {
        void *block = site_thread(SIZE);
        if (i + 1 < mallocs)
            free(block);
        else
            kept = block;
    }
    return argument;
}

int main(int argc, char **argv) {
    static pthread_t running[AT_ONCE_MAX];
    uint64_t threads = (uint64_t)option(argc, argv, "--threads", 10000);
    uint64_t at_once = (uint64_t)option(argc, argv, "--at-once", 32);
    mallocs = option(argc, argv, "--mallocs", 20);
    if (at_once < 1 || at_once > AT_ONCE_MAX || mallocs < 1)
        return 64;
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (uint64_t i = 0; i < threads; i++) {
        if (i >= at_once)
            pthread_join(running[i % at_once], NULL);
        if (pthread_create(&running[i % at_once], NULL, storm, NULL) != 0)
            return 65;
    }
    for (uint64_t i = 0; i < at_once && i < threads; i++)
        pthread_join(running[i], NULL);
    uint64_t allocs = threads * (uint64_t)mallocs;
    struct book book = {allocs, allocs * SIZE, allocs - threads, (allocs - threads) * SIZE};
    say_book("site_thread", &book);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
