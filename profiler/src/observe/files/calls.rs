//! Which calls use or open files by their descriptors. Numbers are those of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).

/// Calls whose first argument is a descriptor of a file that they use: read, write, close, fstat, lseek, ioctl, pread64, pwrite64, readv,
/// writev, dup, dup2, sendfile, connect, accept, sendto, recvfrom, sendmsg, recvmsg, shutdown, bind, listen, getsockname, getpeername,
/// setsockopt, getsockopt, fcntl, flock, fsync, fdatasync, ftruncate, getdents, fchdir, fchmod, fchown, fstatfs, readahead, fsetxattr,
/// fgetxattr, flistxattr, fremovexattr, getdents64, fadvise64, epoll_wait, epoll_ctl, mq_timedsend, mq_timedreceive, inotify_add_watch, splice, tee, sync_file_range, vmsplice,
/// epoll_pwait, signalfd, fallocate, timerfd_settime, timerfd_gettime, accept4, signalfd4, dup3, preadv, pwritev, recvmmsg, syncfs,
/// fanotify_mark, sendmmsg, setns, finit_module, copy_file_range, preadv2, pwritev2, io_uring_enter, io_uring_register, epoll_pwait2.
const DESCRIPTORS: [u64; 74] = [
    0, 1, 3, 5, 8, 16, 17, 18, 19, 20, 32, 33, 40, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 54, 55, 72,
    73, 74, 75, 77, 78, 81, 91, 93, 138, 187, 190, 193, 196, 199, 217, 221, 232, 233, 242, 243, 254, 275,
    276, 277, 278, 281, 282, 285, 286, 287, 288, 289, 292, 295, 296, 299, 301, 306, 307, 308, 313, 326, 327,
    328, 426, 427, 441,
];
/// Calls that return a descriptor of a file that they open: open, socket, creat, epoll_create, inotify_init, openat, timerfd_create,
/// eventfd, eventfd2, epoll_create1, inotify_init1, memfd_create, io_uring_setup, pidfd_open, openat2. Their first argument is no descriptor,
/// or that of a directory.
const OPENINGS: [u64; 15] = [2, 41, 85, 213, 253, 257, 283, 284, 290, 291, 294, 319, 425, 434, 437];
/// close.
pub(crate) const CLOSE: u64 = 3;

/// Whether the first argument of a call is a descriptor of a file that it uses.
pub(crate) fn has_descriptor(call: u64) -> bool {
    DESCRIPTORS.contains(&call)
}

/// Whether a call returns a descriptor of a file that it opens.
pub(crate) fn is_opening(call: u64) -> bool {
    OPENINGS.contains(&call)
}
