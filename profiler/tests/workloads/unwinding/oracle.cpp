// Allocates along random chains of everything that C++ calls through: callbacks of the C library, std::function, virtual
// functions, handlers of exceptions, destructors, recursion. Before each allocation, another unwinder is asked.
#include "oracle.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

constexpr int ALLOCATIONS = 100000;
// Deeper stacks are cut by design.
constexpr int DEEPEST = 60;

uint64_t state = 0x9e3779b97f4a7c15;

unsigned random_below(unsigned bound) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<unsigned>((state >> 33) % bound);
}

int left = ALLOCATIONS;

} // namespace

STEP void *take() {
    witness();
    void *block = malloc(40);
    STAY;
    return block;
}

static void go_on(int levels);

STEP int compare_numbers(const void *a, const void *b) {
    static bool inside;
    if (!inside && left > 0) {
        inside = true;
        left--;
        free(take());
        inside = false;
    }
    return *static_cast<const int *>(a) - *static_cast<const int *>(b);
}

STEP void sorting(int) {
    int numbers[5] = {3, 1, 4, 1, 5};
    qsort(numbers, 5, sizeof numbers[0], compare_numbers);
    STAY;
}

STEP void by_function(int levels) {
    std::function<void(int)> next = [levels](int less) { go_on(levels - less); };
    next(1);
    STAY;
}

struct Room {
    virtual ~Room() = default;
    virtual void tick(int levels) = 0;
};

struct Small final : Room {
    __attribute__((noipa)) void tick(int levels) override {
        go_on(levels - 1);
        STAY;
    }
};

struct Large final : Room {
    __attribute__((noipa)) void tick(int levels) override {
        char room[5000];
        __asm__ volatile("" ::"r"(room) : "memory");
        go_on(levels - 1);
        __asm__ volatile("" ::"r"(room) : "memory");
    }
};

static Small small;
static Large large;
static Room *volatile rooms[] = {&small, &large};

STEP void by_virtual(int levels) {
    rooms[random_below(2)]->tick(levels);
    STAY;
}

// Goes on while an exception passes.
struct Guard {
    int levels;
    ~Guard() { go_on(levels - 1); }
};

STEP void throwing(int levels) {
    Guard guard{levels};
    if (levels > 0)
        throw std::runtime_error("on purpose");
}

STEP void catching(int levels) {
    try {
        throwing(levels);
    } catch (const std::runtime_error &) {
        go_on(levels - 1);
    }
    STAY;
}

STEP void by_algorithm(int levels) {
    std::vector<int> numbers{1, 2};
    std::for_each(numbers.begin(), numbers.end(), [levels](int number) { go_on(levels - 1 - number); });
    STAY;
}

STEP void recursion(int times, int levels) {
    if (times > 0)
        recursion(times - 1, levels);
    else
        go_on(levels - 1);
    STAY;
}

STEP void deeper(int levels) {
    recursion(static_cast<int>(random_below(DEEPEST)), std::min(levels, 2));
    STAY;
}

__attribute__((noipa)) static void go_on(int levels) {
    if (left <= 0)
        return;
    if (levels <= 0) {
        left--;
        free(take());
        return;
    }
    static void (*const ways[])(int) = {by_function, by_virtual, catching, by_algorithm, sorting, deeper};
    ways[random_below(100) == 0 ? 5 : random_below(5)](levels);
}

int main(int argc, char **argv) {
    struct tail tail = {};
    learn_tail(&tail);
    try {
        throw std::runtime_error("to have the unwinder ready");
    } catch (const std::runtime_error &) {
    }
    if (argc < 2 || !start())
        return 1;
    while (left > 0)
        go_on(1 + static_cast<int>(random_below(4)));
    write_seen(argv[1]);
    book("take", ALLOCATIONS, &tail);
    finish_with("taken", seen_total);
    return 0;
}
