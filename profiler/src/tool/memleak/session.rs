//! One observation, from the first probe to the report.

use std::{
    future::{Future, poll_fn},
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aya::{maps::RingBuf, programs::BtfTracePoint};
use profiler_common::{
    age::{UNIT_NS, UNIT_SHIFT},
    ledger::{Counter, Probe},
    memleak::{RECORD_EXEC, RECORD_STACK},
    sampling::{WEIGHT_POINTS, point_size_bytes},
};
use tokio::io::unix::AsyncFd;

use super::{
    canary,
    collect::{self, Moment},
    options::{Options, Targets},
    section,
    space::Space,
    stacks::Stacks,
    totals::{self, Totals},
};
use crate::{
    capture::{
        cost::CostMeter,
        object::{Object, Settings, explain, kernel_btf},
        uprobe::{Attacher, CallPrograms},
    },
    error::{Error, ErrorKind, Result},
    report::{Ended, Report},
    symbolize::Worker,
    target::{find, launch, maps, modules::Modules, process::Process},
};

const TOOL: &str = "memleak";
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/memleak"));
pub(super) const PROGRAMS: CallPrograms = CallPrograms {
    session: "memleak_session",
    entry: "memleak_entry",
    ret: "memleak_return",
    at_ret: "memleak_ret",
    plain: "memleak_free",
};
/// How often progress is told and targets are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the maps of targets are read again for libraries that were loaded meanwhile.
const RESCAN: Duration = Duration::from_secs(1);
/// Processes that can be observed at once: entries of the kernel side's table of spaces, some of which are left for
/// execs and for the canary.
const MAX_TARGETS: usize = 128;
/// Room in the kernel's table if nothing is known of the target's size.
const UNKNOWN_BLOCKS: u32 = 1 << 20;

/// What an observation tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// Everything is attached; one line for people.
    Attached(&'a str),
    /// Numbers so far, about four times a second.
    Progress(&'a Progress),
    /// An interim report is due (`--every`).
    Interim(&'a Report),
    /// Something the user should know at once; one line.
    Notice(&'a str),
}

/// Numbers so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Time since everything was attached.
    pub elapsed: Duration,
    /// Probe hits.
    pub hits: u64,
    /// Hits that were lost.
    pub lost: u64,
    /// Blocks recorded and not released.
    pub live_blocks: u64,
    /// Call stacks seen.
    pub stacks: usize,
}

/// Observes until the time is over, the targets end, or `stop` is ready, and reports. Dropping the future takes all
/// probes away. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// If the targets cannot be found or observed, the kernel lacks what is needed, or a command cannot be started.
pub async fn observe(
    options: &Options,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(Event<'_>),
) -> Result<Report> {
    let mut session = Session::start(options)?;
    tell(Event::Attached(&session.attached_line()));
    session.release_command()?;
    let ended = session.run(stop, &mut tell).await?;
    session.detach();
    session.report(ended)
}

/// A running observation.
pub(super) struct Session<'a> {
    pub(super) options: &'a Options,
    pub(super) object: Object,
    pub(super) attacher: Attacher,
    pub(super) spaces: Vec<Space>,
    pub(super) modules: Modules,
    pub(super) stacks: Stacks,
    pub(super) totals: Totals,
    pub(super) worker: Worker,
    pub(super) cost: CostMeter,
    pub(super) started_unix_ns: u64,
    pub(super) start_ns: u64,
    pub(super) began: Instant,
    pub(super) length: Option<Duration>,
    pub(super) max_blocks: u32,
    /// Anonymous memory of the targets before anything was attached, in bytes.
    pub(super) bytes_before: u64,
    ring: AsyncFd<OwnedFd>,
    records: RingBuf<aya::maps::MapData>,
    launched: Option<launch::Waiting>,
    ahead: Vec<PathBuf>,
    rescanned: Instant,
    in_initial_namespace: bool,
}

impl<'a> Session<'a> {
    fn start(options: &'a Options) -> Result<Session<'a>> {
        let asked = Instant::now();
        let mut launched = None;
        let pids = match &options.targets {
            Targets::Pids(pids) => pids.clone(),
            Targets::Name(pattern) => find::by_name(pattern)?,
            Targets::Cgroup(directory) => find::by_cgroup(directory)?,
            Targets::Command(command) => {
                let waiting = launch::start(command)?;
                let pid = waiting.pid();
                launched = Some(waiting);
                vec![pid]
            }
        };
        let ahead: Vec<PathBuf> =
            launched.as_ref().map(|w| launch::images(w.program()).into_iter().collect()).unwrap_or_default();
        let mut modules = Modules::default();
        let spaces = spaces(&pids, options, launched.is_some(), &mut modules)?;
        if spaces.iter().any(|space| space.process.seccomp().unwrap_or(0) != 0) {
            canary::try_out(options.method)?;
        }
        let bytes_before = match launched {
            Some(_) => 0,
            None => pids.iter().filter_map(|pid| maps::anonymous_bytes(*pid).ok()).sum(),
        };
        let start_ns = monotonic_ns();
        let blocks = options.max_blocks.unwrap_or_else(|| room_for(&pids, options));
        let mut object = load(options, start_ns, blocks)?;
        let totals = Totals::map(&object, options.max_stacks as usize)?;
        fill_weights(&object, options)?;
        let in_initial_namespace = initial_pid_namespace();
        for space in &spaces {
            space.register(&object, launched.is_some(), in_initial_namespace)?;
        }
        attach_exec(&mut object)?;
        let records = take_ring(&mut object)?;
        let waiting = |e: &dyn std::error::Error| {
            Error::new(ErrorKind::Kernel, "tried to wait for the ring").because_of(e)
        };
        let descriptor = records.as_fd().try_clone_to_owned().map_err(|e| waiting(&e))?;
        // SAFETY: the descriptor is owned by the value that is registered, and closed only with it.
        let ring = unsafe { AsyncFd::register(descriptor) }.map_err(|e| waiting(&e))?;
        let worker = Worker::start().map_err(|e| {
            Error::new(ErrorKind::Limit, "tried to start the symbolizer thread").because_of(&e)
        })?;
        let mut session = Session {
            options,
            object,
            attacher: Attacher::new(PROGRAMS, options.method),
            spaces,
            modules,
            stacks: Stacks::default(),
            totals,
            worker,
            cost: CostMeter::new(asked),
            started_unix_ns: 0,
            start_ns,
            began: Instant::now(),
            length: None,
            max_blocks: blocks,
            bytes_before,
            ring,
            records,
            launched,
            ahead,
            rescanned: Instant::now(),
            in_initial_namespace,
        };
        session.attach_all()?;
        Ok(session)
    }

    fn attach_all(&mut self) -> Result<()> {
        let Session { object, attacher, spaces, modules, options, ahead, .. } = self;
        for space in spaces.iter_mut() {
            space.attach(object, attacher, modules, options, ahead)?;
        }
        self.require_probes()?;
        self.began = Instant::now();
        self.started_unix_ns =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        self.cost.attached();
        Ok(())
    }

    /// A report of a process without an allocator that is known would be empty, and would look like an answer.
    fn require_probes(&self) -> Result<()> {
        for custom in &self.options.custom {
            let name = custom.name.as_str();
            let found = self
                .spaces
                .iter()
                .any(|s| s.probed.iter().any(|p| p.function.terminal().to_string() == name));
            if !found {
                return Err(Error::new(
                    ErrorKind::NothingToObserve,
                    format_args!("tried to find function {name}"),
                )
                .because("no file that the target maps defines it")
                .hint("give the name as `nm -C` does without -C (mangled); a stripped binary has none"));
            }
        }
        let Some(space) = self.spaces.iter().find(|s| !s.has_probes()) else { return Ok(()) };
        let pid = space.process.pid();
        Err(Error::new(
            ErrorKind::NothingToObserve,
            format_args!("tried to find an allocator in process {pid}"),
        )
        .because("none of the files it maps defines malloc, operator new, or a known allocator's functions")
        .hint("name its functions: --alloc-fn 'pool_get:size=arg0,ptr=ret' --free-fn 'pool_put:ptr=arg0'"))
    }

    fn attached_line(&self) -> String {
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

    fn release_command(&mut self) -> Result<()> {
        if let Some(launched) = &mut self.launched {
            launched.release().map_err(|e| {
                Error::new(ErrorKind::NoSuchProcess, "tried to let the command run").because_of(&e)
            })?;
            self.began = Instant::now();
        }
        Ok(())
    }

    /// Waits for the end.
    async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<Ended> {
        let mut stop = pin!(stop);
        let mut look = tokio::time::interval(LOOK);
        let mut due = self.options.every.map(|every| self.began + every);
        loop {
            let end = self.options.length.map(|length| self.began + length);
            tokio::select! {
                biased;
                () = &mut stop => return Ok(self.end(Ended::Interrupted)),
                ready = self.ring.readable() => {
                    if let Ok(mut guard) = ready {
                        guard.clear_ready();
                    }
                    self.drain(tell)?;
                }
                () = sleep_until(end) => return Ok(self.end(Ended::Elapsed)),
                () = sleep_until(due) => {
                    self.drain(tell)?;
                    let report = self.report(Ended::Running)?;
                    tell(Event::Interim(&report));
                    due = due.zip(self.options.every).map(|(due, every)| (due + every).max(Instant::now()));
                }
                _ = look.tick() => {
                    self.drain(tell)?;
                    if self.look(tell)? {
                        return Ok(self.end(Ended::TargetsGone));
                    }
                }
            }
        }
    }

    fn end(&mut self, ended: Ended) -> Ended {
        self.length = Some(self.began.elapsed());
        ended
    }

    /// Takes in new stacks and execs.
    fn drain(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let mut replaced = Vec::new();
        while let Some(record) = self.records.next() {
            let Some((head, body)) = record.split_first_chunk::<8>() else { continue };
            let [kind, depth, low, high, a, b, c, d] = *head;
            let number = u16::from_ne_bytes([low, high]);
            let stack = u32::from_ne_bytes([a, b, c, d]);
            let Some(space) = self.spaces.iter_mut().find(|s| s.number == number) else { continue };
            match kind {
                RECORD_EXEC => replaced.push(number),
                RECORD_STACK => {
                    let frames = body.chunks_exact(8).take(depth.into());
                    let frames: Vec<u64> =
                        frames.map(|c| c.try_into().map_or(0, u64::from_ne_bytes)).collect();
                    space.refresh_if_stale(&mut self.modules);
                    if !self.stacks.add(stack, number, &frames, &space.layout) && space.ended.is_none() {
                        space.refresh(&mut self.modules);
                        self.stacks.add(stack, number, &frames, &space.layout);
                    }
                }
                _ => {}
            }
        }
        for number in replaced {
            self.replaced(number, tell)?;
        }
        Ok(())
    }

    /// A target became another program: its books are closed, and the new program's are opened.
    fn replaced(&mut self, number: u16, tell: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let Some(old) = self.spaces.iter_mut().find(|s| s.number == number && s.ended.is_none()) else {
            return Ok(());
        };
        old.ended = Some("replaced itself by exec".to_owned());
        old.detach_allocs(&mut self.object);
        old.detach_frees(&mut self.object);
        let pid = old.process.pid();
        let next = self.spaces.len() as u16;
        if next >= canary::SPACE {
            tell(Event::Notice(&format!("process {pid} replaced itself once too often: no longer observed")));
            return Ok(());
        }
        match self.follow_exec(pid, next) {
            Ok(line) => tell(Event::Notice(&line)),
            Err(error) => tell(Event::Notice(&format!("process {pid} replaced itself by exec: {error}"))),
        }
        Ok(())
    }

    fn follow_exec(&mut self, pid: u32, number: u16) -> Result<String> {
        let mut space = Space::new(number, Process::open(pid)?, &mut self.modules)?;
        space.check(&self.modules)?;
        space.register(&self.object, false, self.in_initial_namespace)?;
        let Session { object, attacher, modules, options, .. } = self;
        space.attach(object, attacher, modules, options, &[])?;
        let line = format!("process {pid} is now {}: observed anew", space.exe.terminal());
        self.spaces.push(space);
        Ok(line)
    }

    /// Looks after the targets; true if all have ended.
    fn look(&mut self, tell: &mut impl FnMut(Event<'_>)) -> Result<bool> {
        let child = self.launched.as_mut().and_then(launch::Waiting::ended);
        for space in self.spaces.iter_mut().filter(|s| s.ended.is_none()) {
            if space.process.ended() {
                space.ended = Some(child.map_or_else(|| "ended".to_owned(), how_it_ended));
            }
        }
        if self.rescanned.elapsed() >= RESCAN {
            self.rescan(tell);
        }
        self.cost.look();
        let counters = totals::counters(&self.object)?;
        tell(Event::Progress(&self.progress(&counters)));
        Ok(self.spaces.iter().all(|s| s.ended.is_some()))
    }

    /// Attaches to allocators that were loaded meanwhile.
    fn rescan(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        let Session { object, attacher, spaces, modules, options, .. } = self;
        for space in spaces.iter_mut().filter(|s| s.ended.is_none()) {
            space.refresh(modules);
            let before = space.probed.len();
            if let Err(error) = space.attach(object, attacher, modules, options, &[]) {
                // A process that is about to end, most often; what was attached before stays.
                tracing::debug!("rescan of process {}: {error}", space.process.pid());
            } else if space.probed.len() > before {
                let names = space.probed.len() - before;
                tell(Event::Notice(&format!(
                    "process {} loaded another allocator: {names} functions attached",
                    space.process.pid()
                )));
            }
        }
        self.rescanned = Instant::now();
    }

    fn progress(&self, counters: &[u64; Counter::COUNT]) -> Progress {
        let sum = |fits: &dyn Fn(Counter) -> bool| -> u64 {
            Counter::ALL.iter().filter(|c| fits(**c)).map(|c| counters[*c as usize]).sum()
        };
        let of = |c: Counter| counters[c as usize];
        let gone = of(Counter::FreeFreed) + of(Counter::ReturnReleased);
        Progress {
            elapsed: self.began.elapsed(),
            hits: Probe::ALL.iter().map(|p| sum(&|c| c.probe() == *p && c.name() == "hits")).sum(),
            lost: sum(&|c| c.class() == profiler_common::ledger::Class::Lost),
            live_blocks: of(Counter::ReturnRecorded).saturating_sub(gone),
            stacks: self.stacks.len(),
        }
    }

    /// Takes all probes away: allocations first, so that every recorded block's release can still be seen.
    fn detach(&mut self) {
        let begun = Instant::now();
        self.cost.before_detach(self.attacher.programs());
        for space in &mut self.spaces {
            space.detach_allocs(&mut self.object);
        }
        for space in &mut self.spaces {
            space.detach_frees(&mut self.object);
        }
        self.cost.detached(begun.elapsed());
    }

    /// The report of what is known now.
    fn report(&mut self, ended: Ended) -> Result<Report> {
        // What still waits in the ring belongs to the report.
        self.drain(&mut |_| {})?;
        let moment = self.moment();
        let stacks = self.options.max_stacks as usize;
        let snapshot = collect::snapshot(&self.object, &self.totals, stacks, &moment)?;
        section::report(self, &snapshot, &moment, ended)
    }

    fn moment(&self) -> Moment {
        let length = self.length.unwrap_or_else(|| self.began.elapsed());
        let now = monotonic_ns().saturating_sub(self.start_ns) >> UNIT_SHIFT;
        let length_units = length.as_nanos() as u64 / UNIT_NS;
        Moment {
            began_units: now.saturating_sub(length_units),
            now_units: now,
            older_units: self.options.older.as_nanos() as u64 / UNIT_NS,
            sample_bytes: self.options.sample_bytes,
        }
    }
}

/// A space for each process. Of those that a name or a cgroup stands for, some may have ended since.
fn spaces(pids: &[u32], options: &Options, launched: bool, modules: &mut Modules) -> Result<Vec<Space>> {
    let chosen_one_by_one = matches!(options.targets, Targets::Pids(_) | Targets::Command(_));
    let mut spaces: Vec<Space> = Vec::new();
    let mut gone = None;
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
        let opened = Process::open(*pid).and_then(|process| Space::new(number, process, modules));
        let checked = opened.and_then(|mut space| {
            if !launched {
                space.check(modules)?;
            }
            Ok(space)
        });
        match checked {
            Ok(space) => spaces.push(space),
            Err(error) if error.kind() == ErrorKind::NoSuchProcess && !chosen_one_by_one => {
                gone = Some(error)
            }
            Err(error) => return Err(error),
        }
    }
    match gone {
        Some(error) if spaces.is_empty() => Err(error),
        _ => Ok(spaces),
    }
}

/// The object with room for next to nothing, to try things out.
pub(super) fn load_small() -> Result<Object> {
    let mut options = Options::new(Targets::Pids(Vec::new()));
    options.max_stacks = 16;
    load(&options, monotonic_ns(), 1024)
}

fn load(options: &Options, start_ns: u64, blocks: u32) -> Result<Object> {
    let stacks = options.max_stacks.to_ne_bytes();
    let sample = options.sample_bytes.unwrap_or(0).to_ne_bytes();
    let start = start_ns.to_ne_bytes();
    Object::load(
        TOOL,
        OBJECT,
        Settings {
            globals: vec![("START_NS", &start), ("MAX_STACKS", &stacks), ("SAMPLE_BYTES", &sample)],
            entries: vec![
                ("BLOCKS", blocks),
                ("STACK_NUMBERS", options.max_stacks),
                ("TOTALS", options.max_stacks),
            ],
        },
    )
}

/// Room for live blocks: two per 64 bytes of what the targets hold now, within reason.
fn room_for(pids: &[u32], options: &Options) -> u32 {
    if matches!(options.targets, Targets::Command(_)) {
        return UNKNOWN_BLOCKS;
    }
    let held: u64 = pids.iter().filter_map(|pid| maps::anonymous_bytes(*pid).ok()).sum();
    let drawn = options.sample_bytes.map_or(64, |mean| mean.max(64));
    (held / drawn * 2).clamp(1 << 17, 1 << 22) as u32
}

fn fill_weights(object: &Object, options: &Options) -> Result<()> {
    let Some(mean) = options.sample_bytes else { return Ok(()) };
    for point in 0..WEIGHT_POINTS {
        let weight = collect::weight(point_size_bytes(point), mean as f64);
        totals::write(object, "WEIGHTS", &(point as u32), &weight)?;
    }
    Ok(())
}

fn attach_exec(object: &mut Object) -> Result<()> {
    let tried = || Error::new(ErrorKind::Kernel, "tried to attach to the tracepoint sched_process_exec");
    let btf = kernel_btf()?;
    let program = object.ebpf.program_mut("memleak_exec").ok_or_else(tried)?;
    let program: &mut BtfTracePoint =
        program.try_into().map_err(|e: aya::programs::ProgramError| tried().because_of(&e))?;
    program.load("sched_process_exec", &btf).map_err(|e| explain(tried(), &e))?;
    program.attach().map_err(|e| explain(tried(), &e))?;
    Ok(())
}

fn take_ring(object: &mut Object) -> Result<RingBuf<aya::maps::MapData>> {
    let tried = || Error::new(ErrorKind::Kernel, "tried to open the ring");
    let map = object.ebpf.take_map("RING").ok_or_else(tried)?;
    RingBuf::try_from(map).map_err(|e| tried().because_of(&e))
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Whether our pids are those of the kernel. The initial pid namespace has this inode number since Linux 3.8
/// (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
fn initial_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

fn how_it_ended(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => poll_fn(|_| std::task::Poll::Pending).await,
    }
}
