# For gdb: says, whenever a process is stopped by SIGUSR2, for every thread its registers and its stack, and waits for a
# line on stdin before the process goes on. Which process, and how often: $pid and $stops.
import sys

import gdb

REGISTERS = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip".split()


def say(*words):
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def show(thread):
    thread.switch()
    frame = gdb.newest_frame()
    values = [int(frame.read_register(name)) & 0xFFFFFFFFFFFFFFFF for name in REGISTERS]
    say("THREAD", *["%x" % value for value in values])
    while frame is not None:
        # These have no frame on the stack: a function that is inlined into another, and one that has ended by a jump,
        # which gdb concludes from debug information.
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            say("FRAME", "%x" % frame.pc(), frame.name() or "?")
        frame = frame.older()


for setting in ("pagination off", "confirm off", "backtrace past-main on", "backtrace past-entry on"):
    gdb.execute("set " + setting)
gdb.execute("handle SIGUSR2 stop nopass", to_string=True)
pid = int(gdb.convenience_variable("pid"))
gdb.execute("attach %d" % pid, to_string=True)
for _ in range(int(gdb.convenience_variable("stops"))):
    say("GOING")
    gdb.execute("continue", to_string=True)
    for thread in gdb.selected_inferior().threads():
        show(thread)
    say("STOPPED")
    if not sys.stdin.readline():
        break
gdb.execute("detach", to_string=True)
