/* A room server with a process per match.
 *
 * matches HOW COUNT PERIOD_MS LENGTH_MS: at "go" it starts COUNT matches, one every PERIOD_MS, says DONE when all have ended, and waits
 * for another line. HOW: fork; exec (fork, and become this program anew); or spawn (posix_spawn). A match opens 101 sessions of 96 bytes,
 * closes 53 of them, writes 17 bytes to /dev/null 7 times, and ends after LENGTH_MS. As an argument, "match" plays one and says nothing. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "workload.h"

enum { SESSIONS = 101, CLOSED = 53, BYTES = 96, WRITES = 7 };

extern char **environ;

static void pause_for(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

__attribute__((noinline)) static void *site_open_session(void)
{
    return malloc(BYTES);
}

__attribute__((noinline)) static void play(long length_ms)
{
    static void *sessions[SESSIONS];
    int sink = open("/dev/null", O_WRONLY);
    for (int i = 0; i < SESSIONS; i++)
        sessions[i] = site_open_session();
    for (int i = 0; i < CLOSED; i++)
        free(sessions[i]);
    for (int i = 0; i < WRITES; i++)
        if (write(sink, "seventeen letters", 17) != 17)
            _exit(3);
    pause_for(length_ms);
    _exit(0);
}

static pid_t start_match(const char *how, const char *program, char *length)
{
    char *arguments[] = {(char *)program, "match", length, NULL};
    pid_t match;
    if (strcmp(how, "spawn") == 0)
        return posix_spawn(&match, program, NULL, NULL, arguments, environ) == 0 ? match : -1;
    match = fork();
    if (match != 0)
        return match;
    if (strcmp(how, "fork") == 0)
        play(atol(length));
    execv(program, arguments);
    _exit(4);
}

int main(int count, char **arguments)
{
    if (count == 3)
        play(atol(arguments[2]));
    if (count != 5)
        return 1;
    long matches = atol(arguments[2]), period_ms = atol(arguments[3]);
    say("READY");
    hear_line();
    for (long i = 0; i < matches; i++) {
        if (start_match(arguments[1], "/proc/self/exe", arguments[4]) < 0)
            return 5;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        pause_for(period_ms);
    }
    int status;
    while (wait(&status) > 0)
        if (status != 0)
            return 6;
    say("DONE");
    hear_line();
    return 0;
}
