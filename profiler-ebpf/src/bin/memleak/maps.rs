//! The maps and settings of `memleak`, and what they cost.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_jiffies64, bpf_ktime_get_ns},
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use profiler_common::{
    age,
    ledger::Counter,
    memleak::{
        Block, Bucket, Counters, FRAME_ROOM, MAX_SPACES, Part, Space, StackTotals, THREAD_HITS_STEP,
        ThreadHits,
    },
    sampling::WEIGHT_POINTS,
};
use profiler_ebpf::{atomic, stack::entry::Room, task::TaskStorage};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Monotonic time of the start, nanoseconds: ages fit into 32 bits.
#[unsafe(no_mangle)]
pub(crate) static START_NS: Global<u64> = Global::new(0);
/// The kernel's tick counter at the start.
#[unsafe(no_mangle)]
pub(crate) static START_TICKS: Global<u64> = Global::new(0);
/// Age units per tick, times `1 << TICK_SHIFT`; 0: unknown, so ages are taken from the fine clock.
#[unsafe(no_mangle)]
pub(crate) static TICK_UNITS: Global<u64> = Global::new(0);
/// Numbers of stacks below this one may be given out.
#[unsafe(no_mangle)]
pub(crate) static MAX_STACKS: Global<u32> = Global::new(2);
/// Mean gap between drawn bytes; 0: every allocation is recorded.
#[unsafe(no_mangle)]
pub(crate) static SAMPLE_BYTES: Global<u64> = Global::new(0);

/// What a thread is doing between an allocation's entry and its return. Lives with the thread (7.7 KiB each).
#[repr(C)]
pub(crate) struct Thread {
    /// Stack pointer at the entry of the outermost allocation call; 0 while there is none.
    pub sp: u64,
    /// Where the kernel makes functions return to that have a return probe; 0 until known.
    pub trampoline: u64,
    /// What a nested call found in place of the return address of the call under way; 0 if there was none.
    pub candidate: u64,
    /// Return address of that call.
    pub word: u64,
    /// Requested size in bytes.
    pub size_bytes: u64,
    /// Cookie of the call.
    pub cookie: u64,
    /// Key of the block that the call takes over, taken out of the table meanwhile; 0 if none.
    pub old_key: u64,
    /// Key of the block that was given to the call to take over, recorded or not; 0 if none.
    pub given_key: u64,
    /// The block of `old_key`, or its newest part.
    pub old: Block,
    /// The part below that, if `old` grew.
    pub old_below: Part,
    /// What ends when the block of a realloc goes on.
    pub ends: Block,
    /// What is left of a block whose parts are taken off, in bytes.
    pub size_bytes_left: u64,
    /// Stack of the call; `NOT_DRAWN` if the call is only followed to see where it ends.
    pub stack: u32,
    /// What becomes of the block that the call has taken over: `parts::KEPT` and others.
    pub resized: u32,
    /// Block and stack pointer of the last release on this thread, to tell nested releases.
    pub freed_key: u64,
    pub freed_sp: u64,
    /// Where the call is told to write the block's address (`posix_memalign`).
    pub behind: u64,
    /// Stacks of the last calls: their identity, and their number, which is 0 for none. Most calls come from a stack
    /// that the thread was at just before.
    pub recent: [Recent; RECENT],
    /// What the stack walk works with.
    pub walk: Room,
    /// Number of frames below.
    pub depth: u64,
    /// How the walk ended, as bits of `head`.
    pub end: u64,
    /// Head of the ring record, directly before the frames.
    pub head: u64,
    pub frames: [u64; FRAME_ROOM],
}

/// What a CPU needs to draw allocations.
#[repr(C)]
pub(crate) struct Drawing {
    /// Bytes to go until the next drawn byte, signed.
    pub gap_bytes: u64,
    /// State of the random numbers; 0 before the first.
    pub random: u64,
}

/// A stack that a thread was at.
#[repr(C)]
pub(crate) struct Recent {
    pub identity: u64,
    pub number: u64,
}

/// How many of them are kept, a power of two.
pub(crate) const RECENT: usize = 8;

/// Value of [`Thread::stack`] for a call that is not recorded.
pub(crate) const NOT_DRAWN: u32 = u32::MAX;

#[btf_map]
pub(crate) static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Live blocks. User space reads it through a mapping. The loader sizes it by what the targets hold.
#[map]
pub(crate) static BUCKETS: Array<Bucket> = Array::with_max_entries(1 << 10, BPF_F_MMAPABLE);
/// 64 - log2 of the number of buckets.
#[unsafe(no_mangle)]
pub(crate) static BUCKET_SHIFT: Global<u32> = Global::new(54);

/// Live blocks that did not fit into their bucket. Elements are allocated as needed, about 96 bytes each; the bucket
/// array is 16 bytes per possible entry. The loader sizes it (`--max-blocks`). When full, the block is lost, and
/// counted.
#[map]
pub(crate) static BLOCKS: HashMap<u64, Block> = HashMap::with_max_entries(1 << 20, BPF_F_NO_PREALLOC);

/// Parts of live blocks that grew by realloc, but for the newest of each block, which is in the table. Elements are allocated
/// as needed, about 96 bytes each. When full, a block that grows counts as new, and is counted.
#[map]
pub(crate) static PARTS: HashMap<u64, Part> = HashMap::with_max_entries(1 << 18, BPF_F_NO_PREALLOC);
/// The number of the next part.
#[map]
pub(crate) static NEXT_PART: Array<u64> = Array::with_max_entries(1, 0);
/// log2 of the least step in which blocks get parts, in age units.
#[unsafe(no_mangle)]
pub(crate) static PART_SHIFT: Global<u32> = Global::new(0);

/// Identity of a stack to its number, and in the upper half whether its frames have been sent.
#[map]
pub(crate) static STACK_NUMBERS: HashMap<u64, u64> = HashMap::with_max_entries(1 << 14, BPF_F_NO_PREALLOC);

/// What each stack did, by number. User space reads it through a mapping, without a system call.
#[map]
pub(crate) static TOTALS: Array<StackTotals> = Array::with_max_entries(1 << 14, BPF_F_MMAPABLE);

/// The next stack number.
#[map]
static NEXT_STACK: Array<u64> = Array::with_max_entries(1, 0);

/// The ledger.
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Drawing allocations, by CPU.
#[map]
pub(crate) static DRAWING: PerCpuArray<Drawing> = PerCpuArray::with_max_entries(1, 0);

/// The observed address spaces, by number. User space writes single fields through a mapping, none that a program here writes.
#[map]
pub(crate) static SPACES: Array<Space> = Array::with_max_entries(MAX_SPACES, BPF_F_MMAPABLE);

/// Hits by thread, in steps: what each thread pays. When full, the threads that come last are not looked at; nothing
/// else depends on it.
#[map]
static THREAD_HITS: HashMap<u32, ThreadHits> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// Weight by size class, in 1/1024; filled by the loader of a sampled run.
#[map]
pub(crate) static WEIGHTS: Array<u64> = Array::with_max_entries(WEIGHT_POINTS as u32, 0);

/// Frames of new stacks, and execs.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The counters of this CPU, looked up once per program.
#[derive(Clone, Copy)]
pub(crate) struct Ledger(*mut Counters);

impl Ledger {
    #[inline(always)]
    pub(crate) fn open() -> Option<Ledger> {
        COUNTERS.get_ptr_mut(0).map(Ledger)
    }

    /// Counts a hit. One of so many puts them all down to the thread that has it: on average that is right, and it
    /// costs next to nothing.
    #[inline(always)]
    pub(crate) fn hit(self, counter: Counter) {
        // SAFETY: a map value; the index is that of an enum without gaps.
        let before = unsafe { atomic::take((&raw mut (*self.0).of).cast::<u64>().add(counter as usize)) };
        if before & (THREAD_HITS_STEP - 1) == THREAD_HITS_STEP - 1 {
            publish(counter as u64 == Counter::FreeHits as u64);
        }
    }

    /// Counts one outcome.
    #[inline(always)]
    pub(crate) fn count(self, counter: Counter) {
        // SAFETY: a map value; the index is that of an enum without gaps.
        unsafe { atomic::add((&raw mut (*self.0).of).cast::<u64>().add(counter as usize), 1) }
    }
}

/// Puts a step of hits down to the current thread.
#[inline(never)]
fn publish(releases: bool) {
    const BPF_NOEXIST: u64 = 1;
    // SAFETY: a helper without arguments.
    let tid = unsafe { bpf_get_current_pid_tgid() } as u32;
    if THREAD_HITS.get_ptr_mut(tid).is_none() {
        let _ = THREAD_HITS.insert(tid, ThreadHits { allocs: 0, frees: 0 }, BPF_NOEXIST);
    }
    let Some(hits) = THREAD_HITS.get_ptr_mut(tid) else { return };
    // SAFETY: a map value.
    unsafe {
        if releases {
            atomic::add(&raw mut (*hits).frees, THREAD_HITS_STEP);
        } else {
            atomic::add(&raw mut (*hits).allocs, THREAD_HITS_STEP);
        }
    }
}

/// Counts one outcome of a rare kind.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(ledger) = Ledger::open() {
        ledger.count(counter);
    }
}

/// Age units since the start, to a tick (1 to 10 ms).
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

/// What the loader knows of an address space, if the current process owns it.
#[inline(always)]
pub(crate) fn own_space(space: u16) -> Option<*const Space> {
    let space = SPACES.get_ptr(u32::from(space))?;
    // SAFETY: a map value.
    let (tgid, closed) = unsafe { ((*space).tgid, (*space).replaced | (*space).execs_to_come) };
    // SAFETY: a helper without arguments.
    let current = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if closed == 0 && (tgid == 0 || tgid == current) { Some(space) } else { None }
}

/// The totals of a stack.
#[inline(always)]
pub(crate) fn totals(stack: u32) -> Option<*mut StackTotals> {
    TOTALS.get_ptr_mut(stack)
}

/// A new stack number, or `None` when all are given out.
#[inline(always)]
pub(crate) fn next_stack() -> Option<u32> {
    let next = NEXT_STACK.get_ptr_mut(0)?;
    // SAFETY: a map value.
    let number = unsafe { atomic::take(next) } as u32 + 1; // 0 is NO_STACK
    if number < MAX_STACKS.load() { Some(number) } else { None }
}
