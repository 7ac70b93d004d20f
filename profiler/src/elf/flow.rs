//! Where the branches of a function lead.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

use super::imports::slot_of;

/// The branches of one function, found by decoding all of its bytes.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Every direct jump and call, in or out of the function.
    pub(super) branches: Vec<Branch>,
    /// The first indirect jump whose targets are unknown and may be inside the function.
    pub(super) unknown_jump: Option<u64>,
    /// The first byte that is not an instruction.
    pub(super) undecodable: Option<u64>,
}

/// A direct branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    /// Address of the branch itself.
    pub(super) from: u64,
    /// Its target.
    pub(super) to: u64,
    /// Whether it is a call, which returns.
    pub(super) is_call: bool,
}

impl Flow {
    /// Reads the whole function from its first byte, then again from each branch target that is inside an instruction
    /// (old C libraries jump over a LOCK prefix), until both readings meet.
    pub(super) fn of(code: &[u8], address: u64) -> Self {
        let mut flow = Self::default();
        let mut boundaries = BTreeSet::new();
        flow.read(code, address, &mut boundaries);
        let mut looked_at = 0;
        while let Some(&Branch { to, .. }) = flow.branches.get(looked_at) {
            looked_at += 1;
            let inside = to.checked_sub(address).and_then(|skip| code.get(usize::try_from(skip).ok()?..));
            if let Some(rest) = inside.filter(|rest| !rest.is_empty()) {
                flow.read(rest, to, &mut boundaries);
            }
        }
        flow
    }

    /// Reads until the end, or until an instruction that was read before.
    fn read(&mut self, code: &[u8], address: u64, boundaries: &mut BTreeSet<u64>) {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                self.undecodable.get_or_insert(instruction.ip());
                return;
            }
            if !boundaries.insert(instruction.ip()) {
                return;
            }
            self.note(&instruction);
        }
    }

    fn note(&mut self, instruction: &Instruction) {
        let from = instruction.ip();
        if let Some(to) = near_target(instruction) {
            let is_call = instruction.flow_control() == FlowControl::Call;
            self.branches.push(Branch { from, to, is_call });
        }
        // A jump through the global offset table is a tail call to another function.
        if instruction.flow_control() == FlowControl::IndirectBranch && slot_of(instruction).is_none() {
            self.unknown_jump.get_or_insert(from);
        }
    }
}

/// Target of a direct branch; `None` for other instructions.
pub(super) fn near_target(instruction: &Instruction) -> Option<u64> {
    (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch_target())
}
