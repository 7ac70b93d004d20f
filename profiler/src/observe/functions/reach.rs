//! Code that a breakpoint does not reach, or must not be in: programs that move their own code.
//!
//! A probe is the kernel's breakpoint in the pages that a process maps from a file. If the code was moved into other memory, the
//! probe is never hit. If the code is copied while the breakpoint is in it, the copy has the breakpoint too, and kills the
//! process.

use super::{
    plan::{Plan, Planned, Return, Wanted},
    probes::Probes,
    refusals::{copies_its_code, is_moved, nothing_wanted},
};
use crate::{
    elf::{Image, Mover, runtime::Runtime},
    error::{Error, Result},
    observe::{
        settings::Targets,
        space::{STARTING, Space},
    },
    target::{
        modules::{ModuleId, Modules},
        process::Process,
        start::Start,
    },
    text::Text,
    units,
};

impl Probes {
    /// Leaves out functions that the process no longer maps from the file.
    pub(super) fn within_reach(
        &mut self,
        space: &mut Space,
        mut plan: Plan,
        module: ModuleId,
        name: &Text,
    ) -> Plan {
        let is_from_file = |offset| space.layout.is_from_file(module, offset);
        let reached = |planned: &Planned| {
            is_from_file(planned.file_offset())
                && match &planned.ret {
                    Return::Instructions(returns) => returns.iter().all(|offset| is_from_file(*offset)),
                    _ => true,
                }
        };
        let found = plan.calls.len() + plan.looks.len();
        plan.calls.retain(reached);
        plan.looks.retain(reached);
        let lost = found - plan.calls.len() - plan.looks.len();
        if lost != 0 {
            self.moved.push((name.clone(), lost));
            let functions = units::plural(lost, "function", "functions");
            space.notes.push(format!(
                "{functions} of {} cannot be followed: the program has moved that code into memory of its own, out of \
                 the reach of probes",
                name.terminal()
            ));
        }
        plan
    }

    /// The error if nothing can be probed.
    pub(crate) fn nothing_to_probe(&self, pid: u32, wanted: &Wanted) -> Error {
        match self.moved.first() {
            Some((file, functions)) => is_moved(pid, wanted, file, *functions),
            None => nothing_wanted(pid, wanted),
        }
    }

    /// Refuses a target that would copy breakpoints with its code, if it starts now or has just started.
    ///
    /// # Errors
    /// As of [`Probes::refuse_if_copied`].
    pub(crate) fn refuse_what_copies_its_code(
        &self,
        process: &Process,
        modules: &Modules,
        targets: &Targets,
    ) -> Result<()> {
        let start = match targets {
            Targets::Command(command) => Start::of_command(command),
            _ if process.age() < STARTING => Start::of_process(process.pid()),
            _ => return Ok(()),
        };
        self.refuse_if_copied(process.pid(), modules, &start)
    }

    /// Refuses a program that copies its own code when it starts, if breakpoints would be in that code. Call this for a process
    /// that starts, once it is planned what to probe.
    ///
    /// # Errors
    /// Names the sign of it, and what to do instead.
    pub(crate) fn refuse_if_copied(&self, pid: u32, modules: &Modules, start: &Start) -> Result<()> {
        let probed = self.coming.iter().filter(|part| !part.plan.is_empty());
        for (module, part) in probed.filter_map(|part| Some((modules.get(part.module)?, part))) {
            let Ok(bytes) = module.bytes() else { continue };
            let Ok(image) = Image::parse(&bytes) else { continue };
            if let Some(sign) = copied(&image, &module.name, start) {
                let first = part.plan.calls.iter().chain(&part.plan.looks).next();
                let function = first.map_or("?", |planned| planned.symbol.name.as_str());
                return Err(copies_its_code(pid, &module.name, function, sign));
            }
        }
        Ok(())
    }
}

/// The sign that a program copies the code of a file when it starts.
fn copied(image: &Image<'_>, name: &Text, start: &Start) -> Option<&'static str> {
    let is_library = name.raw().windows(3).any(|part| part == b".so");
    match image.mover() {
        // Every build of Node.js has it, and does nothing without an option.
        Some(Mover::Iodlr) if image.runtimes().contains(&Runtime::V8) => start.node_moves_code(),
        Some(mover) => Some(mover.sign()),
        None if !is_library => start.preloaded_mover(),
        None => None,
    }
}
