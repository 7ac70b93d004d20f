// Leaks that are hard to see, from READY on until it is killed: `bursts K MS` leaks K blocks of 64 bytes every MS
// milliseconds; `stacks MS` leaks a block of 96 bytes every MS milliseconds, at one line that is reached by a hundred call
// stacks.
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
    unsigned state = 1;
    for (;;) {
        state = state * 1103515245 + 12345;
        parse_node(1 + (int)((state >> 16) % 100));
        wait_ms(atol(arguments[2]));
    }
}
