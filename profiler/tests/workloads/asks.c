/* asks [--reader]: a thread with a loop that asks a server for one thing after another, and in each turn sends a line to a log, which never
 * answers; with --reader it answers each line, and another thread receives that. At "go" it goes through some turns, prints its books, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>

#include "workload.h"

enum { TURNS = 200, ASKS = 25 };

static const struct timespec pause_of_turns = {.tv_nsec = 1000000}, work_of_server = {.tv_nsec = 20000};

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

/* Both ends of a connection to a server with a port of its own. */
static int connect_to_server(int *client, int *server)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&at, length) == 0 && listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&at, &length) == 0, "getsockname");
    *client = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(*client, (struct sockaddr *)&at, length) == 0, "connect");
    *server = accept(listener, NULL, NULL);
    check(*server >= 0, "accept");
    return ntohs(at.sin_port);
}

static void *answer(void *connection)
{
    char question[8];
    while (recv(*(int *)connection, question, sizeof question, 0) > 0) {
        nanosleep(&work_of_server, NULL);
        check(send(*(int *)connection, question, 4, 0) == 4, "send");
    }
    return NULL;
}

static sem_t is_logged;

static void *read_answers(void *connection)
{
    char line[8];
    while (recv(*(int *)connection, line, sizeof line, 0) > 0)
        sem_post(&is_logged);
    return NULL;
}

int main(int argc, char **argv)
{
    int has_reader = flag(argc, argv, "--reader");
    int asks, answers, logs, log_end;
    int port = connect_to_server(&asks, &answers), log_port = connect_to_server(&logs, &log_end);
    pthread_t server, log, reader;
    check(pthread_create(&server, NULL, answer, &answers) == 0, "pthread_create");
    if (has_reader) {
        check(sem_init(&is_logged, 0, 0) == 0, "sem_init");
        check(pthread_create(&log, NULL, answer, &log_end) == 0, "pthread_create");
        check(pthread_create(&reader, NULL, read_answers, &logs) == 0, "pthread_create");
    }
    say_ready();
    if (!wait_for("go"))
        return 0;
    char answer[8];
    uint64_t waited_ns = 0, longest_ns = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < ASKS; i++) {
            uint64_t begun_ns = now_ns();
            check(send(asks, "question", 8, 0) == 8, "send");
            check(recv(asks, answer, sizeof answer, 0) == 4, "recv");
            uint64_t took_ns = now_ns() - begun_ns;
            waited_ns += took_ns;
            longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        }
        check(send(logs, "line\n", 5, 0) == 5, "send");
        if (has_reader)
            sem_wait(&is_logged);
        nanosleep(&pause_of_turns, NULL);
    }
    say("{\"turns\":%d,\"asks\":%d,\"port\":%d,\"log_port\":%d,\"server_ns\":%llu,\"waited_ns\":%llu,\"longest_ns\":%llu}", TURNS,
        ASKS, port, log_port, TURNS * ASKS * (unsigned long long)work_of_server.tv_nsec, (unsigned long long)waited_ns,
        (unsigned long long)longest_ns);
    say("DONE");
    hear_line();
    return 0;
}
