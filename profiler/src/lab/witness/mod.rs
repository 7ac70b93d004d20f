//! Stacks of a process with the state that they were walked from. For tests, which compare them with another unwinder,
//! and for measurements.

mod attach;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use profiler_common::{
    unwind::unmarked,
    witness::{Record, SLOTS_PER_CPU, Tally, Target},
};

use crate::{
    capture::object::{Object, Settings},
    error::{Error, ErrorKind, Result},
    kernel::bpf,
    target::{
        modules::{Layout, Modules},
        process::Process,
    },
    unwind::{
        returns::Returns,
        tracker::{Files, Tracker},
    },
};
use attach::Attached;

const TOOL: &str = "witness";
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/witness"));
/// Interval at which the ring and the target's mappings are read.
const PAUSE: Duration = Duration::from_millis(20);

/// Where threads are interrupted.
#[derive(Clone, Debug)]
pub enum On {
    /// This many times a second on each processor, in user code and in the kernel.
    Samples(u32),
    /// At the entry of every system call.
    SystemCalls,
    /// The same, by a tracepoint with typed arguments (`tp_btf`).
    TypedSystemCalls,
    /// At an instruction, given by file and offset in it.
    Probe(PathBuf, u64),
    /// At the return of the function that begins there.
    Return(PathBuf, u64),
    /// At an instruction, without keeping the state: for timing.
    Timed(PathBuf, u64, Work),
}

/// What a timed probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Counts the hit.
    Nothing,
    /// Walks by unwind tables, and looks the stack up among those seen before.
    Walk,
    /// Lets the kernel walk by frame pointers (`bpf_get_stackid`).
    Kernel,
}

/// Which stacks to walk.
#[derive(Clone, Debug)]
pub struct Options {
    /// The process.
    pub pid: u32,
    /// Where its threads are interrupted; all of these at the same time.
    pub on: Vec<On>,
    /// One hit in this many is walked, beginning with the first.
    pub one_in: u64,
}

/// An observed process.
pub struct Witness {
    pid: u32,
    process: Process,
    object: Object,
    records: RingBuf<MapData>,
    modules: Modules,
    tracker: Tracker,
    attached: Attached,
}

/// A stack that a timed walk has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Number of its frames.
    pub depth: u64,
    /// One of [`End`](profiler_common::unwind::walk::End).
    pub end: u64,
}

impl Witness {
    /// Attaches to a process.
    ///
    /// # Errors
    /// If it cannot be observed.
    pub fn attach(options: &Options) -> Result<Witness> {
        let process = Process::open(options.pid)?;
        let mut modules = Modules::default();
        let layout = layout(options.pid, &mut modules)?;
        let mut files = Files::default();
        files.prepare(layout.files().map(|(_, id)| id), &modules);
        let capacity = Tracker::capacity([&layout].into_iter(), 0);
        let cpus = aya::util::nr_cpus().map_err(|(what, e)| {
            Error::new(ErrorKind::Kernel, format_args!("tried to read {what}")).because_of(e)
        })?;
        let returns = Returns::of_kernel();
        let one_in = options.one_in.to_ne_bytes();
        let mut entries = Tracker::entries(capacity, 1).to_vec();
        entries.push(("SLOTS", SLOTS_PER_CPU * cpus as u32));
        let globals = returns.globals().chain([("ONE_IN", one_in.as_slice())]).collect();
        let object = Object::load(TOOL, OBJECT, Settings { globals, entries, ..Settings::default() })?;
        let tracker = Tracker::map(&object, files, capacity, 1)?;
        let records = object.ring("RECORDS")?;
        let attached = Attached::to(&object, options.pid, &options.on)?;
        let mut witness = Witness { pid: options.pid, process, object, records, modules, tracker, attached };
        witness.publish(&layout)?;
        Ok(witness)
    }

    /// Gives the kernel side the mappings, if they have changed. Before the first time no hit counts.
    fn publish(&mut self, layout: &Layout) -> Result<()> {
        let Some(published) = self.tracker.publish(0, self.pid, layout, &self.modules) else { return Ok(()) };
        let target = Target { tgid: self.pid, slot: published.slot };
        bpf::update(self.object.map("TARGET")?, &0u32, &target)
            .map_err(|e| Error::new(ErrorKind::Kernel, "tried to write BPF map TARGET").because_of(e))
    }

    /// Calls `each` with every record, until it returns false, the process ends, or `limit` is over.
    ///
    /// # Errors
    /// If the mappings cannot be given to the kernel side.
    pub fn watch(&mut self, limit: Duration, mut each: impl FnMut(&Record) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            while let Some(bytes) = self.records.next() {
                if bytes.len() < size_of::<Record>() {
                    continue;
                }
                // SAFETY: the kernel side wrote a record; any bytes are valid for a wire type.
                let mut record = unsafe { bytes.as_ptr().cast::<Record>().read_unaligned() };
                record.frames = record.frames.map(|frame| unmarked(frame).0);
                if !each(&record) {
                    return Ok(());
                }
            }
            if let Ok(layout) = layout(self.pid, &mut self.modules) {
                self.publish(&layout)?;
            }
            if begun.elapsed() >= limit || self.process.wait(PAUSE) {
                return Ok(());
            }
        }
    }

    /// The outcomes of all hits so far.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn tally(&self) -> Result<Tally> {
        let none = Tally { hits: 0, walked: 0, passed_over: 0, not_walkable: 0, lost_slot: 0, lost_ring: 0 };
        let cpus = aya::util::nr_cpus().map_or(1, |cpus| cpus);
        let mut all = vec![none; cpus];
        bpf::lookup(self.object.map("TALLY")?, &0u32, &mut all).map_err(|e| unreadable("TALLY", e))?;
        Ok(all.iter().fold(none, |sum, cpu| Tally {
            hits: sum.hits + cpu.hits,
            walked: sum.walked + cpu.walked,
            passed_over: sum.passed_over + cpu.passed_over,
            not_walkable: sum.not_walkable + cpu.not_walkable,
            lost_slot: sum.lost_slot + cpu.lost_slot,
            lost_ring: sum.lost_ring + cpu.lost_ring,
        }))
    }

    /// The stacks that timed walks have seen.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        let each = |_identity: u64, value: u64| seen.push(Seen { depth: value >> 8, end: value & 0xff });
        bpf::for_each_element(self.object.map("SEEN")?, each).map_err(|e| unreadable("SEEN", e))?;
        Ok(seen)
    }

    /// Instructions that the verifier processed, by program.
    pub fn verified(&self) -> &[(&'static str, u32)] {
        &self.attached.verified
    }
}

fn layout(pid: u32, modules: &mut Modules) -> Result<Layout> {
    Layout::read(pid, modules).map_err(|e| {
        Error::new(ErrorKind::NoSuchProcess, format_args!("tried to read the mappings of process {pid}"))
            .because_of(e)
    })
}

fn unreadable(map: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried to read BPF map {map}")).because_of(error)
}
