//! `-- COMMAND`: its options, and the roles in which our executable is started for a command.

use std::{ffi::OsString, io::Write as _, process::ExitCode, time::Duration};

use clap::{Args, builder::TypedValueParser as _};
use profiler::{target::launch, units};

/// How a command is launched and ended.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Run the command as this user.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PathBufValueParser::new().map(OsString::from), conflicts_with_all = ["pid", "name", "cgroup"], help_heading = "For -- COMMAND")]
    pub(crate) user: Option<OsString>,
    /// How long the command may take to end after SIGTERM, when the observation is over; then SIGKILL.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = grace, conflicts_with_all = ["pid", "name", "cgroup"], help_heading = "For -- COMMAND")]
    pub(crate) grace: Duration,
    /// Let the command go on when the observation is over.
    #[arg(long, conflicts_with_all = ["pid", "name", "cgroup"], help_heading = "For -- COMMAND")]
    pub(crate) leave_running: bool,
}

impl From<&LaunchArgs> for launch::Manner {
    fn from(args: &LaunchArgs) -> launch::Manner {
        launch::Manner { user: args.user.clone(), leave_running: args.leave_running, grace: args.grace }
    }
}

/// The child's side of a launched command.
pub(crate) fn become_command(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    launch::wait_and_become(arguments);
    // The parent reports why. Shells use 127 for a command that cannot run.
    ExitCode::from(127)
}

/// The child's side of finding a command as another user.
pub(crate) fn find_command(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (answer, code) = launch::find_as(arguments);
    match std::io::stdout().write_all(&answer) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// The child's side of listing the libraries of a command as another user.
pub(crate) fn list_libraries(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // The parent reads only standard output. Without a list it goes on.
    let _error = launch::list_as(arguments);
    ExitCode::FAILURE
}

fn grace(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(|error| error.to_string())
}
