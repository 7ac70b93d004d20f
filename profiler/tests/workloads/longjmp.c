// Leaves a probed function by longjmp: `--rounds 500`. A signal handler jumps out of a pool_get that never returns;
// after each jump the same thread allocates again and returns. With `--alloc-fn 'pool_get:size=arg1,ptr=ret'`.
// Books: only the calls that returned. The others are abandoned, one per round.
#include "workload.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

enum { SIZE = 47, AFTER = 3 };

static sigjmp_buf out;
static unsigned char arena[1 << 20];
static size_t used;
static volatile sig_atomic_t stuck;
static volatile sig_atomic_t inside;

FRAME void *pool_get(void *pool, size_t size) {
    (void)pool;
    if (stuck) {
        inside = 1;
        for (;;)
            __asm__ volatile("pause");
    }
    void *block = arena + used;
    used += (size + 15) & ~(size_t)15;
    return used <= sizeof arena ? block : NULL;
}

FRAME void pool_put(void *block) { __asm__ volatile("" : : "r"(block) : "memory"); }

FRAME void *site_pool_get(size_t size) { return pool_get(arena, size); }

static void on_alarm(int signal) {
    (void)signal;
    if (inside)
        siglongjmp(out, 1);
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval every_millisecond = {{0, 1000}, {0, 1000}};
    struct itimerval never = {{0, 0}, {0, 0}};
    static uint64_t rounds; // Static, like `round` volatile: a jump back loses what a register holds.
    rounds = (uint64_t)option(argc, argv, "--rounds", 500);
    if (rounds * AFTER * 48 > sizeof arena)
        return 64;
    sigaction(SIGALRM, &action, NULL);
    say_ready();
    if (!wait_for("go"))
        return 0;
    setitimer(ITIMER_REAL, &every_millisecond, NULL);
    for (volatile uint64_t round = 0; round < rounds; round++) {
        if (sigsetjmp(out, 1) == 0) {
            stuck = 1;
            (void)site_pool_get(SIZE);
            return 66; // It cannot return.
        }
        stuck = 0;
        inside = 0;
        for (int i = 0; i < AFTER; i++) {
            void *block = site_pool_get(SIZE);
            if (!block)
                return 67;
            if (i > 0)
                pool_put(block);
        }
    }
    setitimer(ITIMER_REAL, &never, NULL);
    struct book book = {rounds * AFTER, rounds * AFTER * SIZE, rounds * (AFTER - 1), rounds * (AFTER - 1) * SIZE};
    say_book("site_pool_get", &book);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
