//! The observed address spaces: which process is which, and stopping a command at its first call.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_pid_tgid, bpf_send_signal},
    macros::map,
    maps::{Array, HashMap},
};
use profiler_common::{
    record::{RECORD_HELD, RecordHead},
    space::{FILTER_WORDS, HOLD_CLAIMED, HOLD_NONE, HOLD_SIGNALLED, HOLD_WANTED, MAX_SPACES, Space},
};

use crate::{atomic, ring};

const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_ANY: u64 = 0;
/// Stops a process, which cannot catch it: `SIGSTOP` of x86.
const SIGSTOP: u32 = 19;

/// The observed address spaces, by number. User space writes single fields through a mapping, none that a program here writes.
#[map]
static SPACES: Array<Space> = Array::with_max_entries(MAX_SPACES, BPF_F_MMAPABLE);

/// The space of each observed process, by its id in the initial pid namespace (thread group). Processes leave it when they
/// end. Twice the number of spaces: a process that ends and one that begins may both be in it.
#[map]
static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(2 * MAX_SPACES, 0);

/// A bit for each process id modulo 65,536, set before such a process enters the table above and never cleared: what every hit of every
/// process of the host is checked against. The section becomes a map of its own, which programs address without a lookup.
#[unsafe(link_section = ".bss.filter")]
#[unsafe(no_mangle)]
static mut TARGET_FILTER: [u64; FILTER_WORDS as usize] = [0; FILTER_WORDS as usize];

/// The next number for a space. User space takes numbers too, through a mapping.
#[map]
static NEXT_SPACE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Whether a process is to be stopped at its first call, or was, by the number of its space: `HOLD_WANTED` and the states behind
/// it. Not a part of `Space`, which user space writes as a whole.
#[map]
static HOLDS: Array<u64> = Array::with_max_entries(MAX_SPACES, 0);

/// What the loader knows of an address space, if the current process owns it.
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

/// Whether a process may be observed: false for nearly all that are not. A tracepoint program asks this first.
#[inline(always)]
pub fn may_be_observed(tgid: u32) -> bool {
    // SAFETY: a map value. Others set bits meanwhile.
    unsafe { filter_word(tgid).read_volatile() >> (tgid & 63) & 1 != 0 }
}

/// An address space by number.
#[inline(always)]
pub fn get(space: u32) -> Option<*mut Space> {
    SPACES.get_ptr_mut(space)
}

/// Makes the process of this id that of a new address space, as it was before its first call, walked by the mappings in `like`.
/// `None` if there is no number left: then it is not observed.
#[inline(always)]
pub fn open(tgid: u32, like: Option<*const Space>) -> Option<u32> {
    let next = NEXT_SPACE.get_ptr_mut(0)?;
    // SAFETY: a map value.
    let number = unsafe { atomic::take(next) } as u32;
    // The last one belongs to canaries.
    if number == 0 || number >= MAX_SPACES - 1 {
        let _ = TARGETS.remove(tgid);
        return None;
    }
    let space = SPACES.get_ptr_mut(number)?;
    // SAFETY: map values; nobody else has this number.
    unsafe {
        let (slot, generation) = like.map_or((0, 0), |like| ((*like).slot, (*like).generation));
        *space = Space { tgid, execs_to_come: 0, replaced: 0, flags: 0, slot, generation };
    }
    // SAFETY: a map value.
    unsafe { atomic::set_bits(filter_word(tgid), 1 << (tgid & 63)) };
    if TARGETS.insert(tgid, number, BPF_ANY).is_err() {
        let _ = TARGETS.remove(tgid);
        return None;
    }
    Some(number)
}

/// The process of this id has ended.
#[inline(always)]
pub fn close(tgid: u32) {
    let _ = TARGETS.remove(tgid);
}

/// Stops the process, if that is wanted and no other thread has done so. The signal is pending when the helper returns, and
/// takes effect when this thread goes back to its own code. Only then user space is told that there is someone to wake.
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
        // Many calls tell nothing else. If it is lost, user space finds the state when it next looks.
        ring::send_head(&RecordHead { kind: RECORD_HELD, depth: 0, space, stack: 0 });
    }
}
