/* many DIRECTORY: at "connections", makes very many connections to itself, one after the other; at "files", makes very many files and removes
 * them, in very many threads, each with a name of its own; at "open", sends a datagram on each of very many sockets of its children, all open at the
 * same time; at "deep", writes to a file with the longest path there can be. Says DONE after each, and ends at "quit". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "files.h"
#include "workload.h"

enum { CONNECTIONS = 100000, FILES = 100000, THREADS = 1000, SOCKETS = 70000, PROCESSES = 4, DEEP = 11, PATH = 4095, NAME = 200 };

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

/* A part of the sockets, in a process of its own: few systems let one have all. It keeps them until `end` is closed on the other side. */
static void hold(int number, int done, int end)
{
    enum { OWN = SOCKETS / PROCESSES };
    struct rlimit room = {OWN + 100, OWN + 100};
    check(setrlimit(RLIMIT_NOFILE, &room) == 0, "room for descriptors");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "all-%d", number);
    int receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
    check(bind(receiver, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    char byte = 1;
    for (int i = 0; i < OWN; i++) {
        int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
        check(sender >= 0 && connect(sender, (struct sockaddr *)&at, sizeof at) == 0, "connect");
        check(send(sender, &byte, 1, 0) == 1 && recv(receiver, &byte, 1, 0) == 1, "a byte");
    }
    check(write(done, &byte, 1) == 1, "done");
    check(read(end, &byte, 1) == 0, "the end");
}

/* Returns when all processes have their sockets open. */
static void sockets(void)
{
    int done[2], end[2];
    check(pipe(done) == 0 && pipe(end) == 0, "pipes");
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            close(end[1]);
            hold(i, done[1], end[0]);
            _exit(0);
        }
    }
    char byte;
    for (int i = 0; i < PROCESSES; i++)
        check(read(done[0], &byte, 1) == 1, "a process");
}

/* Directories below this one, until one more name makes a path of PATH bytes. */
static void deep(void)
{
    char path[PATH + 1], name[NAME + 1];
    check(getcwd(path, sizeof path) != NULL, "getcwd");
    int at = open(".", O_RDONLY | O_DIRECTORY);
    size_t left = PATH - strlen(path);
    while (left > 0) {
        size_t length = left <= NAME + 1 ? left - 1 : NAME;
        /* Something must remain for the last name. */
        if (left > NAME + 1 && left - NAME - 1 < 20)
            length = NAME / 2;
        memset(name, 'd', length);
        memcpy(name, "\n\033[31m\"\\\377", 9);
        name[length] = 0;
        left -= length + 1;
        int last = left == 0;
        check(last || mkdirat(at, name, 0700) == 0, "a directory");
        int below = openat(at, name, last ? O_WRONLY | O_CREAT : O_RDONLY | O_DIRECTORY, 0600);
        check(below >= 0, "open");
        close(at);
        at = below;
    }
    for (int i = 0; i < DEEP; i++)
        check(write(at, name, 7) == 7, "write");
    close(at);
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
        else if (strcmp(word, "open") == 0)
            sockets();
        else if (strcmp(word, "deep") == 0)
            deep();
        else if (strcmp(word, "files") == 0) {
            for (long i = 0; i < THREADS; i++)
                check(pthread_create(&threads[i], NULL, files, (void *)i) == 0, "a thread");
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        }
        say("DONE");
    }
}
