//! Which file a call uses: what its descriptor referred to when it began, or what it has opened.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use profiler_common::{
    file::{NO_FILE, Unknown},
    syscalls::Thread,
};
use profiler_ebpf::{
    FIRST_ERROR,
    file::{self, File},
};

use crate::{
    look::{first_argument, second_argument},
    maps::{CLOSING_CALLS, DESCRIPTOR_CALLS, FILES, OPENING_CALLS, has_bit},
};

/// `connect` of x86-64.
const CONNECT: u64 = 42;

/// Notes the file of a call that begins.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn note(thread: *mut Thread, call: u64) {
    let (mut found, mut kept, mut unknown) = (File::NONE, 0, Unknown::NoDescriptor);
    if has_bit(&DESCRIPTOR_CALLS, call) {
        let descriptor = first_argument(call) as u32;
        found = file::of_descriptor(descriptor);
        if found.file == 0 {
            unknown = Unknown::Closed;
        } else if has_bit(&CLOSING_CALLS, call) {
            // SAFETY: the caller vouches for the record.
            (kept, unknown) = unsafe { keep(thread, descriptor, found) };
            found = File::NONE;
        }
    }
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).file = found.file;
        (*thread).inode = found.inode;
        (*thread).kept = kept;
        (*thread).no_file = unknown as u32;
    }
}

/// Keeps the name of a file that the call closes. It takes as long as a walk, and counts as one. Another thread may close the descriptor
/// while the name is read, so it is looked up again.
#[inline(always)]
unsafe fn keep(thread: *mut Thread, descriptor: u32, found: File) -> (u32, Unknown) {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let begun_ns = bpf_ktime_get_ns();
        let kept = file::keep(found.file, (*thread).tid);
        let changed = file::of_descriptor(descriptor) != found;
        (*thread).walk_ns += bpf_ktime_get_ns() - begun_ns;
        match (kept, changed) {
            (_, true) => (0, Unknown::Changed),
            (0, _) => (0, Unknown::Full),
            _ => (kept, Unknown::NoDescriptor),
        }
    }
}

/// The number of the file of the call that has just returned, or why it is not known.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn of_call(thread: *mut Thread, argument: u64) -> (u32, u32) {
    if FILES.load() == 0 {
        return (NO_FILE, Unknown::Refused as u32);
    }
    // SAFETY: the caller vouches for the record.
    let (found, kept, unknown, call, result, tid) = unsafe {
        let found = File { file: (*thread).file, inode: (*thread).inode };
        let Thread { kept, no_file, call, result, tid, .. } = &*thread;
        (found, *kept, *no_file, *call, *result, *tid)
    };
    if kept != 0 {
        return known(file::kept(tid));
    }
    if unknown != Unknown::NoDescriptor as u32 {
        return (NO_FILE, unknown);
    }
    let descriptor = if found.file != 0 {
        argument as u32
    } else if result < FIRST_ERROR && has_bit(&OPENING_CALLS, call) {
        result as u32
    } else {
        return (NO_FILE, Unknown::NoDescriptor as u32);
    };
    let now = file::of_descriptor(descriptor);
    // It may be closed, and another be opened, at any time: before its name is read, and while it is.
    if now.file == 0 || found.file != 0 && now != found {
        return (NO_FILE, Unknown::Changed as u32);
    }
    let number = file::number(now.file, if call == CONNECT { second_argument() } else { 0 });
    if file::of_descriptor(descriptor) != now {
        return (NO_FILE, Unknown::Changed as u32);
    }
    known(number)
}

/// The number of a file, or that there was none left.
#[inline(always)]
fn known(number: u32) -> (u32, u32) {
    (number, if number == NO_FILE { Unknown::Full } else { Unknown::NoDescriptor } as u32)
}
