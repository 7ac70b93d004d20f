//! Checking return addresses: the instruction before one must be a call.
//!
//! A coroutine's stack begins with an address that was written there, mostly that of a function's first instruction; no
//! unwind information says where its caller is. A walk that went wrong because of bad unwind information finds such
//! addresses, too.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _};

use profiler_common::unwind::{unmarked, walk::End};

use crate::target::{
    history::History,
    modules::{Layout, ModuleId, Modules, Place},
};

/// The code of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code<'m> {
    /// Its pid.
    pub(crate) pid: u32,
    /// The files that it maps.
    pub(crate) modules: &'m Modules,
    /// What it has mapped before.
    pub(crate) history: &'m History,
}

/// A frame of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedFrame {
    /// The return address, or where the thread was interrupted.
    pub(crate) address: u64,
    /// Distance from the address back to the frame's instruction: 1 for a return address (any byte of the call will
    /// do), else 0.
    pub(crate) back: u64,
    /// The place of that instruction.
    pub(crate) place: Place,
}

impl PlacedFrame {
    /// The address of the instruction that the frame is at.
    pub(crate) fn code(&self) -> u64 {
        self.address.saturating_sub(self.back)
    }
}

/// The places of the frames of a stack. A signal handler returns to the first instruction of the signal trampoline,
/// which did not call it: the trampoline's frame is at that instruction, like the interrupted frame after it.
pub(crate) fn place(frames: &[u64], layout: &Layout) -> Vec<PlacedFrame> {
    let behind = frames.iter().skip(1).map(|frame| unmarked(*frame).1).chain([false]);
    let place = |(frame, before_interrupted): (&u64, bool)| {
        let (address, interrupted) = unmarked(*frame);
        let back = u64::from(!interrupted && !before_interrupted);
        PlacedFrame { address, back, place: layout.place(address.saturating_sub(back)) }
    };
    frames.iter().zip(behind).map(place).collect()
}

/// What is known of return addresses, by file and offset.
#[derive(Debug, Default)]
pub(crate) struct Calls(HashMap<(ModuleId, u64), bool>);

impl Calls {
    /// Discards the frames after one whose address no call returns to, and returns why the stack ends there. Such a
    /// frame itself has no caller. Guessed frames in unmapped memory are discarded.
    pub(crate) fn cut(
        &mut self,
        frames: &mut Vec<PlacedFrame>,
        guessed: bool,
        layout: &Layout,
        code: Code<'_>,
    ) -> Option<u8> {
        let mut called = |frame: &PlacedFrame| match frame.place {
            Place::File(module, offset) => {
                frame.back == 0 || self.leads_to(frame.address, module, offset + 1, code)
            }
            _ => false,
        };
        let index = (0..frames.len()).find(|index| match frames.get(*index) {
            Some(frame) if matches!(frame.place, Place::File(..)) => !called(frame),
            // It may belong to a library that was unloaded meanwhile, if the chain goes on with real calls.
            Some(frame) if frame.place == Place::Unmapped => {
                guessed && !frames.iter().skip(index + 1).any(&mut called)
            }
            _ => false,
        })?;
        if frames.get(index).is_some_and(|frame| frame.place == Place::Unmapped) {
            frames.truncate(index.max(1));
            return Some(End::NO_TABLE as u8);
        }
        let last = index + 1 == frames.len();
        frames.truncate(index + 1);
        if let Some(frame) = frames.last_mut() {
            // The address of the next instruction, not a return address.
            frame.back = 0;
            frame.place = layout.place(frame.address);
        }
        (!last).then_some(End::NOT_CALLED as u8)
    }

    /// Whether the instruction before `offset` of a file, which is mapped at `address`, is a call. Code that cannot be
    /// read counts as one.
    fn leads_to(&mut self, address: u64, module: ModuleId, offset: u64, code: Code<'_>) -> bool {
        *self.0.entry((module, offset)).or_insert_with(|| {
            let held = code.modules.get(module);
            let Some(in_file) = held.and_then(|held| held.code_before(offset)) else { return true };
            // Calls that the program has patched into its own code are in its memory alone.
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

    /// Bytes of code, in order, after some that are not a call.
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
