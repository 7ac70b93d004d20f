/* transfers DIRECTORY: at "go", writes and reads a file there in blocks of many sizes, says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "files.h"
#include "workload.h"

static char block[1 << 16];

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    int file = open("file", O_RDWR | O_CREAT, 0600);
    check(file >= 0, "open");
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 1; i < 997; i++)
        check(write(file, block, (size_t)i * 61) == i * 61, "write");
    /* Not read: with that, what the test says is read, too. */
    long got, at = 0;
    while ((got = pread(file, block, sizeof block, at)) > 0)
        at += got;
    check(got == 0 && fsync(file) == 0, "read");
    say("DONE");
    hear_line();
    return 0;
}
