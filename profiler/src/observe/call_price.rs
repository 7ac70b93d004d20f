//! What counting costs the thread that makes a call, for tools with programs at every system call; and what it would cost the threads of
//! the targets, from a short count of their calls. Prices are measured on calls that servers make: a short message that is sent and received,
//! and a read of a file. Of a tool that counts operations on sockets, the message goes through TCP, because its programs follow what
//! happens in the kernel, too: that is part of the price, for other sockets it is too high. A loop of the shortest call finds everything in the nearest caches, and would look too cheap.

mod loops;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use profiler_common::space::Space;

use self::loops::Loops;
use super::ground::{Follows, Ground, Shape};
use crate::{
    capture::{
        cost::{
            prices::Price,
            spending::LEAST_BUSY,
            threads::{self, Had},
        },
        object::Maps,
    },
    error::{Error, ErrorKind, Result},
    tool::foresight::Forecast,
    units,
};

/// How long series are measured before the programs are attached, and after; while they are, for twice as long or more. The shortest series
/// counts, because disturbances only make series longer. Where processors are shared most are disturbed, for up to 100 ms at a time.
const MEASURING: Duration = Duration::from_millis(150);
/// How often a price that seems too high is measured again, and how long to wait before that.
const AGAIN: usize = 3;
const ANOTHER_MOMENT: Duration = Duration::from_millis(200);
/// A price above this seems too high: either the machine is slow, or it was busy during the measurement.
const HIGH_NS: f64 = 1_000.0;
/// How long to leave the processor to others between series.
const BETWEEN: Duration = Duration::from_millis(5);
/// How long calls are counted: several ticks of the slowest game servers (50 ms).
const COUNTING: Duration = Duration::from_millis(500);
/// Kinds of calls that have a price of their own: calls of any kind, and operations on files or sockets.
const KINDS: usize = 2;

/// Calls by kind.
pub(crate) type ByKind = [u64; KINDS];

/// What a call costs, by kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PerCall {
    /// Both programs with their tracepoints, without stacks.
    pub(crate) counted_ns: [f64; KINDS],
    /// Whether it was measured here.
    pub(crate) measured: bool,
}

impl PerCall {
    /// Measured on a virtual machine in 2026, for use where nothing could be measured.
    pub(crate) const ASSUMED: PerCall = PerCall { counted_ns: [350.0, 700.0], measured: false };

    /// The price of calls.
    pub(crate) fn of(&self, calls: ByKind) -> f64 {
        calls.iter().zip(self.counted_ns).map(|(calls, ns)| *calls as f64 * ns).sum()
    }

    fn highest(&self) -> f64 {
        self.counted_ns.into_iter().fold(0.0, f64::max)
    }
}

/// The programs of a tool, attached to some processes for a moment without an observation.
pub(crate) trait Counting {
    /// Calls so far, by thread id.
    fn calls(&self) -> Result<HashMap<u32, ByKind>>;

    /// The processes are known to the kernel side now, this one among them.
    ///
    /// # Errors
    /// If the kernel refuses.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Which calls have a price of their own, because the kernel side does more at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dearer {
    /// None.
    Nothing,
    /// Operations on files.
    OnFiles,
    /// Operations on sockets.
    OnSockets,
}

/// How a tool's calls are priced.
pub(crate) struct Pricing<'a> {
    /// Attaches its programs, given the maps that it shares with an observation.
    pub(crate) attach: &'a dyn Fn(Maps) -> Result<Box<dyn Counting>>,
    /// Which calls have a price of their own.
    pub(crate) dearer: Dearer,
    /// What each call will cost besides, in nanoseconds: a walk, if every call is walked.
    pub(crate) more_ns: f64,
}

/// The programs and what they need.
struct Moment {
    counting: Box<dyn Counting>,
    _ground: (Ground, Vec<OwnedFd>),
}

impl Moment {
    fn attach(pids: &[u32], pricing: &Pricing<'_>) -> Result<Moment> {
        let follows = Follows { children: false, threads: true, beginnings: false };
        let ground = Ground::load(&Shape { max_stacks: 16, follows, tables: Vec::new() })?;
        let links = ground.attach()?;
        let mut counting = (pricing.attach)(ground.shared())?;
        for pid in pids {
            let Some(number) = ground.take_space() else { break };
            ground.register(number, &Space::given(*pid))?;
        }
        counting.begin()?;
        Ok(Moment { counting, _ground: (ground, links) })
    }
}

/// What the short count has shown.
pub(crate) struct Found {
    pub(crate) per_call: PerCall,
    /// What each call will cost besides, in nanoseconds.
    more_ns: f64,
    /// How long calls were counted, and what each thread did.
    counted: (Duration, HashMap<u32, Made>),
}

/// What a thread did in that time.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    calls: ByKind,
    had: Had,
}

/// Measures the price of a call, and counts the calls of processes at the same time. It takes less time if no processes are given.
///
/// # Errors
/// If the kernel refuses the programs.
pub(crate) fn find_out(pids: &[u32], pricing: &Pricing<'_>) -> Result<Found> {
    let tried = || Error::new(ErrorKind::Limit, "tried to measure what a system call costs");
    let mut loops = Loops::new(pricing.dearer).map_err(|e| tried().because_of(e))?;
    let mut series = || -> Result<[f64; KINDS]> { loops.per_call_ns().map_err(|e| tried().because_of(e)) };
    let before = shortest(MEASURING, &mut series)?;
    let own: Vec<u32> = pids.iter().copied().chain([std::process::id()]).collect();
    let moment = Moment::attach(&own, pricing)?;
    let begun = Instant::now();
    let (calls, had) = (moment.counting.calls()?, threads::of_processes(pids.iter().copied()));
    let observed = shortest(if pids.is_empty() { 2 * MEASURING } else { COUNTING }, &mut series)?;
    let (length, calls_after) = (begun.elapsed(), moment.counting.calls()?);
    let made = calls_after.iter().filter_map(|(tid, after)| {
        let before = had.get(tid).copied().unwrap_or_default();
        let earlier = calls.get(tid).copied().unwrap_or_default();
        let calls = std::array::from_fn(|kind| after[kind].saturating_sub(earlier[kind]));
        Some((*tid, Made { calls, had: threads::had(*tid)?.since(before) }))
    });
    let own_tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let counted = (length, made.filter(|(tid, _)| *tid != own_tid && had.contains_key(tid)).collect());
    drop(moment);
    let after = shortest(MEASURING, &mut series)?;
    let price = std::array::from_fn(|kind| observed[kind] - before[kind].min(after[kind]));
    let is_seen = calls_after.get(&own_tid).is_some_and(|calls| calls[0] + calls[1] >= loops::LEAST_CALLS);
    let is_sound = price[0] > 0.0 && (pricing.dearer == Dearer::Nothing || price[1] > 0.0);
    let per_call = match is_seen && is_sound {
        true => PerCall { counted_ns: price, measured: true },
        false => PerCall::ASSUMED,
    };
    tracing::debug!(?per_call, "what a call costs");
    Ok(Found { per_call, more_ns: pricing.more_ns, counted })
}

/// What a call costs, if nobody asks for a prediction: measured, or assumed where that is not possible.
pub(crate) fn unasked(pricing: &Pricing<'_>) -> PerCall {
    let found = find_out(&[], pricing);
    let found = found.inspect_err(|error| tracing::info!("what a call costs is assumed: {error}"));
    let first = found.map_or(PerCall::ASSUMED, |found| found.per_call);
    least(first, |_| false, || later(pricing))
}

/// The least of the measured prices, which is what a call costs: any disturbance makes a measurement higher. While it seems too
/// high, it is measured again, a few times, with pauses.
fn least(
    first: PerCall,
    refuses: impl Fn(PerCall) -> bool,
    mut again: impl FnMut() -> Result<PerCall>,
) -> PerCall {
    let mut least = first;
    for _ in 0..AGAIN {
        if least.highest() < HIGH_NS && !refuses(least) {
            break;
        }
        let measured = again().inspect_err(|error| tracing::info!("a call is not priced again: {error}"));
        let Ok(measured) = measured else { break };
        least = match (measured.measured, least.measured) {
            (false, _) => least,
            (true, false) => measured,
            (true, true) => PerCall {
                counted_ns: std::array::from_fn(|kind| measured.counted_ns[kind].min(least.counted_ns[kind])),
                measured: true,
            },
        };
    }
    least
}

/// Measures the price of a call again after a pause.
///
/// # Errors
/// As [`find_out`].
pub(crate) fn later(pricing: &Pricing<'_>) -> Result<PerCall> {
    thread::sleep(ANOTHER_MOMENT);
    Ok(find_out(&[], pricing)?.per_call)
}

fn shortest(during: Duration, series: &mut impl FnMut() -> Result<[f64; KINDS]>) -> Result<[f64; KINDS]> {
    let begun = Instant::now();
    let mut least = series()?;
    while begun.elapsed() < during {
        thread::sleep(BETWEEN);
        let next = series()?;
        least = std::array::from_fn(|kind| least[kind].min(next[kind]));
    }
    Ok(least)
}

impl Found {
    /// Replaces the price by the least measured one. It is measured again if it is high, or if a process would be refused because of it.
    pub(crate) fn settle(&mut self, max_cost: Option<f64>, again: impl FnMut() -> Result<PerCall>) {
        let refuses = |per_call| {
            let found = Found { per_call, more_ns: self.more_ns, counted: self.counted.clone() };
            found.forecast(max_cost).is_some_and(|forecast| max_cost.is_some() && forecast.is_over())
        };
        self.per_call = least(self.per_call, refuses, again);
    }

    /// What an observation would cost the thread that pays most; `None` if no thread ran long enough to say.
    pub(crate) fn forecast(&self, max_cost: Option<f64>) -> Option<Forecast> {
        let (length, threads) = &self.counted;
        let length_ns = length.as_nanos() as f64;
        let prices = threads.iter().filter_map(|(tid, made)| {
            let (paid, busy) = (self.per_call.of(made.calls), made.had.busy_ns as f64);
            let own = (busy - paid).max(0.0);
            let ours = paid + made.calls.iter().sum::<u64>() as f64 * self.more_ns;
            let could = length_ns - made.had.waited_ns as f64;
            (busy >= length_ns * LEAST_BUSY).then(|| (*tid, made, Price::of(ours, own, could.max(busy))))
        });
        let (thread, made, price) = prices.max_by(|a, b| a.2.of_all.total_cmp(&b.2.of_all))?;
        Some(Forecast {
            thread,
            name: threads::name(thread),
            share: price.of_busy,
            taken_share: price.of_all,
            sampled_share: None,
            calls_per_s: made.calls.iter().sum::<u64>() as f64 / (made.had.busy_ns as f64 / 1e9),
            limit: max_cost.unwrap_or(1.0),
        })
    }
}

/// The refusal, if the predicted cost is over its limit. `hint`: what would cost less.
pub(crate) fn refused(forecast: &Forecast, max_cost: Option<f64>, hint: &str) -> Option<Error> {
    let most = max_cost.filter(|_| forecast.is_over())?;
    let error = Error::new(ErrorKind::Safety, "tried to predict the cost").because(format_args!(
        "{} would lose ~{} of its time (it makes {} system calls per busy second), more than --max-cost {}; --max-cost off \
         observes it anyway",
        forecast.who(),
        units::percent(forecast.taken_share),
        units::count(forecast.calls_per_s),
        units::percentage(most)
    ));
    Some(error.hint(hint))
}

/// The hint if nothing costs less.
pub(crate) const LESS_BUSY: &str = "observe it when it has less to do, or another process of its kind";

#[cfg(test)]
mod tests {
    use super::*;

    const PER_CALL: PerCall = PerCall { counted_ns: [400.0, 0.0], measured: true };

    /// A thread that makes this many calls in a part of a second in which it is busy.
    fn found(calls: u64, busy_ms: u64) -> Found {
        let had = Had { busy_ns: busy_ms * 1_000_000, waited_ns: 0, user_ns: 0 };
        let threads = HashMap::from([(u32::MAX / 2, Made { calls: [calls, 0], had })]);
        Found { per_call: PER_CALL, more_ns: 0.0, counted: (Duration::from_secs(1), threads) }
    }

    #[test]
    fn a_thread_loses_what_its_calls_cost() {
        // Half of the time that it used was already spent on counting.
        let all = found(1_250_000, 1_000).forecast(Some(0.3)).unwrap();
        assert!((all.taken_share - 0.5).abs() < 1e-9 && all.is_over(), "{all:?}");
        let idle = found(25_000, 20).forecast(Some(0.3)).unwrap();
        assert!((idle.share - 0.5).abs() < 1e-9 && idle.taken_share < 0.02 && !idle.is_over(), "{idle:?}");
        assert!(found(10, 1).forecast(Some(0.3)).is_none(), "it hardly runs");
    }

    #[test]
    fn a_price_is_the_least_that_was_measured_before_a_process_is_refused() {
        let price = |counted_ns| PerCall { counted_ns: [counted_ns, 0.0], measured: true };
        // 138,000 calls per busy second at 2.4 µs each are a third of the time; at 400 ns they are 6 %.
        let settled = |first: f64, max_cost, later: &[f64]| {
            let (mut found, mut measured) = (found(138_000, 1_000), later.iter());
            found.per_call = price(first);
            found.settle(max_cost, || Ok(price(*measured.next().unwrap())));
            let is_over = found.forecast(max_cost).unwrap().is_over();
            (found.per_call.counted_ns[0], is_over, measured.len())
        };
        // No more measurements than needed.
        assert_eq!(settled(2_400.0, Some(0.3), &[2_600.0, 400.0, 9.0]), (400.0, false, 1));
        assert_eq!(
            settled(2_400.0, Some(0.3), &[2_600.0, 2_300.0, 2_500.0, 9.0]),
            (2_300.0, true, 1),
            "it stays dear"
        );
        assert_eq!(
            settled(400.0, Some(0.01), &[380.0, 390.0, 370.0]),
            (370.0, true, 0),
            "for a low limit, too"
        );
        assert_eq!(settled(400.0, Some(0.3), &[]), (400.0, false, 0), "nobody is refused");
        assert_eq!(settled(1_500.0, None, &[350.0]), (350.0, false, 0), "the cost that is reported, too");
        let mut tried = 0;
        let mut found = found(138_000, 1_000);
        found.per_call = price(2_400.0);
        found.settle(Some(0.3), || {
            tried += 1;
            Err(Error::new(ErrorKind::Kernel, "tried"))
        });
        assert_eq!((tried, found.per_call), (1, price(2_400.0)));
    }

    #[test]
    fn what_costs_too_much_is_refused_with_the_ways_out() {
        let of = |max_cost| {
            let forecast = found(1_250_000, 1_000).forecast(max_cost).unwrap();
            refused(&forecast, max_cost, LESS_BUSY)
        };
        let error = of(Some(0.3)).unwrap();
        assert_eq!(error.exit_code(), crate::exit::ExitCode::SafetyStop);
        let end = "more than --max-cost 30%; --max-cost off observes it anyway";
        assert!(error.to_string().ends_with(end), "{error}");
        assert!(error.advice().unwrap().starts_with("observe it when"), "{error:?}");
        assert_eq!((of(None), of(Some(0.6))), (None, None));
    }

    #[test]
    fn operations_on_files_have_a_price_of_their_own() {
        let per_call = PerCall { counted_ns: [100.0, 500.0], measured: true };
        assert_eq!(per_call.of([10, 2]), 2_000.0);
        let mut found = found(1_000_000, 1_000);
        (found.per_call, found.more_ns) = (PER_CALL, 200.0);
        let with_walks = found.forecast(None).unwrap().taken_share;
        found.more_ns = 0.0;
        assert!(with_walks > found.forecast(None).unwrap().taken_share);
    }
}
