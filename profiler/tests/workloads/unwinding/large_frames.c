// Frames larger than a row of a table can say, and frames whose size only the program knows.
#include "chains.h"
#include <alloca.h>

#define ROUNDS 211

static volatile char sink;

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void in_70_kib(int then);

STEP void in_alloca(int bytes, int then) {
    char *room = alloca((size_t)bytes);
    room[bytes - 1] = 1;
    sink += room[0];
    if (then > 0)
        in_70_kib(then - 1);
    else
        keep();
    sink += room[bytes / 2];
}

STEP void in_70_kib(int then) {
    char room[70 * 1024];
    room[then] = 1;
    STAY;
    if (then > 0)
        in_alloca(1 + then * 30011, then - 1);
    else
        keep();
    __asm__ volatile("" ::"r"(room) : "memory");
}

STEP void in_1_mib(int round) {
    char room[1 << 20];
    room[round] = 1;
    STAY;
    in_alloca(1 + round * 977, 0);
    __asm__ volatile("" ::"r"(room) : "memory");
}

// An array of a length that changes, in a loop: the stack pointer moves while the function runs.
STEP void in_array(int round) {
    for (int turn = 1; turn <= 3; turn++) {
        volatile char room[(round % 7 + turn) * 4096 + 3];
        room[turn] = 1;
        keep();
        sink += room[turn];
    }
}

int main(void) {
    struct tail tail = {0};
    learn_tail(&tail);
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++) {
        in_70_kib(0);
        in_70_kib(3);
        in_alloca(1 + round * 101, 0);
        in_1_mib(round);
        in_array(round);
    }
    book("keep in_70_kib main", ROUNDS, &tail);
    book("keep in_alloca in_70_kib in_alloca in_70_kib main", ROUNDS, &tail);
    book("keep in_alloca main", ROUNDS, &tail);
    book("keep in_alloca in_1_mib main", ROUNDS, &tail);
    book("keep in_array main", 3 * ROUNDS, &tail);
    finish();
    return 0;
}
