// System calls by the prime, and books of them: eight named threads and the main one. `[--stop]`: the process is also stopped and
// continued inside a long call.
//
// Before `go`, each thread waits in a read that is under way when an observer attaches. After its work it waits in another read,
// which is still under way when the books are written. On `quit` the process ends with these threads in their calls.
//
// The main thread's books do not have what it does after it has closed them: two writes to standard output (the line of the books,
// `DONE`) and its reads of the next word.
#include "syscalls.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PPIDS, BYTES, ERRORS, NAPS, SIGNALS, CHILDREN, COMPAT_CALLS, ENDS, THREADS };
enum { TIMED_CALLS = 101, RESTARTED = 7, INTERRUPTED = 5, NAPS_INTERRUPTED = 3, FORKS = 13, VFORKS = 3 };

static const char *const names[THREADS] = {"ppids", "bytes", "errors", "naps", "signals", "children", "compat", "ends"};
static struct books all[THREADS], main_books = {.name = "main"}, child_books = {.name = "of_children"};
static int go[THREADS][2], end[THREADS][2], done[2], poked[2], stopper[2], stopped[2];
static volatile uint32_t handled, next_phase;
static volatile long signals_tid;
static int stops;

// ---- what each thread does

static void ppids(struct books *b) {
    for (int i = 0; i < 100003; i++)
        call(b, SYS_getppid);
    for (int i = 0; i < 503; i++)
        call(b, SYS_getuid);
}

static void bytes(struct books *b) {
    static char block[4096];
    int ends[2], pair[2];
    call(b, SYS_pipe2, ends, 0);
    call(b, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
    for (int i = 0; i < 1009; i++) {
        call(b, SYS_write, ends[1], block, 13 + i % 7);
        call(b, SYS_read, ends[0], block, sizeof block);
    }
    for (int i = 0; i < 211; i++) {
        call(b, SYS_sendto, pair[0], block, 1021, 0);
        call(b, SYS_recvfrom, pair[1], block, sizeof block, 0);
    }
    for (int i = 0; i < 17; i++)
        call(b, SYS_getrandom, block, 61, 0);
    call(b, SYS_close, ends[1]);
    call(b, SYS_read, ends[0], block, sizeof block); // The end of the pipe: 0 bytes.
}

// More different errors of one call than an observer may have expected.
static void open_in_vain(struct books *b) {
    static char too_long[5000];
    memset(too_long, 'n', sizeof too_long - 1);
    for (int i = 0; i < 211; i++)
        call(b, SYS_openat, AT_FDCWD, "/nowhere/at/all", O_RDONLY);
    for (int i = 0; i < 13; i++)
        call(b, SYS_openat, AT_FDCWD, "/dev/null/below", O_RDONLY);
    for (int i = 0; i < 11; i++)
        call(b, SYS_openat, AT_FDCWD, "/", O_WRONLY);
    for (int i = 0; i < 7; i++)
        call(b, SYS_openat, AT_FDCWD, too_long, O_RDONLY);
    for (int i = 0; i < 5; i++)
        call(b, SYS_openat, AT_FDCWD, NULL, O_RDONLY);
    for (int i = 0; i < 3; i++)
        call(b, SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY | O_DIRECTORY | O_CREAT);
    for (int i = 0; i < 2; i++)
        call(b, SYS_openat, 9999, "relative", O_RDONLY);
}

// A filter of this thread refuses `getpgid`: the kernel enters no such call.
static void be_refused(struct books *b) {
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    static const struct sock_fprog filter = {sizeof code / sizeof *code, code};
    call(b, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    call(b, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
    for (int i = 0; i < 31; i++)
        call(b, SYS_getpgid, 0);
}

static void errors(struct books *b) {
    uint32_t word = 1;
    int pair[2];
    char byte;
    call(b, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair);
    open_in_vain(b);
    for (int i = 0; i < 223; i++)
        call(b, SYS_read, 9999, &byte, 1);
    for (int i = 0; i < 227; i++)
        call(b, SYS_recvfrom, pair[0], &byte, 1, MSG_DONTWAIT);
    for (int i = 0; i < 229; i++)
        call(b, SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, NULL);
    for (int i = 0; i < 233; i++)
        call(b, SYS_close, 9999);
    for (int i = 0; i < 19; i++)
        call(b, 600); // No call has this number.
    for (int i = 0; i < 2; i++)
        call(b, -1);
    be_refused(b);
}

static void naps(struct books *b) {
    struct pollfd none = {.fd = -1};
    for (int i = 0; i < 1013; i++)
        call(b, SYS_poll, &none, 1, 0);
    // Every length is 5 % longer than the one before: 0.1 ms to 13 ms.
    double ns = 100000;
    for (int i = 0; i < TIMED_CALLS; i++, ns *= 1.05) {
        const struct timespec length = {0, (long)ns};
        timed_call(b, SYS_nanosleep, &length, NULL);
    }
}

static void on_signal(int number) {
    (void)number;
    struct books *b = &all[SIGNALS];
    call(b, SYS_getppid); // A call inside the call that was interrupted.
    handled++;
}

static void is_restarted(struct books *b, long nr, uint64_t times) {
    entry_of(b, NATIVE, nr, 0)->restarts += times;
}

// `main` pokes: see `poke`.
static void signals(struct books *b) {
    char block[16];
    signals_tid = b->tid;
    next_phase = 1; // The handler makes the call start again; then there is a word to read.
    call(b, SYS_read, poked[0], block, sizeof block);
    is_restarted(b, SYS_read, RESTARTED);
    next_phase = 2; // The handler ends the call.
    for (int i = 0; i < INTERRUPTED; i++)
        call(b, SYS_read, poked[0], block, sizeof block);
    next_phase = 3; // A sleep ends, whatever the handler asks for.
    for (int i = 0; i < NAPS_INTERRUPTED; i++) {
        const struct timespec hour = {3600, 0};
        call(b, SYS_nanosleep, &hour, NULL);
    }
    // Each handler has returned by this call, whose result means nothing.
    entry_of(b, NATIVE, SYS_rt_sigreturn, 0)->count += RESTARTED + INTERRUPTED + NAPS_INTERRUPTED;
    if (stops) { // The sleep goes on after the stop, by `restart_syscall`.
        const struct timespec length = {0, 300 * 1000 * 1000};
        const long own = b->tid;
        call(b, SYS_write, stopper[1], &own, sizeof own);
        timed_call(b, SYS_nanosleep, &length, NULL);
        call(b, SYS_read, stopped[0], block, 1);
    }
}

static void be_child(void) {
    for (int i = 0; i < 17; i++)
        bare_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
    bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

static void children(struct books *b) {
    static char *const no_arguments[] = {"/nowhere/at/all", NULL};
    for (int i = 0; i < FORKS; i++) {
        long child = bare_call(SYS_fork, 0, 0, 0, 0, 0, 0);
        if (child == 0)
            be_child();
        book(b, NATIVE, SYS_fork, child);
        call(b, SYS_wait4, child, NULL, 0, NULL);
    }
    for (int i = 0; i < 17 * FORKS; i++)
        book(&child_books, NATIVE, SYS_getppid, 0);
    for (volatile int i = 0; i < VFORKS; i++) { // The child borrows this stack.
        pid_t child = vfork();
        if (child == 0) {
            bare_call(SYS_execve, (long)no_arguments[0], (long)no_arguments, 0, 0, 0, 0);
            bare_call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
        }
        book(b, NATIVE, SYS_vfork, child);
        call(b, SYS_wait4, child, NULL, 0, NULL);
        book(&child_books, NATIVE, SYS_execve, -ENOENT);
    }
}

static void compat(struct books *b) {
    for (int i = 0; i < 401; i++)
        call_32(b, 64); // getppid of i386; semget of x86-64.
    for (int i = 0; i < 11; i++)
        call_32(b, 20); // getpid of i386; writev of x86-64.
    for (int i = 0; i < 7; i++)
        call_32(b, 6); // close of i386, of descriptor 0.
    for (int i = 0; i < 3; i++)
        call(b, 0x40000000 | SYS_getppid); // x32: an error where the kernel does not have it.
}

static void ends(struct books *b) {
    for (int i = 0; i < 19; i++)
        call(b, SYS_getppid);
}

static void (*const work[THREADS])(struct books *) = {ppids, bytes, errors, naps, signals, children, compat, ends};

static void *thread_main(void *argument) {
    struct books *b = argument;
    long number = b - all;
    char byte;
    prctl(PR_SET_NAME, names[number]);
    b->tid = bare_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
    if (number == COMPAT_CALLS && unshare(CLONE_FILES) != 0) // It closes descriptor 0 of its own table.
        _exit(66);
    if (write(done[1], "r", 1) != 1)
        _exit(66);
    call(b, SYS_read, go[number][0], &byte, 1);
    work[number](b);
    if (number == ENDS) {
        entry_of(b, NATIVE, SYS_exit, 0)->count++;
        call(b, SYS_write, done[1], "e", 1);
        bare_call(SYS_exit, 0, 0, 0, 0, 0, 0);
    }
    // Booked by `main` once all are here: the thread may be seen before it returns from the write.
    call(b, SYS_write, done[1], "e", 1);
    bare_call(SYS_read, end[number][0], (long)&byte, 1, 0, 0, 0);
    return NULL;
}

// ---- what the main thread does

// Whether the thread is blocked in this call, by `/proc`.
static int is_blocked_in(struct books *b, long pid, long tid, long nr) {
    char path[64], text[64] = {0}, wanted[32];
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/syscall", pid, tid);
    snprintf(wanted, sizeof wanted, "%ld ", nr);
    long file = call(b, SYS_openat, AT_FDCWD, path, O_RDONLY);
    if (file < 0)
        return 0;
    call(b, SYS_read, file, text, sizeof text - 1);
    call(b, SYS_close, file);
    return strncmp(text, wanted, strlen(wanted)) == 0;
}

static void poke_in(struct books *b, long nr, int signal) {
    uint32_t before = handled;
    while (!is_blocked_in(b, b->tid, signals_tid, nr))
        call(b, SYS_sched_yield);
    call(b, SYS_tgkill, b->tid, signals_tid, signal);
    while (handled == before)
        call(b, SYS_sched_yield);
}

static void await_phase(struct books *b, uint32_t phase) {
    while (next_phase != phase)
        call(b, SYS_sched_yield);
}

static void poke(struct books *b) {
    await_phase(b, 1);
    for (int i = 0; i < RESTARTED; i++)
        poke_in(b, SYS_read, SIGUSR1);
    call(b, SYS_write, poked[1], "five!", 5);
    await_phase(b, 2);
    for (int i = 0; i < INTERRUPTED; i++)
        poke_in(b, SYS_read, SIGUSR2);
    await_phase(b, 3);
    for (int i = 0; i < NAPS_INTERRUPTED; i++)
        poke_in(b, SYS_nanosleep, SIGUSR1);
}

static void await_end_of_ends(struct books *b) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", all[ENDS].tid);
    for (long file; (file = call(b, SYS_openat, AT_FDCWD, path, O_RDONLY)) >= 0;) {
        call(b, SYS_close, file);
        call(b, SYS_sched_yield);
    }
}

// Stops this process and lets it go on: only another one can.
static void be_stopper(void) {
    long tid;
    char path[64], text[256];
    struct books unused = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)getppid());
    while (read(stopper[0], &tid, sizeof tid) == sizeof tid) {
        while (!is_blocked_in(&unused, getppid(), tid, SYS_nanosleep))
            sched_yield();
        kill(getppid(), SIGSTOP);
        for (int is_stopped = 0; !is_stopped; sched_yield()) {
            int file = open(path, O_RDONLY);
            ssize_t got = read(file, text, sizeof text - 1);
            close(file);
            text[got > 0 ? got : 0] = '\0';
            const char *state = strrchr(text, ')');
            is_stopped = state && state[2] == 'T';
        }
        kill(getppid(), SIGCONT);
        if (write(stopped[1], "c", 1) != 1)
            _exit(66);
    }
    _exit(0);
}

static void write_books(void) {
    static char text[TEXT_MAX];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"clock_ns\":%llu,\"threads\":[", (unsigned long long)clock_cost_ns);
    for (int t = 0; t < THREADS; t++) {
        n += print_thread(text + n, sizeof text - n, &all[t]);
        text[n++] = ',';
    }
    n += print_thread(text + n, sizeof text - n, &main_books);
    n += (size_t)snprintf(text + n, sizeof text - n, "],\"children\":");
    n += print_thread(text + n, sizeof text - n, &child_books);
    n += (size_t)snprintf(text + n, sizeof text - n, "}\n");
    if (n >= sizeof text)
        _exit(71);
    say_bytes(text, n);
}

static int prepare(void) {
    const struct sigaction again = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, once = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &again, NULL);
    sigaction(SIGUSR2, &once, NULL);
    if (pipe(done) || pipe(poked) || pipe(stopper) || pipe(stopped))
        return 65;
    for (int t = 0; t < THREADS; t++)
        if (pipe(go[t]) || pipe(end[t]))
            return 65;
    if (stops && fork() == 0)
        be_stopper();
    measure_clock();
    for (int t = 0; t < THREADS; t++) {
        pthread_t thread;
        char byte;
        all[t].name = names[t];
        if (pthread_create(&thread, NULL, thread_main, &all[t]) != 0 || read(done[0], &byte, 1) != 1)
            return 65;
    }
    main_books.tid = getpid();
    // All of them wait in their first read.
    struct books unused = {0};
    for (int t = 0; t < THREADS; t++)
        while (!is_blocked_in(&unused, main_books.tid, all[t].tid, SYS_read))
            sched_yield();
    return 0;
}

int main(int argc, char **argv) {
    struct books *b = &main_books;
    char byte = 0;
    stops = flag(argc, argv, "--stop");
    int failed = prepare();
    if (failed)
        return failed;
    say_ready();
    while (byte != '\n') // `go`
        if (call(b, SYS_read, STDIN_FILENO, &byte, 1) != 1)
            return 0;
    for (int t = 0; t < THREADS; t++)
        call(b, SYS_write, go[t][1], "g", 1);
    poke(b);
    for (int t = 0; t < THREADS; t++)
        call(b, SYS_read, done[0], &byte, 1);
    await_end_of_ends(b);
    for (int t = 0; t < THREADS; t++)
        while (t != ENDS && !is_blocked_in(b, b->tid, all[t].tid, SYS_read))
            call(b, SYS_sched_yield);
    write_books();
    say("DONE");
    (void)wait_for("quit");
    _exit(0); // The threads are in their last calls.
}
