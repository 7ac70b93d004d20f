/* broken DEVICE: writes to a device that takes nothing. At "go" it prints how many writes have failed, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "files.h"
#include "workload.h"

enum { BLOCK = 4096, WRITES = 7 };

int main(int argc, char **argv)
{
    check(argc == 2, "a device");
    static char block[BLOCK] __attribute__((aligned(BLOCK)));
    memset(block, 1, BLOCK);
    int device = open(argv[1], O_RDWR | O_DIRECT), failed = 0;
    check(device >= 0, "open");
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 0; i < WRITES; i++)
        failed += pwrite(device, block, BLOCK, (off_t)i * BLOCK) < 0 && errno == EIO;
    say("{\"failed\":%d}", failed);
    say("DONE");
    hear_line();
    return 0;
}
