//! Starting a command that is observed from its first allocation on.
//!
//! The child first becomes our own executable again, which waits (`wait_and_become`). Meanwhile probes are attached to
//! its pid and to the files that the command is about to map. Then it is released and becomes the command.
//!
//! The command leads a process group of its own and ends with us, however we end. If it is to be left running, it gets
//! a session of its own.

mod begun;
mod group;
mod images;
mod keeper;
pub mod limits;
mod manner;
mod user;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::{
    error::{Error, ErrorKind, Result},
    target::{
        family::{self, Used},
        stat::Stat,
    },
};

use self::{
    begun::{Refusal, Step},
    group::Group,
    keeper::Keeper,
    user::User,
};
pub use self::{
    group::Grace,
    images::{LIST_ARGUMENT, list_as},
    keeper::{KEEP_ARGUMENT, keep},
    manner::{Ending, Manner},
    user::{FIND_ARGUMENT, find_as},
};

/// The hidden first argument that makes our executable wait and then become the command.
pub const WAIT_ARGUMENT: &str = "__wait-and-become";

/// For the child: whether the command outlives us.
const STAYS: &str = "stays";
const ENDS: &str = "ends";

/// A command that was started and waits for its release. If this is dropped before the release, the command never runs;
/// if it is dropped after, the command is ended, unless it is to be left running.
#[derive(Debug)]
pub struct Waiting {
    child: Child,
    /// When it was started, in ticks since boot.
    began_ticks: u64,
    /// Our end of the socket on which the child waits.
    gate: Option<UnixStream>,
    program: PathBuf,
    manner: Manner,
    /// The user that the command runs as; `None`: ours.
    user: Option<User>,
    status: Option<ExitStatus>,
    /// What it and its children had used when it ended.
    used: Option<Used>,
    keeper: Option<Keeper>,
    /// Processes that the command started may be left when the command itself is gone.
    group: Option<Group>,
}

impl Waiting {
    /// The pid that the command will have.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has left behind, if it has ended.
    pub(crate) fn left_behind(&self) -> Vec<u32> {
        family::left_behind(self.pid(), self.began_ticks)
    }

    /// The executable that it will become.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The files with code that it will map, as its dynamic linker lists them for the user that it runs as.
    pub fn images(&self) -> BTreeSet<PathBuf> {
        images::of(&self.program, self.user.as_ref())
    }

    /// Releases the command, and waits until it runs. Returns when it was released, or now if that was done before.
    ///
    /// # Errors
    /// If the child cannot become the command, or its keeper cannot be started.
    pub fn release(&mut self) -> Result<Instant> {
        let Some(mut gate) = self.gate.take() else { return Ok(Instant::now()) };
        if !self.manner.leave_running {
            self.group = Group::led_by(self.child.id());
            let keeper = Keeper::start(self.child.id(), self.manner.grace).map_err(|e| {
                Error::new(ErrorKind::Limit, "tried to start what ends the command with profiler")
                    .because_of(e)
            })?;
            self.keeper = Some(keeper);
        }
        let begun = Instant::now();
        // A child that is gone has reported why.
        let _ = gate.write_all(b"g");
        Refusal::wait(gate).map_or(Ok(begun), |refusal| Err(refusal.error(&self.program)))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.note_use();
            self.status = self.child.try_wait().ok().flatten();
        }
        if self.status.is_some() {
            // Once the group is empty, its number may be reused.
            self.group = self.group.take().filter(|group| {
                group.collect();
                group.is_there()
            });
        }
        self.status
    }

    /// Records what it has used, if it has ended: once it is collected, the kernel forgets.
    fn note_use(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = pid.and_then(|pid| waitid(WaitId::Pid(pid), options).ok().flatten());
        if ended.is_some() {
            self.used = Used::of(self.child.id());
        }
    }

    /// What it and its children had used when it ended.
    pub(crate) fn used(&self) -> Option<Used> {
        self.used
    }

    /// Asks it and what it started to end, unless it is to be left running. True if there was a process to ask.
    pub fn ask_to_end(&mut self) -> bool {
        self.ended();
        self.group.as_ref().inspect(|group| group.ask_to_end()).is_some()
    }

    /// Whether it and the rest of its group are gone.
    pub fn gone(&mut self) -> bool {
        self.ended().is_some() && self.group.is_none()
    }

    /// Kills what is left of it.
    pub fn kill(&mut self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
        self.group = None;
    }

    /// How it is launched and ended.
    pub fn manner(&self) -> &Manner {
        &self.manner
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A child that was not released ends when our end of its socket is closed.
        if self.gate.take().is_some() {
            let _ = self.child.wait();
        }
        self.ended();
        if let Some(group) = self.group.take() {
            group.end(self.manner.grace, || {
                self.ended();
            });
            let _ = self.child.wait();
        }
        if let Some(keeper) = self.keeper.take() {
            keeper.dismiss();
        }
    }
}

/// Finds the executable of a command as a shell would.
///
/// # Errors
/// If there is none.
pub fn resolve(program: &OsStr) -> Result<PathBuf> {
    if program.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "tried to start a command")
            .because("its name is empty")
            .hint("is a variable after `--` unset?"));
    }
    let tried = || Error::on(ErrorKind::Usage, "tried to start", program);
    let executable =
        |path: &Path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return if executable(&path) {
            Ok(path)
        } else {
            Err(tried()
                .because("there is no such executable file")
                .hint("check the path and its permissions"))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| executable(path));
    found.ok_or_else(|| tried().because("it is not in PATH").hint("give the path of the executable"))
}

/// Starts a child that waits to become the command. The command's standard output goes to our standard error, so that
/// our standard output carries the report alone. Its standard input is empty.
///
/// # Errors
/// If there is no such command, or the system has no room for another process.
pub fn start(command: &[OsString], manner: &Manner) -> Result<Waiting> {
    let (name, arguments) = command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Usage, "tried to start a command").because("none was given"))?;
    let user = manner.user.as_deref().map(User::named).transpose()?;
    let program = match &user {
        Some(user) => user.resolve(name)?,
        None => resolve(name)?,
    };
    begun::check(&program)?;
    let tried = |e: io::Error| Error::on(ErrorKind::Limit, "tried to start", name.as_os_str()).because_of(e);
    let (gate, theirs) = UnixStream::pair().map_err(tried)?;
    let mut child = Command::new("/proc/self/exe");
    child.arg(WAIT_ARGUMENT).arg(if manner.leave_running { STAYS } else { ENDS });
    let user_argument = user.as_ref().map(User::argument).transpose().map_err(tried)?;
    child.arg(std::process::id().to_string()).arg(user_argument.unwrap_or_default());
    child.arg(limits::of_command());
    child.arg(&program).arg(name).args(arguments);
    child.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(io::stderr()));
    if !manner.leave_running {
        child.process_group(0);
    }
    // Makes us the parent of what the command started when it loses its own: so a daemon is found whatever it does.
    // Where this is refused, it is found by its group or session alone.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let child = child.spawn().map_err(tried)?;
    begun::wait_until_ready(&gate);
    let (gate, manner) = (Some(gate), manner.clone());
    let began_ticks = Stat::of_process(child.id()).and_then(|stat| stat.started_ticks()).unwrap_or_default();
    Ok(Waiting {
        child,
        began_ticks,
        gate,
        program,
        manner,
        user,
        status: None,
        used: None,
        keeper: None,
        group: None,
    })
}

/// The child's side of [`start`]: waits for the release, then becomes the command. Returns only if that fails, which is
/// reported to the parent, or if the parent gave up.
pub fn wait_and_become(arguments: impl Iterator<Item = OsString>) {
    // It is closed by the exec, which is how the parent knows of it.
    let Ok(gate) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let gate = UnixStream::from(gate);
    begun::say_ready(&gate);
    match prepare_and_become(&gate, arguments) {
        Ok(GaveUp) => {}
        Err(refusal) => refusal.report(gate),
    }
}

/// The parent closed the socket without a release.
struct GaveUp;

fn prepare_and_become(
    mut gate: &UnixStream,
    mut arguments: impl Iterator<Item = OsString>,
) -> std::result::Result<GaveUp, Refusal> {
    let set_up = Refusal::at(Step::SetUp);
    let mut next = || arguments.next().ok_or_else(|| set_up(io::ErrorKind::InvalidInput.into()));
    let (stays, parent, user) = (next()? == STAYS, next()?, next()?);
    let limit = next()?;
    let (program, name) = (next()?, next()?);
    limits::take(&limit.to_string_lossy()).map_err(|errno| set_up(errno.into()))?;
    if stays {
        rustix::process::setsid().map_err(|errno| set_up(errno.into()))?;
    }
    let user = match user.is_empty() {
        true => None,
        false => Some(User::of_argument(&user).map_err(&set_up)?),
    };
    if let Some(user) = &user {
        user.assume().map_err(Refusal::at(Step::User))?;
    }
    let mut go = [0_u8];
    if gate.read_exact(&mut go).is_err() {
        return Ok(GaveUp);
    }
    if !stays {
        // After the change of the user, which resets it.
        let parent = parent.to_str().and_then(|pid| pid.parse().ok());
        let parent = parent.ok_or_else(|| set_up(io::ErrorKind::InvalidInput.into()))?;
        group::end_with(parent).map_err(&set_up)?;
    }
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).stdin(Stdio::null());
    if let Some(user) = &user {
        command.envs(user.environment());
    }
    Err(Refusal { step: Step::Exec, cause: command.exec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_that_there_is_no_such_command() {
        for name in ["no-such-command-here", "/no/such/command"] {
            assert_eq!(resolve(OsStr::new(name)).unwrap_err().kind(), ErrorKind::Usage);
        }
    }
}
