//! Which instruction of a function to probe.
//!
//! A uprobe replaces an instruction by a breakpoint. The kernel then either *emulates* the instruction (one trap) or
//! runs a copy of it under single step (two traps, many times the cost). It can emulate only a few: `push` of a
//! register, `nop`, direct jumps and calls. If the first instruction of a function is not one of these, often a later
//! one is, before anything happens that matters to the probe. Example, `free` of glibc 2.36:
//! ```text
//! +0  test %rdi,%rdi     single-stepped
//! +3  je   +0xc8         emulated; every call comes here, the argument is intact, nothing was pushed
//! +9  push %rbp          emulated, but free(NULL) never comes here
//! ```
//!
//! So the site is the first emulated instruction that every call passes exactly once, with the argument registers, the
//! stack pointer and the caller's registers as they were at the entry. If there is no such instruction, or if this
//! cannot be shown, the site is the entry. The stack pointer matters twice: the return address is read from where it
//! points, and a return probe overwrites that word.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register,
};

use super::flow::Flow;
use super::image::Image;
use super::symbols::Symbol;

/// Functions larger than this are probed at their entry. Allocators are far smaller; the limit bounds the time to
/// attach.
const MAX_FUNCTION_BYTES: usize = 256 << 10;
/// Most instructions outside of the function that are searched for jumps back into it.
const MAX_OUTLINED_INSTRUCTIONS: usize = 1024;
/// Most bytes that are read of one outlined part.
const MAX_OUTLINED_BYTES: u64 = 4 << 10;

/// The argument registers that a probe reads, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgUse(u8);

impl ArgUse {
    /// No argument is read.
    pub const NONE: Self = Self(0);

    /// Registers of the first integer arguments, System V ABI.
    const REGISTERS: [Register; 6] =
        [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

    /// The first `count` arguments. Arguments from the seventh on are on the stack, which is intact at every site.
    pub const fn first(count: u32) -> Self {
        if count >= 6 { Self(0x3f) } else { Self((1 << count) - 1) }
    }

    /// This set and the argument at `index`, counted from 0.
    #[must_use]
    pub const fn and(self, index: u32) -> Self {
        if index >= 6 { self } else { Self(self.0 | 1 << index) }
    }

    fn contains(self, register: Register) -> bool {
        let index = Self::REGISTERS.iter().position(|&argument| argument == register);
        index.is_some_and(|index| self.0 & (1 << index) != 0)
    }
}

/// Where to place the probe of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the first instruction. At this place the arguments, rsp and all registers that belong to the caller
    /// are as they were at the entry.
    pub offset: u64,
    /// Whether every supported kernel emulates the instruction, so that a hit costs one trap.
    pub emulated: bool,
    /// Why this place was chosen.
    pub reason: SiteReason,
}

/// Why a probe is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteReason {
    /// The first instruction is emulated.
    EntryEmulated,
    /// The first emulated instruction, after some that change nothing that the probe reads.
    PastSetup {
        /// Instructions between the entry and the site.
        skipped: u32,
    },
    /// No other place is safe.
    EntryOnly(Obstacle),
}

/// Why a probe has to be at the entry. Offsets are bytes from the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The file has no bytes for the function.
    NoCode,
    /// The function is too long to be searched for jumps.
    TooLong,
    /// The bytes at this offset are not an instruction.
    Undecodable(u64),
    /// The instruction at this offset has a LOCK prefix. The kernel refuses a probe on it: at offset 0, the function
    /// cannot be probed at all.
    Locked(u64),
    /// An argument that the probe reads is overwritten at this offset.
    ArgumentChanged(u64),
    /// The stack pointer moves at this offset.
    StackMoved(u64),
    /// A register that belongs to the caller is overwritten at this offset.
    CallerRegisterChanged(u64),
    /// Memory, perhaps the stack, is written at this offset.
    MemoryWritten(u64),
    /// Control may leave the straight line at this offset: by a return, a call, an indirect jump or a system call.
    StraightLineEnds(u64),
    /// The function ends before an emulated instruction.
    NothingEmulated,
    /// A jump from this address leads to a place between the entry and the site, so that one call could count twice or
    /// never.
    JumpFrom(u64),
    /// An indirect jump at this offset could lead to such a place.
    UnknownJump(u64),
    /// Another function begins between the entry and the site.
    EnteredElsewhere,
}

/// Chooses the site in a function with these bytes, at address `entry`.
///
/// `code` must be the whole function: a jump back to the site from a missing part would not be seen. Any bytes have an
/// answer. A `Site` with an offset above 0 is always at an instruction that is emulated; [`Image::site`] also looks at
/// the rest of the file.
pub fn site(code: &[u8], entry: u64, uses: ArgUse) -> Site {
    choose(code, entry, uses, &mut |_, _| None)
}

impl Image<'_> {
    /// Chooses the site in a function of this file. Also looks for other ways into the function: functions that begin
    /// inside of it, and jumps back from parts that the compiler moved away (`.cold`), up to 1024 instructions beyond
    /// the jumps that leave it.
    pub fn site(&self, function: &Symbol, uses: ArgUse) -> Site {
        let code = self.code(function.address, function.size);
        choose(code, function.address, uses, &mut |flow, offset| {
            if self.is_entered_within(function.address, offset) {
                return Some(Obstacle::EnteredElsewhere);
            }
            let body = function.address..function.address.saturating_add(code.len() as u64);
            let line = function.address + 1..=function.address + offset;
            let jumps = flow.branches.iter().filter(|branch| !branch.is_call);
            let leaving = jumps.map(|jump| jump.to).filter(|to| !body.contains(to));
            self.outlined_jumps(leaving.collect(), &body)
                .into_iter()
                .find(|(_, to)| line.contains(to))
                .map(|(from, _)| Obstacle::JumpFrom(from))
        })
    }

    /// Direct jumps found by following the code from `starts` on, outside of `body`.
    fn outlined_jumps(&self, mut starts: Vec<u64>, body: &Range<u64>) -> Vec<(u64, u64)> {
        let mut jumps = Vec::new();
        let mut seen = HashSet::new();
        let mut instruction = Instruction::default();
        while let Some(start) = starts.pop() {
            let code = self.code(start, MAX_OUTLINED_BYTES);
            let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
            while decoder.can_decode() && seen.len() < MAX_OUTLINED_INSTRUCTIONS {
                decoder.decode_out(&mut instruction);
                if instruction.is_invalid() || !seen.insert(instruction.ip()) {
                    break;
                }
                if instruction.is_jmp_short_or_near() || instruction.is_jcc_short_or_near() {
                    let target = instruction.near_branch_target();
                    jumps.push((instruction.ip(), target));
                    if !body.contains(&target) {
                        starts.push(target);
                    }
                }
                if ends_block(&instruction) {
                    break;
                }
            }
        }
        jumps
    }
}

fn ends_block(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Return
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception
    )
}

/// `elsewhere` looks for obstacles outside of the function, given its branches and the offset of the site.
fn choose(
    code: &[u8],
    entry: u64,
    uses: ArgUse,
    elsewhere: &mut dyn FnMut(&Flow, u64) -> Option<Obstacle>,
) -> Site {
    let line = straight_line(code, entry, uses);
    let at_entry = |obstacle| Site {
        offset: 0,
        emulated: first_is_emulated(code),
        reason: SiteReason::EntryOnly(obstacle),
    };
    let (offset, skipped) = match line {
        Ok(found) => found,
        Err(obstacle) => return at_entry(obstacle),
    };
    if code.len() > MAX_FUNCTION_BYTES {
        return match offset {
            0 => Site { offset, emulated: true, reason: SiteReason::EntryEmulated },
            _ => at_entry(Obstacle::TooLong),
        };
    }
    let flow = Flow::of(code, entry);
    if let Some(obstacle) = other_way_in(&flow, entry, offset) {
        return at_entry(obstacle);
    }
    if offset == 0 {
        return Site { offset, emulated: true, reason: SiteReason::EntryEmulated };
    }
    match elsewhere(&flow, offset) {
        Some(obstacle) => at_entry(obstacle),
        None => Site { offset, emulated: true, reason: SiteReason::PastSetup { skipped } },
    }
}

/// The first emulated instruction on the straight line, as (offset, instructions before it), or the obstacle before it.
fn straight_line(code: &[u8], entry: u64, uses: ArgUse) -> Result<(u64, u32), Obstacle> {
    if code.is_empty() {
        return Err(Obstacle::NoCode);
    }
    let mut decoder = Decoder::with_ip(64, code, entry, DecoderOptions::NONE);
    let mut effects = InstructionInfoFactory::new();
    let mut instruction = Instruction::default();
    let mut skipped = 0;
    while decoder.can_decode() {
        let start = decoder.position();
        decoder.decode_out(&mut instruction);
        let offset = start as u64;
        if instruction.is_invalid() {
            return Err(Obstacle::Undecodable(offset));
        }
        let bytes = code.get(start..start + instruction.len()).unwrap_or_default();
        if is_emulated(bytes) && (offset == 0 || !is_call(bytes)) {
            return Ok((offset, skipped));
        }
        if let Some(obstacle) = effect(&instruction, offset, uses, &mut effects) {
            return Err(obstacle);
        }
        skipped += 1;
    }
    Err(Obstacle::NothingEmulated)
}

/// Why the probe must not be placed after an instruction, if it must not.
fn effect(
    instruction: &Instruction,
    offset: u64,
    uses: ArgUse,
    effects: &mut InstructionInfoFactory,
) -> Option<Obstacle> {
    if instruction.has_lock_prefix() {
        return Some(Obstacle::Locked(offset));
    }
    if instruction.flow_control() != FlowControl::Next {
        return Some(Obstacle::StraightLineEnds(offset));
    }
    let info = effects.info(instruction);
    for used in info.used_registers().iter().filter(|used| writes(used.access())) {
        match used.register().full_register() {
            Register::RSP => return Some(Obstacle::StackMoved(offset)),
            Register::RBP
            | Register::RBX
            | Register::R12
            | Register::R13
            | Register::R14
            | Register::R15
            | Register::FS
            | Register::GS => return Some(Obstacle::CallerRegisterChanged(offset)),
            register if uses.contains(register) => return Some(Obstacle::ArgumentChanged(offset)),
            _ => {}
        }
    }
    let written = info.used_memory().iter().any(|memory| writes(memory.access()));
    written.then_some(Obstacle::MemoryWritten(offset))
}

fn writes(access: OpAccess) -> bool {
    !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
}

/// Why the branches of the function forbid a site at this offset, if they do.
fn other_way_in(flow: &Flow, entry: u64, offset: u64) -> Option<Obstacle> {
    let leads_in = |to: u64| to.checked_sub(entry).is_some_and(|into| into <= offset);
    // A call of the entry, by the function itself, is a call like any other.
    let mut risky = flow.branches.iter().filter(|branch| !branch.is_call || branch.to != entry);
    if let Some(branch) = risky.find(|branch| leads_in(branch.to)) {
        return Some(Obstacle::JumpFrom(branch.from));
    }
    if offset == 0 {
        // Bytes that cannot be decoded may do anything. That does not matter at the entry: the kernel only looks at the
        // first instruction.
        return None;
    }
    if let Some(at) = flow.undecodable {
        return Some(Obstacle::Undecodable(at - entry));
    }
    flow.unknown_jump.map(|at| Obstacle::UnknownJump(at - entry))
}

/// Whether every supported kernel (6.1 to 6.18) emulates this instruction at a uprobe: see `push_setup_xol_ops` and
/// `branch_setup_xol_ops` in `arch/x86/kernel/uprobes.c`. Newer ones emulate more; instructions with a prefix and the
/// long forms of `nop` are left out here because not all kernels emulate them.
pub(super) fn is_emulated(instruction: &[u8]) -> bool {
    matches!(
        instruction,
        [0x50..=0x57]
            | [0x41, 0x50..=0x57]
            | [0x90]
            | [0xeb | 0x70..=0x7f, _]
            | [0xe8 | 0xe9, _, _, _, _]
            | [0x0f, 0x80..=0x8f, _, _, _, _]
    )
}

/// An emulated call is chosen only at the entry. Some kernels that give processes a shadow stack do not push to it when
/// they emulate a call, and the return from such a call would end the process. Only builds for `mcount` lose a site by
/// this: other calls come after the stack pointer has moved.
fn is_call(instruction: &[u8]) -> bool {
    instruction.first() == Some(&0xe8)
}

fn first_is_emulated(code: &[u8]) -> bool {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let first = decoder.decode();
    !first.is_invalid() && is_emulated(code.get(..first.len()).unwrap_or_default())
}

impl fmt::Display for SiteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryEmulated => f.write_str("the first instruction is emulated"),
            Self::PastSetup { skipped: 1 } => f.write_str("the first emulated instruction, 1 past the entry"),
            Self::PastSetup { skipped } => {
                write!(f, "the first emulated instruction, {skipped} past the entry")
            }
            Self::EntryOnly(obstacle) => write!(f, "the entry, because {obstacle}"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode => f.write_str("the file has no code for it"),
            Self::TooLong => write!(f, "it is longer than {} KiB", MAX_FUNCTION_BYTES >> 10),
            Self::Undecodable(at) => write!(f, "the bytes at +{at:#x} are not an instruction"),
            Self::Locked(at) => write!(f, "the instruction at +{at:#x} has a LOCK prefix"),
            Self::ArgumentChanged(at) => write!(f, "an argument is overwritten at +{at:#x}"),
            Self::StackMoved(at) => write!(f, "the stack pointer moves at +{at:#x}"),
            Self::CallerRegisterChanged(at) => {
                write!(f, "a register of the caller is overwritten at +{at:#x}")
            }
            Self::MemoryWritten(at) => write!(f, "memory is written at +{at:#x}"),
            Self::StraightLineEnds(at) => write!(f, "the straight line ends at +{at:#x}"),
            Self::NothingEmulated => f.write_str("it has no instruction that is emulated"),
            Self::JumpFrom(from) => {
                write!(f, "a jump at {from:#x} leads between the entry and the next choice")
            }
            Self::UnknownJump(at) => write!(f, "the jump at +{at:#x} may lead anywhere"),
            Self::EnteredElsewhere => f.write_str("another function begins right behind its entry"),
        }
    }
}
