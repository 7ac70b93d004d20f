//! From what the user asked for to attached probes.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, OwnedFd},
    thread::{self, ScopedJoinHandle},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::{
    failures::Failures,
    files::Files,
    found::Found,
    ground::Ground,
    joining::Joining,
    observation::{Observation, monotonic_ns},
    refusals::replaces_itself,
    run::Run,
    settings::Settings,
    space::Space,
    targets,
};
use crate::{
    capture::{
        cost::{CostMeter, prices::Programs, spending::GUARD_SECONDS},
        detach::Leaving,
        floor,
        uprobe::Loaded,
    },
    error::{Error, ErrorKind, Result},
    kernel::priority::use_batch_scheduling,
    stack::stacks::Stacks,
    symbolize::Worker,
    target::{ends::Ends, modules::Modules},
    tool::Tool,
};

/// Over how many seconds the guard averages if the cost was not predicted.
const UNCOUNTED_SECONDS: usize = 2;

impl<'a> Run<'a> {
    pub(super) fn start(settings: &'a Settings, mut tools: Vec<Box<dyn Tool>>) -> Result<Run<'a>> {
        let asked = Instant::now();
        require_what_joining_needs(settings)?;
        settings.stage.begin("reading the target's files");
        let mut modules = Modules::default();
        let mut found = Found::find(settings, &tools, &mut modules)?;
        let (ground, objects, tracking) = found.plan_and_load(settings, &mut tools, &mut modules)?;
        tools.iter().try_for_each(|tool| tool.refuse(&found.spaces, &modules, settings))?;
        let needs_run_times = tools.iter().any(|tool| tool.needs_run_times());
        let mut cost = CostMeter::new(asked, programs(&tools), needs_run_times);
        let guard_seconds = admit(&found, settings, &mut tools, &mut cost)?;
        settings.stage.begin("attaching");
        tools
            .iter_mut()
            .zip(objects)
            .try_for_each(|(tool, object)| tool.loaded(object, settings.max_stacks))?;
        let mut tracker = tracking.map(&ground)?;
        let in_initial_namespace = initial_pid_namespace();
        found.register(&ground, &mut tracker, &modules, in_initial_namespace)?;
        let records = ground.ring()?;
        let given = ground.taken_spaces();
        let processes = attach(&ground, &mut tools, &mut found.spaces, &modules)?;
        let ring = wait_for(&records)?;
        let ends = watch_ends(&found.spaces)?;
        let worker = start_worker(settings)?;
        let Found { launched, spaces, met, trial, .. } = found;
        let now = Instant::now();
        let on = Observation {
            settings,
            ground,
            spaces,
            left_out: BTreeSet::new(),
            modules,
            stacks: Stacks::default(),
            files: Files::default(),
            worker,
            tracker,
            cost,
            started_unix_ns: 0,
            began: now,
            began_ns: monotonic_ns(),
            length: None,
            end_ns: None,
            launched,
            in_initial_namespace,
        };
        let mut run = Run {
            on,
            tools,
            ring,
            records,
            joining: Joining::new(given, met, trial),
            leaving: Leaving::default(),
            unknown_stacks: 0,
            ends,
            rescanned: now,
            guard_seconds,
            failures: Failures::default(),
            cost_told: false,
            _processes: processes,
        };
        let Run { on, tools, .. } = &mut run;
        tools.iter_mut().try_for_each(|tool| tool.attached(on))?;
        run.begin();
        Ok(run)
    }

    /// Everything is attached: the observation begins.
    fn begin(&mut self) {
        let on = &mut self.on;
        on.begin_at(Instant::now());
        on.started_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        on.cost.attached(on.spaces.iter().map(|space| space.process.pid()));
        if self.tools.iter().any(|tool| tool.about().has_uprobes) {
            floor::calibrate(&mut on.cost, on.settings.method);
        }
        on.settings.stage.end();
    }

    /// Lets a launched command run.
    pub(super) fn release_command(&mut self) -> Result<()> {
        if let Some(launched) = &mut self.on.launched {
            let began = launched.release()?;
            self.on.begin_at(began);
        }
        Ok(())
    }
}

/// The combined needs of all tools' programs.
fn programs(tools: &[Box<dyn Tool>]) -> Programs {
    let mut all = tools.iter().map(|tool| tool.programs());
    let first = all.next().unwrap_or(Programs { call_ns: 0.0, look_ns: 0.0, returns: false });
    all.fold(first, |sum, tool| Programs {
        call_ns: sum.call_ns + tool.call_ns,
        look_ns: sum.look_ns + tool.look_ns,
        returns: sum.returns || tool.returns,
    })
}

/// Refuses an observation that would cost too much. Returns over how many seconds the guard averages.
fn admit(
    found: &Found,
    settings: &Settings,
    tools: &mut [Box<dyn Tool>],
    cost: &mut CostMeter,
) -> Result<usize> {
    let mut counted = false;
    if found.launched.is_none() && settings.max_cost.is_some() {
        for tool in tools {
            counted |= tool.admit(&found.spaces, settings, cost)?;
        }
    }
    // The start of a command is not typical of it; a process that could not be counted beforehand goes on as it does
    // now.
    Ok(if found.launched.is_some() || counted { GUARD_SECONDS } else { UNCOUNTED_SECONDS })
}

/// Attaches to everything that was found. The verifier takes most of the time, and runs in parallel with the rest.
fn attach(
    ground: &Ground,
    tools: &mut [Box<dyn Tool>],
    spaces: &mut [Space],
    modules: &Modules,
) -> Result<Vec<OwnedFd>> {
    let ahead: Vec<_> = tools.iter().map(|tool| tool.preloading()).collect();
    thread::scope(|scope| {
        let programs = scope.spawn(move || -> Vec<Vec<Loaded>> {
            use_batch_scheduling();
            ahead.into_iter().map(|load| load.map_or_else(Vec::new, |load| load())).collect()
        });
        let processes = scope.spawn(|| {
            use_batch_scheduling();
            ground.attach()
        });
        joined(scope.spawn(move || {
            use_batch_scheduling();
            let alone = spaces.len() == 1;
            for space in &mut *spaces {
                let attached = tools.iter_mut().try_for_each(|tool| tool.attach_first(space, ground));
                targets::unless_it_ended(attached, space, alone)?;
            }
            tools.iter_mut().zip(joined(programs)).for_each(|(tool, loaded)| tool.preloaded(loaded));
            // Nothing is recorded before execs are followed.
            let processes = joined(processes)?;
            for space in spaces.iter_mut().filter(|space| space.ended.is_none()) {
                let attached = match space.is_another_program() {
                    true => Err(replaces_itself(space.process.pid())),
                    false => tools.iter_mut().try_for_each(|tool| tool.attach(space, ground, modules)),
                };
                targets::unless_it_ended(attached, space, alone)?;
            }
            Ok(processes)
        }))
    })
}

fn start_worker(settings: &Settings) -> Result<Worker> {
    Worker::start(settings.names.clone()).map_err(|e| {
        Error::new(ErrorKind::Limit, "tried to start the symbolizer thread")
            .because_of(e)
            .hint("is there a limit of memory (`ulimit -v`) or of processes (`ulimit -u`)? Raise it")
    })
}

/// Makes the ring something that can be waited for.
fn wait_for(records: &RingBuf<MapData>) -> Result<AsyncFd<OwnedFd>> {
    let tried = || Error::new(ErrorKind::Kernel, "tried to wait for the ring");
    let descriptor = records.as_fd().try_clone_to_owned().map_err(|e| tried().because_of(e))?;
    // SAFETY: the descriptor is owned by the value that is registered, and closed only with it.
    unsafe { AsyncFd::register(descriptor) }.map_err(|e| tried().because_of(e))
}

/// The result of a thread; if it panics, so do we.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn watch_ends(spaces: &[Space]) -> Result<Ends> {
    Ends::of(spaces.iter().map(|space| &space.process))
        .map_err(|e| Error::new(ErrorKind::Limit, "tried to wait for the ends of the targets").because_of(e))
}

/// Whether our pids are those of the kernel. The initial pid namespace has this inode number since Linux 3.8
/// (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
pub(crate) fn initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// Fails in a pid namespace other than the initial one. `problem` completes "a container, where".
fn require_initial_pid_namespace(tried: &str, problem: &str, hint: &str) -> Result<()> {
    if initial_pid_namespace() {
        return Ok(());
    }
    let why = format!("profiler is in a pid namespace (a container), where {problem}");
    Err(Error::new(ErrorKind::UnsupportedTarget, tried).because(why).hint(hint))
}

/// For tools that know processes by the kernel's pids.
///
/// # Errors
/// If ours are others.
pub(crate) fn require_kernel_pids() -> Result<()> {
    require_initial_pid_namespace(
        "tried to observe processes by their pids",
        "the kernel's process ids are not known",
        "run profiler on the host",
    )
}

/// Children are identified by the kernel's pids.
fn require_what_joining_needs(settings: &Settings) -> Result<()> {
    if !settings.children {
        return Ok(());
    }
    require_initial_pid_namespace(
        "tried to follow the processes that targets fork (--children)",
        "profiler does not see these processes start",
        "run profiler on the host, or give --name or --cgroup: they are looked for once a second",
    )
}

/// A command is recognized by the exec that starts it, and an exec by the kernel's pid. If our pids differ, the exec would not be
/// noticed, and the report would be empty.
pub(super) fn require_what_commands_need() -> Result<()> {
    require_initial_pid_namespace(
        "tried to start a command under observation",
        "profiler does not see the command start",
        "run profiler on the host, or start the command first and give its --pid",
    )
}
