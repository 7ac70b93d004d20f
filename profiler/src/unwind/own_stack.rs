//! Walks of our own stack, compared with the unwinder of the C++ runtime.

use std::{
    arch::asm,
    cell::RefCell,
    ffi::{c_int, c_void},
    fs::File,
};

use profiler_common::unwind::{
    unmarked,
    walk::{End, FRAME_ROOM},
};

use super::host::{self, HostSpace, Start, Thread};

unsafe extern "C" {
    /// glibc: the unwinder of libgcc, which reads `.eh_frame` by itself.
    fn backtrace(into: *mut *mut c_void, room: c_int) -> c_int;
}

/// Tables of this process, and its memory.
struct Own {
    space: HostSpace,
    memory: File,
}

impl Own {
    fn new() -> Own {
        let space = HostSpace::of(std::process::id()).unwrap();
        assert_eq!(space.left_out, [], "every file that we map has a table");
        Own { space, memory: File::open("/proc/self/mem").unwrap() }
    }

    /// Walks from these registers: the frames, and how the walk ended.
    fn walk(&self, ip: u64, sp: u64, fp: u64) -> (Vec<u64>, u64) {
        let thread = Thread { space: &self.space, memory: &self.memory, registers: &[] };
        let found = host::walk(thread, &self.space.mappings, Start { ip, sp, fp, returned: false });
        assert_eq!(found.guessed, 0, "no frame was guessed");
        (found.frames.into_iter().map(|frame| unmarked(frame).0).collect(), found.end)
    }
}

/// Walks from here with both unwinders, and compares.
#[inline(never)]
fn compare(own: &Own) -> usize {
    let (ip, sp, fp): (u64, u64, u64);
    // SAFETY: reads registers only.
    unsafe { asm!("lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp", out(reg) ip, out(reg) sp, out(reg) fp) };
    let (frames, end) = own.walk(ip, sp, fp);
    let mut theirs = [std::ptr::null_mut(); FRAME_ROOM];
    // SAFETY: the buffer has as much room as the call is told.
    let count = unsafe { backtrace(theirs.as_mut_ptr(), FRAME_ROOM as c_int) } as usize;
    let theirs: Vec<u64> = theirs[..count].iter().map(|address| *address as u64).collect();
    assert_eq!(end, End::ROOT, "{frames:x?}");
    assert_eq!(frames[1..], theirs[1..], "ours, and the other unwinder's");
    frames.len()
}

#[inline(never)]
fn descend(own: &Own, depth: usize) -> usize {
    if depth == 0 {
        return compare(own);
    }
    let found = descend(own, depth - 1);
    std::hint::black_box(found)
}

#[test]
fn the_plain_stack() {
    let own = Own::new();
    let shallow = compare(&own);
    assert_eq!(descend(&own, 40), shallow + 41);
}

#[test]
fn frames_larger_than_64_kib() {
    #[inline(never)]
    fn large(own: &Own) -> usize {
        let mut room = [0u8; 200_000];
        std::hint::black_box(&mut room);
        let found = descend(own, 3);
        std::hint::black_box(&room);
        found
    }
    let own = Own::new();
    assert!(large(&own) > 5);
}

thread_local! {
    static SHARED: RefCell<Option<(Own, usize)>> = const { RefCell::new(None) };
}

fn compare_shared() {
    SHARED.with_borrow_mut(|shared| {
        let (own, calls) = shared.as_mut().unwrap();
        compare(own);
        *calls += 1;
    });
}

#[test]
fn through_a_callback_of_the_c_library() {
    extern "C" fn order(a: *const c_void, b: *const c_void) -> c_int {
        compare_shared();
        // SAFETY: qsort hands pointers to its elements.
        unsafe { *a.cast::<c_int>() - *b.cast::<c_int>() }
    }
    SHARED.set(Some((Own::new(), 0)));
    let mut numbers = [3 as c_int, 1, 2];
    // SAFETY: three elements of this size.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), 3, size_of::<c_int>(), Some(order)) };
    assert_eq!(numbers, [1, 2, 3]);
    assert!(SHARED.take().unwrap().1 >= 2);
}

#[test]
fn out_of_a_signal_handler_on_a_stack_of_its_own() {
    extern "C" fn handler(_signal: c_int) {
        compare_shared();
    }
    const ROOM: usize = 1 << 18;
    SHARED.set(Some((Own::new(), 0)));
    let mut room = vec![0u8; ROOM];
    // SAFETY: the stack lives until the handler is gone; the handler only touches this thread's own state, and the
    // signal is raised where that is not borrowed.
    unsafe {
        let stack = libc::stack_t { ss_sp: room.as_mut_ptr().cast(), ss_flags: 0, ss_size: ROOM };
        assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
        libc::raise(libc::SIGUSR2);
        let none = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        libc::sigaltstack(&raw const none, std::ptr::null_mut());
    }
    assert_eq!(SHARED.take().unwrap().1, 1);
}
