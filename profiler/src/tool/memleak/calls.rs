//! Whether a return address is one: a call leaves it, so the instruction before it is a call.
//!
//! A coroutine's stack begins with an address that was put there, most often that of a function's first instruction; no
//! unwind information says where its caller is. A stack that was left by wrong unwind information shows the same.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _};

use crate::target::modules::{ModuleId, Modules};

/// The code of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code<'m> {
    /// Its pid.
    pub(crate) pid: u32,
    /// The files that it maps.
    pub(crate) modules: &'m Modules,
}

/// What was found out about return addresses, by file and offset.
#[derive(Debug, Default)]
pub(crate) struct Calls(HashMap<(ModuleId, u64), bool>);

impl Calls {
    /// Whether a call returns to `offset` of a file, which is mapped at `address`. What cannot be read is believed.
    pub(crate) fn leads_to(&mut self, address: u64, module: ModuleId, offset: u64, code: Code<'_>) -> bool {
        *self.0.entry((module, offset)).or_insert_with(|| {
            let held = code.modules.get(module);
            let Some(in_file) = held.and_then(|held| held.code_before(offset)) else { return true };
            // Calls that the program has put into its own code are in its memory alone.
            ends_in_call(in_file) || in_memory(code.pid, address).is_none_or(ends_in_call)
        })
    }
}

/// The eight bytes of code before an address.
fn in_memory(pid: u32, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, address.checked_sub(8)?).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Whether eight bytes of code may end in a call (Intel SDM, volume 2, CALL): `e8` and four bytes, or `ff /2`, which is
/// 2, 3, 4, 6 or 7 bytes long. The last byte is the highest.
fn ends_in_call(code: u64) -> bool {
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
