//! Operations of system calls on files: what threads read, write, sync and look up, by file. Tools choose which kinds of files they count
//! and number the operations as they like.

mod call;
mod ledger;

pub use self::{
    call::{ALL_DESCRIPTORS, CallUse, RING_MESSAGE, RING_SYNC},
    ledger::IoCounter,
};
use crate::{
    file::{NO_FILE, Unknown},
    histogram::BUCKETS,
    wire,
};

/// Operation 0: the call is not counted.
pub const NO_OPERATION: u32 = 0;
/// Durations of the first operations of a cell that are kept one by one, a power of two. Most files are used only a few times, and a
/// histogram takes 2.4 KiB.
pub const FIRST_DURATIONS: usize = 8;
/// Numbers of files from here on are reasons why a file is not known.
pub const UNKNOWN_FILES: u32 = 0xffff_fff0;

/// In place of the number of a file: it is of a kind that is not looked for, or there is none.
pub const OF_OTHER_KIND: u32 = u32::MAX;

/// In place of the number of a file: why it is not known.
#[must_use]
#[inline(always)]
pub const fn unknown(why: Unknown) -> u32 {
    UNKNOWN_FILES | why as u32
}

/// The number of a file, or why it is not known.
pub const fn number(file: u32) -> Result<u32, u32> {
    match file {
        NO_FILE => Err(Unknown::Full as u32),
        UNKNOWN_FILES.. => Err(file & !UNKNOWN_FILES),
        _ => Ok(file),
    }
}

/// Calls of each kind that have an entry in the table of calls: numbers below this one, native, and as many of i386.
pub const TABLED_CALLS: usize = 512;

wire! {
    /// Key of a [`IoCell`]: threads of one name in one address space, one file, one operation.
    pub struct IoKey {
        /// The address space.
        pub space: u32,
        /// Number of the file, see [`number`]; 0: there was no room for it, or for a cell of its own.
        pub file: u32,
        /// The operation.
        pub operation: u64,
        /// Name that the threads had; zeroes if there was no room for a cell of its own.
        pub comm: [u64; 2],
    }
}

wire! {
    /// Sums over operations.
    pub struct IoCell {
        /// Operations that have ended.
        pub count: u64,
        /// Those of them that failed, other than because nothing was ready.
        pub errors: u64,
        /// Those that failed because no space was left: `ENOSPC` or `EDQUOT`.
        pub without_space: u64,
        /// Those that failed with `EIO`.
        pub io_errors: u64,
        /// Those of them that had nothing to do yet: `EAGAIN`, and `EINPROGRESS` of a connection that has only begun.
        pub not_ready: u64,
        /// Messages that those which did not fail have moved: of a stream, calls that have moved bytes.
        pub messages: u64,
        /// Bytes that those which did not fail have moved.
        pub bytes: u64,
        /// Bytes that were fetched from a device for them.
        pub device_bytes: u64,
        /// Operations for which bytes were fetched from a device.
        pub from_device: u64,
        /// Time in them, in nanoseconds.
        pub total_ns: u64,
        /// The longest, in nanoseconds.
        pub max_ns: u64,
        /// The histogram with the durations that `first` has no room for: 0 as long as there are none.
        pub histogram: u64,
        /// Durations that are in no histogram, because none was left.
        pub without_histogram: u64,
        /// The first durations, in nanoseconds.
        pub first: [u64; FIRST_DURATIONS],
    }
}

wire! {
    /// Durations, as [`histogram`](crate::histogram) divides them.
    pub struct IoHistogram {
        /// Number of durations by bucket.
        pub counts: [u64; BUCKETS],
    }
}

/// Numbers that a tool may keep of each thread.
pub const OWN_NUMBERS: usize = 8;
/// Buckets for the time between two waits of a thread: bucket `n` is for `2^n` nanoseconds and more.
pub const TURN_BUCKETS: usize = 64;

wire! {
    /// A thread, from its first call to its end.
    pub struct IoThread {
        /// Its id; 0: it has ended, or is to be described again.
        pub tid: u32,
        /// Its process.
        pub tgid: u32,
        /// Its address space.
        pub space: u32,
        /// 1 if the record was given to a thread.
        pub used: u32,
        /// Name at its last call.
        pub comm: [u64; 2],
        /// Calls that it has made, of any kind.
        pub calls: u64,
        /// Those of them that were operations on files.
        pub operations: u64,
        /// Time that went into walks, in nanoseconds.
        pub walk_ns: u64,
        /// What the present call is, as [`CallUse`] has it; 0: it is not in a call that is counted.
        pub used_as: u64,
        /// The same for the call that has just ended.
        pub ended_as: u64,
        /// The present call.
        pub call: u64,
        /// When it began, in nanoseconds.
        pub start_ns: u64,
        /// Addresses of the paths of its files, while these are looked for; 0: it has none.
        pub paths: [u64; 2],
        /// Bit by kind of file: those that are looked for.
        pub kinds: u64,
        /// What shows whether a descriptor still refers to each file: the address of its `dentry`, or of a socket the number of its inode.
        pub entries: [u64; 2],
        /// What shows whether each descriptor was given to another file meanwhile, and perhaps back: a number of the kernel side.
        pub versions: [u32; 2],
        /// Numbers of the files; of a call that names a path, that of the directory in which the path begins. See [`number`] for what is
        /// not known; [`OF_OTHER_KIND`]: it is of a kind that is not looked for.
        pub files: [u32; 2],
        /// Bytes that the thread had fetched from devices when the call began; when it has ended, those that were fetched for it.
        pub fetched: u64,
        /// Bytes that it has moved.
        pub bytes: u64,
        /// Messages that it has moved.
        pub messages: u64,
        /// Another operation that ended with it, and how long that took in nanoseconds; 0: there is none.
        pub also: u64,
        /// How long that took.
        pub also_ns: u64,
        /// What was added to the sums when it ended: [`LOST`] and [`IS_SAMPLE`].
        pub added: u64,
        /// When it ended, in nanoseconds, and its result.
        pub end_ns: u64,
        /// Its result.
        pub result: u64,
        /// When a call was begun that a signal has interrupted, and that may go on, in nanoseconds; 0: there is none.
        pub held_ns: u64,
        /// That call.
        pub held_call: u64,
        /// The code with which it has returned, or what has become of it: a number of the kernel side.
        pub held_as: u64,
        /// Where the program is when it returns.
        pub held_ip: u64,
        /// Its stack pointer then.
        pub held_sp: u64,
        /// Since when it does not run, during the present call, in nanoseconds; 0: it runs.
        pub off_ns: u64,
        /// The number of that call among all of the thread.
        pub off_call: u64,
        /// What it waits for then: the key of the wait.
        pub wait: u64,
        /// The last wait that has an entry in the table of waits, or found no room there: its key.
        pub waited_in: u64,
        /// The file of that wait, and its operation in the upper half.
        pub waited_for: u64,
        /// Number of the file of the operation that waits, as in [`IoKey`].
        pub wait_file: u64,
        /// When the time of its last wait was over, in nanoseconds.
        pub turned_ns: u64,
        /// What the tool keeps of the thread.
        pub own: [u64; OWN_NUMBERS],
        /// Times from there to the end of the next such wait, by bucket.
        pub turns: [u32; TURN_BUCKETS],
        /// How long these were together, by bucket, in nanoseconds.
        pub turns_ns: [u64; TURN_BUCKETS],
    }
}

/// There was no memory for the sums of an operation.
pub const LOST: u64 = 1;
/// The stack of an operation is worth taking: it is the first of its kind, the second, the fourth, and so on.
pub const IS_SAMPLE: u64 = 2;

wire! {
    /// Calls of threads that have ended.
    pub struct IoEnded {
        /// Their calls.
        pub calls: u64,
        /// Those of them that were operations on files.
        pub operations: u64,
        /// Time that went into walks, in nanoseconds.
        pub walk_ns: u64,
    }
}

/// Flag of a single operation: the thread that has asked for it did not wait for it.
pub const ASIDE: u64 = 1 << 32;

wire! {
    /// Ring record: a single operation.
    pub struct IoSample {
        /// A `RecordHead`.
        pub head: u64,
        /// Thread id.
        pub tid: u32,
        /// Number of the file, see [`number`].
        pub file: u32,
        /// The call.
        pub call: u64,
        /// The operation in the lower half, and flags: [`ASIDE`].
        pub operation: u64,
        /// When it began, on the monotonic clock in nanoseconds.
        pub start_ns: u64,
        /// How long it took, in nanoseconds.
        pub duration_ns: u64,
        /// Its result.
        pub result: u64,
        /// Bytes that were fetched from a device for it.
        pub device_bytes: u64,
        /// Name of the thread.
        pub comm: [u64; 2],
    }
}

impl IoSample {
    /// Reads a record from the ring; `None` if it is too short.
    #[must_use]
    pub fn read(record: &[u8]) -> Option<IoSample> {
        if record.len() < size_of::<IoSample>() {
            return None;
        }
        // SAFETY: as many bytes as the type has, and any are valid for a wire type.
        Some(unsafe { record.as_ptr().cast::<IoSample>().read_unaligned() })
    }

    /// The address space.
    #[must_use]
    pub fn space(&self) -> u16 {
        (self.head >> 16) as u16
    }

    /// Number of its stack.
    #[must_use]
    pub fn stack(&self) -> u32 {
        (self.head >> 32) as u32
    }
}

/// Operations of io_uring that have an entry in the table of their uses, a power of two.
pub const URING_OPERATIONS: usize = 128;

wire! {
    /// A request of io_uring under way.
    pub struct UringRequest {
        /// The address space.
        pub space: u64,
        /// The thread that has submitted it.
        pub tid: u64,
        /// What it is, as [`CallUse`] has it.
        pub used_as: u64,
        /// When, in nanoseconds.
        pub start_ns: u64,
        /// Address of its ring in the kernel, which uses the memory of requests again for those of other rings.
        pub ring: u64,
        /// Name of the thread.
        pub comm: [u64; 2],
    }
}

/// Seconds of which the kernel side keeps sums, a power of two. User space reads them more often.
pub const SECONDS: usize = 64;
/// Operations that have sums by second: numbers below this one, a power of two.
pub const SECOND_OPERATIONS: usize = 32;

wire! {
    /// Sums over the operations of one kind that ended within one second.
    pub struct IoSecond {
        /// The second, on the monotonic clock.
        pub second: u64,
        /// Operations.
        pub count: u64,
        /// Messages.
        pub messages: u64,
        /// Bytes.
        pub bytes: u64,
        /// Time in them, in nanoseconds.
        pub total_ns: u64,
        /// The longest, in nanoseconds.
        pub max_ns: u64,
    }
}

wire! {
    /// Settings that user space changes while the programs run.
    pub struct IoSettings {
        /// Operations of at least this length are sent one by one, in nanoseconds.
        pub slow_ns: u64,
        /// 1 while the observation lasts.
        pub begun: u64,
        /// What the tool's own programs are asked to do.
        pub of_tool: u64,
    }
}
