// Frames that are aligned more than the stack is: their functions cannot count from the stack pointer to the caller.
#include "chains.h"
#include <alloca.h>

#define ROUNDS 307

typedef float vector __attribute__((vector_size(32)));

static volatile float sink;

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void aligned_64(int then);

// Arguments on the stack: the old stack pointer is kept in a register of its own until it lies in the frame.
STEP int with_arguments(int a, int b, int c, int d, int e, int f, int g, int h) {
    vector room[8] __attribute__((aligned(128)));
    memset(room, a, sizeof room);
    STAY;
    if (h > 0)
        aligned_64(h - 1);
    else
        keep();
    __asm__ volatile("" ::"r"(room) : "memory");
    return a + b + c + d + e + f + g + h;
}

STEP void with_alloca(int bytes) {
    vector room[4] __attribute__((aligned(64)));
    char *more = alloca((size_t)bytes);
    memset(more, 1, (size_t)bytes);
    memset(room, 0, sizeof room);
    STAY;
    with_arguments(bytes, 2, 3, 4, 5, 6, 7, 0);
    __asm__ volatile("" ::"r"(room), "r"(more) : "memory");
}

STEP void aligned_64(int then) {
    vector room[2] __attribute__((aligned(64)));
    memset(room, then, sizeof room);
    STAY;
    if (then > 0)
        with_arguments(1, 2, 3, 4, 5, 6, 7, then - 1);
    else
        keep();
    __asm__ volatile("" ::"r"(room) : "memory");
}

// As code that may be called by callers that do not keep the stack aligned.
STEP __attribute__((force_align_arg_pointer)) void forced(void) {
    aligned_64(0);
    STAY;
}

// A page: more than any vector asks for.
STEP void aligned_4096(void) {
    char room[100] __attribute__((aligned(4096)));
    room[0] = 1;
    __asm__ volatile("" ::"r"(room) : "memory");
    forced();
    __asm__ volatile("" ::"r"(room) : "memory");
}

int main(void) {
    vector room[2] __attribute__((aligned(64)));
    struct tail tail = {0};
    memset(room, 0, sizeof room);
    __asm__ volatile("" ::"r"(room) : "memory");
    learn_tail(&tail);
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++) {
        aligned_64(0);
        aligned_64(4);
        with_alloca(1 + round * 33);
        aligned_4096();
    }
    book("keep aligned_64 main", ROUNDS, &tail);
    book("keep aligned_64 with_arguments aligned_64 with_arguments aligned_64 main", ROUNDS, &tail);
    book("keep with_arguments with_alloca main", ROUNDS, &tail);
    book("keep aligned_64 forced aligned_4096 main", ROUNDS, &tail);
    finish();
    return 0;
}
