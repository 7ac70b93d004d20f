//! What all tools of an observation share in the kernel: the table of observed processes and their address spaces, unwind tables,
//! stack numbers, the ring. It is created once; each tool's object gets the descriptors.

use std::{
    ffi::CStr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use aya::maps::{MapData, RingBuf};
use memmap2::MmapRaw;
use profiler_common::space::{FILTER_WORDS, GIVEN, HOLD_NONE, HOLD_WANTED, MAX_SPACES, Missed, Space};

use super::files::MAX_FILES;
use crate::{
    capture::{
        kernel_log::{self, KernelLog},
        mapped,
        object::{Maps, Object, Settings, explain},
    },
    error::{Error, ErrorKind, Result},
    kernel::{
        bpf::{self, ProgramKind},
        helpers::TASK_ITERATOR,
        types::{Member, Types},
    },
};

/// Its maps, and the programs that follow processes.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ground"));
/// The filter in front of the table of targets: a section of the object.
const FILTER: &str = ".bss.filter";
/// The filter of threads: another section.
const FILTER_OF_THREADS: &str = ".bss.threads";
/// Members that the programs read.
const PLACES: [Member; 4] = [
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_SIGNAL", "task_struct", &["signal"]),
    ("SIGNAL_LIVE", "signal_struct", &["live"]),
];
/// The maps that tools use in place of their own.
const SHARED: [&str; 17] = [
    FILTER,
    FILTER_OF_THREADS,
    kernel_log::RING,
    "CALLER_STEPS",
    "FILE_NUMBERS",
    "HOLDS",
    "NEXT_FILE",
    "NEXT_SPACE",
    "NEXT_STACK",
    "RING",
    "SPACES",
    "STACK_NUMBERS",
    "TARGETS",
    "UNWIND_BLOCKS",
    "UNWIND_ROWS",
    "UNWIND_RULES",
    "UNWIND_SPACES",
];

/// The shared maps, and the programs that follow processes.
pub(crate) struct Ground {
    object: Object,
    next_space: MmapRaw,
    filter: MmapRaw,
    spaces: MmapRaw,
    /// The program that adds the threads of a process to the filter of threads, once it is loaded.
    enter_threads: OnceLock<OwnedFd>,
    follows: Follows,
    missed: MmapRaw,
    /// The log of its programs and those of tools, if it is wanted and its programs are attached.
    log: Mutex<Option<KernelLog>>,
}

/// What the programs follow besides execs and ends of targets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Follows {
    /// Processes that targets fork: those are observed too.
    pub(crate) children: bool,
    /// Threads of targets, for programs that run at every system call of the host.
    pub(crate) threads: bool,
    /// All processes that start on the host: they are reported.
    pub(crate) beginnings: bool,
}

/// How large the shared maps are, and what is followed.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Most call stacks that get a number of their own, plus one.
    pub(crate) max_stacks: u32,
    pub(crate) follows: Follows,
    /// Entries of the maps for unwind tables.
    pub(crate) tables: Vec<(&'static str, u32)>,
}

impl Ground {
    /// Creates the maps. Nothing is attached.
    ///
    /// # Errors
    /// If the kernel refuses them.
    pub(crate) fn load(shape: &Shape) -> Result<Ground> {
        let types = Types::of_kernel()
            .map_err(|e| Error::new(ErrorKind::Kernel, "tried to read the kernel's types").because_of(e))?;
        let places = types.globals(&PLACES).map_err(|e| {
            Error::new(ErrorKind::Kernel, "tried to follow the starts and ends of processes").because_of(e)
        })?;
        let Follows { children, beginnings, .. } = shape.follows;
        let children_followed = u32::from(children).to_ne_bytes();
        let stacks = shape.max_stacks.to_ne_bytes();
        let beginnings_reported = u32::from(beginnings).to_ne_bytes();
        let mut globals: Vec<_> = places.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        globals.extend([
            ("FOLLOW_CHILDREN", children_followed.as_slice()),
            ("REPORT_BEGINNINGS", &beginnings_reported),
            ("MAX_STACKS", &stacks),
        ]);
        // Only programs at every system call look for files.
        let files = if shape.follows.threads { MAX_FILES } else { 2 };
        let entries = shape
            .tables
            .iter()
            .copied()
            .chain([("STACK_NUMBERS", shape.max_stacks), ("FILE_NUMBERS", files)])
            .collect();
        let settings = Settings { globals, entries, ..Settings::default() };
        let object = Object::load("the observation", OBJECT, settings)?;
        let map = |name: &str, bytes: usize| mapped::writable(&object, name, bytes);
        let next_space = map("NEXT_SPACE", size_of::<u64>())?;
        let filter = map(FILTER, FILTER_WORDS as usize * size_of::<u64>())?;
        let spaces = map("SPACES", MAX_SPACES as usize * size_of::<Space>())?;
        let (enter_threads, follows) = (OnceLock::new(), shape.follows);
        let missed = map("MISSED", size_of::<Missed>())?;
        Ok(Ground {
            object,
            next_space,
            filter,
            spaces,
            enter_threads,
            follows,
            missed,
            log: Mutex::new(None),
        })
    }

    /// The object, to map its arrays.
    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// The maps for the object of a tool.
    pub(crate) fn shared(&self) -> Maps {
        self.object.share(&SHARED)
    }

    /// What the kernel side sends.
    pub(crate) fn ring(&self) -> Result<RingBuf<MapData>> {
        self.object.ring("RING")
    }

    /// The descriptors of its maps.
    pub(crate) fn maps(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.object.own_maps()
    }

    /// Has the threads of a process, which already passes the filter of processes, added to the filter of threads. Does nothing
    /// before the programs that follow threads are attached.
    fn enter_threads(&self, tgid: u32) -> Result<()> {
        let Some(program) = self.enter_threads.get() else { return Ok(()) };
        bpf::for_each_thread(program.as_fd(), tgid).map_err(|e| {
            Error::new(ErrorKind::Kernel, format_args!("tried to find the threads of process {tgid}"))
                .because_of(e)
        })
    }

    /// Number of threads in the filter of threads: at least those of targets.
    ///
    /// # Errors
    /// If the map cannot be read.
    #[cfg(feature = "lab")]
    pub(crate) fn entered_threads(&self) -> Result<u32> {
        let mut slots = vec![0u32; profiler_common::space::THREAD_SLOTS];
        bpf::lookup(self.object.map(FILTER_OF_THREADS)?, &0u32, &mut slots).map_err(|e| {
            Error::new(ErrorKind::Kernel, format_args!("tried to read BPF map {FILTER_OF_THREADS}"))
                .because_of(e)
        })?;
        Ok(slots.into_iter().fold(0, u32::wrapping_add))
    }

    /// Registers an address space. Call it before anything is attached to its process: it overwrites fields that the kernel side
    /// writes.
    pub(crate) fn register(&self, number: u16, space: &Space) -> Result<()> {
        self.write("SPACES", &u32::from(number), space)?;
        // In another pid namespace, our pids do not identify processes to the kernel.
        if space.tgid != 0 {
            self.set_filter_bit(space.tgid);
            self.enter_threads(space.tgid)?;
            self.write("TARGETS", &space.tgid, &u32::from(number))?;
        }
        Ok(())
    }

    /// Sets the bit of a process in the filter.
    fn set_filter_bit(&self, tgid: u32) {
        let index = (tgid / 64 % FILTER_WORDS) as usize;
        // SAFETY: a word of the mapping, which lives as long as this value. The kernel side sets bits atomically.
        let word = unsafe { AtomicU64::from_ptr(self.filter.as_mut_ptr().cast::<u64>().add(index)) };
        word.fetch_or(1 << (tgid % 64), Ordering::Relaxed);
    }

    /// A free number for an address space; `None` if all are taken. The kernel side takes numbers too.
    pub(crate) fn take_space(&self) -> Option<u16> {
        let number = self.next_space().fetch_add(1, Ordering::Relaxed);
        // The last one belongs to canaries.
        let number = u16::try_from(number).ok().filter(|number| *number < MAX_SPACES as u16 - 1)?;
        self.set_in_space(number, std::mem::offset_of!(Space, origin), GIVEN);
        Some(number)
    }

    /// Numbers that were taken so far, by us and by the kernel side: those below this one.
    pub(crate) fn taken_spaces(&self) -> u16 {
        self.next_space().load(Ordering::Acquire).min(u64::from(MAX_SPACES) - 1) as u16
    }

    fn next_space(&self) -> &AtomicU64 {
        // SAFETY: the first word of the mapping, which lives as long as this value. The kernel side adds atomically.
        unsafe { AtomicU64::from_ptr(self.next_space.as_mut_ptr().cast()) }
    }

    /// An address space that was registered by the kernel side or by us; `None` while it is not complete.
    pub(crate) fn complete_space(&self, number: u16) -> Option<Space> {
        let place = usize::from(number) * size_of::<Space>() + std::mem::offset_of!(Space, origin);
        assert!(place < MAX_SPACES as usize * size_of::<Space>());
        // SAFETY: a field within the mapping, which lives as long as this value.
        let origin = unsafe { AtomicU32::from_ptr(self.spaces.as_mut_ptr().add(place).cast()) };
        // Read first: the other fields were written before it.
        (origin.load(Ordering::Acquire) != 0).then(|| self.space(number))
    }

    /// The address space of a process that has not ended, if it is observed.
    pub(crate) fn space_of(&self, tgid: u32) -> Option<u16> {
        let mut number = [0u32];
        let found = self.object.map("TARGETS").map(|map| bpf::lookup(map, &tgid, &mut number));
        let [number] = number;
        matches!(found, Ok(Ok(()))).then_some(number as u16)
    }

    /// Stops observing the process of this id, if it still has this address space.
    pub(crate) fn forget_target(&self, tgid: u32, number: u16) {
        if self.space_of(tgid) == Some(number)
            && let Ok(map) = self.object.map("TARGETS")
            && let Err(error) = bpf::delete(map, &tgid)
        {
            tracing::debug!("process {tgid} stays in the table of targets: {error}");
        }
    }

    /// Processes that should be observed but are not.
    pub(crate) fn missed(&self) -> Missed {
        // SAFETY: the only element of the mapping, which lives as long as this value; any bytes are valid.
        unsafe { self.missed.as_ptr().cast::<Missed>().read_volatile() }
    }

    /// The kernel side's record of an address space.
    pub(crate) fn space(&self, number: u16) -> Space {
        assert!(u32::from(number) < MAX_SPACES);
        // SAFETY: an element of the mapping, which lives as long as this value; any bytes are valid.
        unsafe { self.spaces.as_ptr().cast::<Space>().add(number.into()).read_volatile() }
    }

    /// Writes one field of the kernel side's record, because the kernel side writes other fields at the same time. `offset`: of
    /// the field, a `u32`, in bytes.
    pub(crate) fn set_in_space(&self, number: u16, offset: usize, value: u32) {
        assert!(
            u32::from(number) < MAX_SPACES
                && offset < size_of::<Space>()
                && offset.is_multiple_of(size_of::<u32>())
        );
        let at = usize::from(number) * size_of::<Space>() + offset;
        // SAFETY: a field within the mapping, which lives as long as this value.
        let field = unsafe { AtomicU32::from_ptr(self.spaces.as_mut_ptr().add(at).cast()) };
        field.store(value, Ordering::Release);
    }

    /// Changes the flags of an address space, which only user space writes.
    pub(crate) fn change_flags(&self, number: u16, changed: impl FnOnce(u32) -> u32) {
        let flags = self.space(number).flags;
        self.set_in_space(number, std::mem::offset_of!(Space, flags), changed(flags));
    }

    /// Whether the process of an address space has replaced itself by exec, even if its record has not arrived yet.
    pub(crate) fn is_replaced(&self, number: u16) -> bool {
        self.space(number).replaced != 0
    }

    /// Asks the kernel side to stop the process of an address space at its first call. Call it before the process is
    /// released.
    pub(crate) fn want_hold(&self, number: u16) -> Result<()> {
        self.write("HOLDS", &u32::from(number), &HOLD_WANTED)
    }

    /// Whether the kernel side is to stop the process of an address space, or has: [`HOLD_WANTED`] and the states after it.
    pub(crate) fn hold(&self, number: u16) -> u64 {
        let mut state = [HOLD_NONE];
        let read = self.object.map("HOLDS").map(|map| bpf::lookup(map, &u32::from(number), &mut state));
        if !matches!(read, Ok(Ok(()))) {
            tracing::debug!("the state of a stopped process cannot be read");
        }
        let [state] = state;
        state
    }

    /// Follows forks, execs and ends, as long as the links are held.
    ///
    /// # Errors
    /// If the kernel refuses the programs.
    pub(crate) fn attach(&self) -> Result<Vec<OwnedFd>> {
        let mut links =
            vec![self.attach_to("ground_exec", c"sched_process_exec", ProgramKind::Tracepoint)?];
        let Follows { children, threads, beginnings } = self.follows;
        let tried = || Error::new(ErrorKind::Kernel, "tried to follow the starts and ends of processes");
        let lacks = |what: &str| tried().because(format_args!("the kernel's types do not have {what}"));
        let types = Types::of_kernel().map_err(|e| tried().because_of(e))?;
        let typed = |tracepoint: &CStr| {
            let name = tracepoint.to_string_lossy();
            types.tracepoint(&name).map(ProgramKind::TypedTracepoint).ok_or_else(|| lacks(&name))
        };
        if children || threads || beginnings {
            links.push(self.attach_to("ground_fork", c"task_newtask", typed(c"task_newtask")?)?);
        }
        if threads {
            let iterator = types.function(TASK_ITERATOR).ok_or_else(|| lacks(TASK_ITERATOR))?;
            let program = self.object.load_program("ground_thread", ProgramKind::Iterator(iterator));
            let _ = self.enter_threads.set(program.map_err(|e| explain(tried(), e))?);
            // New threads are added from here on. Existing ones are added before any of them can leave.
            for number in 0..self.taken_spaces() {
                match self.space(number).tgid {
                    0 => {}
                    tgid => self.enter_threads(tgid)?,
                }
            }
        }
        links.push(self.attach_to("ground_exit", c"sched_process_exit", typed(c"sched_process_exit")?)?);
        Ok(links)
    }

    fn attach_to(&self, program: &str, tracepoint: &CStr, kind: ProgramKind) -> Result<OwnedFd> {
        let load = || {
            let program = self.object.load_program(program, kind)?;
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.is_none() {
                *log = KernelLog::of(program.as_fd());
            }
            match kind {
                ProgramKind::TypedTracepoint(_) => bpf::open_typed_tracepoint(program.as_fd()),
                _ => bpf::open_tracepoint(program.as_fd(), tracepoint),
            }
        };
        let name = tracepoint.to_string_lossy();
        let tried =
            || Error::new(ErrorKind::Kernel, format_args!("tried to attach to the tracepoint {name}"));
        load().map_err(|e| explain(tried(), e))
    }

    /// Passes on what programs have logged.
    pub(crate) fn hand_on_log(&self) {
        if let Some(log) = &mut *self.log.lock().unwrap_or_else(PoisonError::into_inner) {
            log.hand_on();
        }
    }

    /// How many instructions the verifier looks at in the program that follows execs.
    #[cfg(feature = "lab")]
    pub(crate) fn verified_exec(&self) -> Result<u32> {
        let program = self.object.load_program("ground_exec", ProgramKind::Tracepoint);
        let verified = program.and_then(|program| bpf::verified_instructions(program.as_fd()));
        verified.map_err(|e| Error::new(ErrorKind::Kernel, "tried to load ground_exec").because_of(e))
    }

    /// Writes one element of a shared map.
    pub(crate) fn write<K, V>(&self, map: &str, key: &K, value: &V) -> Result<()> {
        bpf::update(self.object.map(map)?, key, value).map_err(|e| {
            Error::new(ErrorKind::Kernel, format_args!("tried to write BPF map {map}")).because_of(e)
        })
    }
}
