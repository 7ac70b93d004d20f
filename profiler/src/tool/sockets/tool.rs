//! `sockets` as a tool of an observation.

use std::os::fd::BorrowedFd;

use profiler_common::{ledger::Ledger as _, sockets::Counter};

use super::{
    ABOUT,
    args::Options,
    findings::{self, Facts},
    operations::{self, Operation},
    rules,
    states::States,
    tables::{Given, Tables},
};
use crate::{
    capture::{
        cost::{CostMeter, Reading},
        object::Object,
        uprobe::Links,
    },
    error::Result,
    io_tools::{Base, Read},
    observe::{
        Beginning, Observation, Part,
        call_price::Dearer,
        ground::Ground,
        io::{
            Connections, Datagrams, Limits, NO_RING, Optional, Shape, announce_served_ports, note_unknown,
            unknown,
        },
        settings::Settings,
        space::Space,
    },
    report::Ended,
    target::modules::Modules,
    tool::{About, Counts, Loading, Tool},
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
        ("sockets_signal", "signal_deliver"),
        ("sockets_exit", "sys_exit"),
        ("sockets_enter", "sys_enter"),
    ],
    away_first: &["sockets_enter", "sockets_exit"],
    kinds: KINDS,
    dearer: Dearer::OnSockets,
    use_of: operations::use_of,
    entries: Counter::ENTRIES,
    ring_use_of: operations::ring_use_of,
    at_major_faults: None,
    sizes: Vec::new,
    settings: |_| Vec::new(),
    optional: &[
        Optional { program: "sockets_completed", tracepoints: &["io_uring_complete"], without: NO_RING },
        Optional {
            program: "sockets_submit",
            tracepoints: &["io_uring_submit_req", "io_uring_submit_sqe"],
            without: NO_RING,
        },
    ],
    members: &[],
};

/// The tool in one observation.
pub(super) struct Sockets {
    options: Options,
    base: Base,
    connections: Connections,
    datagrams: Datagrams,
    states: States,
}

impl Sockets {
    pub(super) fn new(options: Options, settings: &Settings) -> Sockets {
        let limits = Limits {
            slow_ns: options.slow.as_nanos() as u64,
            stacks: options.stacks,
            max_stacks: settings.max_stacks,
            ..Limits::default()
        };
        let base = Base::new(&SHAPE, limits);
        Sockets {
            options,
            base,
            connections: Connections::default(),
            datagrams: Datagrams::default(),
            states: States::default(),
        }
    }
}

impl Tool for Sockets {
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

    fn attach(&mut self, space: &mut Space, ground: &Ground, _: &Modules) -> Result<()> {
        announce_served_ports(self.base.probes()?, space.process.pid())?;
        self.states.attach_once(ground);
        self.states.begin(space.process.pid());
        self.base.attach_once()
    }

    fn attached(&mut self, on: &mut Observation<'_>) -> Result<()> {
        if self.options.show_peers {
            on.files.show_peers();
        }
        // Before a command begins, its only socket is the one through which profiler starts it.
        if on.command().is_none() {
            self.states.look(on.living_spaces())?;
        }
        self.base.attached(on)
    }

    fn attached_line(&self, on: &Observation<'_>) -> String {
        let took = on.attach_time().as_millis();
        format!("attached: all operations of {} on sockets, by tracepoints in {took} ms", on.who())
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.base.look(on)?;
        self.states.look(on.living_spaces())?;
        self.connections.look(self.base.probes()?, on.living())
    }

    fn take_record(&mut self, record: &[u8]) {
        let slow_ns = self.base.limits.slow_ns;
        self.base.take_record(record, |operation| {
            // Only its stack is of interest, if it has waited for others.
            let waits = Operation::of_number(operation).is_none_or(Operation::is_patient);
            if waits { u64::MAX } else { slow_ns }
        });
    }

    fn counts(&self) -> Result<Counts> {
        let mut counts = self.base.counts::<Counter>()?;
        let [hits, lost] = self.states.counts()?;
        counts.hits += hits;
        counts.lost += lost;
        Ok(counts)
    }

    fn reading(&self, _: bool) -> Result<Reading> {
        self.base.reading::<Counter>()
    }

    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        Box::new(self.base.maps().chain(self.states.maps()))
    }

    fn closing(&mut self) {
        if let Err(error) = self.states.look_again() {
            tracing::debug!("no last look at sockets: {error}");
        }
    }

    fn take_first(&mut self, space: Option<u16>) -> Vec<Links> {
        if space.is_none() {
            self.base.close();
            self.states.close();
        }
        Vec::new()
    }

    fn snapshot(&mut self, on: &mut Observation<'_>, _: Ended) -> Result<()> {
        self.base.snapshot::<Counter>(on)?;
        self.connections.read(self.base.probes()?)?;
        self.datagrams = Datagrams::read(self.base.probes()?)?;
        self.states.read()?;
        self.connections.compare(on.living());
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let (Read { counted, counts, now_ns }, mut part) = self.base.take_read::<Counter>()?;
        let given = Given {
            counted: &counted,
            samples: &self.base.samples,
            seconds: &self.base.seconds,
            connections: &self.connections,
            datagrams: &self.datagrams,
            states: &self.states,
            options: &self.options,
            uncounted: [Counter::RingGoesOn, Counter::MessagesBeyond]
                .map(|counter| counts.get(counter.index()).copied().unwrap_or_default()),
            now_ns,
        };
        self.states.account(&mut part);
        let tables = Tables::new(on, given, &mut part);
        part.sections = tables.sections();
        note_unknown(&mut part.sections, unknown(&self.base.probes()?.left_out));
        note_unknown(&mut part.sections, self.states.unknown());
        let facts = Facts {
            lines: &tables.lines,
            sockets: &tables.sockets,
            files: &on.files,
            alive: &counted.alive,
            row: &|what| tables.row(what),
            rows: &|what, operation| tables.rows(what, operation),
            function: &|what, operation| tables.function(what, operation).cloned(),
            length: on.lasted(),
        };
        let rules = (rules::INCOMPLETE, &rules::TERMS);
        self.base.conclude(&mut part, on, &counted, rules, || findings::findings(&facts));
        Ok(part)
    }
}
