/* copies DIRECTORY: copies parts of one file to another in the kernel. At "go" it does so a known number of times, says that number, DONE, and
 * waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>

#include "files.h"
#include "workload.h"

enum { COPIES = 40, PART = 997 };

static char block[4096];

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    int from = open("from", O_RDWR | O_CREAT, 0600), to = open("to", O_RDWR | O_CREAT, 0600);
    check(from >= 0 && to >= 0 && write(from, block, sizeof block) == sizeof block, "write");
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (int i = 0; i < COPIES; i++) {
        off_t at = i;
        check(copy_file_range(from, &at, to, NULL, PART, 0) == PART, "copy_file_range");
    }
    say("{\"copies\":%d}", COPIES);
    say("DONE");
    hear_line();
    return 0;
}
