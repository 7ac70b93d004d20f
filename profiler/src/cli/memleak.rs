//! `profiler memleak`.

use std::task::Poll;

use profiler::{
    error::{Error, ErrorKind, Result},
    observe::{
        Event,
        settings::{Settings, Targets},
    },
    tool::memleak::{observe, options::Options},
};

use super::{
    Done,
    args::{Cli, MemleakArgs},
    gate,
    output::Outputs,
    progress::Teller,
    status::Status,
    stop::Stop,
};

/// Observes and reports.
pub(crate) fn run(args: &MemleakArgs, cli: &Cli) -> Done {
    let outputs = Outputs::new(&args.output, cli.verbose > 0, &[args.gate.kept()])?;
    let gate = args.gate.gate()?;
    require_root()?;
    let options = options(args);
    let mut settings = settings(args);
    settings.names = args.names.settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Limit, "tried to start the event loop").because_of(e))?;
    let live = args.every.and_then(|_| outputs.live());
    let teller = Teller::new(cli.quiet, Status::new(args.older, args.length), live);
    let _watch = teller.watch(settings.stage.clone());
    let mut failed = None;
    let report = runtime.block_on(async {
        let mut signals = Stop::listen(heard(args))?;
        let is_unread = || outputs.is_stdout_alone() && teller.is_unread();
        let mut asked = false;
        let stop = async || match std::mem::replace(&mut asked, true) {
            false => or_unread(signals.next(), is_unread).await,
            // That nobody reads is no reason to give a command less time.
            true => signals.next().await,
        };
        observe(&options, &settings, stop, |event| match event {
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
    teller.finish();
    let mut report = report?;
    let code = gate::decide(gate.as_ref(), &mut report);
    let written = outputs.write(&report);
    failed.map_or(written, Err).map(|()| code)
}

/// Signals that do not end us at once: the first asks for the report, a second one cuts the grace of a command short.
fn heard(args: &MemleakArgs) -> usize {
    let ends_command = !args.target.command.is_empty() && !args.launch.leave_running;
    if ends_command { 2 } else { 1 }
}

fn settings(args: &MemleakArgs) -> Settings {
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
    settings.length = args.length;
    settings.every = args.every;
    settings.max_stacks = args.max_stacks;
    settings.max_cost = args.max_cost.0;
    settings.method = args.method.into();
    settings.command_line = std::env::args_os().collect();
    settings
}

fn options(args: &MemleakArgs) -> Options {
    Options {
        older: args.older,
        sample_bytes: args.sample_bytes,
        min_bytes: args.min_bytes,
        max_blocks: args.max_blocks,
        custom: args.alloc_fn.iter().chain(&args.free_fn).cloned().collect(),
        placement: args.placement.into(),
    }
}

/// Ready also when nobody reads standard output any more, if nothing else was asked for.
async fn or_unread(stop: impl Future<Output = ()>, is_unread: impl Fn() -> bool) {
    let mut stop = std::pin::pin!(stop);
    // It is asked again after every report.
    std::future::poll_fn(|context| match is_unread() {
        true => Poll::Ready(()),
        false => stop.as_mut().poll(context),
    })
    .await;
}

/// Said before anything is tried: the kernel's own refusals are hard to read.
pub(super) fn require_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Permission, "tried to observe a process")
        .because("that takes root: probes are put into the kernel")
        .hint("run the same command with sudo"))
}
