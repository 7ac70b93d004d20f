/* connects: a server that accepts nothing, and connects that it leaves without an answer. At "go" the first fills the backlog. Then one thread
 * waits for its connect, one connect is under way, and one is given up after 3.2 s. Prints its books, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "workload.h"

static struct sockaddr_in server;

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

static int begin(int flags, int expected)
{
    int made = socket(AF_INET, SOCK_STREAM | flags, 0);
    int result = connect(made, (struct sockaddr *)&server, sizeof server);
    check(made >= 0 && (expected ? result < 0 && errno == expected : result == 0), "connect");
    return made;
}

static void *hang(void *nothing)
{
    begin(0, ETIMEDOUT);
    return nothing;
}

int main(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof server;
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(bind(listener, (struct sockaddr *)&server, length) == 0 && listen(listener, 0) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&server, &length) == 0, "getsockname");
    say_ready();
    if (!wait_for("go"))
        return 0;
    begin(0, 0);
    pthread_t thread;
    check(pthread_create(&thread, NULL, hang, NULL) == 0, "pthread_create");
    begin(SOCK_NONBLOCK, EINPROGRESS);
    int given_up = begin(SOCK_NONBLOCK, EINPROGRESS);
    struct pollfd waits = {.fd = given_up, .events = POLLOUT};
    check(poll(&waits, 1, 3200) == 0, "no answer");
    close(given_up);
    say("{\"port\":%d,\"attempts\":4,\"unanswered\":3}", ntohs(server.sin_port));
    say("DONE");
    hear_line();
    return 0;
}
