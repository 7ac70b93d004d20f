/* files DIRECTORY: calls with descriptors of every kind, a known number of each. At "go" it makes them, prints the ports of its
 * sockets as {"listener":P,"client":P,"datagrams":P}, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/vfs.h>

#include "files.h"
#include "workload.h"

static int internet(int kind)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int made = socket(AF_INET, kind, 0);
    check(made >= 0 && bind(made, (struct sockaddr *)&any, sizeof any) == 0, "bind");
    return made;
}

static struct sockaddr_in name_of(int socket)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    check(getsockname(socket, (struct sockaddr *)&name, &length) == 0, "getsockname");
    return name;
}

static int blocked[2];
static _Atomic int reader_tid;

static void *reader(void *unused)
{
    char byte;
    reader_tid = gettid();
    check(read(blocked[0], &byte, 1) == 1, "read");
    return unused;
}

/* Gives the descriptor of a call that is in progress to another file. */
static void swap(int other)
{
    pthread_t thread;
    struct timespec pause = {0, 20000000};
    check(pipe(blocked) == 0 && pthread_create(&thread, NULL, reader, NULL) == 0, "pipe");
    char path[64], text[64] = "";
    while (!reader_tid)
        nanosleep(&pause, NULL);
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", reader_tid);
    int file = open(path, O_RDONLY);
    /* In read, whose number is 0. */
    while (strncmp(text, "0 ", 2) != 0) {
        nanosleep(&pause, NULL);
        check(pread(file, text, sizeof text - 1, 0) > 0, "pread");
    }
    check(dup2(other, blocked[0]) == blocked[0] && write(blocked[1], "x", 1) == 1, "dup2");
    pthread_join(thread, NULL);
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* A read that a signal interrupts, and that the kernel restarts. */
static void restart(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval soon = {.it_value.tv_usec = 20000};
    struct timespec later = {0, 100000000};
    int ends[2];
    char byte;
    check(pipe(ends) == 0 && sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    int child = fork();
    if (child == 0) {
        nanosleep(&later, NULL);
        _exit(write(ends[1], "x", 1) != 1);
    }
    check(child > 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0, "setitimer");
    check(read(ends[0], &byte, 1) == 1 && waitpid(child, NULL, 0) == child, "read");
}

/* Files whose directory is renamed, whose filesystem is unmounted, and whose path is too long. */
static void move(void)
{
    char name[251];
    memset(name, 'n', 250);
    name[250] = 0;
    check(mkdir("old", 0700) == 0, "mkdir");
    int moved = open("old/file", O_RDWR | O_CREAT, 0600);
    writes(moved, 3);
    check(rename("old", "new") == 0, "rename");
    writes(moved, 5);
    check(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "unshare");
    check(mkdir("mount", 0700) == 0 && mount("none", "mount", "tmpfs", 0, NULL) == 0, "mount");
    int lost = open("mount/lost", O_RDWR | O_CREAT, 0600);
    writes(lost, 3);
    check(umount2("mount", MNT_DETACH) == 0, "umount2");
    writes(lost, 7);
    int directory = open(".", O_DIRECTORY);
    for (int i = 0; i < 17; i++) {
        check(mkdirat(directory, name, 0700) == 0, "mkdirat");
        directory = openat(directory, name, O_DIRECTORY);
    }
    writes(openat(directory, "long", O_RDWR | O_CREAT, 0600), 19);
}

/* Sockets that get a peer after they were seen without one, and one that gets none. */
static void connects(void)
{
    struct sockaddr_un path = {AF_UNIX, "socket"};
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    check(bind(server, (struct sockaddr *)&path, sizeof path) == 0 && listen(server, 1) == 0, "bind");
    check(connect(client, (struct sockaddr *)&path, sizeof path) == 0, "connect");
    for (int i = 0; i < 13; i++)
        check(send(client, "x", 1, 0) == 1, "send");
    check(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&nobody, sizeof nobody) < 0, "connect");
}

/* Passes a file through a socket. The receiver gets the number of another file that it has closed. */
static int passed(int file)
{
    int pair[2];
    char byte = 'x', room[CMSG_SPACE(sizeof file)] = "";
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof file), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &file, sizeof file);
    int other = open("other", O_RDWR | O_CREAT, 0600);
    writes(other, 2);
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    check(sendmsg(pair[0], &message, 0) == 1, "sendmsg");
    close(other);
    check(recvmsg(pair[1], &message, 0) == 1, "recvmsg");
    memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
    check(file == other, "the number");
    return file;
}

/* A process with the same table of files opens one and gives it a number of which the other process knows nothing yet. */
static int opener(void *number)
{
    int file = open("shared", O_RDWR | O_CREAT, 0600);
    check(dup2(file, *(int *)number) >= 0, "dup2");
    return 0;
}

static void share(int number)
{
    static char stack[1 << 16] __attribute__((aligned(16)));
    int child = clone(opener, stack + sizeof stack, CLONE_FILES | SIGCHLD, &number);
    check(child > 0 && waitpid(child, NULL, 0) == child, "clone");
    writes(number, 5);
    /* From here on, the table is our own: what the child closes stays open here. */
    child = fork();
    if (child == 0)
        _exit(close(number) != 0);
    check(child > 0 && waitpid(child, NULL, 0) == child, "fork");
    writes(number, 6);
}

/* Files without a name of their own. */
static void anonymous(void)
{
    sigset_t none;
    sigemptyset(&none);
    struct itimerspec never = {{0, 0}, {0, 0}};
    struct epoll_event event = {.events = EPOLLIN};
    int timer = timerfd_create(CLOCK_MONOTONIC, 0), signals = signalfd(-1, &none, SFD_NONBLOCK), poll = epoll_create1(0);
    char room[128];
    for (int i = 0; i < 43; i++)
        check(timerfd_settime(timer, 0, &never, NULL) == 0, "timerfd_settime");
    for (int i = 0; i < 47; i++)
        check(readv(signals, &(struct iovec){room, sizeof room}, 1) < 0, "readv");
    check(epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event) == 0, "epoll_ctl");
    for (int i = 0; i < 53; i++)
        check(epoll_wait(poll, &event, 1, 2) == 0, "epoll_wait");
}

/* A network namespace of its own, whose loopback is up: that of an emulated machine may not be. */
static void enter_namespace(void)
{
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    check(unshare(CLONE_NEWNET) == 0, "unshare");
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    check(ioctl(any, SIOCSIFFLAGS, &loopback) == 0, "SIOCSIFFLAGS");
    close(any);
}

int main(int count, char **arguments)
{
    check(count == 2 && chdir(arguments[1]) == 0, "chdir");
    enter_namespace();
    say_ready();
    hear_line();
    int world = open("world\n.db", O_RDWR | O_CREAT, 0600);
    writes(world, 7);
    int copy = dup(world);
    for (int i = 0; i < 3; i++)
        check(fdatasync(copy) == 0, "fdatasync");
    check(rename("world\n.db", "saved.db") == 0, "rename");
    writes(world, 2);
    check(unlink("saved.db") == 0, "unlink");
    writes(world, 5);
    for (int i = 0; i < 11; i++) {
        /* The same number each time. */
        int a = open("a", O_RDWR | O_CREAT, 0600);
        writes(a, 1);
        close(a);
        int b = open("b", O_RDWR | O_CREAT, 0600);
        check(a == b, "open");
        writes(b, 2);
        close(b);
    }
    writes(memfd_create("pool", 0), 13);
    int pipes[2], pair[2];
    check(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "pipe");
    for (int i = 0; i < 17; i++)
        check(splice(pipes[0], NULL, world, NULL, 1, SPLICE_F_NONBLOCK) < 0, "splice");
    for (int i = 0; i < 19; i++)
        check(send(pair[0], "x", 1, MSG_DONTWAIT) == 1, "send");
    uint64_t one = 1;
    int event = eventfd(0, 0);
    for (int i = 0; i < 23; i++)
        check(writev(event, &(struct iovec){&one, 8}, 1) == 8, "writev");
    int server = internet(SOCK_STREAM), client = internet(SOCK_STREAM), datagrams = internet(SOCK_DGRAM);
    struct sockaddr_in to = name_of(server);
    check(listen(server, 5) == 0 && connect(client, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    check(accept(server, NULL, NULL) >= 0, "accept");
    for (int i = 0; i < 29; i++)
        check(send(client, "x", 1, 0) == 1, "send");
    struct sockaddr_in own = name_of(datagrams);
    for (int i = 0; i < 31; i++)
        check(sendto(datagrams, "x", 1, 0, (struct sockaddr *)&own, sizeof own) == 1, "sendto");
    for (int i = 0; i < 37; i++)
        check(fsync(999) < 0, "fsync");
    /* The root of a mount. */
    int root = open("/proc", O_RDONLY | O_DIRECTORY);
    struct statfs about;
    for (int i = 0; i < 41; i++)
        check(fstatfs(root, &about) == 0, "fstatfs");
    swap(world);
    restart();
    writes(passed(open("passed", O_RDWR | O_CREAT, 0600)), 3);
    share(500);
    anonymous();
    move();
    connects();
    say("{\"listener\":%d,\"client\":%d,\"datagrams\":%d}", ntohs(to.sin_port), ntohs(name_of(client).sin_port),
        ntohs(own.sin_port));
    say("DONE");
    hear_line();
    return 0;
}
