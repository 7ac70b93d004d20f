//! Whether a return address is one: a call leaves it, so the instruction before it is a call.
//!
//! A coroutine's stack begins with an address that was put there, most often that of a function's first instruction; no
//! unwind information says where its caller is. A stack that was left by wrong unwind information shows the same.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt as _};

use profiler_common::unwind::ends_in_call;

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
