// A parent that waits for a child that has worked, `waits leaks`: the child keeps 16 MiB, the parent hardly anything. Or one
// that does the work itself and has a child for a short errand, `waits works`. Ends by itself after two seconds.
#include "workload.h"

#include <stdbool.h>
#include <sys/wait.h>

enum { ROUNDS = 400, SIZE = 40000, PAUSE_NS = 5 * 1000 * 1000 };

static void *volatile kept;

FRAME void keep(size_t size) {
    kept = malloc(size);
    memset(kept, 1, size);
}

FRAME void borrow(void) {
    kept = malloc(100);
    free(kept);
}

static void work(int64_t until_ns) {
    for (struct timespec now = {0}; now.tv_sec * INT64_C(1000000000) + now.tv_nsec < until_ns;)
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
}

int main(int argc, char **argv) {
    bool leaks = argc > 1 && strcmp(argv[1], "leaks") == 0;
    pid_t child = fork();
    if (child < 0)
        return 65;
    for (int64_t i = 0; i < ROUNDS && (leaks || child != 0 || i < 10); i++) {
        const struct timespec pause = {0, PAUSE_NS};
        nanosleep(&pause, NULL);
        if (child == 0)
            keep(leaks ? SIZE : 100);
        else
            borrow();
        if (!leaks && child != 0)
            work((i + 1) * PAUSE_NS / 5);
    }
    if (child == 0)
        _exit(0);
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : 73;
}
