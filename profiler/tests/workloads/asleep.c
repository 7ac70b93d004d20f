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

static long sleeps(void)
{
    static const char name[] = "voluntary_ctxt_switches:";
    char line[256];
    long count = -1;
    FILE *status = fopen("/proc/thread-self/status", "r");
    check(status != NULL, "/proc/thread-self/status");
    while (fgets(line, sizeof line, status))
        if (strncmp(line, name, sizeof name - 1) == 0)
            count = atol(line + sizeof name - 1);
    fclose(status);
    check(count >= 0, name);
    return count;
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    say_ready();
    if (!wait_for("go"))
        return 0;
    void *block = NULL;
    check(posix_memalign(&block, BLOCK, BLOCK) == 0, "posix_memalign");
    memset(block, 7, BLOCK);
    int direct = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0600), synced = open("synced", O_CREAT | O_RDWR, 0600);
    check(direct >= 0 && synced >= 0, "open");
    long before = sleeps();
    for (int turn = 0; turn < TURNS; turn++) {
        check(pwrite(direct, block, BLOCK, 0) == BLOCK, "pwrite");
        check(pread(direct, block, BLOCK, 0) == BLOCK, "pread");
        check(pwrite(synced, block, BLOCK, BLOCK * turn) == BLOCK, "pwrite");
        check(fsync(synced) == 0, "fsync");
    }
    long after = sleeps();
    say("{\"turns\":%d,\"sleeps\":%ld}", TURNS, after - before);
    say("DONE");
    hear_line();
    return 0;
}
