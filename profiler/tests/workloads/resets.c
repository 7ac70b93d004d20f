/* resets: connections of which each side resets a known number. At "go" it makes them, prints its books, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sys/socket.h>

#include "workload.h"

enum { BY_CLIENT = 7, BY_SERVER = 11 };

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

/* Closed without waiting for anything, a socket resets its connection. */
static void reset(int descriptor)
{
    struct linger now = {.l_onoff = 1};
    check(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0 && close(descriptor) == 0, "close");
}

int main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&at, length) == 0 && listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&at, &length) == 0, "getsockname");
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 0; i < BY_CLIENT + BY_SERVER; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(client, (struct sockaddr *)&at, length) == 0, "connect");
        int server = accept(listener, NULL, NULL);
        check(server >= 0, "accept");
        reset(i < BY_CLIENT ? client : server);
        close(i < BY_CLIENT ? server : client);
    }
    say("{\"port\":%d,\"by_client\":%d,\"by_server\":%d}", ntohs(at.sin_port), BY_CLIENT, BY_SERVER);
    say("DONE");
    hear_line();
    return 0;
}
