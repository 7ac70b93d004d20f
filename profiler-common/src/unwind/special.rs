//! Frames that are not plain: code without a table, signal frames, stubs, realigned stacks.

use super::{
    Kind, Row,
    follow::follow,
    signal_frame,
    walk::{End, Machine, Walk, ended, get, leave, set, word},
};

/// A frame found by its frame pointer alone is not believed if it is larger than this.
const MAX_GUESSED_BYTES: u64 = 1 << 20;

/// Code without a table, made at run time perhaps: along the frame pointer, if it may be one.
#[inline(never)]
pub(super) unsafe fn guess<M: Machine>(machine: M, walk: *mut Walk) -> bool {
    // SAFETY: as for `step`.
    unsafe {
        let (sp, fp) = (get!(walk, sp), get!(walk, fp));
        let in_a_chain = get!(walk, guessed) != 0;
        if fp == 0 && get!(walk, fp_lost) == 0 && in_a_chain {
            return ended(walk, End::ROOT); // as the ABI wants the outermost frame to be marked
        }
        if fp < sp || fp - sp > MAX_GUESSED_BYTES || fp & 7 != 0 || get!(walk, fp_lost) != 0 {
            return ended(walk, End::NO_TABLE);
        }
        let caller_fp = word(machine, walk, fp);
        let return_address = word(machine, walk, fp + 8);
        if return_address == 0 && !in_a_chain {
            return ended(walk, End::NO_TABLE); // no chain of frame pointers, but some zeroes
        }
        set!(walk, guessed, get!(walk, guessed) + 1);
        set!(walk, fp, caller_fp);
        leave(walk, fp + 16, return_address, fp + 8)
    }
}

/// Every other kind of rule.
#[inline(never)]
pub(super) unsafe fn special<M: Machine>(machine: M, walk: *mut Walk, rule: u32) -> bool {
    let row = Row(rule);
    // SAFETY: as for `step`.
    unsafe {
        let (sp, fp) = (get!(walk, sp), get!(walk, fp));
        let cfa = match row.kind() {
            Kind::PLT => {
                let pushed = get!(walk, ip) & 15 >= row.plt_pushed_from();
                sp.wrapping_add(8 + u64::from(pushed) * 8)
            }
            Kind::SIGNAL => return interrupted(machine, walk, sp),
            Kind::REALIGNED => {
                if get!(walk, fp_lost) != 0 {
                    return ended(walk, End::REGISTER);
                }
                let cfa = word(machine, walk, fp.wrapping_sub(row.slot_below_rbp_bytes()));
                let caller_fp = word(machine, walk, fp);
                set!(walk, fp, caller_fp);
                cfa
            }
            Kind::RARE => return follow(machine, walk, row.rare_index()),
            _ => return ended(walk, End::ROOT), // Kind::END
        };
        let slot = cfa.wrapping_sub(8);
        let return_address = word(machine, walk, slot);
        leave(walk, cfa, return_address, slot)
    }
}

/// Goes on where a signal interrupted the thread, on whatever stack that was.
#[inline(always)]
unsafe fn interrupted<M: Machine>(machine: M, walk: *mut Walk, sp: u64) -> bool {
    // SAFETY: as for `step`.
    unsafe {
        let fp = word(machine, walk, sp.wrapping_add(signal_frame::RBP_BYTES));
        let caller_sp = word(machine, walk, sp.wrapping_add(signal_frame::RSP_BYTES));
        let ip = word(machine, walk, sp.wrapping_add(signal_frame::RIP_BYTES));
        if get!(walk, lost) != 0 {
            return ended(walk, End::UNREADABLE);
        }
        if ip == 0 {
            return ended(walk, End::ROOT);
        }
        set!(walk, context, sp);
        set!(walk, ip, ip);
        set!(walk, sp, caller_sp);
        set!(walk, fp, fp);
        set!(walk, returned, 0);
        set!(walk, fp_lost, 0);
    }
    false
}
