//! Descriptors that may have been given to another file, and back, while a call used them. What a descriptor refers to is looked at when a
//! call begins and when it ends, which does not show that.
//!
//! To come back, a file must be given the descriptor by `dup2`, `dup3`, `dup` or `fcntl`: one that is opened or accepted anew is another file. Such
//! calls are counted by address space and descriptor, when they begin and when they end. Descriptors that share a count only make files
//! unknown that could be known.

use profiler_common::io::{ALL_DESCRIPTORS, CallUse, IoThread};

use super::hash;
use crate::{atomic, call::argument, io::thread};

/// A power of two.
const SLOTS: usize = 1 << 14;
/// In place of a version: such a call is under way.
const UNSETTLED: u32 = u32::MAX;
/// In place of a descriptor: each one.
const EACH: u32 = u32::MAX;

/// Calls that may give a descriptor to another file.
#[repr(C)]
#[derive(Clone, Copy)]
struct Replaced {
    begun: u32,
    ended: u32,
}

/// The section becomes a map of its own, which programs address without a lookup.
#[unsafe(link_section = ".bss.replaced")]
#[unsafe(no_mangle)]
static mut REPLACED: [Replaced; SLOTS] = [Replaced { begun: 0, ended: 0 }; SLOTS];

#[inline(always)]
fn slot(space: u32, descriptor: u32) -> *mut Replaced {
    let place = hash(u64::from(space), descriptor.into()) >> 40;
    // SAFETY: a map value; the mask keeps the index within it.
    unsafe { (&raw mut REPLACED).cast::<Replaced>().add(place as usize & (SLOTS - 1)) }
}

/// The count of what the present call of the current thread replaces.
#[inline(always)]
fn of_call(used: impl FnOnce(*const IoThread) -> u64) -> Option<*mut Replaced> {
    let thread = thread::known()?;
    // SAFETY: the thread's own record.
    unsafe {
        let call = (*thread).call;
        let descriptor = match CallUse::of_bits(used(thread)).replaces() {
            ALL_DESCRIPTORS => EACH,
            place => argument(call, place) as u32,
        };
        Some(slot((*thread).space, descriptor))
    }
}

/// A call begins that may give a descriptor to another file. `used`: how it is counted, as a number.
#[inline(never)]
pub fn begins(used: u64) {
    if let Some(of) = of_call(|_| used) {
        // SAFETY: a map value.
        unsafe { atomic::add_word(&raw mut (*of).begun, 1) };
    }
}

/// It has ended.
#[inline(never)]
pub fn ended() {
    // SAFETY: the thread's own record.
    if let Some(of) = of_call(|thread| unsafe { (*thread).ended_as }) {
        // SAFETY: a map value.
        unsafe { atomic::add_word(&raw mut (*of).ended, 1) };
    }
}

/// What a descriptor of an address space has now. It stays the same as long as no other file can have got the descriptor.
#[inline(always)]
pub fn version(space: u32, descriptor: u32) -> u32 {
    // SAFETY: map values.
    let of = |slot: *mut Replaced| unsafe {
        // In this order: one that begins meanwhile makes them differ.
        let ended = (&raw const (*slot).ended).read_volatile();
        let begun = (&raw const (*slot).begun).read_volatile();
        (begun, begun != ended)
    };
    let (own, own_is_under_way) = of(slot(space, descriptor));
    let (each, each_is_under_way) = of(slot(space, EACH));
    if own_is_under_way || each_is_under_way { UNSETTLED } else { own.wrapping_add(each) & (u32::MAX >> 1) }
}

/// Whether a descriptor that had this version has not been given to another file since.
#[inline(always)]
pub fn is_same(space: u32, descriptor: u32, before: u32) -> bool {
    before != UNSETTLED && version(space, descriptor) == before
}
