//! `cargo xtask vm`: the live tests on other kernels than this machine's.
//!
//! A guest is a Debian kernel and a file system in memory with the static profiler, the test programs as cargo built
//! them, and the workloads that these would compile, all at the paths that they have here. Process 1 is this very
//! program. Emulated, so it needs neither root nor a processor that lends itself; nothing of this machine is changed.

mod cases;
mod emulator;
mod guest;
mod hang;
mod initramfs;
mod kernel;
mod log;
mod machine;
mod sources;
mod summary;
mod verified;
mod wire;

use std::{
    collections::BTreeSet,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::summary::Summary;
use self::{
    cases::Breadth,
    emulator::Emulator,
    initramfs::Initramfs,
    kernel::Kernel,
    machine::Machine,
    summary::Verdict,
    wire::{Case, Event, PLAN, Plan},
};
use crate::{
    artifacts::{self, Executable},
    dist,
    process::{self, cargo, command},
    setup::{self, Need},
    workspace,
};

/// Where programs are, on Debian.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Default time limit of one kernel with the few tests: several times what it takes on two idle cores.
const LIMIT: Duration = Duration::from_secs(600);
/// The same with all tests.
const LIMIT_FULL: Duration = Duration::from_secs(1800);

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Series of Debian's cloud kernels, or files of kernels [default: 6.1 6.12]
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Run every test that makes sense there, not only the few that `cargo xtask test` runs
    #[arg(long)]
    full: bool,
    /// Run only tests whose name contains this, of all
    #[arg(long, value_name = "NAME", conflicts_with = "full")]
    only: Option<String>,
    /// Seconds after which a machine is ended [default: 600; with --full or --only 1800]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    limit: Option<u64>,
    /// Processors of a machine. With one, time is virtual and a busy host changes nothing; several really run at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    cpus: u8,
}

/// How machines are run.
#[derive(Clone, Copy)]
struct Settings {
    processors: u8,
    limit: Duration,
}

/// `cargo xtask vm`.
pub(crate) fn run(args: &Args) -> Result<()> {
    process::die_of_ctrl_c()?;
    let (breadth, limit) =
        if args.full || args.only.is_some() { (Breadth::All, LIMIT_FULL) } else { (Breadth::Few, LIMIT) };
    let programs: Vec<&str> = cases::programs(breadth, args.only.as_deref()).collect();
    if programs.is_empty() {
        bail!("no test that runs on other kernels is called so");
    }
    setup::ensure(&[Need::Build, Need::Test])?;
    let emulator = Emulator::find(&cache())?;
    let usual = kernel::USUAL.map(str::to_owned);
    let names = if args.kernels.is_empty() { usual.as_slice() } else { &args.kernels };
    let kernels = names.iter().map(|name| kernel::find(name, &cache())).collect::<Result<Vec<_>>>()?;
    let mut build = cargo();
    build.args(["test", "--package", "profiler", "--no-run"]);
    build.args(programs.into_iter().flat_map(|program| ["--test", program]));
    let built = artifacts::build(&mut build)?;
    let cases = cases::select(&built, breadth, args.only.as_deref())?;
    let guest = Guest::build(&built, cases)?;
    let settings = Settings { processors: args.cpus, limit: args.limit.map_or(limit, Duration::from_secs) };
    guest.run_on(&emulator, &kernels, settings)?.conclude()
}

/// The part of `cargo xtask test`: the few tests on both usual kernels, ready to be run.
pub(crate) struct Few {
    /// What cannot be run.
    summary: Summary,
    machines: Option<(Emulator, Vec<Kernel>, Guest)>,
}

impl Few {
    /// Gets the emulator and the kernels, and builds what is booted. Where this machine cannot have them, that is a skip with
    /// its reason; with `CI=true` a failure.
    pub(crate) fn prepare(built: &[Executable], filter: Option<&str>) -> Result<Self> {
        let mut summary = Summary::new();
        let cases = cases::select(built, Breadth::Few, filter)?;
        if cases.is_empty() {
            return Ok(Self { summary, machines: None });
        }
        println!("\n== other kernels");
        let mut kernels = Vec::new();
        let emulator = Emulator::find(&cache()).map_err(|error| format!("{error:#}"));
        for name in kernel::USUAL {
            let find = |_| kernel::find(name, &cache()).map_err(|error| format!("{error:#}"));
            match emulator.clone().and_then(find) {
                Ok(kernel) => kernels.push(kernel),
                Err(why) => summary.has_no_machine(name, cases.len(), &why),
            }
        }
        let machines = match emulator {
            Ok(emulator) if !kernels.is_empty() => match Guest::build(built, cases) {
                Ok(guest) => Some((emulator, kernels, guest)),
                Err(error) => {
                    summary.fail(format!("other kernels: {error:#}"));
                    None
                }
            },
            _ => None,
        };
        Ok(Self { summary, machines })
    }

    /// Runs them, on processors that have nothing else to do.
    pub(crate) fn run(self) -> Summary {
        let Self { mut summary, machines } = self;
        if let Some((emulator, kernels, guest)) = machines {
            match guest.run_on(&emulator, &kernels, Settings { processors: 1, limit: LIMIT_FULL }) {
                Ok(ran) => summary.add(ran),
                // The tests that ran before count too.
                Err(error) => summary.fail(format!("other kernels: {error:#}")),
            }
        }
        summary
    }
}

/// `cargo xtask vm-guest`: what the kernel starts in the guest.
pub(crate) fn be_guest() -> Result<()> {
    guest::run()
}

fn cache() -> PathBuf {
    workspace::target_dir().join("vm")
}

/// What is booted, whatever the kernel.
struct Guest {
    cases: Vec<Case>,
    initramfs: PathBuf,
}

impl Guest {
    fn build(built: &[Executable], cases: Vec<Case>) -> Result<Self> {
        let folder = cache();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let profiler = dist::static_profiler("lab")?.path;
        let workloads = folder.join("workloads");
        let programs = cases::build_workloads(&cases, &workloads)?;
        let mut files = Initramfs::default();
        for place in ["/dev", "/proc", "/sys", "/tmp", "/run", "/root"] {
            files.directory(Path::new(place));
        }
        files.add_program(&own_program(&folder)?, Path::new("/init"), &folder)?;
        // The tests know the profiler that cargo built beside them by its path.
        files.file(&artifacts::program(built, "profiler")?.path, &profiler);
        let tests: BTreeSet<&Path> = cases.iter().map(|case| case.file.as_path()).collect();
        for test in tests {
            files.add_program(test, test, &folder)?;
        }
        for program in &programs {
            files.program(program);
        }
        for tool in cases::TOOLS {
            files.program(&process::find(tool).with_context(|| format!("there is no program `{tool}`"))?);
        }
        add_sources(&mut files, &cases)?;
        let variables = [("PATH", PATH), ("PROFILER_QUICK", "1"), ("RUST_BACKTRACE", "0")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut variables = variables.to_vec();
        let workloads = workloads.to_str().context("the path of target/ is not UTF-8")?;
        variables.push(("PROFILER_WORKLOADS".to_owned(), workloads.to_owned()));
        let plan = Plan { cases, variables };
        files.text(PLAN, serde_json::to_vec(&plan).context("cannot write the plan")?);
        let initramfs = folder.join("initramfs");
        files.write(&initramfs)?;
        Ok(Self { cases: plan.cases, initramfs })
    }

    /// Boots the kernels, as many at once as this machine has processors for.
    fn run_on(&self, emulator: &Emulator, kernels: &[Kernel], settings: Settings) -> Result<Summary> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let at_once = (processors / usize::from(settings.processors)).max(1);
        let mut summary = Summary::new();
        for together in kernels.chunks(at_once) {
            thread::scope(|scope| {
                let start = |kernel| scope.spawn(move || self.run(emulator, kernel, settings));
                let running: Vec<_> = together.iter().map(start).collect();
                for machine in running {
                    let Ok(outcome) = machine.join() else { bail!("following a machine panicked") };
                    let outcome = outcome?;
                    outcome.say_verified();
                    summary.add(outcome);
                }
                Ok(())
            })?;
        }
        Ok(summary)
    }

    /// Boots a kernel and follows its tests.
    fn run(&self, emulator: &Emulator, kernel: &Kernel, settings: Settings) -> Result<Summary> {
        let name = kernel.name.rsplit('/').next().unwrap_or(&kernel.name);
        let mut summary = Summary::of(name);
        summary.say(&format!("{}, emulated, processors: {}", kernel.origin, settings.processors));
        let log = cache().join(format!("linux-{name}.log"));
        let begun = Instant::now();
        let mut machine =
            Machine::boot(emulator, kernel, &self.initramfs, settings.processors, &log, settings.limit)?;
        let mut last = begun;
        let mut ended = 0;
        let broken = loop {
            let event = match machine.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => break Some(format!("the machine ended\nits log ends with:\n{}", machine.tail())),
                Err(error) => break Some(format!("{error:#}")),
            };
            let took = last.elapsed();
            last = Instant::now();
            match event {
                Event::Booted { release, kernel } => summary.booted(&release, took, &kernel),
                Event::Ran { case, status, stdout, stderr, kernel } => {
                    let case =
                        self.cases.get(case).context("the guest ran a test that is not in the plan")?;
                    let verdict = Verdict::of(status, &stdout, &stderr, &kernel);
                    summary.ran(case, took, &verdict, [&stdout, &stderr]);
                    ended += 1;
                }
                Event::Done => break None,
                Event::Broken { why } => break Some(why),
            }
        };
        if let Some(why) = broken {
            summary.broke(self.cases.get(ended..).unwrap_or_default(), &why);
        }
        let log = log.strip_prefix(workspace::root()).unwrap_or(&log);
        summary.say(&format!("{} s; log: {}", begun.elapsed().as_secs(), log.display()));
        Ok(summary)
    }
}

/// A copy of this program. Its file may be gone: cargo replaces it when a test needs it with other features.
fn own_program(folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("init.whole");
    fs::copy("/proc/self/exe", &copy)
        .with_context(|| format!("cannot copy this program to {}", copy.display()))?;
    Ok(copy)
}

impl Initramfs {
    /// Adds a program without its debugging symbols, which are most of it.
    fn add_program(&mut self, program: &Path, place: &Path, folder: &Path) -> Result<()> {
        let name = program.file_name().with_context(|| format!("{} has no name", program.display()))?;
        let stripped = folder.join(name);
        process::run(command("strip").args(["--strip-debug", "-o"]).arg(&stripped).arg(program))?;
        self.file(place, &stripped);
        self.libraries_of(program);
        Ok(())
    }
}

/// Adds the sources of the workloads: tests know by them whether what was built is up to date.
fn add_sources(files: &mut Initramfs, cases: &[Case]) -> Result<()> {
    let mut folders: BTreeSet<PathBuf> =
        cases.iter().map(|case| case.directory.join("tests/workloads")).collect();
    while let Some(folder) = folders.pop_last() {
        let listed = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for file in listed {
            let file = file.with_context(|| format!("cannot list {}", folder.display()))?.path();
            if file.is_dir() {
                folders.insert(file);
            } else {
                files.file(&file, &file);
            }
        }
    }
    Ok(())
}
