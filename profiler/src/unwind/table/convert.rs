//! Converting a row of unwind information to a rule.

use gimli::{
    CfaRule, Register, RegisterRule, UnwindContextStorage, UnwindExpression, UnwindSection, UnwindTableRow,
};
use profiler_common::unwind::{CfaForm, Kind, Rare, RbpForm, ReturnForm, Row, register, signal_frame};

use super::expression::{Bytes, Form, recognise};

const RSP: Register = gimli::X86_64::RSP;
const RBP: Register = gimli::X86_64::RBP;
const RETURN: Register = gimli::X86_64::RA;

/// A rule, before it has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It fits a row.
    Row(Row),
    /// It goes into the dictionary.
    Rare(Rare),
}

impl Rule {
    pub(super) const UNSUPPORTED: Rule = Rule::Row(Row::UNSUPPORTED);
}

/// Converts a row. `signal`: it belongs to the return trampoline of signal handlers (augmentation `S`).
pub(super) fn convert<'a, S, T>(row: &UnwindTableRow<usize, T>, signal: bool, section: &S) -> Rule
where
    S: UnwindSection<Bytes<'a>>,
    T: UnwindContextStorage<usize>,
{
    let form = |expression: &UnwindExpression<usize>| recognise(expression.get(section).ok()?);
    let rule = if row.register(RETURN) == Some(RegisterRule::Undefined) {
        Some(Rule::Row(Row::END))
    } else if signal {
        is_signal_frame(row, &form).then_some(Rule::Row(Row::of(Kind::SIGNAL, 0, 0)))
    } else {
        step(row, &form)
    };
    rule.unwrap_or(Rule::UNSUPPORTED)
}

/// Whether the registers are where the kernel puts them. Other trampolines are not supported.
fn is_signal_frame<T: UnwindContextStorage<usize>>(
    row: &UnwindTableRow<usize, T>,
    form: &impl Fn(&UnwindExpression<usize>) -> Option<Form>,
) -> bool {
    let saved_at = |register, offset: u64| match row.register(register) {
        Some(RegisterRule::Expression(at)) => form(&at) == Some(Form::Value(RSP, offset as i64)),
        _ => false,
    };
    // The CFA is the interrupted rsp.
    let cfa = match row.cfa() {
        CfaRule::Expression(at) => form(at),
        CfaRule::RegisterAndOffset { .. } => None,
    };
    cfa == Some(Form::Memory(RSP, signal_frame::RSP_BYTES as i64, 0))
        && saved_at(RBP, signal_frame::RBP_BYTES)
        && saved_at(RSP, signal_frame::RSP_BYTES)
        && saved_at(RETURN, signal_frame::RIP_BYTES)
}

/// The rule of an ordinary frame. `None` if it cannot be followed.
fn step<T: UnwindContextStorage<usize>>(
    row: &UnwindTableRow<usize, T>,
    form: &impl Fn(&UnwindExpression<usize>) -> Option<Form>,
) -> Option<Rule> {
    // By the definition of the CFA, it is the caller's rsp, unless the row says otherwise.
    if !matches!(row.register(RSP), None | Some(RegisterRule::ValOffset(0))) {
        return None;
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Form::Value(*register, *offset),
        CfaRule::Expression(expression) => form(expression)?,
    };
    let mut rare = Rare::UNSUPPORTED;
    match cfa {
        Form::Value(base, offset) => {
            rare.cfa_form = CfaForm::VALUE;
            rare.base_register = general(base)?;
            rare.cfa_offset_bytes = i32::try_from(offset).ok()?;
        }
        Form::Memory(base, offset, add) => {
            rare.cfa_form = CfaForm::MEMORY;
            rare.base_register = general(base)?;
            rare.cfa_offset_bytes = i32::try_from(offset).ok()?;
            rare.cfa_add_bytes = i32::try_from(add).ok()?;
        }
        Form::Plt(_) => {}
    }
    (rare.rbp_form, rare.rbp_offset_bytes) = caller_rbp(row, form)?;
    match row.register(RETURN)? {
        RegisterRule::Offset(-8) => {}
        RegisterRule::Offset(offset) => {
            rare.return_form = ReturnForm::AT_CFA;
            rare.return_offset_bytes = i32::try_from(offset).ok()?;
        }
        RegisterRule::Register(holder) => {
            rare.return_form = ReturnForm::REGISTER;
            rare.return_register = u32::from(general(holder)?);
        }
        _ => return None,
    }
    if let Form::Plt(from) = cfa {
        let ordinary = rare.return_form == ReturnForm::BELOW_CFA && rare.rbp_form == RbpForm::UNCHANGED;
        return ordinary.then_some(Rule::Row(Row::of(Kind::PLT, 0, from.into())));
    }
    Some(as_row(&rare).map_or(Rule::Rare(rare), Rule::Row))
}

/// Where the caller's rbp is: one of [`RbpForm`], and its offset.
fn caller_rbp<T: UnwindContextStorage<usize>>(
    row: &UnwindTableRow<usize, T>,
    form: &impl Fn(&UnwindExpression<usize>) -> Option<Form>,
) -> Option<(u8, i32)> {
    let (place, offset) = match row.register(RBP) {
        None | Some(RegisterRule::SameValue) => (RbpForm::UNCHANGED, 0),
        Some(RegisterRule::Undefined) => (RbpForm::LOST, 0),
        Some(RegisterRule::Offset(offset)) => (RbpForm::AT_CFA, offset),
        Some(RegisterRule::Expression(at)) => match form(&at)? {
            Form::Value(RBP, offset) => (RbpForm::AT_RBP, offset),
            Form::Value(RSP, offset) => (RbpForm::AT_RSP, offset),
            _ => return None,
        },
        Some(_) => return None,
    };
    Some((place, i32::try_from(offset).ok()?))
}

/// The number of a general-purpose register.
fn general(register: Register) -> Option<u8> {
    u8::try_from(register.0).ok().filter(|&number| number <= register::R15)
}

/// The rule in four bytes, if it fits.
fn as_row(rare: &Rare) -> Option<Row> {
    if rare.return_form != ReturnForm::BELOW_CFA {
        return None;
    }
    let below = |offset: i32, most: u64| {
        let bytes = u64::try_from(offset.checked_neg()?).ok()?;
        (bytes <= most && bytes.is_multiple_of(8)).then_some((bytes / 8) as u32)
    };
    if rare.cfa_form == CfaForm::MEMORY {
        let realigned = rare.base_register == register::RBP
            && rare.cfa_add_bytes == 0
            && (rare.rbp_form, rare.rbp_offset_bytes) == (RbpForm::AT_RBP, 0);
        let slot = below(rare.cfa_offset_bytes, Row::MAX_RBP_BYTES).filter(|_| realigned)?;
        return Some(Row::of(Kind::REALIGNED, 0, slot));
    }
    let kind = match rare.base_register {
        register::RSP => Kind::RSP,
        register::RBP => Kind::RBP,
        _ => return None,
    };
    let saved = match rare.rbp_form {
        RbpForm::UNCHANGED => 0,
        // 0 stands for unchanged.
        RbpForm::AT_CFA => below(rare.rbp_offset_bytes, Row::MAX_RBP_BYTES).filter(|&units| units > 0)?,
        _ => return None,
    };
    let cfa = u64::try_from(rare.cfa_offset_bytes).ok()?;
    let fits = cfa <= Row::MAX_CFA_BYTES && cfa.is_multiple_of(8);
    fits.then_some(Row::of(kind, (cfa / 8) as u32, saved))
}
