/* frozen DIRECTORY: makes files there, and gives one another name, removes one, or writes to one each time it is told to, which it then says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>

#include "files.h"
#include "workload.h"

static void make(const char *name)
{
    int file = open(name, O_WRONLY | O_CREAT, 0600);
    check(file >= 0 && close(file) == 0, name);
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    check(mkdir("inner", 0700) == 0, "mkdir");
    int inner = open("inner", O_RDONLY | O_DIRECTORY);
    check(inner >= 0, "inner");
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    check(log >= 0, "log");
    make("relative");
    make("inner/by_descriptor");
    make("absolute");
    char absolute[4096], line[64];
    check(snprintf(absolute, sizeof absolute, "%s/absolute", argv[1]) < (int)sizeof absolute, "absolute");
    say_ready();
    while (hear(line, sizeof line)) {
        if (strcmp(line, "rename") == 0)
            check(rename("relative", "renamed") == 0, line);
        else if (strcmp(line, "unlinkat") == 0)
            check(unlinkat(inner, "by_descriptor", 0) == 0, line);
        else if (strcmp(line, "unlink") == 0)
            check(unlink(absolute) == 0, line);
        else if (strcmp(line, "append") == 0)
            check(write(log, "a line\n", 7) == 7, line);
        else
            break;
        say("%s", line);
    }
    return 0;
}
