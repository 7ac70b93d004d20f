/* A process id that two processes have, one after the other. The first waits; at "go" it ends, and the next process of this id writes to
 * /dev/null 103 times and forks a process that does the same. Says DONE, and waits for another line. */
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "workload.h"

enum { WRITES = 103 };

static void write_much(void)
{
    int sink = open("/dev/null", O_WRONLY);
    for (int i = 0; i < WRITES; i++)
        if (write(sink, "x", 1) != 1)
            _exit(3);
}

int main(void)
{
    pid_t first = fork();
    if (first == 0)
        for (;;)
            pause();
    say("READY");
    hear_line();
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    struct clone_args again = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&first, .set_tid_size = 1};
    long second = syscall(SYS_clone3, &again, sizeof again);
    if (second < 0)
        return 4;
    if (second == 0) {
        write_much();
        pid_t child = fork();
        if (child == 0) {
            write_much();
            _exit(0);
        }
        waitpid(child, NULL, 0);
        _exit(0);
    }
    int status;
    if (waitpid((pid_t)second, &status, 0) != first || status != 0)
        return 5;
    say("DONE");
    hear_line();
    return 0;
}
