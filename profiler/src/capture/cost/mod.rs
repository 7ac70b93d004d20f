//! What an observation costs the target, the machine, and ourselves.

mod figures;
mod measured;
mod ourselves;
pub(crate) mod priced;
pub(crate) mod prices;
pub(crate) mod spending;
pub(crate) mod threads;
mod worked;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use profiler_common::busiest::ThreadHits;

use self::{
    measured::Measured,
    ourselves::own_cpu,
    priced::{Bills, Priced},
    prices::{Hits, Prices, Programs, RunTimes, Traps},
    spending::{ENDED, Share, Spending, Spent},
    threads::Had,
    worked::{Billed, Worked},
};
use super::calibration::Costs;
use crate::{
    kernel::{bpf, priority::use_batch_scheduling},
    report::THREADS_THAT_ENDED,
    target::stat::{Stat, ticks_now},
    text::Text,
};

/// Run statistics of BPF programs cost two clock reads per run. So they are on for the first part of this period only,
/// and while a new load has not been measured yet.
const STATS_PERIOD: Duration = Duration::from_secs(30);
const STATS_ON: Duration = Duration::from_secs(1);
/// Interval at which the cost of each thread is added up.
const SECOND: Duration = Duration::from_secs(1);

/// Measures the cost during an observation.
#[derive(Debug)]
pub(crate) struct CostMeter {
    asked: Instant,
    attach: Duration,
    /// How long hits were counted before the real probes were attached.
    counted: Option<Duration>,
    predicted: Option<f64>,
    /// How late the hits of each thread were in that count, by thread id.
    counted_late: HashMap<u32, f64>,
    /// Hits of threads so far, and how many of them found the caches cold.
    billed: Billed,
    detach: Option<Duration>,
    began: Instant,
    /// The same for the threads' own counts.
    began_ticks: u64,
    own_cpu_before: Duration,
    stats: Option<OwnedFd>,
    calibration: Calibration,
    guess: Programs,
    /// What each thread had used when it was last looked at.
    marks: HashMap<u32, Mark>,
    /// Hits whose price their tool knows, up to the last look.
    bills: Bills,
    /// Processor time of processes, that of threads which have ended included, at the last look.
    of_processes: HashMap<u32, Duration>,
    /// Whether prices follow from the run times of programs.
    needs_run_times: bool,
    names: HashMap<u32, Text>,
    hits: Hits,
    measured: Measured,
    last: Instant,
    spending: Spending,
}

/// What a thread had used at some moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    had: Had,
    hits: ThreadHits,
}

/// The cost of a trap here: known, or still being measured.
#[derive(Debug)]
enum Calibration {
    None,
    Running(JoinHandle<Option<Traps>>),
    Known(Traps),
}

/// Counts of the target, by thread and in total.
#[derive(Default)]
pub(crate) struct Reading {
    /// Hits by thread id.
    pub(crate) threads: Vec<(u32, ThreadHits)>,
    /// Hits of all threads.
    pub(crate) hits: Hits,
    /// Run times of our programs.
    pub(crate) measured: RunTimes,
    /// Hits of tools that know what a hit costs: one for each of them.
    pub(crate) priced: Vec<Priced>,
}

impl Reading {
    /// Adds the counts of another tool.
    pub(crate) fn add(&mut self, other: Reading) {
        for (tid, hits) in other.threads {
            match self.threads.iter_mut().find(|(known, _)| *known == tid) {
                Some((_, sum)) => {
                    sum.calls += hits.calls;
                    sum.others += hits.others;
                }
                None => self.threads.push((tid, hits)),
            }
        }
        self.hits = self.hits.and(other.hits);
        self.measured = self.measured.and(other.measured);
        self.priced.extend(other.priced);
    }
}

impl CostMeter {
    /// `asked` is when the user asked. `guess` stands for the run times of the programs until they are measured, which happens if
    /// they are needed.
    pub(crate) fn new(asked: Instant, guess: Programs, needs_run_times: bool) -> CostMeter {
        CostMeter {
            asked,
            attach: Duration::ZERO,
            counted: None,
            predicted: None,
            counted_late: HashMap::new(),
            billed: Billed::default(),
            detach: None,
            began: Instant::now(),
            began_ticks: ticks_now(),
            own_cpu_before: own_cpu(),
            stats: None,
            calibration: Calibration::None,
            guess,
            marks: HashMap::new(),
            bills: Bills::default(),
            of_processes: HashMap::new(),
            needs_run_times,
            names: HashMap::new(),
            hits: Hits::default(),
            measured: Measured::default(),
            last: Instant::now(),
            spending: Spending::default(),
        }
    }

    /// Begins to measure the cost of a trap on another thread, unless it is known or being measured.
    pub(crate) fn calibrate(&mut self, measure: impl FnOnce() -> Option<Costs> + Send + 'static) {
        if matches!(self.calibration, Calibration::None) {
            let work = || {
                use_batch_scheduling();
                measure().as_ref().map(Traps::from)
            };
            let started = thread::Builder::new().name("calibration".to_owned()).spawn(work);
            self.calibration = started.map_or(Calibration::Known(Traps::ASSUMED), Calibration::Running);
        }
    }

    /// The cost of a trap here, measured or assumed. `wait`: waits for the measurement.
    pub(crate) fn traps(&mut self, wait: bool) -> Traps {
        match &self.calibration {
            Calibration::None => return Traps::ASSUMED,
            Calibration::Running(thread) if !wait && !thread.is_finished() => return Traps::ASSUMED,
            Calibration::Running(_) | Calibration::Known(_) => {}
        }
        let traps = match std::mem::replace(&mut self.calibration, Calibration::None) {
            Calibration::Running(thread) => thread.join().ok().flatten().unwrap_or(Traps::ASSUMED),
            Calibration::Known(traps) => traps,
            Calibration::None => Traps::ASSUMED,
        };
        self.calibration = Calibration::Known(traps);
        traps
    }

    /// Records that hits were counted before the real probes were attached. `predicted` is the share of a thread that
    /// followed from the count, `late` how late the hits of each thread were.
    pub(crate) fn counted(&mut self, took: Duration, predicted: Option<f64>, late: HashMap<u32, f64>) {
        self.counted = Some(self.counted.unwrap_or_default() + took);
        // Several tools take their parts one after another.
        self.predicted = match (self.predicted, predicted) {
            (Some(before), Some(more)) => Some((before + more).min(1.0)),
            (before, more) => more.or(before),
        };
        self.counted_late.extend(late);
    }

    /// Records that everything is attached to these processes.
    pub(crate) fn attached(&mut self, pids: impl Iterator<Item = u32>) {
        self.attach = self.asked.elapsed().saturating_sub(self.counted.unwrap_or_default());
        self.own_cpu_before = own_cpu();
        self.stats = self.run_stats();
        let pids: Vec<u32> = pids.collect();
        self.of_processes = pids.iter().filter_map(|pid| Some((*pid, cpu(*pid)?))).collect();
        let busy = threads::of_processes(pids.into_iter()).into_iter();
        self.marks = busy.map(|(tid, had)| (tid, Mark { had, ..Mark::default() })).collect();
        (self.began, self.began_ticks) = (Instant::now(), ticks_now());
        self.last = self.began;
    }

    fn run_stats(&self) -> Option<OwnedFd> {
        self.needs_run_times.then(|| bpf::enable_run_stats().ok()).flatten()
    }

    /// Time from the user's request until everything was attached, without the time for counting.
    pub(crate) fn attach_time(&self) -> Duration {
        self.attach
    }

    /// Called a few times a second: switches the statistics on and off. True if it is time for [`CostMeter::add`].
    pub(crate) fn look(&mut self) -> bool {
        let into = self.began.elapsed().as_nanos() % STATS_PERIOD.as_nanos();
        let on = into < STATS_ON.as_nanos() || self.measured.is_outdated();
        if on && self.stats.is_none() {
            self.stats = self.run_stats();
        } else if !on {
            self.stats = None;
        }
        self.last.elapsed() >= SECOND
    }

    /// Adds the cost since the last call.
    pub(crate) fn add(&mut self, reading: Reading) {
        let length = self.last.elapsed();
        self.last = Instant::now();
        let hits = reading.hits.since(self.hits);
        self.hits = reading.hits;
        self.measured.add(reading.measured, hits.all(), length);
        let measured = self.measured.times();
        let mut threads: HashMap<u32, (ThreadHits, f64)> = HashMap::new();
        let busy_ns = self.since_last_of(reading.priced.iter().flat_map(|priced| &priced.processes));
        let took = self.bills.add(reading.priced);
        for (tid, ns) in took.threads {
            threads.entry(tid).or_default().1 += ns;
        }
        for (tid, hits) in reading.threads {
            threads.entry(tid).or_default().0 = hits;
        }
        let worked: Vec<Worked> = threads
            .into_iter()
            .filter_map(|(tid, (hits, priced_ns))| self.since_last(tid, hits, priced_ns))
            .collect();
        let traps = self.traps(false);
        let at = |cold| Prices::of(hits, &traps, cold, &measured, &self.guess);
        let mut spent = self.billed.add(&worked, &self.counted_late, at);
        if took.ended_ns > 0.0 {
            let others: f64 = spent.iter().map(|spent| spent.busy_ns).sum();
            // The time of processes that have ended is not known: their cost is then related to all the time.
            let known = (busy_ns - others >= took.ended_ns).then_some(busy_ns - others);
            let busy_ns = known.unwrap_or_else(|| took.ended_ns.max(length.as_nanos() as f64));
            spent.push(Spent { tid: ENDED, busy_ns, ours_ns: took.ended_ns, waited_ns: 0.0 });
        }
        self.spending.add(length, spent);
        let told = [self.spending.mean(), self.spending.recent(), self.spending.shown()];
        for share in told.into_iter().flatten() {
            if let (false, Some(name)) = (self.names.contains_key(&share.tid), threads::name(share.tid)) {
                self.names.insert(share.tid, name);
            }
        }
    }

    /// Processor time of processes since they were last looked at, in nanoseconds. That of a process that has ended is not known.
    fn since_last_of<'a>(&mut self, processes: impl Iterator<Item = &'a u32>) -> f64 {
        let mut sum = Duration::ZERO;
        for pid in processes {
            let Some(now) = cpu(*pid) else { continue };
            // A process that began since then has had all of its time since then.
            let began = || threads::began_after(*pid, self.began_ticks).then_some(Duration::ZERO);
            let before = self.of_processes.insert(*pid, now).or_else(began).unwrap_or(now);
            sum += now.saturating_sub(before);
        }
        sum.as_nanos() as f64
    }

    /// What a thread had since it was last looked at; `None` if it had no hits, or if there was no earlier look. `priced_ns`: what
    /// hits took since then whose price is known.
    fn since_last(&mut self, tid: u32, hits: ThreadHits, priced_ns: f64) -> Option<Worked> {
        let known = self.marks.get(&tid).copied();
        if hits == known.unwrap_or_default().hits && priced_ns <= 0.0 {
            return None;
        }
        let had = threads::had(tid)?;
        self.marks.insert(tid, Mark { had, hits });
        // If the thread began since the last look, all of its time counts. If it is older, its time before the first
        // look does not: it counts from now on.
        let since = || threads::began_after(tid, self.began_ticks).then(Mark::default);
        let before = known.or_else(since)?;
        let calls = hits.calls.saturating_sub(before.hits.calls) as f64;
        let looks = hits.others.saturating_sub(before.hits.others) as f64;
        Some(Worked { tid, had: had.since(before.had), calls, looks, priced_ns })
    }

    /// The present share of the thread that pays most.
    pub(crate) fn now(&self) -> Option<Share> {
        self.spending.shown()
    }

    /// The thread that pays more than `limit` on the average of the last `seconds` seconds.
    pub(crate) fn over(&self, limit: f64, seconds: usize) -> Option<Share> {
        self.spending.over(limit, seconds)
    }

    /// What all threads together pay, as a share of this machine's processors, if that is more than `limit` on the
    /// average of the last `seconds` seconds.
    pub(crate) fn all_over(&self, limit: f64, seconds: usize) -> Option<f64> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        self.spending.all_over(limit, seconds, processors)
    }

    /// A thread, for people.
    pub(crate) fn thread(&self, tid: u32) -> String {
        match tid {
            ENDED => THREADS_THAT_ENDED.to_owned(),
            _ => self.names.get(&tid).map_or_else(|| format!("thread {tid}"), |name| named(tid, name)),
        }
    }

    /// Hits per second so far.
    pub(crate) fn hits_per_s(&self) -> f64 {
        let Hits { entries, returns, looks, .. } = self.hits;
        (entries + returns + looks + self.bills.all_hits()) as f64
            / self.began.elapsed().as_secs_f64().max(1e-3)
    }

    /// Called before the programs are detached: the last moment to read their run times.
    pub(crate) fn before_detach(&mut self, reading: Option<Reading>) {
        if let Some(reading) = reading {
            self.add(reading);
        }
        self.stats = None;
    }

    /// Records how long detaching took.
    pub(crate) fn detached(&mut self, took: Duration) {
        self.detach = Some(took);
    }
}

/// Processor time of a process, that of threads which have ended included.
fn cpu(pid: u32) -> Option<Duration> {
    Stat::of_process(pid)?.cpu()
}

/// A thread by its id and its name, for people.
pub(crate) fn named(tid: u32, name: &Text) -> String {
    format!("thread {} ({tid})", name.terminal())
}

#[cfg(test)]
mod tests;
