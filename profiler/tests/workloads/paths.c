/* paths DIRECTORY: calls that name files by paths, by other arguments than the first, by two descriptors, or by a registered ring, a known
 * number of each. At "go" it makes them; replaces itself by exec, which closes a file whose descriptor the new program gives to another
 * one; says DONE; and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "files.h"
#include "workload.h"

/* Paths from the root, from the working directory, and from another one. */
static void paths(const char *directory)
{
    struct stat about;
    char absolute[512];
    snprintf(absolute, sizeof absolute, "%s/absent", directory);
    int inner = open("inner", O_DIRECTORY);
    for (int i = 0; i < 3; i++)
        check(open(absolute, O_RDONLY) < 0, "open");
    for (int i = 0; i < 5; i++)
        check(syscall(SYS_access, "inner/../lost", F_OK) < 0, "access");
    for (int i = 0; i < 7; i++)
        check(unlinkat(inner, "deep/none", 0) < 0, "unlinkat");
    for (int i = 0; i < 11; i++)
        check(fchmodat(AT_FDCWD, "nothing", 0600, 0) < 0, "fchmodat");
    /* Without a path, it is the file of the descriptor itself. */
    for (int i = 0; i < 13; i++)
        check(syscall(SYS_newfstatat, inner, "", &about, AT_EMPTY_PATH) == 0, "newfstatat");
    for (int i = 0; i < 17; i++)
        check(futimens(inner, NULL) == 0, "futimens");
    for (int i = 0; i < 19; i++)
        check(symlink("target", "inner/no/link") < 0, "symlink");
    for (int i = 0; i < 23; i++)
        check(rename("missing", "new") < 0, "rename");
    for (int i = 0; i < 29; i++)
        check(syscall(SYS_statfs, (char *)1, &about) < 0, "statfs");
    for (int i = 0; i < 31; i++)
        check(openat(999, "relative", O_RDONLY) < 0, "openat");
    char longest[4097];
    memset(longest, '/', sizeof longest - 1);
    longest[4096] = 0;
    check(syscall(SYS_access, longest, F_OK) < 0, "access");
    check(syscall(SYS_access, longest + 1, F_OK) == 0, "access");
    for (int i = 0; i < 5; i++)
        check(syscall(SYS_access, "", F_OK) < 0 && syscall(SYS_access, NULL, F_OK) < 0, "access");
    check(chdir("inner") == 0 && mkdir("made", 0700) == 0 && chdir("..") == 0, "chdir");
}

/* Calls with two files, and one whose file is its fifth argument. */
static void pairs(void)
{
    int map = open("map", O_RDWR | O_CREAT, 0600), copy = open("copy", O_RDWR | O_CREAT, 0600), ends[2];
    writes(map, 1);
    check(ftruncate(map, 4096) == 0 && pipe(ends) == 0, "pipe");
    for (int i = 0; i < 37; i++) {
        void *mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map, 0);
        check(mapped != MAP_FAILED && munmap(mapped, 4096) == 0, "mmap");
    }
    for (int i = 0; i < 41; i++)
        check(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
    /* Without a file, whatever the descriptor. */
    for (int i = 0; i < 7; i++)
        check(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, map, 0) != MAP_FAILED, "mmap");
    check(sendfile(copy, 999, NULL, 1) < 0, "sendfile");
    for (int i = 0; i < 43; i++) {
        loff_t from = 0, to = 0;
        off_t start = 0;
        check(copy_file_range(map, &from, copy, &to, 1, 0) == 1, "copy_file_range");
        check(sendfile(copy, map, &start, 1) == 1, "sendfile");
    }
    for (int i = 0; i < 47; i++) {
        loff_t from = 0;
        char byte;
        check(splice(map, &from, ends[1], NULL, 1, 0) == 1 && read(ends[0], &byte, 1) == 1, "splice");
    }
    int poll = epoll_create1(0), counter = eventfd(0, 0);
    struct epoll_event event = {.events = EPOLLIN};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, counter, &event) == 0, "epoll_ctl");
    for (int i = 0; i < 53; i++)
        check(epoll_ctl(poll, EPOLL_CTL_MOD, counter, &event) == 0, "epoll_ctl");
}

static int watching(int file)
{
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLPRI};
    check(poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, file, &event) == 0, "epoll_ctl");
    return poll;
}

static void poll_times(int poll, int count)
{
    struct epoll_event event;
    for (int i = 0; i < count; i++)
        check(epoll_pwait(poll, &event, 1, 2, NULL) == 0, "epoll_pwait");
}

/* A call that is too short for a look at what is watched; and one epoll that watches seven files, one that watches a file whose number another one has by now, and one that watches none. */
static void polls(void)
{
    int many = watching(eventfd(0, 0)), other = eventfd(0, 0), moved = watching(other);
    struct epoll_event event = {.events = EPOLLPRI};
    for (int i = 0; i < 6; i++)
        check(epoll_ctl(many, EPOLL_CTL_ADD, eventfd(0, 0), &event) == 0, "epoll_ctl");
    check(dup(other) >= 0 && close(other) == 0 && open("map", O_RDWR) == other, "dup");
    check(epoll_pwait(many, &event, 1, 0, NULL) == 0, "epoll_pwait");
    poll_times(many, 13);
    poll_times(moved, 11);
    poll_times(epoll_create1(0), 7);
    check(epoll_pwait(open("map", O_RDONLY), &event, 1, 0, NULL) < 0, "epoll_pwait");
}

/* A ring of io_uring that is known by its number in a table of the thread. Descriptor 0 is another file. */
static void ring(void)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
    struct io_uring_rsrc_update registered = {.offset = 0, .data = (unsigned)ring};
    check(ring >= 0, "io_uring_setup");
    check(syscall(SYS_io_uring_register, ring, IORING_REGISTER_RING_FDS, &registered, 1) == 1, "io_uring_register");
    for (int i = 0; i < 29; i++)
        check(syscall(SYS_io_uring_enter, 0, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0) == 0, "io_uring_enter");
    for (int i = 0; i < 31; i++)
        check(syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0) == 0, "io_uring_enter");
}

int main(int count, char **arguments)
{
    if (count == 3) {
        int file = open("after", O_RDWR | O_CREAT, 0600);
        check(file == atoi(arguments[2]), "the number");
        writes(file, 67);
        say("DONE");
        hear_line();
        return 0;
    }
    check(count == 2 && chdir(arguments[1]) == 0 && mkdir("inner", 0700) == 0, "chdir");
    say_ready();
    hear_line();
    int closes = open("before", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    writes(closes, 71);
    check(dup2(closes, 3) >= 0 && fcntl(3, F_SETFD, FD_CLOEXEC) == 0, "dup2");
    paths(arguments[1]);
    pairs();
    polls();
    ring();
    char number[] = "3";
    for (int i = 3; i < 64; i++)
        fcntl(i, F_SETFD, FD_CLOEXEC);
    execl("/proc/self/exe", "paths", arguments[1], number, NULL);
    return 2;
}
