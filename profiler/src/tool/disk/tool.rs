//! `disk` as a tool of an observation.

use std::{num::NonZero, os::fd::BorrowedFd, thread};

use profiler_common::{
    disk::{AioKey, AioRequest, Counter, NEIGHBOURS},
    file::calls::FileUse,
    io::CallUse,
    ledger::Ledger as _,
};

use super::{
    ABOUT,
    args::Options,
    before,
    devices::{self, Devices},
    elsewhere,
    findings::{self, Facts},
    operations::{self, Operation},
    rules,
    tables::{Given, Tables},
    waits::{self, Waits},
};
use crate::{
    capture::{
        cost::{CostMeter, Reading},
        object::Object,
        uprobe::Links,
    },
    error::Result,
    io_tools::{Base, Label, Read},
    kernel::{symbols::Symbols, types::Types},
    observe::{
        Beginning, Observation, Part,
        call_price::Dearer,
        ground::Ground,
        io::{Limits, NO_RING, Optional, Setting, Shape, note_unknown, unknown},
        settings::Settings,
        space::Space,
    },
    report::Ended,
    target::modules::Modules,
    tool::{About, Counts, Loading, Tool},
    units,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/disk"));

/// Regular files, directories and block devices, by the upper four bits of their mode (include/uapi/linux/stat.h).
const KINDS: u32 = 1 << 8 | 1 << 4 | 1 << 6;

/// The program at the beginning of faults of mapped files.
pub(super) const FAULT_BEGAN: &str = "disk_fault";
/// What is not known without the programs at requests.
const NO_REQUESTS: &str = "requests to devices are not counted";
/// The tracepoint at the beginning of faults (Linux 6.11).
const LOOKS_FOR_PAGE: &str = "mm_filemap_fault";

/// Parts of requests that are followed at the same time. The kernel sets some of the room aside for each processor, and gives what is left to the
/// newest ones.
fn sizes() -> Vec<(&'static str, u32)> {
    const SHARED: u32 = 1 << 13;
    const OF_PROCESSOR: u32 = 1 << 8;
    let processors = thread::available_parallelism().map_or(1, NonZero::get) as u32;
    vec![("SUBMITTED", SHARED.saturating_add(OF_PROCESSOR.saturating_mul(processors)))]
}

/// What the programs at faults are told.
fn settings(types: &Types) -> Vec<Setting> {
    let has_start = u32::from(types.tracepoint(LOOKS_FOR_PAGE).is_some());
    let used = CallUse::new(FileUse::NONE, Operation::Fault.number());
    vec![
        ("HAS_FAULT_START", has_start.to_ne_bytes().to_vec()),
        ("FAULT_USE", used.bits().to_ne_bytes().to_vec()),
    ]
}

pub(super) static SHAPE: Shape = Shape {
    tool: ABOUT.name,
    object: OBJECT,
    programs: &[
        ("disk_thread_exit", "sched_process_exit"),
        ("disk_exec", "sched_process_exec"),
        ("disk_signal", "signal_deliver"),
        ("disk_switch", "sched_switch"),
        ("disk_exit", "sys_exit"),
        ("disk_enter", "sys_enter"),
    ],
    away_first: &["disk_enter", "disk_exit"],
    kinds: KINDS,
    dearer: Dearer::OnFiles,
    use_of: operations::use_of,
    entries: Counter::ENTRIES,
    ring_use_of: operations::ring_use_of,
    optional: &[
        Optional {
            program: FAULT_BEGAN,
            tracepoints: &[LOOKS_FOR_PAGE],
            without: "how long faults of mapped files take is not known, and pages that were swapped out count too",
        },
        Optional { program: "disk_completed", tracepoints: &["io_uring_complete"], without: NO_RING },
        Optional {
            program: "disk_submit",
            tracepoints: &["io_uring_submit_req", "io_uring_submit_sqe"],
            without: NO_RING,
        },
        Optional { program: "disk_served", tracepoints: &["block_rq_complete"], without: NO_REQUESTS },
        Optional {
            program: "disk_put_back",
            tracepoints: &["block_rq_requeue"],
            without: "requests that a device has put back are not counted",
        },
        Optional { program: "disk_issued", tracepoints: &["block_rq_issue"], without: NO_REQUESTS },
        Optional {
            program: "disk_split",
            tracepoints: &["block_split"],
            without: "of requests that are split for their device, only the last piece is counted",
        },
        Optional { program: "disk_submitted", tracepoints: &["block_bio_queue"], without: NO_REQUESTS },
    ],
    at_major_faults: Some(("disk_faulted", "faults of mapped files are not counted")),
    sizes,
    settings,
    members: &[
        ("TASK_MINOR", "task_struct", &["min_flt"]),
        ("TASK_MAJOR", "task_struct", &["maj_flt"]),
        ("BIO_DEVICE", "bio", &["bi_bdev"]),
        ("BIO_FLAGS", "bio", &["bi_opf"]),
        ("BIO_BYTES", "bio", &["bi_iter", "bi_size"]),
        ("BIO_PRIVATE", "bio", &["bi_private"]),
        ("DEVICE_NUMBER", "block_device", &["bd_dev"]),
        ("REQUEST_BIO", "request", &["bio"]),
        ("REQUEST_FLAGS", "request", &["cmd_flags"]),
        ("REQUEST_BYTES", "request", &["__data_len"]),
    ],
};

/// What only this tool has counted up to a moment.
#[derive(Default)]
struct Snapshot {
    waits: Waits,
    devices: Devices,
}

/// Losses that could change the answer, beside those of all tools on files.
fn losses(of: impl Fn(Counter) -> u64) -> Vec<String> {
    let lost = of(Counter::AioLost);
    let words = "requests of libaio were not counted because there are too many at the same time, or they could not be read: observe fewer processes";
    let lost_faults = of(Counter::FaultLost);
    let of_faults = "page faults were not counted because the kernel had no memory: free some";
    [(lost, words), (lost_faults, of_faults)]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{} {words}", units::count(count as f64)))
        .collect()
}

/// The tool in one observation.
pub(super) struct Disk {
    options: Options,
    base: Base,
    read: Option<Snapshot>,
    /// Requests of libaio whose processes have ended before them.
    aio_unseen: u64,
    /// Functions of the kernel, once some were looked up.
    symbols: Option<Symbols>,
}

impl Disk {
    pub(super) fn new(options: Options, settings: &Settings) -> Disk {
        let limits = Limits {
            slow_ns: options.slow.as_nanos() as u64,
            stacks: options.stacks,
            of_tool: if options.neighbours { NEIGHBOURS } else { 0 },
            max_stacks: settings.max_stacks,
            ..Limits::default()
        };
        Disk { options, base: Base::new(&SHAPE, limits), read: None, aio_unseen: 0, symbols: None }
    }
}

impl Tool for Disk {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn begin(&mut self, beginning: &Beginning<'_>) -> Loading {
        self.base.loading(beginning)
    }

    fn loaded(&mut self, object: Object, _: u32) -> Result<()> {
        self.base.loaded(object)
    }

    fn admit(&mut self, spaces: &[Space], settings: &Settings, cost: &mut CostMeter) -> Result<bool> {
        self.base.admit(spaces, settings, cost)
    }

    fn attach(&mut self, _: &mut Space, _: &Ground, _: &Modules) -> Result<()> {
        self.base.attach_once()
    }

    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()> {
        self.base.attached(on)
    }

    fn attached_line(&self, on: &Observation<'_>) -> String {
        let took = on.attach_time().as_millis();
        format!("attached: all operations of {} on files, by tracepoints in {took} ms", on.who())
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        let space = |key: &AioKey, _: &AioRequest| key.space as u16;
        self.aio_unseen += self.base.forget_ended(on, "AIO_REQUESTS", space)?;
        self.base.look(on)
    }

    fn take_record(&mut self, record: &[u8]) {
        let slow_ns = self.base.limits.slow_ns;
        self.base.take_record(record, |_| slow_ns);
    }

    fn counts(&self) -> Result<Counts> {
        self.base.counts::<Counter>()
    }

    fn reading(&self, _: bool) -> Result<Reading> {
        self.base.reading::<Counter>()
    }

    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        self.base.maps()
    }

    fn take_first(&mut self, space: Option<u16>) -> Vec<Links> {
        if space.is_none() {
            self.base.close();
        }
        Vec::new()
    }

    fn snapshot(&mut self, on: &mut Observation<'_>, _: Ended) -> Result<()> {
        self.base.snapshot::<Counter>(on)?;
        self.base.count_under_way::<AioKey, AioRequest>(Counter::AioUnderWay, "AIO_REQUESTS")?;
        self.base.count_more(Counter::AioUnseen, self.aio_unseen);
        let probes = self.base.probes()?;
        let (waits, devices) = (waits::read(probes, &mut self.symbols)?, devices::read(probes)?);
        self.read = Some(Snapshot { waits, devices });
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let (Read { counted, counts, now_ns }, mut part) = self.base.take_read::<Counter>()?;
        let of = |counter: Counter| counts.get(counter.index()).copied().unwrap_or_default();
        part.losses.extend(losses(of));
        let Snapshot { waits, devices } = self.read.take().unwrap_or_default();
        let probes = self.base.probes()?;
        let given = Given {
            counted: &counted,
            waits: &waits,
            devices: &devices,
            samples: &self.base.samples,
            seconds: &self.base.seconds,
            options: &self.options,
            has_fetched: probes.has_fetched,
            left_out: &probes.left_out,
            unseen: [Counter::AioUnseen, Counter::RingUnseen].map(of),
            without_row: [Counter::WaitLost, Counter::RequestLost].map(of),
            now_ns,
        };
        let tables = Tables::new(on, given, &mut part);
        part.sections = tables.sections();
        note_unknown(&mut part.sections, unknown(&probes.left_out));
        let label = |file| Label::of(on.files.of_operation(file));
        let facts = Facts {
            lines: &tables.lines,
            row: &|what| tables.row(what),
            caller: &|stack| tables.caller(stack).cloned(),
            label: &label,
            alive: &counted.alive,
            span_ns: (on.began_ns(), now_ns),
            before: &before::find(on, &counted.alive),
            waits_elsewhere: &elsewhere::waits,
            elsewhere: &elsewhere::most_of_the_time(&waits, label),
            misses_slow: self.base.samples.forgotten > 0
                || self.base.samples.without_moment > 0
                || of(Counter::SparedSlow) > 0
                || of(Counter::LostSample) > 0,
        };
        let rules = (rules::INCOMPLETE, &rules::TERMS);
        self.base.conclude(&mut part, on, &counted, rules, || findings::findings(&facts));
        Ok(part)
    }
}
