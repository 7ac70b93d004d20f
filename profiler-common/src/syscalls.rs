//! Wire types of `syscalls`.
//!
//! The calls of one thread to one system call are counted in a [`Cell`]. A thread writes its own cells without atomics: it runs
//! on one CPU at a time, and the kernel does not preempt it inside the programs. When threads or cells run out, calls are counted
//! in a cell that all threads of the same name share. When room runs short, the cells of threads that have ended are added to it.
//!
//! User space reads while the programs run. Each thread counts the programs that have begun to change its record
//! ([`Thread::begun`]) and those that are done: what is read while both numbers are equal is consistent.

mod counters;

pub use self::counters::{Counter, Probe};
pub use crate::call::COMPAT;
use crate::{
    file::{MAX_NAME_BYTES, MAX_OF_CALL},
    histogram::BUCKETS,
    wire,
};

/// Native calls with lower numbers have an index to their cell in the thread's record.
pub const DIRECT_CALLS: usize = 512;
/// How many kinds of errors a thread's cell counts itself. Others are counted in the map `ERRORS`.
pub const CELL_ERRORS: usize = 4;
/// `clock_gettime` on x86-64.
pub const CLOCK_GETTIME: u64 = 228;
/// Bit by number of a clock: the vDSO has it. These are `CLOCK_REALTIME`, `CLOCK_MONOTONIC`, `CLOCK_MONOTONIC_RAW`,
/// `CLOCK_REALTIME_COARSE`, `CLOCK_MONOTONIC_COARSE`, `CLOCK_BOOTTIME` and `CLOCK_TAI`.
pub const VDSO_CLOCKS: u64 = 1 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 11;
/// How many calls of one thread may wait for signal handlers to return at the same time.
pub const MAX_SUSPENDED: usize = 4;

wire! {
    /// The calls to one system call of one thread, or of all threads of a name that have no cells of their own.
    pub struct Cell {
        /// The thread id in the initial pid namespace; 0: all threads of the name that have no cell of their own.
        pub tid: u32,
        /// Number of the address space.
        pub space: u32,
        /// The call: its number, and [`COMPAT`] if it applies.
        pub call: u64,
        /// Name of the thread when the cell was made, ended by a zero byte.
        pub comm: [u64; 2],
        /// Calls that began and returned: the sum of the histogram.
        pub count: u64,
        /// Time in these calls, in nanoseconds.
        pub total_ns: u64,
        /// Time in the longest.
        pub max_ns: u64,
        /// Sum of the results of calls that return a number of bytes or of things.
        pub results: u64,
        /// All ones if the call returns such a number, else 0.
        pub results_mask: u64,
        /// Index of the next cell of the same thread; 0: none.
        pub next: u64,
        /// Calls that began, and returned 0.
        pub zeros: u64,
        /// Calls that did not return because their thread ended: `exit`, or a call in which the thread was killed.
        pub ended: u64,
        /// Calls that returned and were in progress at the start: how long they took is not known.
        pub under_way: u64,
        /// Calls that a seccomp filter or a tracer refused before they began.
        pub refused: u64,
        /// Error numbers by place; 0: the place is free.
        pub errors: [u64; CELL_ERRORS],
        /// Calls that failed with the error of that place.
        pub error_counts: [u64; CELL_ERRORS],
        /// Calls by duration in nanoseconds, see [`crate::histogram`].
        pub histogram: [u64; BUCKETS],
    }
}

wire! {
    /// Key of errors that have no place in a cell.
    pub struct ErrorKey {
        /// Number of the address space.
        pub space: u32,
        /// The thread, 0 for the shared cell, as in [`Cell::tid`].
        pub tid: u32,
        /// The call.
        pub call: u64,
        /// The error number.
        pub error: u64,
        /// Name of the thread when it failed, ended by a zero byte.
        pub comm: [u64; 2],
    }
}

wire! {
    /// Key of a shared cell: that of all threads of a name that have no cells of their own, or that have ended and gave theirs
    /// back.
    pub struct SharedKey {
        /// Number of the address space.
        pub space: u64,
        /// The call.
        pub call: u64,
        /// Name of the threads, ended by a zero byte.
        pub comm: [u64; 2],
    }
}

wire! {
    /// A call that a signal interrupted and that the kernel may restart.
    pub struct Suspended {
        /// The call; 0 with `start_ns` 0 stands for a call that was in progress at the start.
        pub call: u64,
        /// When it began, nanoseconds of the monotonic clock; 0: before the start.
        pub start_ns: u64,
        /// Address of the user's instruction after the call.
        pub ip: u64,
        /// The user's stack pointer.
        pub sp: u64,
        /// The kernel's code, which decides when it is restarted: `ERESTARTSYS` or another.
        pub code: u32,
        /// 1 once a handler was started after which the call will be restarted.
        pub handled: u32,
        /// Number of its stack, if stacks are taken at every entry.
        pub stack: u64,
    }
}

wire! {
    /// The file of such a call, as [`Thread`] has it.
    pub struct SuspendedFile {
        /// Its address.
        pub file: u64,
        /// The address of its inode.
        pub inode: u64,
        /// The same of the other file.
        pub second: u64,
        /// The same of the other file.
        pub second_inode: u64,
        /// Why the first is not known.
        pub no_file: u64,
    }
}

wire! {
    /// A thread.
    pub struct Thread {
        /// Its id in the initial pid namespace.
        pub tid: u32,
        /// Number of the address space.
        pub space: u32,
        /// [`IN_CALL`] and others.
        pub state: u32,
        /// Valid entries of `suspended`.
        pub depth: u32,
        /// The call in progress, or the last one.
        pub call: u64,
        /// When it began, nanoseconds of the monotonic clock; 0: before the start.
        pub start_ns: u64,
        /// Hits of the program at the entry of calls.
        pub enters: u64,
        /// Hits of the program at the return of calls.
        pub exits: u64,
        /// How many other programs have begun to change the record.
        pub others: u64,
        /// How many programs have changed the record and its cells, and are done.
        pub done: u64,
        /// Index of the first of its cells; 0: it has none.
        pub first_cell: u64,
        /// Number of the record that it had before its exec, and that is kept until the thread ends; 0: none.
        pub before: u64,
        /// Outcomes of its hits, by [`OF_THREADS`].
        pub outcomes: [u64; OF_THREADS.len()],
        /// How long the last call that returned took, in nanoseconds. This and the next two are passed between the steps of
        /// one program.
        pub duration_ns: u64,
        /// What it returned.
        pub result: u64,
        /// What became of it.
        pub fate: u64,
        /// Calls of `clock_gettime` for clocks that no vDSO has ([`VDSO_CLOCKS`]).
        pub kernel_clocks: u64,
        /// Time in walks, in nanoseconds, if stacks are taken at every entry, and in keeping names of files that calls close.
        pub walk_ns: u64,
        /// Number of the address space under which its calls are shared: its own, or with [`CHILDREN`] that of the target from which it
        /// descends.
        pub shared_space: u64,
        /// The file of the call in progress, if single calls are listed: its address in the kernel; 0: not known.
        pub file: u64,
        /// Address of that file's inode.
        pub inode: u64,
        /// Address of the other file that the call in progress uses; 0: none.
        pub second: u64,
        /// Address of that file's inode.
        pub second_inode: u64,
        /// 1 if the name of the file of the call in progress was kept when it began, because the call closes the file.
        pub kept: u32,
        /// Why the file of the call in progress is not known: a [`crate::file::Unknown`].
        pub no_file: u32,
        /// Number of the stack of the call in progress, if stacks are taken at every entry; 0: not known.
        pub stack: u32,
        /// The process.
        pub tgid: u32,
        /// Its name when it was first seen, and once it has ended the last one; ended by a zero byte.
        pub comm: [u64; 2],
        /// Calls that wait for a handler to return, or to be restarted.
        pub suspended: [Suspended; MAX_SUSPENDED],
        /// Their files, if single calls are listed.
        pub suspended_files: [SuspendedFile; MAX_SUSPENDED],
        /// Index of the cell of a native call by its number; 0: none yet.
        pub cells: [u16; DIRECT_CALLS],
    }
}

impl Thread {
    /// Programs that have begun to change the record.
    pub const fn begun(&self) -> u64 {
        self.enters.wrapping_add(self.exits).wrapping_add(self.others)
    }
}

/// Counters that each thread has, in this order. Those of threads without a record are in the ledger.
pub const OF_THREADS: [Counter; 10] = [
    Counter::EnterContinued,
    Counter::EnterLate,
    Counter::EnterAbandoned,
    Counter::EnterLostReturn,
    Counter::EnterLostCell,
    Counter::ExitSuspended,
    Counter::ExitChildBegan,
    Counter::ExitLostCell,
    Counter::EndedSinceBefore,
    Counter::Interrupted,
];

/// The place of one of [`OF_THREADS`].
#[inline(always)]
pub const fn of_thread(counter: Counter) -> usize {
    let mut place = 0;
    while place < OF_THREADS.len() && OF_THREADS[place] as usize != counter as usize {
        place += 1;
    }
    place
}

wire! {
    /// How often room was given back, see [`SharedKey`]. Meanwhile, what is moved is in two places or in none.
    pub struct Folds {
        /// Begun.
        pub begun: u64,
        /// Done.
        pub done: u64,
    }
}

/// Bit of the number of an address space: it stands for the processes that descend from the space by forks and gave their cells back.
pub const CHILDREN: u32 = 1 << 15;

/// State of a thread: it is in a call.
pub const IN_CALL: u32 = 1;
/// State of a thread: `depth` is not 0.
pub const HAS_SUSPENDED: u32 = 2;
/// State of a thread: no hit was counted yet.
pub const IS_NEW: u32 = 4;
/// State of a thread: the call under way is an `execve` that has replaced the program.
pub const HAS_EXECED: u32 = 8;
/// State of a thread: it has ended, or continues as the first thread of another program.
pub const HAS_ENDED: u32 = 16;

wire! {
    /// Settings that user space changes while the programs run.
    pub struct Settings {
        /// Calls of at least this length are looked at more closely; the least of the next three.
        pub least_ns: u64,
        /// Calls of at least this length are sent one by one.
        pub list_ns: u64,
        /// Calls of at least this length have their stack taken.
        pub stack_ns: u64,
        /// The same for calls that wait.
        pub wait_ns: u64,
        /// 1 once all programs are attached: nothing before that is counted.
        pub begun: u64,
        /// 1 once the observation is over, and the programs are being detached.
        pub over: u64,
    }
}

wire! {
    /// Ring record: a single call. Its head is a `RecordHead` with the address space and the stack.
    pub struct SlowCall {
        /// Kind, depth 0, address space, stack.
        pub head: u64,
        /// The thread.
        pub tid: u64,
        /// The call.
        pub call: u64,
        /// When it began, nanoseconds of the monotonic clock.
        pub start_ns: u64,
        /// How long it took.
        pub duration_ns: u64,
        /// What it returned.
        pub result: u64,
        /// Its first argument.
        pub argument: u64,
        /// Numbers of the file that it used, of another one, and of those that an epoll watches, see [`crate::file`]; 0: none, or not
        /// known.
        pub files: [u32; MAX_OF_CALL],
        /// How many files the epoll watches.
        pub watched: u32,
        /// 1 if it watches more than that.
        pub watches_more: u32,
        /// Why the first is not known: a [`crate::file::Unknown`].
        pub no_file: u32,
        /// Length of the path that follows, in bytes, without the zero byte at its end. 0: none; [`NO_PATH`].
        pub path_bytes: u32,
        /// Name of the thread, ended by a zero byte.
        pub comm: [u64; 2],
    }
}

/// In place of the length of a path: the path could not be read.
pub const NO_PATH: u32 = MAX_NAME_BYTES as u32;

impl SlowCall {
    /// Reads a record and the path behind it; `None` if it is too short.
    pub fn read(record: &[u8]) -> Option<(SlowCall, &[u8])> {
        let (head, path) = record.split_at_checked(size_of::<SlowCall>())?;
        // SAFETY: it has as many bytes as the type, and any bytes are valid.
        let call = unsafe { head.as_ptr().cast::<SlowCall>().read_unaligned() };
        let bytes = if call.path_bytes == NO_PATH { 0 } else { call.path_bytes as usize };
        Some((call, path.get(..bytes)?))
    }

    /// Number of its address space.
    pub const fn space(&self) -> u16 {
        (self.head >> 16) as u16
    }

    /// Number of its stack; 0: not known.
    pub const fn stack(&self) -> u32 {
        (self.head >> 32) as u32
    }
}

wire! {
    /// Key of the calls of a stack to one system call.
    pub struct CallerKey {
        /// Number of the address space.
        pub space: u32,
        /// Number of the stack.
        pub stack: u32,
        /// The call.
        pub call: u64,
    }
}

wire! {
    /// The calls of a stack to one system call.
    pub struct Caller {
        /// Calls.
        pub count: u64,
        /// Time in them, in nanoseconds.
        pub total_ns: u64,
    }
}

wire! {
    /// Key of operations of io_uring.
    pub struct UringKey {
        /// Number of the address space.
        pub space: u32,
        /// Operation (`IORING_OP_...`) of what was submitted.
        pub operation: u32,
    }
}

/// No stacks are taken.
pub const NO_STACKS: u32 = 0;
/// Stacks are taken at the return of slow calls.
pub const SLOW_STACKS: u32 = 1;
/// Stacks are taken at the entry of every call.
pub const ALL_STACKS: u32 = 2;
