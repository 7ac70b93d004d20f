//! The command line of profiler: parse, run, exit code.

mod cli;

use std::process::ExitCode;

use profiler::{
    capture::{calibration, canary},
    target::launch,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _own_name = arguments.next();
    let first = arguments.next().unwrap_or_default();
    if first == launch::WAIT_ARGUMENT {
        return cli::become_command(arguments);
    }
    if first == launch::FIND_ARGUMENT {
        return cli::find_command(arguments);
    }
    if first == launch::LIST_ARGUMENT {
        return cli::list_libraries(arguments);
    }
    if first == launch::KEEP_ARGUMENT {
        launch::keep(arguments);
        return ExitCode::SUCCESS;
    }
    if first == canary::CANARY_ARGUMENT {
        return canary::be_canary(arguments);
    }
    if first == calibration::CALIBRATION_ARGUMENT {
        return calibration::be_subject(arguments);
    }
    cli::run().into()
}
