/* What workloads that use many kinds of files share. */
#ifndef FILES_H
#define FILES_H

#include <stdio.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

static void writes(int file, int count)
{
    for (int i = 0; i < count; i++)
        check(pwrite(file, "x", 1, 0) == 1, "pwrite");
}

#endif
