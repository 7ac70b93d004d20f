//! Kinds of calls that findings and tables ask for: calls that poll, send, look a path up, or wait. Numbers are those
//! of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl); [`native`] has the number for calls of i386 and x32.

use profiler_common::call::COMPAT;

use crate::kernel::calls::native;

/// Calls that return how many of several descriptors are ready: poll, select, epoll_wait, pselect6, ppoll, epoll_pwait, epoll_pwait2.
pub(super) const POLLS: [u64; 7] = [7, 23, 232, 270, 271, 281, 441];
/// Calls that sleep: nanosleep, clock_nanosleep.
pub(super) const SLEEPS: [u64; 2] = [35, 230];
/// futex.
pub(super) const FUTEX: u64 = 202;
/// Other calls that wait for somebody else: pause, accept, wait4, semop, msgrcv, flock, rt_sigsuspend, rt_sigtimedwait, io_getevents,
/// semtimedop, mq_timedreceive, waitid, accept4, io_pgetevents, futex_waitv, futex_wait; vfork, which waits for the exec of its child, and
/// io_uring_enter.
const OTHER_WAITS: [u64; 18] =
    [34, 43, 61, 65, 70, 73, 128, 130, 208, 220, 243, 247, 288, 333, 449, 455, 58, 426];
/// Calls that read from one descriptor: read, pread64, readv, recvfrom, recvmsg.
pub(super) const READS: [u64; 5] = [0, 17, 19, 45, 47];
/// Calls by which a server receives connections, messages or data: read, readv, accept, recvfrom, recvmsg, accept4, recvmmsg.
pub(super) const RECEIVES: [u64; 7] = [0, 19, 43, 45, 47, 288, 299];
/// Calls that write to one descriptor: write, pwrite64, writev, sendto, sendmsg.
pub(super) const WRITES: [u64; 5] = [1, 18, 20, 44, 46];
/// Calls that send one message: sendto, sendmsg.
pub(super) const SENDS: [u64; 2] = [44, 46];
/// Calls that read a clock, for which there is a vDSO: gettimeofday, time, clock_gettime.
pub(super) const CLOCKS: [u64; 3] = [96, 201, CLOCK_GETTIME];
/// clock_gettime.
pub(super) const CLOCK_GETTIME: u64 = 228;
/// Calls that look a path up: open, stat, lstat, access, readlink, openat, newfstatat, readlinkat, faccessat, statx, faccessat2, openat2.
pub(super) const LOOKUPS: [u64; 12] = [2, 4, 6, 21, 89, 257, 262, 267, 269, 332, 439, 437];
/// Calls that wait for a disk: msync, fsync, fdatasync, sync, sync_file_range, syncfs.
pub(super) const SYNCS: [u64; 6] = [26, 74, 75, 162, 277, 306];

/// Whether a call is uretprobe or uprobe. No program makes these by itself: the kernel places them where somebody probes it.
pub(super) fn is_of_probes(call: u64) -> bool {
    [335, 336].contains(&call)
}

/// Whether the result of a call is a number of things: [`POLLS`] (descriptors that are ready), futex (threads that were woken),
/// recvmmsg and sendmmsg (messages).
pub(super) fn counts_things(call: u64) -> bool {
    native(call).is_some_and(|call| POLLS.contains(&call) || [FUTEX, 299, 307].contains(&call))
}

/// Whether a call is meant to wait until something happens: a thread in such a call has nothing else to do.
pub(super) fn is_wait(call: u64) -> bool {
    native(call).is_some_and(|call| {
        POLLS.contains(&call) || SLEEPS.contains(&call) || call == FUTEX || OTHER_WAITS.contains(&call)
    })
}

/// The bitmap of the calls of a kind, for the kernel side: eight words for native calls and eight for those of i386.
pub(super) fn words(is_of_kind: impl Fn(u64) -> bool) -> [u64; 16] {
    let mut words = [0; 16];
    for (first, kind) in [(0, 0), (8, COMPAT)] {
        for call in (0..512u64).filter(|call| is_of_kind(kind | call)) {
            words[first + call as usize / 64] |= 1 << (call % 64);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_kinds_wait() {
        let x32 = 1 << 30;
        assert!(is_wait(COMPAT | 168) && is_wait(x32 | 7) && !is_wait(COMPAT | 3), "poll, poll, read");
    }

    #[test]
    fn the_kernel_side_has_a_bit_for_each_call_that_waits() {
        let words = words(is_wait);
        let has = |call: usize| words[call / 64] >> (call % 64) & 1 == 1;
        assert!(has(232) && has(202) && has(7) && !has(0) && !has(1));
        assert!(has(512 + 168) && has(512 + 240) && !has(512 + 3));
    }
}
