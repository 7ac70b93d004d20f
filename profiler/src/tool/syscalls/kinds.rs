//! What calls are for, as far as it matters to what is said of them. Numbers are those of x86-64
//! (arch/x86/entry/syscalls/syscall_64.tbl).

/// Calls that return how many of several descriptors are ready: poll, select, epoll_wait, pselect6, ppoll, epoll_pwait, epoll_pwait2.
pub(super) const POLLS: [u64; 7] = [7, 23, 232, 270, 271, 281, 441];
/// Calls that sleep: nanosleep, clock_nanosleep.
pub(super) const SLEEPS: [u64; 2] = [35, 230];
/// futex.
pub(super) const FUTEX: u64 = 202;
/// Others that are made to wait: pause, wait4, rt_sigsuspend, rt_sigtimedwait, waitid, io_getevents, io_pgetevents, futex_wait,
/// futex_waitv.
const OTHER_WAITS: [u64; 9] = [34, 61, 128, 130, 208, 247, 333, 449, 455];
/// Calls that transfer bytes to or from one descriptor: read, write, pread64, pwrite64, readv, writev, sendto, recvfrom, sendmsg,
/// recvmsg.
pub(super) const TRANSFERS: [u64; 10] = [0, 1, 17, 18, 19, 20, 44, 45, 46, 47];
/// Calls that send one message: sendto, sendmsg.
pub(super) const SENDS: [u64; 2] = [44, 46];
/// Calls that read a clock, for which there is a vDSO: gettimeofday, time, clock_gettime.
pub(super) const CLOCKS: [u64; 3] = [96, 201, 228];
/// Calls that look a path up: open, stat, lstat, access, readlink, openat, newfstatat, readlinkat, faccessat, statx, faccessat2,
/// openat2.
pub(super) const LOOKUPS: [u64; 12] = [2, 4, 6, 21, 89, 257, 262, 267, 269, 332, 439, 437];
/// Calls that wait for a disk: msync, fsync, fdatasync, sync, sync_file_range, syncfs.
pub(super) const SYNCS: [u64; 6] = [26, 74, 75, 162, 277, 306];
/// Calls whose result is a number of things: those of [`POLLS`], futex (threads that were woken), recvmmsg, sendmmsg.
pub(super) fn count_things() -> impl Iterator<Item = u64> {
    POLLS.into_iter().chain([FUTEX, 299, 307])
}

/// Whether a call is made to wait: time in it is time in which the thread has nothing to do.
pub(super) fn is_wait(call: u64) -> bool {
    POLLS.contains(&call) || SLEEPS.contains(&call) || call == FUTEX || OTHER_WAITS.contains(&call)
}
