//! Calls that name an address in a mapping of their file.

use profiler_common::{
    file::Unknown,
    io::{IoThread, UNKNOWN_FILES, unknown},
};

use super::{IoTool, thread};
use crate::{call::argument, file::mapped};

/// Notes where the file is. Returns how many there are to look at.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(super) unsafe fn note<T: IoTool>(thread: *mut IoThread) -> u32 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let path = T::mapped_at(argument((*thread).call, 1));
        (*thread).paths[0] = path;
        match mapped::why_not(path) {
            None => 1,
            Some(why) => {
                (*thread).files[0] = unknown(why);
                0
            }
        }
    }
}

/// Looks whether the file that was noted is still mapped at the address which the call names.
#[inline(never)]
pub(super) fn confirm<T: IoTool>() {
    let Some(thread) = thread::known() else { return };
    // SAFETY: the thread's own record.
    unsafe {
        if (*thread).files[0] >= UNKNOWN_FILES {
            return;
        }
        let path = T::mapped_at(argument((*thread).call, 1));
        if let Some(why) = mapped::why_not(path) {
            (*thread).files[0] = unknown(why);
        } else if T::identity(path) != (*thread).entries[0] {
            (*thread).files[0] = unknown(Unknown::Busy);
        }
    }
}
