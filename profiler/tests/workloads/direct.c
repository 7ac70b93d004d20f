/* direct DIRECTORY: at "go", reads and overwrites blocks of a file there past the page cache, some of them with a sync. Says DONE. At
 * "large", it reads 8 MiB at once, and says DONE again. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "files.h"
#include "workload.h"

enum { LARGE = 8 << 20, BLOCK = 4096, BLOCKS = 61, READS = 37, WRITES = 23, SYNCS = 5 };

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    static char block[BLOCK] __attribute__((aligned(BLOCK)));
    int file = open("file", O_RDWR | O_CREAT | O_DIRECT, 0600);
    check(file >= 0, "open");
    for (int i = 0; i < BLOCKS; i++)
        check(pwrite(file, block, BLOCK, (off_t)i * BLOCK) == BLOCK, "pwrite");
    static char large_block[LARGE] __attribute__((aligned(BLOCK)));
    int large = open("large", O_RDWR | O_CREAT | O_DIRECT, 0600);
    check(large >= 0 && pwrite(large, large_block, LARGE, 0) == LARGE, "pwrite");
    check(fsync(file) == 0 && fsync(large) == 0 && syncfs(file) == 0, "sync");
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 0; i < READS; i++)
        check(pread(file, block, BLOCK, (off_t)(i * 7 % BLOCKS) * BLOCK) == BLOCK, "pread");
    for (int i = 0; i < WRITES; i++)
        check(pwrite(file, block, BLOCK, (off_t)(i * 5 % BLOCKS) * BLOCK) == BLOCK, "pwrite");
    for (int i = 0; i < SYNCS; i++) {
        check(pwrite(file, block, BLOCK, 0) == BLOCK, "pwrite");
        check(fdatasync(file) == 0, "fdatasync");
    }
    say("DONE");
    /* A read that is larger than any request to the device. */
    if (!wait_for("large"))
        return 0;
    check(pread(large, large_block, LARGE, 0) == LARGE, "pread");
    say("DONE");
    hear_line();
    return 0;
}
