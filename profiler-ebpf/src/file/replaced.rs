//! Descriptors that may have been given to another file, and back, while a call used them. What a descriptor refers to is looked at when a
//! call begins and when it ends, which does not show that.
//!
//! A descriptor gets another file by `dup2` or `dup3`, or after it was closed. Such calls are counted by address space and descriptor, when
//! they begin and when they end. Descriptors that share a count only make files unknown that could be known.

use aya_ebpf::bindings::pt_regs;
use profiler_common::io::{ALL_DESCRIPTORS, CallUse, IoThread};

use super::hash;
use crate::{atomic, call::argument_in};

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

/// The count of what a call replaces, if it does.
///
/// # Safety
/// `thread` is the record of the current thread, `registers` those of its call.
#[inline(always)]
unsafe fn of_call(
    thread: *const IoThread,
    registers: *const pt_regs,
    used: CallUse,
) -> Option<*mut Replaced> {
    // SAFETY: the caller vouches for both.
    unsafe {
        let descriptor = match used.replaces() {
            0 => return None,
            ALL_DESCRIPTORS => EACH,
            place => argument_in(registers, (*thread).call, place) as u32,
        };
        Some(slot((*thread).space, descriptor))
    }
}

/// A call begins: counts it if it may give a descriptor to another file.
///
/// # Safety
/// `thread` is the record of the current thread, `registers` those of its call.
#[inline(always)]
pub unsafe fn begins(thread: *const IoThread, registers: *const pt_regs, used: CallUse) {
    // SAFETY: the caller vouches for both; a map value.
    unsafe {
        if let Some(of) = of_call(thread, registers, used) {
            atomic::add_word(&raw mut (*of).begun, 1);
        }
    }
}

/// It has ended.
///
/// # Safety
/// As for [`begins`].
#[inline(always)]
pub unsafe fn ended(thread: *const IoThread, registers: *const pt_regs, used: CallUse) {
    // SAFETY: the caller vouches for both; a map value.
    unsafe {
        if let Some(of) = of_call(thread, registers, used) {
            atomic::add_word(&raw mut (*of).ended, 1);
        }
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
