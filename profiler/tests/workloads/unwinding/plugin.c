// One of several plugins: KEEP is the name of its function, BYTES the size of its blocks, FRAME that of its frame.
#include <stdlib.h>

__attribute__((noipa)) void *KEEP(void) {
    char room[FRAME];
    void *block;
    __asm__ volatile("" ::"r"(room) : "memory");
    block = malloc(BYTES);
    __asm__ volatile("" ::"r"(room) : "memory");
    return block;
}

__attribute__((noipa)) void tick(int i) {
    volatile int kept = i;
    KEEP();
    kept++;
}
