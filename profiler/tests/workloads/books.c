// The exactness workload in C: every allocation function that the allocator in use has, with books.
//
// cc -std=c11 -O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-builtin books.c -pthread
// -DLINKED_STATIC   nothing to ask the dynamic loader for
// -DNO_PVALLOC      the allocator has none, and the C library's would mix two heaps (jemalloc)
// -DPREFIX=je_      call je_malloc and so on (a jemalloc built with a prefix)
#include "books.h"

#include <malloc.h>

#ifndef LINKED_STATIC
#include <dlfcn.h>
#endif

#ifdef PREFIX
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define A(name) JOIN(PREFIX, name)
void *A(malloc)(size_t);
void *A(calloc)(size_t, size_t);
void *A(realloc)(void *, size_t);
int A(posix_memalign)(void **, size_t, size_t);
void *A(aligned_alloc)(size_t, size_t);
void *A(memalign)(size_t, size_t);
void *A(valloc)(size_t);
void A(free)(void *);
#else
#define A(name) name
#define HAVE_REALLOCARRAY 1
#endif

#if defined(__GLIBC__) && !defined(NO_PVALLOC) && !defined(PREFIX)
#define HAVE_PVALLOC 1
#endif

#ifndef __GLIBC__
void *valloc(size_t);
#endif

enum {
    MALLOC,
    CALLOC,
    REALLOC,
    POSIX_MEMALIGN,
    ALIGNED_ALLOC,
    MEMALIGN,
    VALLOC,
#ifdef HAVE_REALLOCARRAY
    REALLOCARRAY,
#endif
#ifdef HAVE_PVALLOC
    PVALLOC,
#endif
    SITES,
};

static const char *const site_names[] = {
    "site_malloc",        "site_calloc",   "site_realloc", "site_posix_memalign",
    "site_aligned_alloc", "site_memalign", "site_valloc",
#ifdef HAVE_REALLOCARRAY
    "site_reallocarray",
#endif
#ifdef HAVE_PVALLOC
    "site_pvalloc",
#endif
};

// No allocator serves this, and no compiler may know that.
static volatile size_t too_much = PTRDIFF_MAX;

FRAME void *site_before(size_t size) { return A(malloc)(size); }
FRAME void *site_malloc(size_t size) { return A(malloc)(size); }
FRAME void *site_calloc(size_t count, size_t size) { return A(calloc)(count, size); }
FRAME void *site_realloc(void *old, size_t size) { return A(realloc)(old, size); }
FRAME void *site_aligned_alloc(size_t alignment, size_t size) { return A(aligned_alloc)(alignment, size); }
FRAME void *site_memalign(size_t alignment, size_t size) { return A(memalign)(alignment, size); }
FRAME void *site_valloc(size_t size) { return A(valloc)(size); }
FRAME void *site_posix_memalign(size_t alignment, size_t size) {
    void *block = NULL;
    return A(posix_memalign)(&block, alignment, size) == 0 ? block : NULL;
}
#ifdef HAVE_REALLOCARRAY
FRAME void *site_reallocarray(void *old, size_t count, size_t size) { return reallocarray(old, count, size); }
#endif
#ifdef HAVE_PVALLOC
FRAME void *site_pvalloc(size_t size) { return pvalloc(size); }
#endif
FRAME void release(void *block) { A(free)(block); }

static const char *allocator_in_use(void) {
#if defined(LINKED_STATIC) && defined(__GLIBC__)
    return "glibc, static";
#elif defined(LINKED_STATIC)
    return "musl, static";
#else
    // Through the loader: in a program that is not position independent, `&malloc` is a stub of its own.
    static char path[256];
    Dl_info found;
#ifdef PREFIX
    void *function = (void *)A(malloc);
#else
    void *function = dlsym(RTLD_DEFAULT, "malloc");
#endif
    if (!path[0] && function && dladdr(function, &found) && found.dli_fname)
        snprintf(path, sizeof path, "%s", found.dli_fname);
    return path;
#endif
}

static void allocate_before(struct worker *worker, struct block *place) {
    size_t size = draw_size(worker);
    enter(worker, place, NOT_OBSERVED, site_before(size), size, 0);
}

static void allocate(struct worker *worker, struct block *place) {
    size_t size = draw_size(worker);
    size_t alignment = (size_t)16 << random_below(&worker->random, 8); // 16 to 2048
    uint32_t site = random_below(&worker->random, SITES);
    switch (site) {
    case MALLOC:
        enter(worker, place, site, site_malloc(size), size, 0);
        break;
    case CALLOC: {
        size_t count = 1 + random_below(&worker->random, 7);
        enter(worker, place, site, site_calloc(count, size), count * size, 0);
        break;
    }
    case REALLOC:
        enter(worker, place, site, site_realloc(NULL, size), size, 0);
        break;
    case POSIX_MEMALIGN:
        enter(worker, place, site, site_posix_memalign(alignment, size), size, alignment);
        break;
    case ALIGNED_ALLOC:
        enter(worker, place, site, site_aligned_alloc(alignment, size), size, alignment);
        break;
    case MEMALIGN:
        enter(worker, place, site, site_memalign(alignment, size), size, alignment);
        break;
    case VALLOC:
        enter(worker, place, site, site_valloc(size), size, 0);
        break;
#ifdef HAVE_REALLOCARRAY
    case REALLOCARRAY:
        enter(worker, place, site, site_reallocarray(NULL, size, 3), size * 3, 0);
        break;
#endif
#ifdef HAVE_PVALLOC
    case PVALLOC:
        enter(worker, place, site, site_pvalloc(size), size, 0);
        break;
#endif
    }
}

// A resize. On success the old block is gone and a new one stands at this site, even at the same address; NULL for a
// size of 0 means released, NULL for any other size means that the old block stays.
static void resize(struct worker *worker, struct block *place) {
    check(worker, place);
    struct block old = *place;
    size_t size = random_below(&worker->random, 32) == 0 ? 0 : draw_size(worker);
    uint32_t site = REALLOC;
    void *moved;
#ifdef HAVE_REALLOCARRAY
    if (random_below(&worker->random, 3) == 0) {
        site = REALLOCARRAY;
        moved = site_reallocarray(old.address, 2, size);
        size *= 2;
    } else
#endif
        moved = site_realloc(old.address, size);
    if (!moved && size > 0) {
        worker->failed_calls++;
        return;
    }
    if (moved && size > 0 && old.size > 0 && *(unsigned char *)moved != old.mark)
        worker->damaged++;
    if (old.site == NOT_OBSERVED)
        worker->untracked_reallocs++;
    strike(worker, place);
    if (moved)
        enter(worker, place, site, moved, size, 0);
}

// A failing resize of an older block: an observer meets it, although it stays.
static void meet(struct worker *worker, const struct block *place) {
    if (place->address && place->site == NOT_OBSERVED)
        worker->untracked_resize_failures++;
}

// Calls that must fail and change nothing. One that succeeds is a defect of the workload and shows in the books.
static void fail(struct worker *worker, struct block *place) {
    void *unexpected = NULL;
    switch (random_below(&worker->random, 7)) {
    case 0:
        unexpected = site_malloc(too_much);
        break;
    case 1:
        unexpected = site_calloc(too_much, 4); // The product overflows.
        break;
    case 2:
        meet(worker, place);
        unexpected = site_realloc(place->address, too_much);
        break;
    case 3:
        unexpected = site_posix_memalign(24, 100); // Not a power of two.
        break;
    case 4:
        unexpected = site_posix_memalign(64, too_much);
        break;
    case 5:
        unexpected = site_memalign(64, too_much);
        break;
    case 6:
#ifdef HAVE_REALLOCARRAY
        meet(worker, place);
        unexpected = site_reallocarray(place->address, too_much, 4); // The product overflows; the old block stays.
#else
        unexpected = site_realloc(NULL, too_much);
#endif
        break;
    }
    worker->failed_calls++;
    if (unexpected)
        worker->damaged++;
}

static void step(struct worker *worker, struct block *place) {
    uint32_t choice = random_below(&worker->random, 64);
    if (!place->address)
        return allocate(worker, place);
    if (choice < 2) {
        release(NULL);
        worker->null_frees++;
        return;
    }
    if (choice < 4)
        return fail(worker, place);
    if (choice < 24)
        return resize(worker, place);
    if (choice < 44)
        trade(worker, place);
    if (!place->address)
        return allocate(worker, place);
    check(worker, place);
    unsigned char *address = place->address;
    if (place->site == NOT_OBSERVED)
        worker->untracked_frees++;
    strike(worker, place);
    release(address);
}

int main(int argc, char **argv) { return run_books(argc, argv, site_names, SITES); }
