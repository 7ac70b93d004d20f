//! Functions that only forward their calls to others.
//!
//! `operator new` of libstdc++ calls `malloc`, `cfree` jumps to `free`. Probes that count the blocks of `malloc` have
//! counted those of `operator new`; another probe would cost the target and add nothing.

use std::collections::HashSet;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use super::flow::near_target;
use super::image::Image;
use super::imports::slot_of;
use super::symbols::Symbol;

/// Most instructions that are followed for one function.
const MAX_INSTRUCTIONS: usize = 64 << 10;
/// Most bytes that are decoded without a branch.
const MAX_CODE_BYTES: u64 = 64 << 10;

/// Functions of the C and C++ libraries that do not return. The code after a call of one is often not its continuation
/// but the next function.
const NEVER_RETURN: [&str; 8] = [
    "__cxa_throw",
    "__cxa_rethrow",
    "_Unwind_Resume",
    "_ZSt17__throw_bad_allocv",
    "_ZSt9terminatev",
    "__stack_chk_fail",
    "__fortify_fail",
    "abort",
];

/// Functions to which calls may be forwarded. To follow a chain (`operator new[]` to `operator new` to `malloc`), add
/// each function that was found, and ask again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Callees<'t> {
    /// Addresses of functions in the same file.
    pub addresses: &'t [u64],
    /// Names of functions that are called through the linkage table, in this file or another one.
    pub names: &'t [&'t str],
}

/// A function forwards calls, and to which function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// The first function found to which calls are forwarded.
    pub to: Callee,
    /// Whether every path through the function reaches one of the functions. Paths that end in a trap instruction do
    /// not count; an early return for null (`delete` of a null pointer) does.
    pub every_call: bool,
}

/// A function in the form in which its caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// By address in the same file.
    Address(u64),
    /// By name, through the linkage table.
    Name(String),
}

impl Image<'_> {
    /// Whether a function of this file forwards calls to one of `targets`, by a direct call or jump, through a stub of
    /// the linkage table, or through its table slot. `None` if its code shows no such call.
    pub fn forwards_to(&self, function: &Symbol, targets: &Callees<'_>) -> Option<Forwarding> {
        let body = function.address..function.address.saturating_add(function.size);
        forwards_to(
            body,
            targets,
            &|address| self.code(address, MAX_CODE_BYTES),
            &|reference| match reference {
                Reference::Stub(address) => self.import_behind_stub(address),
                Reference::Slot(address) => self.import_in_slot(address),
            },
        )
    }
}

/// How a call refers to a function that the loader links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By the address of code that may be a stub of the linkage table.
    Stub(u64),
    /// By the address of the pointer that the loader fills in.
    Slot(u64),
}

/// Whether the function at the addresses `body` forwards calls to one of `targets`.
///
/// `code` returns the bytes from an address on (empty if there are none), `import` the name of the function that a
/// reference leads to, if it leads to one. Jumps out of the function, to parts that the compiler moved away and to
/// functions that it ends in, are followed.
pub fn forwards_to<'f>(
    body: Range<u64>,
    targets: &Callees<'_>,
    code: &dyn Fn(u64) -> &'f [u8],
    import: &dyn Fn(Reference) -> Option<&'f str>,
) -> Option<Forwarding> {
    let entry = body.start;
    let mut search = Search { entry, targets, import, found: None, pending: vec![entry], escapes: false };
    let mut seen = HashSet::new();
    let mut instruction = Instruction::default();
    while let Some(start) = search.pending.pop() {
        let mut bytes = code(start);
        if body.contains(&start) {
            // The program never runs over the end of the function.
            let left = usize::try_from(body.end - start).unwrap_or(usize::MAX);
            bytes = bytes.get(..left).unwrap_or(bytes);
        }
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        loop {
            if !decoder.can_decode() || seen.len() >= MAX_INSTRUCTIONS {
                search.escapes = true;
                break;
            }
            decoder.decode_out(&mut instruction);
            if !seen.insert(instruction.ip()) || !search.goes_on_behind(&instruction) {
                break;
            }
        }
    }
    let Search { found, escapes, .. } = search;
    found.map(|to| Forwarding { to, every_call: !escapes })
}

/// A search of all paths from the entry that have not reached a target yet.
struct Search<'s, 'f> {
    /// A call of the function itself forwards nothing.
    entry: u64,
    targets: &'s Callees<'s>,
    import: &'s dyn Fn(Reference) -> Option<&'f str>,
    found: Option<Callee>,
    /// Addresses from which the search has to continue.
    pending: Vec<u64>,
    /// Whether some path ends without having reached a target.
    escapes: bool,
}

/// Where a branch leads.
enum Lead {
    /// To a target.
    Target(Callee),
    /// To a function that does not return.
    NoReturn,
    /// To another function of the linkage table, or to an unknown place.
    Elsewhere,
    /// To code of this file.
    Code(u64),
}

impl Search<'_, '_> {
    /// Records where the instruction leads. True if the path continues with the next instruction.
    fn goes_on_behind(&mut self, instruction: &Instruction) -> bool {
        if instruction.is_invalid() {
            self.escapes = true;
            return false;
        }
        let kind = instruction.flow_control();
        match kind {
            FlowControl::Next => return true,
            FlowControl::Return => {
                self.escapes = true;
                return false;
            }
            // The compiler writes ud2 and int3 where the program never arrives.
            FlowControl::Exception => return false,
            FlowControl::Interrupt => return instruction.mnemonic() != Mnemonic::Int3,
            _ => {}
        }
        let is_call = matches!(kind, FlowControl::Call | FlowControl::IndirectCall);
        let is_conditional = matches!(kind, FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend);
        match self.lead(instruction) {
            Lead::Target(callee) => {
                self.found.get_or_insert(callee);
                is_conditional
            }
            Lead::NoReturn => is_conditional,
            _ if is_call => true,
            Lead::Code(address) => {
                self.pending.push(address);
                is_conditional
            }
            Lead::Elsewhere => {
                self.escapes = true;
                is_conditional
            }
        }
    }

    fn lead(&self, instruction: &Instruction) -> Lead {
        let (reference, code) = match (near_target(instruction), slot_of(instruction)) {
            (Some(target), _) => (Reference::Stub(target), Some(target)),
            (None, Some(slot)) => (Reference::Slot(slot), None),
            (None, None) => return Lead::Elsewhere,
        };
        if let Some(address) = code
            && address != self.entry
            && self.targets.addresses.contains(&address)
        {
            return Lead::Target(Callee::Address(address));
        }
        match (self.import)(reference) {
            Some(name) if self.targets.names.contains(&name) => Lead::Target(Callee::Name(name.to_owned())),
            Some(name) if NEVER_RETURN.contains(&name) => Lead::NoReturn,
            Some(_) => Lead::Elsewhere,
            None => code.map_or(Lead::Elsewhere, Lead::Code),
        }
    }
}
