// A server that starts helpers by vfork: until it ends, the child runs in the memory of the parent, on its stack.
#include "chains.h"
#include <sys/wait.h>

#define ROUNDS 103

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void in_child(void) {
    keep();
    STAY;
}

STEP void spawn(void) {
    pid_t child = vfork();
    if (child == 0) {
        in_child();
        _exit(0);
    }
    keep();
    waitpid(child, NULL, 0);
}

STEP void tick(void) {
    keep();
    spawn();
    STAY;
}

int main(void) {
    struct tail tail = {0};
    learn_tail(&tail);
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        tick();
    book("keep tick main", ROUNDS, &tail);
    book("keep spawn tick main", ROUNDS, &tail);
    finish_with("in_children", ROUNDS);
    return 0;
}
