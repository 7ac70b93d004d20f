//! The maps and settings of `syscalls`.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, Stack},
};
use profiler_common::{
    file::{MAX_NAME_BYTES, MAX_OF_CALL, calls::FileUse},
    syscalls::{
        COMPAT, Caller, CallerKey, Cell, Counter, DIRECT_CALLS, ErrorKey, Folds, Settings, SharedKey,
        SlowCall, Thread, UringKey,
    },
};
use profiler_ebpf::file::watched::Watched;
use profiler_ebpf::stack::number::{Remarks, TaskWalker};

pub(crate) use profiler_ebpf::{
    io::restarted::{ACTION_FLAGS, ACTION_HANDLER},
    ledger::{count, count_more},
};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Number of slots for threads minus one: the bits of a thread id that choose its slot.
#[unsafe(no_mangle)]
pub(crate) static SLOT_MASK: Global<u32> = Global::new(0);
/// Records below this one may be given to threads.
#[unsafe(no_mangle)]
pub(crate) static MAX_THREADS: Global<u32> = Global::new(2);
/// Cells below this one may be given to threads.
#[unsafe(no_mangle)]
pub(crate) static MAX_CELLS: Global<u32> = Global::new(2);

/// Whether single calls are listed.
#[unsafe(no_mangle)]
pub(crate) static LISTS: Global<u32> = Global::new(0);
/// Whether their files are found. If not, the verifier removes the code that does, and with it a helper that reads the kernel's memory.
#[unsafe(no_mangle)]
pub(crate) static FILES: Global<u32> = Global::new(0);
/// Which calls have their stack taken: `NO_STACKS` and others.
#[unsafe(no_mangle)]
pub(crate) static STACKS: Global<u32> = Global::new(0);

/// Settings that user space changes while the programs run, through a mapping. The section becomes a map of its own, which
/// programs address without a lookup.
#[unsafe(link_section = ".bss.settings")]
#[unsafe(no_mangle)]
static mut SETTINGS: Settings =
    Settings { least_ns: 0, list_ns: 0, stack_ns: 0, wait_ns: 0, begun: 0, over: 0 };

/// A section of its own, too.
#[unsafe(link_section = ".bss.folds")]
#[unsafe(no_mangle)]
static mut FOLDS: Folds = Folds { begun: 0, done: 0 };

/// How often threads have given cells back.
#[inline(always)]
pub(crate) fn folds() -> *mut Folds {
    &raw mut FOLDS
}

/// The settings, to be read one by one.
#[inline(always)]
pub(crate) fn settings() -> *const Settings {
    &raw const SETTINGS
}

/// Thread id, and in the upper half the number of its record, by the low bits of the id; 0: free. The loader sets its size, and that
/// of the next.
#[map]
pub(crate) static SLOTS: Array<u64> = Array::with_max_entries(1, 0);
/// Records of threads, from 1 on.
#[map]
pub(crate) static THREADS: Array<Thread> = Array::with_max_entries(2, BPF_F_MMAPABLE);
/// How many records were given out, not counting reused ones.
#[map]
pub(crate) static NEXT_THREAD: Array<u64> = Array::with_max_entries(1, 0);
/// Records that were given back. As large as `THREADS`.
#[map]
pub(crate) static FREE_THREADS: Stack<u32> = Stack::with_max_entries(2, 0);
/// Records of threads that found no slot or no record, by thread id. They last as long as the thread.
#[map]
pub(crate) static BEYOND: HashMap<u32, Thread> = HashMap::with_max_entries(1 << 16, BPF_F_NO_PREALLOC);

/// Number of the record that a thread had before its last exec, by thread id.
#[map]
pub(crate) static EXECED: HashMap<u32, u32> = HashMap::with_max_entries(1 << 13, BPF_F_NO_PREALLOC);

/// Cells, from 1 on. The loader sets the size.
#[map]
pub(crate) static CELLS: Array<Cell> = Array::with_max_entries(2, BPF_F_MMAPABLE);
/// How many cells were given out, not counting reused ones.
#[map]
pub(crate) static NEXT_CELL: Array<u64> = Array::with_max_entries(1, 0);
/// Cells that were given back. As large as `CELLS`.
#[map]
pub(crate) static FREE_CELLS: Stack<u32> = Stack::with_max_entries(2, 0);
/// Index of the cell of a thread and a call, if the thread's record has no room for that index; the field `error` of the
/// key is 0.
#[map]
pub(crate) static INDIRECT: HashMap<ErrorKey, u32> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);
/// Calls of threads that have no cell of their own, or no longer, by name of the thread.
#[map]
pub(crate) static SHARED: HashMap<SharedKey, Cell> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);
/// Calls that failed with an error that has no place in a cell.
#[map]
pub(crate) static ERRORS: HashMap<ErrorKey, u64> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);
/// Bit by call: its result is a number of bytes or of things. The first eight words are for native calls, the others for those of i386.
#[map]
pub(crate) static NUMBER_CALLS: Array<u64> = Array::with_max_entries(16, 0);
/// Bit by call: it is meant to wait. Laid out like `NUMBER_CALLS`.
#[map]
pub(crate) static WAIT_CALLS: Array<u64> = Array::with_max_entries(16, 0);

/// How calls use files, as `FileUse` has it: first native calls, then those of i386.
#[map]
static FILE_USES: Array<u64> = Array::with_max_entries(2 * DIRECT_CALLS as u32, 0);

/// How a call uses files.
#[inline(always)]
pub(crate) fn file_use(call: u64) -> FileUse {
    if call & !COMPAT >= DIRECT_CALLS as u64 {
        return FileUse::NONE;
    }
    let place =
        call as u32 & (DIRECT_CALLS as u32 - 1) | if call & COMPAT == 0 { 0 } else { DIRECT_CALLS as u32 };
    // SAFETY: a word of a map.
    FileUse::of_bits(FILE_USES.get_ptr(place).map_or(0, |used| unsafe { used.read_volatile() }))
}

/// Whether the bit of a call is set in one of these maps.
#[inline(always)]
pub(crate) fn has_bit(map: &Array<u64>, call: u64) -> bool {
    let word = (call >> 6 & 7) as u32 | if call & COMPAT == 0 { 0 } else { 8 };
    call & 0xbfff_ffff < DIRECT_CALLS as u64
        // SAFETY: a word of a map.
        && map.get_ptr(word).is_some_and(|word| unsafe { word.read_volatile() } >> (call & 63) & 1 != 0)
}

/// Zeroes to copy from: a record is too large for the stack. So is a cell.
#[map]
pub(crate) static NO_THREAD: Array<Thread> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static NO_CELL: Array<Cell> = Array::with_max_entries(1, 0);

/// The calls of each stack.
#[map]
pub(crate) static CALLERS: HashMap<CallerKey, Caller> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);
/// Operations of io_uring.
#[map]
pub(crate) static URING: HashMap<UringKey, u64> = HashMap::with_max_entries(1 << 12, BPF_F_NO_PREALLOC);
/// Working memory of walks. Several programs walk, but none of them is preempted or interrupts another.
#[map]
pub(crate) static WALKER: PerCpuArray<TaskWalker> = PerCpuArray::with_max_entries(1, 0);

/// A file of a call, whose number is sought: as `File` has it, and by which descriptor it is known.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Sought {
    pub(crate) path: u64,
    pub(crate) inode: u64,
    pub(crate) descriptor: u64,
    /// The number that was found.
    pub(crate) number: u64,
}

/// A single call that is sent, with the path that it names, and its files.
#[repr(C)]
pub(crate) struct Listed {
    pub(crate) call: SlowCall,
    pub(crate) path: [u8; MAX_NAME_BYTES],
    pub(crate) sought: [Sought; MAX_OF_CALL],
    /// Which of them is sought now.
    pub(crate) at: u64,
    /// The address in user memory of the peer that the call asks a socket to connect to, or 0.
    pub(crate) peer: u64,
    /// What the epoll watches.
    pub(crate) watched: Watched,
}

/// Room to put it together.
#[map]
pub(crate) static LISTED: PerCpuArray<Listed> = PerCpuArray::with_max_entries(1, 0);

/// How many stacks of slow calls a CPU has taken in a span of time.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Walks {
    pub(crate) span: u64,
    pub(crate) taken: u64,
}

/// Of calls that do not wait, and of calls that do.
#[map]
pub(crate) static WALKS: PerCpuArray<Walks> = PerCpuArray::with_max_entries(2, 0);

/// Where this tool counts remarks on stacks.
pub(crate) struct Quality;

impl Remarks for Quality {
    type Counter = Counter;
    const TRUNCATED: Counter = Counter::StackTruncated;
    const SHORT: Counter = Counter::StackShort;
    const TABLE_FULL: Counter = Counter::StackTableFull;
    const RING_FULL: Counter = Counter::StackRingFull;
}
