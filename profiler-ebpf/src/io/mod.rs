//! Operations on files: counts what observed threads do to files, by file.
//!
//! A tool declares programs at the entry and the return of every system call, which call [`calls::began`] and [`calls::returned`], and at
//! the end and the exec of threads ([`thread::ended`], [`thread::execed`]). It says which kinds of files it counts, and how calls use files.

pub mod aside;
pub mod calls;
pub mod cells;
mod confirm;
mod mapped;
pub mod named;
pub mod restarted;
pub mod sample;
pub mod thread;
pub mod uring;

use aya_ebpf::{Global, macros::map, maps::Array};
use profiler_common::{
    call::COMPAT,
    io::{CallUse, IoCounter, IoSettings, IoThread, TABLED_CALLS},
};

use crate::{file::known, stack::number::Remarks};

/// Bit by kind of file, as [`file::known`](crate::file::known) has it: those that are counted.
#[unsafe(no_mangle)]
pub static IO_KINDS: Global<u32> = Global::new(0);
/// A directory, as a bit of kinds.
const DIRECTORIES: u32 = 1 << 4;
/// In place of a descriptor: the working directory (include/uapi/linux/fcntl.h).
const AT_FDCWD: u32 = -100i32 as u32;
/// Among bits of kinds: the call that has just returned may have changed what its file is.
pub const ANEW: u32 = 1 << 31;
/// The call that has just returned has opened the file.
pub const OPENED: u32 = 1 << 30;
/// An operation without a call has just connected it.
pub const CALLED: u32 = 1 << 29;
/// Whether stacks are taken.
#[unsafe(no_mangle)]
static IO_STACKS: Global<u32> = Global::new(0);
/// `task_struct.ioac.read_bytes`, in bytes; 0: the kernel does not have it.
#[unsafe(no_mangle)]
pub static TASK_FETCHED: Global<u64> = Global::new(0);
/// `files_struct.count`, in bytes.
#[unsafe(no_mangle)]
pub static FILES_USERS: Global<u64> = Global::new(0);

/// Settings that user space changes while the programs run, through a mapping.
#[unsafe(link_section = ".bss.io_settings")]
#[unsafe(no_mangle)]
static mut IO_SETTINGS: IoSettings = IoSettings { slow_ns: 0, begun: 0, of_tool: 0 };

/// The settings, to be read one by one.
#[inline(always)]
pub fn settings() -> *const IoSettings {
    &raw const IO_SETTINGS
}

/// How calls are counted, as [`CallUse`] has it: first native calls, then those of i386. The loader sets the size.
#[map]
static IO_CALLS: Array<u64> = Array::with_max_entries(2, 0);

/// How a call is counted.
#[inline(always)]
pub fn use_of(call: u64) -> CallUse {
    if call & !COMPAT >= TABLED_CALLS as u64 {
        return CallUse::NONE;
    }
    let of_i386 = if call & COMPAT == 0 { 0 } else { TABLED_CALLS as u32 };
    let place = call as u32 & (TABLED_CALLS as u32 - 1) | of_i386;
    // SAFETY: a word of a map.
    CallUse::of_bits(IO_CALLS.get_ptr(place).map_or(0, |used| unsafe { used.read_volatile() }))
}

/// What makes one of these tools differ from another.
pub trait IoTool {
    /// The counters of its ledger.
    type Counter: IoCounter;
    /// Whether another operation may end with one that ends, see [`IoThread::also`].
    const ENDS_ALSO: bool = false;

    /// Finds the number of the file with a `struct path`, if it is of a kind that is counted, and its [`IoTool::identity`]. It becomes
    /// part of its caller.
    #[inline(always)]
    fn find(path: u64, kinds: u32, now_ns: u64) -> (u32, u64) {
        known::find(path, kinds, now_ns)
    }

    /// The same for a file of which nothing new is to be found out; `None`: only [`IoTool::find`] can tell.
    #[inline(always)]
    fn find_known(path: u64, kinds: u32, now_ns: u64) -> Option<(u32, u64)> {
        known::find_known(path, kinds, now_ns)
    }

    /// What shows whether a descriptor still refers to the same file. `path`: its `struct path`.
    #[inline(always)]
    fn identity(path: u64) -> u64 {
        known::entry_of(path)
    }

    /// The `struct path` of the file that is mapped at an address, as [`mapped::at`](crate::file::mapped::at) has it. Only tools that count
    /// calls which name addresses have it.
    #[inline(always)]
    fn mapped_at(_address: u64) -> u64 {
        0
    }

    /// A call begins that [is followed](CallUse::is_followed).
    #[inline(always)]
    fn followed_began(_used: CallUse) {}

    /// It returns.
    #[inline(always)]
    fn followed_returned(_used: CallUse, _result: u64) {}

    /// A wait of a thread has ended.
    ///
    /// # Safety
    /// `thread` is the record of the current thread.
    #[inline(always)]
    unsafe fn turned(_thread: *mut IoThread) {}

    /// An operation has ended, and is about to be added to the sums.
    ///
    /// # Safety
    /// `record` is its record, which nobody else writes meanwhile.
    #[inline(always)]
    unsafe fn ended(_record: *mut IoThread) {}
}

impl<T: IoTool> Remarks for T {
    type Counter = <T as IoTool>::Counter;
    const TRUNCATED: Self::Counter = Self::Counter::STACK_TRUNCATED;
    const SHORT: Self::Counter = Self::Counter::STACK_SHORT;
    const TABLE_FULL: Self::Counter = Self::Counter::STACK_TABLE_FULL;
    const RING_FULL: Self::Counter = Self::Counter::STACK_RING_FULL;
}
