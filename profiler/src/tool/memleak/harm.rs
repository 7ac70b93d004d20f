//! Targets that would die of the observation, and what is said of those that did.

use super::{
    probes::{Probes, is_starting},
    rules,
    sentences::plain,
    session::Session,
};
use crate::{
    error::Result,
    observe::{settings::Targets, space::Space},
    report::{Finding, Phrase, Severity},
    target::{modules::Modules, process::Process, start::Start},
};

/// Refuses a target that would copy breakpoints with its code: one that starts now, or has just begun.
pub(super) fn refuse_what_copies_its_code(
    probes: &Probes,
    process: &Process,
    modules: &Modules,
    targets: &Targets,
) -> Result<()> {
    let start = match targets {
        Targets::Command(command) => Start::of_command(command),
        _ if is_starting(process) => Start::of_process(process.pid()),
        _ => return Ok(()),
    };
    probes.refuse_if_copied(process.pid(), modules, &start)
}

/// One finding for each target that a breakpoint has killed: nothing is more important.
pub(super) fn findings(session: Session<'_>) -> impl Iterator<Item = Finding> {
    session.on.spaces.iter().filter(|space| space.killed_by == Some(libc::SIGTRAP)).map(died)
}

fn died(space: &Space) -> Finding {
    Finding::new(
        rules::KILLED,
        Severity::Problem,
        vec![
            Phrase::Name(space.process.name().clone()),
            plain(format!(
                " (pid {}) was killed by SIGTRAP (signal {}), most likely by our breakpoints: a program that copies its \
                 own code takes them along. Start it without huge pages for code, or observe it by --pid once it runs.",
                space.process.pid(),
                libc::SIGTRAP
            )),
        ],
    )
}
