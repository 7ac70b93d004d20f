// Forks many children that allocate and exit: `--children 1000 --mallocs 20`. Books: the parent's own only.
#include "workload.h"

#include <sys/wait.h>

enum { SIZE = 67, CHILD_SIZE = 10007 };

static void *volatile kept;

FRAME void *site_parent(size_t size) { return malloc(size); }
FRAME void *site_child(size_t size) { return malloc(size); }

int main(int argc, char **argv) {
    long children = option(argc, argv, "--children", 1000);
    long mallocs = option(argc, argv, "--mallocs", 20);
    say_ready();
    if (!wait_for("go"))
        return 0;
    for (long i = 0; i < children; i++) {
        void *inherited = site_parent(SIZE);
        kept = site_parent(SIZE);
        pid_t child = fork();
        if (child < 0)
            return 65;
        if (child == 0) {
            free(inherited); // The parent's block of the same address stays live.
            for (long k = 0; k < mallocs; k++)
                kept = site_child(CHILD_SIZE);
            _exit(0);
        }
        int status = 0;
        if (waitpid(child, &status, 0) != child || status != 0)
            return 73;
        free(inherited);
    }
    uint64_t n = (uint64_t)children;
    struct book book = {n * 2, n * 2 * SIZE, n, n * SIZE};
    say_book("site_parent", &book);
    say("DONE");
    (void)wait_for("quit");
    return 0;
}
