//! `disk` as a tool of an observation.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::BorrowedFd,
    time::Instant,
};

use profiler_common::{
    disk::{Counter, NEIGHBOURS},
    io::IoSample,
    ledger::{Class, Ledger as _},
    record::RECORD_OF_TOOL,
};

use super::{
    ABOUT,
    accounts::{ledger, losses},
    args::Options,
    devices::{self, Devices},
    findings::{self, Facts},
    lines::File,
    operations, rules,
    tables::{Given, Tables},
    waits::{self, Waits},
};
use crate::{
    capture::{
        cost::{CostMeter, Reading},
        object::Object,
        uprobe::Links,
    },
    error::{Error, ErrorKind, Result},
    kernel::symbols::Symbols,
    observe::{
        Beginning, Observation, Part,
        call_price::{Dearer, PerCall},
        ground::{Follows, Ground, Shape as GroundShape},
        io::{Counted, Limits, Probes, Samples, Seconds, Shape, price},
        monotonic_ns, require_kernel_pids,
        settings::Settings,
        sight,
        space::Space,
    },
    report::{Ended, Finding, Severity},
    target::{family::Families, modules::Modules},
    tool::{About, Counts, Loading, Tool},
    units,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/disk"));

/// Regular files, directories and block devices, by the upper four bits of their mode (include/uapi/linux/stat.h).
const KINDS: u32 = 1 << 8 | 1 << 4 | 1 << 6;

pub(super) static SHAPE: Shape = Shape {
    tool: ABOUT.name,
    object: OBJECT,
    programs: &[
        ("disk_thread_exit", "sched_process_exit"),
        ("disk_exec", "sched_process_exec"),
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
        ("disk_completed", &["io_uring_complete"]),
        ("disk_submit", &["io_uring_submit_req", "io_uring_submit_sqe"]),
        ("disk_served", &["block_rq_complete"]),
        ("disk_issued", &["block_rq_issue"]),
        ("disk_submitted", &["block_bio_queue"]),
    ],
    members: &[
        ("TASK_STATE", "task_struct", &["__state"]),
        ("BIO_DEVICE", "bio", &["bi_bdev"]),
        ("BIO_FLAGS", "bio", &["bi_opf"]),
        ("BIO_BYTES", "bio", &["bi_iter", "bi_size"]),
        ("DEVICE_NUMBER", "block_device", &["bd_dev"]),
        ("REQUEST_BIO", "request", &["bio"]),
        ("REQUEST_FLAGS", "request", &["cmd_flags"]),
        ("REQUEST_BYTES", "request", &["__data_len"]),
        ("REQUEST_PART", "request", &["part"]),
    ],
};

/// What was counted up to a moment.
struct Snapshot {
    counted: Counted,
    waits: Waits,
    devices: Devices,
    counters: [u64; Counter::COUNT],
    now_ns: u64,
}

/// The tool in one observation.
pub(super) struct Disk {
    options: Options,
    limits: Limits,
    probes: Option<Probes>,
    /// What calls cost, once that is known.
    prices: Option<PerCall>,
    samples: Samples,
    seconds: Seconds,
    read: Option<Snapshot>,
    /// Functions of the kernel, once some were looked up.
    symbols: Option<Symbols>,
    /// What targets and their children had used at the start.
    families: Families,
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
        Disk {
            options,
            limits,
            probes: None,
            prices: None,
            samples: Samples::default(),
            seconds: Seconds::default(),
            read: None,
            symbols: None,
            families: Families::default(),
        }
    }

    fn probes(&self) -> Result<&Probes> {
        self.probes.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to read what was counted").because("nothing is loaded")
        })
    }
}

impl Tool for Disk {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn begin(&mut self, beginning: &Beginning<'_>) -> Loading {
        let (limits, kind) = (self.limits, beginning.record_kind);
        Box::new(move |shared| Probes::load(&SHAPE, limits, kind, shared))
    }

    fn loaded(&mut self, object: Object, _: u32) -> Result<()> {
        self.probes = Some(Probes::over(object, &SHAPE, self.limits)?);
        if self.prices.is_none() {
            // No prediction is wanted, but the cost is reported all the same.
            self.prices = Some(price::prices(&SHAPE));
        }
        Ok(())
    }

    fn admit(&mut self, spaces: &[Space], settings: &Settings, cost: &mut CostMeter) -> Result<bool> {
        let begun = Instant::now();
        settings.stage.begin("counting calls, to predict the cost");
        let pids: Vec<u32> = spaces.iter().map(|space| space.process.pid()).collect();
        let (prices, forecast, refusal) = price::admit(&SHAPE, &pids, settings.max_cost)?;
        self.prices = Some(prices);
        cost.counted(begun.elapsed(), forecast.as_ref().map(|forecast| forecast.share), HashMap::new());
        refusal.map_or(Ok(true), Err)
    }

    fn attach(&mut self, _: &mut Space, _: &Ground, _: &Modules) -> Result<()> {
        match &mut self.probes {
            Some(probes) => probes.attach_once(),
            None => Ok(()),
        }
    }

    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()> {
        self.families =
            Families::of(&on.spaces.iter().map(|space| space.process.pid()).collect::<Vec<u32>>());
        require_kernel_pids()
    }

    fn attached_line(&self, on: &Observation<'_>) -> String {
        let took = on.attach_time().as_millis();
        format!("attached: all operations of {} on files, by tracepoints in {took} ms", on.who())
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.families.look(on.living());
        if let Some(probes) = &self.probes {
            self.seconds.look(probes)?;
        }
        Ok(())
    }

    fn take_record(&mut self, record: &[u8]) {
        if let Some(sample) = IoSample::read(record) {
            self.samples.take(&sample, self.limits.slow_ns);
        }
    }

    fn counts(&self) -> Result<Counts> {
        let counters: [u64; Counter::COUNT] = self.probes()?.counters()?;
        let of = |counter: Counter| counters[counter.index()];
        let lost = Counter::ALL.iter().filter(|counter| counter.class() == Class::Lost);
        Ok(Counts {
            hits: of(Counter::EnterHits) + of(Counter::ExitHits),
            lost: lost.map(|counter| of(*counter)).sum(),
            things: (of(Counter::Counted), "operations"),
        })
    }

    fn reading(&self, _: bool) -> Result<Reading> {
        let prices = self.prices.unwrap_or(PerCall::ASSUMED);
        Ok(Reading {
            priced: vec![price::paid(self.probes()?, prices, self.counts()?.hits)?],
            ..Reading::default()
        })
    }

    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        Box::new(self.probes.iter().flat_map(|probes| probes.object.own_maps()))
    }

    fn take_first(&mut self, space: Option<u16>) -> Vec<Links> {
        if space.is_none()
            && let Some(probes) = &mut self.probes
        {
            probes.close();
        }
        Vec::new()
    }

    fn snapshot(&mut self, on: &mut Observation<'_>, _: Ended) -> Result<()> {
        let now_ns = on.end_ns.unwrap_or_else(monotonic_ns);
        let mut symbols = self.symbols.take();
        let probes = self.probes()?;
        let (counted, counters) = (Counted::read(probes)?, ledger(probes)?);
        let (waits, devices) = (waits::read(probes, &mut symbols)?, devices::read(probes)?);
        self.symbols = symbols;
        self.read = Some(Snapshot { counted, waits, devices, counters, now_ns });
        if let Some(probes) = &self.probes {
            self.seconds.look(probes)?;
        }
        self.samples.settle();
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let Snapshot { counted, waits, devices, counters, now_ns } = self.read.take().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to report what was counted").because("it was not read")
        })?;
        let names = counted.alive.iter().map(|thread| ((thread.space, thread.tid), thread.name.clone()));
        let settings = BTreeMap::from([("slow".to_owned(), units::exact_duration(self.options.slow))]);
        let mut part = Part { settings, names: names.collect(), ..Part::default() };
        part.account::<Counter>(&counters);
        part.losses.extend(losses(&counters));
        let probes = self.probes()?;
        let given = Given {
            on,
            counted: &counted,
            waits: &waits,
            devices: &devices,
            samples: &self.samples,
            seconds: &self.seconds,
            options: &self.options,
            has_fetched: probes.has_fetched,
            left_out: &probes.left_out,
            now_ns,
        };
        let tables = Tables::new(given, &mut part);
        part.sections = tables.sections();
        let facts = Facts {
            lines: &tables.lines,
            row: &|what| tables.row(what),
            caller: &|line| tables.caller(line).cloned(),
            label: &|file| File::of(on.files.of_operation(file)),
            alive: &counted.alive,
            span_ns: (on.began_ns(), now_ns),
        };
        part.findings = match part.losses.first() {
            Some(first) => {
                let words = format!("The data are incomplete: {first}.");
                vec![Finding::plain(rules::INCOMPLETE, Severity::Limit, words)]
            }
            None => findings::findings(&facts),
        };
        let active: BTreeSet<u16> = counted.sums.keys().map(|key| key.space).collect();
        sight::whole::complete(&mut part.findings, on, &self.families, &active, &rules::TERMS);
        Ok(part)
    }
}

/// Attaches the programs for a moment without any target, to find out whether the kernel accepts them.
///
/// # Errors
/// If it does not, or if profiler is in a pid namespace.
pub(super) fn try_out() -> Result<()> {
    require_kernel_pids()?;
    let ground =
        Ground::load(&GroundShape { max_stacks: 16, follows: Follows::default(), tables: Vec::new() })?;
    let limits = Limits { threads: 1, cells: 2, histograms: 1, max_stacks: 16, ..Limits::default() };
    let object = Probes::load(&SHAPE, limits, RECORD_OF_TOOL, ground.shared())?;
    Probes::over(object, &SHAPE, limits)?.attach_once()
}
