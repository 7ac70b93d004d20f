/* A thread that sends itself messages, and says what a turn costs it.
 *
 *     turns SPINS [tcp]
 *
 * They go through a pipe, or through TCP, with an answer to each. For each "go" it works for 500 ms of its own processor time: a message is written and read again, followed by SPINS steps of other
 * work. Then it writes {"ns_per_turn": N}. "quit" ends it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 128, TURNS = 10000 };

static const double WORK_NS = 500e6;
static int has_answers;

static double used_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void pass(int to, int from)
{
    char message[MESSAGE] = {7};
    if (write(to, message, MESSAGE) != MESSAGE || read(from, message, MESSAGE) != MESSAGE)
        exit(1);
}

/* Both ends of a connection over loopback. */
static int connect_ends(int *ends)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, bytes) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &bytes) != 0)
        return 0;
    ends[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ends[1], (struct sockaddr *)&at, bytes) != 0)
        return 0;
    ends[0] = accept(listener, NULL, NULL);
    return ends[0] >= 0;
}

static void turn(const int *ends, long spins)
{
    pass(ends[1], ends[0]);
    if (has_answers)
        pass(ends[0], ends[1]);
    for (volatile long step = 0; step < spins; step++)
        ;
}

int main(int count, char **arguments)
{
    char line[16];
    int ends[2];
    has_answers = count == 3 && strcmp(arguments[2], "tcp") == 0;
    if (count != 2 + has_answers || (has_answers ? !connect_ends(ends) : pipe(ends) != 0))
        return 2;
    long spins = atol(arguments[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("READY");
    while (fgets(line, sizeof line, stdin) && strcmp(line, "go\n") == 0) {
        /* The shortest part: what disturbs one makes it longer. */
        double begun = used_ns(), least = 0;
        while (used_ns() - begun < WORK_NS) {
            double before = used_ns();
            for (int i = 0; i < TURNS; i++)
                turn(ends, spins);
            double took = used_ns() - before;
            if (least == 0 || took < least)
                least = took;
        }
        printf("{\"ns_per_turn\": %.1f}\n", least / TURNS);
    }
    return 0;
}
