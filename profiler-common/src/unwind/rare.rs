//! Rules that do not fit a row.

use crate::wire;

/// Most rules that the dictionary holds; a power of two, so that an index can be masked. Entry 0 is
/// [`Rare::UNSUPPORTED`].
pub const RARE_CAPACITY: usize = 8192;

/// How a [`Rare`] rule finds the CFA.
#[derive(Clone, Copy, Debug)]
pub struct CfaForm;

impl CfaForm {
    /// The rule cannot be followed: the stack ends here, with a reason of its own. Never try the frame pointer.
    pub const UNSUPPORTED: u8 = 0;
    /// CFA = base + `cfa_offset_bytes`.
    pub const VALUE: u8 = 1;
    /// CFA = \*(base + `cfa_offset_bytes`) + `cfa_add_bytes`.
    pub const MEMORY: u8 = 2;
}

/// Where a [`Rare`] rule finds the caller's rbp.
#[derive(Clone, Copy, Debug)]
pub struct RbpForm;

impl RbpForm {
    /// Still in rbp.
    pub const UNCHANGED: u8 = 0;
    /// \*(CFA + `rbp_offset_bytes`).
    pub const AT_CFA: u8 = 1;
    /// \*(rbp + `rbp_offset_bytes`), with the rbp of this frame.
    pub const AT_RBP: u8 = 2;
    /// \*(rsp + `rbp_offset_bytes`), with the rsp of this frame.
    pub const AT_RSP: u8 = 3;
    /// Nowhere: a frame further out that needs rbp cannot be left.
    pub const LOST: u8 = 4;
}

/// Where a [`Rare`] rule finds the return address.
#[derive(Clone, Copy, Debug)]
pub struct ReturnForm;

impl ReturnForm {
    /// \*(CFA - 8), as the call instruction leaves it.
    pub const BELOW_CFA: u8 = 0;
    /// \*(CFA + `return_offset_bytes`).
    pub const AT_CFA: u8 = 1;
    /// In register `return_register`.
    pub const REGISTER: u8 = 2;
}

/// Numbers of registers, as in the System V psABI for x86-64, table "DWARF Register Number Mapping".
pub mod register {
    /// rax.
    pub const RAX: u8 = 0;
    /// rdx.
    pub const RDX: u8 = 1;
    /// rcx.
    pub const RCX: u8 = 2;
    /// rbx.
    pub const RBX: u8 = 3;
    /// rsi.
    pub const RSI: u8 = 4;
    /// rdi.
    pub const RDI: u8 = 5;
    /// rbp.
    pub const RBP: u8 = 6;
    /// rsp.
    pub const RSP: u8 = 7;
    /// r8; r9 to r15 follow.
    pub const R8: u8 = 8;
    /// r10.
    pub const R10: u8 = 10;
    /// r11.
    pub const R11: u8 = 11;
    /// r15, the last one.
    pub const R15: u8 = 15;
}

wire! {
    /// A rule that does not fit a [`Row`](super::Row).
    ///
    /// All zeroes is [`Rare::UNSUPPORTED`], so an entry that was never written does not lead anywhere. A register other
    /// than rsp and rbp is known only where all registers are: in the innermost frame, and behind a signal frame; in
    /// any other frame the stack ends, with a reason. A form that is not listed is one that cannot be followed.
    #[derive(Hash)]
    pub struct Rare {
        /// One of [`CfaForm`].
        pub cfa_form: u8,
        /// The register that the CFA is counted from: [`register`], 0 to 15.
        pub base_register: u8,
        /// One of [`RbpForm`].
        pub rbp_form: u8,
        /// One of [`ReturnForm`].
        pub return_form: u8,
        /// From the base register to the CFA, or to the word that leads to it.
        pub cfa_offset_bytes: i32,
        /// From that word's content to the CFA ([`CfaForm::MEMORY`]).
        pub cfa_add_bytes: i32,
        /// Where rbp is, as [`Rare::rbp_form`] says.
        pub rbp_offset_bytes: i32,
        /// Where the return address is ([`ReturnForm::AT_CFA`]).
        pub return_offset_bytes: i32,
        /// The register that holds the return address ([`ReturnForm::REGISTER`]): [`register`], 0 to 15.
        pub return_register: u32,
    }
}

impl Rare {
    /// A rule that exists and cannot be followed.
    pub const UNSUPPORTED: Rare = Rare {
        cfa_form: CfaForm::UNSUPPORTED,
        base_register: 0,
        rbp_form: 0,
        return_form: 0,
        cfa_offset_bytes: 0,
        cfa_add_bytes: 0,
        rbp_offset_bytes: 0,
        return_offset_bytes: 0,
        return_register: 0,
    };
}
