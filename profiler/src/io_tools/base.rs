//! What such a tool has in one observation, and does at each step of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use profiler_common::{
    io::{IoCounter, IoSample, UringRequest},
    ledger::Class,
    record::RECORD_OF_TOOL,
};

use super::accounts::{self, ledger, losses, of};
use crate::{
    capture::{
        cost::{CostMeter, Reading},
        object::Object,
    },
    error::{Error, ErrorKind, Result},
    kernel::bpf,
    observe::{
        Beginning, Observation, Part,
        call_price::PerCall,
        ground::{Follows, Ground, Shape as GroundShape},
        io::{Counted, Limits, Probes, Samples, Seconds, Shape, price, unknown},
        monotonic_ns, require_kernel_pids,
        settings::Settings,
        sight::{self, Terms},
        space::Space,
    },
    report::{Finding, Severity},
    target::family::Families,
    tool::{Counts, Loading},
    units,
};

/// What was counted up to a moment.
pub(crate) struct Read {
    pub(crate) counted: Counted,
    pub(crate) counts: accounts::Counts,
    /// That moment, on the monotonic clock in nanoseconds.
    pub(crate) now_ns: u64,
}

/// The parts that all of these tools have.
pub(crate) struct Base {
    shape: &'static Shape,
    pub(crate) limits: Limits,
    probes: Option<Probes>,
    /// What calls cost, once that is known.
    prices: Option<PerCall>,
    pub(crate) samples: Samples,
    pub(crate) seconds: Seconds,
    read: Option<Read>,
    /// Operations of io_uring whose processes have ended before them.
    rings_unseen: u64,
    /// Calls that had begun before the observation did, up to the last snapshot.
    before: u64,
    /// What targets and their children had used at the start.
    families: Families,
}

impl Base {
    /// Nothing is loaded yet.
    pub(crate) fn new(shape: &'static Shape, limits: Limits) -> Base {
        Base {
            shape,
            limits,
            probes: None,
            prices: None,
            samples: Samples::default(),
            seconds: Seconds::default(),
            read: None,
            rings_unseen: 0,
            before: 0,
            families: Families::default(),
        }
    }

    /// The loaded programs.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn probes(&self) -> Result<&Probes> {
        self.probes.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to read what was counted").because("nothing is loaded")
        })
    }

    /// How its maps are created.
    pub(crate) fn loading(&self, beginning: &Beginning<'_>) -> Loading {
        let (shape, limits, kind) = (self.shape, self.limits, beginning.record_kind);
        Box::new(move |shared| Probes::load(shape, limits, kind, shared))
    }

    /// Takes the object.
    ///
    /// # Errors
    /// If the kernel does not take its settings.
    pub(crate) fn loaded(&mut self, object: Object) -> Result<()> {
        self.probes = Some(Probes::over(object, self.shape, self.limits)?);
        if self.prices.is_none() {
            // No prediction is wanted, but the cost is reported all the same.
            self.prices = Some(price::prices(self.shape));
        }
        Ok(())
    }

    /// Predicts the cost.
    ///
    /// # Errors
    /// If it is too high.
    pub(crate) fn admit(
        &mut self,
        spaces: &[Space],
        settings: &Settings,
        cost: &mut CostMeter,
    ) -> Result<bool> {
        let begun = Instant::now();
        settings.stage.begin("counting calls, to predict the cost");
        let pids: Vec<u32> = spaces.iter().map(|space| space.process.pid()).collect();
        let (prices, forecast, refusal) = price::admit(self.shape, &pids, settings.max_cost)?;
        self.prices = Some(prices);
        cost.counted(begun.elapsed(), forecast.as_ref().map(|forecast| forecast.share), HashMap::new());
        refusal.map_or(Ok(true), Err)
    }

    /// Attaches the programs, if they are not.
    ///
    /// # Errors
    /// If the kernel refuses one.
    pub(crate) fn attach_once(&mut self) -> Result<()> {
        self.probes.as_mut().map_or(Ok(()), Probes::attach_once)
    }

    /// Everything is attached.
    ///
    /// # Errors
    /// If profiler is in a pid namespace.
    pub(crate) fn attached(&mut self, on: &Observation<'_>) -> Result<()> {
        let pids: Vec<u32> = on.spaces.iter().map(|space| space.process.pid()).collect();
        self.families = Families::of(&pids);
        require_kernel_pids()?;
        self.probes()?.begin()
    }

    /// Regular work, once a second.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn look(&mut self, on: &Observation<'_>) -> Result<()> {
        self.families.look(on.living());
        let space = |_: &u64, request: &UringRequest| request.space as u16;
        self.rings_unseen += self.forget_ended(on, "IO_URING_REQUESTS", space)?;
        match &self.probes {
            Some(probes) => self.seconds.look(probes, on.began_ns()),
            None => Ok(()),
        }
    }

    /// Removes what processes that have ended have left in a hash map of what is under way. `space`: the address space of an element. Returns
    /// how many that were.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn forget_ended<K: Copy, V: Copy>(
        &self,
        on: &Observation<'_>,
        map: &str,
        space: impl Fn(&K, &V) -> u16,
    ) -> Result<u64> {
        let ended = on.spaces.iter().filter(|space| space.ended.is_some());
        let ended: BTreeSet<u16> = ended.map(|space| space.number).collect();
        let Some(probes) = self.probes.as_ref().filter(|_| !ended.is_empty()) else { return Ok(0) };
        let mut left = Vec::new();
        probes.each(map, |key: K, value: V| {
            if ended.contains(&space(&key, &value)) {
                left.push(key);
            }
        })?;
        let of = probes.map(map)?;
        Ok(left.iter().filter(|key| bpf::delete(of, *key).is_ok()).count() as u64)
    }

    /// Takes a single operation. `is_slow_from_ns`: from which length on one of its number is slow.
    pub(crate) fn take_record(&mut self, record: &[u8], is_slow_from_ns: impl FnOnce(u32) -> u64) {
        if let Some(sample) = IoSample::read(record) {
            self.samples.take(&sample, is_slow_from_ns(sample.operation as u32));
        }
    }

    /// What was counted so far, in the counters `C`.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(crate) fn counts<C: IoCounter>(&self) -> Result<Counts> {
        let counts: accounts::Counts = self.probes()?.counters()?;
        let lost = C::ENTRIES.iter().zip(counts).filter(|(entry, _)| entry.class == Class::Lost);
        Ok(Counts {
            hits: of(&counts, C::ENTERED) + of(&counts, C::RETURNED),
            lost: lost.map(|(_, count)| count).sum(),
            things: (of(&counts, C::COUNTED), "operations"),
        })
    }

    /// The cost to threads.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn reading<C: IoCounter>(&self) -> Result<Reading> {
        let prices = self.prices.unwrap_or(PerCall::ASSUMED);
        let paid = price::paid(self.probes()?, prices, self.counts::<C>()?.hits)?;
        Ok(Reading { priced: vec![paid], ..Reading::default() })
    }

    /// The descriptors of its own maps.
    pub(crate) fn maps(&self) -> Box<dyn Iterator<Item = BorrowedFd<'_>> + '_> {
        Box::new(self.probes.iter().flat_map(|probes| probes.object.own_maps()))
    }

    /// Detaches the programs. The counts stay.
    pub(crate) fn close(&mut self) {
        if let Some(probes) = &mut self.probes {
            probes.close();
        }
    }

    /// Reads what was counted.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(crate) fn snapshot<C: IoCounter>(&mut self, on: &Observation<'_>) -> Result<()> {
        let now_ns = on.end_ns.unwrap_or_else(monotonic_ns);
        let probes = self.probes()?;
        let read = Read { counted: Counted::read(probes)?, counts: ledger::<C>(probes)?, now_ns };
        self.before = of(&read.counts, C::BEFORE);
        self.read = Some(read);
        self.count_more(C::RING_UNSEEN, self.rings_unseen);
        if let Some(probes) = &self.probes {
            self.seconds.look(probes, on.began_ns())?;
        }
        self.samples.settle();
        Ok(())
    }

    /// Sets a counter of the last snapshot to how many elements a hash map has: what is under way.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(crate) fn count_under_way<K: Copy, V: Copy>(
        &mut self,
        counter: impl IoCounter,
        map: &str,
    ) -> Result<()> {
        let mut under_way = 0;
        self.probes()?.each(map, |_: K, _: V| under_way += 1)?;
        let counts = self.read.as_mut().map(|read| &mut read.counts);
        if let Some(count) = counts.and_then(|counts| counts.get_mut(counter.index())) {
            *count = under_way;
        }
        Ok(())
    }

    /// Adds to a counter of the last snapshot what user space has counted.
    pub(crate) fn count_more(&mut self, counter: impl IoCounter, more: u64) {
        let counts = self.read.as_mut().map(|read| &mut read.counts);
        if let Some(count) = counts.and_then(|counts| counts.get_mut(counter.index())) {
            *count += more;
        }
    }

    /// The last snapshot, and the beginning of a part of the report from it.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn take_read<C: IoCounter>(&mut self) -> Result<(Read, Part)> {
        let read = self.read.take().ok_or_else(|| {
            Error::new(ErrorKind::Kernel, "tried to report what was counted").because("it was not read")
        })?;
        let names = read.counted.alive.iter().map(|thread| ((thread.space, thread.tid), thread.name.clone()));
        let slow = units::exact_duration(Duration::from_nanos(self.limits.slow_ns));
        let settings = BTreeMap::from([("slow".to_owned(), slow)]);
        let mut part = Part { settings, names: names.collect(), ..Part::default() };
        part.account::<C>(&read.counts);
        part.account_missed(self.probes()?.missed());
        part.losses.extend(losses::<C>(&read.counts));
        Ok((read, part))
    }

    /// Adds the findings, unless losses could change them: then only that is said. `incomplete`: the rule of that.
    pub(crate) fn conclude(
        &self,
        part: &mut Part,
        on: &Observation<'_>,
        counted: &Counted,
        (incomplete, terms): (&'static str, &Terms),
        findings: impl FnOnce() -> Vec<Finding>,
    ) {
        let before = (self.before > 0).then(|| before(self.before));
        if let (Some(before), Some(section)) = (&before, part.sections.first_mut()) {
            section.notes.push(before.clone());
        }
        // If nothing else was seen, this is the only finding.
        let is_all = counted.sums.is_empty();
        part.findings = match part.losses.first().or(before.as_ref().filter(|_| is_all)) {
            Some(first) => {
                let words = format!("The data are incomplete: {first}.");
                vec![Finding::plain(incomplete, Severity::Limit, words)]
            }
            None => findings(),
        };
        let active: BTreeSet<u16> = counted.sums.keys().map(|key| key.space).collect();
        sight::whole::complete(&mut part.findings, on, &self.families, &active, terms);
    }
}

/// Says how many calls had begun before the observation, so that what they did is not counted.
fn before(count: u64) -> String {
    match count {
        1 => "1 call was under way at the start: what it did is not counted".to_owned(),
        count => {
            let count = units::count(count as f64);
            format!("{count} calls were under way at the start: what they did is not counted")
        }
    }
}

/// Attaches the programs of a tool for a moment without any target, to find out whether the kernel accepts them. Returns what is not known
/// because it lacks something that the tool can do without.
///
/// # Errors
/// If it does not, or if profiler is in a pid namespace.
pub(crate) fn try_out(shape: &'static Shape) -> Result<Vec<String>> {
    require_kernel_pids()?;
    let ground = ground_of_trial()?;
    let limits =
        Limits { threads: 1, cells: 2, histograms: 1, max_stacks: 16, sockets: 2, ..Limits::default() };
    let object = Probes::load(shape, limits, RECORD_OF_TOOL, ground.shared())?;
    let mut probes = Probes::over(object, shape, limits)?;
    probes.attach_once()?;
    Ok(unknown(&probes.left_out))
}

/// The ground of an observation without any target.
///
/// # Errors
/// If the kernel refuses it.
pub(crate) fn ground_of_trial() -> Result<Ground> {
    Ground::load(&GroundShape { max_stacks: 16, follows: Follows::default(), tables: Vec::new() })
}
