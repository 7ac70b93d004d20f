/* A server with a process per room. At "go" it forks a room, which says CHILD; the room waits for a line, allocates 1009 blocks of 64
 * bytes, frees 503 of them, says DONE, and waits for the next line before it ends. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 1009, FREED = 503, BYTES = 64 };

static void say(const char *words)
{
    if (write(1, words, strlen(words)) < 0)
        _exit(2);
}

/* Byte by byte: what follows belongs to whoever reads next. */
static void wait_for_line(void)
{
    char byte;
    while (read(0, &byte, 1) == 1 && byte != '\n')
        ;
}

__attribute__((noinline)) static void *open_session(void)
{
    return malloc(BYTES);
}

static void room(void)
{
    static void *blocks[BLOCKS];
    say("CHILD\n");
    wait_for_line();
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = open_session();
    for (int i = 0; i < FREED; i++)
        free(blocks[i]);
    say("DONE\n");
    wait_for_line();
    _exit(0);
}

int main(void)
{
    say("READY\n");
    wait_for_line();
    pid_t child = fork();
    if (child == 0)
        room();
    waitpid(child, NULL, 0);
    wait_for_line();
    return 0;
}
