//! What a hit takes from the thread that has it, and what share of a thread's time that is. Pure arithmetic.
//!
//! A hit takes the kernel's trap, measured on this machine ([`super::super::calibration`]), and the run time of the
//! tool's program, measured by the kernel while it runs. Both are time of the thread that has the hit, so a thread that
//! never waits loses of its work the share `ours / (ours + its own)`.

use profiler_common::rate::{CALL_TO_RET, CLASSES, COOLING_NS, FREE, STEPPED};

use crate::capture::calibration::Costs;

/// What the kernel takes at a hit, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Traps {
    /// At an entry whose instruction is emulated.
    pub(crate) entry_ns: f64,
    /// At the return of a call, on top of its entry.
    pub(crate) return_ns: f64,
    /// At an instruction that runs under single step.
    pub(crate) stepped_ns: f64,
    /// What an entry takes on top, if the thread has been in the kernel for something else since its last hit.
    pub(crate) cold_entry_ns: f64,
    /// The same of the return of such a call.
    pub(crate) cold_return_ns: f64,
    /// Whether these were measured here.
    pub(crate) calibrated: bool,
}

impl Traps {
    /// Of a virtual machine of 2026, for where nothing could be measured.
    pub(crate) const ASSUMED: Traps = Traps {
        entry_ns: 500.0,
        return_ns: 300.0,
        stepped_ns: 9_500.0,
        cold_entry_ns: 300.0,
        cold_return_ns: 150.0,
        calibrated: false,
    };
}

impl From<&Costs> for Traps {
    fn from(costs: &Costs) -> Traps {
        let entry_ns = costs.emulated.median_ns;
        let cold_entry_ns = (costs.cold.median_ns - entry_ns).max(0.0);
        let more_for_cold_call = costs.cold_call.median_ns - costs.call.median_ns;
        Traps {
            entry_ns,
            return_ns: (costs.call.median_ns - entry_ns).max(0.0),
            stepped_ns: costs.stepped.median_ns,
            cold_entry_ns,
            cold_return_ns: (more_for_cold_call - cold_entry_ns).max(0.0),
            calibrated: true,
        }
    }
}

/// Run time of a tool's programs, in nanoseconds, for as long as it was not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Programs {
    /// Of a call: entry and return.
    pub(crate) call_ns: f64,
    /// Of a release.
    pub(crate) free_ns: f64,
    /// Whether returns are seen at all.
    pub(crate) returns: bool,
}

/// What a hit of the counting programs takes besides the trap, in nanoseconds.
const COUNTING_NS: f64 = 80.0;
/// Least part of a thread's time that is taken to be its own. With more hits than that, figures mean little.
const LEAST_OWN: f64 = 0.01;

/// How late hits are on average, from 0 to 1.
fn part(cooling_ns: u64, hits: u64) -> f64 {
    if hits > 0 { cooling_ns as f64 / (hits as f64 * COOLING_NS as f64) } else { 0.0 }
}

/// What a thread did while its hits were counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counted {
    /// Hits by class, see [`profiler_common::rate`].
    pub(crate) hits: [u64; CLASSES],
    /// By class, what they had of [`COOLING_NS`] each, summed.
    pub(crate) cooling_ns: [u64; CLASSES],
    /// Its processor time, counting included.
    pub(crate) busy_ns: u64,
    /// The part of it outside of the kernel.
    pub(crate) user_ns: u64,
    /// Time in which it could have run: all but that in which it waited for a processor.
    pub(crate) could_ns: u64,
}

/// What probes take from a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    /// Of its processor time: how much longer everything takes that it does. From 0 to 1.
    pub(crate) of_busy: f64,
    /// Of the time in which it can run: what it cannot use otherwise any more. From 0 to 1; of a thread that never
    /// waits, the same.
    pub(crate) of_all: f64,
}

impl Counted {
    /// What real probes would take.
    pub(crate) fn forecast(&self, traps: &Traps, programs: &Programs) -> Price {
        let kernel = self.kernel_share(traps);
        let (mut counting, mut ours) = (0.0, 0.0);
        for (class, hits) in self.hits.iter().enumerate() {
            let cold = kernel * part(self.cooling_ns[class], *hits);
            let stepped = class as u64 & STEPPED != 0;
            let entry = if stepped { traps.stepped_ns } else { traps.entry_ns } + cold * traps.cold_entry_ns;
            let more = match class as u64 & !STEPPED {
                FREE => programs.free_ns,
                _ if !programs.returns => programs.call_ns,
                // A `ret` is an instruction that no kernel emulates.
                CALL_TO_RET => traps.stepped_ns + programs.call_ns,
                _ => traps.return_ns + cold * traps.cold_return_ns + programs.call_ns,
            };
            counting += *hits as f64 * (entry + COUNTING_NS);
            ours += *hits as f64 * (entry + more);
        }
        let busy = self.busy_ns as f64;
        let own = (busy - counting).max(busy * LEAST_OWN);
        if ours <= 0.0 {
            return Price { of_busy: 0.0, of_all: 0.0 };
        }
        // It does the same work as now, if there is time for all of it.
        let could = (self.could_ns as f64).max(busy);
        Price { of_busy: ours / (ours + own), of_all: ours / (ours + own).max(could) }
    }

    /// How much of its own time it was in the kernel, from 0 to 1.
    fn kernel_share(&self, traps: &Traps) -> f64 {
        let entry = |class: usize| match class as u64 & STEPPED {
            0 => traps.entry_ns,
            _ => traps.stepped_ns,
        };
        let counting = |(class, hits): (usize, &u64)| *hits as f64 * (entry(class) + COUNTING_NS);
        let counting: f64 = self.hits.iter().enumerate().map(counting).sum();
        kernel_share(self.busy_ns as f64 - counting, self.user_ns as f64)
    }

    /// How late its hits came on average, from 0 to 1 as [`COOLING_NS`] has it. `None` if there were none.
    pub(crate) fn late(&self) -> Option<f64> {
        let hits: u64 = self.hits.iter().sum();
        (hits > 0).then(|| part(self.cooling_ns.iter().sum(), hits))
    }

    /// Hits per second of its own processor time.
    pub(crate) fn hits_per_s(&self) -> f64 {
        let hits: u64 = self.hits.iter().sum();
        if self.busy_ns == 0 { 0.0 } else { hits as f64 / (self.busy_ns as f64 / 1e9) }
    }
}

/// Hits of all threads, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    pub(crate) entries: u64,
    pub(crate) returns: u64,
    pub(crate) frees: u64,
    /// How many of the entries and releases were at an instruction that runs under single step.
    pub(crate) stepped: u64,
}

impl Hits {
    /// What came since an earlier reading.
    pub(crate) fn since(self, before: Hits) -> Hits {
        Hits {
            entries: self.entries.saturating_sub(before.entries),
            returns: self.returns.saturating_sub(before.returns),
            frees: self.frees.saturating_sub(before.frees),
            stepped: self.stepped.saturating_sub(before.stepped),
        }
    }
}

/// Measured run time of programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunTime {
    pub(crate) ns: u64,
    pub(crate) runs: u64,
}

impl RunTime {
    /// Of one run; `None` if there was none.
    pub(crate) fn mean_ns(self) -> Option<f64> {
        (self.runs > 0).then(|| self.ns as f64 / self.runs as f64)
    }

    /// With those of another program.
    pub(crate) fn and(self, other: RunTime) -> RunTime {
        RunTime { ns: self.ns + other.ns, runs: self.runs + other.runs }
    }
}

/// Measured run times by what the programs are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunTimes {
    /// Entries, and returns seen by return probes.
    pub(crate) calls: RunTime,
    /// Returns seen at `ret` instructions.
    pub(crate) at_ret: RunTime,
    pub(crate) frees: RunTime,
}

impl RunTimes {
    /// Of all programs.
    pub(crate) fn all(self) -> RunTime {
        self.calls.and(self.at_ret).and(self.frees)
    }
}

/// What an allocation and a release took, on average over all threads, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prices {
    /// An allocation, with its return where that is seen.
    pub(crate) alloc_ns: f64,
    pub(crate) free_ns: f64,
    /// The traps alone, per hit.
    pub(crate) trap_ns: f64,
    /// The programs alone, per hit.
    pub(crate) program_ns: f64,
}

/// How much of a thread's own time, without what the probes took, was in the kernel: all but `user_ns`. Probes take
/// theirs there.
pub(crate) fn kernel_share(own_ns: f64, user_ns: f64) -> f64 {
    if own_ns > 0.0 { (1.0 - user_ns / own_ns).clamp(0.0, 1.0) } else { 0.0 }
}

impl Prices {
    /// `cold` is the share of hits that find the caches cold; `guess` stands in for run times that were not measured.
    pub(crate) fn of(hits: Hits, traps: &Traps, cold: f64, measured: &RunTimes, guess: &Programs) -> Prices {
        let entry_ns = traps.entry_ns + cold * traps.cold_entry_ns;
        let return_ns = traps.return_ns + cold * traps.cold_return_ns;
        let (entries, returns, frees) = (hits.entries as f64, hits.returns as f64, hits.frees as f64);
        let per = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let call = measured.calls.and(measured.at_ret);
        let at_ret = per(measured.at_ret.runs as f64, call.runs as f64) * (entries + returns);
        let at_ret = at_ret.min(returns);
        // Which hits were stepped is not known, only how many.
        let stepping =
            per(hits.stepped as f64, entries + frees) * (traps.stepped_ns - traps.entry_ns).max(0.0);
        let return_traps = (returns - at_ret) * return_ns + at_ret * traps.stepped_ns;
        let call_ns = call.mean_ns().map_or(guess.call_ns, |ns| ns * per(entries + returns, entries));
        let free_ns = measured.frees.mean_ns().unwrap_or(guess.free_ns);
        let all_traps = (entries + frees) * (entry_ns + stepping) + return_traps;
        Prices {
            alloc_ns: entry_ns + stepping + per(return_traps, entries) + call_ns,
            free_ns: entry_ns + stepping + free_ns,
            trap_ns: per(all_traps, entries + returns + frees),
            program_ns: per(entries * call_ns + frees * free_ns, entries + returns + frees),
        }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::rate::{CALL, class};

    use super::*;

    const TRAPS: Traps = Traps {
        entry_ns: 500.0,
        return_ns: 300.0,
        stepped_ns: 9_000.0,
        cold_entry_ns: 350.0,
        cold_return_ns: 150.0,
        calibrated: true,
    };
    const PROGRAMS: Programs = Programs { call_ns: 1_000.0, free_ns: 200.0, returns: true };

    fn counted(calls: u64, frees: u64, busy_ns: u64) -> Counted {
        let mut hits = [0; CLASSES];
        hits[class(CALL, false) as usize] = calls;
        hits[class(FREE, false) as usize] = frees;
        Counted { hits, cooling_ns: [0; CLASSES], busy_ns, could_ns: busy_ns, user_ns: 0 }
    }

    #[test]
    fn what_counting_itself_took_is_not_the_threads_own_time() {
        // 580 ns of each hit are ours: of a second with a million hits, 420 ms are the thread's own.
        let share = counted(500_000, 500_000, 1_000_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
        let ours = 500_000.0 * (1_800.0 + 700.0);
        assert!((share - ours / (ours + 0.42e9)).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_forecast_does_not_depend_on_how_long_was_counted() {
        let short = counted(1_000, 900, 20_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
        let long = counted(50_000, 45_000, 1_000_000_000).forecast(&TRAPS, &PROGRAMS).of_busy;
        assert!((short - long).abs() < 1e-12);
        assert!((0.1..0.2).contains(&short), "{short}");
    }

    #[test]
    fn a_thread_with_time_to_spare_loses_less_of_it() {
        let busy = counted(10_000, 10_000, 50_000_000);
        let idle = Counted { could_ns: 1_000_000_000, ..busy };
        let (busy, idle) = (busy.forecast(&TRAPS, &PROGRAMS), idle.forecast(&TRAPS, &PROGRAMS));
        // 25 ms of ours, beside 38.4 ms of its own.
        assert_eq!(busy.of_busy, idle.of_busy);
        assert_eq!(busy.of_all, busy.of_busy);
        assert!((idle.of_all - 0.025).abs() < 1e-9, "{idle:?}");
    }

    #[test]
    fn a_share_stays_a_share() {
        assert_eq!(counted(0, 0, 1_000_000).forecast(&TRAPS, &PROGRAMS).of_all, 0.0);
        // More hits than fit into the time: the processor time was read a tick too early.
        let share = counted(1_000, 1_000, 1_000).forecast(&TRAPS, &PROGRAMS).of_busy;
        assert!(share > 0.99 && share < 1.0, "{share}");
        assert_eq!(counted(1, 1, 0).hits_per_s(), 0.0);
    }

    #[test]
    fn single_steps_and_returns_that_are_not_seen_count_for_what_they_are() {
        let mut stepped = counted(0, 0, 1_000_000_000);
        stepped.hits[class(CALL, true) as usize] = 10_000;
        let emulated = counted(10_000, 0, 1_000_000_000);
        let share = |counted: &Counted, programs| counted.forecast(&TRAPS, programs).of_busy;
        assert!(share(&stepped, &PROGRAMS) > 4.0 * share(&emulated, &PROGRAMS));
        let mut to_ret = counted(0, 0, 1_000_000_000);
        to_ret.hits[class(CALL_TO_RET, false) as usize] = 10_000;
        assert!(share(&to_ret, &PROGRAMS) > 4.0 * share(&emulated, &PROGRAMS));
        let sampled = Programs { call_ns: 70.0, free_ns: 60.0, returns: false };
        assert!(share(&emulated, &sampled) < 0.4 * share(&emulated, &PROGRAMS));
    }

    #[test]
    fn prices_are_what_was_measured() {
        let hits = Hits { entries: 1_000, returns: 1_000, frees: 1_000, stepped: 0 };
        let measured = RunTimes {
            calls: RunTime { ns: 80_000, runs: 200 },
            at_ret: RunTime::default(),
            frees: RunTime { ns: 20_000, runs: 100 },
        };
        let prices = Prices::of(hits, &TRAPS, 0.0, &measured, &PROGRAMS);
        assert!((prices.alloc_ns - (500.0 + 300.0 + 800.0)).abs() < 1e-9, "{prices:?}");
        assert!((prices.free_ns - 700.0).abs() < 1e-9, "{prices:?}");
        assert!((prices.trap_ns - 1_300.0 / 3.0).abs() < 1e-9, "{prices:?}");
        // A sampled run: hardly any return is seen.
        let sampled = Prices::of(Hits { returns: 10, ..hits }, &TRAPS, 0.0, &measured, &PROGRAMS);
        assert!(sampled.alloc_ns < 1_000.0, "{sampled:?}");
        // Nothing is measured yet.
        let guessed = Prices::of(hits, &TRAPS, 0.0, &RunTimes::default(), &PROGRAMS);
        assert!((guessed.alloc_ns - 1_800.0).abs() < 1e-9, "{guessed:?}");
        assert_eq!(Prices::of(Hits::default(), &TRAPS, 0.0, &measured, &PROGRAMS).trap_ns, 0.0);
    }

    #[test]
    fn returns_at_ret_instructions_and_stepped_entries_cost_a_single_step() {
        let hits = Hits { entries: 1_000, returns: 1_000, frees: 0, stepped: 500 };
        let measured = RunTimes {
            calls: RunTime { ns: 100, runs: 100 },
            at_ret: RunTime { ns: 100, runs: 100 },
            frees: RunTime::default(),
        };
        let prices = Prices::of(hits, &TRAPS, 0.0, &measured, &PROGRAMS);
        assert!((prices.alloc_ns - (500.0 + 4_250.0 + 9_000.0 + 2.0)).abs() < 1e-9, "{prices:?}");
    }

    #[test]
    fn hits_that_find_the_caches_cold_cost_more() {
        let warm = counted(10_000, 10_000, 100_000_000);
        let mut cold = warm;
        cold.cooling_ns[class(CALL, false) as usize] = 10_000 * COOLING_NS;
        cold.cooling_ns[class(FREE, false) as usize] = 10_000 * COOLING_NS;
        let (warm_price, cold_price) =
            (warm.forecast(&TRAPS, &PROGRAMS).of_busy, cold.forecast(&TRAPS, &PROGRAMS).of_busy);
        // 25 ms of ours beside 88.4 ms of its own; 33.5 ms beside 81.4 ms, as counting was dearer too.
        assert!((warm_price - 25.0 / 113.4).abs() < 1e-9, "{warm_price}");
        assert!((cold_price - 33.5 / 114.9).abs() < 1e-9, "{cold_price}");
        assert_eq!((warm.late(), cold.late()), (Some(0.0), Some(1.0)));
        // It only computed meanwhile, but for a quarter of the time.
        let computing = Counted { user_ns: 66_300_000, ..cold };
        let computing_price = computing.forecast(&TRAPS, &PROGRAMS).of_busy;
        assert!(warm_price < computing_price && computing_price < cold_price, "{computing_price}");
        let hits = Hits { entries: 1_000, returns: 1_000, frees: 1_000, stepped: 0 };
        let prices = Prices::of(hits, &TRAPS, 0.5, &RunTimes::default(), &PROGRAMS);
        assert!((prices.alloc_ns - (1_800.0 + 250.0)).abs() < 1e-9, "{prices:?}");
        assert!((prices.free_ns - (700.0 + 175.0)).abs() < 1e-9, "{prices:?}");
    }

    #[test]
    fn time_in_the_kernel_is_what_is_left_of_a_threads_own() {
        assert_eq!(kernel_share(100.0, 25.0), 0.75);
        assert_eq!(kernel_share(100.0, 130.0), 0.0, "ticks are coarse");
        assert_eq!(kernel_share(-5.0, 0.0), 0.0);
    }
}
