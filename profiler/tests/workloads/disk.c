/* disk DIRECTORY: operations on files, a known number of each. At "go" it makes them, prints its books as lines
 * {"file":F,"operation":O,"count":N,"bytes":B,"errors":E}, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "files.h"
#include "workload.h"

static char block[4099];

/* Of children, too: they share the books with their parent. */
struct entry {
    char file[64], operation[20];
    _Atomic unsigned long count, bytes, errors;
};
static struct entry *books;
static _Atomic int *entries;

static struct entry *book(const char *file, const char *operation)
{
    for (int i = 0; i < *entries; i++)
        if (strcmp(books[i].file, file) == 0 && strcmp(books[i].operation, operation) == 0)
            return &books[i];
    struct entry *new = &books[(*entries)++];
    snprintf(new->file, sizeof new->file, "%s", file);
    snprintf(new->operation, sizeof new->operation, "%s", operation);
    return new;
}

/* Notes an operation, and hands its result on. */
static long did(const char *file, const char *operation, long result)
{
    struct entry *of = book(file, operation);
    int moves = strcmp(operation, "read") == 0 || strcmp(operation, "write") == 0;
    of->count++;
    of->bytes += moves && result > 0 ? result : 0;
    of->errors += result < 0;
    return result;
}

static int opened(const char *file, int flags)
{
    int descriptor = did(file, "open", openat(AT_FDCWD, file, flags, 0600));
    check(descriptor >= 0, file);
    return descriptor;
}

static void world(void)
{
    int file = opened("world.db", O_RDWR | O_CREAT);
    struct iovec parts[2] = {{block, 1009}, {block, 13}};
    for (int i = 0; i < 101; i++)
        did("world.db", "write", pwrite(file, block, 4099, 4099L * i));
    for (int i = 0; i < 7; i++)
        did("world.db", "write", writev(file, parts, 2));
    did("world.db", "write", pwritev(file, parts, 2, 0));
    did("world.db", "write", pwritev2(file, parts, 2, 0, 0));
    for (int i = 0; i < 5; i++)
        did("world.db", "fsync", fsync(file));
    for (int i = 0; i < 3; i++)
        did("world.db", "fdatasync", fdatasync(file));
    did("world.db", "sync_file_range", sync_file_range(file, 0, 4096, SYNC_FILE_RANGE_WRITE));
    for (int i = 0; i < 53; i++)
        did("world.db", "read", pread(file, block, 4099, 4099L * i));
    did("world.db", "read", preadv(file, parts, 2, 0));
    did("world.db", "read", preadv2(file, parts, 2, 0, 0));
    lseek(file, 0, SEEK_SET);
    for (int i = 0; i < 11; i++)
        did("world.db", "read", read(file, block, 1));
    did("world.db", "read", readv(file, parts, 2));
    did("world.db", "truncate", ftruncate(file, 5000));
    did("world.db", "truncate", truncate("world.db", 6000));
    did("world.db", "fallocate", fallocate(file, 0, 0, 8192));
    did("world.db", "readahead", readahead(file, 0, 8192));
    did("world.db", "readahead", posix_fadvise(file, 0, 0, POSIX_FADV_WILLNEED));
    struct stat status;
    did("world.db", "stat", fstat(file, &status));
    /* A read where nothing is, and one that fails. */
    did("world.db", "read", pread(file, block, 10, 1 << 20));
    did("world.db", "read", pread(file, block, 10, -1));
    close(file);
}

static void paths(void)
{
    struct stat status;
    struct statx more;
    for (int i = 0; i < 17; i++)
        did("config", "stat", stat("config", &status));
    did("config", "stat", access("config", R_OK));
    did("config", "stat", statx(AT_FDCWD, "config", 0, STATX_SIZE, &more));
    for (int i = 0; i < 13; i++)
        did("missing", "open", open("missing", O_RDONLY));
    did("missing", "unlink", unlink("missing"));
    int directory = opened("sub", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 7; i++) {
        close(did("sub/inner", "open", openat(directory, "inner", O_CREAT | O_WRONLY, 0600)));
        did("sub/inner", "stat", fstatat(directory, "inner", &status, 0));
    }
    did("sub/inner", "unlink", unlinkat(directory, "inner", 0));
    did("sub", "stat", syscall(SYS_newfstatat, directory, "", &status, AT_EMPTY_PATH));
    did("sub", "fsync", fsync(directory));
    char entries[4096];
    while (did("sub", "list", syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
        ;
    close(directory);
    did("sub", "unlink", rmdir("sub"));
}

static void renamed(void)
{
    for (int i = 0; i < 5; i++) {
        int file = opened("world.tmp", O_WRONLY | O_CREAT | O_TRUNC);
        did("world.tmp", "write", write(file, block, 997));
        did("world.tmp", "fsync", fsync(file));
        did("world.tmp", "rename", rename("world.tmp", "saved.db"));
        did("saved.db", "write", write(file, block, 7));
        close(file);
    }
    int file = open("saved.db", O_WRONLY);
    did("saved.db", "open", file);
    did("saved.db", "unlink", unlink("saved.db"));
    for (int i = 0; i < 3; i++)
        did("saved.db (deleted)", "write", write(file, block, 5));
    close(file);
}

static void pairs(void)
{
    int from = opened("from", O_RDWR | O_CREAT), to = opened("to", O_RDWR | O_CREAT), ends[2];
    did("from", "write", write(from, block, 4099));
    off_t place = 0;
    long sent = sendfile(to, from, &place, 4001);
    did("from", "read", sent);
    did("to", "write", sent);
    place = 0;
    sent = copy_file_range(from, &place, to, NULL, 1009, 0);
    did("from", "read", sent);
    did("to", "write", sent);
    /* Only one of the two is a file. */
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && pipe(ends) == 0, "pipe");
    place = 0;
    did("from", "read", splice(from, &place, ends[1], NULL, 499, 0));
    check(read(ends[0], block, 499) == 499, "pipe");
    close(from);
    close(to);
}

static char *mapped(const char *name, int protection, int flags)
{
    int file = open(name, O_RDWR);
    char *memory = mmap(NULL, 3 * 4096, protection, flags, file, 4096);
    check(memory != MAP_FAILED, "mmap");
    close(file);
    return memory;
}

/* Calls that name addresses in mappings of files, whose descriptors are closed. */
static void maps(void)
{
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "second.map" : "first.map";
        int file = opened(name, O_RDWR | O_CREAT);
        did(name, "truncate", ftruncate(file, 4 * 4096));
        close(file);
    }
    char *first = mapped("first.map", PROT_READ | PROT_WRITE, MAP_SHARED);
    char *second = mapped("second.map", PROT_READ, MAP_PRIVATE);
    for (int i = 0; i < 2; i++)
        did(i ? "second.map" : "first.map", "open", 3); /* those of mapped() */
    for (int i = 0; i < 23; i++) {
        /* On filesystems with pages in the cache, the first touch is a major fault. */
        struct rusage before, after;
        check(getrusage(RUSAGE_SELF, &before) == 0, "getrusage");
        first[4096 * (i % 3)] = i;
        check(getrusage(RUSAGE_SELF, &after) == 0, "getrusage");
        for (long faults = after.ru_majflt - before.ru_majflt; faults > 0; faults--)
            did("first.map", "fault", 0);
        did("first.map", "msync", msync(first + 4096 * (i % 3), 4096, i % 2 ? MS_SYNC : MS_ASYNC));
    }
    for (int i = 0; i < 7; i++)
        did("second.map", "msync", msync(second, 3 * 4096, MS_SYNC));
    did("first.map", "msync", msync(first, 4096, MS_SYNC | MS_ASYNC)); /* which is refused */
    check(rename("first.map", "renamed.map") == 0, "rename");
    did("first.map", "rename", 0);
    did("renamed.map", "msync", msync(first + 4096, 4096, MS_SYNC));
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(msync(memory, 4096, MS_SYNC) == 0, "msync"); /* of no file */
    munmap(memory, 4096);
    did("nothing is mapped at the address that the call names", "msync", msync(memory, 4096, MS_SYNC));
    /* Another file takes the place of one. */
    int file = opened("second.map", O_RDWR);
    check(mmap(first, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == first, "mmap");
    did("second.map", "msync", msync(first, 4096, MS_SYNC));
    close(file);
}

static void *churn(void *name)
{
    /* Descriptors are closed and given out again while other threads use theirs. */
    for (int i = 0; i < 211; i++) {
        int file = open(name, O_WRONLY | O_CREAT, 0600);
        for (int j = 0; j < 3; j++)
            check(write(file, block, 11) == 11, "write");
        close(file);
    }
    return NULL;
}

static void threads(void)
{
    static char names[8][16];
    pthread_t of[8];
    for (int i = 0; i < 8; i++) {
        snprintf(names[i], sizeof names[i], "churn%d", i);
        check(pthread_create(&of[i], NULL, churn, names[i]) == 0, "pthread_create");
    }
    for (int i = 0; i < 8; i++)
        pthread_join(of[i], NULL);
    for (int i = 0; i < 8; i++) {
        book(names[i], "open")->count = 211;
        book(names[i], "write")->count = 3 * 211;
        book(names[i], "write")->bytes = 3 * 211 * 11;
    }
}

/* Another process writes to a descriptor that it was sent. */
static void passed(void)
{
    int ends[2], file = opened("passed", O_WRONLY | O_CREAT);
    check(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0, "socketpair");
    char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    pid_t child = fork();
    if (child == 0) {
        close(file);
        check(recvmsg(ends[1], &message, 0) == 1, "recvmsg");
        memcpy(&file, CMSG_DATA(head), sizeof(int));
        for (int i = 0; i < 19; i++)
            did("passed", "write", write(file, block, 3));
        _exit(0);
    }
    memcpy(CMSG_DATA(head), &file, sizeof(int));
    check(sendmsg(ends[0], &message, 0) == 1, "sendmsg");
    close(file);
    check(waitpid(child, NULL, 0) == child, "waitpid");
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0 && mkdir("sub", 0700) == 0, "directory");
    close(open("config", O_CREAT | O_WRONLY, 0600));
    books = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    say_ready();
    if (!wait_for("go"))
        return 0;
    world();
    paths();
    renamed();
    pairs();
    maps();
    threads();
    passed();
    for (int i = 0; i < *entries; i++)
        say("{\"file\":\"%s\",\"operation\":\"%s\",\"count\":%lu,\"bytes\":%lu,\"errors\":%lu}", books[i].file,
            books[i].operation, books[i].count, books[i].bytes, books[i].errors);
    say("DONE");
    hear_line();
    return 0;
}
