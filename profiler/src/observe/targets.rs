//! Which of the processes that the user asked for are observed.

use std::{
    thread,
    time::{Duration, Instant},
};

use profiler_common::space;

use super::{
    observation::{Observation, monotonic_ns},
    settings::Settings,
    space::{STARTING, Space},
};
use crate::{
    error::{Error, ErrorKind, Result},
    target::{modules::Modules, process::Process},
    tool::Tool,
};

/// Processes that can be observed from the start.
const MAX_TARGETS: usize = space::MAX_TARGETS as usize;

/// How often a program is looked at that may not have mapped its libraries yet.
const LINKING_STEP: Duration = Duration::from_millis(5);

/// A space for each process. Some processes of a name or a cgroup may have ended, or may be of a kind that cannot be observed:
/// they are left out, with a note, as long as others remain.
pub(super) fn spaces(
    pids: &[u32],
    settings: &Settings,
    tools: &[Box<dyn Tool>],
    launched: bool,
    modules: &mut Modules,
) -> Result<Vec<Space>> {
    let mut spaces: Vec<Space> = Vec::new();
    let mut left_out = Vec::new();
    for pid in pids {
        if spaces.len() >= MAX_TARGETS {
            return Err(Error::new(
                ErrorKind::Limit,
                format_args!("tried to observe {} processes", pids.len()),
            )
            .because(format_args!("at most {MAX_TARGETS} can be observed at once"))
            .hint("give a narrower --name, or single processes by --pid"));
        }
        let number = spaces.len() as u16;
        let opened = if launched { open(*pid, number, modules) } else { open_linked(*pid, number, modules) };
        let checked = opened.and_then(|space| {
            if !launched {
                tools.iter().try_for_each(|tool| tool.check(&space, modules))?;
            }
            Ok(space)
        });
        match checked {
            Ok(space) => spaces.push(space),
            Err(error) if !settings.are_chosen_one_by_one() => left_out.push((*pid, error)),
            Err(error) => return Err(error),
        }
    }
    let Some(first) = spaces.first_mut() else {
        return Err(left_out.pop().map_or_else(
            || Error::new(ErrorKind::NoSuchProcess, "tried to observe no process"),
            |(_, error)| error,
        ));
    };
    for (pid, error) in left_out {
        // If it has ended, it is not missed.
        if error.kind() != ErrorKind::NoSuchProcess {
            first.notes.push(not_observed(pid, &error));
        }
    }
    Ok(spaces)
}

fn open(pid: u32, number: u16, modules: &mut Modules) -> Result<Space> {
    Process::open(pid).and_then(|process| Space::new(number, process, modules))
}

/// A space for a process whose dynamic linker is done: a program that has just begun, or has just replaced another one, does not map
/// all its libraries yet.
fn open_linked(pid: u32, number: u16, modules: &mut Modules) -> Result<Space> {
    let until = Instant::now() + STARTING;
    let mut space = open(pid, number, modules)?;
    loop {
        // Besides the program, its dynamic linker only, or nothing at all: it is in the middle of an exec.
        let is_bare = matches!(space.mapped().len(), 0 | 2);
        if !is_bare && space.process.age() >= STARTING || Instant::now() >= until {
            return Ok(space);
        }
        thread::sleep(LINKING_STEP);
        let later = open(pid, number, modules)?;
        if !is_bare && later.layout == space.layout {
            return Ok(later);
        }
        space = later;
    }
}

/// If a target ends while probes are attached to it, the observation of others goes on.
pub(super) fn unless_it_ended(attached: Result<()>, space: &mut Space, alone: bool) -> Result<()> {
    match attached {
        Err(error) if error.kind() == ErrorKind::NoSuchProcess && !alone => {
            let how = if space.process.ended() { "ended" } else { "became another program by exec" };
            space.end(format!("{how} while it was attached to"), monotonic_ns());
            Ok(())
        }
        attached => attached,
    }
}

/// Leaves out processes that a tool cannot see once it is attached, like those that [`spaces`] leaves out. `why` has the reason.
pub(crate) fn leave_out_unseen(
    on: &mut Observation<'_>,
    is_seen: impl Fn(&Space) -> bool,
    why: impl Fn(&Space) -> Error,
) -> Result<()> {
    let spaces = &mut on.spaces;
    let unseen = |space: &&Space| !is_seen(space) && space.ended.is_none();
    let Some(space) = spaces.iter().find(unseen) else {
        return if spaces.iter().any(&is_seen) { Ok(()) } else { Err(all_ended()) };
    };
    if on.settings.are_chosen_one_by_one() || !spaces.iter().any(&is_seen) {
        return Err(why(space));
    }
    let without = spaces.iter().filter(unseen);
    let notes: Vec<String> = without.map(|space| not_observed(space.process.pid(), &why(space))).collect();
    spaces.retain(&is_seen);
    if let Some(first) = spaces.first_mut() {
        first.notes.extend(notes);
    }
    Ok(())
}

fn all_ended() -> Error {
    Error::new(ErrorKind::NoSuchProcess, "tried to observe several processes")
        .because("all of them ended while they were attached to")
        .hint("look for those that run with `pgrep -a NAME`, or observe one from its start: give the command behind -- in place of --pid")
}

fn not_observed(pid: u32, error: &Error) -> String {
    format!("process {pid} is of the same name or cgroup, and is not observed: {error}")
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, process::Command};

    use super::*;

    /// The dynamic linker of the program waits for what it is to load before all libraries.
    #[test]
    fn a_program_that_has_just_begun_is_looked_at_until_it_has_its_libraries() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("preloaded");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let mut child = Command::new("/bin/sleep").arg("1000").env("LD_PRELOAD", &pipe).spawn().unwrap();
        let mut modules = Modules::default();
        // The linker has opened it, and goes on once it is closed.
        let linker = OpenOptions::new().write(true).open(&pipe).unwrap();
        let bare = open(child.id(), 0, &mut modules).map(|space| space.mapped().len());
        drop(linker);
        let linked = open_linked(child.id(), 0, &mut modules).map(|space| space.mapped().len());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bare.unwrap(), 2, "the program and its dynamic linker");
        assert_eq!(linked.unwrap(), 3, "and the C library");
    }
}
