// Makes a function at run time, as runtimes do: at every `go` it allocates 211 blocks and keeps them, and one line of
// JSON says where it is. It keeps a frame pointer, and has no unwind information. `--memfd`: in memory that is mapped
// twice, to write it and to run it, as .NET does.
#include "workload.h"

#include <sys/mman.h>

enum { SIZE = 56, CALLS = 211 };

typedef void *allocate(size_t);

static void *volatile kept;

FRAME void *site_made(allocate *made) { return made(SIZE); }

static void *make(const void *code, size_t size, int twice) {
    int file = twice ? memfd_create("doublemapper", MFD_CLOEXEC) : -1;
    if (twice && ftruncate(file, 4096) != 0)
        return NULL;
    int flags = twice ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, file, 0);
    if (page == MAP_FAILED)
        return NULL;
    memcpy(page, code, size);
    void *run = twice ? mmap(NULL, 4096, PROT_READ | PROT_EXEC, flags, file, 0) : page;
    if (run == MAP_FAILED || mprotect(run, 4096, PROT_READ | PROT_EXEC) != 0)
        return NULL;
    return run;
}

int main(int argc, char **argv) {
    // push %rbp; mov %rsp, %rbp; movabs $malloc, %rax; call *%rax; pop %rbp; ret
    unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3};
    allocate *target = malloc, *made;
    memcpy(code + 6, &target, sizeof target);
    void *page = make(code, sizeof code, flag(argc, argv, "--memfd"));
    if (!page)
        return 65;
    memcpy(&made, &page, sizeof made);
    say_ready();
    while (wait_for("go")) {
        for (int i = 0; i < CALLS; i++)
            kept = site_made(made);
        say("{\"line\":\"%lx %zx\"}", (unsigned long)page, sizeof code);
    }
    return 0;
}
