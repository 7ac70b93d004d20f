// The exactness workload on a custom pool: `--alloc-fn 'pool_get:size=arg1,ptr=ret' --free-fn 'pool_put:ptr=arg0'`.
//
// pool_get takes its slabs from malloc. Those mallocs are nested in pool_get and must not count; the mallocs at
// `site_malloc` beside it must. The first block of a slab has an address inside a malloc block of its own.
#include "books.h"

enum { GET, MALLOC, SITES };

static const char *const site_names[] = {"site_pool_get", "site_malloc"};

enum {
    CLASSES = 10,     // Classes of 32 << n bytes.
    LARGEST = 16384,  // Requests above fail, as in a pool of a fixed class set.
    SLAB = 65536,
};

struct free_block {
    struct free_block *next;
};

// Stands before each block that is handed out, and keeps it aligned.
struct header {
    struct pool *pool;
    uint64_t class_index;
};

struct pool {
    pthread_mutex_t lock;
    struct free_block *free[CLASSES];
    unsigned char *slab, *slab_end;
};

static struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER};
static volatile size_t too_much = LARGEST + 1;

FRAME void *pool_get(struct pool *from, size_t size) {
    size_t class_index = 0;
    while (class_index < CLASSES && ((size_t)32 << class_index) < size)
        class_index++;
    if (class_index == CLASSES)
        return NULL;
    size_t room = sizeof(struct header) + ((size_t)32 << class_index);
    struct header *header = NULL;
    pthread_mutex_lock(&from->lock);
    if (from->free[class_index]) {
        header = (struct header *)from->free[class_index] - 1;
        from->free[class_index] = from->free[class_index]->next;
    } else {
        if (!from->slab || (size_t)(from->slab_end - from->slab) < room) {
            from->slab = malloc(SLAB);
            from->slab_end = from->slab ? from->slab + SLAB : NULL;
        }
        if (from->slab) {
            header = (struct header *)from->slab;
            from->slab += room;
        }
    }
    pthread_mutex_unlock(&from->lock);
    if (!header)
        return NULL;
    header->pool = from;
    header->class_index = class_index;
    return header + 1;
}

FRAME void pool_put(void *block) {
    if (!block)
        return;
    struct header *header = (struct header *)block - 1;
    struct pool *to = header->pool;
    struct free_block *freed = block;
    pthread_mutex_lock(&to->lock);
    freed->next = to->free[header->class_index];
    to->free[header->class_index] = freed;
    pthread_mutex_unlock(&to->lock);
}

FRAME void *site_before(size_t size) { return pool_get(&pool, size); }
FRAME void *site_pool_get(size_t size) { return pool_get(&pool, size); }
FRAME void *site_malloc(size_t size) { return malloc(size); }

static const char *allocator_in_use(void) { return "pool_get"; }

static size_t draw_pool_size(struct worker *worker) { return 1 + random_below(&worker->random, 2048); }

static void allocate_before(struct worker *worker, struct block *place) {
    size_t size = draw_pool_size(worker);
    enter(worker, place, NOT_OBSERVED, site_before(size), size, 0);
}

static void step(struct worker *worker, struct block *place) {
    uint32_t choice = random_below(&worker->random, 64);
    if (place->address && choice < 16)
        trade(worker, place);
    if (!place->address) {
        size_t size = draw_pool_size(worker);
        if (choice < 16)
            return enter(worker, place, MALLOC, site_malloc(size), size, 0);
        return enter(worker, place, GET, site_pool_get(size), size, 0);
    }
    if (choice < 18) {
        pool_put(NULL);
        worker->null_frees++;
        return;
    }
    if (choice < 20) {
        worker->failed_calls++;
        worker->damaged += site_pool_get(too_much) != NULL;
        return;
    }
    check(worker, place);
    unsigned char *address = place->address;
    uint32_t site = place->site;
    if (site == NOT_OBSERVED)
        worker->untracked_frees++;
    strike(worker, place);
    if (site == MALLOC)
        free(address);
    else
        pool_put(address);
}

int main(int argc, char **argv) { return run_books(argc, argv, site_names, SITES); }
