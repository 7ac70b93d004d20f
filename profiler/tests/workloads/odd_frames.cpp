// Frames that need an odd rule: larger than 64 KiB, realigned for vectors, of a size known at run time only, and
// interrupted by a signal. Built without frame pointers; nothing looks at it but its unwind information.

#include <alloca.h>
#include <immintrin.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

volatile int sink;

__attribute__((noinline)) static void touch(char *bytes, size_t size) {
    memset(bytes, sink, size);
    sink += bytes[size / 2];
}

__attribute__((noinline)) static void large_frame() {
    char bytes[70 * 1024];
    touch(bytes, sizeof bytes);
}

// A frame of unknown size: the compiler keeps a frame pointer in this function alone.
__attribute__((noinline)) static void unknown_size(int size) {
    touch(static_cast<char *>(alloca(size + 16)), size + 16);
}

// Arguments on the stack, a frame of unknown size and vectors: the compiler keeps the old stack pointer in r10.
__attribute__((noinline)) static int realigned(int a, int b, int c, int d, int e, int f, int g, int h) {
    alignas(64) __m256i vectors[4];
    char *bytes = static_cast<char *>(alloca(a + 16));
    memset(vectors, g, sizeof vectors);
    touch(bytes, a + 16);
    touch(reinterpret_cast<char *>(vectors), sizeof vectors);
    return a + b + c + d + e + f + g + h + bytes[3];
}

static void handler(int) { sink++; }

int main(int argc, char **) {
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    large_frame();
    unknown_size(argc);
    int sum = realigned(argc, 1, 2, 3, 4, 5, 6, argc);
#ifndef NO_EXCEPTIONS
    try {
        if (sum < 0) throw sum;
    } catch (int) {
        sink++;
    }
#endif
    return printf("%d\n", sum) < 0;
}
