// Allocates under a strict seccomp filter: anything but a handful of system calls kills the process. `--ops 200000`.
// A return probe that works by a system call of its own (uretprobe(2) of newer kernels) has to get through this.
// Exit code 0 and the same checksum as without an observer: nothing was harmed.
#include "workload.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { PLACES = 256 };

#define ALLOW(name)                                                                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

FRAME void *site_filtered(size_t size) { return malloc(size); }

static int lock_down(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read),
        ALLOW(write),
        ALLOW(brk),
        ALLOW(mmap),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(mprotect),
        ALLOW(madvise),
        ALLOW(futex),
        ALLOW(getrandom),
        ALLOW(exit_group),
        ALLOW(exit),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog filter = {sizeof rules / sizeof rules[0], rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

int main(int argc, char **argv) {
    static unsigned char *places[PLACES];
    static uint32_t sizes[PLACES];
    uint64_t random = 11, checksum = 0;
    struct book book = {0, 0, 0, 0};
    long ops = option(argc, argv, "--ops", 200000);
    say("pid %d", (int)getpid());
    if (!lock_down())
        return 65;
    say("READY");
    if (!wait_for("go"))
        return 0;
    for (long i = 0; i < ops; i++) {
        uint32_t place = random_below(&random, PLACES);
        if (places[place]) {
            checksum = checksum * 31 + places[place][0] + places[place][sizes[place] - 1];
            book.frees++;
            book.freed_bytes += sizes[place];
            free(places[place]);
        }
        sizes[place] = 2 + random_below(&random, 4096);
        places[place] = site_filtered(sizes[place]);
        if (!places[place])
            return 66;
        places[place][0] = (unsigned char)i;
        places[place][sizes[place] - 1] = (unsigned char)(i >> 8);
        book.allocs++;
        book.alloc_bytes += sizes[place];
    }
    say_book("site_filtered", &book);
    say("checksum %llu", (unsigned long long)checksum);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
