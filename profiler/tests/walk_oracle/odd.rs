//! Code of a process from which no unwinder can walk at each instruction.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use profiler::target::maps;
use profiler_common::unwind::unmarked;
use profiler_common::witness::{Context, Record};

use super::target::code_of;

/// What enters a handler of an exception. Before its last instructions it overwrites the return address and the saved
/// registers of its own frame with those of the handler, while its unwind information still describes the frame as it
/// was.
const ENTERS_A_HANDLER: [&str; 2] = ["_Unwind_RaiseException", "_Unwind_Resume"];
/// What has probes in the tests.
const PROBED: [&str; 2] = ["malloc", "_Znwm"];

/// First byte of `call` with a relative address of four bytes, and the first two of `call` through a pointer at such an address (Intel SDM
/// volume 2, CALL).
const CALL: u8 = 0xe8;
const CALL_THROUGH: [u8; 2] = [0xff, 0x15];

/// Where such code lies in a process.
pub(crate) struct OddCode {
    memory: File,
    handlers: Vec<Range<u64>>,
    /// First instructions of functions with probes, and the page in which the kernel has code for probes.
    probed: Vec<Range<u64>>,
}

impl OddCode {
    pub(crate) fn of(pid: u32) -> OddCode {
        let firsts = code_of(pid, &PROBED).into_iter().map(|code| code.start..code.start + 1);
        let mapped = maps::executable(pid).unwrap_or_default().into_iter();
        let pages = mapped.filter(|page| page.path.as_os_str() == "[uprobes]");
        let of_probes = pages.map(|page| page.start..page.end);
        OddCode {
            memory: File::open(format!("/proc/{pid}/mem")).unwrap(),
            handlers: code_of(pid, &ENTERS_A_HANDLER),
            probed: firsts.chain(of_probes).collect(),
        }
    }

    /// Whether one of the two innermost frames of a walk may be about to enter a handler.
    pub(crate) fn enters_a_handler(&self, record: &Record) -> bool {
        record.frames().iter().take(2).any(|frame| is_in(&self.handlers, *frame))
    }

    /// Whether a sample may have interrupted the kernel while it was changing registers or the stack for a probe.
    ///
    /// At the first instruction of a function, it replaces the return address and carries out the instruction itself: for one that
    /// pushes a register it moves the stack pointer before the instruction pointer, so the register is where the return address is
    /// looked for. At the return, its own code has pushed three registers. The kernel then moves the instruction pointer to behind the
    /// call, and after that the stack pointer.
    pub(crate) fn is_changed_for_a_probe(&self, record: &Record) -> bool {
        let Some(innermost) = record.frames().first() else { return false };
        let at_probe = is_in(&self.probed, *innermost) || self.is_behind_a_call(unmarked(*innermost).0);
        record.context == Context::SAMPLE_IN_KERNEL && at_probe
    }

    /// Whether the instruction before an address is a call: of a function of its file, or through a pointer in its file.
    fn is_behind_a_call(&self, address: u64) -> bool {
        let mut before = [0; 6];
        let start = address.saturating_sub(before.len() as u64);
        let is_read = self.memory.read_exact_at(&mut before, start).is_ok();
        is_read && (before[1] == CALL || before[..2] == CALL_THROUGH)
    }
}

fn is_in(code: &[Range<u64>], frame: u64) -> bool {
    code.iter().any(|range| range.contains(&unmarked(frame).0))
}
