//! Loads of the kernel's memory without a helper, where the kernel lets programs say what is at an address (`bpf_rdonly_cast`, Linux 6.2).
//!
//! Such a load gives 0 if there is nothing at that address, as the helper does, but takes a few instructions: nothing is called, so nothing
//! returns.

use core::arch::asm;

use aya_ebpf::Global;
use profiler_common::file::CAST;

use super::members as of;
use crate::task::member;

/// Number of the kernel's type `struct file`; 0: the kernel has no such function, and helpers are to be used.
#[unsafe(no_mangle)]
pub static TYPE_FILE: Global<u32> = Global::new(0);
/// The same for `struct hlist_head`, which is a pointer and nothing else.
#[unsafe(no_mangle)]
pub static TYPE_POINTER: Global<u32> = Global::new(0);

/// Whether there is such a function.
#[inline(always)]
pub fn can() -> bool {
    TYPE_FILE.load() != 0
}

/// An address, of which the verifier is told the type: its number in the kernel.
#[inline(always)]
pub(crate) fn cast(address: u64, number: u32) -> *const u8 {
    let typed: *const u8;
    // SAFETY: the loader makes of these eight bytes the call of a function of the kernel that takes any address. The verifier replaces it by
    // a move.
    unsafe {
        asm!(
            ".quad {call}",
            call = const CAST,
            inlateout("r1") address => _,
            inlateout("r2") u64::from(number) => _,
            lateout("r0") typed,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nostack)
        );
    }
    typed
}

/// The pointer at an address.
#[inline(always)]
pub fn pointer(address: u64) -> u64 {
    // SAFETY: the verifier knows the type, and makes loads safe.
    unsafe { member(cast(address, TYPE_POINTER.load()), 0) }
}

/// The `struct file` with this `struct path`.
#[inline(always)]
fn file(path: u64) -> *const u8 {
    cast(path - of::FILE_PATH.load(), TYPE_FILE.load())
}

/// Mode and number of the inode of the file with this `struct path`.
#[inline(always)]
pub fn inode(path: u64) -> (u16, u64) {
    // SAFETY: the verifier knows the types, and makes loads safe.
    unsafe {
        let inode: *const u8 = member(file(path), of::FILE_INODE.load());
        (member(inode, of::INODE_MODE.load()), member(inode, of::INODE_NUMBER.load()))
    }
}

/// The `dentry` of the file with this `struct path`, and its mount.
#[inline(always)]
pub fn entry(path: u64) -> (*const u8, *const u8) {
    // SAFETY: as in `inode`.
    unsafe {
        let file = file(path);
        let at = of::FILE_PATH.load();
        (member(file, at + of::PATH_ENTRY.load()), member(file, at + of::PATH_MOUNT.load()))
    }
}
