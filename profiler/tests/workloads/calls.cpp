// A loop of getppid that does nothing else, to measure what an observer of system calls costs.
//
// `--depth 0` frames above the loop, `--milliseconds 500` per interval. Each `go` on stdin runs one interval and prints one JSON line.
// `cpu_ns_per_call` is processor time, which other work on the machine changes less than the time on the clock.
#include "workload.h"

#include <sys/syscall.h>

namespace {

constexpr int check_every = 4096;

uint64_t cpu_ns() {
    timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return uint64_t(used.tv_sec) * 1000000000u + uint64_t(used.tv_nsec);
}

FRAME void turn(uint64_t interval_ns) {
    uint64_t calls = 0, began = now_ns(), cpu = cpu_ns(), took;
    do {
        for (int i = 0; i < check_every; i++)
            syscall(SYS_getppid);
        calls += check_every;
    } while ((took = now_ns() - began) < interval_ns);
    cpu = cpu_ns() - cpu;
    say("{\"calls\":%llu,\"ns_per_call\":%.3f,\"cpu_ns_per_call\":%.3f}", (unsigned long long)calls,
        double(took) / double(calls), double(cpu) / double(calls));
}

FRAME void descend(uint64_t interval_ns, long depth) {
    if (depth > 0)
        descend(interval_ns, depth - 1);
    else
        turn(interval_ns);
    __asm__ volatile("" : : : "memory"); // Not a tail call.
}

} // namespace

int main(int argc, char **argv) {
    uint64_t interval_ns = uint64_t(option(argc, argv, "--milliseconds", 500)) * 1000000u;
    long depth = option(argc, argv, "--depth", 0);
    say_ready();
    while (wait_for("go"))
        descend(interval_ns, depth);
    return 0;
}
