/* At "go" it makes CALLS calls and forks a child, which says CHILD and writes to /dev/null every 50 us until its parent kills it, at the next
 * line. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* More than there is room for in the ring, if each sends a record. */
enum { CALLS = 100003 };

static void say(const char *words)
{
    if (write(1, words, strlen(words)) < 0)
        _exit(2);
}

static void wait_for_line(void)
{
    char byte;
    while (read(0, &byte, 1) == 1 && byte != '\n')
        ;
}

__attribute__((noinline)) static void site_busy(int sink)
{
    struct timespec pause = {0, 50000};
    for (;;) {
        if (write(sink, "seventeen letters", 17) != 17)
            _exit(3);
        nanosleep(&pause, NULL);
    }
}

int main(void)
{
    int sink = open("/dev/null", O_WRONLY);
    say("READY\n");
    wait_for_line();
    for (int i = 0; i < CALLS; i++)
        if (write(sink, "x", 1) != 1)
            return 4;
    pid_t child = fork();
    if (child == 0) {
        say("CHILD\n");
        site_busy(sink);
    }
    wait_for_line();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
