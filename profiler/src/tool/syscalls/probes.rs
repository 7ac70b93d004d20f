//! The programs of `syscalls`: loading, attaching and detaching them.

use std::{io, os::fd::BorrowedFd};

use profiler_common::{
    file::calls::FileUse,
    record::RECORD_OF_TOOL,
    syscalls::{
        ALL_STACKS, COMPAT, Cell, Counter, DIRECT_CALLS, NO_STACKS, SLOW_STACKS, Settings as Live, Thread,
    },
};

use super::{
    kinds::{is_wait, words},
    number_calls::is_number,
};
use crate::{
    capture::{
        counted::counters,
        mapped::Mapped,
        object::{Maps, Object, Settings},
        tracepoints::Tracepoints,
    },
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf, lockdown,
        types::{Member, Types},
    },
    observe::{
        files,
        ground::{Follows, Ground, Shape},
        require_kernel_pids,
    },
    unwind::returns::Returns,
};

/// Whether a call is of a kind.
type IsOfKind = fn(u64) -> bool;

const TOOL: &str = "syscalls";
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscalls"));

/// The map of the settings: a section of the object.
const SETTINGS: &str = ".bss.settings";
/// Members that the programs read.
const PLACES: [Member; 6] = [
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_COMM", "task_struct", &["comm"]),
    ("TASK_STATUS", "task_struct", &["thread_info", "status"]),
    ("ACTION_HANDLER", "k_sigaction", &["sa", "sa_handler"]),
    ("ACTION_FLAGS", "k_sigaction", &["sa", "sa_flags"]),
];

/// Programs and their tracepoints, in the order in which they are attached. Returns come before entries: a return without its
/// entry can be counted, but an entry without its return cannot.
const PROGRAMS: [(&str, &str); 5] = [
    ("syscalls_thread_exit", "sched_process_exit"),
    ("syscalls_exec", "sched_process_exec"),
    ("syscalls_signal", "signal_deliver"),
    ("syscalls_exit", "sys_exit"),
    ("syscalls_enter", "sys_enter"),
];
/// Programs whose tracepoint a kernel may lack: it has no io_uring, or uses the name from before Linux 6.4.
const OPTIONAL: [(&str, &[&str]); 1] = [("syscalls_submit", &["io_uring_submit_req", "io_uring_submit_sqe"])];
/// Programs that are detached first: returns before entries. An entry that finds its thread still in a call, because the return was not
/// seen, does not count.
const AWAY: [&str; 4] = ["syscalls_exit", "syscalls_enter", "syscalls_signal", "syscalls_exec"];

/// Which calls have their stack taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stacks {
    /// No calls.
    #[default]
    None,
    /// Slow calls, when they return.
    Slow,
    /// All calls, when they begin.
    All,
}

/// How much room the kernel side has, and which calls it looks at more closely.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Slots for finding a thread's record quickly, a power of two. A thread whose slot is taken is found by hashing.
    pub slots: u32,
    /// Threads that have a record of their own; others are found by hashing. Each takes 1.3 KiB.
    pub threads: u32,
    /// Pairs of a thread and a call that have a cell, at most 65,535. Each takes 2.6 KiB.
    pub cells: u32,
    /// Calls of at least this length are sent one by one; `u64::MAX`: none.
    pub list_ns: u64,
    /// Which calls have their stack taken. It cannot be changed while the programs run.
    pub stacks: Stacks,
    /// Calls of at least this length are slow, for [`Stacks::Slow`].
    pub stack_ns: u64,
    /// The same for calls that wait; `None`: the same limit as for others.
    pub wait_ns: Option<u64>,
    /// One more than the number of call stacks that can be told apart: as many as the shared maps have room for.
    pub max_stacks: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            slots: 1 << 15,
            threads: 4096,
            cells: 4096,
            list_ns: u64::MAX,
            stacks: Stacks::None,
            stack_ns: u64::MAX,
            wait_ns: None,
            max_stacks: 1 << 14,
        }
    }
}

impl Limits {
    /// Whether single calls are listed.
    pub(super) fn lists(&self) -> bool {
        self.list_ns != u64::MAX
    }
}

/// The attached programs. Dropping them takes them away.
pub struct Probes {
    pub(crate) object: Object,
    limits: Limits,
    pub(super) cells: Mapped<Cell>,
    pub(super) threads: Mapped<Thread>,
    attached: Tracepoints,
}

impl Probes {
    /// Loads and attaches the programs. They count calls of processes in the shared table of targets. Enter processes there after
    /// attaching, so that no entry is seen without its return.
    ///
    /// # Errors
    /// If the kernel has no types, lacks a member or a tracepoint, or refuses a program.
    pub(crate) fn attach(limits: Limits, shared: Maps) -> Result<Probes> {
        let mut probes = Probes::over(Probes::load(limits, RECORD_OF_TOOL, shared)?, limits)?;
        probes.attach_once()?;
        Ok(probes)
    }

    /// Creates the maps. `record_kind`: the kind of the records of single calls in the ring.
    ///
    /// # Errors
    /// If the kernel has no types, lacks a member, or refuses a map.
    pub(crate) fn load(limits: Limits, record_kind: u8, shared: Maps) -> Result<Object> {
        let types = types()?;
        let lacks = |e| tried("to find the members of kernel structures").because_of(e);
        let places = types.globals(&PLACES).map_err(lacks)?;
        let [(_, cells), (_, slots), (_, threads), ..] = entries(limits);
        let max_cells = cells.to_ne_bytes();
        let (slot_mask, max_threads) = ((slots - 1).to_ne_bytes(), threads.to_ne_bytes());
        let max_stacks = limits.max_stacks.to_ne_bytes();
        let stacks = match limits.stacks {
            Stacks::None => NO_STACKS,
            Stacks::Slow => SLOW_STACKS,
            Stacks::All => ALL_STACKS,
        };
        let stacks = stacks.to_ne_bytes();
        let record_kind = u32::from(record_kind).to_ne_bytes();
        let mut globals: Vec<_> = places.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        // Only single calls have files.
        let lists = limits.lists();
        let finds_files = lists && !lockdown::is_confidential();
        let files = if finds_files { files::members::globals(&types).map_err(lacks)? } else { Vec::new() };
        let [lists, finds_files] = [lists, finds_files].map(|on| u32::from(on).to_ne_bytes());
        globals.extend(files.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
        let max_files = files::MAX_FILES.to_ne_bytes();
        let opcode = types.offset("io_kiocb", &["opcode"]);
        let opcode_bytes = opcode.unwrap_or(0).to_ne_bytes();
        globals.push(("REQUEST_OPCODE", &opcode_bytes));
        globals.extend([
            ("MAX_CELLS", max_cells.as_slice()),
            ("SLOT_MASK", &slot_mask),
            ("MAX_THREADS", &max_threads),
            ("STACKS", &stacks),
            ("MAX_STACKS", &max_stacks),
            ("MAX_FILES", &max_files),
            ("LISTS", &lists),
            ("FILES", &finds_files),
            ("RECORD_KIND", &record_kind),
        ]);
        let returns = Returns::of_kernel();
        globals.extend(returns.globals());
        let entries = entries(limits).to_vec();
        Object::load(TOOL, OBJECT, Settings { globals, entries, shared })
    }

    /// Makes probes of an object that [`Probes::load`] has created with the same limits.
    ///
    /// # Errors
    /// If the kernel does not take the settings.
    pub(crate) fn over(object: Object, limits: Limits) -> Result<Probes> {
        let [(cells_name, cells), _, (threads_name, threads), ..] = entries(limits);
        let cells = Mapped::new(&object, cells_name, cells)?;
        let threads = Mapped::new(&object, threads_name, threads)?;
        let probes = Probes { object, limits, cells, threads, attached: Tracepoints::default() };
        probes.prepare(limits)?;
        Ok(probes)
    }

    /// Attaches the programs unless they are attached already.
    ///
    /// # Errors
    /// If the kernel lacks a tracepoint or refuses a program.
    pub(crate) fn attach_once(&mut self) -> Result<()> {
        if self.attached.are_attached() {
            return Ok(());
        }
        let types = types()?;
        self.attached.attach(&self.object, &types, &PROGRAMS)?;
        if types.offset("io_kiocb", &["opcode"]).is_some() {
            // Without these programs, operations of io_uring are not counted.
            for (program, tracepoints) in OPTIONAL {
                if let Some(why) = self.attached.attach_optional(&self.object, &types, program, tracepoints) {
                    tracing::info!("io_uring operations are not counted by {program}: {why}");
                }
            }
        }
        self.set(self.limits, false)
    }

    fn prepare(&self, limits: Limits) -> Result<()> {
        let kinds: [(&str, IsOfKind); 2] = [("NUMBER_CALLS", is_number), ("WAIT_CALLS", is_wait)];
        for (map, is_of_kind) in kinds {
            for (word, bits) in (0u32..).zip(words(is_of_kind)) {
                self.write(map, &word, &bits)?;
            }
        }
        if limits.lists() {
            self.write_file_uses()?;
        }
        self.set(limits, false)
    }

    /// Says how calls use files: first the native ones, then those of i386.
    fn write_file_uses(&self) -> Result<()> {
        let calls = [0, COMPAT].into_iter().flat_map(|kind| (0..DIRECT_CALLS as u64).map(move |n| kind | n));
        for (place, call) in (0u32..).zip(calls) {
            let used = files::calls::use_of(call);
            if used != FileUse::NONE {
                self.write("FILE_USES", &place, &used.bits())?;
            }
        }
        Ok(())
    }

    /// Changes what is looked at more closely.
    ///
    /// # Errors
    /// Changes which calls are slow and which are sent one by one.
    pub fn set(&self, limits: Limits, over: bool) -> Result<()> {
        let Limits { list_ns, stack_ns, .. } = limits;
        let wait_ns = limits.wait_ns.unwrap_or(stack_ns);
        let least_ns = list_ns.min(stack_ns).min(wait_ns);
        let live = Live {
            least_ns,
            list_ns,
            stack_ns,
            wait_ns,
            begun: self.attached.are_attached().into(),
            over: over.into(),
        };
        self.write(SETTINGS, &0u32, &live)
    }

    /// Detaches the programs, in an order in which no unfinished call is counted. The counts stay.
    ///
    /// # Errors
    /// If the kernel refuses to change their settings.
    pub fn close(&mut self) -> Result<()> {
        // Whatever happens, nothing stays attached.
        let set = self.set(Limits::default(), true);
        self.attached.detach(&AWAY);
        set
    }

    /// Instructions that the verifier has looked at, by program.
    pub fn verified(&self) -> Vec<(&'static str, u32)> {
        self.attached.verified()
    }

    /// How many elements of an array were given out so far. `map`: where that number is.
    pub(super) fn given_out(&self, map: &str) -> Result<u64> {
        let mut next = [0u64];
        self.read(map, &0u32, &mut next)?;
        Ok(next[0])
    }

    /// The kernel side's counters, without those that threads and cells have.
    pub(super) fn counters(&self) -> Result<[u64; Counter::COUNT]> {
        // Threads count their hits themselves.
        counters(&self.object, &[])
    }

    pub(super) fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.object.map(name)
    }

    pub(super) fn read<K, V: Copy>(&self, map: &str, key: &K, values: &mut [V]) -> Result<()> {
        bpf::lookup(self.map(map)?, key, values)
            .map_err(|e| tried(format_args!("to read BPF map {map}")).because_of(e))
    }

    /// Reads an element of a hash map, if it is there.
    pub(super) fn find<K, V: Copy>(&self, map: &str, key: &K, values: &mut [V]) -> Result<bool> {
        match bpf::lookup(self.map(map)?, key, values) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(tried(format_args!("to read BPF map {map}")).because_of(error)),
        }
    }

    fn write<K, V>(&self, map: &str, key: &K, value: &V) -> Result<()> {
        bpf::update(self.map(map)?, key, value)
            .map_err(|e| tried(format_args!("to write BPF map {map}")).because_of(e))
    }
}

/// The sizes of maps.
fn entries(limits: Limits) -> [(&'static str, u32); 6] {
    let cells = limits.cells.clamp(1, u16::MAX.into());
    let threads = limits.threads.max(1) + 1;
    [
        ("CELLS", cells),
        ("SLOTS", limits.slots.next_power_of_two()),
        ("THREADS", threads),
        ("FREE_CELLS", cells),
        ("FREE_THREADS", threads),
        ("CLOSING_FILES", if limits.lists() { files::max_closing() } else { 2 }),
    ]
}

fn types() -> Result<Types> {
    Types::of_kernel().map_err(|e| tried("to read the kernel's types").because_of(e))
}

/// Attaches the programs for a moment without any target, to find out whether the kernel accepts them.
///
/// # Errors
/// If it does not, or if profiler is in a pid namespace.
pub(super) fn try_out() -> Result<()> {
    require_kernel_pids()?;
    let ground = Ground::load(&Shape { max_stacks: 16, follows: Follows::default(), tables: Vec::new() })?;
    let limits = Limits { slots: 1, threads: 1, cells: 2, max_stacks: 16, ..Limits::default() };
    Probes::attach(limits, ground.shared()).map(drop)
}

fn tried(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried {what}"))
}
