// Every allocation goes through two wrappers of the program's own, as in most servers: `raw_alloc` and `engine_alloc`. The
// inner one calls the allocator in two places: stripped, it has two addresses.
// `chat_push` leaks, `session_open` keeps the last 400 blocks, `path_find` keeps none. One of each every
// `--every-us 3000`, from `READY` to `quit`.
#include "workload.h"

#include <poll.h>

enum { SESSIONS = 400, HEAD = 16 };

static void *volatile kept;
static void *sessions[SESSIONS];

FRAME static void *raw_alloc(size_t size) {
    char *block = size < 512 ? malloc(size + HEAD) : calloc(1, size + HEAD);
    if (!block)
        abort();
    memset(block, 0, HEAD);
    return block + HEAD;
}
FRAME static void *engine_alloc(size_t size) { return raw_alloc(size); }
FRAME static void engine_free(void *block) { free((char *)block - HEAD); }

FRAME static void chat_push(void) { kept = engine_alloc(80); }
FRAME static void session_open(long round) {
    void **session = &sessions[round % SESSIONS];
    if (*session)
        engine_free(*session);
    *session = engine_alloc(200);
}
FRAME static void path_find(void) { engine_free(engine_alloc(1000)); }

int main(int argc, char **argv) {
    long every_us = option(argc, argv, "--every-us", 3000);
    struct timespec pause = {every_us / 1000000, every_us % 1000000 * 1000};
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    char line[64];
    say_ready();
    for (long round = 0;; round++) {
        chat_push();
        session_open(round);
        path_find();
        if (ppoll(&input, 1, &pause, NULL) > 0 && (!hear(line, sizeof line) || strcmp(line, "quit") == 0))
            return 0;
    }
}
