/* faults DIRECTORY: faults of mapped files whose pages are not in memory: "mapped" has them on its device, if it is on one, and "sparse" has
 * none anywhere. At "go" it makes them, prints its books
 * as lines {"file":F,"operation":O,"count":N,"bytes":B,"errors":E}, with "file":"" what the kernel has on its own: "major", how many major
 * faults it has counted meanwhile, "fetched", bytes that it has fetched from devices, "ns", how long the touches took together, "alone", how
 * long those of them took in which no other thread took the processor, and "waited", for how much of that their threads slept, all without
 * those of "sparse"; says DONE, and waits for another line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "files.h"
#include "workload.h"

enum { PAGE = 4096, PAGES = 211, IN_CALLS = 13, OF_THREAD = 17, AGAIN = 101, HOLES = 29 };

static char *memory;
static volatile char sum;
static unsigned long took_ns, alone_ns, waited_ns;

static long major(void)
{
    struct rusage used;
    check(getrusage(RUSAGE_SELF, &used) == 0, "getrusage");
    return used.ru_majflt;
}

/* read_bytes of /proc/self/io. */
static long fetched(void)
{
    char text[512] = "", *line;
    int file = open("/proc/self/io", O_RDONLY);
    check(file >= 0 && read(file, text, sizeof text - 1) > 0, "/proc/self/io");
    close(file);
    line = strstr(text, "\nread_bytes: ");
    return line ? atol(line + 13) : 0;
}

/* How often another thread took the processor from this one. */
static long preempted(void)
{
    struct rusage used;
    check(getrusage(RUSAGE_THREAD, &used) == 0, "getrusage");
    return used.ru_nivcsw;
}

/* Processor time of the thread. */
static unsigned long ran_ns(void)
{
    struct timespec ran;
    check(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran) == 0, "clock_gettime");
    return ran.tv_sec * 1000000000ul + ran.tv_nsec;
}

FRAME static void touch(int page)
{
    long preempted_before = preempted();
    unsigned long ran_before = ran_ns(), begun = now_ns();
    sum += memory[(long)PAGE * page];
    unsigned long took = now_ns() - begun, ran = ran_ns() - ran_before;
    took_ns += took;
    if (preempted() != preempted_before)
        return;
    alone_ns += took;
    /* What it did not run was for the page. */
    if (took > ran)
        waited_ns += took - ran;
}

static void *touch_some(void *nothing)
{
    for (int i = 0; i < OF_THREAD; i++)
        touch(PAGES + IN_CALLS + i);
    return nothing;
}

int main(int argc, char **argv)
{
    check(argc == 2 && chdir(argv[1]) == 0, "directory");
    int pages = PAGES + IN_CALLS + OF_THREAD;
    int file = open("mapped", O_RDWR | O_CREAT, 0600), copy = open("copy", O_RDWR | O_CREAT, 0600);
    static char block[PAGE];
    for (int i = 0; i < pages; i++) {
        memset(block, i, PAGE);
        check(pwrite(file, block, PAGE, (long)PAGE * i) == PAGE, "pwrite");
    }
    check(fsync(file) == 0 && posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
    memory = mmap(NULL, (long)PAGE * pages, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    check(memory != MAP_FAILED && madvise(memory, (long)PAGE * pages, MADV_RANDOM) == 0, "mmap");
    close(file);
    file = open("sparse", O_RDWR | O_CREAT, 0600);
    check(ftruncate(file, (long)PAGE * HOLES) == 0, "ftruncate");
    char *holes = mmap(NULL, (long)PAGE * HOLES, PROT_READ, MAP_SHARED, file, 0);
    check(holes != MAP_FAILED && madvise(holes, (long)PAGE * HOLES, MADV_RANDOM) == 0, "mmap");
    close(file);
    touch(0);
    say_ready();
    if (!wait_for("go"))
        return 0;
    took_ns = alone_ns = waited_ns = 0;
    long faults_before = major(), fetched_before = fetched();
    for (int i = 1; i < PAGES; i++)
        touch(i);
    for (int i = 0; i < AGAIN; i++) {
        /* In memory: these are no major faults, although the first write to each page is a fault, too. */
        touch(i);
        memory[(long)PAGE * i]++;
    }
    for (int i = 0; i < IN_CALLS; i++) {
        unsigned long begun = now_ns();
        check(pwrite(copy, memory + (long)PAGE * (PAGES + i), PAGE, 0) == PAGE, "pwrite");
        took_ns += now_ns() - begun;
    }
    pthread_t thread;
    check(pthread_create(&thread, NULL, touch_some, NULL) == 0 && pthread_join(thread, NULL) == 0, "pthread");
    long faults = major() - faults_before, bytes = fetched() - fetched_before;
    long before_holes = major();
    for (int i = 0; i < HOLES; i++)
        sum += holes[(long)PAGE * i];
    long of_holes = major() - before_holes;
    if (bytes > 0)
        say("{\"file\":\"mapped\",\"operation\":\"fault\",\"count\":%d,\"bytes\":0,\"errors\":0}", pages - 1);
    if (of_holes > 0)
        say("{\"file\":\"sparse\",\"operation\":\"fault\",\"count\":%d,\"bytes\":0,\"errors\":0}", HOLES);
    say("{\"file\":\"copy\",\"operation\":\"write\",\"count\":%d,\"bytes\":%d,\"errors\":0}", IN_CALLS, IN_CALLS * PAGE);
    say("{\"file\":\"\",\"operation\":\"major\",\"count\":%ld,\"bytes\":0,\"errors\":0}", faults + of_holes);
    say("{\"file\":\"\",\"operation\":\"fetched\",\"count\":%ld,\"bytes\":0,\"errors\":0}", bytes);
    say("{\"file\":\"\",\"operation\":\"ns\",\"count\":%lu,\"bytes\":0,\"errors\":0}", took_ns);
    say("{\"file\":\"\",\"operation\":\"alone\",\"count\":%lu,\"bytes\":0,\"errors\":0}", alone_ns);
    say("{\"file\":\"\",\"operation\":\"waited\",\"count\":%lu,\"bytes\":0,\"errors\":0}", waited_ns);
    say("DONE");
    hear_line();
    return 0;
}
