/* datagrams: a socket without a peer, and peers at addresses of their own. Each of them sends a known number of datagrams, which the socket
 * receives in each way that there is, and answers in each way. At "go" it does so, prints what it has moved by address, says DONE, and waits
 * for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sys/socket.h>

#include "workload.h"

enum { PEERS = 5, BATCH = 8 };

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

static int bound(const char *address, struct sockaddr_in *at)
{
    int made = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t length = sizeof *at;
    memset(at, 0, sizeof *at);
    at->sin_family = AF_INET;
    inet_pton(AF_INET, address, &at->sin_addr);
    check(made >= 0 && bind(made, (struct sockaddr *)at, length) == 0, "bind");
    check(getsockname(made, (struct sockaddr *)at, &length) == 0, "getsockname");
    return made;
}

static uint64_t received[PEERS], received_bytes[PEERS], sent[PEERS], sent_bytes[PEERS];
static struct sockaddr_in addresses[PEERS], server_at;
static int peers[PEERS], server;
static char buffer[2048];

static int peer_of(const struct sockaddr_in *from)
{
    for (int i = 0; i < PEERS; i++)
        if (from->sin_addr.s_addr == addresses[i].sin_addr.s_addr)
            return i;
    check(0, "an address that is known");
    return 0;
}

static void add(uint64_t *messages, uint64_t *bytes, const struct sockaddr_in *at, size_t length)
{
    int peer = peer_of(at);
    messages[peer]++;
    bytes[peer] += length;
}

/* The other side sends; these are sends of sockets that are connected. */
static void arrives(int peer, size_t length)
{
    check(send(peers[peer], buffer, length, 0) == (ssize_t)length, "send");
}

static void one_by_one(int peer, size_t length)
{
    struct sockaddr_in from;
    socklen_t room = sizeof from;
    arrives(peer, length);
    ssize_t got = recvfrom(server, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &room);
    check(got == (ssize_t)length, "recvfrom");
    add(received, received_bytes, &from, (size_t)got);
    check(sendto(server, buffer, length + 1, 0, (struct sockaddr *)&from, room) == (ssize_t)length + 1, "sendto");
    add(sent, sent_bytes, &from, length + 1);
}

static void by_message(int peer, size_t length)
{
    struct sockaddr_in from;
    struct iovec part = {buffer, sizeof buffer};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    arrives(peer, length);
    ssize_t got = recvmsg(server, &message, 0);
    check(got == (ssize_t)length, "recvmsg");
    add(received, received_bytes, &from, (size_t)got);
    part.iov_len = length + 2;
    check(sendmsg(server, &message, 0) == (ssize_t)length + 2, "sendmsg");
    add(sent, sent_bytes, &from, length + 2);
}

static void several(size_t length)
{
    struct sockaddr_in from[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffer, sizeof buffer};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (int peer = 0; peer < PEERS; peer++)
        arrives(peer, length + (size_t)peer);
    int count = recvmmsg(server, messages, BATCH, MSG_WAITFORONE, NULL);
    check(count == PEERS, "recvmmsg");
    for (int i = 0; i < count; i++) {
        add(received, received_bytes, &from[i], messages[i].msg_len);
        parts[i].iov_len = length + 3;
    }
    check(sendmmsg(server, messages, (unsigned)count, 0) == count, "sendmmsg");
    for (int i = 0; i < count; i++)
        add(sent, sent_bytes, &from[i], length + 3);
}

int main(void)
{
    server = bound("127.0.0.1", &server_at);
    for (int i = 0; i < PEERS; i++) {
        char address[32];
        snprintf(address, sizeof address, "127.0.0.%d", 11 + i);
        peers[i] = bound(address, &addresses[i]);
        check(connect(peers[i], (struct sockaddr *)&server_at, sizeof server_at) == 0, "connect");
    }
    say_ready();
    if (!wait_for("go"))
        return 0;
    static const int rounds[PEERS] = {2, 3, 5, 7, 11};
    for (int peer = 0; peer < PEERS; peer++)
        for (int i = 0; i < rounds[peer]; i++) {
            one_by_one(peer, 13);
            by_message(peer, 17);
        }
    for (int i = 0; i < 3; i++)
        several(19);
    /* The address of this one is not asked for. */
    arrives(0, 23);
    check(recv(server, buffer, sizeof buffer, 0) == 23, "recv");
    char text[900];
    int at = 0;
    for (int i = 0; i < PEERS; i++)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "%s{\"peer\":\"127.0.0.%d\",\"received\":%lu,\"received_bytes\":%lu,\"sent\":%lu,\"sent_bytes\":%lu,"
                       "\"ports\":1}",
                       i ? "," : "", 11 + i, received[i], received_bytes[i], sent[i], sent_bytes[i]);
    say("{\"peers\":[%s]}", text);
    say("DONE");
    hear_line();
    return 0;
}
