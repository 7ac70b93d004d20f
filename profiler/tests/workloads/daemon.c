// Becomes a daemon: the process that was started ends, and its child goes on, in a session of its own.
#include "workload.h"

int main(void) {
    void *volatile block = malloc(100);
    free(block);
    if (daemon(1, 1) != 0)
        _exit(73);
    // A daemon outlives whoever started it, but not for ever.
    alarm(120);
    for (;;)
        pause();
}
