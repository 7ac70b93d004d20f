/* Pointless work in system calls, one kind at a time, and its healthy twin.
 *
 *     pointless KIND planted|healthy FILE
 *
 * At "go" it works for 1.5 s, says DONE, and waits for "quit". FILE is written to by the kind `syncs`, so much
 * at a time that it takes a while to reach the disk. The last kinds are only healthy: they look as if they were pointless. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LENGTH_MS = 1500, TURN = 200, LARGE = 1 << 20, MOST_WRITES = 1024, SAVE_EVERY = 10, SYNC_MS = 30 };

static int planted;
static const char *file;
static int socket_fd;

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void rest(long us)
{
    struct timespec time = {0, us * 1000};
    nanosleep(&time, NULL);
}

static void spin(void)
{
    static int epoll;
    struct epoll_event event;
    if (!epoll)
        check((epoll = epoll_create1(0)) > 0, "epoll_create1");
    epoll_wait(epoll, &event, 1, planted ? 0 : 1);
}

static void tiny(void)
{
    static int zero;
    static char buffer[4096];
    if (!zero)
        check((zero = open("/dev/zero", O_RDONLY)) > 0, "open");
    check(read(zero, buffer, planted ? 1 : sizeof buffer) > 0, "read");
    if (!planted)
        rest(100);
}

static void sends(void)
{
    static char byte[64];
    static struct iovec part = {byte, sizeof byte};
    static struct mmsghdr messages[TURN];
    for (int i = 0; i < TURN; i++) {
        messages[i].msg_hdr.msg_iov = &part;
        messages[i].msg_hdr.msg_iovlen = 1;
        if (planted)
            send(socket_fd, byte, sizeof byte, MSG_DONTWAIT);
    }
    if (!planted)
        sendmmsg(socket_fd, messages, TURN, MSG_DONTWAIT);
    rest(1000);
}

static void eagain(void)
{
    char byte;
    struct pollfd ready = {socket_fd, POLLIN, 0};
    if (planted || poll(&ready, 1, 1) > 0)
        recv(socket_fd, &byte, 1, MSG_DONTWAIT);
}

static void clocks(void)
{
    struct timespec now;
    if (planted)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    else
        rest(1000);
}

static void futexes(void)
{
    static int word;
    struct timespec time = {0, 1000000};
    if (planted)
        syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
    else
        syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time, NULL, 0);
}

static void missing(void)
{
    int fd = open(planted ? "/nonexistent/map.cfg" : "/dev/null", O_RDONLY);
    if (fd >= 0)
        close(fd);
    rest(1000);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int writes = 32;
static long sync_ms;

static void *save(void *unused)
{
    static char large[LARGE];
    int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    check(fd >= 0, "open");
    for (int i = 0; i < writes; i++)
        check(write(fd, large, sizeof large) > 0, "write");
    long begun = now_ms();
    fdatasync(fd);
    sync_ms = now_ms() - begun;
    close(fd);
    return unused;
}

/* A sync of a fast disk is short if there is little to write. */
static void measure_syncs(void)
{
    for (;; writes *= 2) {
        check(writes <= MOST_WRITES, "a disk on which a sync takes a while");
        save(NULL);
        if (sync_ms >= SYNC_MS)
            return;
    }
}

static void syncs(void)
{
    static int turn;
    static pthread_t saver;
    rest(10000);
    if (++turn % SAVE_EVERY)
        return;
    if (planted) {
        save(NULL);
    } else if (!saver) {
        check(pthread_create(&saver, NULL, save, NULL) == 0, "pthread_create");
        pthread_detach(saver);
    }
}

/* Each poll finds several descriptors ready, and returns at once. */
static void ready(void)
{
    static struct pollfd fds[8];
    for (int i = 0; !fds[7].fd && i < 8; i++)
        fds[i] = (struct pollfd){open("/dev/zero", O_RDWR), POLLIN | POLLOUT, 0};
    check(poll(fds, 8, 0) == 8, "poll");
}

static int wake[2];

static void *waker(void *unused)
{
    for (;;) {
        rest(100);
        check(write(wake[1], "", 1) == 1, "write");
    }
    return unused;
}

/* A thread that is woken by a byte in a pipe, thousands of times a second. */
static void woken(void)
{
    static pthread_t thread;
    char byte;
    if (!thread) {
        check(pipe(wake) == 0, "pipe");
        check(pthread_create(&thread, NULL, waker, NULL) == 0, "pthread_create");
    }
    struct pollfd ready = {wake[0], POLLIN, 0};
    if (poll(&ready, 1, -1) > 0)
        check(read(wake[0], &byte, 1) == 1, "read");
}

/* The same, where the read itself waits. */
static void blocked(void)
{
    static pthread_t thread;
    char byte;
    if (!thread) {
        check(pipe(wake) == 0, "pipe");
        check(pthread_create(&thread, NULL, waker, NULL) == 0, "pthread_create");
    }
    check(read(wake[0], &byte, 1) == 1, "read");
}

/* Reads a clock that no vDSO has. */
static void cpu_clock(void)
{
    struct timespec now;
    for (int i = 0; i < 10; i++)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    rest(1000);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long items;

static void *worker(void *unused)
{
    pthread_mutex_lock(&mutex);
    for (;;) {
        while (!items)
            pthread_cond_wait(&changed, &mutex);
        items--;
    }
    return unused;
}

/* Items are handed to a thread one by one. */
static void handed_over(void)
{
    static pthread_t thread;
    if (!thread)
        check(pthread_create(&thread, NULL, worker, NULL) == 0, "pthread_create");
    pthread_mutex_lock(&mutex);
    items++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
    rest(50);
}

static const struct {
    const char *name;
    void (*work)(void);
} KINDS[] = {
    {"spin", spin},       {"tiny", tiny},       {"sends", sends},     {"eagain", eagain},
    {"clocks", clocks},   {"futexes", futexes}, {"missing", missing}, {"syncs", syncs},
    {"ready", ready},     {"woken", woken},     {"blocked", blocked}, {"cpu-clock", cpu_clock},
    {"handed-over", handed_over},
};

static void say(const char *words)
{
    check(write(1, words, strlen(words)) > 0, "write");
}

static void work(void (*kind)(void))
{
    long end = now_ms() + LENGTH_MS;
    /* The clock may be a system call here: not at every turn of a fast kind. */
    for (unsigned turn = 0;; turn++) {
        kind();
        if ((kind == syncs || kind == sends || kind == missing || !planted || turn % 4096 == 0) && now_ms() >= end)
            return;
    }
}

int main(int count, char **arguments)
{
    char line[16];
    check(count == 4, "usage: pointless KIND planted|healthy FILE");
    planted = strcmp(arguments[2], "planted") == 0;
    file = arguments[3];
    struct sockaddr_in own = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t size = sizeof own;
    socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
    int other = socket(AF_INET, SOCK_DGRAM, 0);
    check(bind(other, (struct sockaddr *)&own, sizeof own) == 0, "bind");
    check(getsockname(other, (struct sockaddr *)&own, &size) == 0, "getsockname");
    check(connect(socket_fd, (struct sockaddr *)&own, sizeof own) == 0, "connect");
    if (strcmp(arguments[1], "syncs") == 0 && planted)
        measure_syncs();
    say("READY\n");
    check(read(0, line, sizeof line) > 0, "read");
    for (unsigned i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, arguments[1]) == 0)
            work(KINDS[i].work);
    say("DONE\n");
    check(read(0, line, sizeof line) > 0, "read");
    return 0;
}
