//! Loading the object of a tool that counts operations on files, and attaching its programs.

use std::os::fd::BorrowedFd;

use profiler_common::{
    call::COMPAT,
    io::{
        ALL_DESCRIPTORS, CallUse, IoSettings, IoThread, SECOND_OPERATIONS, SECONDS, TABLED_CALLS,
        URING_OPERATIONS,
    },
    ledger::Entry,
};
use sysno::x86_64::Sysno;

use super::{
    left_out::{LeftOut, Optional},
    members, near,
};
use crate::{
    capture::{
        casts,
        counted::counters,
        mapped::Mapped,
        object::{Maps, Object, Settings},
        tracepoints::Tracepoints,
    },
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf,
        calls::native,
        lockdown,
        types::{Member, Types},
    },
    observe::{call_price::Dearer, files},
    unwind::returns::Returns,
};

/// The map of the settings: a section of the object.
const SETTINGS: &str = ".bss.io_settings";
/// Members that the programs read.
const PLACES: [Member; 7] = [
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_COMM", "task_struct", &["comm"]),
    ("TASK_STATUS", "task_struct", &["thread_info", "status"]),
    ("FILES_USERS", "files_struct", &["count"]),
    ("ACTION_HANDLER", "k_sigaction", &["sa", "sa_handler"]),
    ("ACTION_FLAGS", "k_sigaction", &["sa", "sa_flags"]),
];
/// Bytes that a thread has fetched from devices, of `task_struct`. Only kernels with CONFIG_TASK_IO_ACCOUNTING have it.
const FETCHED: &[&str] = &["ioac", "read_bytes"];
/// Sockets, by the upper four bits of their mode (include/uapi/linux/stat.h).
const SOCKETS: u32 = 1 << 12;
/// Address spaces and operations that have sums for what found no room of its own.
const MOST_BEYOND: u32 = 1 << 14;
/// Requests of io_uring that can be under way at the same time.
const MOST_REQUESTS: u32 = 1 << 14;

/// A setting of the programs: its symbol and its value.
pub(crate) type Setting = (&'static str, Vec<u8>);

/// What makes one of these tools differ from another.
pub(crate) struct Shape {
    /// Its name.
    pub(crate) tool: &'static str,
    /// Its object.
    pub(crate) object: &'static [u8],
    /// Its programs and their tracepoints, in the order in which they are attached. Returns come before entries: a return without its
    /// entry is left out, but an entry without its return is an operation that never ends.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// Programs that are detached first.
    pub(crate) away_first: &'static [&'static str],
    /// Bit by kind of file, the upper four bits of its mode: those that are counted.
    pub(crate) kinds: u32,
    /// Which calls cost more than others.
    pub(crate) dearer: Dearer,
    /// How a call is counted.
    pub(crate) use_of: fn(u64) -> CallUse,
    /// How an operation of io_uring is counted.
    pub(crate) ring_use_of: fn(u32) -> CallUse,
    /// Programs that it can do without.
    pub(crate) optional: &'static [Optional],
    /// The program that runs at the end of each major fault, if it has one, and what is not known without it.
    pub(crate) at_major_faults: Option<(&'static str, &'static str)>,
    /// Maps of its own whose size depends on the machine, with their sizes.
    pub(crate) sizes: fn() -> Vec<(&'static str, u32)>,
    /// Settings of its own programs, from the types of the kernel.
    pub(crate) settings: fn(&Types) -> Vec<Setting>,
    /// Members of kernel structures that only its own programs read.
    pub(crate) members: &'static [Member],
    /// The counters of its ledger.
    pub(crate) entries: &'static [Entry],
}

/// How much room the kernel side has, and what it sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Threads that have a record at the same time. Each takes 1.1 KiB.
    pub(crate) threads: u32,
    /// Files by operation and name of thread that have sums of their own. Each takes 0.2 KiB once it is used.
    pub(crate) cells: u32,
    /// Those of them that have a histogram. Each takes 2.4 KiB.
    pub(crate) histograms: u32,
    /// Operations of at least this length are sent one by one, in nanoseconds.
    pub(crate) slow_ns: u64,
    /// What the tool's own programs are asked to do.
    pub(crate) of_tool: u64,
    /// Whether stacks are taken.
    pub(crate) stacks: bool,
    /// One more than the number of call stacks that can be told apart: as many as the shared maps have room for.
    pub(crate) max_stacks: u32,
    /// Sockets that have sums of their own, if sockets are counted. Each takes 0.2 KiB once it is used.
    pub(crate) sockets: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            threads: 1 << 13,
            cells: 1 << 18,
            histograms: 1 << 11,
            slow_ns: 1_000_000,
            of_tool: 0,
            stacks: true,
            max_stacks: 1 << 14,
            sockets: 1 << 16,
        }
    }
}

/// The loaded programs, attached or not. Dropping them takes them away.
pub(crate) struct Probes {
    pub(crate) object: Object,
    shape: &'static Shape,
    limits: Limits,
    pub(super) threads: Mapped<IoThread>,
    attached: Tracepoints,
    /// Programs that are not attached.
    pub(crate) left_out: Vec<LeftOut>,
    /// Whether the kernel counts what threads fetch from devices.
    pub(crate) has_fetched: bool,
}

impl Probes {
    /// Creates the maps. `record_kind`: the kind of the records of single operations in the ring.
    ///
    /// # Errors
    /// If the kernel has no types, lacks a member, does not let programs read its memory, or refuses a map.
    pub(crate) fn load(shape: &Shape, limits: Limits, record_kind: u8, shared: Maps) -> Result<Object> {
        if lockdown::is_confidential() {
            return Err(tried(format_args!("to find the files of calls"))
                .because("the kernel does not let programs read its memory (lockdown=confidentiality)")
                .hint("start the kernel with lockdown=integrity"));
        }
        let types = types()?;
        let lacks = |e| tried(format_args!("to find the members of kernel structures")).because_of(e);
        near::check(&types, shape.kinds & SOCKETS != 0)?;
        let mut places = types.globals(&PLACES).map_err(lacks)?;
        places.extend(files::members::globals(&types).map_err(lacks)?);
        places.extend(types.globals(shape.members).map_err(lacks)?);
        let fetched = types.offset("task_struct", FETCHED).unwrap_or(0).to_ne_bytes();
        let max_files = files::MAX_FILES.to_ne_bytes();
        let max_stacks = limits.max_stacks.to_ne_bytes();
        let [kinds, kind, stacks] =
            [shape.kinds, record_kind.into(), limits.stacks.into()].map(u32::to_ne_bytes);
        let mut globals: Vec<_> = places.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        globals.extend([
            ("TASK_FETCHED", fetched.as_slice()),
            ("MAX_FILES", &max_files),
            ("MAX_STACKS", &max_stacks),
            ("IO_KINDS", &kinds),
            ("RECORD_KIND", &kind),
            ("IO_STACKS", &stacks),
        ]);
        let ring =
            [members::ring(&types).to_vec(), members::mappings(&types).to_vec(), (shape.settings)(&types)]
                .concat();
        globals.extend(ring.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
        let casts = casts::of_files(&types);
        globals.extend(casts.iter().map(|(name, number)| (*name, number.as_slice())));
        let returns = Returns::of_kernel();
        globals.extend(returns.globals());
        let records = limits.threads + 1;
        let mut entries = vec![
            ("IO_THREADS", records),
            ("IO_FREE_THREADS", records),
            ("IO_CELLS", limits.cells),
            ("IO_HISTOGRAMS", limits.histograms + 1),
            ("IO_BEYOND", MOST_BEYOND),
            ("IO_SECONDS", (SECONDS * SECOND_OPERATIONS) as u32),
            ("IO_CALLS", 2 * TABLED_CALLS as u32),
            ("IO_URING_USES", URING_OPERATIONS as u32),
            ("IO_URING_REQUESTS", MOST_REQUESTS),
        ];
        entries.extend((shape.sizes)());
        if shape.kinds & SOCKETS != 0 {
            entries.push(("SOCKETS", limits.sockets));
        } else {
            entries.push(("KNOWN_FILES", files::MAX_FILES));
        }
        Object::load(shape.tool, shape.object, Settings { globals, entries, shared })
    }

    /// Makes probes of an object that [`Probes::load`] has created with the same limits.
    ///
    /// # Errors
    /// If the kernel does not take the settings.
    pub(crate) fn over(object: Object, shape: &'static Shape, limits: Limits) -> Result<Probes> {
        let threads = Mapped::new(&object, "IO_THREADS", limits.threads + 1)?;
        let calls = (0..TABLED_CALLS as u64).chain((0..TABLED_CALLS as u64).map(|number| COMPAT | number));
        for (place, call) in (0u32..).zip(calls) {
            let used = replacing(call, (shape.use_of)(call));
            if used != CallUse::NONE {
                object.write("IO_CALLS", &place, &used.bits())?;
            }
        }
        let has_fetched = types()?.offset("task_struct", FETCHED).is_some();
        for operation in 0..URING_OPERATIONS as u32 {
            let used = (shape.ring_use_of)(operation);
            if used != CallUse::NONE {
                object.write("IO_URING_USES", &operation, &used.bits())?;
            }
        }
        Ok(Probes {
            object,
            left_out: Vec::new(),
            has_fetched,
            shape,
            limits,
            threads,
            attached: Tracepoints::default(),
        })
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
        if let Some((program, without)) = self.shape.at_major_faults {
            let why = self.attached.attach_to_major_faults(&self.object, program);
            self.left_out.extend(LeftOut::unless_attached(program, without, why));
        }
        for Optional { program, tracepoints, without } in self.shape.optional {
            let why = self.attached.attach_optional(&self.object, &types, program, tracepoints);
            self.left_out.extend(LeftOut::unless_attached(program, without, why));
        }
        self.attached.attach(&self.object, &types, self.shape.programs)
    }

    /// Begins to count: all that is needed for the observation is there.
    ///
    /// # Errors
    /// If the kernel does not take the settings.
    pub(crate) fn begin(&self) -> Result<()> {
        let Limits { slow_ns, of_tool, .. } = self.limits;
        self.object.write(SETTINGS, &0u32, &IoSettings { slow_ns, begun: 1, of_tool })
    }

    /// Detaches the programs. The counts stay.
    pub(crate) fn close(&mut self) {
        self.attached.detach(self.shape.away_first);
    }

    /// See [`Tracepoints::missed`].
    pub(crate) fn missed(&self) -> u64 {
        self.attached.missed()
    }

    /// How many elements of an array were given out so far. `map`: where that number is.
    pub(super) fn given_out(&self, map: &str) -> Result<u64> {
        self.value(map, 0)
    }

    /// An element of an array.
    pub(super) fn value<V: Copy + Default>(&self, map: &str, place: u32) -> Result<V> {
        let mut value = [V::default()];
        self.read(map, &place, &mut value)?;
        let [value] = value;
        Ok(value)
    }

    /// How many sockets have room for sums of their own.
    pub(super) fn most_sockets(&self) -> u32 {
        self.limits.sockets
    }

    /// The ledger.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn counters<const N: usize>(&self) -> Result<[u64; N]> {
        counters(&self.object, self.shape.entries)
    }

    /// The descriptor of a map.
    ///
    /// # Errors
    /// If there is no such map.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        self.object.map(name)
    }

    /// Writes an element of a map.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub(super) fn write<K, V>(&self, map: &str, key: &K, value: &V) -> Result<()> {
        self.object.write(map, key, value)
    }

    pub(super) fn read<K, V: Copy>(&self, map: &str, key: &K, values: &mut [V]) -> Result<()> {
        bpf::lookup(self.map(map)?, key, values)
            .map_err(|e| tried(format_args!("to read BPF map {map}")).because_of(e))
    }

    /// Calls `element` with every element of a hash map.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn each<K: Copy, V: Copy>(&self, map: &str, element: impl FnMut(K, V)) -> Result<()> {
        bpf::for_each_element(self.map(map)?, element)
            .map_err(|e| tried(format_args!("to read BPF map {map}")).because_of(e))
    }
}

/// How a call is counted, with the descriptor that may refer to another file after it, see [`CallUse::replacing`].
fn replacing(call: u64, used: CallUse) -> CallUse {
    match native(call).and_then(|number| Sysno::new(number as usize)) {
        Some(Sysno::dup2 | Sysno::dup3) => used.replacing(2),
        Some(Sysno::dup) => used.replacing(ALL_DESCRIPTORS),
        Some(Sysno::fcntl) => used.replacing(ALL_DESCRIPTORS).if_duplicating(),
        _ => used,
    }
}

fn types() -> Result<Types> {
    Types::of_kernel().map_err(|e| tried(format_args!("to read the kernel's types")).because_of(e))
}

fn tried(what: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::Kernel, format_args!("tried {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_give_files_other_descriptors_are_known() {
        let of = |call| replacing(call, CallUse::NONE);
        let all = CallUse::NONE.replacing(ALL_DESCRIPTORS);
        assert_eq!(of(Sysno::dup3.id() as u64), CallUse::NONE.replacing(2));
        assert_eq!(of(Sysno::dup.id() as u64), all);
        // `fcntl` of x86-64, and `fcntl64` of i386.
        assert_eq!([Sysno::fcntl.id() as u64, COMPAT | 221].map(of), [all.if_duplicating(); 2]);
        assert_eq!(of(Sysno::read.id() as u64), CallUse::NONE);
    }
}
