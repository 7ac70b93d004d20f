// Makes a function at run time, as runtimes do: at every `go` it allocates 211 blocks and keeps them, and one line of
// JSON says where it is. It keeps a frame pointer, and has no unwind information.
#include "workload.h"

#include <sys/mman.h>

enum { SIZE = 56, CALLS = 211 };

typedef void *allocate(size_t);

static void *volatile kept;

FRAME void *site_made(allocate *made) { return made(SIZE); }

int main(void) {
    // push %rbp; mov %rsp, %rbp; movabs $malloc, %rax; call *%rax; pop %rbp; ret
    unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3};
    allocate *target = malloc, *made;
    memcpy(code + 6, &target, sizeof target);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return 65;
    memcpy(page, code, sizeof code);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0)
        return 66;
    memcpy(&made, &page, sizeof made);
    say_ready();
    while (wait_for("go")) {
        for (int i = 0; i < CALLS; i++)
            kept = site_made(made);
        say("{\"line\":\"%lx %zx\"}", (unsigned long)page, sizeof code);
    }
    return 0;
}
