// Buffers that grow by realloc, from READY on until it is killed:
//
//   history MS           one buffer, which gets 4 KiB more every MS milliseconds and is never freed
//   kept MS STEPS        a new buffer every MS milliseconds, and 64 bytes more for each that is there, STEPS times; none is freed
//   freed MS STEPS       the same, but each is freed when it has grown so many times
//
//   callers MS           as history, from two functions in turn
//   emptied MS STEPS     40 buffers that get 64 bytes more every MS milliseconds and are cut to 16 bytes every STEPS times
//   before MS            20,000 buffers from before READY; one of them gets 1000 bytes more every MS milliseconds
//
// `books N` instead waits for `go`, resizes and frees buffers N times at random, and says how many bytes it then holds. Its
// buffers get old in between: it waits a millisecond now and then.
#include "workload.h"

enum { MANY = 4096, SLOTS = 64, HISTORY_STEP = 4096, SESSION_STEP = 64 };

static struct buffer {
    char *data;
    size_t size;
    long steps;
} buffers[MANY];

// Always moved: a buffer that can stay where it is would hide that one that moves is lost sight of.
FRAME static char *resize(char *old, size_t size) {
    char *data = realloc(old, size);
    if (data == NULL && size < PTRDIFF_MAX)
        _exit(66);
    return data;
}

FRAME void push_history(void) {
    static char *history;
    static size_t size;
    size += HISTORY_STEP;
    history = resize(history, size);
    memset(history + size - HISTORY_STEP, 1, HISTORY_STEP);
    __asm__ volatile("");
}

FRAME void append_here(void) {
    push_history();
    __asm__ volatile("");
}

FRAME void append_there(void) {
    push_history();
    __asm__ volatile("");
}

FRAME void grow_session(struct buffer *buffer) {
    buffer->size += SESSION_STEP;
    buffer->data = resize(buffer->data, buffer->size);
    buffer->steps++;
    __asm__ volatile("");
}

FRAME char *open_session(void) {
    char *data = malloc(SESSION_STEP);
    __asm__ volatile("");
    return data;
}

static void wait_ms(long ms) {
    const struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

static void emptied(long ms, long steps) {
    for (long turn = 0;; turn++) {
        for (int i = 0; i < 40; i++) {
            struct buffer *buffer = &buffers[i];
            if ((turn + i * steps / 40) % steps == 0) {
                buffer->size = 16;
                buffer->data = resize(buffer->data, buffer->size);
            }
            grow_session(buffer);
        }
        wait_ms(ms);
    }
}

static char *old_ones[20000];

static void before(long ms) {
    for (int i = 0; i < 20000; i++) {
        old_ones[i] = resize(old_ones[i], 2000);
        wait_ms(ms);
    }
}

static void sessions(long ms, long steps, int freed) {
    for (long next = 0;; next++) {
        struct buffer *first = &buffers[next % MANY];
        if (first->data != NULL)
            _exit(67);
        *first = (struct buffer){open_session(), SESSION_STEP, 0};
        for (long i = next < MANY ? 0 : next - MANY + 1; i <= next; i++) {
            struct buffer *buffer = &buffers[i % MANY];
            if (buffer->data != NULL && buffer->steps < steps)
                grow_session(buffer);
            if (freed && buffer->data != NULL && buffer->steps >= steps) {
                free(buffer->data);
                buffer->data = NULL;
            }
        }
        wait_ms(ms);
    }
}

// The four things that can become of a buffer: it grows, shrinks, stays since the call fails, or is freed.
FRAME static void act(struct buffer *buffer, uint64_t *random, struct book *book) {
    uint32_t what = random_below(random, 10);
    if (what == 0) {
        book->frees += buffer->data != NULL;
        free(buffer->data);
        *buffer = (struct buffer){NULL, 0, 0};
    } else if (what == 1) {
        if (resize(buffer->data, (size_t)PTRDIFF_MAX) != NULL)
            _exit(68);
    } else {
        size_t size = what < 4 ? 1 + buffer->size / 2 : buffer->size + 1 + random_below(random, 3000);
        buffer->data = resize(buffer->data, size);
        buffer->size = size;
        book->allocs++;
        book->alloc_bytes += size;
    }
}

static void books(long times) {
    uint64_t random = 88172645463325252u;
    struct book book = {0, 0, 0, 0};
    const struct timespec wait = {0, 1000000};
    while (times-- > 0) {
        act(&buffers[random_below(&random, SLOTS)], &random, &book);
        if (times % 8 == 0)
            nanosleep(&wait, NULL);
    }
    size_t held = 0;
    for (int i = 0; i < SLOTS; i++)
        held += buffers[i].size;
    say("{\"calls\":%llu,\"bytes_asked_for\":%llu,\"held_bytes\":%llu}", (unsigned long long)book.allocs,
        (unsigned long long)book.alloc_bytes, (unsigned long long)held);
    say("DONE");
}

int main(int count, char **arguments) {
    alarm(300);
    if (count == 3 && strcmp(arguments[1], "before") == 0)
        for (int i = 0; i < 20000; i++)
            old_ones[i] = malloc(1000);
    say_ready();
    if (count == 3 && strcmp(arguments[1], "before") == 0)
        before(atol(arguments[2]));
    if (count == 4 && strcmp(arguments[1], "emptied") == 0)
        emptied(atol(arguments[2]), atol(arguments[3]));
    if (count == 3 && strcmp(arguments[1], "callers") == 0)
        for (long turn = 0;; turn++) {
            turn % 2 ? append_here() : append_there();
            wait_ms(atol(arguments[2]));
        }
    if (count == 3 && strcmp(arguments[1], "history") == 0) {
        const struct timespec wait = {0, atol(arguments[2]) * 1000000};
        for (;;) {
            push_history();
            nanosleep(&wait, NULL);
        }
    }
    if (count == 4 && strcmp(arguments[1], "kept") == 0)
        sessions(atol(arguments[2]), atol(arguments[3]), 0);
    if (count == 4 && strcmp(arguments[1], "freed") == 0)
        sessions(atol(arguments[2]), atol(arguments[3]), 1);
    if (count == 3 && strcmp(arguments[1], "books") == 0 && wait_for("go")) {
        books(atol(arguments[2]));
        wait_for("quit");
        return 0;
    }
    return 64;
}
