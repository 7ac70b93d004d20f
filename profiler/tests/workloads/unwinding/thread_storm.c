// Threads that live for a few allocations only, many of them at the same time.
#include "chains.h"
#include <pthread.h>

#define AT_ONCE 17
#define ROUNDS 113

static struct tail in_main, in_thread;

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void work(int levels) {
    if (levels > 0)
        work(levels - 1);
    else
        keep();
    STAY;
}

STEP void *run(void *levels) {
    if ((intptr_t)levels < 0)
        learn_tail(&in_thread);
    else
        for (int level = 0; level < 3; level++)
            work(level);
    return NULL;
}

STEP void storm(int threads, intptr_t levels) {
    pthread_t started[AT_ONCE];
    for (int i = 0; i < threads; i++)
        if (pthread_create(&started[i], NULL, run, (void *)levels) != 0)
            _exit(8);
    keep();
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
}

int main(void) {
    learn_tail(&in_main);
    storm(1, -1);
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        storm(AT_ONCE, 0);
    book("keep storm main", ROUNDS, &in_main);
    book("keep work run", AT_ONCE * ROUNDS, &in_thread);
    book("keep work work run", AT_ONCE * ROUNDS, &in_thread);
    book("keep work work work run", AT_ONCE * ROUNDS, &in_thread);
    finish();
    return 0;
}
