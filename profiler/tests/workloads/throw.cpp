// Leaves a probed function by an exception: `--rounds 500`. With `--alloc-fn 'pool_get:size=arg1,ptr=ret'`.
//
// A return probe puts its own address in the place of the return address, and the C++ unwinder finds no unwind table
// for that: it calls std::terminate. Whoever probes the return of this function kills this program, so this one only
// tells the truth about an observer that does not. Exit code 0: every exception was caught where it had to be.
#include "workload.h"

#include <new>

enum { SIZE = 47, LARGEST = 4096 };

static unsigned char arena[1 << 20];
static size_t used;

extern "C" {
FRAME void *pool_get(void *pool, size_t size) {
    (void)pool;
    if (size > LARGEST || used + size > sizeof arena)
        throw std::bad_alloc();
    void *block = arena + used;
    used += (size + 15) & ~(size_t)15;
    return block;
}
FRAME void pool_put(void *block) { __asm__ volatile("" : : "r"(block) : "memory"); }
FRAME void *site_pool_get(size_t size) { return pool_get(arena, size); }
}

int main(int argc, char **argv) {
    uint64_t rounds = (uint64_t)option(argc, argv, "--rounds", 500);
    uint64_t caught = 0;
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (uint64_t round = 0; round < rounds; round++) {
        try {
            (void)site_pool_get(LARGEST + 1);
        } catch (const std::bad_alloc &) {
            caught++;
        }
        (void)site_pool_get(SIZE);
        pool_put(site_pool_get(SIZE));
    }
    struct book book = {rounds * 2, rounds * 2 * SIZE, rounds, rounds * SIZE};
    say_book("site_pool_get", &book);
    say("DONE");
    (void)wait_for("quit");
    return caught == rounds ? 0 : 72;
}
