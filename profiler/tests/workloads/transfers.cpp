// A loop of one operation that does nothing else, to measure what an observer of files and sockets costs.
//
// `--milliseconds 500` per interval. Each `read`, `sync` or `echo` on stdin runs one interval and prints one JSON line: of reads of 4 KiB
// from a file in memory, of writes of 4 KiB with an fsync each, of datagrams that are sent and received again over loopback. `turn` makes two
// threads take turns: an operation is a switch from one to the other. `cpu_ns` is processor time per operation, which other work on the machine changes less than the time on the clock.
#include "workload.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <thread>

namespace {

char block[4096];
int file, ends[2], turns[2];

uint64_t cpu_ns() {
    timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return uint64_t(used.tv_sec) * 1000000000u + uint64_t(used.tv_nsec);
}

void check(bool ok, const char *what) {
    if (!ok) {
        perror(what);
        _exit(1);
    }
}

void reads() {
    for (int i = 0; i < 1024; i++)
        check(pread(file, block, sizeof block, 0) == ssize_t(sizeof block), "pread");
}

void syncs() {
    for (int i = 0; i < 8; i++)
        check(pwrite(file, block, sizeof block, 0) == ssize_t(sizeof block) && fsync(file) == 0, "fsync");
}

void echoes() {
    for (int i = 0; i < 512; i++) {
        check(send(ends[0], block, 64, 0) == 64 && recv(ends[1], block, sizeof block, 0) == 64, "there");
        check(send(ends[1], block, 64, 0) == 64 && recv(ends[0], block, sizeof block, 0) == 64, "back");
    }
}

// On one processor, each turn of the other thread is a switch to it.
void pass() {
    eventfd_t value;
    for (int i = 0; i < 512; i++)
        check(eventfd_write(turns[0], 1) == 0 && eventfd_read(turns[1], &value) == 0, "turn");
}

void answer() {
    eventfd_t value;
    while (eventfd_read(turns[0], &value) == 0)
        check(eventfd_write(turns[1], 1) == 0, "turn");
}

int datagrams() {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int made = socket(AF_INET, SOCK_DGRAM, 0);
    check(made >= 0 && bind(made, reinterpret_cast<sockaddr *>(&any), sizeof any) == 0, "bind");
    return made;
}

void connect_to(int from, int to) {
    sockaddr_in name{};
    socklen_t length = sizeof name;
    check(getsockname(to, reinterpret_cast<sockaddr *>(&name), &length) == 0, "getsockname");
    check(connect(from, reinterpret_cast<sockaddr *>(&name), length) == 0, "connect");
}

FRAME void turn(uint64_t interval_ns, void (*operations)(), uint64_t each) {
    uint64_t done = 0, began = now_ns(), cpu = cpu_ns(), took;
    do {
        operations();
        done += each;
    } while ((took = now_ns() - began) < interval_ns);
    cpu = cpu_ns() - cpu;
    say("{\"operations\":%llu,\"ns\":%.3f,\"cpu_ns\":%.3f}", (unsigned long long)done, double(took) / double(done),
        double(cpu) / double(done));
}

} // namespace

int main(int argc, char **argv) {
    uint64_t interval_ns = uint64_t(option(argc, argv, "--milliseconds", 500)) * 1000000u;
    char name[] = "transfers-XXXXXX";
    check((file = mkstemp(name)) >= 0 && unlink(name) == 0, "mkstemp");
    check(write(file, block, sizeof block) == ssize_t(sizeof block), "write");
    for (int &end : ends)
        end = datagrams();
    connect_to(ends[0], ends[1]);
    connect_to(ends[1], ends[0]);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    check(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
    for (int &turn : turns)
        check((turn = eventfd(0, 0)) >= 0, "eventfd");
    std::thread(answer).detach();
    say_ready();
    char line[64];
    while (hear(line, sizeof line)) {
        if (strcmp(line, "read") == 0)
            turn(interval_ns, reads, 1024);
        else if (strcmp(line, "sync") == 0)
            turn(interval_ns, syncs, 16);
        else if (strcmp(line, "echo") == 0)
            turn(interval_ns, echoes, 2048);
        else if (strcmp(line, "turn") == 0)
            turn(interval_ns, pass, 1024);
        else
            break;
    }
    _exit(0);
}
