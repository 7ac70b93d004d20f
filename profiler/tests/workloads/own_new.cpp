// Has an `operator new` of its own, on memory of its own, that throws when it is asked for more than a limit, as games
// do that keep to a budget: `--rounds 500`. Nothing in this file calls malloc.
//
// A return probe on it kills this program at the first exception. Exit code 0: every exception was caught where it had
// to be. Books: the calls that returned.
#include "workload.h"

#include <new>

enum { SIZE = 47, LARGEST = 4096 };

static unsigned char arena[1 << 20];
static size_t used;

__attribute__((noinline)) void *operator new(size_t size) {
    if (size > LARGEST || used + size > sizeof arena)
        throw std::bad_alloc();
    void *block = arena + used;
    used += (size + 15) & ~(size_t)15;
    return block;
}
__attribute__((noinline)) void operator delete(void *block) noexcept {
    __asm__ volatile("" : : "r"(block) : "memory");
}
void operator delete(void *block, size_t) noexcept { ::operator delete(block); }

extern "C" FRAME void *site_new(size_t size) { return ::operator new(size); }

int main(int argc, char **argv) {
    uint64_t rounds = (uint64_t)option(argc, argv, "--rounds", 500);
    uint64_t caught = 0;
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (uint64_t round = 0; round < rounds; round++) {
        try {
            (void)site_new(LARGEST + 1);
        } catch (const std::bad_alloc &) {
            caught++;
        }
        (void)site_new(SIZE);
        ::operator delete(site_new(SIZE));
    }
    struct book book = {rounds * 2, rounds * 2 * SIZE, rounds, rounds * SIZE};
    say_book("site_new", &book);
    say("DONE");
    (void)wait_for("quit");
    return caught == rounds ? 0 : 72;
}
