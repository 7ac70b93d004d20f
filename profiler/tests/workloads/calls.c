// A loop of getppid that does nothing else, to measure what an observer of system calls costs.
//
// `--milliseconds 500` per interval. Each `go` on stdin runs one interval and prints one JSON line. `cpu_ns_per_call` is processor
// time, which other work on the machine changes less than the time on the clock.
#include "workload.h"

#include <sys/syscall.h>

enum { CHECK_EVERY = 4096 };

static uint64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int main(int argc, char **argv) {
    uint64_t interval_ns = (uint64_t)option(argc, argv, "--milliseconds", 500) * 1000000u;
    say_ready();
    while (wait_for("go")) {
        uint64_t calls = 0, began = now_ns(), cpu = cpu_ns(), took;
        do {
            for (int i = 0; i < CHECK_EVERY; i++)
                syscall(SYS_getppid);
            calls += CHECK_EVERY;
        } while ((took = now_ns() - began) < interval_ns);
        cpu = cpu_ns() - cpu;
        say("{\"calls\":%llu,\"ns_per_call\":%.3f,\"cpu_ns_per_call\":%.3f}", (unsigned long long)calls,
            (double)took / (double)calls, (double)cpu / (double)calls);
    }
    return 0;
}
