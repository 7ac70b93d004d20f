//! Observing with any tool: the options that all tools have, and running one.

use std::{task::Poll, time::Duration};

use clap::{ArgMatches, Args, FromArgMatches as _};
use profiler::{
    error::{Error, ErrorKind, Result},
    observe::{
        Event, observe, require_room,
        settings::{Settings, Targets},
    },
    tool,
};

use tokio::runtime::{self, Runtime};

use super::{
    Done,
    args::{MethodArg, NamesArgs, OutputArgs, TargetArgs, Voice},
    gate::{self, GateArgs, LeakArgs},
    launch::LaunchArgs,
    output::Outputs,
    progress::Teller,
    status::Status,
    stop::Stop,
    values,
};

/// The options of every tool.
#[derive(Debug, Args)]
struct ObserveArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    launch: LaunchArgs,
    /// Also observe processes that the targets fork from now on.
    #[arg(long)]
    children: bool,
    /// How long to observe. Default: until the target ends or Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = profiler::units::options::positive_duration)]
    length: Option<Duration>,
    /// Show an interim report at this interval; on a terminal the view is redrawn.
    #[arg(long, value_name = "TIME", value_parser = values::interval)]
    every: Option<Duration>,
    /// Most that the probes may take of the time in which a thread can run ("of all its time"): refused beforehand,
    /// and stopped after ten seconds above it (exit code 5). "off" observes whatever it costs.
    #[arg(long, value_name = "PERCENT|off", default_value = "30%", value_parser = values::max_cost)]
    max_cost: values::MaxCost,
    /// Most different call stacks to record.
    #[arg(long, value_name = "N", default_value = "16384", value_parser = values::stacks, allow_negative_numbers = true)]
    max_stacks: u32,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// For measurements: the best way of attaching to use.
    #[arg(long, value_enum, default_value = "session", hide = true)]
    method: MethodArg,
}

/// The commands of all tools.
pub(super) fn commands() -> impl Iterator<Item = clap::Command> {
    tool::commands().map(|command| {
        // The comments of structs of options would take the place of the tool's question.
        let question = command.get_about().cloned().unwrap_or_default();
        let finds_leaks = tool::finds_leaks(command.get_name());
        let command = ObserveArgs::augment_args(command);
        let command = if finds_leaks { LeakArgs::augment_args(command) } else { command };
        command.about(question)
    })
}

/// The event loop of a command that observes.
pub(super) fn event_loop() -> Result<Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Limit, "tried to start the event loop").because_of(e))
}

/// Observes with a tool, and reports.
pub(super) fn run(tool: &str, matches: &ArgMatches, voice: &Voice) -> Done {
    let wrong = |e| Error::new(ErrorKind::Usage, "tried to read the command line").because_of(e);
    let args = &ObserveArgs::from_arg_matches(matches).map_err(wrong)?;
    let leaks = match tool::finds_leaks(tool) {
        true => LeakArgs::from_arg_matches(matches).map_err(wrong)?,
        false => LeakArgs::default(),
    };
    let outputs = Outputs::new(&args.output, voice.verbose > 0, &[leaks.kept()])?;
    let gate = args.gate.gate(&leaks)?;
    require_room()?;
    require_root()?;
    let mut settings = settings(args);
    settings.names = args.names.settings()?;
    let event_loop = event_loop()?;
    let live = args.every.and_then(|_| outputs.live());
    let teller = Teller::new(voice.quiet, Status::new(args.length), live)?;
    let _watch = teller.watch(settings.stage.clone());
    let mut failed = None;
    let report = event_loop.block_on(async {
        let mut signals = Stop::listen(heard(args))?;
        let is_unread = || outputs.is_stdout_alone() && teller.is_unread();
        let mut asked = false;
        let stop = async || match std::mem::replace(&mut asked, true) {
            false => or_unread(signals.next(), is_unread).await,
            // A missing reader is not a reason to give a command less time.
            true => signals.next().await,
        };
        observe(&settings, &[(tool, matches)], stop, |event| match event {
            Event::Attached(line) => {
                teller.begin();
                teller.line(line);
            }
            Event::Notice(line) => teller.line(line),
            Event::Progress(progress) => teller.progress(progress),
            Event::Interim(report) => {
                if let Err(error) = teller.interim(&outputs, report) {
                    failed.get_or_insert(error);
                }
            }
        })
        .await
    });
    let mut report = match report {
        Ok(report) => report,
        Err(error) => {
            let _ = teller.finish();
            return Err(error);
        }
    };
    let code = gate::decide(gate.as_ref(), &mut report);
    // Files come first: standard output may wait for its reader.
    let files = outputs.write_files(&report);
    let interim = teller.finish();
    let stdout = outputs.write_stdout(&report);
    failed.map_or(Ok(()), Err).and(interim).and(files).and(stdout).map(|()| code)
}

/// Number of signals that do not end us at once: the first asks for the report, a second one cuts the grace of a
/// command short.
fn heard(args: &ObserveArgs) -> usize {
    let ends_command = !args.target.command.is_empty() && !args.launch.leave_running;
    if ends_command { 2 } else { 1 }
}

fn settings(args: &ObserveArgs) -> Settings {
    let target = &args.target;
    let targets = if !target.command.is_empty() {
        Targets::Command(target.command.clone())
    } else if let Some(name) = &target.name {
        Targets::Name(name.clone())
    } else if let Some(cgroup) = &target.cgroup {
        Targets::Cgroup(cgroup.clone())
    } else {
        let mut pids: Vec<u32> = target.pid.iter().flat_map(|pids| &pids.0).copied().collect();
        pids.sort_unstable();
        pids.dedup();
        Targets::Pids(pids)
    };
    let mut settings = Settings::new(targets);
    settings.launch = (&args.launch).into();
    settings.children = args.children;
    settings.length = args.length;
    settings.every = args.every;
    settings.max_stacks = args.max_stacks;
    settings.max_cost = args.max_cost.0;
    settings.method = args.method.into();
    settings.command_line = std::env::args_os().collect();
    settings
}

/// Also ready when standard output has no reader any more, if there is no other output.
async fn or_unread(stop: impl Future<Output = ()>, is_unread: impl Fn() -> bool) {
    let mut stop = std::pin::pin!(stop);
    // It is polled again after every report.
    std::future::poll_fn(|context| match is_unread() {
        true => Poll::Ready(()),
        false => stop.as_mut().poll(context),
    })
    .await;
}

/// Checked before anything is tried: the kernel's own refusals are hard to read.
pub(super) fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Permission, "tried to observe a process")
        .because("that takes root: probes are put into the kernel")
        .hint("run the same command with sudo"))
}
