// Leaks that are hard to see, from READY on until it is killed: `bursts K MS` leaks K blocks of 64 bytes every MS
// milliseconds; `stacks MS` leaks a block of 96 bytes every MS milliseconds, at one line that is reached by a hundred call
// stacks; `parts MS` leaks a block of 80 bytes every MS milliseconds, in one of eight functions in turn that one function
// calls; `beside MS ENTRIES` leaks a block of 100 bytes every MS milliseconds, and by the same call stack puts one of 1000
// bytes into a cache of that many entries, out of which the oldest goes; `statements MS` does some work every MS
// milliseconds, and keeps a statement, which three functions allocate in four places; `calm MS` allocates and frees a
// block every MS milliseconds. `bursts K MS TIMES ARGUMENTS...` leaks that many times, and then executes itself anew with
// the other arguments.
#include "workload.h"

static void *volatile sink;

FRAME void on_tick(int blocks) {
    while (blocks-- > 0)
        sink = malloc(64);
}

FRAME void parse_node(int depth) {
    if (depth <= 0)
        sink = malloc(96);
    else
        parse_node(depth - 1);
}

#define PART(NAME)                                                                                                     \
    FRAME void NAME(void) { sink = malloc(80); }
PART(load_items) PART(load_spells) PART(load_quests) PART(load_friends) PART(load_guild) PART(load_mail) PART(load_pets) PART(load_map)

FRAME void load_player(unsigned part) {
    void (*const parts[])(void) = {load_items, load_spells, load_quests, load_friends, load_guild, load_mail, load_pets, load_map};
    parts[part % 8]();
    __asm__ volatile("");
}

FRAME void *keep(size_t bytes) {
    return malloc(bytes);
}

FRAME void keep_plan(void) {
    sink = malloc(200);
}

FRAME void keep_list(void) {
    sink = malloc(96);
}

FRAME void keep_text(void) {
    sink = malloc(64);
    sink = malloc(64);
}

FRAME void keep_statement(void) {
    void *parsed = malloc(48);
    keep_plan();
    keep_list();
    keep_text();
    free(parsed);
}

FRAME void work(int depth) {
    if (depth > 0)
        work(depth - 1);
    sink = malloc(40);
    free(sink);
}

FRAME void tick(void) {
    sink = malloc(32);
    free(sink);
}

static void wait_ms(long ms) {
    struct timespec length = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&length, NULL);
}

int main(int count, char **arguments) {
    alarm(300);
    say_ready();
    if (count == 4 && strcmp(arguments[1], "bursts") == 0)
        for (;;) {
            on_tick(atoi(arguments[2]));
            wait_ms(atol(arguments[3]));
        }
    if (count > 5 && strcmp(arguments[1], "bursts") == 0) {
        for (int times = atoi(arguments[4]); times > 0; times--) {
            on_tick(atoi(arguments[2]));
            wait_ms(atol(arguments[3]));
        }
        arguments[4] = arguments[0];
        execv(arguments[0], arguments + 4);
        return 65;
    }
    if (count == 3 && strcmp(arguments[1], "calm") == 0)
        for (;;) {
            tick();
            wait_ms(atol(arguments[2]));
        }
    if (count == 3 && strcmp(arguments[1], "parts") == 0)
        for (unsigned part = 0;; part++) {
            tick();
            load_player(part);
            wait_ms(atol(arguments[2]));
        }
    if (count == 3 && strcmp(arguments[1], "statements") == 0)
        for (;;) {
            work(16);
            keep_statement();
            wait_ms(atol(arguments[2]));
        }
    if (count == 4 && strcmp(arguments[1], "beside") == 0) {
        size_t entries = (size_t)atol(arguments[3]);
        void **cache = calloc(entries, sizeof *cache);
        for (size_t oldest = 0;; oldest = (oldest + 1) % entries) {
            // Volatile, so that the compiler makes one call of it: one call stack.
            for (volatile int cached = 0; cached < 2; cached++) {
                void *block = keep(cached ? 1000 : 100);
                if (cached) {
                    free(cache[oldest]);
                    cache[oldest] = block;
                } else {
                    sink = block;
                }
            }
            wait_ms(atol(arguments[2]));
        }
    }
    unsigned state = 1;
    for (;;) {
        state = state * 1103515245 + 12345;
        parse_node(1 + (int)((state >> 16) % 100));
        wait_ms(atol(arguments[2]));
    }
}
