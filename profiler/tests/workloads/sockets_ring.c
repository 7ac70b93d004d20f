// Operations on sockets through a ring of io_uring, a known number of each. Every third one is made by a worker of the kernel, and some
// are submitted before there is anything to receive. At "go" it makes them and says what it has done by service, or the error number if
// the kernel gives it no ring.
#include "ring.h"

#include <arpa/inet.h>
#include <sys/socket.h>

enum { SENDS = 31, WRITES = 13, MESSAGES = 11, EARLY = 17, NOT_READY = 5, DATAGRAMS = 19, CLOSED = 3, PEEKS = 9 };
enum { SEND_BYTES = 5, WRITE_BYTES = 7, MESSAGE_BYTES = 3, EARLY_BYTES = 2, DATAGRAM_BYTES = 23, PEEK_BYTES = 4 };

static char buffer[64];
static struct iovec part = {buffer, MESSAGE_BYTES};
static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

// Of a message: its bytes are those of `message`.
static struct io_uring_sqe entry(int operation, int file, unsigned bytes) {
    static unsigned count;
    int is_message = operation == IORING_OP_SENDMSG || operation == IORING_OP_RECVMSG;
    return (struct io_uring_sqe){
        .opcode = (unsigned char)operation,
        .fd = file,
        .addr = is_message ? (uintptr_t)&message : (uintptr_t)buffer,
        .len = is_message ? 1 : bytes,
        .flags = ++count % 3 == 0 ? IOSQE_ASYNC : 0,
    };
}

static void finishes(struct io_uring_sqe of, int result) {
    ring_submit(of, 1);
    int found = ring_take();
    if (found != result) {
        fprintf(stderr, "operation %d ended with %d, not %d\n", of.opcode, found, result);
        _exit(1);
    }
}

static void both(int sends, int from, int receives, int to, int times, int bytes) {
    for (int i = 0; i < times; i++) {
        finishes(entry(sends, from, (unsigned)bytes), bytes);
        finishes(entry(receives, to, (unsigned)bytes), bytes);
    }
}

static void of_pair(void) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    both(IORING_OP_SEND, ends[0], IORING_OP_RECV, ends[1], SENDS, SEND_BYTES);
    both(IORING_OP_WRITE, ends[1], IORING_OP_READ, ends[0], WRITES, WRITE_BYTES);
    both(IORING_OP_SENDMSG, ends[0], IORING_OP_RECVMSG, ends[1], MESSAGES, MESSAGE_BYTES);
    for (int i = 0; i < EARLY; i++) {
        ring_submit(entry(IORING_OP_RECV, ends[1], EARLY_BYTES), 0);
        ring_submit(entry(IORING_OP_SEND, ends[0], EARLY_BYTES), 2);
        check(ring_take() == EARLY_BYTES && ring_take() == EARLY_BYTES, "an early receive");
    }
    for (int i = 0; i < NOT_READY; i++) {
        struct io_uring_sqe now = entry(IORING_OP_RECV, ends[1], 1);
        now.msg_flags = MSG_DONTWAIT;
        finishes(now, -EAGAIN);
    }
    // What is only looked at is received later.
    finishes(entry(IORING_OP_SEND, ends[0], PEEK_BYTES), PEEK_BYTES);
    for (int i = 0; i < PEEKS; i++) {
        int is_message = i % 2;
        struct io_uring_sqe look = entry(is_message ? IORING_OP_RECVMSG : IORING_OP_RECV, ends[1], PEEK_BYTES);
        look.msg_flags = MSG_PEEK;
        finishes(look, is_message ? MESSAGE_BYTES : PEEK_BYTES);
    }
    finishes(entry(IORING_OP_RECV, ends[1], PEEK_BYTES), PEEK_BYTES);
    // What nobody can receive any more is an error, and no signal.
    check(shutdown(ends[1], SHUT_RD) == 0, "shutdown");
    for (int i = 0; i < CLOSED; i++) {
        struct io_uring_sqe late = entry(IORING_OP_SEND, ends[0], 1);
        late.msg_flags = MSG_NOSIGNAL;
        finishes(late, -EPIPE);
    }
}

static void of_datagrams(int receiver, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    check(sender >= 0 && connect(sender, (struct sockaddr *)&at, sizeof at) == 0, "connect");
    both(IORING_OP_SEND, sender, IORING_OP_RECV, receiver, DATAGRAMS, DATAGRAM_BYTES);
}

// Connects to a port from one on which this process has waited for connections before. Says so as a part of the books.
static void of_connection(char *books, size_t size) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, to = own;
    socklen_t length = sizeof own;
    int on = 1, earlier = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(server, (struct sockaddr *)&to, length) == 0 && listen(server, 1) == 0, "listen");
    check(getsockname(server, (struct sockaddr *)&to, &length) == 0, "getsockname");
    check(bind(earlier, (struct sockaddr *)&own, length) == 0 && listen(earlier, 1) == 0, "listen");
    check(getsockname(earlier, (struct sockaddr *)&own, &length) == 0 && close(earlier) == 0, "getsockname");
    check(setsockopt(client, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "SO_REUSEADDR");
    check(bind(client, (struct sockaddr *)&own, length) == 0, "bind");
    struct io_uring_sqe connects = {
        .opcode = IORING_OP_CONNECT, .fd = client, .addr = (uintptr_t)&to, .off = length};
    finishes(connects, 0);
    finishes(entry(IORING_OP_SEND, client, SEND_BYTES), SEND_BYTES);
    snprintf(books, size,
             ",{\"service\":\"tcp to 127.0.0.1:%d\",\"operations\":2,\"received\":0,\"received_bytes\":0,\"sent\":1,"
             "\"sent_bytes\":%d,\"accepted\":0,\"connected\":1,\"peeks\":0,\"not_ready\":0,\"errors\":0,\"connections\":1,"
             "\"open\":1,\"answers\":0},"
             "{\"service\":\"tcp :%d\",\"operations\":1,\"received\":0,\"received_bytes\":0,\"sent\":0,"
             "\"sent_bytes\":0,\"accepted\":0,\"connected\":0,\"peeks\":0,\"not_ready\":0,\"errors\":0,\"connections\":0,"
             "\"open\":0,\"answers\":0}",
             ntohs(to.sin_port), SEND_BYTES, ntohs(own.sin_port));
}

int main(void) {
    // The program names the port, which the kernel chose for an earlier socket.
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int first = socket(AF_INET, SOCK_DGRAM, 0), receiver = socket(AF_INET, SOCK_DGRAM, 0);
    check(bind(first, (struct sockaddr *)&at, length) == 0, "bind");
    check(getsockname(first, (struct sockaddr *)&at, &length) == 0 && close(first) == 0, "getsockname");
    check(bind(receiver, (struct sockaddr *)&at, length) == 0, "bind");
    int port = ntohs(at.sin_port), failed = ring_open();
    say_ready();
    if (!wait_for("go"))
        return 0;
    char connection[1024] = "";
    if (!failed) {
        of_pair();
        of_datagrams(receiver, port);
        of_connection(connection, sizeof connection);
    }
    const char *rest = "\"accepted\":0,\"answers\":0";
    int moved = SENDS + WRITES + MESSAGES + EARLY + 1;
    int bytes = SENDS * SEND_BYTES + WRITES * WRITE_BYTES + MESSAGES * MESSAGE_BYTES + EARLY * EARLY_BYTES + PEEK_BYTES;
    static char line[4096];
    int bytes_said = snprintf(line, sizeof line, "{\"errno\":%d,\"services\":["
        "{\"service\":\"unix without a name\",\"operations\":%d,\"received\":%d,\"received_bytes\":%d,\"sent\":%d,\"sent_bytes\":%d,"
        "\"not_ready\":%d,\"errors\":%d,\"peeks\":%d,\"connected\":0,\"connections\":2,\"open\":2,%s},"
        "{\"service\":\"udp to 127.0.0.1:%d\",\"operations\":%d,\"received\":0,\"received_bytes\":0,\"sent\":%d,\"sent_bytes\":%d,"
        "\"not_ready\":0,\"errors\":0,\"peeks\":0,\"connected\":1,\"connections\":1,\"open\":1,%s},"
        "{\"service\":\"udp :%d\",\"operations\":%d,\"received\":%d,\"received_bytes\":%d,\"sent\":0,\"sent_bytes\":0,"
        "\"not_ready\":0,\"errors\":0,\"peeks\":0,\"connected\":0,\"connections\":1,\"open\":1,%s}%s]}\n",
        failed, 2 * moved + NOT_READY + 1 + CLOSED + PEEKS, moved, bytes, moved, bytes, NOT_READY, CLOSED, PEEKS, rest, port, 1 + DATAGRAMS,
        DATAGRAMS, DATAGRAMS * DATAGRAM_BYTES, rest, port, DATAGRAMS, DATAGRAMS, DATAGRAMS * DATAGRAM_BYTES, rest, connection);
    check(bytes_said < (int)sizeof line, "room");
    say_bytes(line, (size_t)bytes_said);
    say("DONE");
    hear_line();
    return 0;
}
