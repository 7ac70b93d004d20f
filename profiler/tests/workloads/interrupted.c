/* interrupted: a thread receives on one end of a pair, and signals interrupt it. After one kind of signal the kernel begins the receive again,
 * after the other it ends. The handlers send a byte themselves. At "go" it makes a known number of both, says what it has done, by service, and
 * how long the receives took at least and at most, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "files.h"
#include "workload.h"

enum { RESTARTED = 13, INTERRUPTED = 7 };

static const struct timespec before = {.tv_nsec = 20000000};
static int ends[2], said[2];
static _Atomic int receiver, handled;
static uint64_t most_ns;

static void handle(int signal)
{
    (void)signal;
    check(send(said[0], "x", 1, 0) == 1, "send");
    handled++;
}

static void *receive(void *unused)
{
    char byte;
    receiver = (int)syscall(SYS_gettid);
    for (int received = 0, failed = 0; received < RESTARTED || failed < INTERRUPTED;) {
        uint64_t begun_ns = now_ns();
        ssize_t result = recv(ends[1], &byte, 1, 0);
        most_ns += now_ns() - begun_ns;
        check(result == 1 || errno == EINTR, "recv");
        received += result == 1;
        failed += result != 1;
    }
    return unused;
}

/* Waits until the receiver sleeps in its call. */
static void await_sleep(void)
{
    char path[64], state[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", receiver);
    do {
        int file = open(path, O_RDONLY);
        ssize_t got = read(file, state, sizeof state - 1);
        check(got > 0 && close(file) == 0, "syscall");
        state[got] = 0;
    } while (atoi(state) != SYS_recvfrom); /* or "running" */
}

/* Interrupts the receiver after a while. Returns how long it had waited at least. */
static uint64_t interrupt(pthread_t thread, int signal)
{
    await_sleep();
    uint64_t begun_ns = now_ns();
    int so_far = handled;
    nanosleep(&before, NULL);
    uint64_t waited_ns = now_ns() - begun_ns;
    check(pthread_kill(thread, signal) == 0, "pthread_kill");
    while (handled == so_far)
        ;
    return waited_ns;
}

int main(void)
{
    struct sigaction restarts = {.sa_handler = handle, .sa_flags = SA_RESTART}, ends_it = {.sa_handler = handle};
    check(sigaction(SIGUSR1, &restarts, NULL) == 0 && sigaction(SIGUSR2, &ends_it, NULL) == 0, "sigaction");
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, said) == 0, "socketpair");
    say_ready();
    if (!wait_for("go"))
        return 0;
    pthread_t thread;
    uint64_t least_ns = 0;
    check(pthread_create(&thread, NULL, receive, NULL) == 0, "pthread_create");
    while (receiver == 0)
        ;
    for (int i = 0; i < RESTARTED; i++) {
        least_ns += interrupt(thread, SIGUSR1);
        await_sleep();
        check(send(ends[0], "x", 1, 0) == 1, "send");
    }
    for (int i = 0; i < INTERRUPTED; i++)
        least_ns += interrupt(thread, SIGUSR2);
    check(pthread_join(thread, NULL) == 0, "pthread_join");
    const char *rest = "\"accepted\":0,\"connected\":0,\"peeks\":0,\"not_ready\":0,\"answers\":0";
    say("{\"least_ns\":%llu,\"most_ns\":%llu,\"interrupted\":%d,\"services\":["
        "{\"service\":\"unix without a name\",\"operations\":%d,\"received\":%d,\"received_bytes\":%d,\"sent\":%d,\"sent_bytes\":%d,"
        "\"errors\":%d,\"connections\":2,\"open\":2,%s},"
        "{\"service\":\"unix datagrams without a name\",\"operations\":%d,\"received\":0,\"received_bytes\":0,\"sent\":%d,"
        "\"sent_bytes\":%d,\"errors\":0,\"connections\":1,\"open\":1,%s}]}",
        (unsigned long long)least_ns, (unsigned long long)most_ns, INTERRUPTED, 2 * RESTARTED + INTERRUPTED, RESTARTED, RESTARTED,
        RESTARTED, RESTARTED, INTERRUPTED, rest, RESTARTED + INTERRUPTED, RESTARTED + INTERRUPTED, RESTARTED + INTERRUPTED, rest);
    say("DONE");
    hear_line();
    return 0;
}
