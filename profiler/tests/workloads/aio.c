/* aio DIRECTORY: requests of libaio on files, a known number of each, by its system calls. At "go" it makes them, prints its books as lines
 * {"file":F,"operation":O,"count":N,"bytes":B,"errors":E}, and with "file":"" how many requests ended in other ways; says DONE, and waits for
 * another line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "files.h"
#include "workload.h"

enum { ROOM = 64, BYTES = 4099, BATCH = 13 };

static aio_context_t context;
static char blocks[ROOM][BYTES];
static struct iocb requests[ROOM];
static struct iovec parts[ROOM][2];
static unsigned long submitted, counted, other, refused, unseen;

/* Of one operation on one file. */
struct entry {
    const char *file, *operation;
    unsigned long count, bytes, errors;
} books[32];

static void did(const char *file, const char *operation, long result)
{
    struct entry *of = books;
    while (of->file && (strcmp(of->file, file) || strcmp(of->operation, operation)))
        of++;
    of->file = file;
    of->operation = operation;
    of->count++;
    int moves = !strcmp(operation, "read") || !strcmp(operation, "write");
    of->bytes += moves && result > 0 ? result : 0;
    of->errors += result < 0;
}

static void ask(int place, int file, int operation, long at)
{
    int moves = operation != IOCB_CMD_FSYNC && operation != IOCB_CMD_FDSYNC;
    requests[place] = (struct iocb){
        .aio_lio_opcode = operation, .aio_fildes = file, .aio_offset = moves ? at : 0, .aio_data = place};
    if (operation == IOCB_CMD_PREAD || operation == IOCB_CMD_PWRITE) {
        requests[place].aio_buf = (uintptr_t)blocks[place];
        requests[place].aio_nbytes = BYTES;
    } else if (operation == IOCB_CMD_PREADV || operation == IOCB_CMD_PWRITEV) {
        parts[place][0] = (struct iovec){blocks[place], 1009};
        parts[place][1] = (struct iovec){blocks[place] + 1009, 13};
        requests[place].aio_buf = (uintptr_t)parts[place];
        requests[place].aio_nbytes = 2;
    }
}

static long submit(int count)
{
    struct iocb *list[ROOM];
    for (int i = 0; i < count; i++)
        list[i] = &requests[i];
    submitted += count;
    return syscall(SYS_io_submit, context, (long)count, list);
}

/* Fetches results; `file` is NULL if they are of no file. */
static void fetch(int count, const char *file, const char *operation)
{
    struct io_event events[ROOM];
    for (int got = 0; got < count;) {
        long more = syscall(SYS_io_getevents, context, 1L, (long)(count - got), events, NULL);
        check(more > 0, "io_getevents");
        for (long i = 0; i < more; i++) {
            if (file) {
                did(file, operation, (long)events[i].res);
                counted++;
            } else
                other++;
        }
        got += more;
    }
}

/* As many requests of one kind, in batches. */
static void run(const char *name, int file, const char *operation, int opcode, int all)
{
    for (int begun = 0; begun < all; begun += BATCH) {
        int count = all - begun < BATCH ? all - begun : BATCH;
        for (int i = 0; i < count; i++)
            ask(i, file, opcode, (long)BYTES * (begun + i));
        check(submit(count) == count, "io_submit");
        fetch(count, name, operation);
    }
}

static void *fetch_all(void *count)
{
    fetch(*(int *)count, "data", "write");
    return NULL;
}

/* One thread submits what another fetches. */
static void two_threads(int file)
{
    int count = 47;
    pthread_t thread;
    check(pthread_create(&thread, NULL, fetch_all, &count) == 0, "pthread_create");
    for (int i = 0; i < count; i++)
        ask(i, file, IOCB_CMD_PWRITE, (long)BYTES * i);
    check(submit(count) == count, "io_submit");
    pthread_join(thread, NULL);
}

/* Takes a result without a call (struct aio_ring, fs/aio.c). */
static void take(void)
{
    unsigned *ring = (unsigned *)context;
    unsigned size = ring[1], head = ring[2];
    while (head == __atomic_load_n(&ring[3], __ATOMIC_ACQUIRE))
        ;
    __atomic_store_n(&ring[2], (head + 1) % size, __ATOMIC_RELEASE);
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    int file = open("data", O_RDWR | O_CREAT, 0600), ends[2];
    int read_only = open("data", O_RDONLY);
    check(file >= 0 && read_only >= 0 && pipe(ends) == 0, "open");
    int error = syscall(SYS_io_setup, (long)ROOM, &context) ? errno : 0;
    say_ready();
    if (!wait_for("go"))
        return 0;
    if (!error) {
        run("data", file, "write", IOCB_CMD_PWRITE, 101);
        run("data", file, "read", IOCB_CMD_PREAD, 53);
        run("data", file, "write", IOCB_CMD_PWRITEV, 7);
        run("data", file, "read", IOCB_CMD_PREADV, 11);
        run("data", file, "fsync", IOCB_CMD_FSYNC, 5);
        run("data", file, "fdatasync", IOCB_CMD_FDSYNC, 3);
        /* It fails when it is made: nothing can be read to there. */
        ask(0, file, IOCB_CMD_PREAD, 0);
        requests[0].aio_buf = 4096;
        check(submit(1) == 1, "io_submit");
        fetch(1, "data", "read");
        /* The kernel takes the first, and refuses the second. */
        ask(0, file, IOCB_CMD_PREAD, 0);
        ask(1, read_only, IOCB_CMD_PWRITE, 0);
        ask(2, file, IOCB_CMD_PREAD, 0);
        check(submit(3) == 1, "io_submit");
        refused += 2;
        fetch(1, "data", "read");
        /* Not of a file. */
        check(write(ends[1], blocks, 100) == 100, "write");
        ask(0, ends[0], IOCB_CMD_PREAD, 0);
        check(submit(1) == 1, "io_submit");
        fetch(1, NULL, NULL);
        two_threads(file);
        /* Requests whose results are taken without a call; each gives way to the next. */
        for (int i = 0; i < 3; i++) {
            ask(0, file, IOCB_CMD_PREAD, 0);
            check(submit(1) == 1, "io_submit");
            if (i < 2) {
                take();
                unseen++;
            }
        }
        fetch(1, "data", "read");
        /* Two whose results are never fetched. */
        ask(0, file, IOCB_CMD_PREAD, 0);
        ask(1, file, IOCB_CMD_PREAD, 0);
        check(submit(2) == 2, "io_submit");
    }
    for (struct entry *of = books; of->file; of++)
        say("{\"file\":\"%s\",\"operation\":\"%s\",\"count\":%lu,\"bytes\":%lu,\"errors\":%lu}", of->file, of->operation, of->count,
            of->bytes, of->errors);
    const struct { const char *name; unsigned long count; } ends_of[] = {
        {"hits", submitted}, {"counted", counted}, {"of_no_file", other}, {"refused", refused}, {"end_not_seen", unseen},
        {"under_way", error ? 0 : 2}, {"errno", error},
    };
    for (unsigned i = 0; i < sizeof ends_of / sizeof *ends_of; i++)
        say("{\"file\":\"\",\"operation\":\"%s\",\"count\":%lu,\"bytes\":0,\"errors\":0}", ends_of[i].name, ends_of[i].count);
    say("DONE");
    hear_line();
    return 0;
}
