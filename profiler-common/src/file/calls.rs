//! How system calls use files: what the kernel side must know of a call to find them.

/// Which arguments of a call are descriptors or paths. Arguments count from 1, and fit into four bits each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileUse(u64);

const SECOND_SHIFT: u32 = 4;
const PATH_SHIFT: u32 = 8;
const ARGUMENT: u64 = 15;
const MAPS: u64 = 1 << 12;
const OPENS: u64 = 1 << 13;
const CLOSES: u64 = 1 << 14;
const OF_RING: u64 = 1 << 15;
const POLLS: u64 = 1 << 16;
const AT_ADDRESS: u64 = 1 << 17;

impl FileUse {
    /// It uses no file.
    pub const NONE: FileUse = FileUse(0);

    /// From [`FileUse::bits`].
    #[must_use]
    #[inline(always)]
    pub const fn of_bits(bits: u64) -> FileUse {
        FileUse(bits)
    }

    /// As a number, for a map.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// This argument is the descriptor of the file that it uses.
    #[must_use]
    pub const fn with_descriptor(self, argument: u32) -> FileUse {
        FileUse(self.0 | argument as u64)
    }

    /// This argument is the descriptor of another file that it uses.
    #[must_use]
    pub const fn with_second(self, argument: u32) -> FileUse {
        FileUse(self.0 | (argument as u64) << SECOND_SHIFT)
    }

    /// This argument is the address of a path. A relative one begins in the directory of the descriptor, or else in the working directory.
    #[must_use]
    pub const fn with_path(self, argument: u32) -> FileUse {
        FileUse(self.0 | (argument as u64) << PATH_SHIFT)
    }

    /// Its fourth argument may say that it uses no file: it is `mmap`.
    #[must_use]
    pub const fn mapping(self) -> FileUse {
        FileUse(self.0 | MAPS)
    }

    /// It returns the descriptor of a file that it opens.
    #[must_use]
    pub const fn opening(self) -> FileUse {
        FileUse(self.0 | OPENS)
    }

    /// It closes the descriptor.
    #[must_use]
    pub const fn closing(self) -> FileUse {
        FileUse(self.0 | CLOSES)
    }

    /// Its descriptor may be the number of a ring of io_uring that the thread has registered.
    #[must_use]
    pub const fn of_ring(self) -> FileUse {
        FileUse(self.0 | OF_RING)
    }

    /// Its descriptor is that of an epoll, which watches other files.
    #[must_use]
    pub const fn polling(self) -> FileUse {
        FileUse(self.0 | POLLS)
    }

    /// Its first argument is an address: it uses the file that is mapped there.
    #[must_use]
    pub const fn at_address(self) -> FileUse {
        FileUse(self.0 | AT_ADDRESS)
    }

    /// The argument that is a descriptor; 0: none.
    #[must_use]
    #[inline(always)]
    pub const fn descriptor(self) -> u64 {
        self.0 & ARGUMENT
    }

    /// The argument that is the descriptor of another file; 0: none.
    #[must_use]
    #[inline(always)]
    pub const fn second(self) -> u64 {
        self.0 >> SECOND_SHIFT & ARGUMENT
    }

    /// The argument that is the address of a path; 0: none.
    #[must_use]
    #[inline(always)]
    pub const fn path(self) -> u64 {
        self.0 >> PATH_SHIFT & ARGUMENT
    }

    /// Whether its fourth argument may say that it uses no file.
    #[must_use]
    #[inline(always)]
    pub const fn maps(self) -> bool {
        self.0 & MAPS != 0
    }

    /// Whether it returns a descriptor.
    #[must_use]
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & OPENS != 0
    }

    /// Whether it closes the descriptor.
    #[must_use]
    #[inline(always)]
    pub const fn closes(self) -> bool {
        self.0 & CLOSES != 0
    }

    /// Whether its descriptor is that of an epoll.
    #[must_use]
    #[inline(always)]
    pub const fn polls(self) -> bool {
        self.0 & POLLS != 0
    }

    /// Whether its first argument is an address in the mapping of its file.
    #[must_use]
    #[inline(always)]
    pub const fn is_at_address(self) -> bool {
        self.0 & AT_ADDRESS != 0
    }

    /// Whether the descriptor may be the number of a registered ring.
    #[must_use]
    #[inline(always)]
    pub const fn is_of_ring(self) -> bool {
        self.0 & OF_RING != 0
    }
}
