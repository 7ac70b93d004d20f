//! `syscalls` as a tool of an observation.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use profiler_common::syscalls::{Counter, SlowCall};

use super::{
    ABOUT,
    args::Options,
    children::Gathered,
    counted::Counted,
    findings::{Asked, Facts},
    part::{account, callers_lost, io_uring, names, said, stacks, uring, waiting},
    price::{hint, paid, with_pricing},
    probes::{Limits, Probes, Stacks},
    recent::Before,
    rows::{Rows, Who, comm},
    rules,
    slow::{Singles, durations, slow_from},
    sums,
    tables::Tables,
};
use crate::{
    capture::{
        cost::{CostMeter, Reading, threads::name as thread_name},
        object::Object,
        uprobe::Links,
    },
    error::{Error, ErrorKind, Result},
    observe::{
        Beginning, Observation, Part,
        call_price::{self, PerCall, find_out, later, refused},
        ground::Ground,
        monotonic_ns, require_kernel_pids,
        settings::Settings,
        sight,
        space::Space,
    },
    report::Ended,
    target::{datagrams::has_datagrams, family::Families, modules::Modules},
    text::{Pattern, Text},
    tool::{About, Counts, Loading, Tool},
    units,
};

/// How many slow calls per second have their stack taken, at most.
const STACKS_PER_S: u64 = 100;
/// The same for calls that wait: long ones only show that nothing happens.
const WAITS_PER_S: u64 = 20;
/// A call is slow from this length on, until the first second has shown how long calls take here.
const FIRST_SLOW_NS: u64 = 1_000_000;

/// The tool in one observation.
pub(super) struct Syscalls {
    options: Options,
    limits: Limits,
    probes: Option<Probes>,
    /// What a call costs, once that is known.
    per_call: Option<PerCall>,
    /// Durations of all calls up to the last look, by bucket: of those that do not wait, and of those that do.
    durations: [Vec<u64>; 2],
    /// The counts of the previous report, and when it was made.
    before: (Before, Duration),
    singles: Singles,
    read: Option<(Counted, u64)>,
    /// Threads that are in a call and have no record: that call began before the observation.
    waiting: Vec<(Who, u64)>,
    /// What targets and their children had used at the start.
    families: Families,
}

impl Syscalls {
    pub(super) fn new(options: Options, settings: &Settings) -> Syscalls {
        let list_ns = options.slow.map_or(u64::MAX, |slow| slow.as_nanos() as u64);
        let stack_ns = if options.stacks == Stacks::None { u64::MAX } else { FIRST_SLOW_NS };
        let limits = Limits {
            list_ns,
            stacks: options.stacks,
            stack_ns,
            max_stacks: settings.max_stacks,
            ..Limits::default()
        };
        Syscalls {
            options,
            limits,
            probes: None,
            per_call: None,
            durations: [Vec::new(), Vec::new()],
            before: (Before::default(), Duration::ZERO),
            singles: Singles::default(),
            read: None,
            waiting: Vec::new(),
            families: Families::default(),
        }
    }

    fn probes(&self) -> Result<&Probes> {
        self.probes.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to read what was counted").because("nothing is loaded")
        })
    }

    /// Adapts the limit of what is slow, so that about [`STACKS_PER_S`] calls a second are, and [`WAITS_PER_S`] of those that wait.
    fn adapt(&mut self) -> Result<()> {
        let now = durations(self.probes()?)?;
        let [works, waits] = &now;
        let [works_before, waits_before] = &self.durations;
        self.limits.stack_ns = slow_from(works, works_before, STACKS_PER_S);
        self.limits.wait_ns = Some(slow_from(waits, waits_before, WAITS_PER_S));
        self.durations = now;
        self.probes()?.set(self.limits, false)
    }
}

impl Tool for Syscalls {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn begin(&mut self, beginning: &Beginning<'_>) -> Loading {
        let (limits, kind) = (self.limits, beginning.record_kind);
        Box::new(move |shared| Probes::load(limits, kind, shared))
    }

    fn loaded(&mut self, object: Object, _: u32) -> Result<()> {
        self.probes = Some(Probes::over(object, self.limits)?);
        if self.per_call.is_none() {
            // No prediction is wanted, but the cost is reported all the same.
            let lists = self.limits.lists();
            self.per_call = Some(with_pricing(lists, self.limits.stacks, call_price::unasked));
        }
        Ok(())
    }

    fn admit(&mut self, spaces: &[Space], settings: &Settings, cost: &mut CostMeter) -> Result<bool> {
        let begun = Instant::now();
        settings.stage.begin("counting calls, to predict the cost");
        let pids: Vec<u32> = spaces.iter().map(|space| space.process.pid()).collect();
        let stacks = self.limits.stacks;
        let found = with_pricing(self.limits.lists(), stacks, |pricing| {
            let mut found = find_out(&pids, pricing)?;
            found.settle(settings.max_cost, || later(pricing));
            Ok(found)
        })?;
        self.per_call = Some(found.per_call);
        let forecast = found.forecast(settings.max_cost);
        cost.counted(begun.elapsed(), forecast.as_ref().map(|forecast| forecast.share), HashMap::new());
        match forecast.and_then(|forecast| refused(&forecast, settings.max_cost, hint(stacks))) {
            Some(refused) => Err(refused),
            None => Ok(true),
        }
    }

    fn attach(&mut self, _: &mut Space, _: &Ground, _: &Modules) -> Result<()> {
        match &mut self.probes {
            Some(probes) => probes.attach_once(),
            None => Ok(()),
        }
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
        format!("attached: all system calls of {}, by tracepoints in {took} ms", on.who())
    }

    fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.families.look(on.living());
        if self.limits.stacks == Stacks::Slow { self.adapt() } else { Ok(()) }
    }

    fn take_record(&mut self, record: &[u8]) {
        let Some((call, path)) = SlowCall::read(record) else { return };
        let fits = |pattern: &Pattern| pattern.fits(&comm(call.comm).terminal());
        if !self.options.thread.as_ref().is_none_or(fits) {
            return;
        }
        self.singles.take(call, path);
    }

    fn counts(&self) -> Result<Counts> {
        let probes = self.probes()?;
        let [enters, exits] = sums::hits(probes)?;
        Ok(Counts { hits: enters + exits, lost: sums::lost(probes)?, things: (enters, "calls") })
    }

    fn reading(&self, _: bool) -> Result<Reading> {
        let per_call = self.per_call.unwrap_or(PerCall::ASSUMED);
        Ok(Reading { priced: vec![paid(self.probes()?, per_call)?], ..Reading::default() })
    }

    fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        Box::new(self.probes.iter().flat_map(|probes| probes.object.own_maps()))
    }

    fn take_first(&mut self, space: Option<u16>) -> Vec<Links> {
        if space.is_none()
            && let Some(probes) = &mut self.probes
            && let Err(error) = probes.close()
        {
            tracing::debug!("the end of the observation cannot be made known: {error}");
        }
        Vec::new()
    }

    fn snapshot(&mut self, on: &mut Observation<'_>, _: Ended) -> Result<()> {
        let now_ns = on.end_ns.unwrap_or_else(monotonic_ns);
        let counted = Counted::read(self.probes()?)?;
        self.waiting = waiting(on, &counted);
        self.read = Some((counted, now_ns));
        self.singles.keep_longest();
        Ok(())
    }

    fn conclude(&mut self, on: &Observation<'_>) -> Result<Part> {
        let (mut counted, now_ns) = self.read.take().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to report what was counted").because("it was not read")
        })?;
        let gathered = Gathered::of(on);
        gathered.gather(&mut counted);
        self.singles.kept.retain(|one| gathered.has(one.call.space()));
        let mut rows = Rows::of(&counted, now_ns);
        for (who, call) in &self.waiting {
            rows.by.entry((*who, *call)).or_default().note_now(1, None);
            rows.alive.push(*who);
        }
        rows.rename(|who| thread_name(who.tid));
        rows.since(&self.before.0, &gathered);
        let recent = on.lasted().saturating_sub(self.before.1);
        self.before = (rows.before(), on.lasted());
        // Of all threads: a target is not idle because the selected threads are.
        let mut calling = rows.calling();
        gathered.with_gathered(&mut calling);
        let threads = rows.names.iter().map(|(who, name)| ((who.space, who.tid), name.clone())).collect();
        let asked = self.options.thread.as_ref().map(|pattern| {
            let names = names(on, &rows);
            let fits = |name: &Text| pattern.fits(&name.terminal());
            rows.keep(fits);
            Asked { pattern: pattern.given().into(), is_there: names.iter().any(fits), names }
        });
        let mut part = Part { settings: self.settings(), names: threads, ..Part::default() };
        if self.options.thread.is_some() {
            // They are counted for all threads together.
            counted.callers.clear();
        }
        let (callers, singles) = stacks(&self.singles.kept, on, &counted, &mut part);
        let uring = uring(&counted);
        let tables = Tables {
            uring: &uring,
            on,
            owners: &on.owners(),
            rows: &rows,
            callers: &callers,
            singles: &singles,
            left_out: self.singles.left_out,
            slow: self.options.slow.map(units::exact_duration).unwrap_or_default(),
            not_sent: counted.counter(Counter::SlowLost),
            by: self.options.by,
            stacks: self.limits.stacks,
            recent,
            is_interim: on.length.is_none(),
        };
        let (sections, places) = tables.sections();
        part.sections = sections;
        let pid_of = |space: u16| on.spaces.iter().find(|of| of.number == space).map(|of| of.process.pid());
        let facts = Facts {
            by: &rows.by,
            rows: &places,
            kernel_clocks: &rows.kernel_clocks,
            name: &|who| rows.names.get(&who).cloned(),
            pid: &|space| if on.spaces.len() > 1 { pid_of(space) } else { None },
            has_datagrams: &|space| pid_of(space).is_none_or(has_datagrams),
            asked: asked.as_ref(),
            length: on.lasted(),
        };
        account(&counted, &mut part, on.spaces.len());
        part.findings = said(&facts, &part.losses);
        part.findings.extend(io_uring(&uring));
        part.findings.extend(callers_lost(&counted, on.settings.children));
        sight::whole::complete(&mut part.findings, on, &self.families, &calling, &rules::TERMS);
        Ok(part)
    }
}

impl Syscalls {
    fn settings(&self) -> BTreeMap<String, String> {
        let stacks = match self.limits.stacks {
            Stacks::None => "none".to_owned(),
            Stacks::All => "all".to_owned(),
            Stacks::Slow => {
                let from =
                    |ns: u64| if ns == u64::MAX { "no length".to_owned() } else { units::nanos(ns as f64) };
                let wait_ns = self.limits.wait_ns.unwrap_or(self.limits.stack_ns);
                format!(
                    "slow, at the end from {}, calls that wait from {}",
                    from(self.limits.stack_ns),
                    from(wait_ns)
                )
            }
        };
        let mut settings = BTreeMap::from([("stacks".to_owned(), stacks)]);
        if let Some(slow) = self.options.slow {
            settings.insert("slow".to_owned(), units::exact_duration(slow));
        }
        settings
    }
}
