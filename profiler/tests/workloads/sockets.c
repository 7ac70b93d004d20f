/* sockets DIRECTORY [--race]: operations on sockets of every kind, a known number of each. At "go" it makes them, prints what it has done by
 * service, says DONE, and waits for another line.
 *
 * Both ends of each connection are in this process, so what one end sends the other receives. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "workload.h"

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

enum { ROUNDS = 7, CONNECTIONS = 3, THREADS = 8, MESSAGES_OF_THREAD = 101, SWAPS = 2003, SENDS_BETWEEN = 17 };

/* What was done to a service. */
struct service {
    char name[160];
    uint64_t operations, received, received_bytes, sent, sent_bytes, accepted, connected, peeks, not_ready, errors;
    uint64_t connections, open, answers;
};

static struct service services[32];
static int service_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2))) static struct service *service(const char *format, ...)
{
    char name[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (int i = 0; i < service_count; i++)
        if (strcmp(services[i].name, name) == 0)
            return &services[i];
    check(service_count < 32, "room for services");
    strcpy(services[service_count].name, name);
    return &services[service_count++];
}

/* Notes how a call ended. Returns whether it has done something. */
static int ended(struct service *of, ssize_t result)
{
    int error = errno, done = result >= 0;
    pthread_mutex_lock(&lock);
    of->operations++;
    if (!done && (error == EAGAIN || error == EINPROGRESS))
        of->not_ready++;
    else if (!done)
        of->errors++;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static void moved(uint64_t *messages, uint64_t *bytes, uint64_t count, uint64_t length)
{
    pthread_mutex_lock(&lock);
    *messages += count;
    *bytes += length;
    pthread_mutex_unlock(&lock);
}

/* A send or a receive of a stream moves something if it has bytes; of datagrams, always. */
static void sent(struct service *of, ssize_t result, int datagram)
{
    if (ended(of, result) && (result > 0 || datagram))
        moved(&of->sent, &of->sent_bytes, 1, (uint64_t)result);
}

static void received(struct service *of, ssize_t result, int datagram)
{
    if (ended(of, result) && (result > 0 || datagram))
        moved(&of->received, &of->received_bytes, 1, (uint64_t)result);
}

static void closes(struct service *of, int descriptor)
{
    ended(of, close(descriptor));
}

static struct sockaddr_storage address(int family, const char *text, int port, socklen_t *length)
{
    struct sockaddr_storage made = {0};
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&made;
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        inet_pton(AF_INET, text, &in->sin_addr);
        *length = sizeof *in;
    } else {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)&made;
        in->sin6_family = AF_INET6;
        in->sin6_port = htons((uint16_t)port);
        inet_pton(AF_INET6, text, &in->sin6_addr);
        *length = sizeof *in;
    }
    return made;
}

/* A socket that is bound to a port that the kernel has chosen for an earlier one: the program has chosen it. */
static int bound(int family, int kind, const char *text, int *port)
{
    socklen_t length;
    for (int attempt = 0; attempt < 20; attempt++) {
        struct sockaddr_storage at = address(family, text, 0, &length);
        int first = socket(family, kind, 0), second = socket(family, kind, 0), on = 1;
        check(first >= 0 && bind(first, (struct sockaddr *)&at, length) == 0, "bind");
        check(getsockname(first, (struct sockaddr *)&at, &length) == 0, "getsockname");
        *port = ntohs(((struct sockaddr_in *)&at)->sin_port);
        /* Not through the books: these calls come before "go". */
        close(first);
        setsockopt(second, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(second, (struct sockaddr *)&at, length) == 0)
            return second;
        close(second);
    }
    check(0, "a free port");
    return -1;
}

static int connects(struct service *to, int family, const char *text, int port, int flags)
{
    socklen_t length;
    struct sockaddr_storage at = address(family, text, port, &length);
    int made = socket(family, SOCK_STREAM | flags, 0);
    check(made >= 0, "socket");
    int result = connect(made, (struct sockaddr *)&at, length);
    if (ended(to, result) || errno == EINPROGRESS)
        to->connected++;
    else
        /* Whoever waits to accept would wait for ever. */
        check(errno == ECONNREFUSED, "connect");
    return made;
}

static int accepts(struct service *at, int listener)
{
    int made = accept(listener, NULL, NULL);
    if (ended(at, made))
        at->accepted++, at->connections++;
    return made;
}

static char buffer[4096];

/* A client asks and the server answers. */
static void rounds(struct service *to, int client, struct service *at, int server)
{
    for (int i = 0; i < ROUNDS; i++) {
        sent(to, write(client, buffer, 13), 0);
        received(at, read(server, buffer, sizeof buffer), 0);
        sent(at, send(server, buffer, 11, 0), 0);
        received(to, recv(client, buffer, sizeof buffer, 0), 0);
        at->answers++;
        to->answers++;
    }
}

static int listener4, listener6, datagrams, local_listener, local_datagrams, port4, port6, port_udp;
static char local_path[100], datagram_path[100];

static int local(int kind, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, path);
    int made = socket(AF_UNIX, kind, 0);
    check(made >= 0 && bind(made, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    return made;
}

static void of_ipv4(const char *directory)
{
    struct service *at = service("tcp :%d", port4), *to = service("tcp to 127.0.0.1:%d", port4);
    fcntl(listener4, F_SETFL, O_NONBLOCK);
    check(accepts(at, listener4) < 0, "nothing to accept");
    fcntl(listener4, F_SETFL, 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        int client = connects(to, AF_INET, "127.0.0.1", port4, 0);
        int server = accepts(at, listener4);
        check(server >= 0, "accept");
        to->connections++;
        rounds(to, client, at, server);
        received(at, recv(server, buffer, 5, MSG_DONTWAIT), 0);
        /* Looked at, and received later. */
        sent(to, write(client, buffer, 17), 0);
        ended(at, recv(server, buffer, 17, MSG_PEEK));
        at->peeks++;
        received(at, read(server, buffer, 17), 0);
        if (i == 0) {
            char path[300];
            snprintf(path, sizeof path, "%s/sent", directory);
            int file = open(path, O_RDWR | O_CREAT, 0600), between[2];
            check(file >= 0 && pwrite(file, buffer, 41, 0) == 41 && pipe(between) == 0, "a file");
            sent(to, sendfile(client, file, NULL, 41), 0);
            received(at, splice(server, NULL, between[1], NULL, 41, 0), 0);
            close(file), close(between[0]), close(between[1]);
        }
        ended(to, shutdown(client, SHUT_WR));
        /* The end of the stream is no message. */
        received(at, read(server, buffer, sizeof buffer), 0);
        closes(to, client);
        closes(at, server);
    }
    struct service *refused = service("tcp to 127.0.0.1:1");
    for (int i = 0; i < 5; i++) {
        int client = connects(refused, AF_INET, "127.0.0.1", 1, 0);
        closes(refused, client);
        refused->connections++;
    }
}

static void of_ipv6(void)
{
    struct service *at = service("tcp :%d", port6);
    static const struct {
        int family;
        const char *address, *shown;
        int flags;
    } ways[] = {{AF_INET6, "::1", "[::1]", 0},
                {AF_INET, "127.0.0.1", "127.0.0.1", 0},
                {AF_INET6, "::ffff:127.0.0.1", "127.0.0.1", SOCK_NONBLOCK}};
    for (int i = 0; i < 3; i++) {
        struct service *to = service("tcp to %s:%d", ways[i].shown, port6);
        int client = connects(to, ways[i].family, ways[i].address, port6, ways[i].flags);
        int server = accepts(at, listener6);
        check(client >= 0 && server >= 0, "accept");
        fcntl(client, F_SETFL, 0);
        to->connections++;
        rounds(to, client, at, server);
        to->open++, at->open++;
    }
}

static void of_datagrams(void)
{
    struct service *at = service("udp :%d", port_udp), *to = service("udp to 127.0.0.1:%d", port_udp);
    struct service *loose = service("udp, ports that the kernel chose");
    socklen_t length;
    struct sockaddr_storage server = address(AF_INET, "127.0.0.1", port_udp, &length), peer;
    int client = socket(AF_INET, SOCK_DGRAM, 0), connected = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = 0; i < 11; i++) {
        sent(loose, sendto(client, buffer, i % 5 == 0 ? 0 : 17, 0, (struct sockaddr *)&server, length), 1);
        socklen_t room = sizeof peer;
        received(at, recvfrom(datagrams, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &room), 1);
    }
    if (ended(to, connect(connected, (struct sockaddr *)&server, length)))
        to->connected++;
    struct mmsghdr messages[8];
    struct iovec parts[8];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 8; i++) {
        parts[i] = (struct iovec){buffer, (size_t)(20 + i)};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (int i = 0; i < 3; i++) {
        int count = sendmmsg(connected, messages, 7, 0);
        check(count == 7, "sendmmsg");
        if (ended(to, count))
            moved(&to->sent, &to->sent_bytes, 7, 20 * 7 + 21);
        count = recvmmsg(datagrams, messages, 8, MSG_DONTWAIT, NULL);
        check(count == 7, "recvmmsg");
        if (ended(at, count))
            moved(&at->received, &at->received_bytes, 7, 20 * 7 + 21);
    }
    ended(at, recvmmsg(datagrams, messages, 8, MSG_DONTWAIT, NULL));
    sent(to, send(connected, buffer, 19, 0), 1);
    socklen_t room = sizeof peer;
    received(at, recvfrom(datagrams, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &room), 1);
    sent(at, sendto(datagrams, buffer, 23, 0, (struct sockaddr *)&peer, room), 1);
    received(to, recv(connected, buffer, sizeof buffer, 0), 1);
    closes(loose, client);
    closes(to, connected);
    to->connections = 1, loose->connections = 1, at->connections = 1, at->open = 1;
}

static void of_unix(void)
{
    struct service *at = service("unix %s", local_path), *to = service("unix to %s", local_path);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, local_path);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    if (ended(to, connect(client, (struct sockaddr *)&name, sizeof name)))
        to->connected++;
    int server = accepts(at, local_listener);
    check(server >= 0, "accept");
    to->connections++;
    struct iovec parts[2] = {{buffer, 14}, {buffer, 17}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    for (int i = 0; i < 13; i++) {
        sent(to, writev(client, parts, 2), 0);
        received(at, readv(server, parts, 2), 0);
        sent(at, sendmsg(server, &message, 0), 0);
        received(to, recvmsg(client, &message, 0), 0);
        at->answers++, to->answers++;
    }
    to->open++, at->open++;

    struct service *bound_at = service("unix datagrams %s", datagram_path);
    struct service *unnamed = service("unix datagrams without a name");
    strcpy(name.sun_path, datagram_path);
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 0; i < 17; i++) {
        sent(unnamed, sendto(sender, buffer, 3, 0, (struct sockaddr *)&name, sizeof name), 1);
        received(bound_at, read(local_datagrams, buffer, sizeof buffer), 1);
    }
    bound_at->connections = 1, bound_at->open = 1, unnamed->connections = 1;
    closes(unnamed, sender);

    struct service *packets = service("unix packets without a name"), *pair = service("unix without a name");
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0, "socketpair");
    for (int i = 0; i < 19; i++) {
        sent(packets, write(ends[0], buffer, 5), 0);
        received(packets, read(ends[1], buffer, sizeof buffer), 0);
    }
    packets->connections += 2, packets->open += 2;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    for (int i = 0; i < 23; i++) {
        sent(pair, write(ends[0], buffer, 7), 0);
        received(pair, read(ends[1], buffer, sizeof buffer), 0);
    }
    /* A child is another process, and not observed. */
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 47; i++)
            if (write(ends[0], buffer, 1) != 1)
                _exit(1);
        _exit(0);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0, "the child");
    received(pair, read(ends[1], buffer, sizeof buffer), 0);
    pair->connections += 2, pair->open += 2;

    /* A descriptor that is passed leads to the same socket. */
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec byte = {buffer, 1};
    struct msghdr passing = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &client, sizeof client);
    sent(pair, sendmsg(ends[0], &passing, 0), 0);
    received(pair, recvmsg(ends[1], &passing, 0), 0);
    int passed;
    memcpy(&passed, CMSG_DATA(&control.head), sizeof passed);
    for (int i = 0; i < 53; i++) {
        sent(to, write(passed, buffer, 2), 0);
        received(at, read(server, buffer, sizeof buffer), 0);
    }
}

static void *threads_pair(void *unused)
{
    struct service *pair = service("unix without a name");
    int ends[2];
    char byte;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    for (int i = 0; i < MESSAGES_OF_THREAD; i++) {
        sent(pair, write(ends[0], "x", 1), 0);
        received(pair, read(ends[1], &byte, 1), 0);
    }
    closes(pair, ends[0]);
    closes(pair, ends[1]);
    pthread_mutex_lock(&lock);
    pair->connections += 2;
    pthread_mutex_unlock(&lock);
    return unused;
}

/* One thread sends on a descriptor that another one gives to different sockets. What has arrived at each is known. */
static int swapped, one[2], other[2];
static _Atomic int is_done;
static _Atomic unsigned long changes;

static void *swaps(void *unused)
{
    for (int to_other = 0; !is_done; to_other = !to_other, changes++)
        check(dup2(to_other ? other[0] : one[0], swapped) == swapped, "dup2");
    return unused;
}

static void drain(int end, uint64_t *arrived)
{
    ssize_t got;
    while ((got = recv(end, buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        *arrived += (uint64_t)got;
}

static void race(uint64_t arrived[2])
{
    pthread_t thread;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0, "socketpair");
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, other) == 0, "socketpair");
    swapped = dup(one[0]);
    check(pthread_create(&thread, NULL, swaps, NULL) == 0, "a thread");
    for (int i = 0; i < SWAPS; i++) {
        /* On a busy machine all sends fit into one turn of this thread. */
        for (unsigned long before = changes; i % SENDS_BETWEEN == 0 && changes == before;)
            sched_yield();
        check(send(swapped, "x", 1, 0) == 1, "send");
        drain(one[1], &arrived[0]);
        drain(other[1], &arrived[1]);
    }
    is_done = 1;
    pthread_join(thread, NULL);
}

static void say_services(void)
{
    static char text[32768];
    int at = 0;
    for (int i = 0; i < service_count; i++) {
        struct service *of = &services[i];
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "%s{\"service\":\"%s\",\"operations\":%lu,\"received\":%lu,\"received_bytes\":%lu,\"sent\":%lu,"
                       "\"sent_bytes\":%lu,\"accepted\":%lu,\"connected\":%lu,\"peeks\":%lu,\"not_ready\":%lu,\"errors\":%lu,"
                       "\"connections\":%lu,\"open\":%lu,\"answers\":%lu}",
                       i ? "," : "", of->name, of->operations, of->received, of->received_bytes, of->sent, of->sent_bytes,
                       of->accepted, of->connected, of->peeks, of->not_ready, of->errors, of->connections, of->open,
                       of->answers);
    }
    say_bytes("{\"services\":[", 13);
    say_bytes(text, (size_t)at);
    say_bytes("]}\n", 3);
}

int main(int argc, char **argv)
{
    check(argc >= 2, "a directory");
    snprintf(local_path, sizeof local_path, "%s/stream", argv[1]);
    snprintf(datagram_path, sizeof datagram_path, "%s/datagrams", argv[1]);
    listener4 = bound(AF_INET, SOCK_STREAM, "127.0.0.1", &port4);
    listener6 = bound(AF_INET6, SOCK_STREAM, "::", &port6);
    datagrams = bound(AF_INET, SOCK_DGRAM, "127.0.0.1", &port_udp);
    local_listener = local(SOCK_STREAM, local_path);
    local_datagrams = local(SOCK_DGRAM, datagram_path);
    check(listen(listener4, 16) == 0 && listen(listener6, 16) == 0 && listen(local_listener, 16) == 0, "listen");
    say_ready();
    if (!wait_for("go"))
        return 0;
    if (flag(argc, argv, "--race")) {
        uint64_t arrived[2] = {0, 0};
        race(arrived);
        say("{\"sends\":%d,\"arrived\":[%lu,%lu]}", SWAPS, arrived[0], arrived[1]);
    } else {
        of_ipv4(argv[1]);
        of_ipv6();
        of_datagrams();
        of_unix();
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            check(pthread_create(&threads[i], NULL, threads_pair, NULL) == 0, "a thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        say_services();
    }
    say("DONE");
    hear_line();
    return 0;
}
