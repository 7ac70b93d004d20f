// Commands whose first calls come in a way of their own (argument 1), and that end in another (argument 2). They say who they are before that, and afterwards how
// often they were woken (SIGCONT). Nothing but the calls that are meant allocates.
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 32, CALLS = 50 };

static pthread_barrier_t together;
static void *volatile kept;
static volatile sig_atomic_t woken;

static void on_cont(int signal) {
    (void)signal;
    woken++;
}

static void pause_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

static void say(const char *what, long number) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s %ld\n", what, number);
    if (write(2, line, (size_t)length) != length)
        _exit(70);  // The test is gone.
}

// realloc without a block calls malloc. A sampled run looks at such a call, though it draws next to none of them.
static void small_call(void) {
    free(realloc(NULL, 24));
}

static void *burst(void *unused) {
    (void)unused;
    pthread_barrier_wait(&together);
    for (int i = 0; i < CALLS; i++)
        small_call();
    return NULL;
}

static void threads(void) {
    pthread_t ids[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&ids[i], NULL, burst, NULL) != 0)
            _exit(71);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
}

static void forks(void) {
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            small_call();
            _exit(0);
        }
    small_call();
    while (wait(NULL) > 0) {
    }
}

int main(int argc, char **argv) {
    const char *way = argc > 1 ? argv[1] : "";
    struct sigaction action = {.sa_handler = on_cont, .sa_flags = SA_RESTART};
    sigaction(SIGCONT, &action, NULL);
    const char *manner = argc > 2 ? argv[2] : "";
    if (strcmp(manner, "deaf") == 0)
        signal(SIGTERM, SIG_IGN);
    // Into the group of whoever started it.
    if (strcmp(manner, "leaves") == 0 && setpgid(0, getpgid(getppid())) != 0)
        _exit(72);
    say("pid", getpid());
    if (strcmp(way, "threads") == 0) {
        threads();
    } else if (strcmp(way, "forks") == 0) {
        forks();
    } else if (strcmp(way, "late") == 0) {
        // The targets are looked at again meanwhile.
        pause_ms(1500);
        kept = dlopen("libm.so.6", RTLD_NOW);
    } else {
        small_call();
    }
    say("woken", woken);
    for (;;)
        pause_ms(1000);
}
