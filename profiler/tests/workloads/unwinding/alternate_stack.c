// Signal handlers on a stack of their own, and on top of each other. The signals come at known instructions, so that
// malloc may be called from the handlers; one comes at the first instruction of a function, where the byte before
// belongs to another.
#include "chains.h"
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define ROUNDS 223

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

// A signal for this thread, which it takes before this returns. In place: nothing of the C library's is on the stack.
STEP void strike(int number) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_tgkill), "D"(getpid()), "S"(syscall(SYS_gettid)), "d"(number)
                     : "rcx", "r11", "memory");
    STAY;
}

// Not a step away from each other: the byte before `illegal` is the `ret` of `before`.
__asm__(".text\n"
        ".globl before, illegal\n"
        ".type before, @function\n"
        "before:\n"
        ".cfi_startproc\n"
        "nop\n ret\n"
        ".cfi_endproc\n"
        ".size before, . - before\n"
        ".type illegal, @function\n"
        "illegal:\n"
        ".cfi_startproc\n"
        "ud2\n ret\n"
        ".cfi_endproc\n"
        ".size illegal, . - illegal\n");
void illegal(void);

STEP void on_illegal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    keep();
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

STEP void on_second(int number) {
    (void)number;
    keep();
    STAY;
}

STEP void on_first(int number) {
    (void)number;
    keep();
    strike(SIGUSR2);
    STAY;
}

STEP void tick(void) {
    strike(SIGUSR1);
    STAY;
    illegal();
    STAY;
}

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

int main(void) {
    static char room[1 << 16];
    stack_t own = {.ss_sp = room, .ss_flags = 0, .ss_size = sizeof room};
    sigaltstack(&own, NULL);
    handle(SIGUSR1, on_first, SA_ONSTACK);
    handle(SIGUSR2, on_second, SA_ONSTACK);
    handle(SIGILL, (void (*)(int))(void *)on_illegal, SA_ONSTACK | SA_SIGINFO);
    struct tail tail = {0};
    learn_tail(&tail);
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        tick();
    book("keep on_first * strike tick main", ROUNDS, &tail);
    book("keep on_second * strike on_first * strike tick main", ROUNDS, &tail);
    book("keep on_illegal * illegal tick main", ROUNDS, &tail);
    finish();
    return 0;
}
