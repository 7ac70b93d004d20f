/* many DIRECTORY: at "connections", makes very many connections to itself, one after the other; at "files", makes very many files and removes
 * them, in very many threads, each with a name of its own. Says DONE after each, and ends at "quit". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "files.h"
#include "workload.h"

enum { CONNECTIONS = 100000, FILES = 100000, THREADS = 1000 };

static void connections(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&at, length) == 0 && listen(listener, 16) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&at, &length) == 0, "getsockname");
    /* Closed with a reset: otherwise the ports are used up. */
    struct linger now = {.l_onoff = 1};
    for (int i = 0; i < CONNECTIONS; i++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        check(connect(client, (struct sockaddr *)&at, sizeof at) == 0, "connect");
        int server = accept(listener, NULL, NULL);
        char byte = 1;
        check(send(client, &byte, 1, 0) == 1 && recv(server, &byte, 1, 0) == 1, "a byte");
        check(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "linger");
        close(client);
        close(server);
    }
}

static void *files(void *number)
{
    char path[32];
    snprintf(path, sizeof path, "worker-%03ld", (long)number);
    check(pthread_setname_np(pthread_self(), path) == 0, "a name");
    for (int i = 0; i < FILES / THREADS; i++) {
        snprintf(path, sizeof path, "%ld-%d", (long)number, i);
        int file = open(path, O_WRONLY | O_CREAT, 0600);
        check(file >= 0 && write(file, path, 7) == 7 && close(file) == 0 && unlink(path) == 0, "a file");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    static pthread_t threads[THREADS];
    say_ready();
    for (;;) {
        char word[32];
        if (!hear(word, sizeof word) || strcmp(word, "quit") == 0)
            return 0;
        if (strcmp(word, "connections") == 0)
            connections();
        else if (strcmp(word, "files") == 0) {
            for (long i = 0; i < THREADS; i++)
                check(pthread_create(&threads[i], NULL, files, (void *)i) == 0, "a thread");
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        }
        say("DONE");
    }
}
