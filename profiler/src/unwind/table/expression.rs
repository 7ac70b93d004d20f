//! The DWARF expressions that compilers and assemblers write into unwind information.
//!
//! Only these forms can be followed. Each is recognised as a whole; any other expression is unsupported.

use gimli::{Encoding, EndianSlice, Expression, Format, LittleEndian, Operation, Register};

/// A section's bytes in the form that gimli reads.
pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;

const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
/// One more than the operations of the longest known form.
const MOST: usize = 10;

const RSP: Register = gimli::X86_64::RSP;
const RIP: Register = gimli::X86_64::RA;

/// An expression of a known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A register plus a constant.
    Value(Register, i64),
    /// \*(a register plus a constant) plus a constant.
    Memory(Register, i64, i64),
    /// rsp + 8, and 8 more from this offset in a 16-byte linkage table entry on.
    Plt(u8),
}

/// Recognises an expression. `None` if it has another form.
pub(super) fn recognise(expression: Expression<Bytes<'_>>) -> Option<Form> {
    let mut operations = expression.operations(ENCODING);
    let mut list = Vec::with_capacity(MOST);
    while let Some(operation) = operations.next().ok()? {
        if list.len() == MOST {
            return None;
        }
        list.push(operation);
    }
    let (first, rest) = list.split_first()?;
    let (register, offset) = register_plus(first)?;
    match rest {
        [] => Some(Form::Value(register, offset)),
        [dereference] if loads_word(dereference) => Some(Form::Memory(register, offset, 0)),
        [dereference, Operation::PlusConstant { value }] if loads_word(dereference) => {
            Some(Form::Memory(register, offset, i64::try_from(*value).ok()?))
        }
        rest if (register, offset) == (RSP, 8) => plt_threshold(rest).map(Form::Plt),
        _ => None,
    }
}

fn register_plus(operation: &Operation<Bytes<'_>>) -> Option<(Register, i64)> {
    match *operation {
        Operation::RegisterOffset { register, offset, base_type } if base_type.0 == 0 => {
            Some((register, offset))
        }
        _ => None,
    }
}

fn loads_word(operation: &Operation<Bytes<'_>>) -> bool {
    matches!(operation, Operation::Deref { size: 8, space: false, base_type } if base_type.0 == 0)
}

/// `((rip & 15) >= k) << 3`, added to the rest: what linkers write for `.plt`.
fn plt_threshold(rest: &[Operation<Bytes<'_>>]) -> Option<u8> {
    use Operation::{And, Ge, Plus, Shl, UnsignedConstant};
    match rest {
        [
            ip,
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value: k @ 0..=15 },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] if register_plus(ip) == Some((RIP, 0)) => u8::try_from(*k).ok(),
        _ => None,
    }
}
