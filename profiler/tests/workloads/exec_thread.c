// A thread that is not the first replaces the program by another: it takes over the id of the first one. Before that it makes
// 101 calls of getppid and two of execve that fail; the new program makes 211 calls of getppid after `go`.
#include "workload.h"

#include <pthread.h>
#include <sys/syscall.h>

extern char **environ;

static void *replace(void *path) {
    char *const nothing[] = {"nothing", NULL}, *const again[] = {path, "--again", NULL};
    for (int i = 0; i < 101; i++)
        syscall(SYS_getppid);
    for (int i = 0; i < 2; i++)
        syscall(SYS_execve, "/nowhere/at/all", nothing, environ);
    syscall(SYS_execve, path, again, environ);
    _exit(66);
}

int main(int argc, char **argv) {
    if (flag(argc, argv, "--again")) {
        say("AGAIN");
        if (!wait_for("go"))
            return 0;
        for (int i = 0; i < 211; i++)
            syscall(SYS_getppid);
        say("DONE");
        (void)wait_for("quit");
        return 0;
    }
    say_ready();
    if (!wait_for("go"))
        return 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, replace, argv[0]) != 0)
        return 65;
    for (;;)
        pause(); // The exec ends this thread.
}
