//! Running other programs.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use signal_hook::{consts::SIGINT, flag};

use crate::workspace;

/// A command that runs in the root of the workspace and reads nothing from the terminal.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program of a rustup toolchain, or of `PATH` on a machine without rustup.
pub(crate) fn of_toolchain(toolchain: Option<&str>, program: &str) -> Command {
    match toolchain {
        Some(name) => {
            let mut command = command("rustup");
            command.args(["run", name, program]);
            command
        }
        None => command(program),
    }
}

/// Shows the command, runs it with our output, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", show(command));
    let status = command.status().with_context(|| format!("cannot run `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

/// The same, but returns the output in place of showing it.
pub(crate) fn run_aside(command: &mut Command) -> (String, Result<()>) {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return (String::new(), Err(error).context(format!("cannot run `{}`", show(command)))),
    };
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let failed = || bail!("`{}` failed ({})", show(command), output.status);
    let outcome = if output.status.success() { Ok(()) } else { failed() };
    (format!("$ {}\n{}", show(command), said.concat()), outcome)
}

/// Runs silently; the standard output if the command could be run and succeeded.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// True if the command can be run and succeeds, silently.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    ask(command).is_some()
}

/// True if a program of this name is on `PATH`.
pub(crate) fn on_path(program: &str) -> bool {
    find(program).is_some()
}

/// The file of a program on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The same command, run only on processors that have nothing else to do (`SCHED_IDLE`).
pub(crate) fn when_idle(wanted: Command) -> Command {
    if !on_path("chrt") {
        return wanted;
    }
    let mut idle = command("chrt");
    idle.args(["--idle", "0"]).arg(wanted.get_program()).args(wanted.get_args());
    idle.envs(wanted.get_envs().filter_map(|(name, value)| Some((name, value?))));
    idle
}

/// Has the kernel send this to the child when the thread that starts it ends without having waited for it: when this
/// program is ended from outside, whatever the way.
pub(crate) fn die_with_us(command: &mut Command, signal: Signal) {
    let set = move || rustix::process::set_parent_process_death_signal(Some(signal)).map_err(Into::into);
    // SAFETY: between fork and exec only one system call is made; nothing is allocated or locked.
    unsafe { command.pre_exec(set) };
}

/// A job that a shell starts in the background ignores Ctrl-C, and so would all that it starts: tests that interrupt
/// profiler would wait for ever. A handler of ours, unlike a signal that is ignored, is not inherited.
pub(crate) fn die_of_ctrl_c() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    flag::register_conditional_shutdown(SIGINT, 130, always).context("cannot listen for Ctrl-C")?;
    Ok(())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy().into_owned();
        let plain = |c: char| c.is_alphanumeric() || "-_./=:@,+%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let variables = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let variables = variables.map(|(key, value)| format!("{}={}", key.to_string_lossy(), quote(value)));
    let program = quote(command.get_program());
    let words = variables.chain([program]).chain(command.get_args().map(quote));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_it_can_be_pasted() {
        let mut command = Command::new("cc");
        command.env("LANG", "C").args(["-o", "it's here", "", "a.c"]);
        assert_eq!(show(&command), r"LANG=C cc -o 'it'\''s here' '' a.c");
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let start = || {
            let mut sleep = command("sleep");
            die_with_us(&mut sleep, Signal::KILL);
            sleep.arg("600").spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        let killed = Some(Signal::KILL.as_raw());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), killed);
    }

    #[test]
    fn a_command_of_low_priority_keeps_arguments_and_environment() {
        let mut wanted = command("sh");
        wanted.env("WORD", "is").args(["-c", "echo $1 $WORD; chrt --pid $$", "sh", "this"]);
        let said = ask(&mut when_idle(wanted)).unwrap();
        assert!(said.starts_with("this is\n") && said.contains("SCHED_IDLE"), "{said}");
    }

    #[test]
    fn what_a_command_says_aside_is_kept() {
        let mut says = command("sh");
        says.args(["-c", "echo one; echo two >&2; false"]);
        let (said, outcome) = run_aside(&mut says);
        assert!(said.starts_with("$ sh -c ") && said.ends_with("\none\ntwo\n"), "{said}");
        assert!(outcome.is_err());
        assert!(run_aside(&mut command("/no/such/program")).1.is_err());
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(&mut command("false")).expect_err("false fails");
        assert_eq!(error.to_string(), "`false` failed (exit status: 1)");
    }
}
