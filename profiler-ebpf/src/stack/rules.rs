//! Unwind rules that the walks of a thread have found, by address.
//!
//! Walks of one thread pass the same few hundred return addresses again and again. A lookup here costs a fifth of the search in
//! the tables. Each thread has its own rules, so no other can write to them.

use profiler_common::{opaque::opaque, unwind::Row};

use super::{get, set};

/// How many rules are kept, a power of two: one for each value of the hash. With them, the state of a thread still fits into 8
/// KiB, which is what the kernel allocates for it.
const COUNT: usize = 128;
/// 64 - log2 of [`COUNT`].
const HASH_SHIFT: u32 = 57;

/// The rules of a thread. All zeroes holds none.
#[repr(C)]
pub(super) struct Rules {
    /// What the rules depend on besides the address: see [`use_for`].
    context: u64,
    /// How often that has changed. Rules of an earlier age are ignored.
    age: u64,
    kept: [Kept; COUNT],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    address: u64,
    /// The rule, and above it the age, plus one.
    tagged: u64,
}

/// Prepares for walks in a context: rules of another one are forgotten.
///
/// # Safety
/// `rules` is valid and the current thread's own.
#[inline(always)]
pub(super) unsafe fn use_for(rules: *mut Rules, context: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if get!(rules, context) != context {
            set!(rules, context, context);
            set!(rules, age, get!(rules, age) + 1);
        }
    }
}

#[inline(always)]
unsafe fn place(rules: *mut Rules, address: u64) -> *mut Kept {
    let hash = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> HASH_SHIFT;
    // SAFETY: the caller vouches for the pointer; the mask keeps the index within the rules.
    unsafe { (&raw mut (*rules).kept).cast::<Kept>().add(opaque(hash) as usize & (COUNT - 1)) }
}

/// The rule at an address, if it was kept in this context.
///
/// # Safety
/// As for [`use_for`].
#[inline(always)]
pub(super) unsafe fn kept(rules: *mut Rules, address: u64) -> Option<Row> {
    // SAFETY: as for `use_for`.
    unsafe {
        let place = place(rules, address);
        let tagged = get!(place, tagged);
        let known = get!(place, address) == address && tagged >> 32 == get!(rules, age) + 1;
        if known { Some(Row(tagged as u32)) } else { None }
    }
}

/// Keeps the rule at an address.
///
/// # Safety
/// As for [`use_for`].
#[inline(always)]
pub(super) unsafe fn keep(rules: *mut Rules, address: u64, row: Row) {
    // SAFETY: as for `use_for`.
    unsafe {
        let place = place(rules, address);
        set!(place, address, address);
        set!(place, tagged, (get!(rules, age) + 1) << 32 | u64::from(row.0));
    }
}
