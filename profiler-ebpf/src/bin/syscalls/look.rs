//! A closer look at calls that have returned: at slow ones, or at all.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use profiler_common::{
    event::Event,
    file::{MAX_NAME_BYTES, MAX_OF_CALL, NO_FILE},
    record::{NO_STACK, RecordHead},
    syscalls::{ALL_STACKS, Caller, CallerKey, Counter, SLOW_STACKS, SlowCall, Thread},
};
use profiler_ebpf::{
    atomic,
    call::argument,
    log,
    ring::{self, RECORD_KIND},
    space,
    stack::number,
    task::{comm, task, tid_of},
};

use crate::{
    files,
    maps::{
        CALLERS, LISTED, LISTS, Quality, STACKS, WAIT_CALLS, WALKER, WALKS, Walks, count, has_bit, settings,
    },
    threads::recorded,
};

const BPF_NOEXIST: u64 = 1;
/// How many stacks of slow calls a CPU takes in a span, at most, and as many again of calls that wait. User space adapts the
/// limit of what is slow once a second, which is too late for a burst.
const MOST_WALKS: u64 = 100;
/// A span is 2^30 ns, about a second.
const SPAN_SHIFT: u32 = 30;

/// Whether to look at a call that has returned. If so, the thread's record has what [`look`] needs.
///
/// # Safety
/// `thread` is the record of the current thread.
#[inline(always)]
pub(crate) unsafe fn is_to_be_looked_at(thread: *mut Thread, duration_ns: u64, result: u64) -> bool {
    // SAFETY: the caller vouches for the record; the settings are a map value.
    unsafe {
        let least_ns = (&raw const (*settings()).least_ns).read_volatile();
        if STACKS.load() != ALL_STACKS && duration_ns < least_ns {
            return false;
        }
        (*thread).duration_ns = duration_ns;
        (*thread).result = result;
        true
    }
}

/// Looks at the last call of the current thread, which has a record. It takes no pointers, so that the verifier follows the walk
/// once, whichever record it is.
#[inline(never)]
pub(crate) fn look() {
    let mut stack = NO_STACK;
    let Some((space, call, duration_ns, taken)) = with_thread(|thread| {
        // SAFETY: the record of the current thread.
        unsafe { ((*thread).space, (*thread).call, (*thread).duration_ns, (*thread).stack) }
    }) else {
        return;
    };
    // SAFETY: a map value.
    let list_ns = unsafe { (&raw const (*settings()).list_ns).read_volatile() };
    if STACKS.load() == SLOW_STACKS && is_slow(call, duration_ns) {
        stack = self::stack(space);
    }
    if STACKS.load() == ALL_STACKS {
        stack = taken;
    }
    // The slow calls whose stack should have been taken.
    if STACKS.load() == ALL_STACKS || stack != NO_STACK {
        with_thread(|thread| add(thread, stack));
    }
    if LISTS.load() != 0 && duration_ns >= list_ns {
        with_thread(|thread| list(thread, stack));
    }
}

/// Whether to take the stack of a call of this length. A separate function, so that the verifier follows the walk once.
#[inline(never)]
fn is_slow(call: u64, duration_ns: u64) -> bool {
    // SAFETY: map values.
    let (kind, slow_ns) = unsafe {
        let settings = settings();
        if has_bit(&WAIT_CALLS, call) {
            (1, (&raw const (*settings).wait_ns).read_volatile())
        } else {
            (0, (&raw const (*settings).stack_ns).read_volatile())
        }
    };
    duration_ns >= slow_ns && may_walk(kind)
}

/// Whether this CPU may take another stack in the present span.
#[inline(always)]
fn may_walk(kind: u32) -> bool {
    let Some(walks) = WALKS.get_ptr_mut(kind) else { return false };
    // SAFETY: a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let span = bpf_ktime_get_ns() >> SPAN_SHIFT;
        if (*walks).span != span {
            *walks = Walks { span, taken: 0 };
        }
        if (*walks).taken >= MOST_WALKS {
            count(Counter::WalkSpared);
            return false;
        }
        (*walks).taken += 1;
    }
    true
}

#[inline(always)]
fn with_thread<T>(each: impl FnOnce(*mut Thread) -> T) -> Option<T> {
    recorded(tid_of(task())).map(each)
}

/// The number of the current thread's stack.
#[inline(never)]
pub(crate) fn stack(space: u32) -> u32 {
    let (Some(known), Some(walker)) = (space::get(space), WALKER.get_ptr_mut(0)) else { return NO_STACK };
    // SAFETY: map values; the walker is not used by anyone else before this program ends.
    unsafe { number::of_task::<Quality>(space as u16, known, walker) }
}

/// Attributes the thread's last call to a stack.
#[inline(always)]
fn add(thread: *mut Thread, stack: u32) {
    // SAFETY: the record of the current thread, and a map value.
    unsafe {
        let key = CallerKey { space: (*thread).space, stack, call: (*thread).call };
        if CALLERS.get_ptr_mut(key).is_none() {
            let _ = CALLERS.insert(key, Caller { count: 0, total_ns: 0 }, BPF_NOEXIST);
        }
        let Some(caller) = CALLERS.get_ptr_mut(key) else {
            log::event(Event::CallerRefused, (*thread).tid.into(), key.call);
            return count(Counter::CallerLost);
        };
        atomic::add(&raw mut (*caller).count, 1);
        atomic::add(&raw mut (*caller).total_ns, (*thread).duration_ns);
    }
}

/// Sends the thread's last call. To find its files takes as long as a walk, and counts as one.
#[inline(always)]
fn list(thread: *mut Thread, stack: u32) {
    let Some(listed) = LISTED.get_ptr_mut(0) else { return };
    // SAFETY: the record of the current thread, and a map value of this CPU, which no other program uses before this one ends.
    unsafe {
        let begun_ns = bpf_ktime_get_ns();
        let call = (*thread).call;
        let head =
            RecordHead { kind: RECORD_KIND.load() as u8, depth: 0, space: (*thread).space as u16, stack };
        let slow = &raw mut (*listed).call;
        *slow = SlowCall {
            head: core::mem::transmute::<RecordHead, u64>(head),
            tid: (*thread).tid.into(),
            call,
            start_ns: (*thread).start_ns,
            duration_ns: (*thread).duration_ns,
            result: (*thread).result,
            argument: argument(call, 1),
            files: [NO_FILE; MAX_OF_CALL],
            watched: 0,
            watches_more: 0,
            no_file: 0,
            path_bytes: 0,
            comm: comm(task()),
        };
        files::read_path(listed);
        files::find(thread, listed);
        let bytes = u64::from((&raw const (*slow).path_bytes).read_volatile()) & (MAX_NAME_BYTES as u64 - 1);
        if !ring::send_unhurried(slow.cast_const().cast(), size_of::<SlowCall>() as u64 + bytes) {
            count(Counter::SlowLost);
            log::event(Event::SlowCallLost, (*slow).tid, call);
        }
        (*thread).walk_ns += bpf_ktime_get_ns() - begun_ns;
    }
}
