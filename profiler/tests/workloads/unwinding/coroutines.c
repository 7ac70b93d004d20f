// A program that switches its own stacks: coroutines by makecontext, and by a switch in assembly as libraries for
// fibers have, whose stacks begin with a return address of zero. All of them call the allocator in turns.
#include "chains.h"
#include <ucontext.h>

#define FIBERS 7
#define ROUNDS 101
#define STACK_BYTES (1 << 16)

static ucontext_t home, contexts[FIBERS];
static char stacks[2 * FIBERS][STACK_BYTES] __attribute__((aligned(64)));
static struct tail in_main, in_context[FIBERS], in_fiber;
static int running;

STEP void *keep(void) {
    void *block = malloc(48);
    STAY;
    return block;
}

STEP void deeper(int levels) {
    if (levels > 0)
        deeper(levels - 1);
    else
        keep();
    STAY;
}

STEP void yield_home(int number) {
    swapcontext(&contexts[number], &home);
    STAY;
}

STEP void body(int number) {
    learn_tail(&in_context[number]);
    yield_home(number);
    for (int round = 0; round < ROUNDS; round++) {
        deeper(number);
        yield_home(number);
    }
}

// Switches to the stack at `to` and leaves the present one at `*from`.
void switch_stack(void **from, void *to);
__asm__(".text\n"
        ".globl switch_stack\n"
        ".type switch_stack, @function\n"
        "switch_stack:\n"
        "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
        "ret\n"
        ".size switch_stack, . - switch_stack\n");

static void *main_stack, *fiber_stacks[FIBERS];

STEP void fiber(void) {
    for (int round = 0;; round++) {
        if (round == 0)
            learn_tail(&in_fiber);
        else
            deeper(running);
        switch_stack(&fiber_stacks[running], main_stack);
        STAY;
    }
}

static void prepare(int number) {
    getcontext(&contexts[number]);
    contexts[number].uc_stack.ss_sp = stacks[number];
    contexts[number].uc_stack.ss_size = STACK_BYTES;
    contexts[number].uc_link = &home;
    makecontext(&contexts[number], (void (*)(void))body, 1, number);
    void **top = (void **)(stacks[FIBERS + number] + STACK_BYTES);
    *--top = NULL;
    *--top = (void *)fiber;
    // rbp as some code leaves it: an address on the stack, but no frame's.
    for (int i = 0; i < 6; i++)
        *--top = stacks[FIBERS + number] + STACK_BYTES - 64;
    fiber_stacks[number] = top;
}

STEP void turn(void) {
    for (running = 0; running < FIBERS; running++) {
        swapcontext(&home, &contexts[running]);
        switch_stack(&main_stack, fiber_stacks[running]);
        deeper(0);
    }
}

static void book_all(void) {
    char chain[200];
    for (int number = 0; number < FIBERS; number++) {
        char *end = stpcpy(chain, "keep");
        for (int level = 0; level <= number; level++)
            end = stpcpy(end, " deeper");
        strcpy(end, " body");
        // The C library has no unwind information that says so, but here the stack ends.
        book(chain, ROUNDS, &in_context[number]);
        end_of_stack("nothing calls this function: a coroutine begins here, or the stack is damaged");
        strcpy(end, " fiber");
        book(chain, ROUNDS, &in_fiber);
    }
    book("keep deeper turn main", FIBERS * ROUNDS, &in_main);
}

int main(void) {
    learn_tail(&in_main);
    for (int number = 0; number < FIBERS; number++) {
        prepare(number);
        swapcontext(&home, &contexts[number]);
        running = number;
        switch_stack(&main_stack, fiber_stacks[number]);
    }
    // What __start_context returns to is not a return address: another unwinder must not have continued.
    for (int number = 0; number < FIBERS; number++)
        if (in_context[number].count != 1)
            return 2;
    if (!start())
        return 1;
    for (int round = 0; round < ROUNDS; round++)
        turn();
    book_all();
    finish();
    return 0;
}
