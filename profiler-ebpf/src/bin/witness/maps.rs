//! The maps and settings of `witness`.

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, StackTrace},
};
use profiler_common::unwind::walk::Walk;
use profiler_common::witness::Record;
use profiler_common::witness::SLOTS_PER_CPU;
use profiler_common::witness::Tally;
use profiler_common::witness::Target;
use profiler_ebpf::{atomic, stack::registers::Registers};

/// One hit in this many is walked.
#[unsafe(no_mangle)]
static ONE_IN: Global<u64> = Global::new(1);

/// Working memory of walks. A program may be interrupted by another one on the same processor, so each takes a slot for itself.
#[repr(C)]
pub(crate) struct Slot {
    taken: u64,
    pub registers: Registers,
    pub walk: Walk,
    pub record: Record,
}

/// [`SLOTS_PER_CPU`] for every processor; the loader sizes it.
#[map]
static SLOTS: Array<Slot> = Array::with_max_entries(SLOTS_PER_CPU, 0);

#[map]
static TARGET: Array<Target> = Array::with_max_entries(1, 0);

#[map]
static TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(1, 0);

/// The records.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(32 << 20, 0);

/// Identities of the stacks that were timed.
#[map]
pub(crate) static SEEN: HashMap<u64, u64> = HashMap::with_max_entries(1 << 14, 0);

/// Working memory for timing the kernel's own walk.
#[map]
pub(crate) static KERNEL_STACKS: StackTrace = StackTrace::with_max_entries(1 << 14, 0);

/// Counts hits of this processor.
#[derive(Clone, Copy)]
pub(crate) struct Counts(*mut Tally);

macro_rules! counts {
    ($($name:ident),*) => {
        impl Counts {
            $(#[inline(always)]
            pub(crate) fn $name(self) {
                // SAFETY: a map value.
                unsafe { atomic::add(&raw mut (*self.0).$name, 1) }
            })*
        }
    };
}
counts!(walked, passed_over, not_walkable, lost_slot, lost_ring);

/// The slot of the target's mappings, if the current process is the target and this hit is to be walked.
#[inline(always)]
pub(crate) fn hit() -> Option<(Counts, u32)> {
    let target = TARGET.get(0)?;
    // SAFETY: a helper without arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    // The kernel's idle threads are process 0, and so is the target as long as it is not published.
    if tgid == 0 || tgid != target.tgid {
        return None;
    }
    let tally = TALLY.get_ptr_mut(0)?;
    // SAFETY: a map value.
    let number = unsafe { atomic::take(&raw mut (*tally).hits) };
    if number % ONE_IN.load().max(1) != 0 {
        Counts(tally).passed_over();
        return None;
    }
    Some((Counts(tally), target.slot))
}

/// A slot for this program alone. It must be given back.
#[inline(always)]
pub(crate) fn claim() -> Option<*mut Slot> {
    // SAFETY: a helper without arguments.
    let first = unsafe { bpf_get_smp_processor_id() } * SLOTS_PER_CPU;
    const { assert!(SLOTS_PER_CPU == 3) };
    // Not a loop: Linux 6.1 does not see that it ends.
    try_claim(first).or_else(|| try_claim(first + 1)).or_else(|| try_claim(first + 2))
}

#[inline(always)]
fn try_claim(number: u32) -> Option<*mut Slot> {
    let slot = SLOTS.get_ptr_mut(number)?;
    // SAFETY: a map value.
    if unsafe { atomic::replace(&raw mut (*slot).taken, 0, 1) } { Some(slot) } else { None }
}

/// Gives a slot back.
///
/// # Safety
/// It was claimed, and is not used any more.
#[inline(always)]
pub(crate) unsafe fn release(slot: *mut Slot) {
    // SAFETY: the caller vouches for the slot.
    unsafe { atomic::replace(&raw mut (*slot).taken, 1, 0) };
}
