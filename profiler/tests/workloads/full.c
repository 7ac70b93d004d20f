/* full FOLDER: writes to a file until its filesystem is full, and goes on. At "go" it does so, prints how many writes have failed, says DONE,
 * and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "workload.h"

enum { BLOCK = 65536, MORE = 7 };

static char block[BLOCK];

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    int file = open("world.db", O_CREAT | O_WRONLY | O_APPEND, 0600), failed = 0;
    check(file >= 0, "open");
    say_ready();
    if (!wait_for("go"))
        return 0;
    while (failed < MORE)
        if (write(file, block, BLOCK) < 0) {
            check(errno == ENOSPC, "write");
            failed++;
        }
    say("{\"failed\":%d}", failed);
    say("DONE");
    hear_line();
    return 0;
}
