//! `sockets` as a tool of an observation.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::BorrowedFd,
    time::Instant,
};

use profiler_common::{
    io::{IoSample, UringRequest},
    ledger::{Class, Ledger as _},
    sockets::Counter,
};

use super::{
    ABOUT,
    args::Options,
    findings::{self, Facts},
    operations::{self, Operation},
    rules,
    tables::{Gathered, Tables},
};
use crate::{
    capture::{
        cost::{CostMeter, Reading},
        object::Object,
        uprobe::Links,
    },
    error::{Error, ErrorKind, Result},
    observe::{
        Beginning, Observation, Part,
        call_price::{Dearer, PerCall},
        ground::{Follows, Ground, Shape as GroundShape},
        io::{Connections, Counted, Limits, Probes, Samples, Seconds, Shape, announce_served_ports, price},
        monotonic_ns, require_kernel_pids,
        settings::Settings,
        sight::{self, Terms},
        space::Space,
    },
    report::{Ended, Finding, Severity},
    target::{family::Families, modules::Modules},
    tool::{About, Counts, Loading, Tool},
    units,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sockets"));

/// Sockets, by the upper four bits of their mode (include/uapi/linux/stat.h).
const KINDS: u32 = 1 << 12;

pub(super) static SHAPE: Shape = Shape {
    tool: ABOUT.name,
    object: OBJECT,
    programs: &[
        ("sockets_thread_exit", "sched_process_exit"),
        ("sockets_exec", "sched_process_exec"),
        ("sockets_exit", "sys_exit"),
        ("sockets_enter", "sys_enter"),
    ],
    away_first: &["sockets_enter", "sockets_exit"],
    kinds: KINDS,
    dearer: Dearer::OnSockets,
    use_of: operations::use_of,
    entries: Counter::ENTRIES,
    ring_use_of: operations::ring_use_of,
    optional: &[
        ("sockets_completed", &["io_uring_complete"]),
        ("sockets_submit", &["io_uring_submit_req", "io_uring_submit_sqe"]),
    ],
    members: &[],
};

/// The tool in one observation.
pub(super) struct Sockets {
    options: Options,
    limits: Limits,
    probes: Option<Probes>,
    /// What calls cost, once that is known.
    prices: Option<PerCall>,
    samples: Samples,
    seconds: Seconds,
    connections: Connections,
    read: Option<(Counted, [u64; Counter::COUNT], u64)>,
    /// What targets and their children had used at the start.
    families: Families,
}

impl Sockets {
    pub(super) fn new(options: Options, settings: &Settings) -> Sockets {
        let limits = Limits {
            slow_ns: options.slow.as_nanos() as u64,
            stacks: options.stacks,
            max_stacks: settings.max_stacks,
            ..Limits::default()
        };
        Sockets {
            options,
            limits,
            probes: None,
            prices: None,
            samples: Samples::default(),
            seconds: Seconds::default(),
            connections: Connections::default(),
            read: None,
            families: Families::default(),
        }
    }

    fn probes(&self) -> Result<&Probes> {
        self.probes.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to read what was counted").because("nothing is loaded")
        })
    }
}

impl Tool for Sockets {
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

    fn attach(&mut self, space: &mut Space, _: &Ground, _: &Modules) -> Result<()> {
        let Some(probes) = &mut self.probes else { return Ok(()) };
        announce_served_ports(probes, space.process.pid())?;
        probes.attach_once()
    }

    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()> {
        if self.options.show_peers {
            on.files.show_peers();
        }
        self.families =
            Families::of(&on.spaces.iter().map(|space| space.process.pid()).collect::<Vec<u32>>());
        require_kernel_pids()
    }

    fn attached_line(&self, on: &Observation<'_>) -> String {
        let took = on.attach_time().as_millis();
        format!("attached: all operations of {} on sockets, by tracepoints in {took} ms", on.who())
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.families.look(on.living());
        if let Some(probes) = &self.probes {
            self.seconds.look(probes)?;
            self.connections.look(probes)?;
        }
        Ok(())
    }

    fn take_record(&mut self, record: &[u8]) {
        if let Some(sample) = IoSample::read(record) {
            // Only its stack is of interest, if it has waited for others.
            let waits = Operation::of_number(sample.operation as u32).is_none_or(Operation::is_patient);
            self.samples.take(&sample, if waits { u64::MAX } else { self.limits.slow_ns });
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
        let (counted, counters) = (Counted::read(self.probes()?)?, counters(self.probes()?)?);
        self.read = Some((counted, counters, now_ns));
        if let Some(probes) = &self.probes {
            self.seconds.look(probes)?;
            self.connections.read(probes)?;
        }
        self.connections.compare(on.living());
        self.samples.settle();
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let (counted, counters, now_ns) = self.read.take().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to report what was counted").because("it was not read")
        })?;
        let names = counted.alive.iter().map(|thread| ((thread.space, thread.tid), thread.name.clone()));
        let settings = BTreeMap::from([("slow".to_owned(), units::exact_duration(self.options.slow))]);
        let mut part = Part { settings, names: names.collect(), ..Part::default() };
        part.account::<Counter>(&counters);
        part.losses.extend(losses(&counters));
        let gathered =
            Gathered { samples: &self.samples, seconds: &self.seconds, connections: &self.connections };
        let tables = Tables::new(on, &counted, gathered, &self.options, now_ns, &mut part);
        part.sections = tables.sections();
        let facts = Facts {
            lines: &tables.lines,
            alive: &counted.alive,
            row: &|what| tables.row(what),
            length: on.lasted(),
        };
        part.findings = match part.losses.first() {
            Some(first) => {
                let words = format!("The data are incomplete: {first}.");
                vec![Finding::plain(rules::INCOMPLETE, Severity::Limit, words)]
            }
            None => findings::findings(&facts),
        };
        let active: BTreeSet<u16> = counted.sums.keys().map(|key| key.space).collect();
        sight::whole::complete(&mut part.findings, on, &self.families, &active, &TERMS);
        Ok(part)
    }
}

/// The counters, with what only user space knows.
fn counters(probes: &Probes) -> Result<[u64; Counter::COUNT]> {
    let mut counters: [u64; Counter::COUNT] = probes.counters()?;
    let mut under_way = 0;
    probes.each("IO_URING_REQUESTS", |_: u64, _: UringRequest| under_way += 1)?;
    if let Some(counter) = counters.get_mut(Counter::RingUnderWay.index()) {
        *counter = under_way;
    }
    Ok(counters)
}

/// Losses that could change the answer.
fn losses(counters: &[u64; Counter::COUNT]) -> Vec<String> {
    let count = |counter: Counter| counters[counter.index()];
    let words = [
        (
            Counter::LostThread,
            "calls were not looked at because there are too many threads: observe fewer processes",
        ),
        (Counter::LostCell, "operations were not counted because the kernel had no memory: free some"),
    ];
    let lost = words.into_iter().filter(|(counter, _)| count(*counter) > 0);
    lost.map(|(counter, words)| format!("{} {words}", units::count(count(counter) as f64))).collect()
}

const TERMS: Terms = Terms {
    nothing: "No operation on a socket ended",
    does: "uses sockets",
    did: "used sockets",
    calls: "no socket.",
    aged: "it used no sockets meanwhile",
    nothing_seen: rules::NOTHING_SEEN,
    halted: rules::HALTED,
    children: rules::CHILDREN,
    unobserved: rules::UNOBSERVED,
    ended: rules::ENDED,
};

/// Attaches the programs for a moment without any target, to find out whether the kernel accepts them.
///
/// # Errors
/// If it does not, or if profiler is in a pid namespace.
pub(super) fn try_out() -> Result<()> {
    require_kernel_pids()?;
    let ground =
        Ground::load(&GroundShape { max_stacks: 16, follows: Follows::default(), tables: Vec::new() })?;
    let limits =
        Limits { threads: 1, cells: 2, histograms: 1, max_stacks: 16, sockets: 2, ..Limits::default() };
    let object = Probes::load(&SHAPE, limits, profiler_common::record::RECORD_OF_TOOL, ground.shared())?;
    Probes::over(object, &SHAPE, limits)?.attach_once()
}
