// A malloc/free loop that does nothing else, to measure what a probe costs.
//
// `--threads 1`, `--depth 8` frames above the loop, `--size 64`, `--spins 0` turns of other work between the pairs, `--messages 0` that a thread sends to itself before each call, `--pairs-per-s 0` (as fast as it can), `--seconds 1`
// per interval, or `--milliseconds`. Each `go` on stdin runs one interval and prints one JSON line, so that whoever
// measures can attach and detach in between. `cpu_ns_per_pair` is processor time, which other work on the machine
// changes less than the time on the clock.
#include "workload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS_MAX = 64, RING = 64, CHECK_EVERY = 256 };

struct worker {
    _Alignas(64) uint64_t pairs;
    void *ring[RING];
    int ends[2];
};

static struct worker workers[THREADS_MAX];
static long worker_count, depth, size, pairs_per_s, spins, messages;
static pthread_barrier_t start, end;
static uint64_t deadline_ns;

FRAME void *site_loop(size_t bytes) { return malloc(bytes); }

// What a server does between two calls of its allocator.
FRAME void exchange(struct worker *worker) {
    char message[128] = {0};
    for (long i = 0; i < messages; i++)
        if (write(worker->ends[0], message, sizeof message) != sizeof message ||
            read(worker->ends[1], message, sizeof message) != sizeof message)
            _exit(66);
}

// A pair releases the oldest block and allocates in its place.
FRAME void turn(struct worker *worker, uint64_t pairs) {
    for (uint64_t i = 0; i < pairs; i++) {
        void **place = &worker->ring[worker->pairs++ % RING];
        exchange(worker);
        free(*place);
        exchange(worker);
        *place = site_loop((size_t)size);
        for (long spin = 0; spin < spins; spin++)
            __asm__ volatile("" : : "r"(spin)); // Not to be folded away.
    }
}

static void run_paced(struct worker *worker) {
    uint64_t next = now_ns(), per_ms = (uint64_t)(pairs_per_s / worker_count / 1000);
    while (now_ns() < deadline_ns) {
        turn(worker, per_ms);
        next += 1000000;
        struct timespec until = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

FRAME void descend(struct worker *worker, long frames) {
    if (frames > 0)
        descend(worker, frames - 1);
    else if (pairs_per_s > 0)
        run_paced(worker);
    else
        while (now_ns() < deadline_ns)
            turn(worker, CHECK_EVERY);
    __asm__ volatile("" : : : "memory"); // Not a tail call.
}

static void *worker_main(void *argument) {
    for (;;) {
        pthread_barrier_wait(&start);
        descend(argument, depth);
        pthread_barrier_wait(&end);
    }
    return NULL;
}

static uint64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static uint64_t pairs_so_far(void) {
    uint64_t pairs = 0;
    for (long t = 0; t < worker_count; t++)
        pairs += workers[t].pairs;
    return pairs;
}

int main(int argc, char **argv) {
    uint64_t interval_ns = (uint64_t)option(argc, argv, "--seconds", 1) * 1000000000u;
    interval_ns = (uint64_t)option(argc, argv, "--milliseconds", (long)(interval_ns / 1000000)) * 1000000u;
    worker_count = option(argc, argv, "--threads", 1);
    depth = option(argc, argv, "--depth", 8);
    size = option(argc, argv, "--size", 64);
    pairs_per_s = option(argc, argv, "--pairs-per-s", 0);
    spins = option(argc, argv, "--spins", 0);
    messages = option(argc, argv, "--messages", 0);
    if (worker_count < 1 || worker_count > THREADS_MAX)
        return 64;
    pthread_barrier_init(&start, NULL, (unsigned)worker_count + 1);
    pthread_barrier_init(&end, NULL, (unsigned)worker_count + 1);
    for (long t = 0; t < worker_count; t++) {
        pthread_t thread;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, workers[t].ends) != 0)
            return 67;
        if (pthread_create(&thread, NULL, worker_main, &workers[t]) != 0)
            return 65;
    }
    say_ready();
    while (wait_for("go")) {
        uint64_t pairs = pairs_so_far(), cpu = cpu_ns(), began = now_ns();
        deadline_ns = began + interval_ns;
        pthread_barrier_wait(&start);
        pthread_barrier_wait(&end);
        uint64_t took = now_ns() - began;
        cpu = cpu_ns() - cpu;
        pairs = pairs_so_far() - pairs;
        say("{\"threads\":%ld,\"pairs\":%llu,\"took_ns\":%llu,\"ns_per_pair\":%.3f,"
            "\"cpu_ns_per_pair\":%.3f}",
            worker_count,
            (unsigned long long)pairs, (unsigned long long)took,
            pairs > 0 ? (double)took * (double)worker_count / (double)pairs : 0.0,
            pairs > 0 ? (double)cpu / (double)pairs : 0.0);
    }
    return 0;
}
