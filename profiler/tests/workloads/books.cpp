// The exactness workload in C++: every form of operator new and delete, from eight threads, with books.
//
// g++ -std=c++17 -O2 -g -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-builtin books.cpp -pthread
//
// -DLINKED_STATIC   nothing to ask the dynamic loader for
// -DNEW_ABORTS      the allocator was built without exceptions: a failing new ends the process (mimalloc in C)
//
// Sizes are never 0 and over-aligned sizes are multiples of the alignment: where operator new is built on malloc it
// rounds those up, and the books would depend on which of the two functions is observed.
// Whatever throws does so outside the sites: exceptions are allocated too, and are not blocks of the program.
#include <new>

#include "books.h"

#ifndef LINKED_STATIC
#include <dlfcn.h>
#endif

enum {
    NEW,
    NEW_ARRAY,
    NEW_NOTHROW,
    NEW_ARRAY_NOTHROW,
    NEW_ALIGNED,
    NEW_ARRAY_ALIGNED,
    NEW_ALIGNED_NOTHROW,
    NEW_ARRAY_ALIGNED_NOTHROW,
    SITES,
};

static const char *const site_names[] = {
    "site_new",         "site_new_array",         "site_new_nothrow",         "site_new_array_nothrow",
    "site_new_aligned", "site_new_array_aligned", "site_new_aligned_nothrow", "site_new_array_aligned_nothrow",
};
static volatile size_t too_much = PTRDIFF_MAX;

// C names: the books name functions as a symbol table does.
extern "C" {
FRAME void *site_before(size_t size) { return ::operator new(size); }
FRAME void *site_new(size_t size) { return ::operator new(size); }
FRAME void *site_new_array(size_t size) { return ::operator new[](size); }
FRAME void *site_new_nothrow(size_t size) { return ::operator new(size, std::nothrow); }
FRAME void *site_new_array_nothrow(size_t size) { return ::operator new[](size, std::nothrow); }
FRAME void *site_new_aligned(size_t size, size_t alignment) {
    return ::operator new(size, std::align_val_t(alignment));
}
FRAME void *site_new_array_aligned(size_t size, size_t alignment) {
    return ::operator new[](size, std::align_val_t(alignment));
}
FRAME void *site_new_aligned_nothrow(size_t size, size_t alignment) {
    return ::operator new(size, std::align_val_t(alignment), std::nothrow);
}
FRAME void *site_new_array_aligned_nothrow(size_t size, size_t alignment) {
    return ::operator new[](size, std::align_val_t(alignment), std::nothrow);
}
FRAME bool fail_throwing() {
    try {
        ::operator delete(::operator new(too_much));
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}
FRAME bool fail_nothrow() { return ::operator new(too_much, std::nothrow) == nullptr; }
}

static const char *allocator_in_use(void) {
#ifdef LINKED_STATIC
    return "libstdc++, static";
#else
    static char path[256];
    Dl_info found;
    void *function = dlsym(RTLD_DEFAULT, "_Znwm");
    if (!path[0] && function && dladdr(function, &found) && found.dli_fname)
        snprintf(path, sizeof path, "%s", found.dli_fname);
    return path;
#endif
}

static size_t draw_size_above_0(struct worker *worker) {
    size_t size = draw_size(worker);
    return size > 0 ? size : 1;
}

static void allocate_before(struct worker *worker, struct block *place) {
    size_t size = draw_size_above_0(worker);
    enter(worker, place, NOT_OBSERVED, site_before(size), size, 0);
}

static void *allocate_at(uint32_t site, size_t size, size_t alignment) {
    switch (site) {
    case NEW:
        return site_new(size);
    case NEW_ARRAY:
        return site_new_array(size);
    case NEW_NOTHROW:
        return site_new_nothrow(size);
    case NEW_ARRAY_NOTHROW:
        return site_new_array_nothrow(size);
    case NEW_ALIGNED:
        return site_new_aligned(size, alignment);
    case NEW_ARRAY_ALIGNED:
        return site_new_array_aligned(size, alignment);
    case NEW_ALIGNED_NOTHROW:
        return site_new_aligned_nothrow(size, alignment);
    default:
        return site_new_array_aligned_nothrow(size, alignment);
    }
}

static void allocate(struct worker *worker, struct block *place) {
    uint32_t site = random_below(&worker->random, SITES);
    size_t size = draw_size_above_0(worker);
    size_t alignment = 0;
    if (site >= NEW_ALIGNED) {
        alignment = (size_t)32 << random_below(&worker->random, 6); // 32 to 1024
        size = (size + alignment - 1) & ~(alignment - 1);
    }
    enter(worker, place, site, allocate_at(site, size, alignment), size, alignment);
}

// The delete that belongs to the new, with and without the size.
static void release(const struct block &block, bool sized) {
    std::align_val_t alignment = std::align_val_t(block.alignment);
    bool array = block.site == NEW_ARRAY || block.site == NEW_ARRAY_NOTHROW || block.site == NEW_ARRAY_ALIGNED ||
                 block.site == NEW_ARRAY_ALIGNED_NOTHROW;
    if (block.alignment > 0) {
        if (array)
            sized ? ::operator delete[](block.address, block.size, alignment)
                  : ::operator delete[](block.address, alignment);
        else
            sized ? ::operator delete(block.address, block.size, alignment)
                  : ::operator delete(block.address, alignment);
    } else if (array) {
        sized ? ::operator delete[](block.address, block.size) : ::operator delete[](block.address);
    } else if (block.site == NEW_NOTHROW) {
        ::operator delete(block.address, std::nothrow);
    } else {
        sized ? ::operator delete(block.address, block.size) : ::operator delete(block.address);
    }
}

static void step(struct worker *worker, struct block *place) {
    uint32_t choice = random_below(&worker->random, 64);
    if (place->address && choice >= 44)
        trade(worker, place);
    if (!place->address)
        return allocate(worker, place);
    if (choice < 2) {
        ::operator delete(nullptr);
        worker->null_frees++;
        return;
    }
#ifndef NEW_ABORTS
    if (choice == 2) {
        worker->failed_calls++;
        bool failed = random_below(&worker->random, 2) ? fail_throwing() : fail_nothrow();
        worker->damaged += !failed;
        return;
    }
#endif
    check(worker, place);
    struct block block = *place;
    if (block.site == NOT_OBSERVED)
        worker->untracked_frees++;
    strike(worker, place);
    release(block, choice & 1);
}

int main(int argc, char **argv) { return run_books(argc, argv, site_names, SITES); }
