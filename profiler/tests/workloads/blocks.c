// Many live blocks on many stacks: `--stacks 5000`, `--blocks 2000000`, `--size 24`. The stacks differ in their return
// addresses: four levels of ten functions, one digit of the stack's number each. Nothing is freed.
#include "workload.h"

typedef void *level(uint32_t digits, size_t size);

FRAME void *site_block(size_t size) { return malloc(size); }

#define LEAF(d)                                                                                                        \
    FRAME void *leaf_##d(uint32_t digits, size_t size) {                                                               \
        (void)digits;                                                                                                  \
        return site_block(size);                                                                                       \
    }
#define LEVEL(name, next, d)                                                                                           \
    FRAME void *name##_##d(uint32_t digits, size_t size) { return next[digits % 10](digits / 10, size); }
#define TEN(name, next)                                                                                                \
    LEVEL(name, next, 0) LEVEL(name, next, 1) LEVEL(name, next, 2) LEVEL(name, next, 3) LEVEL(name, next, 4)           \
    LEVEL(name, next, 5) LEVEL(name, next, 6) LEVEL(name, next, 7) LEVEL(name, next, 8) LEVEL(name, next, 9)
#define TABLE(table, name)                                                                                             \
    static level *const table[10] = {name##_0, name##_1, name##_2, name##_3, name##_4,                                 \
                                     name##_5, name##_6, name##_7, name##_8, name##_9};

LEAF(0) LEAF(1) LEAF(2) LEAF(3) LEAF(4) LEAF(5) LEAF(6) LEAF(7) LEAF(8) LEAF(9)
TABLE(leaves, leaf)
TEN(rooms, leaves)
TABLE(rooms_table, rooms)
TEN(world, rooms_table)
TABLE(world_table, world)
TEN(server, world_table)
TABLE(server_table, server)

int main(int argc, char **argv) {
    uint64_t stacks = (uint64_t)option(argc, argv, "--stacks", 5000);
    uint64_t blocks = (uint64_t)option(argc, argv, "--blocks", 2000000);
    uint64_t size = (uint64_t)option(argc, argv, "--size", 24);
    if (stacks < 1 || stacks > 10000)
        return 64;
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (uint64_t i = 0; i < blocks; i++) {
        uint32_t digits = (uint32_t)(i % stacks);
        if (!server_table[digits % 10](digits / 10, size))
            return 66;
    }
    struct book book = {blocks, blocks * size, 0, 0};
    say_book("site_block", &book);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
