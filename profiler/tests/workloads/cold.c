/* cold FOLDER: works in turns of 50 ms, and reads a part of a file there past the page cache in every tenth one, which takes milliseconds. It does
 * 160 turns at "go", says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/prctl.h>

#include "files.h"
#include "workload.h"

enum { PART = 16 << 20, TURNS = 160, EACH = 10, TURN_NS = 50000000 };

static char part[PART] __attribute__((aligned(4096)));

FRAME void load_part(int file) { check(pread(file, part, PART, 0) == PART, "pread"); }

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    check(prctl(PR_SET_NAME, "ticker") == 0, "name");
    int file = open("assets.pak", O_RDWR | O_CREAT | O_DIRECT, 0600);
    check(file >= 0 && pwrite(file, part, PART, 0) == PART && fsync(file) == 0, "assets.pak");
    say_ready();
    if (!wait_for("go"))
        return 0;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int turn = 0; turn < TURNS; turn++) {
        if (turn % EACH == EACH - 1)
            load_part(file);
        next.tv_nsec += TURN_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    say("DONE");
    hear_line();
    return 0;
}
