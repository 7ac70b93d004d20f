/* A server with a process per room. At "go" it forks a room, which says CHILD; the room waits for a line, allocates 1009 blocks of 64
 * bytes, frees 503 of them, says DONE, and waits for the next line before it ends. */
#include <sys/wait.h>

#include "workload.h"

enum { BLOCKS = 1009, FREED = 503, BYTES = 64 };

__attribute__((noinline)) static void *open_session(void)
{
    return malloc(BYTES);
}

static void room(void)
{
    static void *blocks[BLOCKS];
    say("CHILD");
    hear_line();
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = open_session();
    for (int i = 0; i < FREED; i++)
        free(blocks[i]);
    say("DONE");
    hear_line();
    _exit(0);
}

int main(void)
{
    say("READY");
    hear_line();
    pid_t child = fork();
    if (child == 0)
        room();
    waitpid(child, NULL, 0);
    hear_line();
    return 0;
}
