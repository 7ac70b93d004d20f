//! How calls are counted.

use super::OF_OTHER_KIND;
use crate::file::calls::FileUse;

/// How a call is counted: how it uses files, and which operations that is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallUse(u64);

const OPERATION_SHIFT: u32 = 32;
const SECOND_SHIFT: u32 = 40;
const OPERATION: u64 = 0xff;
const IN_BYTES: u64 = 1 << 48;
const WAITS: u64 = 1 << 49;
const MOVES: u64 = 1 << 51;
const READS_FIRST: u64 = 1 << 52;
const TIMES_OUT: u64 = 1 << 53;
const IN_MESSAGES: u64 = 1 << 50;
const AFTER: u64 = 1 << 54;
const PATIENT: u64 = 1 << 55;
const FLAGS_SHIFT: u32 = 56;
const FLAGS: u64 = 7;
const FOLLOWED: u64 = 1 << 59;
const REPLACES_SHIFT: u32 = 60;
const REPLACES: u64 = 3;
const IF_DUPLICATING: u64 = 1 << 62;
/// Commands of `fcntl` that give a file another descriptor (include/uapi/linux/fcntl.h and asm-generic/fcntl.h).
const F_DUPFD: u32 = 0;
const F_DUPFD_CLOEXEC: u32 = 1030;

/// In place of the argument with the descriptor that [a call replaces](CallUse::replaces): it may replace any.
pub const ALL_DESCRIPTORS: u64 = 3;

/// In place of the argument with the [flags of a call](CallUse::flagged): those of a request of io_uring that receives a message,
pub const RING_MESSAGE: u64 = 1;
/// and of one that syncs.
pub const RING_SYNC: u64 = 2;

impl CallUse {
    /// It is not counted.
    pub const NONE: CallUse = CallUse(0);

    /// A call that uses files so, as this operation on the first of them.
    #[must_use]
    pub const fn new(used: FileUse, operation: u32) -> CallUse {
        CallUse(used.bits() & (u32::MAX as u64) | (operation as u64 & OPERATION) << OPERATION_SHIFT)
    }

    /// From [`CallUse::bits`].
    #[must_use]
    #[inline(always)]
    pub const fn of_bits(bits: u64) -> CallUse {
        CallUse(bits)
    }

    /// As a number, for a map.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The operation on its second file.
    #[must_use]
    pub const fn with_second(self, operation: u32) -> CallUse {
        CallUse(self.0 | (operation as u64 & OPERATION) << SECOND_SHIFT)
    }

    /// Of two files, it reads the first.
    #[must_use]
    pub const fn reading_first(self) -> CallUse {
        CallUse(self.0 | READS_FIRST)
    }

    /// Whether it reads the first of two files.
    #[must_use]
    #[inline(always)]
    pub const fn reads_first(self) -> bool {
        self.0 & READS_FIRST != 0
    }

    /// Its result is a number of bytes.
    #[must_use]
    pub const fn in_bytes(self) -> CallUse {
        CallUse(self.0 | IN_BYTES)
    }

    /// Its result is a number of messages. Its second argument is the address of as many `struct mmsghdr`.
    #[must_use]
    pub const fn in_messages(self) -> CallUse {
        CallUse(self.0 | IN_MESSAGES)
    }

    /// What its file is shows only after the call, which gives the file a peer.
    #[must_use]
    pub const fn known_after(self) -> CallUse {
        CallUse(self.0 | AFTER)
    }

    /// It waits for others as long as they have nothing to say: it is not slow.
    #[must_use]
    pub const fn patient(self) -> CallUse {
        CallUse(self.0 | PATIENT)
    }

    /// If the flags in this argument say so, such as `MSG_PEEK`, it is this operation, and takes no bytes. Such a call has no second file. A
    /// request of io_uring has its flags in [`RING_MESSAGE`] or [`RING_SYNC`].
    #[must_use]
    pub const fn flagged(self, argument: u64, operation: u32) -> CallUse {
        CallUse(self.with_second(operation).0 | (argument & FLAGS) << FLAGS_SHIFT)
    }

    /// The argument that may have such flags; 0: none.
    #[must_use]
    #[inline(always)]
    pub const fn flags_in(self) -> u64 {
        self.0 >> FLAGS_SHIFT & FLAGS
    }

    /// The same call with such flags.
    #[must_use]
    #[inline(always)]
    pub const fn as_flagged(self) -> CallUse {
        let operation = (self.second() as u64) << OPERATION_SHIFT;
        CallUse(
            self.0 & !(OPERATION << OPERATION_SHIFT | OPERATION << SECOND_SHIFT | IN_BYTES | IN_MESSAGES)
                | operation,
        )
    }

    /// It uses no file that is counted, and waits for a time to be over, which divides the life of a thread into turns.
    #[must_use]
    pub const fn waiting() -> CallUse {
        CallUse(WAITS)
    }

    /// It waits, and reports the end of its time as `ETIMEDOUT` instead of 0.
    #[must_use]
    pub const fn timing_out(self) -> CallUse {
        CallUse(self.0 | TIMES_OUT)
    }

    /// It is no operation itself, but the tool looks at what it asks for, or hands over.
    #[must_use]
    pub const fn followed(self) -> CallUse {
        CallUse(self.0 | FOLLOWED)
    }

    /// Whether the tool looks at what it asks for, or hands over.
    #[must_use]
    #[inline(always)]
    pub const fn is_followed(self) -> bool {
        self.0 & FOLLOWED != 0
    }

    /// Whether this result of a call that waits means that its time was over.
    #[must_use]
    #[inline(always)]
    pub const fn is_over(self, result: u64) -> bool {
        const ETIMEDOUT: u64 = -110i64 as u64;
        result == if self.0 & TIMES_OUT != 0 { ETIMEDOUT } else { 0 }
    }

    /// Whether it is a call that waits. `futex` is one only with `FUTEX_WAIT` and `FUTEX_WAIT_BITSET` (its second argument,
    /// include/uapi/linux/futex.h): most of its calls wake others.
    #[must_use]
    #[inline(always)]
    pub const fn is_wait(self, second_argument: u32) -> bool {
        const FUTEX_WAIT: u32 = 0;
        const FUTEX_WAIT_BITSET: u32 = 9;
        const FUTEX_CMD_MASK: u32 = 0x7f;
        let command = second_argument & FUTEX_CMD_MASK;
        self.0 & TIMES_OUT == 0 || command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET
    }

    /// After it, the descriptor in this argument (1 or 2) may refer to another file, or each descriptor ([`ALL_DESCRIPTORS`]).
    #[must_use]
    pub const fn replacing(self, argument: u64) -> CallUse {
        CallUse(self.0 | (argument & REPLACES) << REPLACES_SHIFT)
    }

    /// The argument with the descriptor that may refer to another file after it; 0: none.
    #[must_use]
    #[inline(always)]
    pub const fn replaces(self) -> u64 {
        self.0 >> REPLACES_SHIFT & REPLACES
    }

    /// That holds only if its second argument is a command that gives a file another descriptor.
    #[must_use]
    pub const fn if_duplicating(self) -> CallUse {
        CallUse(self.0 | IF_DUPLICATING)
    }

    /// Whether that depends on its second argument.
    #[must_use]
    #[inline(always)]
    pub const fn depends_on_command(self) -> bool {
        self.0 & IF_DUPLICATING != 0
    }

    /// The same call with this command.
    #[must_use]
    #[inline(always)]
    pub const fn with_command(self, command: u32) -> CallUse {
        match command {
            F_DUPFD | F_DUPFD_CLOEXEC => CallUse(self.0 & !IF_DUPLICATING),
            _ => CallUse(self.0 & !(IF_DUPLICATING | REPLACES << REPLACES_SHIFT)),
        }
    }

    /// Only that: it is not counted.
    #[must_use]
    #[inline(always)]
    pub const fn only_replacing(self) -> CallUse {
        CallUse(self.0 & REPLACES << REPLACES_SHIFT)
    }

    /// It may give files other paths.
    #[must_use]
    pub const fn moving(self) -> CallUse {
        CallUse(self.0 | MOVES)
    }

    /// Whether it may give files other paths.
    #[must_use]
    #[inline(always)]
    pub const fn moves(self) -> bool {
        self.0 & MOVES != 0
    }

    /// How it uses files.
    #[must_use]
    #[inline(always)]
    pub const fn files(self) -> FileUse {
        FileUse::of_bits(self.0 & u32::MAX as u64)
    }

    /// The operation; [`NO_OPERATION`](super::NO_OPERATION): it is not counted.
    #[must_use]
    #[inline(always)]
    pub const fn operation(self) -> u32 {
        (self.0 >> OPERATION_SHIFT & OPERATION) as u32
    }

    /// The operation on its second file.
    #[must_use]
    #[inline(always)]
    pub const fn second(self) -> u32 {
        (self.0 >> SECOND_SHIFT & OPERATION) as u32
    }

    /// Whether its result is a number of bytes.
    #[must_use]
    #[inline(always)]
    pub const fn is_in_bytes(self) -> bool {
        self.0 & IN_BYTES != 0
    }

    /// Whether its result is a number of messages.
    #[must_use]
    #[inline(always)]
    pub const fn is_in_messages(self) -> bool {
        self.0 & IN_MESSAGES != 0
    }

    /// Whether what its file is shows only after it.
    #[must_use]
    #[inline(always)]
    pub const fn is_known_after(self) -> bool {
        self.0 & AFTER != 0
    }

    /// The file that a call stands for, and what it does to it: of two files the first that is of a kind that is counted.
    #[must_use]
    #[inline(always)]
    pub const fn on_file(self, [first, second]: [u32; 2]) -> (u32, u32) {
        if first == OF_OTHER_KIND && self.second() != 0 {
            (second, self.second())
        } else {
            (first, self.operation())
        }
    }

    /// Whether it waits for others.
    #[must_use]
    #[inline(always)]
    pub const fn is_patient(self) -> bool {
        self.0 & PATIENT != 0
    }

    /// Whether it waits.
    #[must_use]
    #[inline(always)]
    pub const fn waits(self) -> bool {
        self.0 & WAITS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::NO_OPERATION;

    #[test]
    fn a_call_use_keeps_what_it_was_made_of() {
        let files = FileUse::NONE.with_descriptor(1).with_second(3).with_path(2).opening();
        let used = CallUse::new(files, 7).with_second(9).in_bytes();
        assert_eq!(CallUse::of_bits(used.bits()), used);
        assert_eq!((used.files(), used.operation(), used.second()), (files, 7, 9));
        assert!(used.is_in_bytes() && !used.waits());
        assert!(CallUse::waiting().waits() && CallUse::waiting().operation() == NO_OPERATION);
        assert!(CallUse::waiting().followed().is_followed() && !CallUse::waiting().is_followed());
        assert!(CallUse::new(files, 1).moving().moves() && !used.moves());
        let receives = CallUse::new(files, 2).in_bytes().flagged(4, 9).patient();
        assert_eq!((receives.flags_in(), receives.operation()), (4, 2));
        let peek = receives.as_flagged();
        assert_eq!((peek.operation(), peek.second()), (9, 0));
        assert!(receives.is_in_bytes() && !peek.is_in_bytes() && peek.is_patient());
    }

    #[test]
    fn of_two_files_the_first_of_a_kind_that_is_counted_stands_for_the_call() {
        let of_one = CallUse::new(FileUse::NONE, 3);
        assert_eq!(
            [[7, 8], [OF_OTHER_KIND, 8]].map(|files| of_one.on_file(files)),
            [(7, 3), (OF_OTHER_KIND, 3)]
        );
        let of_two = of_one.with_second(4);
        assert_eq!([[7, 8], [OF_OTHER_KIND, 8]].map(|files| of_two.on_file(files)), [(7, 3), (8, 4)]);
    }

    #[test]
    fn only_some_commands_give_a_file_another_descriptor() {
        const F_SETFL: u32 = 4;
        let used = CallUse::NONE.replacing(ALL_DESCRIPTORS).if_duplicating();
        assert!(used.depends_on_command());
        assert_eq!(used.with_command(F_SETFL), CallUse::NONE);
        for command in [F_DUPFD, F_DUPFD_CLOEXEC] {
            assert_eq!(used.with_command(command), CallUse::NONE.replacing(ALL_DESCRIPTORS));
        }
    }
}
