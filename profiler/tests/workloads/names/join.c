/* Allocates in a function that is inlined into another: `remember_player` into `on_join`. */
#include <stdlib.h>
#include <unistd.h>

static void *volatile sink;

static inline __attribute__((always_inline)) void remember_player(int n) {
    sink = malloc(n);
}

__attribute__((noinline)) void on_join(int n) {
    remember_player(n);
}

int main(void) {
    alarm(60);
    for (;;) {
        on_join(48);
        usleep(5000);
    }
}
