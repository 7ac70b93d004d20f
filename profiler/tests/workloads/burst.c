/* burst FOLDER: at "go", hands the device many writes of a file there in one call of libaio. Says DONE when all have ended, and waits for another
 * line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>

#include "files.h"
#include "workload.h"

enum { BLOCK = 4096, WRITES = 200, APART = 2 };

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    static char block[BLOCK] __attribute__((aligned(BLOCK)));
    static char all[(size_t)WRITES * APART * BLOCK] __attribute__((aligned(BLOCK)));
    static struct iocb requests[WRITES];
    static struct iocb *list[WRITES];
    static struct io_event ends[WRITES];
    int file = open("file", O_RDWR | O_CREAT | O_DIRECT, 0600);
    check(file >= 0 && pwrite(file, all, sizeof all, 0) == sizeof all && syncfs(file) == 0, "file");
    aio_context_t context = 0;
    check(syscall(SYS_io_setup, WRITES, &context) == 0, "io_setup");
    for (int i = 0; i < WRITES; i++) {
        requests[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PWRITE,
                                    .aio_fildes = (unsigned)file,
                                    .aio_buf = (unsigned long)block,
                                    .aio_nbytes = BLOCK,
                                    .aio_offset = (long long)i * APART * BLOCK};
        list[i] = &requests[i];
    }
    say_ready();
    if (!wait_for("go"))
        return 0;
    check(syscall(SYS_io_submit, context, (long)WRITES, list) == WRITES, "io_submit");
    say("SUBMITTED");
    check(syscall(SYS_io_getevents, context, (long)WRITES, (long)WRITES, ends, NULL) == WRITES, "io_getevents");
    for (int i = 0; i < WRITES; i++)
        check(ends[i].res == BLOCK, "a write");
    say("DONE");
    hear_line();
    return 0;
}
