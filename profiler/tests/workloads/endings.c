// Stacks that end in every way a walk can: after `go`, 1009 allocations by compiled code, 503 by code without unwind
// information that keeps a frame pointer, 211 by such code that uses its register for something else, and 101 below a
// recursion of 200 calls. None is freed.
#include "workload.h"

enum { SIZE = 48, DEPTH = 200 };

void *site_pointer(size_t size);
void *site_lost(size_t size);

__asm__(".text\n"
        ".type site_pointer, @function\n"
        "site_pointer: push %rbp\n mov %rsp, %rbp\n call malloc@PLT\n pop %rbp\n ret\n"
        ".size site_pointer, . - site_pointer\n"
        ".type site_lost, @function\n"
        "site_lost: push %rbp\n mov $1, %ebp\n call malloc@PLT\n pop %rbp\n ret\n"
        ".size site_lost, . - site_lost\n");

FRAME void *site_tables(size_t size) { return malloc(size); }

FRAME void *site_deep(int more) {
    void *block = more > 0 ? site_deep(more - 1) : malloc(SIZE);
    __asm__ volatile("" ::: "memory");
    return block;
}

static void *volatile kept;

int main(void) {
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 0; i < 1009; i++)
        kept = site_tables(SIZE);
    for (int i = 0; i < 503; i++)
        kept = site_pointer(SIZE);
    for (int i = 0; i < 211; i++)
        kept = site_lost(SIZE);
    for (int i = 0; i < 101; i++)
        kept = site_deep(DEPTH);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
