//! Open files of observed processes.
//!
//! The kernel side gives a file a number when it first needs one, and sends the file's name to user space once. A number stands for a file
//! under one name: a file that is renamed or deleted, and an internet socket that gets another peer, get another number. A file whose
//! directory is renamed does not: it keeps its number, and so the path that it had first.

use crate::wire;

/// File number 0: the file is not known.
pub const NO_FILE: u32 = 0;
/// Room for a name, in bytes. Parts of a path that do not fit are left out.
pub const MAX_NAME_BYTES: usize = 4096;
/// Most directories and mounts that a path is followed through.
pub const MAX_STEPS: usize = 64;

wire! {
    /// Key of a file under one name.
    pub struct FileKey {
        /// Device of its filesystem, as the kernel numbers it, and in the upper half the hash of its name in its directory.
        pub device: u64,
        /// Number of the inode.
        pub inode: u64,
        /// Address of its `dentry` in the kernel. Bit 0: it is deleted.
        pub entry: u64,
        /// Of a socket a hash of its addresses, of other files the address of the mount in the kernel.
        pub place: u64,
    }
}

wire! {
    /// The addresses of a socket. All zeroes for what is not a socket.
    pub struct Addresses {
        /// `AF_INET`, `AF_INET6`, `AF_UNIX` or another.
        pub family: u16,
        /// `SOCK_STREAM`, `SOCK_DGRAM` or another.
        pub kind: u16,
        /// Port on this machine, of the internet families.
        pub local_port: u16,
        /// Port of the peer, 0 if there is none.
        pub remote_port: u16,
        /// `IPPROTO_TCP` or another.
        pub protocol: u16,
        /// `TCP_LISTEN` and others (include/net/tcp_states.h), which sockets of other protocols use, too.
        pub state: u16,
        /// Number of the network namespace.
        pub namespace: u32,
        /// Address on this machine: of IPv4 in the first four bytes.
        pub local: [u8; 16],
        /// Address of the peer.
        pub remote: [u8; 16],
    }
}

wire! {
    /// Ring record: a file that has a new number. Its name follows.
    pub struct FileRecord {
        /// A `RecordHead` with the number of the file in place of a stack.
        pub head: u64,
        /// Number of the inode.
        pub inode: u64,
        /// Device of its filesystem: the kernel's `dev_t`.
        pub device: u32,
        /// Kind and permissions, as `st_mode` has them.
        pub mode: u32,
        /// Length of the name that follows, in bytes. For a file in a directory it is the path from the root of its mount namespace;
        /// for others the kernel's name, such as `[eventfd]`; for a Unix socket the address that it or its peer is bound to.
        pub name_bytes: u32,
        /// [`DELETED`] and others.
        pub flags: u32,
        /// The addresses, if it is a socket.
        pub addresses: Addresses,
    }
}

/// Flag: the file has no entry in its directory any more.
pub const DELETED: u32 = 1;
/// Flag: parts of the path are missing, because it has too many directories or bytes.
pub const CUT: u32 = 2;
/// Flag: the file is in no directory: a pipe, a file of `memfd_create`.
pub const UNNAMED: u32 = 4;
/// Flag: the path begins at the root of a filesystem, and no mount leads further up.
pub const DETACHED: u32 = 8;

/// Why the file of a call is not known. The order is that of [`Unknown::of_number`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The first argument of the call is no descriptor.
    None,
    /// The descriptor was not open.
    Closed,
    /// The descriptor was closed, or given to another file, while the call was under way.
    Changed,
    /// There are more files than there is room for.
    Full,
}

impl Unknown {
    /// The reason of a number.
    #[must_use]
    pub fn of_number(number: u32) -> Unknown {
        match number {
            1 => Unknown::Closed,
            2 => Unknown::Changed,
            3 => Unknown::Full,
            _ => Unknown::None,
        }
    }
}
