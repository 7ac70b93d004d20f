//! What the user types, and what they read back. Results go to standard output, everything else to standard error.
#![allow(clippy::print_stderr, reason = "the command line is where words go to people")]

mod args;
mod doctor;
mod floor;
mod gate;
mod memleak;
mod output;
mod progress;
mod render;
mod tables;
mod waiting;
mod walks;

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
};

use clap::{Parser as _, error::ErrorKind as ClapError};
use profiler::{
    error::{Error, ErrorKind, Result},
    exit::ExitCode,
    target::launch,
};

use args::{Cli, Command};

/// Parses the arguments, does what they ask for, and says what went wrong.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_logging(cli.verbose);
    let done = match &cli.command {
        Command::Memleak(args) => memleak::run(args, &cli),
        Command::Doctor(args) => doctor::run(args),
        Command::Floor(args) => floor::run(args),
        Command::Tables(args) => tables::run(args),
        Command::Walks(args) => walks::run(args),
        Command::Report(args) => render::run(args, &cli),
    };
    done.unwrap_or_else(|error| complain(&error))
}

/// Prints a line of JSON: the answer of the commands for measurements.
fn print_json(value: &impl serde::Serialize) -> Done {
    let failed = |error: &dyn std::error::Error| {
        Error::new(ErrorKind::Output, "tried to write to standard output").because_of(error)
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(|error| failed(&error))?;
    writeln!(out).and_then(|()| out.flush()).map_err(|error| failed(&error))?;
    Ok(ExitCode::Ok)
}

/// The child's side of a launched command.
pub(crate) fn become_command(arguments: impl Iterator<Item = OsString>) -> std::process::ExitCode {
    let error = launch::wait_and_become(arguments);
    // Our parent went away, or reports the failed exec itself: shells use 127 for a command that cannot run.
    let _ = writeln!(std::io::stderr(), "profiler: the command did not start: {error}");
    std::process::ExitCode::from(127)
}

/// Says what went wrong, and what the user can do.
fn complain(error: &Error) -> ExitCode {
    let mut words = format!("error: {error}\n");
    if let Some(hint) = error.advice() {
        words.push_str(&format!("hint: {hint}\n"));
    }
    // If standard error is gone as well, the exit code has to do.
    let _ = std::io::stderr().write_all(words.as_bytes());
    error.exit_code()
}

/// Help and version are results; everything else that clap says is a usage error, in our own form.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ClapError::DisplayHelp | ClapError::DisplayVersion) {
        let mut out = std::io::stdout();
        let text = error.render();
        let styled = if out.is_terminal() { text.ansi().to_string() } else { text.to_string() };
        let written = out.write_all(styled.as_bytes()).and_then(|()| out.flush());
        return if written.is_ok() { ExitCode::Ok } else { ExitCode::Output };
    }
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut cause = lines.next().unwrap_or("the command line is wrong").to_owned();
    if !cause.starts_with("error: ") {
        cause = "error: no command was given".to_owned();
    } else if cause.ends_with(':') {
        let more: Vec<&str> = lines.clone().take_while(|l| !l.starts_with("Usage:")).collect();
        cause = format!("{cause} {}", more.join(" "));
    }
    // What there is, or what was meant.
    let values = |line: &str| line.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let tip = lines.find_map(|line| line.strip_prefix("tip: ").map(str::to_owned).or_else(|| values(line)));
    let hint = tip.unwrap_or_else(|| "see `profiler --help`, `profiler memleak --help`".to_owned());
    let words = profiler::text::visible(&cause);
    let _ = writeln!(std::io::stderr(), "{words}\nhint: {}", profiler::text::visible(&hint));
    ExitCode::Usage
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "profiler=info",
        _ => "profiler=debug",
    };
    // The environment is not asked: under sudo it is not the administrator's.
    let filter = tracing_subscriber::EnvFilter::new(level);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .try_init();
}

/// A shorthand for the results of commands.
type Done = Result<ExitCode>;
