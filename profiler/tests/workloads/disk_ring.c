// Operations on files through a ring of io_uring, a known number of each. Every third one is made by a worker of the kernel. One of the
// files is registered with the ring, and has no descriptor any more. At "go" it makes them, prints its books as `disk` does, or only the error
// number, of no file, if the kernel gives it no ring, and says DONE.
#define _GNU_SOURCE
#include "ring.h"

#include <fcntl.h>

enum { WRITES = 31, READS = 29, SYNCS = 11, DATA_SYNCS = 13, GROWN = 7, FAILED = 5, BLOCK = 4096, STEP = 613 };

static char block[BLOCK];

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

// Of an fsync, `bytes` are its flags.
static void finishes(int operation, int file, int flags, unsigned bytes, int result) {
    static unsigned count;
    int syncs = operation == IORING_OP_FSYNC;
    struct io_uring_sqe of = {
        .opcode = (unsigned char)operation,
        .fd = file,
        .addr = syncs ? 0 : operation == IORING_OP_FALLOCATE ? BLOCK : (uintptr_t)block,
        .len = syncs || operation == IORING_OP_FALLOCATE ? 0 : bytes,
        .fsync_flags = syncs ? bytes : 0,
        .flags = (unsigned char)(flags | (++count % 3 == 0 ? IOSQE_ASYNC : 0)),
    };
    ring_submit(of, 1);
    int found = ring_take();
    if (found != result) {
        fprintf(stderr, "operation %d ended with %d, not %d\n", operation, found, result);
        _exit(1);
    }
}

static void of_file(const char *name, int file, int flags) {
    for (int i = 0; i < WRITES; i++)
        finishes(IORING_OP_WRITE, file, flags, STEP, STEP);
    for (int i = 0; i < READS; i++)
        finishes(IORING_OP_READ, file, flags, STEP, STEP);
    for (int i = 0; i < SYNCS; i++)
        finishes(IORING_OP_FSYNC, file, flags, 0, 0);
    for (int i = 0; i < DATA_SYNCS; i++)
        finishes(IORING_OP_FSYNC, file, flags, IORING_FSYNC_DATASYNC, 0);
    for (int i = 0; i < GROWN; i++)
        finishes(IORING_OP_FALLOCATE, file, flags, 0, 0);
    const struct {
        const char *operation;
        int count, bytes;
    } books[] = {{"write", WRITES, STEP},
                 {"read", READS, STEP},
                 {"fsync", SYNCS, 0},
                 {"fdatasync", DATA_SYNCS, 0},
                 {"fallocate", GROWN, 0}};
    for (size_t i = 0; i < sizeof books / sizeof *books; i++)
        say("{\"file\":\"%s\",\"operation\":\"%s\",\"count\":%d,\"bytes\":%d,\"errors\":0}", name, books[i].operation,
            books[i].count, books[i].count * books[i].bytes);
}

int main(int argc, char **argv) {
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    int files[] = {open("plain", O_CREAT | O_RDWR, 0600), open("registered", O_CREAT | O_RDWR, 0600),
                   open("sealed", O_CREAT | O_RDONLY, 0600)};
    check(files[0] >= 0 && files[1] >= 0 && files[2] >= 0, "open");
    int failed = ring_open();
    say_ready();
    if (!wait_for("go"))
        return 0;
    if (failed) {
        say("{\"file\":\"\",\"operation\":\"errno\",\"count\":%d,\"bytes\":0,\"errors\":0}", failed);
    } else {
        check(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &files[1], 1) == 0, "register");
        check(close(files[1]) == 0, "close");
        of_file("plain", files[0], 0);
        of_file("registered", 0, IOSQE_FIXED_FILE);
        for (int i = 0; i < FAILED; i++)
            finishes(IORING_OP_WRITE, files[2], 0, STEP, -EBADF);
        say("{\"file\":\"sealed\",\"operation\":\"write\",\"count\":%d,\"bytes\":0,\"errors\":%d}", FAILED, FAILED);
    }
    say("DONE");
    hear_line();
    return 0;
}
