//! Observed address spaces.

use crate::wire;

/// Most address spaces of one observation. Numbers are not reused, because counts are kept by them. An exec and a fork take a
/// number each. A probe's cookie has room for this many.
pub const MAX_SPACES: u32 = 1 << 14;

/// Most processes that can be observed from the start.
pub const MAX_TARGETS: u32 = 128;

/// Words of the filter in front of the table of targets, a power of two: a bit for each process id modulo 65,536.
pub const FILTER_WORDS: u32 = 1 << 10;

/// Slots of the filter of threads, a power of two. The slot of a thread is the page that has its registers, modulo their number.
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
    /// An observed address space: a process from its start, or its last exec, to its next exec or its end.
    pub struct Space {
        /// The process (thread group) as the kernel numbers it in the initial pid namespace; 0: do not check.
        pub tgid: u32,
        /// Execs to come before the space opens: 1 while a launched child has not become its command yet.
        pub execs_to_come: u32,
        /// 1 once the process has replaced itself by exec: later hits do not belong to this space. Its next space is already in
        /// the table, if there was a number left.
        pub replaced: u32,
        /// [`CALLER_STEPS`], [`OVER`] and [`HOLD`], as they apply; the flags of tools from [`FLAGS_OF_TOOLS`] on.
        pub flags: u32,
        /// Slot of its mappings, for walking stacks; 0 while the mappings are not known.
        pub slot: u32,
        /// How often its mappings were published.
        pub generation: u32,
        /// The space of the process that forked this one, or its own space before its exec.
        pub before: u32,
        /// Origin: [`GIVEN`], [`FORKED`], [`EXECED`] or [`UNOBSERVED`]. 0 while the space is not complete; written last.
        pub origin: u32,
        /// 1, and the number of the space of the target from which it descends by forks; 0 if its process is a target
        /// itself.
        pub child_of: u64,
    }
}

impl Space {
    /// A process that user space has chosen, whose mappings are not known yet.
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
    /// Processes that should be observed but are not.
    pub struct Missed {
        /// Processes that were forked when no number for a space was left.
        pub forks: u64,
        /// Programs that processes became by exec when no number was left.
        pub execs: u64,
        /// Processes and programs for which the kernel had no memory.
        pub no_memory: u64,
    }
}

/// There are caller steps for the space.
pub const CALLER_STEPS: u32 = 2;
/// The observation is over: calls that begin now do not count, and those in progress may still return.
pub const OVER: u32 = 4;
/// There may be a hold, see [`HOLD_WANTED`]. Without this flag, calls do not look at `HOLDS`.
pub const HOLD: u32 = 8;
/// The first flag that belongs to a tool.
pub const FLAGS_OF_TOOLS: u32 = 1 << 16;

/// State of a hold: the process is not to be stopped. The hold of a command goes through the states from [`HOLD_WANTED`] on in
/// this order, in the map `HOLDS`. User space writes the first one before it releases the command, and only reads from then on.
pub const HOLD_NONE: u64 = 0;
/// State of a hold: the process is to be stopped (SIGSTOP) at its first call that counts. It has mapped its libraries by then;
/// user space resumes it once it has published its mappings.
pub const HOLD_WANTED: u64 = 1;
/// State of a hold: one thread, and no other, is about to send the signal.
pub const HOLD_CLAIMED: u64 = 2;
/// State of a hold: the signal was sent. A SIGCONT that is sent now resumes the process, whether it has already stopped or not:
/// it cancels a pending SIGSTOP.
pub const HOLD_SIGNALLED: u64 = 3;
