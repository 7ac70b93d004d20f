//! One rule, in four bytes.

use super::rare::RARE_CAPACITY;

/// What a [`Row`] says. The numbers are those of its `kind` field.
#[derive(Clone, Copy, Debug)]
pub struct Kind;

impl Kind {
    /// No unwind information for this code: made at run time, or hand-written. The frame pointer may be tried.
    pub const NONE: u32 = 0;
    /// CFA = rsp + [`Row::cfa_bytes`].
    pub const RSP: u32 = 1;
    /// CFA = rbp + [`Row::cfa_bytes`].
    pub const RBP: u32 = 2;
    /// An entry of a linkage table: CFA = rsp + 8, and 8 more if the last four bits of the instruction pointer are
    /// [`Row::plt_pushed_from`] or more. rbp is unchanged.
    pub const PLT: u32 = 3;
    /// The return trampoline of a signal handler: the interrupted registers are at [`signal_frame`] offsets from rsp.
    /// The next address is where the thread was interrupted, not a return address.
    pub const SIGNAL: u32 = 4;
    /// The return address is undefined: the clean end of a stack (`_start`, `clone`).
    pub const END: u32 = 5;
    /// The stack was realigned: CFA = \*(rbp - [`Row::slot_below_rbp_bytes`]), and the caller's rbp is at \*rbp.
    pub const REALIGNED: u32 = 6;
    /// A rule that does not fit: number [`Row::rare_index`] of the dictionary of [`Rare`](super::Rare) rules.
    pub const RARE: u32 = 7;
}

/// The rule in force from one address on, up to the next row of its [`Block`](super::Block).
///
/// `rbp:8 | cfa:13 | kind:3 | lo:8`, from the lowest bit. `lo` is the low byte of the address, `cfa` is in units of 8
/// bytes, and `rbp` says where the caller's rbp is saved: `8 * rbp` bytes below the CFA, or nowhere (0: unchanged).
/// Unless the kind says otherwise, the return address is 8 bytes below the CFA, and the caller's rsp is the CFA.
///
/// The CFA (canonical frame address) is the value of rsp just before the call that made the frame.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row(pub u32);

const RBP_BITS: u32 = 8;
const CFA_BITS: u32 = 13;
const KIND_SHIFT: u32 = RBP_BITS + CFA_BITS;
const LO_SHIFT: u32 = 24;
const RBP_MASK: u32 = (1 << RBP_BITS) - 1;
const CFA_MASK: u32 = (1 << CFA_BITS) - 1;

impl Row {
    /// Largest offset from a register to the CFA that fits, in bytes.
    pub const MAX_CFA_BYTES: u64 = CFA_MASK as u64 * 8;
    /// Largest distance from the CFA down to the saved rbp that fits, in bytes.
    pub const MAX_RBP_BYTES: u64 = RBP_MASK as u64 * 8;
    /// No unwind information, from the start of a block on.
    pub const NONE: Row = Row(0);
    /// A clean end, from the start of a block on.
    pub const END: Row = Row::of(Kind::END, 0, 0);
    /// A rule that is not supported: entry 0 of every dictionary.
    pub const UNSUPPORTED: Row = Row::rare(0);

    /// A row at the start of a block, from its fields in their units. Bits that do not fit are cut off.
    #[inline(always)]
    pub const fn of(kind: u32, cfa_units: u32, rbp_units: u32) -> Row {
        Row((kind & 7) << KIND_SHIFT | (cfa_units & CFA_MASK) << RBP_BITS | rbp_units & RBP_MASK)
    }

    /// A row that refers to rule `index` of the dictionary.
    #[inline(always)]
    pub const fn rare(index: u32) -> Row {
        Row(Kind::RARE << KIND_SHIFT | index & (RARE_CAPACITY as u32 - 1))
    }

    /// The same rule from another byte of the block on.
    #[inline(always)]
    pub const fn at(self, lo: u8) -> Row {
        Row((lo as u32) << LO_SHIFT | self.rule())
    }

    /// The low byte of the address from which the rule is in force.
    #[inline(always)]
    pub const fn lo(self) -> u32 {
        self.0 >> LO_SHIFT
    }

    /// The rule without the address: equal for equal rules.
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        self.0 & ((1 << LO_SHIFT) - 1)
    }

    /// One of [`Kind`], 0 to 7.
    #[inline(always)]
    pub const fn kind(self) -> u32 {
        self.0 >> KIND_SHIFT & 7
    }

    /// [`Kind::RSP`], [`Kind::RBP`]: from the register up to the CFA.
    #[inline(always)]
    pub const fn cfa_bytes(self) -> u64 {
        ((self.0 >> RBP_BITS & CFA_MASK) as u64) << 3
    }

    /// [`Kind::RSP`], [`Kind::RBP`]: from the CFA down to the caller's rbp; 0: rbp is unchanged.
    #[inline(always)]
    pub const fn rbp_below_cfa_bytes(self) -> u64 {
        ((self.0 & RBP_MASK) as u64) << 3
    }

    /// [`Kind::PLT`]: the place within the 16-byte entry from which on the relocation number is on the stack.
    #[inline(always)]
    pub const fn plt_pushed_from(self) -> u64 {
        (self.0 & RBP_MASK) as u64
    }

    /// [`Kind::REALIGNED`]: from rbp down to the word that holds the CFA.
    #[inline(always)]
    pub const fn slot_below_rbp_bytes(self) -> u64 {
        self.rbp_below_cfa_bytes()
    }

    /// [`Kind::RARE`]: the number of the rule, below [`RARE_CAPACITY`].
    #[inline(always)]
    pub const fn rare_index(self) -> u32 {
        self.0 & (RARE_CAPACITY as u32 - 1)
    }
}

/// Where the kernel saves registers for a signal handler, as offsets in bytes from rsp at the trampoline.
///
/// rsp is at the `ucontext` there. `uc_mcontext` is 40 bytes into it (`struct ucontext` in
/// `include/uapi/asm-generic/ucontext.h`), and the words count in the order of `struct sigcontext` (`sigcontext_64`)
/// in `arch/x86/include/uapi/asm/sigcontext.h`.
pub mod signal_frame {
    /// The interrupted rbp.
    pub const RBP_BYTES: u64 = 40 + 10 * 8;
    /// The interrupted rsp.
    pub const RSP_BYTES: u64 = 40 + 15 * 8;
    /// The interrupted rip.
    pub const RIP_BYTES: u64 = 40 + 16 * 8;

    /// The interrupted value of a register, by its [`register`](super::super::register) number, 0 to 15.
    #[inline(always)]
    pub const fn register_bytes(number: u32) -> u64 {
        // Places in the order of the numbers rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, four bits each; r8 to r15 are 0 to 7.
        const PLACES: u64 = 0xfa89_becd;
        let place = if number >= 8 { number as u64 & 7 } else { PLACES >> (number * 4) & 15 };
        40 + place * 8
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, RARE_CAPACITY, Row};

    #[test]
    fn fields_do_not_touch_each_other() {
        let row = Row::of(Kind::RBP, 8191, 255).at(255);
        assert_eq!((row.lo(), row.kind()), (255, Kind::RBP));
        assert_eq!((row.cfa_bytes(), row.rbp_below_cfa_bytes()), (Row::MAX_CFA_BYTES, Row::MAX_RBP_BYTES));
        assert_eq!((Row::MAX_CFA_BYTES, Row::MAX_RBP_BYTES), (65_528, 2040));
        let row = Row::of(Kind::RSP, 1, 0).at(0);
        assert_eq!((row.lo(), row.cfa_bytes(), row.rbp_below_cfa_bytes()), (0, 8, 0));
        assert_eq!(row.at(7).rule(), row.at(200).rule());
        assert_eq!(Row::of(Kind::PLT, 0, 11).plt_pushed_from(), 11);
        assert_eq!(Row::of(Kind::REALIGNED, 0, 3).slot_below_rbp_bytes(), 24);
    }

    #[test]
    fn interrupted_registers_are_found_by_number() {
        use super::{super::register, signal_frame};
        assert_eq!(signal_frame::register_bytes(register::RBP.into()), signal_frame::RBP_BYTES);
        assert_eq!(signal_frame::register_bytes(register::RSP.into()), signal_frame::RSP_BYTES);
        let places = [
            (register::RDI, 8),
            (register::RAX, 13),
            (register::RCX, 14),
            (register::R8, 0),
            (register::R15, 7),
        ];
        for (number, place) in places {
            assert_eq!(signal_frame::register_bytes(number.into()), 40 + 8 * place);
        }
    }

    #[test]
    fn zero_is_no_rule() {
        assert_eq!(Row(0).kind(), Kind::NONE);
        assert_eq!(Row::END.kind(), Kind::END);
    }

    #[test]
    fn every_index_of_the_dictionary_fits() {
        for index in [0, 1, RARE_CAPACITY as u32 - 1] {
            let row = Row::rare(index).at(0xa5);
            assert_eq!((row.kind(), row.rare_index(), row.lo()), (Kind::RARE, index, 0xa5));
        }
        assert_eq!(Row::UNSUPPORTED.rare_index(), 0);
    }
}
