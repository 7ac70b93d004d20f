// Calls through linkage tables all the time, interrupted by a handler that takes from a pool; and takes from the pool out
// of the dynamic linker, while it looks a function up. What another unwinder sees goes to the path in the argument.
#include "oracle.h"
#include <signal.h>
#include <time.h>

#define SIGNALS 1009
#define PERIOD_NS 500000

extern void (*while_linking)(void);
int small_0(int), small_1(int), small_2(int), small_3(int);
int choice_0(int), choice_1(int), choice_2(int), choice_3(int), choice_4(int), choice_5(int), choice_6(int);

static volatile sig_atomic_t signals;
static volatile int sink;

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

STEP void hook(void) {
    take();
    STAY;
}

STEP void choices(void) {
    sink += choice_0(1) + choice_1(1) + choice_2(1);
    sink += choice_3(1) + choice_4(1) + choice_5(1) + choice_6(1);
}

STEP void busy(void) {
    for (int i = 0; i < 100; i++)
        sink += small_0(i) + small_1(i) + small_2(i) + small_3(i) + abs(i) + (int)labs(i);
}

int main(int argc, char **argv) {
    static char room[1 << 18];
    stack_t own = {.ss_sp = room, .ss_flags = 0, .ss_size = sizeof room};
    struct sigaction action;
    struct itimerspec period = {{0, PERIOD_NS}, {0, PERIOD_NS}};
    timer_t timer;
    struct tail tail = {0};
    learn_tail(&tail);
    sigaltstack(&own, NULL);
    while_linking = hook;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_tick;
    action.sa_flags = SA_ONSTACK;
    if (argc < 2 || !start())
        return 1;
    choices();
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_signo = SIGUSR1;
    if (sigaction(SIGUSR1, &action, NULL) != 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &period, NULL) != 0)
        return 2;
    while (signals < SIGNALS)
        busy();
    signal(SIGUSR1, SIG_IGN);
    write_seen(argv[1]);
    book("pool_get", 0, &tail);
    finish_with("taken", seen_total);
    return 0;
}
