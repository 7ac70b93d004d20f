//! The command line of profiler: parse, run, exit code.

mod cli;

use std::{ffi::OsStr, process::ExitCode};

use profiler::{
    capture::{calibration, canary},
    target::launch,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    // Names that nobody types: our executable starts itself in these roles.
    match first.as_deref().and_then(OsStr::to_str) {
        Some(launch::WAIT_ARGUMENT) => cli::become_command(arguments),
        Some(launch::FIND_ARGUMENT) => cli::find_command(arguments),
        Some(launch::LIST_ARGUMENT) => cli::list_libraries(arguments),
        Some(launch::KEEP_ARGUMENT) => {
            launch::keep(arguments);
            ExitCode::SUCCESS
        }
        Some(canary::CANARY_ARGUMENT) => canary::be_canary(arguments),
        Some(calibration::CALIBRATION_ARGUMENT) => calibration::be_subject(arguments),
        _ => cli::run().into(),
    }
}
