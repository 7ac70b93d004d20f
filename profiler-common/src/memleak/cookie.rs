//! What one probe site means, packed into the 64-bit cookie that the kernel hands to the program on every hit.
//!
//! One program serves every allocator function: the cookie says which argument is the size, where the block's address will be,
//! and which target the hit belongs to. So custom pools need no code.

/// Where a value of the call is found. Arguments are those of the System V calling convention, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum From {
    /// Nowhere: the function has no such value.
    None,
    /// Argument 0 to 5.
    Arg(u8),
    /// The return value.
    Return,
    /// The word in memory that argument 0 to 5 points to, after the call succeeded (`posix_memalign`).
    Behind(u8),
}

impl From {
    const fn encode(self) -> u64 {
        match self {
            From::None => 0,
            From::Arg(n) => packed::ARG + n as u64,
            From::Return => packed::RETURN,
            From::Behind(n) => packed::BEHIND + n as u64,
        }
    }

    const fn decode(bits: u64) -> From {
        match bits & 15 {
            n @ 1..=6 => From::Arg((n - 1) as u8),
            7 => From::Return,
            n @ 8..=13 => From::Behind((n - 8) as u8),
            _ => From::None,
        }
    }
}

/// The meaning of a call at one probe site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// The requested size in bytes. `None` means [`Cookie::fixed_size`].
    pub size: From,
    /// A factor of the size (`calloc`), or `None` for 1.
    pub count: From,
    /// The block: `Return` or `Behind` for an allocation, `Arg` for a release.
    pub block: From,
    /// The block that the call takes over (`realloc`), or `None`.
    pub old: From,
    /// Size in bytes if no argument has it; at most [`Cookie::MAX_FIXED_SIZE`].
    pub fixed_size: u32,
    /// Which observed address space the hit belongs to; at most [`Cookie::MAX_SPACE`].
    pub space: u16,
    /// Whether the function may call other probed functions. If not, and nothing else needs the return, it need not be followed.
    pub nests: bool,
    /// Whether the return is seen at the function's own `ret` instructions instead of by a return probe.
    pub at_ret: bool,
    /// Whether the function throws an exception when it fails: a return probe must not be in its way.
    pub throws: bool,
    /// Whether the probed instruction runs under single step: such hits cost many times as much, and are counted.
    pub stepped: bool,
}

/// The packed form: places as 4-bit numbers, so that the kernel side can use one as an index.
pub mod packed {
    /// Position of the place of the size.
    pub const SIZE: u32 = 0;
    /// Position of the place of the factor.
    pub const COUNT: u32 = 4;
    /// Position of the place of the block.
    pub const BLOCK: u32 = 8;
    /// Position of the place of the block that is taken over.
    pub const OLD: u32 = 12;
    /// Number of the first argument.
    pub const ARG: u64 = 1;
    /// Number of the return value.
    pub const RETURN: u64 = 7;
    /// Number of "the word behind argument 0".
    pub const BEHIND: u64 = 8;

    /// The number of the place at a position.
    #[inline(always)]
    pub const fn place(cookie: u64, position: u32) -> u64 {
        cookie >> position & 15
    }
}

impl Cookie {
    /// The largest size that a cookie can state by itself.
    pub const MAX_FIXED_SIZE: u32 = (1 << 28) - 1;
    /// The largest number of an observed address space.
    pub const MAX_SPACE: u16 = (1 << 14) - 1;

    /// The 64 bits that the kernel keeps.
    pub const fn pack(self) -> u64 {
        self.size.encode() << packed::SIZE
            | self.count.encode() << packed::COUNT
            | self.block.encode() << packed::BLOCK
            | self.old.encode() << packed::OLD
            | ((self.fixed_size & Self::MAX_FIXED_SIZE) as u64) << 16
            | ((self.space & Self::MAX_SPACE) as u64) << 44
            | (self.nests as u64) << 58
            | (self.at_ret as u64) << 59
            | (self.throws as u64) << 60
            | (self.stepped as u64) << 61
    }

    /// Reads what [`Cookie::pack`] wrote.
    #[inline(always)]
    pub const fn unpack(bits: u64) -> Cookie {
        Cookie {
            size: From::decode(bits >> packed::SIZE),
            count: From::decode(bits >> packed::COUNT),
            block: From::decode(bits >> packed::BLOCK),
            old: From::decode(bits >> packed::OLD),
            fixed_size: (bits >> 16) as u32 & Self::MAX_FIXED_SIZE,
            space: (bits >> 44) as u16 & Self::MAX_SPACE,
            nests: bits >> 58 & 1 == 1,
            at_ret: bits >> 59 & 1 == 1,
            throws: bits >> 60 & 1 == 1,
            stepped: bits >> 61 & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_packing() {
        let places = [From::None, From::Arg(0), From::Arg(5), From::Return, From::Behind(0), From::Behind(5)];
        for size in places {
            for block in places {
                for (fixed_size, space) in [(0, 0), (Cookie::MAX_FIXED_SIZE, Cookie::MAX_SPACE), (64, 3)] {
                    let cookie = Cookie {
                        size,
                        count: block,
                        block,
                        old: size,
                        fixed_size,
                        space,
                        nests: space == 3,
                        at_ret: space == 0,
                        throws: fixed_size == 64,
                        stepped: space == Cookie::MAX_SPACE,
                    };
                    assert_eq!(Cookie::unpack(cookie.pack()), cookie);
                }
            }
        }
    }
}
