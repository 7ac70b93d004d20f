//! The command line. Results go to standard output, everything else to standard error.
#![allow(clippy::print_stderr, reason = "the command line is where words go to people")]

mod args;
mod doctor;
mod gate;
#[cfg(feature = "lab")]
mod lab;
mod launch;
mod live;
mod names;
mod observe;
mod output;
mod progress;
mod render;
mod select;
mod status;
mod stop;
mod terminal;
mod usage;
mod values;
mod waiting;
mod writer;

use clap::{CommandFactory as _, FromArgMatches as _};
use profiler::{
    error::{Error, Result},
    exit::ExitCode,
    target::launch::limits as launch_limits,
};

use args::{Cli, Command, Voice};
pub(crate) use launch::{become_command, find_command, list_libraries};
use terminal::Terminal;

/// Parses the arguments, runs the command, and reports errors.
pub(crate) fn run() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Asked::from(&matches));
    let (asked, voice) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::tell(&error),
    };
    start_logging(if voice.quiet { 0 } else { voice.verbose });
    launch_limits::raise_open_files();
    output::survive_file_size_limit();
    let done = match &asked {
        Asked::Tool(name, matches) => observe::run(name, matches, &voice),
        Asked::Other(Command::Doctor(args)) => doctor::run(args, &voice),
        #[cfg(feature = "lab")]
        Asked::Other(Command::Lab(command)) => lab::run(command),
        Asked::Other(Command::Report(args)) => render::run(args, &voice),
    };
    done.unwrap_or_else(|error| complain(&error))
}

/// What the user asked for.
enum Asked {
    /// A tool by name, with its options.
    Tool(String, Box<clap::ArgMatches>),
    /// Something else.
    Other(Command),
}

impl Asked {
    fn from(matches: &clap::ArgMatches) -> Result<(Asked, Voice), clap::Error> {
        if let Some((name, options)) = matches.subcommand()
            && profiler::tool::commands().any(|command| command.get_name() == name)
        {
            let tool = Asked::Tool(name.to_owned(), Box::new(options.clone()));
            return Ok((tool, Voice::from_arg_matches(matches)?));
        }
        let Cli { voice, command } = Cli::from_arg_matches(matches)?;
        Ok((Asked::Other(command), voice))
    }
}

/// The commands, tools first, with help as wide as the terminal. We compute the width: clap would take `COLUMNS=0`
/// literally.
fn command() -> clap::Command {
    let tools = observe::commands().map(|command| command.display_order(0));
    Cli::command().subcommands(tools).term_width(Terminal::stdout(true).width.min(args::HELP_WIDTH))
}

/// Reports an error and its hint.
fn complain(error: &Error) -> ExitCode {
    let err = Terminal::stderr();
    err.say("error: ", &error.to_string());
    if let Some(hint) = error.advice() {
        err.say("hint: ", hint);
    }
    error.exit_code()
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "profiler=info",
        _ => "profiler=debug",
    };
    // Variables are not read: under sudo they are not the administrator's.
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
