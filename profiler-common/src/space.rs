//! Observed address spaces.

use crate::wire;

/// Address spaces that the kernel side has room for.
pub const MAX_SPACES: u32 = 1024;

/// Words of the filter in front of the table of targets, a power of two: a bit for each process id modulo 65,536.
pub const FILTER_WORDS: u32 = 1 << 10;

/// Slots of the filter of threads, a power of two: one for each page that may have the registers of a thread, modulo their number.
pub const THREAD_SLOTS: usize = 1 << 16;

/// An address of an address space as one number: the space is in the upper 16 bits.
#[inline(always)]
pub const fn address_key(space: u16, address: u64) -> u64 {
    (space as u64) << 48 | address
}

/// The address space of an [`address_key`].
pub const fn key_space(key: u64) -> u16 {
    (key >> 48) as u16
}

/// The address of an [`address_key`].
pub const fn key_address(key: u64) -> u64 {
    key & ((1 << 48) - 1)
}

wire! {
    /// An observed address space: a process between its start, or its last exec, and its next exec or its end.
    pub struct Space {
        /// The process (thread group) as the kernel numbers it in the initial pid namespace; 0: do not check.
        pub tgid: u32,
        /// Execs to come before the space opens: 1 while a launched child has not become its command yet.
        pub execs_to_come: u32,
        /// 1 once the process replaced itself by exec: hits no longer belong to this space.
        pub replaced: u32,
        /// [`CALLER_STEPS`], [`OVER`] and [`HOLD`], as they apply, and from [`FLAGS_OF_TOOLS`] on those of tools.
        pub flags: u32,
        /// Slot of its mappings, for walking stacks; 0 while they are not known.
        pub slot: u32,
        /// How often its mappings were told.
        pub generation: u32,
    }
}

/// There are caller steps for the space.
pub const CALLER_STEPS: u32 = 2;
/// The observation is over: calls that begin now do not count, and those under way may still return.
pub const OVER: u32 = 4;
/// There may be a hold to look at, see [`HOLD_WANTED`]. A hint for the many calls that come when there is none any more.
pub const HOLD: u32 = 8;
/// The first flag that belongs to a tool.
pub const FLAGS_OF_TOOLS: u32 = 1 << 16;

/// State of a hold: the process is not stopped. A command that is to be stopped has the states from [`HOLD_WANTED`] on, in this
/// order, in the map `HOLDS`. User space writes the first, before the command is let go, and from then on only reads.
pub const HOLD_NONE: u64 = 0;
/// State of a hold: the process is stopped (SIGSTOP) at its first call that counts. It has mapped its libraries by then, and
/// goes on when user space has told where.
pub const HOLD_WANTED: u64 = 1;
/// State of a hold: one thread, and no other, is about to send the signal.
pub const HOLD_CLAIMED: u64 = 2;
/// State of a hold: the signal was sent. A SIGCONT that is sent now lets the process go on, whether it has stopped already or
/// not: the kernel takes back a SIGSTOP that is still pending.
pub const HOLD_SIGNALLED: u64 = 3;
