//! Operations on files, and the calls that are counted as such.

use profiler_common::{
    file::calls::FileUse,
    io::{CallUse, RING_SYNC},
};
use sysno::x86_64::Sysno;

use crate::{io_tools::wait, kernel::calls::native, observe::files::calls::use_of as files_of};

/// An operation on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub(super) enum Operation {
    Read = 1,
    Write,
    Fsync,
    Fdatasync,
    SyncRange,
    Msync,
    Open,
    Stat,
    Rename,
    Unlink,
    Truncate,
    Fallocate,
    Readahead,
    List,
    SyncAll,
    Fault,
}

use Operation::{
    Fallocate, Fault, Fdatasync, Fsync, List, Msync, Open, Read, Readahead, Rename, Stat, SyncAll, SyncRange,
    Truncate, Unlink, Write,
};

impl Operation {
    /// All of them.
    pub(super) const ALL: [Operation; 16] = [
        Read, Write, Fsync, Fdatasync, SyncRange, Msync, Open, Stat, Rename, Unlink, Truncate, Fallocate,
        Readahead, List, SyncAll, Fault,
    ];

    /// The operation of a number of the kernel side.
    pub(super) fn of_number(number: u32) -> Option<Operation> {
        Operation::ALL.get((number as usize).checked_sub(1)?).copied()
    }

    /// The number on the kernel side.
    pub(super) fn number(self) -> u32 {
        self as u32
    }

    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Read => "read",
            Write => "write",
            Fsync => "fsync",
            Fdatasync => "fdatasync",
            SyncRange => "sync_file_range",
            Msync => "msync",
            Open => "open",
            Stat => "stat",
            Rename => "rename",
            Unlink => "unlink",
            Truncate => "truncate",
            Fallocate => "fallocate",
            Readahead => "readahead",
            List => "list",
            SyncAll => "sync",
            Fault => "fault",
        }
    }

    /// Whether it waits until something is on the device.
    pub(super) fn is_sync(self) -> bool {
        matches!(self, Fsync | Fdatasync | SyncRange | Msync | SyncAll)
    }

    /// Whether it moves bytes of the file.
    pub(super) fn moves_bytes(self) -> bool {
        matches!(self, Read | Write)
    }
}

/// Calls that give files other paths, and are no operations on files themselves.
const MOVES: [Sysno; 6] =
    [Sysno::mount, Sysno::umount2, Sysno::pivot_root, Sysno::move_mount, Sysno::open_tree, Sysno::chroot];

/// How a call is counted.
pub(super) fn use_of(call: u64) -> CallUse {
    let Some(native) = native(call).and_then(|number| Sysno::new(number as usize)) else {
        return CallUse::NONE;
    };
    if let Some(used) = wait(native) {
        return used;
    }
    match native {
        // Requests of libaio are looked at when they are submitted and when their results are fetched.
        Sysno::io_submit => return CallUse::NONE.followed(),
        Sysno::io_getevents | Sysno::io_pgetevents => return CallUse::waiting().followed(),
        _ => {}
    }
    if MOVES.contains(&native) {
        return CallUse::NONE.moving();
    }
    let Some(operation) = operation_of(native) else { return CallUse::NONE };
    let mut files = files_of(call);
    if native == Sysno::openat2 {
        // Its path is followed as its third argument says; the directory and the path are those of openat.
        files = files.with_descriptor(1).with_path(2);
    }
    if native == Sysno::msync {
        files = FileUse::NONE.at_address();
    }
    let used = CallUse::new(files, operation.number());
    let used = match native {
        // Written to the first file, read from the second.
        Sysno::sendfile => used.with_second(Read.number()),
        Sysno::copy_file_range | Sysno::splice => used.with_second(Write.number()).reading_first(),
        Sysno::rename | Sysno::renameat | Sysno::renameat2 => used.moving(),
        _ => used,
    };
    if operation.moves_bytes() { used.in_bytes() } else { used }
}

fn operation_of(call: Sysno) -> Option<Operation> {
    Some(match call {
        Sysno::read
        | Sysno::pread64
        | Sysno::readv
        | Sysno::preadv
        | Sysno::preadv2
        | Sysno::copy_file_range
        | Sysno::splice => Read,
        Sysno::write
        | Sysno::pwrite64
        | Sysno::writev
        | Sysno::pwritev
        | Sysno::pwritev2
        | Sysno::sendfile => Write,
        Sysno::fsync => Fsync,
        Sysno::fdatasync => Fdatasync,
        Sysno::sync_file_range => SyncRange,
        Sysno::msync => Msync,
        Sysno::open | Sysno::openat | Sysno::openat2 | Sysno::creat => Open,
        Sysno::stat
        | Sysno::lstat
        | Sysno::fstat
        | Sysno::newfstatat
        | Sysno::statx
        | Sysno::access
        | Sysno::faccessat
        | Sysno::faccessat2
        | Sysno::readlink
        | Sysno::readlinkat => Stat,
        Sysno::rename | Sysno::renameat | Sysno::renameat2 => Rename,
        Sysno::unlink | Sysno::unlinkat | Sysno::rmdir => Unlink,
        Sysno::truncate | Sysno::ftruncate => Truncate,
        Sysno::fallocate => Fallocate,
        Sysno::readahead | Sysno::fadvise64 => Readahead,
        Sysno::getdents | Sysno::getdents64 => List,
        Sysno::sync | Sysno::syncfs => SyncAll,
        _ => return None,
    })
}

/// How an operation of io_uring is counted (`enum io_uring_op`, include/uapi/linux/io_uring.h).
pub(super) fn ring_use_of(operation: u32) -> CallUse {
    let (of, has_path) = match operation {
        1 | 4 | 22 | 49 | 60 => (Read, false),
        2 | 5 | 23 | 61 => (Write, false),
        3 => (Fsync, false),
        8 => (SyncRange, false),
        17 => (Fallocate, false),
        18 | 28 => (Open, true),
        21 => (Stat, true),
        24 => (Readahead, false),
        35 => (Rename, true),
        36 => (Unlink, true),
        55 => (Truncate, false),
        _ => return CallUse::NONE,
    };
    let files = if has_path { FileUse::NONE } else { FileUse::NONE.with_descriptor(1) };
    let used = CallUse::new(files, of.number());
    match of {
        Fsync => used.flagged(RING_SYNC, Fdatasync.number()),
        _ if of.moves_bytes() => used.in_bytes(),
        _ => used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::uring;

    #[test]
    fn operations_have_their_numbers() {
        for operation in Operation::ALL {
            assert_eq!(Operation::of_number(operation.number()), Some(operation));
        }
        assert_eq!((Operation::of_number(0), Operation::of_number(99)), (None, None));
    }

    #[test]
    fn operations_of_io_uring_are_known_by_the_numbers_of_the_kernel() {
        for (name, operation) in [
            ("READ", Read),
            ("WRITEV", Write),
            ("FSYNC", Fsync),
            ("OPENAT", Open),
            ("UNLINKAT", Unlink),
            ("FTRUNCATE", Truncate),
        ] {
            let number = (0..60).find(|number| uring::operation(*number) == name).unwrap();
            assert_eq!(ring_use_of(number).operation(), operation.number(), "{name}");
        }
        assert_eq!(ring_use_of(0), CallUse::NONE);
        let sync = ring_use_of(3);
        assert_eq!((sync.flags_in(), sync.as_flagged().operation()), (RING_SYNC, Fdatasync.number()));
    }

    #[test]
    fn calls_are_operations_on_the_files_that_they_use() {
        let of = |call: Sysno| use_of(call.id() as u64);
        assert!(of(Sysno::pread64).is_in_bytes() && of(Sysno::pread64).operation() == Read.number());
        assert_eq!(of(Sysno::fsync).files().descriptor(), 1);
        assert_eq!(
            (of(Sysno::sendfile).operation(), of(Sysno::sendfile).second()),
            (Write.number(), Read.number())
        );
        assert!(of(Sysno::renameat2).moves() && of(Sysno::mount).moves() && of(Sysno::futex).waits());
        assert_eq!((of(Sysno::openat2).files().path(), of(Sysno::openat2).files().descriptor()), (2, 1));
        assert_eq!((of(Sysno::getpid), of(Sysno::recvfrom)), (CallUse::NONE, CallUse::NONE));
        assert_eq!(of(Sysno::sync).files().descriptor(), 0);
        assert!(of(Sysno::io_submit).is_followed() && !of(Sysno::io_submit).waits());
        assert!(of(Sysno::io_getevents).is_followed() && of(Sysno::io_getevents).waits());
        assert!(of(Sysno::msync).files().is_at_address() && !of(Sysno::sync).files().is_at_address());
    }
}
