//! Calls of `bpf_rdonly_cast` (Linux 6.2), with which programs tell the verifier what is at an address: loads from there take no helper.

use std::io;

use aya_obj::generated::bpf_insn;
use profiler_common::file::CAST;

use crate::kernel::types::Types;

/// The function of the kernel.
const FUNCTION: &str = "bpf_rdonly_cast";
/// `r0 = r1`, in place of a call that is never reached.
const MOVE: (u8, u8, u8) = (0xbf, 0, 1);

/// The numbers of types that programs name: a setting, and its bytes.
type Numbers<const N: usize> = [(&'static str, [u8; 4]); N];

/// Those of open files.
pub(crate) fn of_files(types: &Types) -> Numbers<2> {
    numbers(types, [("TYPE_FILE", "file"), ("TYPE_POINTER", "hlist_head")])
}

/// Those of sockets.
pub(crate) fn of_sockets(types: &Types) -> Numbers<2> {
    numbers(types, [("TYPE_TCP", "tcp_sock"), ("TYPE_UDP", "udp_sock")])
}

/// Zeroes if this kernel lacks the function or one of the types: then programs use helpers.
fn numbers<const N: usize>(types: &Types, wanted: [(&'static str, &str); N]) -> Numbers<N> {
    let found =
        wanted.map(|(name, structure)| (name, types.function(FUNCTION).and(types.structure(structure))));
    let all = found.iter().all(|(_, number)| number.is_some());
    found.map(|(name, number)| (name, number.filter(|_| all).unwrap_or(0).to_ne_bytes()))
}

/// Gives calls the number that the function has in the running kernel.
///
/// # Errors
/// If there are such calls, and the types of the kernel cannot be read.
pub(super) fn fill_in<'i>(instructions: impl Iterator<Item = &'i mut bpf_insn>) -> io::Result<()> {
    let mut calls = instructions.filter(|instruction| is_one(instruction)).peekable();
    if calls.peek().is_none() {
        return Ok(());
    }
    let function = Types::of_kernel()?.function(FUNCTION);
    for call in calls {
        if let Some(number) = function {
            call.imm = number as i32;
        } else {
            let (code, to, from) = MOVE;
            call.code = code;
            call.set_dst_reg(to);
            call.set_src_reg(from);
            call.imm = 0;
        }
    }
    Ok(())
}

/// Whether it is a call that has no number yet.
fn is_one(instruction: &bpf_insn) -> bool {
    let registers = u64::from(instruction.dst_reg()) | u64::from(instruction.src_reg()) << 4;
    let upper = u64::from(instruction.imm as u32) << 32 | u64::from(instruction.off as u16) << 16;
    upper | registers << 8 | u64::from(instruction.code) == CAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_without_a_number_are_filled_in() {
        let instruction = |word: u64| {
            // SAFETY: as many bytes, of which any are valid.
            unsafe { std::mem::transmute::<u64, bpf_insn>(word) }
        };
        // A call of a helper, which has the same code.
        let helper = 0x0000_0071_0000_0085;
        let mut all = [instruction(CAST), instruction(helper)];
        assert!(is_one(&all[0]) && !is_one(&all[1]));
        fill_in(all.iter_mut()).unwrap();
        assert!(!is_one(&all[0]));
        assert_eq!((all[1].code, all[1].imm), (0x85, 0x71));
    }
}
