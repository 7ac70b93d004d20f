// A program that moves its own code into anonymous memory when it starts, as those do that want it in huge pages (iodlr,
// node --use-largepages, HHVM, BOLT's hugify). The addresses stay the same.
//
// Link it with -Wl,--section-start=.remap=0x900000: the code that moves the rest must not move itself. With -DLPSTUB it has
// the section by which iodlr is known.
//
//   --before N   allocate N blocks before saying READY
//   --stay S     live for S seconds then: who observes has to see the mappings of a process that lives
//   go: allocate and keep --calls N blocks at one site
#include "workload.h"
#include <sys/mman.h>

extern char etext;
static void *volatile kept;

FRAME static void site_moved(size_t size) {
    kept = malloc(size);
    __asm__ volatile("");
}

#ifdef LPSTUB
__attribute__((section(".lpstub"), used)) static const char stub[] = "as iodlr has it";
#endif

__attribute__((section(".remap"), noinline, optimize("no-tree-loop-distribute-patterns"))) static void
move_code(char *code, size_t length, char *copy) {
    for (size_t i = 0; i < length; i++)
        copy[i] = code[i];
    long result = 9;  // mmap
    register long flags __asm__("r10") = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    register long file __asm__("r8") = -1;
    register long offset __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "+a"(result)
                     : "D"(code), "S"(length), "d"(PROT_READ | PROT_WRITE | PROT_EXEC), "r"(flags), "r"(file), "r"(offset)
                     : "rcx", "r11", "memory");
    for (size_t i = 0; i < length; i++)
        code[i] = copy[i];
}

int main(int argc, char **argv) {
    uintptr_t start = (uintptr_t)site_moved & ~4095ul;
    uintptr_t end = ((uintptr_t)&etext + 4095) & ~4095ul;
    size_t length = end - start;
    char *copy = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return 72;
    move_code((char *)start, length, copy);
    long before = option(argc, argv, "--before", 0);
    for (long i = 0; i < before; i++)
        site_moved(64);
    sleep((unsigned)option(argc, argv, "--stay", 0));
    say_ready();
    long calls = option(argc, argv, "--calls", 211);
    while (wait_for("go")) {
        struct book book = {0};
        for (long i = 0; i < calls; i++) {
            site_moved(64);
            book.allocs++;
            book.alloc_bytes += 64;
        }
        say_book("site_moved", &book);
        say("DONE");
    }
    return 0;
}
