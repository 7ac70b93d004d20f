// A busy C program for any C library: sorting by callback, recursion, formatting, allocation, system calls. Ends when stdin
// ends.
#include "workload.h"

#include <poll.h>

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

FRAME static int sorted(unsigned seed) {
    int numbers[200];
    for (int i = 0; i < 200; i++)
        numbers[i] = (int)(seed = seed * 1103515245u + 12345u);
    qsort(numbers, 200, sizeof numbers[0], by_value);
    return numbers[0];
}

FRAME static int descend(int depth) {
    volatile char room[100 + 40 * 3];
    room[depth] = 1;
    return depth > 0 ? descend(depth - 1) + room[depth] : (int)getppid() + room[depth];
}

FRAME static size_t text(unsigned seed) {
    char *line = malloc(200);
    int length = snprintf(line, 200, "%u %s %.3f", seed, "words", seed * 0.25);
    char *copy = realloc(line, (size_t)length + 1);
    size_t size = strlen(copy);
    free(copy);
    return size;
}

int main(void) {
    say_ready();
    struct pollfd in = {0, POLLIN, 0};
    for (unsigned seed = 11; poll(&in, 1, 0) == 0; seed++)
        for (int i = 0; i < 20; i++) {
            sorted(seed);
            descend((int)(seed % 60));
            text(seed);
        }
    return 0;
}
