// What the programs of tests/live_unwinding.rs share: each calls the allocator along known chains of functions, built
// without frame pointers, and says in its books how often along which, and what the stack is above it.
//
// The end of a stack is asked of backtrace(), libgcc's unwinder: an oracle that is not ours.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <execinfo.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __cplusplus
#define EXTERN extern "C"
#else
#define EXTERN
#endif

// A function of its own, whatever the optimiser thinks of it.
#define STEP EXTERN __attribute__((noipa, used))
// Between a call and the end of a function: so that the call does not become a jump.
#define STAY __asm__ volatile("" ::: "memory")

// Return addresses of what called a function: `backtrace` without the function itself and whoever asked.
struct tail {
    int count;
    void *addresses[16];
};

static char books[1 << 16];
static size_t books_used;

// The tail of the function that calls this; stays empty with NO_TAIL in the environment.
STEP void learn_tail(struct tail *tail) {
    void *all[32];
    if (getenv("NO_TAIL") != NULL)
        return;
    int count = backtrace(all, 32) - 2;
    tail->count = count < 0 ? 0 : count > 16 ? 16 : count;
    memcpy(tail->addresses, all + 2, sizeof(void *) * (size_t)tail->count);
}

static void note(const char *text, unsigned long number) {
    books_used += (size_t)snprintf(books + books_used, sizeof books - books_used, text, number);
}

// `chain`: names, innermost first, with blanks between them; `*` for a frame whose name is the C library's business.
static void book(const char *chain, unsigned long allocs, const struct tail *tail) {
    note(books_used == 0 ? "{\"chains\":[" : ",", 0);
    books_used += (size_t)snprintf(books + books_used, sizeof books - books_used, "{\"chain\":\"%s\"", chain);
    note(",\"allocs\":%lu,\"tail\":[", allocs);
    for (int i = 0; i < tail->count; i++)
        note(i == 0 ? "%lu" : ",%lu", (unsigned long)(uintptr_t)tail->addresses[i]);
    note("]}", 0);
}

// The stack of the chain that was booked last may end there for this reason.
static inline void end_of_stack(const char *reason) {
    books_used--;
    books_used +=
        (size_t)snprintf(books + books_used, sizeof books - books_used, ",\"may_end\":\"%s\"}", reason);
}

static void say(const char *text) {
    if (write(1, text, strlen(text)) < 0)
        _exit(9);
}

// Waits for a line on stdin; whether it is not the last one.
static int next_line(void) {
    char byte, first = 0;
    while (read(0, &byte, 1) == 1) {
        if (byte == '\n')
            return first != 'q';
        if (first == 0)
            first = byte;
    }
    return 0;
}

static int start(void) {
    say("READY\n");
    return next_line();
}

// Says the books, with one more number under `name`, and waits for the end.
static void finish_with(const char *name, unsigned long number) {
    books_used += (size_t)snprintf(books + books_used, sizeof books - books_used, "],\"%s\":%lu}\n", name, number);
    say(books);
    while (next_line())
        ;
}

static inline void finish(void) { finish_with("nothing", 0); }
