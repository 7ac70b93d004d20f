//! Following a rule that does not fit a row.

use super::{
    CfaForm, Rare, RbpForm, ReturnForm, register, signal_frame,
    walk::{End, Machine, Walk, ended, get, leave, set, word},
};

/// Follows rule number `index` of the dictionary; whether the walk has ended.
///
/// # Safety
/// As for [`step`](super::walk::step).
#[inline(never)]
pub(super) unsafe fn follow<M: Machine>(machine: M, walk: *mut Walk, index: u32) -> bool {
    let Some(rule) = machine.rare(index) else {
        // SAFETY: the caller vouches for the walk.
        return unsafe { ended(walk, End::UNSUPPORTED) };
    };
    // SAFETY: the dictionary is not written to while it is in use; any bytes are a rule.
    unsafe {
        let rule = rule.read();
        let (mut base, mut return_address, mut slot) = (0, 0, 0);
        if rule.cfa_form == CfaForm::UNSUPPORTED {
            return ended(walk, End::UNSUPPORTED);
        }
        if !value(machine, walk, u32::from(rule.base_register), &mut base) {
            return ended(walk, End::REGISTER);
        }
        let at = moved(base, rule.cfa_offset_bytes);
        let cfa = match rule.cfa_form {
            CfaForm::VALUE => at,
            _ => moved(word(machine, walk, at), rule.cfa_add_bytes),
        };
        // Before rbp changes: it may be where the return address is found.
        match rule.return_form {
            ReturnForm::REGISTER => {
                if !value(machine, walk, rule.return_register, &mut return_address) {
                    return ended(walk, End::REGISTER);
                }
            }
            form => {
                let offset = if form == ReturnForm::AT_CFA { rule.return_offset_bytes } else { -8 };
                slot = moved(cfa, offset);
                return_address = word(machine, walk, slot);
            }
        }
        restore(machine, walk, &rule, cfa);
        leave(walk, cfa, return_address, slot)
    }
}

/// Restores the caller's rbp.
#[inline(always)]
unsafe fn restore<M: Machine>(machine: M, walk: *mut Walk, rule: &Rare, cfa: u64) {
    // SAFETY: as for `follow`.
    unsafe {
        let from = match rule.rbp_form {
            RbpForm::UNCHANGED => return,
            RbpForm::AT_CFA => cfa,
            RbpForm::AT_RBP => get!(walk, fp),
            RbpForm::AT_RSP => get!(walk, sp),
            _ => {
                set!(walk, fp_lost, 1);
                return;
            }
        };
        let fp = word(machine, walk, moved(from, rule.rbp_offset_bytes));
        set!(walk, fp, fp);
        set!(walk, fp_lost, 0);
    }
}

/// The value of a register in the present frame, if it is known.
#[inline(always)]
unsafe fn value<M: Machine>(machine: M, walk: *mut Walk, number: u32, value: &mut u64) -> bool {
    // SAFETY: as for `follow`.
    unsafe {
        if number == u32::from(register::RSP) {
            *value = get!(walk, sp);
            return true;
        }
        if number == u32::from(register::RBP) {
            *value = get!(walk, fp);
            return get!(walk, fp_lost) == 0;
        }
        if get!(walk, returned) != 0 {
            return false;
        }
        let context = get!(walk, context);
        if context != 0 {
            *value = word(machine, walk, context.wrapping_add(signal_frame::register_bytes(number)));
            return true;
        }
        match machine.register(number) {
            Some(known) => {
                *value = known;
                true
            }
            None => false,
        }
    }
}

/// An address moved by a signed offset.
#[inline(always)]
fn moved(address: u64, by: i32) -> u64 {
    address.wrapping_add(i64::from(by) as u64)
}
