/* edges: what sockets do rarely. At "go" it receives very many datagrams in one call, reads what became of datagrams that nobody took, accepts
 * connections that were reset before, and connects to nobody without waiting. It prints its books, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sys/socket.h>

#include "files.h"
#include "workload.h"

enum { DATAGRAMS = 1511, BYTES = 3, REFUSED = 37, RESETS = 11, NOBODY = 13, SERVER_PORT = 47, SERVERS = 2 };

static struct sockaddr_in at = {.sin_family = AF_INET};

static int bound(int kind)
{
    socklen_t length = sizeof at;
    int socket_of_kind = socket(AF_INET, kind, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = 0;
    check(bind(socket_of_kind, (struct sockaddr *)&at, length) == 0, "bind");
    check(getsockname(socket_of_kind, (struct sockaddr *)&at, &length) == 0, "getsockname");
    return socket_of_kind;
}

static int receive_many(void)
{
    static char data[DATAGRAMS][BYTES];
    static struct iovec parts[DATAGRAMS];
    static struct mmsghdr messages[DATAGRAMS];
    int to = bound(SOCK_DGRAM), size = 8 << 20;
    check(setsockopt(to, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0, "room");
    int from = socket(AF_INET, SOCK_DGRAM, 0);
    check(connect(from, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    for (int i = 0; i < DATAGRAMS; i++) {
        check(send(from, "abc", BYTES, 0) == BYTES, "send");
        parts[i] = (struct iovec){data[i], BYTES};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    check(recvmmsg(to, messages, DATAGRAMS, 0, NULL) == DATAGRAMS, "recvmmsg");
    return ntohs(at.sin_port);
}

static void read_what_became_of_them(void)
{
    int on = 1, closed = bound(SOCK_DGRAM), from = socket(AF_INET, SOCK_DGRAM, 0);
    check(close(closed) == 0, "close");
    check(setsockopt(from, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0, "IP_RECVERR");
    for (int i = 0; i < REFUSED; i++) {
        char data[64], more[256];
        struct iovec part = {data, sizeof data};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = more, .msg_controllen = sizeof more};
        check(sendto(from, "abcde", 5, 0, (struct sockaddr *)&at, sizeof at) == 5, "sendto");
        check(recvmsg(from, &message, MSG_ERRQUEUE) == 5, "MSG_ERRQUEUE");
    }
}

static int accept_what_is_gone(void)
{
    struct linger now = {.l_onoff = 1};
    int listener = bound(SOCK_STREAM);
    check(listen(listener, RESETS) == 0, "listen");
    for (int i = 0; i < RESETS; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(client, (struct sockaddr *)&at, sizeof at) == 0, "connect");
        check(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0 && close(client) == 0, "reset");
        int server = accept(listener, NULL, NULL);
        check(server >= 0 && close(server) == 0, "accept");
    }
    return ntohs(at.sin_port);
}

/* A socket goes on to another server. */
static void send_to_each(void)
{
    int from = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(SERVER_PORT)};
    for (uint32_t last = 2; last < 2 + SERVERS; last++) {
        server.sin_addr.s_addr = htonl((127u << 24) + last);
        int to = socket(AF_INET, SOCK_DGRAM, 0);
        check(bind(to, (struct sockaddr *)&server, sizeof server) == 0, "bind");
        check(connect(from, (struct sockaddr *)&server, sizeof server) == 0, "connect");
        for (uint32_t i = 0; i < last; i++)
            check(send(from, "ab", 2, 0) == 2, "send");
    }
}

static int ask_nobody(void)
{
    int listener = bound(SOCK_STREAM);
    check(close(listener) == 0, "close");
    for (int i = 0; i < NOBODY; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        check(connect(client, (struct sockaddr *)&at, sizeof at) < 0 && close(client) == 0, "nobody");
    }
    return ntohs(at.sin_port);
}

/* Connects to a port from one on which this process has waited for connections before. Says which these are. */
static void connect_from_served_port(int *served, int *called)
{
    struct sockaddr_in from;
    int on = 1, earlier = bound(SOCK_STREAM), client = socket(AF_INET, SOCK_STREAM, 0);
    from = at;
    check(listen(earlier, 1) == 0 && close(earlier) == 0, "listen");
    int server = bound(SOCK_STREAM);
    check(listen(server, 1) == 0, "listen");
    check(setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "SO_REUSEADDR");
    check(bind(client, (struct sockaddr *)&from, sizeof from) == 0, "bind");
    check(connect(client, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    check(connect(client, (struct sockaddr *)&at, sizeof at) < 0 && send(client, "ab", 2, 0) == 2, "send");
    *served = ntohs(from.sin_port);
    *called = ntohs(at.sin_port);
}

int main(void)
{
    say_ready();
    if (!wait_for("go"))
        return 0;
    int datagrams = receive_many();
    read_what_became_of_them();
    int gone = accept_what_is_gone();
    send_to_each();
    int served, called;
    connect_from_served_port(&served, &called);
    say("{\"served_port\":%d,\"called_port\":%d,\"nobody_port\":%d,\"nobody\":%d,\"datagrams_port\":%d,\"datagrams\":%d,\"bytes\":%d,\"refused\":%d,\"gone_port\":%d,\"resets\":%d}", served, called, ask_nobody(), NOBODY, datagrams,
        DATAGRAMS, DATAGRAMS * BYTES, REFUSED, gone, RESETS);
    say("DONE");
    hear_line();
    return 0;
}
