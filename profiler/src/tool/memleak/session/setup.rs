//! From what the user asked for to attached probes.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    thread::{self, ScopedJoinHandle},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aya::maps::{MapData, RingBuf};
use profiler_common::memleak::counters::Counter;
use tokio::io::unix::AsyncFd;

use super::{
    super::{
        admission,
        before::Before,
        blocks::Blocks,
        harm,
        memory::Memory,
        options::Options,
        refusals::replaces_itself,
        space::Space,
        stacks::Stacks,
        totals::{self, Totals},
    },
    Session,
    found::Found,
    lately::Lately,
    load::{fill_weights, room_for},
    monotonic_ns, targets,
};
use crate::{
    capture::{
        cost::{CostMeter, spending::GUARD_SECONDS},
        object::Object,
        uprobe::{Attacher, CallPrograms},
    },
    error::{Error, ErrorKind, Result},
    kernel::priority::use_batch_scheduling,
    observe::ground::Ground,
    symbolize::Worker,
    target::{ends::Ends, modules::Modules},
    units,
};

pub(crate) const PROGRAMS: CallPrograms = CallPrograms {
    session: "memleak_session",
    entry: "memleak_entry",
    ret: "memleak_return",
    at_ret: "memleak_ret",
    plain: "memleak_free",
};
/// Seconds after which the guard may stop an observation whose cost was not predicted.
const UNCOUNTED_SECONDS: usize = 2;

impl<'a> Session<'a> {
    pub(super) fn start(options: &'a Options) -> Result<Session<'a>> {
        let asked = Instant::now();
        options.stage.begin("reading the target's files");
        let mut modules = Modules::default();
        let mut found = Found::find(options, &mut modules)?;
        let start_ns = monotonic_ns();
        let room = room_for(found.bytes_before, options);
        let (ground, object, tracking) = found.plan_and_load(options, &mut modules, start_ns, room)?;
        harm::refuse_what_copies_its_code(&found.spaces, &modules, options)?;
        let mut cost = CostMeter::new(asked, admission::programs(options));
        let guard_seconds = admit(&found, options, &mut cost)?;
        options.stage.begin("attaching");
        let totals = Totals::map(&object, options.max_stacks as usize)?;
        let blocks = Blocks::map(&object, room)?;
        let mut tracker = tracking.map(&object)?;
        fill_weights(&object, options)?;
        let in_initial_namespace = initial_pid_namespace();
        found.register(&ground, &object, &mut tracker, &modules, in_initial_namespace)?;
        let records = ground.ring()?;
        let mut attacher = Attacher::new(PROGRAMS, options.method);
        let processes = attach(&ground, &object, &mut attacher, &mut found.spaces, &modules)?;
        // Not before: what a target takes while it is attached to would be growth that no followed block explains.
        let memory = Memory::start(&found.spaces, found.launched.is_some());
        let ring = wait_for(&records)?;
        let ends = watch_ends(&found.spaces)?;
        let worker = start_worker(options)?;
        let Found { launched, spaces, bytes_before, .. } = found;
        let mut session = Session {
            options,
            ground,
            object,
            attacher,
            spaces,
            modules,
            stacks: Stacks::default(),
            totals,
            blocks,
            tracker,
            worker,
            cost,
            guard_seconds,
            cost_told: false,
            started_unix_ns: 0,
            start_ns,
            began: Instant::now(),
            length: None,
            end_ns: None,
            max_blocks: room.spilled,
            bytes_before,
            memory,
            lately: Lately::default(),
            early: [0; Counter::COUNT],
            late: None,
            before: Before::default(),
            ring,
            records,
            launched,
            passing: BTreeMap::new(),
            ends,
            rescanned: Instant::now(),
            in_initial_namespace,
            _processes: processes,
        };
        session.require_probes()?;
        session.early = totals::counters(&session.object)?;
        session.begin();
        Ok(session)
    }

    /// Everything is attached: the observation begins.
    fn begin(&mut self) {
        self.began = Instant::now();
        self.started_unix_ns =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        self.cost.attached(self.spaces.iter().map(|space| space.process.pid()));
        admission::calibrate(&mut self.cost, self.options.method);
        self.options.stage.end();
    }

    /// A report of a process without an allocator that is known would be empty, and would look like an answer.
    fn require_probes(&mut self) -> Result<()> {
        for custom in &self.options.custom {
            let name = custom.name.as_str();
            let found = self.spaces.iter().any(|s| s.probed.iter().any(|p| p.function.terminal() == name));
            if !found {
                return Err(Error::new(
                    ErrorKind::NothingToObserve,
                    format_args!("tried to find function {name}"),
                )
                .because("no file that the target maps defines it")
                .hint("give the name as `nm` prints it (mangled); a stripped binary has none"));
            }
        }
        targets::leave_out_those_without_probes(&mut self.spaces, self.options)
    }

    /// One line for people.
    pub(super) fn attached_line(&self) -> String {
        let functions: usize = self.spaces.iter().map(|s| s.probed.len()).sum();
        let functions = units::plural(functions, "function", "functions");
        let who = match self.spaces.as_slice() {
            [one] => format!("{} (pid {})", one.process.name().terminal(), one.process.pid()),
            many => format!("{} processes", many.len()),
        };
        let took = self.cost.attach_time().as_millis();
        format!("attached: {functions} of {who}, by {} in {took} ms", self.attacher.method().name())
    }

    /// Lets a launched command run.
    pub(super) fn release_command(&mut self) -> Result<()> {
        if let Some(launched) = &mut self.launched {
            self.began = launched.release()?;
        }
        Ok(())
    }
}

/// Refuses what would cost too much. The seconds after which the guard may stop the observation.
fn admit(found: &Found, options: &Options, cost: &mut CostMeter) -> Result<usize> {
    let counted = match (&found.launched, options.max_cost) {
        (None, Some(_)) => admission::admit(&found.spaces, options, cost)?,
        _ => false,
    };
    // A start is not how a command goes on; a process that could not be counted in beforehand goes on as it does now.
    Ok(if found.launched.is_some() || counted { GUARD_SECONDS } else { UNCOUNTED_SECONDS })
}

/// Attaches to everything that was found. The verifier takes most of the time, and takes it beside all else.
fn attach(
    ground: &Ground,
    object: &Object,
    attacher: &mut Attacher,
    spaces: &mut [Space],
    modules: &Modules,
) -> Result<Vec<OwnedFd>> {
    let ahead = attacher.ahead();
    thread::scope(|scope| {
        let calls = scope.spawn(move || {
            use_batch_scheduling();
            ahead.load(object)
        });
        let processes = scope.spawn(|| {
            use_batch_scheduling();
            ground.attach(false)
        });
        joined(scope.spawn(move || {
            use_batch_scheduling();
            let alone = spaces.len() == 1;
            for space in &mut *spaces {
                let attached = space.attach_frees(object, attacher);
                targets::unless_it_ended(attached, space, alone)?;
            }
            attacher.adopt(joined(calls));
            // Nothing is recorded before an exec would be noticed.
            let processes = joined(processes)?;
            for space in spaces.iter_mut().filter(|space| space.ended.is_none()) {
                let attached = match space.is_another_program() {
                    true => Err(replaces_itself(space.process.pid())),
                    false => space.attach_allocs(object, attacher, modules),
                };
                targets::unless_it_ended(attached, space, alone)?;
            }
            Ok(processes)
        }))
    })
}

fn start_worker(options: &Options) -> Result<Worker> {
    Worker::start(options.names.clone()).map_err(|e| {
        Error::new(ErrorKind::Limit, "tried to start the symbolizer thread")
            .because_of(e)
            .hint("is there a limit of memory (`ulimit -v`) or of processes (`ulimit -u`)? Raise it")
    })
}

/// Makes what the kernel side records something that can be waited for.
fn wait_for(records: &RingBuf<MapData>) -> Result<AsyncFd<OwnedFd>> {
    let tried = || Error::new(ErrorKind::Kernel, "tried to wait for the ring");
    let descriptor = records.as_fd().try_clone_to_owned().map_err(|e| tried().because_of(e))?;
    // SAFETY: the descriptor is owned by the value that is registered, and closed only with it.
    unsafe { AsyncFd::register(descriptor) }.map_err(|e| tried().because_of(e))
}

/// What a thread made; its panic is ours.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn watch_ends(spaces: &[Space]) -> Result<Ends> {
    Ends::of(spaces.iter().map(|space| &space.process))
        .map_err(|e| Error::new(ErrorKind::Limit, "tried to wait for the ends of the targets").because_of(e))
}

/// Whether our pids are those of the kernel. The initial pid namespace has this inode number since Linux 3.8
/// (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
fn initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// A command is known by the exec that starts it, and an exec by the kernel's pid. Where ours is another, the exec
/// would not be noticed, and the report would be empty.
pub(super) fn require_initial_namespace() -> Result<()> {
    if initial_pid_namespace() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnsupportedTarget, "tried to start a command under observation")
        .because("profiler is in a pid namespace (a container), where it does not see the command begin")
        .hint("run profiler on the host, or start the command first and give its --pid"))
}
