// Frees everything as it ends, as a C++ program does by its destructors, and returns from main after that.
//
//   leak MS: keeps a block of 1000 bytes every 5 ms for MS milliseconds   table MS: keeps 200 of them at once, and none after
//   large MS: keeps 65 blocks of 200 KiB, used in full, for MS milliseconds
#include "workload.h"

enum { MOST = 100000, TABLE = 200, LARGE = 65, LARGE_BYTES = 200 << 10 };

static void *kept[MOST];
static int count;

FRAME void keep_one(size_t bytes) {
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    kept[count++] = block;
}

FRAME void free_all(void) {
    while (count > 0)
        free(kept[--count]);
}

static void wait_ms(long ms) {
    struct timespec length = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&length, NULL);
}

// What a program does meanwhile: allocations that are freed at once.
FRAME void pass(void) {
    char *volatile block = malloc(32);
    free(block);
}

int main(int arguments, char **argument) {
    if (arguments != 3)
        return 64;
    alarm(60);
    int leaks = strcmp(argument[1], "leak") == 0, is_large = strcmp(argument[1], "large") == 0;
    uint64_t end = now_ns() + (uint64_t)atol(argument[2]) * 1000000;
    for (int i = 0; !leaks && i < (is_large ? LARGE : TABLE); i++)
        keep_one(is_large ? LARGE_BYTES : 1000);
    while (now_ns() < end && count < MOST) {
        pass();
        if (leaks)
            keep_one(1000);
        wait_ms(5);
    }
    free_all();
    return 0;
}
