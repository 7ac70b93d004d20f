// What every workload shares: the protocol with the test, a fixed-seed random source, a clock.
//
// Protocol, one word per line. The workload prints `pid N`, then `READY`; it waits for `go` on stdin where it takes
// that option; it prints its findings (JSON, one line) and `DONE`; it stays alive until `quit` or the end of stdin.
//
// Nothing here allocates: between `go` and `DONE` every allocation must be one that the workload has on its books.
#ifndef WORKLOAD_H
#define WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A function that stays a frame of its own, under its own name.
#define FRAME __attribute__((noinline, noclone, noipa))

static inline void say_bytes(const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, text, length);
        if (written < 0 && errno != EINTR)
            _exit(70);  // The test is gone.
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= (int)sizeof line - 1)
        _exit(71);  // A line too long for the protocol is a defect of the workload.
    line[length] = '\n';
    say_bytes(line, (size_t)length + 1);
}

static inline void say_ready(void) {
    say("pid %d", (int)getpid());
    say("READY");
}

// Reads one line without its end; returns 0 at the end of stdin. Byte by byte: no buffer that would have to be kept.
static inline int hear(char *line, size_t capacity) {
    size_t length = 0;
    for (;;) {
        char byte;
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        if (byte == '\n')
            break;
        if (length + 1 < capacity)
            line[length++] = byte;
    }
    line[length] = '\0';
    return 1;
}

// Waits for a line, or for the end of stdin.
static inline void hear_line(void) {
    char line[64];
    (void)hear(line, sizeof line);
}

// Waits for `word`; returns 0 when stdin ends or `quit` comes first.
static inline int wait_for(const char *word) {
    char line[64];
    while (hear(line, sizeof line)) {
        if (strcmp(line, word) == 0)
            return 1;
        if (strcmp(line, "quit") == 0)
            return 0;
    }
    return 0;
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// xorshift64*: the same sequence on every machine. The state must not be 0.
static inline uint64_t random_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Du;
}

// A number in [0, bound). The bias is below bound / 2^32, which no workload here notices.
static inline uint32_t random_below(uint64_t *state, uint32_t bound) {
    return (uint32_t)(((random_next(state) >> 32) * bound) >> 32);
}

// The value after `--name`, or `otherwise`.
static inline long option(int argc, char **argv, const char *name, long otherwise) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtol(argv[i + 1], NULL, 10);
    return otherwise;
}

static inline int flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return 0;
}

// What one call site did. Live is allocated less freed.
struct book {
    uint64_t allocs, alloc_bytes, frees, freed_bytes;
};

static inline int print_site(char *text, size_t capacity, const char *name, const struct book *book) {
    return snprintf(text, capacity,
                    "{\"function\":\"%s\",\"allocs\":%llu,\"alloc_bytes\":%llu,\"frees\":%llu,"
                    "\"live\":%llu,\"live_bytes\":%llu}",
                    name, (unsigned long long)book->allocs, (unsigned long long)book->alloc_bytes,
                    (unsigned long long)book->frees, (unsigned long long)(book->allocs - book->frees),
                    (unsigned long long)(book->alloc_bytes - book->freed_bytes));
}

// The books of a workload with a single site, in the form that `books.h` prints.
static inline void say_book(const char *function, const struct book *book) {
    char text[512];
    print_site(text, sizeof text, function, book);
    say("{\"sites\":[%s]}", text);
}

#endif
