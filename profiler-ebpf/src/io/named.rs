//! Files that calls name by their paths, and files that they open.

use core::ptr;

use profiler_common::{
    file::Unknown,
    io::{CallUse, unknown},
};

use super::{ANEW, AT_FDCWD, DIRECTORIES, IO_KINDS, IoTool, OPENED, calls, thread};
use crate::{
    FIRST_ERROR,
    call::argument,
    file::{self, given, replaced},
};

/// The result of a `connect` of a socket that is connected already, or listens (include/uapi/asm-generic/errno.h): it has changed nothing.
const EISCONN: u64 = -106i64 as u64;

/// Finds the number of the file that a call has opened, or of the path that it names.
#[inline(always)]
pub(super) fn find<T: IoTool>(used: CallUse) {
    if find_path::<T>(used) {
        calls::look_at::<T>(0, ptr::null_mut());
    }
    if used.files().path() != 0 {
        name_path(used);
    }
}

/// The number of the path that the current thread's call names. What an `open` has opened is known when it returns.
#[inline(always)]
pub fn file_so_far<T: IoTool>() -> u32 {
    let Some(thread) = thread::known() else { return unknown(Unknown::Unread) };
    // SAFETY: the thread's own record. What the return of the call needs stays as it is.
    unsafe {
        let first = (&raw mut (*thread).files).cast::<u32>();
        let directory = first.read_volatile();
        (*thread).result = FIRST_ERROR;
        find::<T>(CallUse::of_bits((*thread).used_as));
        let file = first.read_volatile();
        first.write_volatile(directory);
        file
    }
}

/// Notes where the file is that a call has opened, or the directory in which its path begins. Returns whether there is one to look at.
#[inline(never)]
fn find_path<T: IoTool>(used: CallUse) -> bool {
    let Some(thread) = thread::known() else { return false };
    let files = used.files();
    // SAFETY: the thread's own record.
    unsafe {
        let call = (*thread).call;
        let has_opened = files.opens() && (*thread).result < FIRST_ERROR;
        (*thread).paths[0] = 0;
        if has_opened {
            (*thread).kinds = (IO_KINDS.load() | OPENED).into();
            (*thread).paths[0] = file::of_descriptor((*thread).result as u32);
            return true;
        }
        if used.is_known_after() {
            let descriptor = argument(call, files.descriptor()) as u32;
            let path = file::of_descriptor(descriptor);
            // Another thread may have given the descriptor to another file while the call waited.
            if T::identity(path) != (*thread).entries[0]
                || !replaced::is_same((*thread).space, descriptor, (*thread).versions[0])
            {
                (*thread).files[0] = unknown(Unknown::Changed);
                return false;
            }
            if (*thread).result != EISCONN {
                (*thread).kinds |= u64::from(ANEW);
            }
            (*thread).paths[0] = path;
            return true;
        }
        if files.path() == 0 || has_directory(call, used) || !given::is_relative(argument(call, files.path()))
        {
            return false;
        }
        (*thread).kinds = DIRECTORIES.into();
        (*thread).paths[0] = file::working_directory();
    }
    true
}

/// Whether a call names the directory in which its path begins.
#[inline(always)]
fn has_directory(call: u64, used: CallUse) -> bool {
    let descriptor = used.files().descriptor();
    descriptor != 0 && argument(call, descriptor) as u32 != AT_FDCWD
}

/// Finds the number of the path that a call names, unless it has opened the file.
#[inline(never)]
fn name_path(used: CallUse) {
    let Some(thread) = thread::known() else { return };
    let files = used.files();
    // SAFETY: the thread's own record.
    unsafe {
        if files.opens() && (*thread).result < FIRST_ERROR {
            return;
        }
        let call = (*thread).call;
        let first = (&raw mut (*thread).files).cast::<u32>();
        let number = match given::number(argument(call, files.path()), first.read_volatile()) {
            // The file is that of the descriptor.
            given::EMPTY if has_directory(call, used) => return,
            given::EMPTY => unknown(Unknown::Unread),
            number => number,
        };
        first.write_volatile(number);
    }
}
