// A command that does all its work as soon as it starts, and ends. Nothing keeps a frame pointer.
#include <stdlib.h>

static void *kept[211];

__attribute__((noinline)) static void keep_early(int i) {
    kept[i] = malloc(100 + i % 7);
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static void begin(void) {
    for (int i = 0; i < 211; i++)
        keep_early(i);
    __asm__ volatile("" ::: "memory");
}

int main(void) {
    begin();
    return 0;
}
