//! Observed address spaces.

use crate::wire;

/// Address spaces of one observation, at most: numbers are not used again, because what was counted is kept by them. An exec and a fork
/// take a number each. As many as a cookie of a probe can name.
pub const MAX_SPACES: u32 = 1 << 14;

/// Processes that can be observed from the start, at most.
pub const MAX_TARGETS: u32 = 128;

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
        /// 1 once the process replaced itself by exec: hits no longer belong to this space. Its next space is in the table by then,
        /// if there was a number left.
        pub replaced: u32,
        /// [`CALLER_STEPS`], [`OVER`] and [`HOLD`], as they apply, and from [`FLAGS_OF_TOOLS`] on those of tools.
        pub flags: u32,
        /// Slot of its mappings, for walking stacks; 0 while they are not known.
        pub slot: u32,
        /// How often its mappings were published.
        pub generation: u32,
        /// The space of the process that forked this one, or the one that it had before its exec.
        pub before: u32,
        /// How it came to be: [`GIVEN`], [`FORKED`], [`EXECED`], or not: [`UNOBSERVED`]. 0 while it is not complete. Written last.
        pub origin: u32,
        /// 1 and the number of the space of the target that it descends from by forks; 0 if its process is a target itself.
        pub child_of: u64,
    }
}

impl Space {
    /// A process that user space has chosen, of which the mappings are not known yet.
    pub const fn given(tgid: u32) -> Space {
        Space {
            tgid,
            execs_to_come: 0,
            replaced: 0,
            flags: 0,
            slot: 0,
            generation: 0,
            before: 0,
            origin: GIVEN,
            child_of: 0,
        }
    }
}

/// Origin of a space: user space took the number.
pub const GIVEN: u32 = 1;
/// Origin of a space: an observed process forked it.
pub const FORKED: u32 = 2;
/// Origin of a space: an observed process replaced itself by exec.
pub const EXECED: u32 = 3;
/// Origin of a space: the kernel had no memory for the process in the table of targets.
pub const UNOBSERVED: u32 = 4;

wire! {
    /// Processes that are not observed although they should be.
    pub struct Missed {
        /// Processes that were forked when no number for a space was left.
        pub forks: u64,
        /// Programs that processes became by exec then.
        pub execs: u64,
        /// Processes and programs for which the kernel had no memory.
        pub no_memory: u64,
    }
}

/// There are caller steps for the space.
pub const CALLER_STEPS: u32 = 2;
/// The observation is over: calls that begin now do not count, and those under way may still return.
pub const OVER: u32 = 4;
/// There may be a hold, see [`HOLD_WANTED`]. Without this flag a call does not look at `HOLDS`.
pub const HOLD: u32 = 8;
/// The first flag that belongs to a tool.
pub const FLAGS_OF_TOOLS: u32 = 1 << 16;

/// State of a hold: the process is not to be stopped. The hold of a command goes through the states from [`HOLD_WANTED`] on, in this
/// order, in the map `HOLDS`. User space writes the first one before it lets the command go, and only reads from then on.
pub const HOLD_NONE: u64 = 0;
/// State of a hold: the process is to be stopped (SIGSTOP) at its first call that counts. It has mapped its libraries by then, and
/// goes on when user space has published its mappings.
pub const HOLD_WANTED: u64 = 1;
/// State of a hold: one thread, and no other, is about to send the signal.
pub const HOLD_CLAIMED: u64 = 2;
/// State of a hold: the signal was sent. A SIGCONT that is sent now lets the process go on, whether it has stopped already or
/// not: the kernel takes back a SIGSTOP that is still pending.
pub const HOLD_SIGNALLED: u64 = 3;
