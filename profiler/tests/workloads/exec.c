// Replaces itself: allocates at site_old_program, then `go` makes it exec itself, and the new program allocates at
// site_new_program. The blocks of the old program are gone with its memory. Books: both programs, apart.
#include "workload.h"

enum { SIZE_OLD = 71, SIZE_NEW = 73, BLOCKS = 101 };

static void *volatile kept;

FRAME void *site_old_program(size_t size) { return malloc(size); }
FRAME void *site_new_program(size_t size) { return malloc(size); }

int main(int argc, char **argv) {
    if (flag(argc, argv, "--again")) {
        for (int i = 0; i < BLOCKS; i++)
            kept = site_new_program(SIZE_NEW);
        struct book book = {BLOCKS, BLOCKS * SIZE_NEW, 0, 0};
        say_book("site_new_program", &book);
        say("DONE");
        (void)wait_for("quit");
        return 0;
    }
    say_ready();
    if (!wait_for("allocate"))
        return 0;
    for (int i = 0; i < BLOCKS; i++)
        kept = site_old_program(SIZE_OLD);
    struct book book = {BLOCKS, BLOCKS * SIZE_OLD, 0, 0};
    say_book("site_old_program", &book);
    if (!wait_for("go"))
        return 0;
    execl("/proc/self/exe", argv[0], "--again", (char *)NULL);
    return 65;
}
