//! Whether the descriptors of a call have referred to the same files from its beginning to its end.

use aya_ebpf::bindings::pt_regs;
use profiler_common::{
    file::Unknown,
    io::{CallUse, IoThread, OF_OTHER_KIND, unknown},
};

use super::IoTool;
use crate::{
    call::argument_in,
    file::{self, replaced},
    task::Task,
};

/// Looks whether the descriptors still refer to the files that were noted: another thread may have closed one, or given it to another file,
/// before the call looked at it.
#[inline(never)]
pub(super) unsafe fn descriptors<T: IoTool>(task: Task, thread: *mut IoThread, registers: *const pt_regs) {
    // SAFETY: the caller vouches for all of them.
    unsafe {
        let files = CallUse::of_bits((*thread).ended_as).files();
        one::<T>(task, thread, registers, files.descriptor(), 0);
        if files.second() != 0 {
            one::<T>(task, thread, registers, files.second(), 1);
        }
    }
}

/// Looks at one of them.
#[inline(always)]
unsafe fn one<T: IoTool>(
    task: Task,
    thread: *mut IoThread,
    registers: *const pt_regs,
    argument: u64,
    place: usize,
) {
    // SAFETY: the caller vouches for all of them; places are those of the first and of the second file.
    unsafe {
        let file = (&raw mut (*thread).files).cast::<u32>().add(place);
        let entry = (&raw const (*thread).entries).cast::<u64>().add(place).read_volatile();
        if file.read_volatile() == OF_OTHER_KIND {
            return;
        }
        let descriptor = argument_in(registers, (*thread).call, argument) as u32;
        let version = (&raw const (*thread).versions).cast::<u32>().add(place).read_volatile();
        if T::identity(file::of_descriptor_in(task, descriptor)) != entry
            || !replaced::is_same((*thread).space, descriptor, version)
        {
            file.write_volatile(unknown(Unknown::Changed));
        }
    }
}
