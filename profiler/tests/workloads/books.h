// The exactness workload without its allocator: threads that draw operations, and the books they keep.
//
// A program includes this, names its call sites and says what one operation is (`step`). Per call site the books hold
// what any observer has to find: successful allocations, requested bytes, releases of blocks that came from the site,
// and what is live. All memory of the books is static, so that the only allocations of a run are those of the sites.
//
// Blocks carry a mark in their first and last byte. A block whose mark is wrong was damaged, and the run fails: the
// observer must do no harm.
#ifndef BOOKS_H
#define BOOKS_H

#include "workload.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>

enum {
    THREADS_MAX = 64,
    SITES_MAX = 16,
    RING = 2048,       // Places for live blocks, per thread.
    SHARED = 512,      // Places through which blocks change threads.
    BEFORE = 199,      // Blocks that each thread has before `go`.
    NOT_OBSERVED = 15, // The site of those: `site_before`.
};

struct block {
    unsigned char *address; // NULL: the place is empty.
    size_t size;            // As requested.
    size_t alignment;       // As requested, 0 for none: C++ has to give it back.
    uint32_t site;
    unsigned char mark;
};

struct worker {
    uint64_t random;
    uint64_t ops;
    uint64_t untracked_frees, untracked_reallocs, untracked_resize_failures, null_frees, failed_calls, damaged;
    struct book books[SITES_MAX];
    struct block ring[RING];
};

// What the program supplies.
static void step(struct worker *worker, struct block *place); // One call into the allocator.
static void allocate_before(struct worker *worker, struct block *place);
static const char *allocator_in_use(void);

static struct worker workers[THREADS_MAX];
static long worker_count;

static struct {
    pthread_mutex_t lock;
    struct block blocks[SHARED];
} shared;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long waiting, finished;
    int go, quit;
} stage;

// ---- the books

static void mark(struct worker *worker, struct block *block) {
    block->mark = (unsigned char)random_next(&worker->random);
    if (block->size > 0) {
        block->address[0] = block->mark;
        block->address[block->size - 1] = block->mark;
    }
}

static void check(struct worker *worker, const struct block *block) {
    if (block->size > 0 && (block->address[0] != block->mark || block->address[block->size - 1] != block->mark))
        worker->damaged++;
}

// Enters an allocation that was tried: NULL is a failed call.
static void enter(struct worker *worker, struct block *place, uint32_t site, void *address, size_t size,
                  size_t alignment) {
    if (!address) {
        worker->failed_calls++;
        return;
    }
    place->address = (unsigned char *)address;
    place->size = size;
    place->alignment = alignment;
    place->site = site;
    worker->books[site].allocs++;
    worker->books[site].alloc_bytes += size;
    mark(worker, place);
}

// Strikes a block out, before it is released or after a realloc took it over.
static void strike(struct worker *worker, struct block *place) {
    worker->books[place->site].frees++;
    worker->books[place->site].freed_bytes += place->size;
    place->address = NULL;
}

// Exchanges a block with one that another thread left; afterwards the place holds that one, or none.
static void trade(struct worker *worker, struct block *place) {
    struct block *other = &shared.blocks[random_below(&worker->random, SHARED)];
    pthread_mutex_lock(&shared.lock);
    struct block taken = *other;
    *other = *place;
    *place = taken;
    pthread_mutex_unlock(&shared.lock);
}

// Mostly small, as in a game server; now and then above the mmap threshold of the C libraries.
static size_t draw_size(struct worker *worker) {
    uint32_t kind = random_below(&worker->random, 1024);
    if (kind < 16)
        return 0;
    if (kind < 900)
        return 1 + random_below(&worker->random, 512);
    if (kind < 1010)
        return 1 + random_below(&worker->random, 8192);
    if (kind < 1023)
        return 1 + random_below(&worker->random, 65536);
    return 1 + random_below(&worker->random, 524288);
}

// ---- the run

static void work(struct worker *worker) {
    for (uint64_t i = 0; i < worker->ops; i++)
        step(worker, &worker->ring[random_below(&worker->random, RING)]);
}

static void *worker_main(void *argument) {
    struct worker *worker = (struct worker *)argument;
    for (int i = 0; i < BEFORE; i++)
        allocate_before(worker, &worker->ring[i]);
    pthread_mutex_lock(&stage.lock);
    stage.waiting++;
    pthread_cond_broadcast(&stage.changed);
    while (!stage.go)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
    work(worker);
    pthread_mutex_lock(&stage.lock);
    stage.finished++;
    pthread_cond_broadcast(&stage.changed);
    // The end of a thread is the C library's work, not ours: it must not fall into the run.
    while (!stage.quit)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
    return NULL;
}

static void await(const long *counter, long value) {
    pthread_mutex_lock(&stage.lock);
    while (*counter < value)
        pthread_cond_wait(&stage.changed, &stage.lock);
    pthread_mutex_unlock(&stage.lock);
}

static void announce(int *what) {
    pthread_mutex_lock(&stage.lock);
    *what = 1;
    pthread_cond_broadcast(&stage.changed);
    pthread_mutex_unlock(&stage.lock);
}

// ---- the account

static void add_block(struct book *live, const struct block *block) {
    if (block->address) {
        live[block->site].allocs++;
        live[block->site].alloc_bytes += block->size;
    }
}

// Sums the books, and counts the live blocks a second time by walking them: 0 if both agree and no block is damaged.
static int close_books(struct worker *total) {
    static struct book live[SITES_MAX];
    memset(live, 0, sizeof live);
    for (long t = 0; t < worker_count; t++) {
        struct worker *worker = &workers[t];
        for (int s = 0; s < SITES_MAX; s++) {
            total->books[s].allocs += worker->books[s].allocs;
            total->books[s].alloc_bytes += worker->books[s].alloc_bytes;
            total->books[s].frees += worker->books[s].frees;
            total->books[s].freed_bytes += worker->books[s].freed_bytes;
        }
        for (int i = 0; i < RING; i++) {
            add_block(live, &worker->ring[i]);
            if (worker->ring[i].address)
                check(total, &worker->ring[i]);
        }
        total->ops += worker->ops;
        total->untracked_frees += worker->untracked_frees;
        total->untracked_reallocs += worker->untracked_reallocs;
        total->untracked_resize_failures += worker->untracked_resize_failures;
        total->null_frees += worker->null_frees;
        total->failed_calls += worker->failed_calls;
        total->damaged += worker->damaged;
    }
    for (int i = 0; i < SHARED; i++)
        add_block(live, &shared.blocks[i]);
    for (int s = 0; s < SITES_MAX; s++) {
        const struct book *book = &total->books[s];
        if (book->allocs - book->frees != live[s].allocs ||
            book->alloc_bytes - book->freed_bytes != live[s].alloc_bytes)
            return 1;
    }
    return total->damaged != 0;
}

static void print_books(const struct worker *total, const char *const *site_names, uint32_t site_count) {
    static char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"allocator\":\"%s\",\"threads\":%ld,\"ops\":%llu,\"sites\":[",
                                allocator_in_use(), worker_count, (unsigned long long)total->ops);
    for (uint32_t s = 0; s < site_count; s++) {
        if (s > 0)
            text[n++] = ',';
        n += (size_t)print_site(text + n, sizeof text - n, site_names[s], &total->books[s]);
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "],\"before\":");
    n += (size_t)print_site(text + n, sizeof text - n, "site_before", &total->books[NOT_OBSERVED]);
    n += (size_t)snprintf(text + n, sizeof text - n,
                          ",\"untracked_frees\":%llu,\"untracked_reallocs\":%llu,"
                          "\"untracked_resize_failures\":%llu,\"null_frees\":%llu,"
                          "\"failed_calls\":%llu}\n",
                          (unsigned long long)total->untracked_frees, (unsigned long long)total->untracked_reallocs,
                          (unsigned long long)total->untracked_resize_failures,
                          (unsigned long long)total->null_frees, (unsigned long long)total->failed_calls);
    if (n >= sizeof text)
        _exit(71);
    say_bytes(text, n);
}

// A child of the fork test: the same operations, one thread after the other, since only the caller lives on in it.
static void run_child(void) {
    static struct worker total;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (long t = 0; t < worker_count; t++)
        work(&workers[t]);
    _exit(close_books(&total) ? 72 : 0);
}

static int await_children(const pid_t *children, long count) {
    int failed = 0;
    for (long i = 0; i < count; i++) {
        int status = 0;
        if (waitpid(children[i], &status, 0) != children[i] || status != 0)
            failed = 1;
    }
    return failed;
}

// Runs the workload with the program's sites, in the order of their numbers.
// `--threads 8 --ops 1000000 --seed 1 [--fork K] [--wait]`. Exit codes: 0, 72 books or blocks damaged, 73 a child's.
static int run_books(int argc, char **argv, const char *const *site_names, uint32_t site_count) {
    static struct worker total;
    static pid_t children[64];
    uint64_t seed = (uint64_t)option(argc, argv, "--seed", 1);
    long ops = option(argc, argv, "--ops", 1000000);
    long forks = option(argc, argv, "--fork", 0);
    worker_count = option(argc, argv, "--threads", 8);
    if (worker_count < 1 || worker_count > THREADS_MAX || ops < 0 || forks < 0 || forks > 64)
        return 64;
    pthread_mutex_init(&shared.lock, NULL);
    pthread_mutex_init(&stage.lock, NULL);
    pthread_cond_init(&stage.changed, NULL);
    for (long t = 0; t < worker_count; t++) {
        pthread_t thread;
        workers[t].random = (seed + 1) * 0x9E3779B97F4A7C15u + (uint64_t)t * 0xD1B54A32D192ED03u + 1;
        workers[t].ops = (uint64_t)(ops / worker_count + (t < ops % worker_count));
        if (pthread_create(&thread, NULL, worker_main, &workers[t]) != 0)
            return 65;
    }
    await(&stage.waiting, worker_count);
    (void)allocator_in_use(); // The first question may allocate.
    say_ready();
    if (flag(argc, argv, "--wait") && !wait_for("go"))
        return 0;
    for (long i = 0; i < forks; i++) {
        children[i] = fork();
        if (children[i] < 0)
            return 65;
        if (children[i] == 0)
            run_child();
    }
    announce(&stage.go);
    await(&stage.finished, worker_count);
    if (await_children(children, forks))
        return 73;
    int broken = close_books(&total);
    if (!broken)
        print_books(&total, site_names, site_count);
    say("DONE");
    (void)wait_for("quit");
    announce(&stage.quit);
    return broken ? 72 : 0;
}

#endif
