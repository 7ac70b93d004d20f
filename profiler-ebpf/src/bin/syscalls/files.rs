//! Which file a call uses: what its descriptor referred to when it began, or what it has opened.

use profiler_common::{
    file::{NO_FILE, Unknown},
    syscalls::Thread,
};
use profiler_ebpf::file::{self, File};

use crate::{
    cells::FIRST_ERROR,
    look::first_argument,
    maps::{CLOSING_CALLS, DESCRIPTOR_CALLS, OPENING_CALLS, has_bit},
};

/// The number of the file that a descriptor refers to. Another thread may close the descriptor while the name is read, so it is looked
/// up again.
#[inline(always)]
fn number(descriptor: u32, file: File) -> (u32, Unknown) {
    let number = file::number(file.file);
    if file::of_descriptor(descriptor) != file {
        (NO_FILE, Unknown::Changed)
    } else if number == NO_FILE {
        (NO_FILE, Unknown::Full)
    } else {
        (number, Unknown::None)
    }
}

/// Notes the file of a call that begins.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn note(thread: *mut Thread, call: u64) {
    let (mut found, mut number, mut unknown) = (File::NONE, NO_FILE, Unknown::None);
    if has_bit(&DESCRIPTOR_CALLS, call) {
        let descriptor = first_argument(call) as u32;
        found = file::of_descriptor(descriptor);
        if found.file == 0 {
            unknown = Unknown::Closed;
        } else if has_bit(&CLOSING_CALLS, call) {
            // Now, because the descriptor is gone when the call returns.
            (number, unknown) = self::number(descriptor, found);
            found = File::NONE;
        }
    }
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).file = found.file;
        (*thread).inode = found.inode;
        (*thread).file_number = number;
        (*thread).no_file = unknown as u32;
    }
}

/// The number of the file of the call that has just returned, or why it is not known.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn of_call(thread: *mut Thread, argument: u64) -> (u32, u32) {
    // SAFETY: the caller vouches for the record.
    let (found, number, unknown, call, result) = unsafe {
        let found = File { file: (*thread).file, inode: (*thread).inode };
        (found, (*thread).file_number, (*thread).no_file, (*thread).call, (*thread).result)
    };
    if number != NO_FILE || unknown != Unknown::None as u32 {
        return (number, unknown);
    }
    let descriptor = if found.file != 0 {
        argument as u32
    } else if result < FIRST_ERROR && has_bit(&OPENING_CALLS, call) {
        result as u32
    } else {
        return (NO_FILE, Unknown::None as u32);
    };
    let now = file::of_descriptor(descriptor);
    // Another thread may have closed it and opened another file. That may also happen while the name is read, which `number` checks.
    if now.file == 0 || found.file != 0 && now != found {
        return (NO_FILE, Unknown::Changed as u32);
    }
    let (number, unknown) = self::number(descriptor, now);
    (number, unknown as u32)
}
