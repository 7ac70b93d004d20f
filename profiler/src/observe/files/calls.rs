//! Which arguments of system calls are descriptors and paths.

use profiler_common::file::calls::FileUse;
use sysno::x86_64::Sysno;

use crate::kernel::calls::{self, native};

/// The first argument is the descriptor of a file that they use.
const DESCRIPTORS: [Sysno; 66] = [
    Sysno::read,
    Sysno::write,
    Sysno::fstat,
    Sysno::lseek,
    Sysno::ioctl,
    Sysno::pread64,
    Sysno::pwrite64,
    Sysno::readv,
    Sysno::writev,
    Sysno::dup,
    Sysno::dup2,
    Sysno::connect,
    Sysno::accept,
    Sysno::sendto,
    Sysno::recvfrom,
    Sysno::sendmsg,
    Sysno::recvmsg,
    Sysno::shutdown,
    Sysno::bind,
    Sysno::listen,
    Sysno::getsockname,
    Sysno::getpeername,
    Sysno::setsockopt,
    Sysno::getsockopt,
    Sysno::fcntl,
    Sysno::flock,
    Sysno::fsync,
    Sysno::fdatasync,
    Sysno::ftruncate,
    Sysno::getdents,
    Sysno::fchdir,
    Sysno::fchmod,
    Sysno::fchown,
    Sysno::fstatfs,
    Sysno::readahead,
    Sysno::fsetxattr,
    Sysno::fgetxattr,
    Sysno::flistxattr,
    Sysno::fremovexattr,
    Sysno::getdents64,
    Sysno::fadvise64,
    Sysno::mq_timedsend,
    Sysno::mq_timedreceive,
    Sysno::inotify_add_watch,
    Sysno::inotify_rm_watch,
    Sysno::sync_file_range,
    Sysno::vmsplice,
    Sysno::fallocate,
    Sysno::timerfd_settime,
    Sysno::timerfd_gettime,
    Sysno::accept4,
    Sysno::dup3,
    Sysno::preadv,
    Sysno::pwritev,
    Sysno::recvmmsg,
    Sysno::fanotify_mark,
    Sysno::syncfs,
    Sysno::sendmmsg,
    Sysno::setns,
    Sysno::finit_module,
    Sysno::preadv2,
    Sysno::pwritev2,
    Sysno::pidfd_send_signal,
    Sysno::process_madvise,
    Sysno::cachestat,
    Sysno::quotactl_fd,
];

/// They use two files: the arguments that are their descriptors.
const PAIRS: [(Sysno, u32, u32); 5] = [
    (Sysno::sendfile, 1, 2),
    (Sysno::splice, 1, 3),
    (Sysno::tee, 1, 2),
    (Sysno::copy_file_range, 1, 3),
    (Sysno::epoll_ctl, 1, 3),
];

/// They return a descriptor of a file that they open.
const OPENINGS: [Sysno; 17] = [
    Sysno::socket,
    Sysno::epoll_create,
    Sysno::inotify_init,
    Sysno::timerfd_create,
    Sysno::eventfd,
    Sysno::eventfd2,
    Sysno::epoll_create1,
    Sysno::inotify_init1,
    Sysno::memfd_create,
    Sysno::memfd_secret,
    Sysno::io_uring_setup,
    Sysno::pidfd_open,
    Sysno::userfaultfd,
    Sysno::perf_event_open,
    Sysno::open_by_handle_at,
    Sysno::fanotify_init,
    Sysno::pidfd_getfd,
];

/// The first argument is a path. Of two paths it is the one that is there before the call.
const PATHS: [Sysno; 29] = [
    Sysno::stat,
    Sysno::lstat,
    Sysno::access,
    Sysno::truncate,
    Sysno::rename,
    Sysno::mkdir,
    Sysno::rmdir,
    Sysno::link,
    Sysno::unlink,
    Sysno::readlink,
    Sysno::chmod,
    Sysno::chown,
    Sysno::lchown,
    Sysno::utime,
    Sysno::utimes,
    Sysno::mknod,
    Sysno::statfs,
    Sysno::setxattr,
    Sysno::lsetxattr,
    Sysno::getxattr,
    Sysno::lgetxattr,
    Sysno::listxattr,
    Sysno::llistxattr,
    Sysno::removexattr,
    Sysno::lremovexattr,
    Sysno::swapon,
    Sysno::swapoff,
    Sysno::umount2,
    Sysno::acct,
];

/// The first argument is the descriptor of a directory, and the second a path in it.
const PATHS_IN_DIRECTORY: [Sysno; 17] = [
    Sysno::mkdirat,
    Sysno::mknodat,
    Sysno::fchownat,
    Sysno::futimesat,
    Sysno::newfstatat,
    Sysno::unlinkat,
    Sysno::renameat,
    Sysno::renameat2,
    Sysno::linkat,
    Sysno::readlinkat,
    Sysno::fchmodat,
    Sysno::fchmodat2,
    Sysno::faccessat,
    Sysno::faccessat2,
    Sysno::utimensat,
    Sysno::statx,
    Sysno::name_to_handle_at,
];

/// The files that a call uses. Not those of `execve`, `chdir` and `chroot`: what their path begins with changes before they return.
pub(crate) fn use_of(call: u64) -> FileUse {
    const NONE: FileUse = FileUse::NONE;
    let native = match &*calls::call(call) {
        // It has one argument: the address of all.
        "i386:mmap" => None,
        "i386:mmap2" => Some(Sysno::mmap),
        _ => native(call).and_then(|number| Sysno::new(number as usize)),
    };
    let Some(call) = native else { return NONE };
    match call {
        Sysno::close => return NONE.with_descriptor(1).closing(),
        Sysno::epoll_wait | Sysno::epoll_pwait | Sysno::epoll_pwait2 => {
            return NONE.with_descriptor(1).polling();
        }
        Sysno::mmap => return NONE.with_descriptor(5).mapping(),
        Sysno::symlink => return NONE.with_path(2),
        Sysno::symlinkat => return NONE.with_descriptor(2).with_path(3),
        Sysno::open | Sysno::creat => return NONE.with_path(1).opening(),
        // How its path is followed is in memory.
        Sysno::openat2 => return NONE.opening(),
        Sysno::openat => return NONE.with_descriptor(1).with_path(2).opening(),
        // The first argument may be -1: then they open a file.
        Sysno::signalfd | Sysno::signalfd4 => return NONE.with_descriptor(1).opening(),
        Sysno::io_uring_enter | Sysno::io_uring_register => return NONE.with_descriptor(1).of_ring(),
        _ => {}
    }
    if let Some((_, first, second)) = PAIRS.iter().find(|(of, ..)| *of == call) {
        return NONE.with_descriptor(*first).with_second(*second);
    }
    if DESCRIPTORS.contains(&call) {
        return NONE.with_descriptor(1);
    }
    if OPENINGS.contains(&call) {
        return NONE.opening();
    }
    if PATHS.contains(&call) {
        return NONE.with_path(1);
    }
    if PATHS_IN_DIRECTORY.contains(&call) { NONE.with_descriptor(1).with_path(2) } else { NONE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_lists() {
        let pairs = PAIRS.map(|(call, ..)| call);
        let all = [&DESCRIPTORS[..], &pairs, &OPENINGS, &PATHS, &PATHS_IN_DIRECTORY].concat();
        let twice: Vec<&Sysno> =
            all.iter().enumerate().filter(|(at, call)| all[..*at].contains(call)).map(|(_, c)| c).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn a_use_says_where_descriptors_and_paths_are() {
        let of = |call: Sysno| use_of(call.id() as u64);
        let places = |call| (of(call).descriptor(), of(call).second(), of(call).path());
        assert_eq!(places(Sysno::read), (1, 0, 0));
        assert_eq!(places(Sysno::mmap), (5, 0, 0));
        assert_eq!(places(Sysno::sendfile), (1, 2, 0));
        assert_eq!(places(Sysno::unlink), (0, 0, 1));
        assert_eq!(places(Sysno::symlinkat), (2, 0, 3));
        assert_eq!(places(Sysno::getpid), (0, 0, 0));
        assert!(of(Sysno::openat).opens() && !of(Sysno::openat).closes());
        assert!(
            of(Sysno::close).closes() && !of(Sysno::close).opens() && of(Sysno::io_uring_enter).is_of_ring()
        );
    }
}
