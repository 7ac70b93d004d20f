// A timer signal 2000 times a second. Without argument its handler, on the ordinary stack, only counts, and main calls
// malloc all the time. With a path, the handler is on a stack of its own and takes from a pool wherever the thread is at
// that moment: in a prologue, an epilogue, a linkage table, the C library; what another unwinder sees then goes to the
// path.
#include "oracle.h"
#include <alloca.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define ROUNDS 20011
#define SIGNALS 1009
#define PERIOD_NS 500000

static volatile sig_atomic_t signals;
static volatile double sink;

STEP void *pool_get(size_t bytes) {
    static char blocks[2 * SIGNALS][64];
    static size_t next;
    (void)bytes;
    return next < 2 * SIGNALS ? blocks[next++] : NULL;
}

STEP void *take(void) {
    witness();
    void *block = pool_get(48);
    STAY;
    return block;
}

STEP void on_tick(int number) {
    (void)number;
    if (signals < SIGNALS) {
        signals++;
        take();
    }
    STAY;
}

STEP void count(int number) {
    (void)number;
    signals++;
}

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void many_registers(int levels, int a, int b, int c) {
    int kept[4] = {a, b, c, levels};
    sink += a * b;
    if (levels > 0)
        many_registers(levels - 1, b + 1, c * 2, a ^ 3);
    sink += kept[0] + kept[1] * b + kept[2] * c + a;
}

STEP void in_70_kib(void) {
    char room[70 * 1024];
    room[signals] = 1;
    __asm__ volatile("" ::"r"(room) : "memory");
    many_registers(3, 1, 2, 3);
}

STEP void realigned(int bytes) {
    char room[64] __attribute__((aligned(64)));
    char *more = alloca((size_t)bytes);
    memset(room, bytes, sizeof room);
    memset(more, 1, (size_t)bytes);
    many_registers(1, more[bytes / 2], room[3], bytes);
    __asm__ volatile("" ::"r"(room), "r"(more) : "memory");
}

STEP int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

STEP void library(void) {
    int numbers[16];
    char text[64];
    for (int i = 0; i < 16; i++)
        numbers[i] = i * 7919 % 16;
    qsort(numbers, 16, sizeof numbers[0], order);
    snprintf(text, sizeof text, "%d %g", numbers[3], sink);
    sink += strtod("0.5", NULL) + (double)strlen(text);
    sink += (double)getppid();
}

STEP void busy(void) {
    many_registers(9, 1, 2, 3);
    in_70_kib();
    realigned(33);
    library();
    STAY;
}

STEP void allocating(int levels) {
    if (levels > 0)
        allocating(levels - 1);
    else
        free(keep());
    STAY;
}

static void start_timer(void (*handler)(int), int flags) {
    struct sigaction action;
    struct sigevent event;
    struct itimerspec period = {{0, PERIOD_NS}, {0, PERIOD_NS}};
    timer_t timer;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags | SA_RESTART;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    if (sigaction(SIGUSR1, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &period, NULL) != 0)
        _exit(4);
}

int main(int argc, char **argv) {
    static char room[1 << 18];
    stack_t own = {.ss_sp = room, .ss_flags = 0, .ss_size = sizeof room};
    sigaltstack(&own, NULL);
    struct tail tail = {0};
    learn_tail(&tail);
    library();
    if (!start())
        return 1;
    if (argc > 1) {
        start_timer(on_tick, SA_ONSTACK);
        while (signals < SIGNALS)
            busy();
        signal(SIGUSR1, SIG_IGN);
        write_seen(argv[1]);
        book("pool_get", 0, &tail);
    } else {
        start_timer(count, 0);
        for (int round = 0; round < ROUNDS; round++)
            for (int levels = 0; levels < 5; levels++)
                allocating(levels);
        signal(SIGUSR1, SIG_IGN);
        book("keep allocating main", ROUNDS, &tail);
        book("keep allocating allocating main", ROUNDS, &tail);
        book("keep allocating allocating allocating main", ROUNDS, &tail);
        book("keep allocating allocating allocating allocating main", ROUNDS, &tail);
        book("keep allocating allocating allocating allocating allocating main", ROUNDS, &tail);
    }
    finish_with("signals", (unsigned long)signals);
    return 0;
}
