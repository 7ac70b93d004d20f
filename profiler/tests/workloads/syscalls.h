// Books of system calls: every call that a thread makes goes through `call`, which enters it by its result.
//
// Nothing here calls the C library between `go` and the books, because the library makes calls of its own.
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include "workload.h"

#include <stddef.h>
#include <sys/syscall.h>

enum { ENTRIES_MAX = 48, TIMES_MAX = 256, TEXT_MAX = 60000 };

enum abi { NATIVE, COMPAT }; // x86-64, and i386 by `int $0x80`.

// What a thread knows of the calls with one number and one result: 0 is success.
struct entry {
    int used;
    enum abi abi;
    long nr, error;
    uint64_t count, bytes;
    // Signals that interrupted such a call and made the kernel start it again. It is one call.
    uint64_t restarts;
};

struct books {
    const char *name;
    long tid;
    struct entry entries[ENTRIES_MAX];
    // Durations of the calls with the number `timed`, less what the clock costs.
    long timed;
    uint32_t times;
    uint64_t ns[TIMES_MAX];
};

static uint64_t clock_cost_ns;

static struct entry *entry_of(struct books *books, enum abi abi, long nr, long error) {
    for (struct entry *entry = books->entries; entry < books->entries + ENTRIES_MAX; entry++) {
        if (entry->used && entry->abi == abi && entry->nr == nr && entry->error == error)
            return entry;
        if (!entry->used) {
            *entry = (struct entry){.used = 1, .abi = abi, .nr = nr, .error = error};
            return entry;
        }
    }
    __builtin_trap(); // More kinds of results than the books have room for is a defect of the workload.
}

static int returns_bytes(enum abi abi, long nr) {
    if (abi != NATIVE)
        return 0;
    switch (nr) {
    case SYS_read: case SYS_write: case SYS_sendto: case SYS_recvfrom: case SYS_pread64: case SYS_getrandom:
        return 1;
    default:
        return 0;
    }
}

static void book(struct books *books, enum abi abi, long nr, long result) {
    int failed = result < 0 && result >= -4095;
    struct entry *entry = entry_of(books, abi, nr, failed ? -result : 0);
    entry->count++;
    if (!failed && returns_bytes(abi, nr))
        entry->bytes += (uint64_t)result;
}

// A call that is not on the books.
static inline long bare_call(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL_6(books, nr, a, b, c, d, e, f, ...) \
    booked(books, nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
// call(books, nr, arguments...): a call that is booked by its result, which is returned as the kernel gives it.
#define call(books, ...) CALL_6(books, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

static long booked(struct books *books, long nr, long a, long b, long c, long d, long e, long f) {
    long result = bare_call(nr, a, b, c, d, e, f);
    book(books, NATIVE, nr, result);
    return result;
}

// The same, timed by the thread itself. The clock is read without a call.
static long timed_call(struct books *books, long nr, const void *a, void *b) {
    uint64_t began = now_ns();
    long result = bare_call(nr, (long)a, (long)b, 0, 0, 0, 0);
    uint64_t took = now_ns() - began;
    book(books, NATIVE, nr, result);
    books->timed = nr;
    books->ns[books->times++ % TIMES_MAX] = took > clock_cost_ns ? took - clock_cost_ns : 0;
    return result;
}

// A call as 32-bit programs make it, from 64-bit code.
static long call_32(struct books *books, long nr) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"((int)nr), "b"(0), "c"(0), "d"(0) : "memory");
    book(books, COMPAT, nr, result);
    return result;
}

// ---- the books in writing

static int is_shorter(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void measure_clock(void) {
    enum { READINGS = 1001 };
    static uint64_t cost[READINGS];
    for (int i = 0; i < READINGS; i++) {
        uint64_t began = now_ns();
        cost[i] = now_ns() - began;
    }
    qsort(cost, READINGS, sizeof *cost, is_shorter);
    clock_cost_ns = cost[READINGS / 2];
}

static size_t print_thread(char *text, size_t capacity, struct books *books) {
    size_t n = (size_t)snprintf(text, capacity, "{\"name\":\"%s\",\"tid\":%ld,\"calls\":[", books->name, books->tid);
    for (struct entry *entry = books->entries; entry < books->entries + ENTRIES_MAX && entry->used; entry++)
        n += (size_t)snprintf(text + n, capacity - n,
                              "%s{\"abi\":\"%s\",\"nr\":%ld,\"errno\":%ld,\"count\":%llu,\"bytes\":%llu,\"restarts\":%llu}",
                              entry == books->entries ? "" : ",", entry->abi == NATIVE ? "x86_64" : "i386", entry->nr,
                              entry->error, (unsigned long long)entry->count, (unsigned long long)entry->bytes,
                              (unsigned long long)entry->restarts);
    uint32_t times = books->times < TIMES_MAX ? books->times : TIMES_MAX;
    qsort(books->ns, times, sizeof *books->ns, is_shorter);
    n += (size_t)snprintf(text + n, capacity - n, "],\"timed\":%ld,\"ns\":[", books->timed);
    for (uint32_t i = 0; i < times; i++)
        n += (size_t)snprintf(text + n, capacity - n, "%s%llu", i == 0 ? "" : ",", (unsigned long long)books->ns[i]);
    return n + (size_t)snprintf(text + n, capacity - n, "]}");
}

#endif
