//! Going on where there is no rule: code that was made at run time, or that has no unwind information.

use super::walk::{End, Machine, Walk, ended, get, leave, set, word};

/// A frame found by its frame pointer alone is not believed if it is larger than this.
const MAX_GUESSED_BYTES: u64 = 1 << 20;

/// Along the frame pointer, if it may be one: it points up the stack, and what it leads to as a return address lies
/// behind a call instruction. Whether the walk has ended.
///
/// # Safety
/// As for [`step`](super::walk::step).
#[inline(never)]
pub(super) unsafe fn guess<M: Machine>(machine: M, walk: *mut Walk) -> bool {
    // SAFETY: as for `step`.
    unsafe {
        let (sp, fp) = (get!(walk, sp), get!(walk, fp));
        if fp == 0 && get!(walk, fp_lost) == 0 {
            return ended(walk, End::ROOT); // thread starts of C libraries without unwind information
        }
        if fp < sp || fp - sp > MAX_GUESSED_BYTES || fp & 7 != 0 || get!(walk, fp_lost) != 0 {
            return ended(walk, End::NO_TABLE);
        }
        let caller_fp = word(machine, walk, fp);
        let return_address = word(machine, walk, fp + 8);
        let mut code = 0;
        let is_known = return_address == 0 || return_address == get!(walk, trampoline);
        if get!(walk, lost) == 0
            && !is_known
            && (!machine.copy(&raw mut code, 8, return_address.wrapping_sub(8)) || !ends_in_call(code))
        {
            return ended(walk, End::NO_TABLE);
        }
        set!(walk, guessed, get!(walk, guessed) + 1);
        set!(walk, fp, caller_fp);
        leave(machine, walk, fp + 16, return_address, fp + 8)
    }
}

/// Whether eight bytes of code may end in a call (Intel SDM, volume 2, CALL): `e8` and four bytes, or `ff /2`, which is
/// 2, 3, 4, 6 or 7 bytes long. The last byte is the highest.
#[inline(always)]
pub fn ends_in_call(code: u64) -> bool {
    let indirect = |bytes: u32| code >> (64 - 8 * bytes) & 0x38ff == 0x10ff;
    code >> 24 & 0xff == 0xe8 || indirect(2) || indirect(3) || indirect(4) || indirect(6) || indirect(7)
}

#[cfg(test)]
mod tests {
    use super::ends_in_call;

    /// Code bytes, in order, behind some that end no call.
    fn code(bytes: &[u8]) -> u64 {
        let mut all = [0x90; 8];
        all[8 - bytes.len()..].copy_from_slice(bytes);
        u64::from_le_bytes(all)
    }

    #[test]
    fn every_form_of_a_call_is_known() {
        let calls: [&[u8]; 9] = [
            &[0xe8, 1, 2, 3, 4],                   // call rel32
            &[0xff, 0xd0],                         // call rax
            &[0x41, 0xff, 0xd7],                   // call r15
            &[0xff, 0x10],                         // call [rax]
            &[0xff, 0x50, 0x18],                   // call [rax+24]
            &[0xff, 0x14, 0xc8],                   // call [rax+rcx*8]
            &[0xff, 0x54, 0x24, 8],                // call [rsp+8]
            &[0xff, 0x15, 1, 2, 3, 0],             // call [rip+...]
            &[0x42, 0xff, 0x94, 0xc8, 0, 1, 0, 0], // call [rax+r9*8+256]
        ];
        for call in calls {
            assert!(ends_in_call(code(call)), "{call:x?}");
        }
    }

    #[test]
    fn other_code_and_data_are_not_calls() {
        let others: [&[u8]; 5] =
            [&[], &[0xc3], &[0xff, 0xe0], &[0xe9, 1, 2, 3, 4], &[0xc0, 0xc0, 0x96, 0xc9, 0xae, 0x55, 0, 0]];
        for other in others {
            assert!(!ends_in_call(code(other)), "{other:x?}");
        }
    }
}
