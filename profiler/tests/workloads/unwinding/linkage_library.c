// A library of small functions, called through linkage tables, some of which choose their implementation when they are
// first called: the program's hook runs inside the dynamic linker then, on its realigned stack.
void (*while_linking)(void);

#define SMALL(name, other)                                                                                             \
    int other(int);                                                                                                    \
    __attribute__((noipa)) int name(int number) { return number < 2 ? number : other(number / 2) + 1; }
SMALL(small_0, small_1)
SMALL(small_1, small_2)
SMALL(small_2, small_3)
SMALL(small_3, small_0)

static int chosen(int number) { return number; }

__attribute__((noipa, used)) static int (*choose(void))(int) {
    while_linking();
    __asm__ volatile("" ::: "memory");
    return chosen;
}

#define CHOICE(name) int name(int) __attribute__((ifunc("choose")));
CHOICE(choice_0)
CHOICE(choice_1)
CHOICE(choice_2)
CHOICE(choice_3)
CHOICE(choice_4)
CHOICE(choice_5)
CHOICE(choice_6)
