//! Entries and returns of system calls.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::pt_regs,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop},
};
use profiler_common::{
    file::Unknown,
    io::{CallUse, IoCounter, IoThread, LOST, OF_OTHER_KIND, unknown},
    opaque::opaque,
};

use super::{
    AT_FDCWD, DIRECTORIES, FILES_USERS, IO_KINDS, IoTool, TASK_FETCHED, cells, confirm, mapped, named,
    restarted, sample, thread, use_of,
};
use crate::{
    FIRST_ERROR,
    call::{TAKES_NOTHING, argument_in, call},
    file::{self, known, replaced},
    ledger::{Ledger, count},
    task::{Task, comm, task},
    threads,
};

/// Runs at the entry of each call of each process.
#[inline(always)]
pub fn began<T: IoTool>(ctx: *mut c_void) {
    // SAFETY: an argument of this tracepoint.
    if threads::may_be_observed(unsafe { ctx.cast::<*const pt_regs>().read_volatile() }) {
        // Not from there: before Linux 6.2, what follows would find no room on the stack.
        let followed = candidate_began::<T>(ctx);
        if followed != 0 {
            T::followed_began(CallUse::of_bits(followed));
        }
    }
}

/// A function of its own: the program saves no registers for other threads. Returns how a call is counted that is followed.
#[inline(never)]
fn candidate_began<T: IoTool>(ctx: *mut c_void) -> u64 {
    let task = task();
    let Some(thread) = thread::current::<T>(task) else { return 0 };
    let Some(ledger) = Ledger::<T::Counter>::open() else { return 0 };
    ledger.count(T::Counter::ENTERED);
    // SAFETY: the arguments of this tracepoint are registers and the number of the call; the record is the thread's own.
    unsafe {
        let registers = ctx.cast::<*const pt_regs>().read_volatile();
        let call = call(task, ctx.cast::<u64>().add(1).read_volatile());
        // Otherwise its return was not seen.
        (*thread).used_as = 0;
        (*thread).calls += 1;
        let is_held = (&raw const (*thread).held_ns).read_volatile() != 0;
        let first_ns = if is_held { restarted::first_begun(thread, call, registers) } else { 0 };
        let mut used = use_of(call);
        if used == CallUse::NONE {
            ledger.count(T::Counter::OTHER);
            return 0;
        }
        if used.flags_in() != 0 && argument_in(registers, call, used.flags_in()) & TAKES_NOTHING != 0 {
            used = used.as_flagged();
        }
        (*thread).call = call;
        if used.depends_on_command() {
            used = used.with_command(argument_in(registers, call, 2) as u32);
        }
        // Written and read back: otherwise the verifier follows each of the ways to here to the end.
        (*thread).used_as = used.bits();
        let used = CallUse::of_bits((&raw const (*thread).used_as).read_volatile());
        if used.replaces() != 0 {
            replaced::begins(used.bits());
        }
        if used.operation() == 0 {
            ledger.count(T::Counter::OTHER);
            return if used.is_followed() { used.bits() } else { 0 };
        }
        (*thread).start_ns = if first_ns == 0 { bpf_ktime_get_ns() } else { first_ns };
        if look::<T>(task, thread, registers, used) {
            (*thread).used_as = used.only_replacing().bits();
            ledger.count(T::Counter::OTHER);
            return 0;
        }
        if TASK_FETCHED.load() != 0 {
            (*thread).fetched = task.member(TASK_FETCHED.load());
        }
        (*thread).operations += 1;
        ledger.count(T::Counter::BEGAN);
        0
    }
}

/// Looks at the files of a call that begins. Returns whether none of them is of a kind that is counted.
#[inline(always)]
unsafe fn look<T: IoTool>(
    task: Task,
    thread: *mut IoThread,
    registers: *const pt_regs,
    used: CallUse,
) -> bool {
    // SAFETY: the caller vouches for all of them.
    unsafe {
        let count = note::<T>(task, thread, registers, used);
        if count == 0 {
            return false;
        }
        if count != 1 || !knows::<T>(thread) {
            bpf_loop(count, look_at::<T> as *mut c_void, ptr::null_mut(), 0);
        }
        used.files().path() == 0 && !used.files().opens() && is_of_other_kind(thread)
    }
}

/// Finds the only file of a call that begins, if nothing new is to be found out about it.
#[inline(always)]
unsafe fn knows<T: IoTool>(thread: *mut IoThread) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        // Read back, so that the verifier takes it for a number.
        let path = (&raw const (*thread).paths).cast::<u64>().read_volatile();
        let Some((number, entry)) = T::find_known(path, (*thread).kinds as u32, (*thread).start_ns) else {
            return false;
        };
        (*thread).files[0] = number;
        (*thread).entries[0] = entry;
        true
    }
}

/// Whether no file of a call is of a kind that is counted.
#[inline(always)]
unsafe fn is_of_other_kind(thread: *const IoThread) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe { (*thread).files[0] == OF_OTHER_KIND && (*thread).files[1] == OF_OTHER_KIND }
}

/// Notes where the files of a call that begins are. Returns how many there are to look at.
#[inline(always)]
unsafe fn note<T: IoTool>(
    task: Task,
    thread: *mut IoThread,
    registers: *const pt_regs,
    used: CallUse,
) -> u32 {
    // SAFETY: the caller vouches for the record.
    unsafe {
        let files = used.files();
        let call = (*thread).call;
        // One by one: of an array, the compiler would clear each byte on its own.
        let entries = (&raw mut (*thread).entries).cast::<u64>();
        entries.write_volatile(0);
        entries.add(1).write_volatile(0);
        (*thread).files = [OF_OTHER_KIND; 2];
        (*thread).kinds = IO_KINDS.load().into();
        if files.is_at_address() {
            return mapped::note::<T>(thread);
        }
        if files.descriptor() == 0 {
            return 0;
        }
        let descriptor = argument_in(registers, call, files.descriptor()) as u32;
        if files.path() != 0 {
            // The directory in which a relative path begins, or the file itself if the path is empty.
            if descriptor == AT_FDCWD {
                return 0;
            }
            (*thread).kinds |= u64::from(DIRECTORIES);
        }
        // Before it is looked at: what changes from here on shows.
        (*thread).versions[0] = replaced::version((*thread).space, descriptor);
        (*thread).paths[0] = file::of_descriptor_in(task, descriptor);
        if files.second() == 0 {
            return 1;
        }
        let descriptor = argument_in(registers, call, files.second()) as u32;
        (*thread).versions[1] = replaced::version((*thread).space, descriptor);
        (*thread).paths[1] = file::of_descriptor_in(task, descriptor);
        2
    }
}

/// Looks at one of the files that were noted.
#[inline(never)]
pub(super) extern "C" fn look_at<T: IoTool>(turn: u32, _nothing: *mut c_void) -> i64 {
    let Some(thread) = thread::known() else { return 1 };
    let turn = opaque(turn.into()) as usize & 1;
    // SAFETY: the thread's own record; the mask keeps the index within it.
    unsafe {
        let path = (&raw const (*thread).paths).cast::<u64>().add(turn).read_volatile();
        let kinds = (&raw const (*thread).kinds).read_volatile() as u32;
        // A file that a call opens exists from the end of the call. If the call has only begun, `end_ns` is still that of the call before.
        let start_ns = (&raw const (*thread).start_ns).read_volatile();
        let end_ns = (&raw const (*thread).end_ns).read_volatile();
        let (number, entry) = T::find(path, kinds, if end_ns > start_ns { end_ns } else { start_ns });
        (&raw mut (*thread).files).cast::<u32>().add(turn).write_volatile(number);
        (&raw mut (*thread).entries).cast::<u64>().add(turn).write_volatile(entry);
    }
    0
}

/// Runs at the return of each call of each process.
#[inline(always)]
pub fn returned<T: IoTool>(ctx: *mut c_void) {
    // SAFETY: an argument of this tracepoint.
    if threads::may_be_observed(unsafe { ctx.cast::<*const pt_regs>().read_volatile() }) {
        candidate_returned::<T>(ctx);
    }
}

#[inline(never)]
fn candidate_returned<T: IoTool>(ctx: *mut c_void) {
    let task = task();
    let Some(thread) = thread::of_current(task) else { return returned_first::<T>(ctx) };
    let Some(ledger) = Ledger::<T::Counter>::open() else { return };
    ledger.count(T::Counter::RETURNED);
    // SAFETY: the arguments of this tracepoint are registers and the result; the record is the thread's own.
    unsafe {
        let used = CallUse::of_bits((*thread).used_as);
        (*thread).used_as = 0;
        (*thread).ended_as = used.bits();
        let code = ctx.cast::<u64>().add(1).read_volatile();
        if used.moves() {
            known::moved();
        }
        if used.replaces() != 0 {
            replaced::ended();
        }
        if used.operation() == 0 {
            if used.is_followed() {
                T::followed_returned(used, code);
            }
            if used.waits() {
                if used.is_over(code) {
                    turn(thread);
                }
                let registers = ctx.cast::<*const pt_regs>().read_volatile();
                if used.is_wait(argument_in(registers, (*thread).call, 2) as u32) {
                    T::turned(thread);
                }
            }
            return ledger.count(T::Counter::NOT_COUNTED);
        }
        (*thread).end_ns = bpf_ktime_get_ns();
        (*thread).result = restarted::as_seen(code);
        let result = (&raw const (*thread).result).read_volatile();
        let files = used.files();
        if files.path() != 0 || files.opens() || used.is_known_after() {
            named::find::<T>(used);
        } else if files.is_at_address() {
            if file::users(task, FILES_USERS.load()) != 1 {
                mapped::confirm::<T>();
            }
        } else if files.descriptor() == 0 {
            (*thread).files[0] = unknown(Unknown::NoFile);
        } else if files.closes() {
            // Of several that close a descriptor at the same time, one has closed the file.
            if result >= FIRST_ERROR {
                (*thread).files[0] = unknown(Unknown::Closed);
            }
        } else if file::users(task, FILES_USERS.load()) != 1 {
            confirm::descriptors::<T>(task, thread, ctx.cast::<*const pt_regs>().read_volatile());
        }
        if is_of_other_kind(thread) {
            return ledger.count(T::Counter::NOT_COUNTED);
        }
        if restarted::is_restart(code) {
            restarted::hold(thread, code, ctx.cast::<*const pt_regs>().read_volatile());
            return ledger.count(T::Counter::RESTARTED);
        }
        let is_added = add::<T>(task, thread);
        ledger.count(if is_added { T::Counter::COUNTED } else { T::Counter::LOST_CELL });
    }
}

/// A thread without a record returns from a call. If it entered the call before the observation began, that is counted.
#[inline(never)]
fn returned_first<T: IoTool>(ctx: *mut c_void) {
    if !thread::was_in_call() {
        return;
    }
    // SAFETY: an argument of this tracepoint.
    unsafe {
        let registers = ctx.cast::<*const pt_regs>().read_volatile();
        let call = call(task(), (&raw const (*registers).orig_rax).read_volatile());
        let used = use_of(call);
        let descriptor = used.files().descriptor();
        if used.operation() == 0 {
            return;
        }
        if descriptor != 0 {
            let path = file::of_descriptor(argument_in(registers, call, descriptor) as u32);
            if IO_KINDS.load() >> known::kind(path) & 1 == 0 {
                return;
            }
        }
        count(T::Counter::RETURNED);
        count(T::Counter::BEFORE);
    }
}

/// Adds a call that has returned to the sums, and sends it if it is to be sent. Returns whether there was room for it.
#[inline(always)]
pub(super) unsafe fn add<T: IoTool>(task: Task, thread: *mut IoThread) -> bool {
    // SAFETY: the caller vouches for the record.
    unsafe {
        (*thread).comm = comm(task);
        (*thread).added = 0;
        cells::note_moved(thread);
        if TASK_FETCHED.load() != 0 {
            (*thread).fetched = task.member::<u64>(TASK_FETCHED.load()).wrapping_sub((*thread).fetched);
        } else {
            (*thread).fetched = 0;
        }
        T::ended(thread);
        cells::add_all::<T>(thread);
        cells::add_to_second(thread);
        let added = (&raw const (*thread).added).read_volatile();
        if sample::is_wanted(thread) {
            sample::send::<T>();
        }
        added & LOST == 0
    }
}

/// Counts a turn of the thread: the time from the end of a wait to the end of the next one.
#[inline(always)]
unsafe fn turn(thread: *mut IoThread) {
    // SAFETY: the caller vouches for the record; the mask keeps the index within it.
    unsafe {
        let now_ns = bpf_ktime_get_ns();
        let before_ns = (*thread).turned_ns;
        (*thread).turned_ns = now_ns;
        if before_ns != 0 {
            let turn_ns = now_ns.wrapping_sub(before_ns);
            let bucket = opaque((63 - (turn_ns | 1).leading_zeros()).into()) as usize & 63;
            *(&raw mut (*thread).turns).cast::<u32>().add(bucket) += 1;
            *(&raw mut (*thread).turns_ns).cast::<u64>().add(bucket) += turn_ns;
        }
    }
}
