// Memory that grows in different ways, each by the same amount.
//
//   --what 0: blocks of malloc   1: mmap of its own   2: stacks of threads   3: a child allocates, this process does nothing
//          4: blocks that are always being replaced by others   5: two that are moved as fast as can be, and malloc between
//          6: mmap of its own, a MiB every 20 ms for half a minute
//   --mib N
#include "workload.h"
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum { MIB = 1 << 20, THREADS = 128 };

static void *volatile kept;
static struct book book;

FRAME static void site_block(size_t size) {
    char *block = malloc(size);
    memset(block, 1, size);
    *(void **)block = kept;
    kept = block;
    book.allocs++;
    book.alloc_bytes += size;
}

// What a report of growth must not depend on: that nothing is allocated meanwhile.
FRAME static void site_passing(void) {
    char *volatile block = malloc(200);
    free(block);
}

// Blocks of a MiB, each replaced by another before it gets old.
FRAME static void *site_buffer(void *of) {
    static char *blocks[256];
    mallopt(M_MMAP_THRESHOLD, 128 << 10); // each block stays a mapping of its own, at the same place
    size_t count = (size_t)(long)of;
    for (size_t next = 0;; next = (next + 1) % count) {
        free(blocks[next]);
        blocks[next] = malloc(MIB);
        memset(blocks[next], 1, MIB);
        usleep(1000);
    }
    return NULL;
}

FRAME static void *site_resized(void *unused) {
    (void)unused;
    void *buffer = NULL;
    for (size_t wanted = 64;; wanted ^= 64 ^ 4096) {
        buffer = realloc(buffer, wanted);
        site_passing();
    }
    return NULL;
}

// By the clock: what it was kept from by others, it makes up for.
FRAME static void *site_steady(void *unused) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int i = 0; i < 1500; i++) {
        memset(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, MIB);
        site_passing();
        next.tv_nsec += 20 * 1000 * 1000;
        if (next.tv_nsec >= 1000 * 1000 * 1000) {
            next.tv_nsec -= 1000 * 1000 * 1000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    return unused;
}

static void *use_stack(void *barrier) {
    volatile char used[MIB];
    for (size_t at = 0; at < sizeof used; at += 4096)
        used[at] = 1;
    pthread_barrier_wait(barrier);
    for (;;)
        pause();
}

static void grow_by_stacks(long mib) {
    pthread_barrier_t barrier;
    if (mib > THREADS || pthread_barrier_init(&barrier, NULL, (unsigned)mib + 1) != 0)
        _exit(73);
    for (long i = 0; i < mib; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, use_stack, &barrier) != 0)
            _exit(74);
    }
    pthread_barrier_wait(&barrier);
}

static pid_t start_child(void) {
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        site_passing();
}

int main(int argc, char **argv) {
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); // a touched page is a page: some kernels make it 2 MiB of a stack
    long what = option(argc, argv, "--what", 0), mib = option(argc, argv, "--mib", 50);
    say_ready();
    pid_t child = 0;
    while (wait_for("go")) {
        if (what == 0) {
            // Of all sizes: divided by the allocator, and mapped one by one.
            for (long i = 0; i < mib * 8; i++)
                site_block(MIB / 16);
            for (long i = 0; i < mib; i++)
                site_block(MIB / 2);
        } else if (what == 1) {
            for (long i = 0; i < mib; i++) {
                memset(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, MIB);
                site_passing();
            }
        } else if (what == 2) {
            grow_by_stacks(mib);
        } else if (what == 4) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, site_buffer, (void *)mib) != 0)
                _exit(74);
        } else if (what == 5) {
            pthread_t thread;
            for (int i = 0; i < 2; i++)
                if (pthread_create(&thread, NULL, site_resized, NULL) != 0)
                    _exit(74);
        } else if (what == 6) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, site_steady, NULL) != 0)
                _exit(74);
        } else {
            child = start_child();
        }
        say("{\"child\":%d}", (int)child);
        say("DONE");
    }
    if (child != 0)
        kill(child, SIGKILL);
    return 0;
}
