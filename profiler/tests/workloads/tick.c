// A 1 kHz tick server: `--hz 1000`, per tick `--allocs 50` allocations and as many releases; with `--leak-every N`
// every Nth is followed by one that is never released. It runs from READY on.
//
// `mark` on stdin prints one JSON line about the ticks since the last mark, and `quit` one about the rest:
// work is the time that a tick's work took, turn the time from when it was due to its end. A tick that is due while
// another still runs is missed, not made up for.
#include "workload.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PLACES = 512, SUB_BITS = 5, BUCKETS = 64 << SUB_BITS };

// Log-linear, 32 steps per octave: quantiles are within 3 %. The worst are exact.
struct period {
    uint64_t ticks, missed, work_worst_ns, turn_worst_ns;
    uint32_t work[BUCKETS];
};

// The tick thread writes one, the thread that listens reads the other.
static struct period periods[2];
static atomic_int current;
static atomic_int done;
static atomic_ulong tick_number;
static long hz, allocs, leak_every;
static void *places[PLACES];

FRAME void *site_tick(size_t size) { return malloc(size); }
FRAME void *site_tick_leak(size_t size) { return malloc(size); }

static uint32_t bucket_of(uint64_t ns) {
    if (ns < (1u << SUB_BITS))
        return (uint32_t)ns;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(ns) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (uint32_t)((ns >> shift) & ((1u << SUB_BITS) - 1));
}

static uint64_t bucket_start(uint32_t bucket) {
    uint32_t octave = bucket >> SUB_BITS;
    uint64_t within = bucket & ((1u << SUB_BITS) - 1);
    return octave == 0 ? within : (within + (1u << SUB_BITS)) << (octave - 1);
}

static uint64_t quantile_ns(const struct period *period, double share) {
    uint64_t below = 0;
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
        below += period->work[bucket];
        if ((double)below >= share * (double)period->ticks)
            return bucket_start(bucket);
    }
    return 0;
}

FRAME void tick(uint64_t *random, uint64_t *made) {
    for (long i = 0; i < allocs; i++) {
        uint32_t place = random_below(random, PLACES);
        free(places[place]);
        places[place] = NULL;
        if (leak_every > 0 && ++*made % (uint64_t)leak_every == 0)
            (void)site_tick_leak(200);
        places[place] = site_tick(16 + random_below(random, 512));
    }
}

static void *tick_main(void *argument) {
    uint64_t random = 7, made = 0, length = 1000000000u / (uint64_t)hz, due = now_ns() + length;
    while (!done) {
        struct timespec until = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        uint64_t began = now_ns();
        tick(&random, &made);
        uint64_t ended = now_ns(), work = ended - began, turn = ended - due;
        struct period *period = &periods[atomic_load(&current)];
        period->ticks++;
        period->work[bucket_of(work)]++;
        if (work > period->work_worst_ns)
            period->work_worst_ns = work;
        if (turn > period->turn_worst_ns)
            period->turn_worst_ns = turn;
        for (due += length; due <= ended; due += length)
            period->missed++;
        atomic_fetch_add(&tick_number, 1);
    }
    return argument;
}

static void print_and_reset(void) {
    int old = atomic_load(&current);
    struct period *period = &periods[old];
    unsigned long seen;
    atomic_store(&current, 1 - old);
    seen = atomic_load(&tick_number);
    while (atomic_load(&tick_number) < seen + 2) // Until the tick that may still write to it is over.
        usleep(200);
    say("{\"ticks\":%llu,\"missed\":%llu,\"work_p50_ns\":%llu,\"work_p99_ns\":%llu,\"work_worst_ns\":%llu,"
        "\"turn_worst_ns\":%llu}",
        (unsigned long long)period->ticks, (unsigned long long)period->missed,
        (unsigned long long)quantile_ns(period, 0.5), (unsigned long long)quantile_ns(period, 0.99),
        (unsigned long long)period->work_worst_ns, (unsigned long long)period->turn_worst_ns);
    memset(period, 0, sizeof *period);
}

int main(int argc, char **argv) {
    char line[64];
    pthread_t thread;
    hz = option(argc, argv, "--hz", 1000);
    allocs = option(argc, argv, "--allocs", 50);
    leak_every = option(argc, argv, "--leak-every", 0);
    if (hz < 1 || hz > 100000 || pthread_create(&thread, NULL, tick_main, NULL) != 0)
        return 64;
    say_ready();
    while (hear(line, sizeof line) && strcmp(line, "quit") != 0)
        if (strcmp(line, "mark") == 0)
            print_and_reset();
    print_and_reset();
    atomic_store(&done, 1);
    pthread_join(thread, NULL);
    say("DONE");
    return 0;
}
