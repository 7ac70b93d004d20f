/* A thread that sends itself messages, and says what a turn costs it.
 *
 *     turns SPINS
 *
 * For each "go" it works for 500 ms of its own processor time: a message is written and read again, followed by SPINS steps of other
 * work. Then it writes {"ns_per_turn": N}. "quit" ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 128, TURNS = 10000 };

static const double WORK_NS = 500e6;

static double used_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void turn(const int *ends, long spins)
{
    char message[MESSAGE] = {7};
    if (write(ends[1], message, MESSAGE) != MESSAGE || read(ends[0], message, MESSAGE) != MESSAGE)
        exit(1);
    for (volatile long step = 0; step < spins; step++)
        ;
}

int main(int count, char **arguments)
{
    char line[16];
    int ends[2];
    if (count != 2 || pipe(ends) != 0)
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
