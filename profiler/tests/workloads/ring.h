// A ring of io_uring, by system calls alone.
#ifndef RING_H
#define RING_H

#include "workload.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { RING_ENTRIES = 8 };

static int ring;
static struct io_uring_params ring_params;
static char *ring_submissions, *ring_completions;
static struct io_uring_sqe *ring_entries;

static unsigned *ring_word(char *where, unsigned offset) { return (unsigned *)(where + offset); }

static size_t ring_submissions_size(void) { return ring_params.sq_off.array + ring_params.sq_entries * sizeof(unsigned); }

static size_t ring_completions_size(void) {
    return ring_params.cq_off.cqes + ring_params.cq_entries * sizeof(struct io_uring_cqe);
}

// Returns the error number if the kernel gives no ring.
static int ring_open(void) {
    ring = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &ring_params);
    if (ring < 0)
        return errno;
    int may = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_POPULATE;
    ring_submissions = mmap(NULL, ring_submissions_size(), may, how, ring, IORING_OFF_SQ_RING);
    ring_completions = mmap(NULL, ring_completions_size(), may, how, ring, IORING_OFF_CQ_RING);
    ring_entries = mmap(NULL, ring_params.sq_entries * sizeof *ring_entries, may, how, ring, IORING_OFF_SQES);
    if (ring_submissions == MAP_FAILED || ring_completions == MAP_FAILED || ring_entries == MAP_FAILED)
        _exit(66);
    return 0;
}

// Submits an operation, and waits until there are this many completions to take.
static void ring_submit(struct io_uring_sqe entry, unsigned completions) {
    unsigned tail = *ring_word(ring_submissions, ring_params.sq_off.tail);
    unsigned index = tail & *ring_word(ring_submissions, ring_params.sq_off.ring_mask);
    ring_entries[index] = entry;
    ring_word(ring_submissions, ring_params.sq_off.array)[index] = index;
    __atomic_store_n(ring_word(ring_submissions, ring_params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, completions, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        _exit(67);
}

// Takes the next completion, which has to be there. Returns the result of its operation.
static int ring_take(void) {
    unsigned head = *ring_word(ring_completions, ring_params.cq_off.head);
    if (head == __atomic_load_n(ring_word(ring_completions, ring_params.cq_off.tail), __ATOMIC_ACQUIRE))
        _exit(68);
    unsigned index = head & *ring_word(ring_completions, ring_params.cq_off.ring_mask);
    struct io_uring_cqe *all = (struct io_uring_cqe *)(ring_completions + ring_params.cq_off.cqes);
    int result = all[index].res;
    __atomic_store_n(ring_word(ring_completions, ring_params.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return result;
}

#endif
