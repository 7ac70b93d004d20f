//! Rare events of the kernel side, which programs log with `-vv`.
//!
//! They are sent as numbers, through one statement that all programs share, because the verifier looks at thousands of
//! instructions for each statement that logs. User space has the words.

/// Declares the events, each with what its two numbers mean.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            /// All of them, by number.
            pub const ALL: &[Event] = &[$(Event::$name,)*];
        }
    };
}

events! {
    /// A process replaced its program by exec: its id, the new address space (0: none was left).
    Execed,
    /// The record of an exec or a fork did not fit into the ring: process id, address space.
    RecordLost,
    /// A stack got no number, because all are used up: address space, 0.
    StackTableFull,
    /// The frames of a stack did not fit into the ring: address space, number of the stack.
    StackRingFull,
    /// A block was not put into the table of blocks: the kernel's error number, its size in bytes.
    BlockRefused,
    /// An allocation call was left without returning: address space, its size in bytes.
    CallAbandoned,
    /// A thread got no record: its id, that of its process.
    ThreadRefused,
    /// A call was not counted, because there is no memory for its cell: thread id, number of the call.
    CellRefused,
    /// An error was not counted by its number: thread id, number of the call.
    ErrorRefused,
    /// A call was not counted for its caller: thread id, number of the call.
    CallerRefused,
    /// A slow call did not fit into the ring: thread id, number of the call.
    SlowCallLost,
    /// An operation of io_uring was not counted: address space, number of the operation.
    UringRefused,
}

impl Event {
    /// The event of a number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Event> {
        Event::ALL.get(number as usize).copied()
    }
}

/// The target of log records that carry an event, and its numbers: three decimal numbers separated by spaces.
pub const EVENTS: &str = "event";
