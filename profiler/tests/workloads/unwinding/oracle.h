// The second opinion: how often each different stack was at an allocation, by backtrace(), libgcc's unwinder. Written
// down as raw addresses; nothing here allocates.
#pragma once
#include "chains.h"
#include <fcntl.h>

#define SEEN_STACKS (1u << 17)
#define SEEN_WORDS (1u << 23)

static struct seen {
    uint64_t hash;
    unsigned first, depth, count;
} seen[SEEN_STACKS];
static void *seen_words[SEEN_WORDS];
static unsigned seen_used, seen_total;

// Notes the stack of the caller's caller: what an allocation function that is called next by the caller sees above it,
// but for the return address into the caller itself, which backtrace() cannot know before the call is made.
STEP void witness(void) {
    void *all[128];
    int depth = backtrace(all, 128) - 2;
    if (depth < 1)
        _exit(7);
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < depth; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)all[i + 2]) * 1099511628211u;
    seen_total++;
    for (unsigned at = (unsigned)(hash >> 20) % SEEN_STACKS;; at = (at + 1) % SEEN_STACKS) {
        struct seen *entry = &seen[at];
        if (entry->count == 0) {
            if (seen_used + (unsigned)depth > SEEN_WORDS)
                _exit(6);
            entry->hash = hash;
            entry->first = seen_used;
            entry->depth = (unsigned)depth;
            memcpy(seen_words + seen_used, all + 2, sizeof(void *) * (size_t)depth);
            seen_used += (unsigned)depth;
        }
        if (entry->hash == hash && entry->depth == (unsigned)depth &&
            memcmp(seen_words + entry->first, all + 2, sizeof(void *) * (size_t)depth) == 0) {
            entry->count++;
            return;
        }
    }
}

// One line per different stack: how often, and the addresses, innermost first.
static void write_seen(const char *path) {
    FILE *file = fopen(path, "w");
    if (file == NULL)
        _exit(5);
    for (unsigned at = 0; at < SEEN_STACKS; at++) {
        if (seen[at].count == 0)
            continue;
        fprintf(file, "%u", seen[at].count);
        for (unsigned i = 0; i < seen[at].depth; i++)
            fprintf(file, " %lx", (unsigned long)(uintptr_t)seen_words[seen[at].first + i]);
        fputc('\n', file);
    }
    fclose(file);
}
