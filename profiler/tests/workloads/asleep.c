/* asleep FOLDER: writes and reads past the page cache, and syncs, in turns, so that a thread waits in several places of the kernel. At "go" it
 * does so, prints how often it has gone to sleep meanwhile, as the kernel counts it, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "workload.h"

enum { TURNS = 97, BLOCK = 4096 };

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

/* Without anything that might wait for others: no memory is asked for, and no file is opened. */
static long sleeps(int status)
{
    static const char name[] = "\nvoluntary_ctxt_switches:";
    static char text[8192];
    ssize_t length = pread(status, text, sizeof text - 1, 0);
    check(length > 0, "/proc/thread-self/status");
    text[length] = 0;
    const char *found = strstr(text, name);
    check(found != NULL, name);
    return atol(found + sizeof name - 1);
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    void *block = NULL;
    check(posix_memalign(&block, BLOCK, BLOCK) == 0, "posix_memalign");
    memset(block, 7, BLOCK);
    int direct = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0600), synced = open("synced", O_CREAT | O_RDWR, 0600);
    int status = open("/proc/thread-self/status", O_RDONLY);
    check(direct >= 0 && synced >= 0 && status >= 0, "open");
    say_ready();
    if (!wait_for("go"))
        return 0;
    long before = sleeps(status);
    for (int turn = 0; turn < TURNS; turn++) {
        check(pwrite(direct, block, BLOCK, 0) == BLOCK, "pwrite");
        check(pread(direct, block, BLOCK, 0) == BLOCK, "pread");
        check(pwrite(synced, block, BLOCK, BLOCK * turn) == BLOCK, "pwrite");
        check(fsync(synced) == 0, "fsync");
    }
    long after = sleeps(status);
    say("{\"turns\":%d,\"sleeps\":%ld}", TURNS, after - before);
    say("DONE");
    hear_line();
    return 0;
}
