//! The return instructions of a function, for functions that must not have a return probe.
//!
//! A return probe replaces the return address on the stack. When an exception passes through, the unwinder looks that
//! address up, finds nothing, and ends the process. Probes on the `ret` instructions see the same returns and leave the
//! stack alone. A function that an exception leaves then never returns, as far as the probes see.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use thiserror::Error;

use super::flow::near_target;
use super::image::Image;
use super::symbols::Symbol;

/// Functions whose presence shows that exceptions or panics may pass through code of a file.
const UNWINDING: &[&str] = &["__cxa_throw", "_Unwind_Resume", "_Unwind_RaiseException", "__cxa_rethrow"];

/// Why the returns of a function cannot all be seen at its own instructions. Addresses are those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HiddenReturn {
    /// It ends by jumping to another function, which returns to its caller.
    #[error("it ends by jumping to another function (at {0:#x})")]
    TailCall(u64),
    /// It jumps to an address that is computed at run time.
    #[error("it jumps to a computed address (at {0:#x})")]
    ComputedJump(u64),
    /// It contains bytes that are not an instruction.
    #[error("its code cannot be read (at {0:#x})")]
    Undecodable(u64),
    /// It does not return.
    #[error("it has no return instruction")]
    NeverReturns,
}

impl Image<'_> {
    /// Whether exceptions (C++) or panics (Rust) may pass through functions of this file.
    pub fn may_unwind(&self) -> bool {
        UNWINDING.iter().any(|name| self.imports(name))
            || !self.functions(&|name| UNWINDING.contains(&name)).is_empty()
    }

    /// File offsets, ascending, of every `ret` of a function, including its parts that the compiler moved away
    /// (`.cold`).
    ///
    /// # Errors
    /// When some return would not be seen there.
    pub fn returns(&self, function: &Symbol) -> Result<Vec<u64>, HiddenReturn> {
        let cold = format!("{}.cold", function.name);
        let mut parts = self.functions(&|name| name.starts_with(&cold));
        parts.push(function.clone());
        let inside =
            |address: u64| parts.iter().any(|p| address >= p.address && address - p.address < p.size);
        let mut found = Vec::new();
        for part in &parts {
            let code = self.code(part.address, part.size);
            let mut decoder = Decoder::with_ip(64, code, part.address, DecoderOptions::NONE);
            let mut instruction = Instruction::default();
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
                let at = instruction.ip();
                if instruction.is_invalid() {
                    return Err(HiddenReturn::Undecodable(at));
                }
                match instruction.flow_control() {
                    FlowControl::Return => found.extend(self.file_offset(at)),
                    FlowControl::IndirectBranch => return Err(HiddenReturn::ComputedJump(at)),
                    FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                        if near_target(&instruction).is_some_and(|target| !inside(target)) =>
                    {
                        return Err(HiddenReturn::TailCall(at));
                    }
                    _ => {}
                }
            }
        }
        found.sort_unstable();
        if found.is_empty() { Err(HiddenReturn::NeverReturns) } else { Ok(found) }
    }
}
