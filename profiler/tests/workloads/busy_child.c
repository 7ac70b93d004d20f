/* At "go" it makes CALLS calls and forks a child, which says CHILD and writes to /dev/null every 50 us until its parent kills it, at the next
 * line. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "workload.h"

/* More than there is room for in the ring, if each sends a record. */
enum { CALLS = 100003 };

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
    say("READY");
    hear_line();
    for (int i = 0; i < CALLS; i++)
        if (write(sink, "x", 1) != 1)
            return 4;
    pid_t child = fork();
    if (child == 0) {
        say("CHILD");
        site_busy(sink);
    }
    hear_line();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
