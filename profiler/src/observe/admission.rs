//! The price of an observation, before it begins.

use std::time::Instant;

use super::settings::Settings;
use crate::{
    capture::{
        cost::{
            CostMeter,
            prices::{Programs, Traps},
            spending::LEAST_BUSY,
            threads,
        },
        floor,
        rate::{self, Counting, Passed},
        uprobe::Method,
    },
    error::{Error, ErrorKind, Result},
    tool::foresight::{Forecast, PROPOSED},
    units,
};

/// The rate of a server's calls varies by at least this factor.
const UNEVEN: f64 = 1.25;

/// What the programs of a tool cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) programs: Programs,
    /// The cost if the tool sampled by bytes, if it can.
    pub(crate) sampled: Option<Programs>,
    /// Whether it does sample.
    pub(crate) is_sampled: bool,
}

impl Forecast {
    /// From counted calls; `None` if no thread ran long enough to say.
    fn of(counting: &Counting, traps: &Traps, taken: &Taken, max_cost: Option<f64>) -> Option<Forecast> {
        let least = counting.length.as_nanos() as f64 * LEAST_BUSY;
        let most = |programs: &Programs| {
            let busy = counting.threads.iter().filter(|(_, counted)| counted.busy_ns as f64 >= least);
            let prices = busy.map(|(tid, counted)| (*tid, counted, counted.forecast(traps, programs)));
            prices.max_by(|a, b| a.2.of_all.total_cmp(&b.2.of_all))
        };
        let (thread, counted, price) = most(&taken.programs)?;
        let sampled_share = match &taken.sampled {
            Some(sampled) => Some(most(sampled)?.2.of_all),
            None => None,
        };
        let (share, taken_share) = (price.of_busy, price.of_all);
        let (name, calls_per_s) = (threads::name(thread), counted.hits_per_s());
        let limit = max_cost.unwrap_or(1.0);
        Some(Forecast { thread, name, share, taken_share, sampled_share, calls_per_s, limit })
    }

    /// The refusal, if it is over the limit.
    fn refused(&self, taken: &Taken) -> Option<Error> {
        if !self.is_over() {
            return None;
        }
        let (share, most) = (units::percent(self.taken_share), units::percentage(self.limit));
        let error = Error::new(ErrorKind::Safety, "tried to predict the cost").because(format_args!(
            "{} would lose ~{share} of its time (it makes {} probed calls per busy second), more than --max-cost {most}; \
             --max-cost off observes it anyway",
            self.who(),
            units::count(self.calls_per_s)
        ));
        let unsampled = self.sampled_share.filter(|_| !taken.is_sampled);
        let least =
            |share| format!("--sample-bytes {PROPOSED} would take at least {}", units::percent(share));
        Some(match unsampled {
            Some(share) if share * UNEVEN <= self.limit => {
                error.hint(format_args!("{}: every call still has its trap", least(share)))
            }
            Some(share) if share <= self.limit => error.hint(format_args!(
                "{}, which may still exceed the limit; --max-cost {} allows it",
                least(share),
                units::percentage((share * UNEVEN * 20.0).ceil() / 20.0)
            )),
            _ => error.hint("observe it when it has less to do, or another process of its kind"),
        })
    }
}

/// Counts the calls of the processes, and refuses an observation that would cost them more than the limit. False if nothing could
/// be counted: then only the real probes show the cost.
pub(crate) fn admit(
    passed: &[Passed],
    taken: &Taken,
    settings: &Settings,
    cost: &mut CostMeter,
) -> Result<bool> {
    let begun = Instant::now();
    settings.stage.begin("counting calls, to predict the cost");
    floor::calibrate(cost, settings.method);
    let Some(counting) = rate::count(passed, settings.method)? else { return Ok(false) };
    let traps = cost.traps(true);
    let late = counting.late();
    tracing::debug!(?traps, ?late, "what counted hits would cost");
    let forecast = Forecast::of(&counting, &traps, taken, settings.max_cost);
    cost.counted(begun.elapsed(), forecast.as_ref().map(|forecast| forecast.share), late);
    match forecast.and_then(|forecast| forecast.refused(taken)) {
        Some(refused) => Err(refused),
        None => Ok(true),
    }
}

/// The cost for a process. `None` if calls cannot be counted here, or if no thread runs long enough.
pub(crate) fn predict(
    passed: Passed,
    method: Method,
    traps: &Traps,
    taken: &Taken,
    max_cost: Option<f64>,
) -> Result<Option<Forecast>> {
    let counting = rate::count(&[passed], method)?;
    let of = |counting| Forecast::of(&counting, traps, taken, max_cost);
    Ok(counting.and_then(of))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use profiler_common::rate::{CALL, CLASSES, LOOK, class};

    use super::*;
    use crate::capture::cost::prices::Counted;
    use crate::observe::settings::DEFAULT_MAX_COST;

    const SAMPLED: Programs = Programs { call_ns: 125.0, look_ns: 85.0, returns: false };
    const EXACT: Taken = Taken {
        programs: Programs { call_ns: 950.0, look_ns: 150.0, returns: true },
        sampled: Some(SAMPLED),
        is_sampled: false,
    };

    /// A thread that makes this many pairs of calls in a busy second of its own.
    fn counting(pairs: u64, busy_ms: u64) -> Counting {
        let mut hits = [0; CLASSES];
        hits[class(CALL, false) as usize] = pairs;
        hits[class(LOOK, false) as usize] = pairs;
        let counted = Counted {
            hits,
            cooling_ns: [0; CLASSES],
            busy_ns: busy_ms * 1_000_000,
            user_ns: 0,
            could_ns: 1_000_000_000,
        };
        Counting { length: Duration::from_secs(1), threads: HashMap::from([(u32::MAX / 2, counted)]) }
    }

    fn refusal_above(max_cost: Option<f64>, counting: &Counting, taken: &Taken) -> Option<Error> {
        Forecast::of(counting, &Traps::ASSUMED, taken, max_cost)?.refused(taken)
    }

    fn refusal(counting: &Counting, taken: &Taken) -> Option<Error> {
        refusal_above(Some(DEFAULT_MAX_COST), counting, taken)
    }

    fn forecast(counting: &Counting) -> Forecast {
        Forecast::of(counting, &Traps::ASSUMED, &EXACT, Some(DEFAULT_MAX_COST)).unwrap()
    }

    #[test]
    fn what_fits_is_not_refused() {
        assert_eq!(refusal(&counting(50_000, 1_000), &EXACT), None);
        // A thread that hardly runs loses little, even if that is a large part of its busy time.
        let idle = counting(20_000, 40);
        assert!(forecast(&idle).share > 0.5);
        assert_eq!(refusal(&idle, &EXACT), None);
    }

    #[test]
    fn what_costs_too_much_is_refused_with_the_price_and_the_ways_out() {
        let error = refusal(&counting(150_000, 1_000), &EXACT).unwrap();
        assert_eq!(error.exit_code(), crate::exit::ExitCode::SafetyStop);
        let words = error.to_string();
        assert!(words.contains("more than --max-cost 30%"), "{words}");
        assert!(words.ends_with("; --max-cost off observes it anyway"), "{words}");
        let advice = error.advice().unwrap();
        assert!(advice.contains("--sample-bytes 512KiB would take at least "), "{advice}");
        let close = |pairs: &u64| {
            let forecast = forecast(&counting(*pairs, 1_000));
            (0.26..0.28).contains(&forecast.sampled_share.unwrap())
        };
        let pairs = (150_000..700_000).step_by(5_000).find(close).unwrap();
        let error = refusal(&counting(pairs, 1_000), &EXACT).unwrap();
        let advice = error.advice().unwrap();
        assert!(advice.ends_with("which may still exceed the limit; --max-cost 35% allows it"), "{advice}");
        // A proposal that would be refused too is not made.
        let error = refusal(&counting(700_000, 1_000), &EXACT).unwrap();
        assert!(!error.advice().unwrap().contains("--sample-bytes"), "{error:?}");
        let sampled = Taken { programs: SAMPLED, is_sampled: true, ..EXACT };
        assert!(
            !refusal(&counting(700_000, 1_000), &sampled).unwrap().advice().unwrap().contains("--sample")
        );
    }

    #[test]
    fn the_user_decides_how_much_is_too_much() {
        let hot = counting(700_000, 1_000);
        for max_cost in [None, Some(1.0)] {
            assert_eq!(refusal_above(max_cost, &hot, &EXACT), None);
        }
        assert!(refusal_above(Some(0.01), &counting(50_000, 1_000), &EXACT).is_some());
    }
}
