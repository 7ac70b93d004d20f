//! The observed address spaces: which process is which, and stopping a command at its first call.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_send_signal},
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    record::{RECORD_HELD, RecordHead},
    space::{
        EXECED, FILTER_WORDS, FORKED, HOLD_CLAIMED, HOLD_NONE, HOLD_SIGNALLED, HOLD_WANTED, MAX_SPACES,
        MAX_TARGETS, Missed, Space, UNOBSERVED,
    },
};

use crate::{atomic, ring};

const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_ANY: u64 = 0;
/// The signal that stops a process, which cannot catch it: `SIGSTOP` of x86.
const SIGSTOP: u32 = 19;

/// The observed address spaces, by number. Whoever takes a number creates the space: user space, or the programs of `ground`.
/// After that, user space writes `flags`, `slot` and `generation` through a mapping, and `ground` writes `replaced` and
/// `execs_to_come`.
#[map]
static SPACES: Array<Space> = Array::with_max_entries(MAX_SPACES, BPF_F_MMAPABLE);

/// The space of each observed process, by its id in the initial pid namespace (thread group), until its last thread ends.
#[map]
static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_SPACES, BPF_F_NO_PREALLOC);

/// A bit for each process id modulo 65,536, set before such a process enters `TARGETS` and never cleared. Several ids share a
/// bit. A tracepoint program checks it at each hit of each process of the host. The section becomes a map of its own, which
/// programs address without a lookup.
#[unsafe(link_section = ".bss.filter")]
#[unsafe(no_mangle)]
static mut TARGET_FILTER: [u64; FILTER_WORDS as usize] = [0; FILTER_WORDS as usize];

/// The next number for a space. User space takes numbers too, through a mapping.
#[map]
static NEXT_SPACE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Whether a process is to be stopped at its first call, or was, by the number of its space: `HOLD_WANTED` and the states after
/// it. Only a target that was there from the start can be stopped.
#[map]
static HOLDS: Array<u64> = Array::with_max_entries(MAX_TARGETS, 0);

/// Processes that should be observed but are not.
#[map]
static MISSED: Array<Missed> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The record of an address space, if the current process owns it.
#[inline(always)]
pub fn own(space: u16) -> Option<*const Space> {
    let space = SPACES.get_ptr(u32::from(space))?;
    // SAFETY: a map value.
    let (tgid, closed) = unsafe { ((*space).tgid, (*space).replaced | (*space).execs_to_come) };
    // SAFETY: a helper without arguments.
    let current = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if closed == 0 && (tgid == 0 || tgid == current) { Some(space) } else { None }
}

/// The number of the address space of a process, if it is observed.
#[inline(always)]
pub fn of_process(tgid: u32) -> Option<u32> {
    // SAFETY: the value is copied at once.
    unsafe { TARGETS.get(tgid).copied() }
}

/// The word of the filter that has the bit of a process.
#[inline(always)]
fn filter_word(tgid: u32) -> *mut u64 {
    let index = (tgid >> 6 & (FILTER_WORDS - 1)) as usize;
    // SAFETY: a map value; the mask keeps the index within it.
    unsafe { (&raw mut TARGET_FILTER).cast::<u64>().add(index) }
}

/// False if a process is not observed, except for the few that share a bit with an observed one. A tracepoint program checks this
/// first.
#[inline(always)]
pub fn may_be_observed(tgid: u32) -> bool {
    // SAFETY: a map value. Others set bits at the same time.
    unsafe { filter_word(tgid).read_volatile() >> (tgid & 63) & 1 != 0 }
}

/// An address space by number.
#[inline(always)]
pub fn get(space: u32) -> Option<*mut Space> {
    SPACES.get_ptr_mut(space)
}

/// How an observed process got a new address space.
#[derive(Clone, Copy)]
pub enum Origin {
    /// A process forked it. Until it maps something else, its addresses are those of its parent.
    Forked,
    /// It replaced itself by exec.
    Execed,
}

/// Gives the process of this id a new address space; `before` is the number of the space that it comes from. `None` if no number
/// or no memory is left: then it is not observed, and counted in `MISSED`.
#[inline(always)]
pub fn open(tgid: u32, before: u32, origin: Origin) -> Option<u32> {
    let next = NEXT_SPACE.get_ptr_mut(0)?;
    let from = SPACES.get_ptr(before)?;
    // SAFETY: a map value.
    let number = unsafe { atomic::take(next) };
    // The last one is for canaries.
    if number >= u64::from(MAX_SPACES) - 1 {
        miss(|missed| {
            // SAFETY: fields of a map value.
            unsafe {
                match origin {
                    Origin::Forked => &raw mut (*missed).forks,
                    Origin::Execed => &raw mut (*missed).execs,
                }
            }
        });
        close(tgid);
        return None;
    }
    let space = SPACES.get_ptr_mut(number as u32)?;
    // SAFETY: map values; nobody else has this number.
    unsafe {
        let of_parent = (*from).child_of;
        let (slot, generation, origin, child_of) = match origin {
            Origin::Forked if of_parent == 0 => {
                ((*from).slot, (*from).generation, FORKED, u64::from(before) + 1)
            }
            Origin::Forked => ((*from).slot, (*from).generation, FORKED, of_parent),
            Origin::Execed => (0, 0, EXECED, of_parent),
        };
        *space = Space { slot, generation, before, origin: 0, child_of, ..Space::given(tgid) };
        atomic::set_bits(filter_word(tgid), 1 << (tgid & 63));
        let is_known = TARGETS.insert(tgid, number as u32, BPF_ANY).is_ok();
        let origin = if is_known { origin } else { UNOBSERVED };
        // Atomic, so that it comes after everything before it and before everything after it.
        atomic::set_bits((&raw mut (*space).before).cast(), u64::from(origin) << 32);
        if is_known {
            return Some(number as u32);
        }
    }
    // SAFETY: a field of a map value.
    miss(|missed| unsafe { &raw mut (*missed).no_memory });
    close(tgid);
    None
}

/// Counts a process that should be observed but is not.
#[inline(always)]
fn miss(field: impl FnOnce(*mut Missed) -> *mut u64) {
    if let Some(missed) = MISSED.get_ptr_mut(0) {
        // SAFETY: a field of a map value.
        unsafe { atomic::add(field(missed), 1) };
    }
}

/// The process of this id is no longer observed.
#[inline(always)]
pub fn close(tgid: u32) {
    let _ = TARGETS.remove(tgid);
}

/// Stops the process, if that is wanted and no other thread has done so. The signal is pending when the helper returns, and takes
/// effect when this thread returns to user code. Only then is user space told that there is a process to resume.
#[inline(never)]
pub fn hold(space: u16) {
    let Some(state) = HOLDS.get_ptr_mut(space.into()) else { return };
    // SAFETY: a map value, which user space only reads by now, and which belongs to the thread that has claimed it; and helpers
    // that take numbers, a map, and memory of this function.
    unsafe {
        if !atomic::replace(state, HOLD_WANTED, HOLD_CLAIMED) {
            return;
        }
        let sent = bpf_send_signal(SIGSTOP) == 0;
        state.write_volatile(if sent { HOLD_SIGNALLED } else { HOLD_NONE });
        // Many calls send no other record. If this one is lost, user space finds the state at its next look.
        ring::send_head(&RecordHead { kind: RECORD_HELD, depth: 0, space, stack: 0 });
    }
}
