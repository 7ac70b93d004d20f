//! Open files of observed processes.
//!
//! The kernel side gives a file a number when it first needs one, and sends the file's name to user space once. A number stands for a file
//! under one name: a file gets another number when it, or a directory or mount above it, is renamed, moved or deleted, and a socket when
//! it gets another address or another peer.

pub mod calls;
pub mod socket;

use crate::wire;

/// A call of a function of the kernel whose number the loader fills in: `bpf_rdonly_cast`, or a move if the kernel does not have it. A call
/// (`0x85`) of the kind `BPF_PSEUDO_KFUNC_CALL` (2), with a number in the upper half that no function has.
pub const CAST: u64 = 0x7fff_ca57_0000_2085;
/// File number 0: the file is not known.
pub const NO_FILE: u32 = 0;
/// Room for a name, in bytes. The end of a path that does not fit is left out.
pub const MAX_NAME_BYTES: usize = 4096;
/// Most files that an instance of epoll watches and that are named with it. A power of two.
pub const MAX_WATCHED: usize = 4;
/// What an epoll watches is looked at when a call has waited for so long, in nanoseconds: the look takes up to 40 us.
pub const LEAST_POLL_NS: u64 = 1_000_000;
/// Most files of a call that are named: the one that it uses, a second one, and what an epoll watches; and a power of two.
pub const MAX_OF_CALL: usize = 8;
/// Most directories and mounts that a path is followed through.
pub const MAX_STEPS: usize = 64;

wire! {
    /// Key of a file under one name.
    pub struct FileKey {
        /// Device of its filesystem, as the kernel numbers it.
        pub device: u64,
        /// Number of the inode.
        pub inode: u64,
        /// Address of its `dentry` in the kernel. Bit 0: it is deleted.
        pub entry: u64,
        /// A hash of what its name shows: of a socket its addresses, of a file in a directory all names and mounts on its path.
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
        /// `TCP_LISTEN` and others (include/net/tcp_states.h), which sockets of other protocols use, too.
        pub state: u64,
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
        /// Kind and permissions, as `st_mode` has them.
        pub mode: u32,
        /// Length of the name that follows, in bytes. For a file in a directory it is the path from the root of its mount namespace;
        /// for others the kernel's name, such as `[eventfd]`; for a Unix socket the address that it or its peer is bound to.
        pub name_bytes: u32,
        /// [`DELETED`] and others.
        pub flags: u64,
        /// The addresses, if it is a socket.
        pub addresses: Addresses,
    }
}

/// The bits of a mode that say what kind of file it is (include/uapi/linux/stat.h).
pub const S_IFMT: u32 = 0xf000;
/// Those of a directory.
pub const S_IFDIR: u32 = 0x4000;
/// Those of a socket.
pub const S_IFSOCK: u32 = 0xc000;
/// Unix sockets (include/linux/socket.h).
pub const AF_UNIX: u16 = 1;
/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;
/// Sockets of streams, of datagrams and of packets in order (include/linux/net.h).
pub const SOCK_STREAM: u16 = 1;
/// Datagrams.
pub const SOCK_DGRAM: u16 = 2;
/// Packets in order.
pub const SOCK_SEQPACKET: u16 = 5;
/// State of a TCP socket that waits for connections (include/net/tcp_states.h).
pub const TCP_LISTEN: u64 = 10;

/// Flag: the file has no entry in its directory any more.
pub const DELETED: u64 = 1;
/// Flag: the beginning of the path is missing, because it has too many directories.
pub const CUT: u64 = 2;
/// Flag: the file is in no directory: a pipe, a file of `memfd_create`.
pub const UNNAMED: u64 = 4;
/// Flag: the path begins at the root of a filesystem, and no mount leads further up.
pub const DETACHED: u64 = 8;
/// Flag: the end of the path is missing, because it has too many bytes.
pub const SHORTENED: u64 = 16;

/// Flag: the name is a path that a call names. Unless it begins with a slash, it begins in the directory whose number is in place of the
/// inode; 0: that directory is not known.
pub const GIVEN: u64 = 32;

/// Flag: it is not a file, but all sockets that serve one end of this machine, or that lead to one elsewhere: a [`socket::Side`] in place of
/// the inode says which. Of the addresses, only what they have in common is there.
pub const SERVICE: u64 = 64;

/// Why the file of a call is not known. The order is that of [`Unknown::of_number`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The call uses none, or none that is looked for.
    NoFile,
    /// The descriptor was not open.
    Closed,
    /// The descriptor was closed, or given to another file, while the call was under way.
    Changed,
    /// There are more files than there is room for.
    Full,
    /// The kernel does not let programs read its memory.
    Refused,
    /// The path that the call names could not be read.
    Unread,
    /// Another thread was changing the mappings of the process.
    Busy,
    /// Nothing is mapped at the address that the call names.
    Unmapped,
}

impl Unknown {
    /// The reason of a number.
    #[must_use]
    pub fn of_number(number: u32) -> Unknown {
        match number {
            1 => Unknown::Closed,
            2 => Unknown::Changed,
            3 => Unknown::Full,
            4 => Unknown::Refused,
            5 => Unknown::Unread,
            6 => Unknown::Busy,
            7 => Unknown::Unmapped,
            _ => Unknown::NoFile,
        }
    }
}
