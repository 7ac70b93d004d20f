//! The maps and settings of `memleak`, and what they cost.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray},
};
use profiler_common::{
    age,
    memleak::{Block, Bucket, Part, StackTotals, counters::Counter, sampling::WEIGHT_POINTS},
};
use profiler_ebpf::{
    ledger,
    stack::number::{Remarks, Walker},
    task::TaskStorage,
};

pub(crate) use profiler_ebpf::ledger::count;

/// The ledger of this tool.
pub(crate) type Ledger = ledger::Ledger<Counter>;

/// Where this tool counts remarks on stacks.
pub(crate) struct Quality;

impl Remarks for Quality {
    type Counter = Counter;
    const TRUNCATED: Counter = Counter::StackTruncated;
    const SHORT: Counter = Counter::StackShort;
    const TABLE_FULL: Counter = Counter::StackTableFull;
    const RING_FULL: Counter = Counter::StackRingFull;
}

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Monotonic time of the start in nanoseconds: with it, ages fit into 32 bits.
#[unsafe(no_mangle)]
pub(crate) static START_NS: Global<u64> = Global::new(0);
/// The kernel's tick counter at the start.
#[unsafe(no_mangle)]
pub(crate) static START_TICKS: Global<u64> = Global::new(0);
/// Age units per tick, times `1 << TICK_SHIFT`; 0: unknown, so ages are taken from the fine clock.
#[unsafe(no_mangle)]
pub(crate) static TICK_UNITS: Global<u64> = Global::new(0);
/// Mean gap between sampled bytes; 0: every allocation is recorded.
#[unsafe(no_mangle)]
pub(crate) static SAMPLE_BYTES: Global<u64> = Global::new(0);

/// The state of a thread between the entry of an allocation and its return. Lives with the thread (7.7 KiB each).
#[repr(C)]
pub(crate) struct Thread {
    /// Stack pointer at the entry of the outermost allocation call; 0 while there is none.
    pub sp: u64,
    /// Where functions with a return probe return to; 0 until known.
    pub trampoline: u64,
    /// What a nested call found in place of the return address of the call in progress; 0 if there was none.
    pub candidate: u64,
    /// Return address of that call.
    pub word: u64,
    /// Requested size in bytes.
    pub size_bytes: u64,
    /// Cookie of the call.
    pub cookie: u64,
    /// Key of the block that the call takes over, removed from the table until the call returns; 0: none.
    pub old_key: u64,
    /// Key of the block that the call was given to take over, recorded or not; 0 if none.
    pub given_key: u64,
    /// The block of `old_key`, or its newest part.
    pub old: Block,
    /// The part below that, if `old` grew.
    pub old_below: Part,
    /// What ends when the block of a realloc continues.
    pub ends: Block,
    /// What is left of a block whose parts are removed, in bytes.
    pub size_bytes_left: u64,
    /// Stack of the call; `NOT_DRAWN` if the call is only followed to see where it ends.
    pub stack: u32,
    /// What happens to the block that the call has taken over: `parts::KEPT` and others.
    pub resized: u32,
    /// Block and stack pointer of the last release on this thread, to recognize nested releases.
    pub freed_key: u64,
    pub freed_sp: u64,
    /// Where the call is to write the block's address (`posix_memalign`).
    pub behind: u64,
    /// Working memory of its walks.
    pub walker: Walker,
}

/// State of a CPU for sampling allocations.
#[repr(C)]
pub(crate) struct Drawing {
    /// Bytes until the next sampled byte, signed.
    pub gap_bytes: u64,
    /// State of the random numbers; 0 before the first.
    pub random: u64,
}

/// Value of [`Thread::stack`] for a call that is not recorded.
pub(crate) const NOT_DRAWN: u32 = u32::MAX;

#[btf_map]
pub(crate) static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Live blocks. User space reads it through a mapping. The loader sets its size by what the targets hold.
#[map]
pub(crate) static BUCKETS: Array<Bucket> = Array::with_max_entries(1 << 10, BPF_F_MMAPABLE);
/// 64 - log2 of the number of buckets.
#[unsafe(no_mangle)]
pub(crate) static BUCKET_SHIFT: Global<u32> = Global::new(54);

/// Live blocks that did not fit into their bucket. Elements are allocated as needed, about 96 bytes each; the bucket array takes
/// 16 bytes per possible entry. The loader sets the size (`--max-blocks`). When it is full, blocks are lost, and counted as such.
#[map]
pub(crate) static BLOCKS: HashMap<u64, Block> = HashMap::with_max_entries(1 << 20, BPF_F_NO_PREALLOC);

/// Parts of live blocks that grew by realloc, except the newest of each block, which is in the table. Elements are allocated as
/// needed, about 96 bytes each. When it is full, a block that grows counts as new, and that is counted.
#[map]
pub(crate) static PARTS: HashMap<u64, Part> = HashMap::with_max_entries(1 << 18, BPF_F_NO_PREALLOC);
/// The number of the next part.
#[map]
pub(crate) static NEXT_PART: Array<u64> = Array::with_max_entries(1, 0);
/// log2 of the smallest step in which blocks get parts, in age units.
#[unsafe(no_mangle)]
pub(crate) static PART_SHIFT: Global<u32> = Global::new(0);

/// The totals of each stack, by number. User space reads them through a mapping, without a system call.
#[map]
pub(crate) static TOTALS: Array<StackTotals> = Array::with_max_entries(1 << 14, BPF_F_MMAPABLE);

/// State for sampling allocations, by CPU.
#[map]
pub(crate) static DRAWING: PerCpuArray<Drawing> = PerCpuArray::with_max_entries(1, 0);

/// Weight by size class, in 1/1024; filled by the loader of a sampled run.
#[map]
pub(crate) static WEIGHTS: Array<u64> = Array::with_max_entries(WEIGHT_POINTS as u32, 0);

/// Age units since the start, with the precision of a tick (1 to 10 ms).
#[inline(always)]
pub(crate) fn now_units() -> u32 {
    let tick_units = TICK_UNITS.load();
    if tick_units != 0 {
        // SAFETY: a helper without arguments.
        let ticks = unsafe { bpf_jiffies64() }.wrapping_sub(START_TICKS.load());
        return ((ticks * tick_units) >> age::TICK_SHIFT) as u32;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    (now.wrapping_sub(START_NS.load()) >> age::UNIT_SHIFT) as u32
}

/// The totals of a stack.
#[inline(always)]
pub(crate) fn totals(stack: u32) -> Option<*mut StackTotals> {
    TOTALS.get_ptr_mut(stack)
}
