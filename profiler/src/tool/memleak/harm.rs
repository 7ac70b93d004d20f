//! Targets that would die of the observation.

use super::probes::{Probes, is_starting};
use crate::{
    error::Result,
    observe::settings::Targets,
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
