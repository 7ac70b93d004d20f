//! The command line of profiler: parse, run, exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let _own_name = arguments.next();
    if arguments.next().is_some_and(|first| first == profiler::target::launch::WAIT_ARGUMENT) {
        return cli::become_command(arguments);
    }
    cli::run().into()
}
