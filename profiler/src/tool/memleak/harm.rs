//! Targets that would die of the observation, and what is said of those that did.

use super::{
    options::{Options, Targets},
    rules,
    sentences::plain,
    session::Session,
    space::Space,
};
use crate::{
    error::Result,
    report::{Finding, Phrase, Severity},
    target::{modules::Modules, start::Start},
};

/// Refuses targets that would copy breakpoints with their code: those that start now, and those that have just begun.
pub(super) fn refuse_what_copies_its_code(
    spaces: &[Space],
    modules: &Modules,
    options: &Options,
) -> Result<()> {
    for space in spaces {
        match &options.targets {
            Targets::Command(command) => space.refuse_if_copied(modules, &Start::of_command(command))?,
            _ if space.is_starting() => {
                space.refuse_if_copied(modules, &Start::of_process(space.process.pid()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One finding for each target that a breakpoint has killed: nothing is more important.
pub(super) fn findings(session: &Session<'_>) -> impl Iterator<Item = Finding> {
    session.spaces.iter().filter(|space| space.killed_by == Some(libc::SIGTRAP)).map(died)
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
