//! The tools: their registry, and what an observation requires of each.

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    capture::{
        cost::{
            CostMeter, Reading,
            prices::{Programs, Traps},
        },
        object::{Maps, Object},
        uprobe::{Links, Loaded, Method},
    },
    error::Result,
    observe::{Beginning, Observation, Part, ground::Ground, settings::Settings, space::Space},
    report::{Ended, Probed},
    target::{
        modules::{ModuleId, Modules},
        process::Process,
    },
};

pub(crate) mod disk;
pub mod foresight;
pub mod memleak;
pub(crate) mod sockets;
pub mod syscalls;

use self::foresight::{Forecast, Foresight};

/// Every tool: a new one takes a line here.
pub(crate) const TOOLS: &[About] = &[memleak::readiness::ABOUT, syscalls::ABOUT, disk::ABOUT, sockets::ABOUT];

/// What help, `doctor` and the docs show of a tool.
pub(crate) struct About {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The question that it answers.
    pub(crate) question: &'static str,
    /// An example of its use, for the help text.
    pub(crate) example: &'static str,
    /// What it does, for the help text: lines of at most 80 columns.
    pub(crate) explained: &'static str,
    /// Adds its own options to a command.
    pub(crate) options: fn(clap::Command) -> clap::Command,
    /// The tool with the options of a command line.
    pub(crate) make: fn(&clap::ArgMatches, &Settings) -> Made,
    /// What it sees, wherever it can observe.
    pub(crate) sees: &'static [&'static str],
    /// What it never sees.
    pub(crate) cannot_see: &'static [&'static str],
    /// Whether its findings are leaks, from which `--known` and `--gate-above` can choose.
    pub(crate) finds_leaks: bool,
    /// Whether it puts probes on functions of the target. A tool that does not can work where such probes cannot.
    pub(crate) has_uprobes: bool,
    /// Whether it has programs that run at every system call of the host. They ask the filter of threads first.
    pub(crate) probes_calls: bool,
    /// Its BPF object.
    pub(crate) object: &'static [u8],
    /// Tries its programs on a process of our own under a seccomp filter. An error of the kind `Safety` is about such
    /// processes only. Returns what it does not find out here, because the kernel lacks something that it can do without.
    pub(crate) trial: fn(Method) -> Result<Vec<String>>,
    /// What it would do with a process; nothing is attached.
    pub(crate) foresee: fn(Process, &mut Modules, Option<Method>) -> Result<Foresight>,
    /// The predicted cost to a process, from hits that are counted for a moment; `None` if that is not known here.
    pub(crate) predict: fn(Process, &mut Modules, Method, &Traps) -> Result<Option<Forecast>>,
}

/// A tool as a command line asks for it; an error if that has other options than [`About::options`].
pub(crate) type Made = Result<Box<dyn Tool>, clap::Error>;

/// The commands of all tools with the options that are their own, in the order of the registry.
pub fn commands() -> impl Iterator<Item = clap::Command> {
    TOOLS.iter().map(|about| {
        let name = about.name;
        let usage = ["--pid <PID>", "--name <GLOB>", "--cgroup <PATH>", "-- <COMMAND>..."]
            .map(|target| format!("profiler {name} [OPTIONS] {target}"))
            .join("\n       ");
        let command = clap::Command::new(name).override_usage(usage).after_help(format!(
            "Example: {}\n\n{} Ctrl-C prints the report so far.",
            about.example, about.explained
        ));
        // Behind the options: the comment of a struct of options is a text about the command, too.
        (about.options)(command).about(about.question)
    })
}

/// Whether the findings of the tool of this name are leaks, of which some may be known.
pub fn finds_leaks(name: &str) -> bool {
    TOOLS.iter().any(|about| about.name == name && about.finds_leaks)
}

/// Creates the maps of a tool's object, given those that it shares with the observation. It may run on another thread.
pub(crate) type Loading = Box<dyn FnOnce(Maps) -> Result<Object> + Send>;

/// Loads programs into the kernel, which takes the verifier long. It may run on another thread.
pub(crate) type Preloading = Box<dyn FnOnce() -> Vec<Loaded> + Send>;

/// Counts of a running tool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Probe hits.
    pub hits: u64,
    /// Hits that were lost.
    pub lost: u64,
    /// How many things the tool has counted, for people, and what they are called: for example live blocks.
    pub things: (u64, &'static str),
}

/// A tool in one observation. The methods are listed in the order in which they are called; those from [`Tool::attach_anew`] on
/// are called as often as needed. Those with a body are for tools that look into processes, with probes on their functions; a tool
/// that does not has nothing to do there.
pub(crate) trait Tool: Send {
    /// Its description.
    fn about(&self) -> &'static About;

    /// The cost of its programs, as far as it is known beforehand.
    fn programs(&self) -> Programs {
        Programs::default()
    }

    /// How long it takes until it can answer; zero if it answers at any time.
    fn answers_after(&self) -> Duration {
        Duration::ZERO
    }

    /// The warning at the start if the observation cannot answer the question.
    fn too_short(&self, _settings: &Settings) -> Option<String> {
        None
    }

    /// Refuses a program file that it would harm or misread, of a command that is about to start.
    fn check_file(&self, _image: &Path) -> Result<()> {
        Ok(())
    }

    /// Refuses a running process for the same reasons.
    fn check(&self, _space: &Space, _modules: &Modules) -> Result<()> {
        Ok(())
    }

    /// Looks at the targets before anything is attached, and says how to create its maps.
    fn begin(&mut self, beginning: &Beginning<'_>) -> Loading;

    /// Decides what to probe in a process, in the files that it maps, and in files that it is about to map (`ahead`), which are
    /// returned.
    fn plan(
        &mut self,
        _space: &mut Space,
        _modules: &mut Modules,
        _ahead: Option<&[PathBuf]>,
    ) -> Vec<ModuleId> {
        Vec::new()
    }

    /// Takes its object. `max_stacks`: one more than the number of call stacks that can be told apart.
    fn loaded(&mut self, object: Object, max_stacks: u32) -> Result<()>;

    /// Refuses targets that the planned probes would harm.
    fn refuse(&self, _spaces: &[Space], _modules: &Modules, _settings: &Settings) -> Result<()> {
        Ok(())
    }

    /// Refuses an observation that would cost too much. False if the cost could not be predicted.
    fn admit(&mut self, spaces: &[Space], settings: &Settings, cost: &mut CostMeter) -> Result<bool>;

    /// Programs that take the verifier long, if there are any.
    fn preloading(&self) -> Option<Preloading> {
        None
    }

    /// Takes programs that were loaded ahead.
    fn preloaded(&mut self, _loaded: Vec<Loaded>) {}

    /// Attaches the probes that must come before all others.
    fn attach_first(&mut self, _space: &mut Space, _ground: &Ground) -> Result<()> {
        Ok(())
    }

    /// Attaches the rest.
    fn attach(&mut self, space: &mut Space, ground: &Ground, modules: &Modules) -> Result<()>;

    /// Called when everything is attached. Refuses targets of which nothing would be seen.
    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()>;

    /// One line for people: what was attached to.
    fn attached_line(&self, on: &Observation<'_>) -> String;

    /// Plans and attaches again, because a process has become another program or has loaded a library. Returns how many more
    /// functions are probed.
    fn attach_anew(
        &mut self,
        _space: &mut Space,
        _ground: &Ground,
        _modules: &mut Modules,
        _is_new: bool,
    ) -> Result<usize> {
        Ok(0)
    }

    /// Whether anything is seen of a process.
    fn sees(&self, _space: u16) -> bool {
        true
    }

    /// Regular work, once a second.
    fn look(&mut self, on: &Observation<'_>) -> Result<()>;

    /// Takes a record that the tool's own programs sent through the ring.
    fn take_record(&mut self, _record: &[u8]) {}

    /// What was counted so far.
    fn counts(&self) -> Result<Counts>;

    /// The cost to threads, as far as it is known.
    fn reading(&self, with_threads: bool) -> Result<Reading>;

    /// Whether that cost is derived from run times of its programs. Measuring them costs every BPF program of the host.
    fn needs_run_times(&self) -> bool {
        self.about().has_uprobes
    }

    /// The descriptors of its own maps.
    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_>;

    /// The functions that are probed in a process.
    fn probed(&self, _space: u16) -> &[Probed] {
        &[]
    }

    /// The observation is over, and everything is still attached.
    fn closing(&mut self) {}

    /// Whether calls that began before the end are still in progress.
    fn has_calls_under_way(&self) -> bool {
        false
    }

    /// Hands over the probes that must be detached first, of one address space or of all.
    fn take_first(&mut self, space: Option<u16>) -> Vec<Links>;

    /// Hands over the others.
    fn take_last(&mut self, _space: Option<u16>) -> Vec<Links> {
        Vec::new()
    }

    /// Reads the counts. Names are looked up after that.
    fn snapshot(&mut self, on: &mut Observation<'_>, ended: Ended) -> Result<()>;

    /// Its part of the report, from the last snapshot.
    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part>;
}
