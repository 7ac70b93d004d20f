//! What a hit costs its thread, and what share of the thread's time that is. Pure arithmetic.
//!
//! A hit takes the kernel's trap, measured on this machine ([`super::super::calibration`]), and the run time of the
//! tool's program, measured by the kernel while it runs. Both are time of the thread that has the hit, so a thread that
//! never waits loses of its work the share `ours / (ours + its own)`.

use profiler_common::rate::{CALL_TO_RET, CLASSES, COOLING_NS, LOOK, STEPPED};

use crate::capture::calibration::Costs;

/// The kernel's cost of a hit, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Traps {
    /// At an entry whose instruction is emulated.
    pub(crate) entry_ns: f64,
    /// At the return of a call, on top of its entry.
    pub(crate) return_ns: f64,
    /// At an instruction that runs under single step.
    pub(crate) stepped_ns: f64,
    /// Additional cost of an entry, if the thread has been in the kernel for something else since its last hit.
    pub(crate) cold_entry_ns: f64,
    /// The same for the return of such a call.
    pub(crate) cold_return_ns: f64,
    /// Whether these were measured here.
    pub(crate) calibrated: bool,
}

impl Traps {
    /// Measured on a virtual machine in 2026, for use where nothing could be measured.
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

/// Assumed run time of a tool's programs, in nanoseconds, until it is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Programs {
    /// Of a call: entry and return.
    pub(crate) call_ns: f64,
    /// Of a look: a function of which only the entry is seen.
    pub(crate) look_ns: f64,
    /// Whether returns are seen at all.
    pub(crate) returns: bool,
}

/// The cost of a hit of the counting programs beside the trap, in nanoseconds.
const COUNTING_NS: f64 = 80.0;
/// Least part of a thread's time that counts as its own. With more hits than that, figures mean little.
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
    /// By class, the sum of their parts of [`COOLING_NS`].
    pub(crate) cooling_ns: [u64; CLASSES],
    /// Its processor time, counting included.
    pub(crate) busy_ns: u64,
    /// The part of it outside of the kernel.
    pub(crate) user_ns: u64,
    /// Time in which it could have run: all except the time for which it waited for a processor.
    pub(crate) could_ns: u64,
}

/// What probes take from a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    /// As a share of its processor time, from 0 to 1: how much longer all its work takes.
    pub(crate) of_busy: f64,
    /// As a share of the time in which it can run, from 0 to 1: how much less it can do. For a thread that never waits, both are
    /// the same.
    pub(crate) of_all: f64,
}

impl Price {
    /// From the time that was taken, the thread's own processor time, and the time in which it could have run.
    pub(crate) fn of(ours_ns: f64, own_ns: f64, could_ns: f64) -> Price {
        if ours_ns <= 0.0 {
            return Price { of_busy: 0.0, of_all: 0.0 };
        }
        let busy = ours_ns + own_ns;
        Price { of_busy: ours_ns / busy, of_all: ours_ns / busy.max(could_ns) }
    }
}

impl Counted {
    /// What real probes would take.
    pub(crate) fn forecast(&self, traps: &Traps, programs: &Programs) -> Price {
        let kernel = self.kernel_share(traps);
        let program_ns = self.program_ns(programs);
        let (mut counting, mut ours) = (0.0, 0.0);
        for (class, hits) in self.hits.iter().enumerate() {
            let by_kernel = kernel * part(self.cooling_ns[class], *hits);
            let cold = cold_share(by_kernel, program_ns);
            let stepped = class as u64 & STEPPED != 0;
            let warm = if stepped { traps.stepped_ns } else { traps.entry_ns };
            let entry = warm + cold * traps.cold_entry_ns;
            let more = match class as u64 & !STEPPED {
                LOOK => programs.look_ns,
                _ if !programs.returns => programs.call_ns,
                // A `ret` is an instruction that no kernel emulates.
                CALL_TO_RET => traps.stepped_ns + programs.call_ns,
                _ => traps.return_ns + cold * traps.cold_return_ns + programs.call_ns,
            };
            counting += *hits as f64 * (warm + by_kernel * traps.cold_entry_ns + COUNTING_NS);
            ours += *hits as f64 * (entry + more);
        }
        let busy = self.busy_ns as f64;
        let own = (busy - counting).max(busy * LEAST_OWN);
        // It does the same work as now, if there is time for all of it.
        Price::of(ours, own, (self.could_ns as f64).max(busy))
    }

    /// Run time of the real programs per hit, on average.
    fn program_ns(&self, programs: &Programs) -> f64 {
        let (mut ns, mut ran) = (0.0, 0.0);
        for (class, hits) in self.hits.iter().enumerate() {
            let is_look = class as u64 & !STEPPED == LOOK;
            ns += *hits as f64 * if is_look { programs.look_ns } else { programs.call_ns };
            ran += *hits as f64 * if is_look || !programs.returns { 1.0 } else { 2.0 };
        }
        if ran > 0.0 { ns / ran } else { 0.0 }
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
    pub(crate) looks: u64,
    /// How many of the entries and looks were at an instruction that runs under single step.
    pub(crate) stepped: u64,
}

impl Hits {
    /// Both together.
    pub(crate) fn and(self, other: Hits) -> Hits {
        Hits {
            entries: self.entries + other.entries,
            returns: self.returns + other.returns,
            looks: self.looks + other.looks,
            stepped: self.stepped + other.stepped,
        }
    }

    /// Of all kinds.
    pub(crate) fn all(self) -> u64 {
        self.entries + self.returns + self.looks
    }

    /// What came since an earlier reading.
    pub(crate) fn since(self, before: Hits) -> Hits {
        Hits {
            entries: self.entries.saturating_sub(before.entries),
            returns: self.returns.saturating_sub(before.returns),
            looks: self.looks.saturating_sub(before.looks),
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

    /// What came since an earlier reading.
    fn since(self, before: RunTime) -> RunTime {
        RunTime { ns: self.ns.saturating_sub(before.ns), runs: self.runs.saturating_sub(before.runs) }
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
    pub(crate) looks: RunTime,
}

impl RunTimes {
    /// Both together.
    pub(crate) fn and(self, other: RunTimes) -> RunTimes {
        RunTimes {
            calls: self.calls.and(other.calls),
            at_ret: self.at_ret.and(other.at_ret),
            looks: self.looks.and(other.looks),
        }
    }

    /// What came since an earlier reading.
    pub(crate) fn since(self, before: RunTimes) -> RunTimes {
        RunTimes {
            calls: self.calls.since(before.calls),
            at_ret: self.at_ret.since(before.at_ret),
            looks: self.looks.since(before.looks),
        }
    }

    /// Of all programs.
    pub(crate) fn all(self) -> RunTime {
        self.calls.and(self.at_ret).and(self.looks)
    }
}

/// What a call that is followed and a look took, on average over all threads, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prices {
    /// A call, with its return where that is seen.
    pub(crate) call_ns: f64,
    pub(crate) look_ns: f64,
    /// The traps alone, per hit.
    pub(crate) trap_ns: f64,
    /// The programs alone, per hit.
    pub(crate) program_ns: f64,
}

/// The share of hits that find the caches cold, from 0 to 1. `by_kernel` is that after other work in the kernel. What our
/// programs run is such work, too, and it runs before every next hit: by its length it makes a part of the others cold.
pub(crate) fn cold_share(by_kernel: f64, program_ns: f64) -> f64 {
    let by_programs = (program_ns / COOLING_NS as f64).min(1.0);
    1.0 - (1.0 - by_kernel) * (1.0 - by_programs)
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
        let (entries, returns, looks) = (hits.entries as f64, hits.returns as f64, hits.looks as f64);
        let per = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let call = measured.calls.and(measured.at_ret);
        let at_ret = per(measured.at_ret.runs as f64, call.runs as f64) * (entries + returns);
        let at_ret = at_ret.min(returns);
        // Which hits were stepped is not known, only how many.
        let stepping =
            per(hits.stepped as f64, entries + looks) * (traps.stepped_ns - traps.entry_ns).max(0.0);
        let return_traps = (returns - at_ret) * return_ns + at_ret * traps.stepped_ns;
        let call_ns = call.mean_ns().map_or(guess.call_ns, |ns| ns * per(entries + returns, entries));
        let look_ns = measured.looks.mean_ns().unwrap_or(guess.look_ns);
        let all_traps = (entries + looks) * (entry_ns + stepping) + return_traps;
        Prices {
            call_ns: entry_ns + stepping + per(return_traps, entries) + call_ns,
            look_ns: entry_ns + stepping + look_ns,
            trap_ns: per(all_traps, entries + returns + looks),
            program_ns: per(entries * call_ns + looks * look_ns, entries + returns + looks),
        }
    }
}

#[cfg(test)]
mod tests;
