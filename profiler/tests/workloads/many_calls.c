// System calls of many threads. At `go`, by the first argument:
//
//     short N  N threads one after another, 16 at a time, which give themselves a name, make a few calls and end
//     busy     eight threads that make calls without a pause until the end
//     jump     reads that a handler leaves by a jump, each followed by the same read from the same place
//     exec N   N children that become this program again, one after another, and then a thread named "late"; the program itself ends
//              in a handler that interrupts a read and becomes this program again
//
// Books: how many threads, by name; how many reads were left, and how many returned; how many children.
#include "workload.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { AT_A_TIME = 16, BUSY = 8, JUMPS = 7, BLOCKED_US = 60000, LATE_CALLS = 11 };

static void *be_short(void *argument) {
    prctl(PR_SET_NAME, argument);
    for (int i = 0; i < 3; i++)
        syscall(SYS_getppid);
    // Six errors of one call: more than a cell counts by itself.
    char byte;
    syscall(SYS_read, 9999, &byte, 1);
    for (int error = 0; error < 5; error++)
        syscall(SYS_futex, &byte, 9999 + error, 0, NULL, NULL, 0);
    syscall(SYS_getrandom, &byte, 1, 0);
    return NULL;
}

static void run_short(int threads) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    int of_task = 0;
    for (int begun = 0; begun < threads; begun += AT_A_TIME) {
        pthread_t running[AT_A_TIME];
        for (int i = 0; i < AT_A_TIME; i++) {
            int is_task = (begun + i) % 3 == 0;
            of_task += is_task;
            if (pthread_create(&running[i], &attributes, be_short, is_task ? "task" : "conn"))
                _exit(72);
        }
        for (int i = 0; i < AT_A_TIME; i++)
            pthread_join(running[i], NULL);
    }
    say("{\"task\":%d,\"conn\":%d}", of_task, threads - of_task);
}

static void *be_busy(void *argument) {
    (void)argument;
    char byte;
    for (;;) {
        syscall(SYS_getppid);
        syscall(SYS_read, 9999, &byte, 1);
        syscall(SYS_getrandom, &byte, 1, 0);
        syscall(SYS_sched_yield);
    }
    return NULL;
}

static void run_busy(void) {
    pthread_t thread;
    for (int i = 0; i < BUSY; i++) {
        if (pthread_create(&thread, NULL, be_busy, NULL))
            _exit(72);
    }
}

static sigjmp_buf out;

static void on_alarm(int signal) {
    (void)signal;
    siglongjmp(out, 1);
}

FRAME static long read_one(int fd, char *byte) { return syscall(SYS_read, fd, byte, 1); }

static void run_jumps(void) {
    const struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    const struct itimerval once = {.it_value = {0, BLOCKED_US}};
    int pipe_fds[2];
    volatile int left = 0, returned = 0;
    char byte = 'x';
    if (pipe(pipe_fds) || sigaction(SIGALRM, &action, NULL))
        _exit(73);
    for (volatile int turn = 0; turn < 2 * JUMPS; turn++) {
        // Every second read waits, and is left.
        if (turn % 2 == 0)
            setitimer(ITIMER_REAL, &once, NULL);
        else if (write(pipe_fds[1], &byte, 1) != 1)
            _exit(74);
        if (sigsetjmp(out, 1)) {
            left++;
            continue;
        }
        returned += read_one(pipe_fds[0], &byte) == 1;
    }
    say("{\"left\":%d,\"returned\":%d}", left, returned);
}

static const char *program;

static void *be_late(void *nothing) {
    (void)nothing;
    prctl(PR_SET_NAME, "late");
    for (int i = 0; i < LATE_CALLS; i++)
        syscall(SYS_getppid);
    return NULL;
}

static void on_alarm_exec(int signal) {
    (void)signal;
    execl(program, program, "again", NULL);
    _exit(75);
}

static void run_execs(int children) {
    for (int i = 0; i < children; i++) {
        pid_t child = fork();
        if (child == 0) {
            execl(program, program, "child", NULL);
            _exit(76);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            _exit(77);
    }
    pthread_t late;
    if (pthread_create(&late, NULL, be_late, NULL))
        _exit(72);
    pthread_join(late, NULL);
    say("{\"children\":%d}", children);
    // Signals that are blocked stay blocked in the program that comes next.
    const struct sigaction action = {.sa_handler = on_alarm_exec, .sa_flags = SA_RESTART | SA_NODEFER};
    const struct itimerval once = {.it_value = {0, BLOCKED_US}};
    int pipe_fds[2];
    char byte;
    if (pipe(pipe_fds) || sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &once, NULL))
        _exit(73);
    (void)read_one(pipe_fds[0], &byte);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 64;
    program = argv[0];
    if (!strcmp(argv[1], "child")) {
        for (int i = 0; i < 3; i++)
            syscall(SYS_getppid);
        return 0;
    }
    if (!strcmp(argv[1], "again")) {
        say("DONE");
        (void)wait_for("quit");
        return 0;
    }
    say_ready();
    if (!wait_for("go"))
        return 0;
    if (!strcmp(argv[1], "short"))
        run_short(argc > 2 ? atoi(argv[2]) : 0);
    else if (!strcmp(argv[1], "busy"))
        run_busy();
    else if (!strcmp(argv[1], "exec"))
        run_execs(argc > 2 ? atoi(argv[2]) : 0);
    else
        run_jumps();
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
