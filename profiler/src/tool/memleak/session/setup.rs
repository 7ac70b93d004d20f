//! From what the user asked for to attached probes.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    thread::{self, ScopedJoinHandle},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use profiler_common::sampling::{WEIGHT_POINTS, point_size_bytes};
use tokio::io::unix::AsyncFd;

use super::{
    super::{
        admission,
        blocks::{Blocks, Room},
        canary, collect, harm,
        memory::Memory,
        options::{Options, Targets},
        refusals::{check_image, replaces_itself},
        space::Space,
        stacks::Stacks,
        totals::{self, Totals},
    },
    Session, monotonic_ns, targets,
};
use crate::{
    capture::{
        cost::{CostMeter, spending::GUARD_SECONDS},
        object::{Object, Settings, explain},
        uprobe::{Attacher, CallPrograms},
    },
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        priority::use_batch_scheduling,
        tick::Ticks,
    },
    symbolize::Worker,
    target::{find, launch, maps, modules::Modules},
    unwind::{
        returns::Returns,
        tracker::{Files, Tracker},
    },
};

const TOOL: &str = "memleak";
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memleak"));
pub(crate) const PROGRAMS: CallPrograms = CallPrograms {
    session: "memleak_session",
    entry: "memleak_entry",
    ret: "memleak_return",
    at_ret: "memleak_ret",
    plain: "memleak_free",
};
/// Programs that targets may become by exec, with their stacks walked by tables.
const EXECS: usize = 16;
/// Seconds after which the guard may stop an observation whose cost was not predicted.
const UNCOUNTED_SECONDS: usize = 2;
/// Room for live blocks, at least: a server that leaks may be small when it is attached to. It costs 16 MiB.
const LEAST_BLOCKS: u64 = 1 << 20;
/// The same, at most, if the user does not ask for more.
const MOST_BLOCKS: u64 = 1 << 22;

impl<'a> Session<'a> {
    pub(super) fn start(options: &'a Options) -> Result<Session<'a>> {
        let asked = Instant::now();
        options.stage.begin("reading the target's files");
        let mut launched = None;
        let pids = match &options.targets {
            Targets::Pids(pids) => pids.clone(),
            Targets::Name(pattern) => find::by_name(pattern)?,
            Targets::Cgroup(directory) => find::by_cgroup(directory)?,
            Targets::Command(command) => {
                require_initial_namespace()?;
                let waiting = launch::start(command, &options.launch)?;
                let pid = waiting.pid();
                launched = Some(waiting);
                vec![pid]
            }
        };
        let ahead: Vec<PathBuf> =
            launched.as_ref().map(|w| w.images().into_iter().collect()).unwrap_or_default();
        let mut modules = Modules::default();
        for image in &ahead {
            check_image(image)?;
        }
        let mut spaces = targets::spaces(&pids, options, launched.is_some(), &mut modules)?;
        if let (Some(waiting), Some(space)) = (&launched, spaces.first_mut()) {
            space.forget_layout(waiting.program());
        }
        // A command may install a filter at any time; of a running process we see whether it has.
        let filtered = |space: &Space| space.process.seccomp().is_none_or(|mode| mode != 0);
        if launched.is_some() || spaces.iter().any(filtered) {
            canary::try_out(options.method)?;
        }
        let bytes_before = match launched {
            Some(_) => 0,
            None => pids.iter().filter_map(|pid| maps::anonymous_bytes(*pid).ok()).sum(),
        };
        let memory = Memory::start(&spaces, launched.is_some());
        let start_ns = monotonic_ns();
        let room = room_for(bytes_before, options);
        // A command maps nothing yet: what its files hold is at least its text.
        let to_come = ahead.iter().filter_map(|image| Some(std::fs::metadata(image).ok()?.len())).sum();
        let capacity = Tracker::capacity(spaces.iter().map(|space| &space.layout), to_come);
        let tracked = (spaces.len() + EXECS) as u32;
        let mut files = Files::telling(options.stage.clone());
        let mut object = thread::scope(|scope| {
            let loading = scope.spawn(|| {
                use_batch_scheduling();
                let mut entries = Tracker::entries(capacity, tracked).to_vec();
                load(options, start_ns, room, &mut entries)
            });
            for space in &mut spaces {
                // What a waiting child maps is our own executable, not yet the command.
                match launched {
                    Some(_) => {
                        let coming = space.plan_ahead(&mut modules, options, &ahead);
                        files.prepare(coming.into_iter(), &modules);
                    }
                    None => {
                        space.plan(&modules, options);
                        files.prepare(space.layout.files().map(|(_, id)| id), &modules);
                    }
                }
            }
            joined(loading)
        })?;
        harm::refuse_what_copies_its_code(&spaces, &modules, options)?;
        let mut cost = CostMeter::new(asked, admission::programs(options));
        let counted = match (&launched, options.max_cost) {
            (None, Some(_)) => admission::admit(&spaces, options, &mut cost)?,
            _ => false,
        };
        options.stage.begin("attaching");
        let totals = Totals::map(&object, options.max_stacks as usize)?;
        let blocks = Blocks::map(&object, room)?;
        let mut tracker = Tracker::map(&object, files, capacity, tracked)?;
        fill_weights(&object, options)?;
        let in_initial_namespace = initial_pid_namespace();
        for space in &spaces {
            space.register(&object, launched.is_some(), in_initial_namespace)?;
        }
        for space in &mut spaces {
            space.tell_mappings(&object, &mut tracker, &modules)?;
        }
        let records = object.take_ring("RING")?;
        let mut attacher = Attacher::new(PROGRAMS, options.method);
        let exec = attach(&object, &mut attacher, &mut spaces, &modules)?;
        let waiting = |e: &dyn std::error::Error| {
            Error::new(ErrorKind::Kernel, "tried to wait for the ring").because_of(e)
        };
        let descriptor = records.as_fd().try_clone_to_owned().map_err(|e| waiting(&e))?;
        // SAFETY: the descriptor is owned by the value that is registered, and closed only with it.
        let ring = unsafe { AsyncFd::register(descriptor) }.map_err(|e| waiting(&e))?;
        let worker = Worker::start(options.names.clone()).map_err(|e| {
            Error::new(ErrorKind::Limit, "tried to start the symbolizer thread").because_of(&e)
        })?;
        // A start is not how a command goes on; a process that could not be counted in beforehand goes on as it does now.
        let guard_seconds = if launched.is_some() || counted { GUARD_SECONDS } else { UNCOUNTED_SECONDS };
        let mut session = Session {
            options,
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
            alive_ns: start_ns,
            max_blocks: room.spilled,
            bytes_before,
            memory: memory.begun(),
            ring,
            records,
            launched,
            rescanned: Instant::now(),
            in_initial_namespace,
            _exec: exec,
        };
        session.require_probes()?;
        session.began = Instant::now();
        session.started_unix_ns =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        session.cost.attached(session.spaces.iter().map(|space| space.process.pid()));
        admission::calibrate(&mut session.cost, options.method);
        options.stage.end();
        Ok(session)
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
        let single_stepped = self.spaces.iter().flat_map(|s| &s.probed).filter(|p| !p.emulated).count();
        let slow = match single_stepped {
            0 => String::new(),
            n => format!(", {n} of them at a costly instruction"),
        };
        let who = match self.spaces.as_slice() {
            [one] => format!("{} (pid {})", one.process.name().terminal(), one.process.pid()),
            many => format!("{} processes", many.len()),
        };
        let took = self.cost.attach_time().as_millis();
        format!(
            "attached: {functions} functions of {who}{slow}, by {} in {took} ms",
            self.attacher.method().name()
        )
    }

    /// Lets a launched command run.
    pub(super) fn release_command(&mut self) -> Result<()> {
        if let Some(launched) = &mut self.launched {
            launched.release().map_err(|e| {
                Error::new(ErrorKind::NoSuchProcess, "tried to let the command run").because_of(&e)
            })?;
            self.began = Instant::now();
        }
        Ok(())
    }
}

/// The object with room for next to nothing, to try things out.
pub(crate) fn load_small() -> Result<Object> {
    let mut options = Options::new(Targets::Pids(Vec::new()));
    options.max_stacks = 16;
    load(&options, monotonic_ns(), Room::new(0, 1024), &mut Vec::new())
}

fn load(
    options: &Options,
    start_ns: u64,
    room: Room,
    entries: &mut Vec<(&'static str, u32)>,
) -> Result<Object> {
    entries.extend([
        ("BUCKETS", room.buckets()),
        ("BLOCKS", room.spilled),
        ("STACK_NUMBERS", options.max_stacks),
        ("TOTALS", options.max_stacks),
    ]);
    let stacks = options.max_stacks.to_ne_bytes();
    let sample = options.sample_bytes.unwrap_or(0).to_ne_bytes();
    let start = start_ns.to_ne_bytes();
    let shift = room.shift().to_ne_bytes();
    let ticks = Ticks::read(start_ns);
    let returns = Returns::of_kernel();
    let start_ticks = ticks.map_or(0, |t| t.now).to_ne_bytes();
    let tick_units = ticks.map_or(0, |t| t.units).to_ne_bytes();
    let own: [(&str, &[u8]); 6] = [
        ("START_NS", &start),
        ("START_TICKS", &start_ticks),
        ("TICK_UNITS", &tick_units),
        ("MAX_STACKS", &stacks),
        ("SAMPLE_BYTES", &sample),
        ("BUCKET_SHIFT", &shift),
    ];
    let globals = own.into_iter().chain(returns.globals()).collect();
    Object::load(TOOL, OBJECT, Settings { globals, entries: std::mem::take(entries) })
}

/// Room for live blocks. A block per 128 bytes of what the targets hold now is expected, and four times as many are
/// followed, within the limits above.
fn room_for(held_bytes: u64, options: &Options) -> Room {
    let drawn = options.sample_bytes.map_or(128, |mean| mean.max(128));
    let expected = held_bytes / drawn;
    let most = (expected * 4).clamp(LEAST_BLOCKS, MOST_BLOCKS) as u32;
    let most = options.max_blocks.unwrap_or(most);
    Room::new(expected.min(most.into()), most)
}

fn fill_weights(object: &Object, options: &Options) -> Result<()> {
    let Some(mean) = options.sample_bytes else { return Ok(()) };
    for point in 0..WEIGHT_POINTS {
        let weight = collect::weight(point_size_bytes(point), mean as f64);
        totals::write(object, "WEIGHTS", &(point as u32), &weight)?;
    }
    Ok(())
}

/// Attaches to everything that was found. The verifier takes most of the time, and takes it beside all else.
fn attach(
    object: &Object,
    attacher: &mut Attacher,
    spaces: &mut [Space],
    modules: &Modules,
) -> Result<OwnedFd> {
    let ahead = attacher.ahead();
    thread::scope(|scope| {
        let calls = scope.spawn(move || {
            use_batch_scheduling();
            ahead.load(object)
        });
        let exec = scope.spawn(|| {
            use_batch_scheduling();
            attach_exec(object)
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
            let exec = joined(exec)?;
            for space in spaces.iter_mut().filter(|space| space.ended.is_none()) {
                let attached = match space.is_another_program() {
                    true => Err(replaces_itself(space.process.pid())),
                    false => space.attach_allocs(object, attacher, modules),
                };
                targets::unless_it_ended(attached, space, alone)?;
            }
            Ok(exec)
        }))
    })
}

/// What a thread made; its panic is ours.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn attach_exec(object: &Object) -> Result<OwnedFd> {
    let load = || {
        let program = object.load_program("memleak_exec", ProgramKind::Tracepoint)?;
        bpf::open_tracepoint(program.as_fd(), c"sched_process_exec")
    };
    let tried = || Error::new(ErrorKind::Kernel, "tried to attach to the tracepoint sched_process_exec");
    load().map_err(|e| explain(tried(), &e))
}

/// Whether our pids are those of the kernel. The initial pid namespace has this inode number since Linux 3.8
/// (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
fn initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// A command is known by the exec that starts it, and an exec by the kernel's pid. Where ours is another, the exec
/// would not be noticed, and the report would be empty.
fn require_initial_namespace() -> Result<()> {
    if initial_pid_namespace() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnsupportedTarget, "tried to start a command under observation")
        .because("profiler is in a pid namespace (a container), where it does not see the command begin")
        .hint("run profiler on the host, or start the command first and give its --pid"))
}
