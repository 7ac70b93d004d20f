// Does next to nothing: one allocation every `--every-us 1000`, from `READY` to `quit`; with `--leak-every N` one in N
// is never freed. A target for tests of attaching, not of counts. Exit code 0: it lived until it was told to stop.
#include "workload.h"

#include <poll.h>

static void *volatile kept;

FRAME void *site_idle(size_t size) { return malloc(size); }

int main(int argc, char **argv) {
    long every_us = option(argc, argv, "--every-us", 1000);
    long leak_every = option(argc, argv, "--leak-every", 0);
    struct timespec pause = {every_us / 1000000, every_us % 1000000 * 1000};
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    char line[64];
    say_ready();
    for (long i = 1;; i++) {
        void *block = site_idle(200);
        kept = block;
        if (leak_every == 0 || i % leak_every != 0)
            free(block);
        if (ppoll(&input, 1, &pause, NULL) > 0 && (!hear(line, sizeof line) || strcmp(line, "quit") == 0))
            return 0;
    }
}
