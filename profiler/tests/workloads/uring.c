// Operations through a ring of io_uring: 101 that do nothing, 13 reads of 64 bytes from /dev/zero, and 7 of descriptor 9999, which fail.
// Says what it submitted by operation, and how many completions it saw; or the error number if the kernel gives it no ring.
//
// With the argument "workers", the reads are made by workers of the kernel. They have ended, but for those that the kernel keeps,
// when it starts 64 threads, each of which makes 7 calls of getppid. How many workers there were, and were kept, is said, too.
#include "ring.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

enum { NOTHINGS = 101, READS = 13, FAILURES = 7, THREADS = 64, CALLS = 7, PATIENCE_S = 2 };

static int with_workers;
static char block[64];

// Submits one operation and waits for its completion.
static void operate(unsigned char operation, int file) {
    struct io_uring_sqe entry = {.opcode = operation, .fd = file, .flags = with_workers ? IOSQE_ASYNC : 0};
    if (operation == IORING_OP_READ) {
        entry.addr = (uintptr_t)block;
        entry.len = sizeof block;
    }
    ring_submit(entry, 1);
    (void)ring_take();
}

static int tasks(void) {
    DIR *all = opendir("/proc/self/task");
    int found = 0;
    while (all && readdir(all))
        found++;
    closedir(all);
    return found - 2;
}

static void *ask(void *nothing) {
    for (int i = 0; i < CALLS; i++)
        syscall(SYS_getppid);
    return nothing;
}

static int kept;

static int run_threads(void) {
    pthread_t threads[THREADS];
    int workers = tasks() - 1;
    // They end some time after the ring.
    munmap(ring_submissions, ring_submissions_size());
    munmap(ring_completions, ring_completions_size());
    munmap(ring_entries, ring_params.sq_entries * sizeof *ring_entries);
    close(ring);
    // Some kernels (6.1, 6.12) keep one until the process ends.
    time_t end = time(NULL) + PATIENCE_S;
    while (tasks() > 1 && time(NULL) < end)
        sched_yield();
    kept = tasks() - 1;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, ask, NULL))
            _exit(72);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return workers;
}

int main(int argc, char **argv) {
    with_workers = argc > 1 && !strcmp(argv[1], "workers");
    int zero = open("/dev/zero", O_RDONLY), failed = ring_open();
    say_ready();
    if (zero < 0 || !wait_for("go"))
        return 0;
    for (int i = 0; i < NOTHINGS && !failed; i++)
        operate(IORING_OP_NOP, 0);
    for (int i = 0; i < READS && !failed; i++)
        operate(IORING_OP_READ, zero);
    for (int i = 0; i < FAILURES && !failed; i++)
        operate(IORING_OP_READ, 9999);
    int workers = with_workers && !failed ? run_threads() : 0;
    say("{\"errno\":%d,\"workers\":%d,\"kept\":%d,\"uring\":{\"%d\":%d,\"%d\":%d}}", failed, workers, kept, IORING_OP_NOP, NOTHINGS, IORING_OP_READ,
        READS + FAILURES);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
