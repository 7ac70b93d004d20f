// Calls through a chain of functions with frames of 8 to 200 bytes, over and over, to measure what a stack costs.
//
// `--depth 16` functions of the chain, `--new 1`: each turn releases a block and makes a new one at the end of the chain,
// `--milliseconds 200` per interval. Prints where the instruction lies that is probed, as an offset in the file. Each
// `go` on stdin runs one interval and prints one JSON line.
#include "workload.h"

#include <link.h>

// One byte of code that the kernel can emulate, and nothing else: the same in every build.
extern "C" void chain_end(void);
__asm__(".text\n.globl chain_end\n.type chain_end,@function\nchain_end:\n.cfi_startproc\nnop\nret\n.cfi_endproc\n"
        ".size chain_end,.-chain_end");

enum { RING = 64, CHECK_EVERY = 256 };

static bool with_new;
static char *ring[RING];
static uint64_t turns;

FRAME static void last(void) {
    chain_end();
    if (with_new) {
        char **place = &ring[turns % RING];
        delete[] *place;
        *place = new char[64];
    }
    __asm__ volatile("" : : : "memory"); // Not a tail call.
}

template <int Bytes> FRAME static void link(long further);

static void go_on(long further) {
    if (further <= 0)
        return last();
    switch (further % 4) {
    case 0:
        return link<8>(further - 1);
    case 1:
        return link<40>(further - 1);
    case 2:
        return link<104>(further - 1);
    default:
        return link<200>(further - 1);
    }
}

template <int Bytes> FRAME static void link(long further) {
    char room[Bytes];
    __asm__ volatile("" : : "r"(room) : "memory");
    go_on(further);
    __asm__ volatile("" : : "r"(room) : "memory");
}

static int find_end(struct dl_phdr_info *info, size_t, void *into) {
    uint64_t address = (uint64_t)chain_end;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &part = info->dlpi_phdr[i];
        uint64_t start = info->dlpi_addr + part.p_vaddr;
        if (part.p_type == PT_LOAD && address - start < part.p_memsz)
            *static_cast<uint64_t *>(into) = address - start + part.p_offset;
    }
    return 1; // The program itself comes first.
}

static uint64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int main(int argc, char **argv) {
    long depth = option(argc, argv, "--depth", 16);
    with_new = option(argc, argv, "--new", 0) != 0;
    uint64_t interval_ns = (uint64_t)option(argc, argv, "--milliseconds", 200) * 1000000u;
    uint64_t offset = 0;
    dl_iterate_phdr(find_end, &offset);
    say("offset %llu", (unsigned long long)offset);
    say_ready();
    while (wait_for("go")) {
        uint64_t before = turns, cpu = cpu_ns(), end = now_ns() + interval_ns;
        while (now_ns() < end)
            for (int i = 0; i < CHECK_EVERY; i++, turns++)
                go_on(depth);
        cpu = cpu_ns() - cpu;
        say("{\"turns\":%llu,\"cpu_ns_per_pair\":%.3f}", (unsigned long long)(turns - before),
            (double)cpu / (double)(turns - before));
    }
    return 0;
}
