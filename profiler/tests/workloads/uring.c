// Operations through a ring of io_uring: 101 that do nothing, 13 reads of 64 bytes from /dev/zero, and 7 of descriptor 9999, which fail.
// Says what it submitted by operation, and how many completions it saw; or the error number if the kernel gives it no ring.
//
// With the argument "workers", the reads are made by workers of the kernel. They have ended, but for those that the kernel keeps,
// when it starts 64 threads, each of which makes 7 calls of getppid. How many workers there were, and were kept, is said, too.
#include "workload.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

enum { ENTRIES = 8, NOTHINGS = 101, READS = 13, FAILURES = 7, THREADS = 64, CALLS = 7, PATIENCE_S = 2 };

static int ring, with_workers;
static struct io_uring_params params;
static char *submissions, *completions;
static struct io_uring_sqe *entries;
static char block[64];

static unsigned *of(char *where, unsigned offset) { return (unsigned *)(where + offset); }

static int open_ring(void) {
    ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
    if (ring < 0)
        return errno;
    size_t sq = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    int how = MAP_SHARED | MAP_POPULATE;
    submissions = mmap(NULL, sq, PROT_READ | PROT_WRITE, how, ring, IORING_OFF_SQ_RING);
    completions = mmap(NULL, cq, PROT_READ | PROT_WRITE, how, ring, IORING_OFF_CQ_RING);
    entries = mmap(NULL, params.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, how, ring, IORING_OFF_SQES);
    if (submissions == MAP_FAILED || completions == MAP_FAILED || entries == MAP_FAILED)
        _exit(66);
    return 0;
}

// Submits one operation and waits for its completion.
static void operate(unsigned char operation, int file) {
    unsigned tail = *of(submissions, params.sq_off.tail);
    unsigned index = tail & *of(submissions, params.sq_off.ring_mask);
    entries[index] = (struct io_uring_sqe){.opcode = operation, .fd = file, .flags = with_workers ? IOSQE_ASYNC : 0};
    if (operation == IORING_OP_READ) {
        entries[index].addr = (uintptr_t)block;
        entries[index].len = sizeof block;
    }
    of(submissions, params.sq_off.array)[index] = index;
    __atomic_store_n(of(submissions, params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        _exit(67);
    unsigned head = *of(completions, params.cq_off.head);
    if (head == __atomic_load_n(of(completions, params.cq_off.tail), __ATOMIC_ACQUIRE))
        _exit(68);
    __atomic_store_n(of(completions, params.cq_off.head), head + 1, __ATOMIC_RELEASE);
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
    munmap(submissions, params.sq_off.array + params.sq_entries * sizeof(unsigned));
    munmap(completions, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe));
    munmap(entries, params.sq_entries * sizeof *entries);
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
    int zero = open("/dev/zero", O_RDONLY), failed = open_ring();
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
