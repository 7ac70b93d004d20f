//! Errors of the command line, in our own form: one line with the error, and one hint.

use std::io::IsTerminal as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use profiler::{exit::ExitCode, text::visible, units};

use super::{output, terminal::Terminal};

/// Prints the parser's result. Help and version are results; everything else is a usage error.
pub(super) fn tell(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render();
        let styled = if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        return output::print(styled.as_bytes()).map_or_else(|e| e.exit_code(), |()| ExitCode::Ok);
    }
    let typed: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let (cause, hint) = words(error, &typed);
    let err = Terminal::stderr();
    err.say("error: ", &visible(cause.trim_start_matches("error: ")));
    err.say("hint: ", &visible(&hint));
    ExitCode::Usage
}

/// The error line, and the hint. `typed` are the arguments.
fn words(error: &clap::Error, typed: &[String]) -> (String, String) {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut cause = lines.next().unwrap_or("the command line is wrong").to_owned();
    if !cause.starts_with("error: ") {
        cause = "error: no command was given".to_owned();
    } else if cause.ends_with(':') {
        let more: Vec<&str> = lines.clone().take_while(|line| !line.starts_with("Usage:")).collect();
        cause = format!("{cause} {}", more.join(" "));
    }
    let mut commands = super::command();
    commands.build();
    let command = typed.iter().find_map(|word| commands.find_subcommand(word)).filter(|c| !c.is_hide_set());
    let hint = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            cause = cause.replace("unrecognized subcommand", "there is no command");
            of_commands(&commands, invalid(error, ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingSubcommand => {
            cause = "error: no command was given".to_owned();
            of_commands(&commands, "")
        }
        ErrorKind::UnknownArgument => {
            let argument = invalid(error, ContextKind::InvalidArg);
            match argument.strip_prefix("--") {
                Some(option) => similar_option(command.unwrap_or(&commands), option),
                None => command.and_then(|command| {
                    let other = || of_negative(typed).or_else(|| of_stray(command.get_name(), argument));
                    of_unit(typed, argument).or_else(other)
                }),
            }
        }
        _ => {
            let empty = of_empty(error, typed);
            let hint = "is a shell variable in it unset?".to_owned();
            // The list of what is possible says more.
            let offered = lines.find_map(|line| line.strip_prefix('[')?.strip_suffix(']').map(str::to_owned));
            let hint = offered.or(empty.is_some().then_some(hint));
            cause = empty.unwrap_or(cause);
            hint
        }
    };
    let help = || match command {
        Some(command) => format!("see `profiler {} --help`", command.get_name()),
        None => "see `profiler --help`".to_owned(),
    };
    (cause, hint.unwrap_or_else(help))
}

fn invalid(error: &clap::Error, kind: ContextKind) -> &str {
    match error.get(kind) {
        Some(ContextValue::String(word)) => word,
        _ => "",
    }
}

/// The error line for an empty value, which the parser reports as missing for some options.
fn of_empty(error: &clap::Error, typed: &[String]) -> Option<String> {
    let of_value = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
    let given = typed.iter().any(|word| word.is_empty() || word.ends_with('='));
    let is_empty = of_value && given && invalid(error, ContextKind::InvalidValue).is_empty();
    is_empty.then(|| format!("error: the value of '{}' is empty", invalid(error, ContextKind::InvalidArg)))
}

/// The hint for an unknown command: the commands, or the one that was meant. Hidden ones are left out.
fn of_commands(root: &clap::Command, typed: &str) -> Option<String> {
    let mut shown: Vec<&clap::Command> =
        root.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    // As in the help text.
    shown.sort_by_key(|command| command.get_display_order());
    let names = || shown.iter().map(|command| command.get_name());
    let meant = closest(typed, names());
    let all = || names().collect::<Vec<_>>().join(", ");
    Some(
        meant.map_or_else(|| format!("the commands are {}", all()), |name| format!("did you mean `{name}`?")),
    )
}

/// The option that was meant; hidden ones are left out.
fn similar_option(command: &clap::Command, typed: &str) -> Option<String> {
    let typed = typed.split('=').next().unwrap_or(typed);
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let meant = closest(typed, shown.filter_map(clap::Arg::get_long))?;
    Some(format!("did you mean `--{meant}`?"))
}

/// The hint for a size whose unit is a word of its own.
fn of_unit(typed: &[String], word: &str) -> Option<String> {
    let place = typed.iter().position(|other| other == word)?;
    let number = typed.get(place.checked_sub(1)?)?;
    let size = format!("{number}{word}");
    let is_size = number.parse::<f64>().is_ok()
        && (units::parse_bytes(&size).is_ok() || units::parse_bytes_per_hour(&size).is_ok());
    is_size.then(|| format!("write a size as one word: {size}"))
}

/// The hint for a value below 0, which the parser takes for options of one letter.
fn of_negative(typed: &[String]) -> Option<String> {
    let is_negative = |word: &&String| {
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    // Words after `--` belong to the command.
    typed
        .iter()
        .take_while(|word| *word != "--")
        .find(is_negative)
        .map(|word| format!("no option takes a value below 0, such as {word}"))
}

/// The hint for a word that belongs to no option.
fn of_stray(command: &str, word: &str) -> Option<String> {
    if word.starts_with('-') && word != "-" {
        return None;
    }
    match command {
        "report" => Some("give one report at a time".to_owned()),
        _ if word.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(format!("to observe process {word}: --pid {word}"))
        }
        _ if super::observe::commands().any(|tool| tool.get_name() == command) => {
            // A process name has no directory.
            let name = word.rsplit('/').find(|part| !part.is_empty()).unwrap_or(word);
            Some(format!("to observe what runs: --name {name}; to start it: -- {word}"))
        }
        _ => None,
    }
}

/// The candidate with the fewest typing errors, if there are few, or one that begins with what was typed.
fn closest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips = |candidate: &str| match candidate.strip_prefix(typed) {
        Some(_) if typed.len() >= 2 => 0,
        _ => strsim::damerau_levenshtein(typed, candidate),
    };
    let near = candidates.map(|candidate| (slips(candidate), candidate));
    near.filter(|(slips, _)| *slips <= (typed.chars().count() / 3).clamp(1, 3)).min().map(|(_, name)| name)
}
