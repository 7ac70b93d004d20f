//! How to step from a function without frame pointer to its caller.
//!
//! A walk along frame pointers loses one frame for each function that does not keep one: the function's own return
//! address is skipped, because rbp still belongs to its caller. Where `operator new` calls `malloc`, the lost frame is
//! the very function that allocates. The unwind table of the file says where the return address of a function is at
//! each of its calls. For the few functions that call allocators, the first step is made by that rule, and the walk
//! along frame pointers begins after it.

use gimli::{CfaRule, RegisterRule, UnwindContext, X86_64};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use thiserror::Error;

use super::image::Image;
use super::symbols::Symbol;
use super::unwind_entries::UnwindTable;

/// The step from a function to its caller, for one call that the function makes.
///
/// `rsp` is the stack pointer after that call has returned. The return address of the function is 8 bytes below the
/// canonical frame address (CFA), and the caller goes on with the CFA as its stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerStep {
    /// Address after the call, which is on the stack while the function waits for the call.
    pub return_address: u64,
    /// CFA minus `rsp`, in bytes. At least 8.
    pub cfa_from_rsp: u16,
    /// The caller's rbp is stored this many bytes below the CFA. `None`: rbp itself still holds it.
    pub rbp_saved_at: Option<u16>,
}

/// The steps of some functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerSteps {
    /// One per call that has a rule, sorted by return address.
    pub steps: Vec<CallerStep>,
    /// Calls without a usable rule: the table has none, the CFA is not rsp plus a constant (as in functions *with* a
    /// frame pointer), or registers are saved in another way. Walks through these stay as they are.
    pub without_rule: u32,
}

/// Why steps cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallerStepError {
    /// The file has no `.eh_frame` section, or no section headers to find it by.
    #[error("the file has no unwind table (.eh_frame)")]
    NoUnwindTable,
}

impl Image<'_> {
    /// The steps for every call in these functions.
    ///
    /// # Errors
    ///
    /// When the file has no unwind table. A damaged table is not an error: calls whose rule cannot be read are
    /// counted in [`CallerSteps::without_rule`].
    pub fn caller_steps(&self, functions: &[Symbol]) -> Result<CallerSteps, CallerStepError> {
        let table = UnwindTable::of(self).ok_or(CallerStepError::NoUnwindTable)?;
        let mut context = UnwindContext::new();
        let mut found = CallerSteps::default();
        let mut returns: Vec<u64> = functions
            .iter()
            .flat_map(|function| {
                return_addresses(self.code(function.address, function.size), function.address)
            })
            .collect();
        returns.sort_unstable();
        returns.dedup();
        for return_address in returns {
            match table.step(return_address, &mut context) {
                Some(step) => found.steps.push(step),
                None => found.without_rule += 1,
            }
        }
        Ok(found)
    }
}

/// The addresses after the calls in a function.
fn return_addresses(code: &[u8], address: u64) -> Vec<u64> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut found = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            found.push(instruction.next_ip());
        }
    }
    found
}

impl UnwindTable<'_> {
    fn step(&self, return_address: u64, context: &mut UnwindContext<usize>) -> Option<CallerStep> {
        // The rule for the call itself: after it, the next function may begin.
        let row = self.row(return_address.checked_sub(1)?, context)?;
        let CfaRule::RegisterAndOffset { register: X86_64::RSP, offset } = *row.cfa() else { return None };
        let cfa_from_rsp = u16::try_from(offset).ok().filter(|&bytes| bytes >= 8)?;
        if row.register(X86_64::RA) != Some(RegisterRule::Offset(-8)) {
            return None;
        }
        let rbp_saved_at = match row.register(X86_64::RBP) {
            None | Some(RegisterRule::SameValue) => None,
            Some(RegisterRule::Offset(below)) => Some(u16::try_from(below.checked_neg()?).ok()?),
            Some(_) => return None,
        };
        Some(CallerStep { return_address, cfa_from_rsp, rbp_saved_at })
    }
}
