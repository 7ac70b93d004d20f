//! What counting costs the thread that makes a call, and what it would cost the threads of the targets, from a short count of
//! their calls. The price is measured on a call that servers make, a short message that is sent and received: a loop of the
//! shortest call finds everything in the nearest caches, and would look too cheap.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use profiler_common::{
    ledger::Ledger as _,
    space::Space,
    syscalls::{Counter, HAS_ENDED, Thread},
};

use super::{
    counted::{Counted, each},
    probes::{Limits, Probes, Stacks},
    sums,
};
use crate::{
    capture::cost::{
        priced::{Paid, Priced},
        prices::Price,
        spending::LEAST_BUSY,
        threads::{self, Had},
    },
    error::{Error, ErrorKind, Result},
    observe::ground::{Follows, Ground, Shape},
    tool::foresight::Forecast,
    units,
};

/// Length of a short request of a server.
const MESSAGE: [u8; 128] = [7; 128];
/// Messages in a series. It takes less than a millisecond, so that the scheduler rarely interrupts it.
const MESSAGES: u32 = 300;
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
/// Room for threads and calls in that time. Others are counted without a record of their own, and not judged.
const ROOM: u32 = 2_048;
/// Time for a walk at each call, until it is measured on the target: 16 frames of C++.
const WALK_NS: f64 = 800.0;

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PerCall {
    /// Both programs with their tracepoints, without stacks.
    pub(super) counted_ns: f64,
    /// Whether it was measured here.
    pub(super) measured: bool,
}

impl PerCall {
    /// Measured on a virtual machine in 2026, for use where nothing could be measured.
    pub(super) const ASSUMED: PerCall = PerCall { counted_ns: 350.0, measured: false };

    /// What a call will cost with stacks as asked for.
    fn expected_ns(&self, stacks: Stacks) -> f64 {
        match stacks {
            Stacks::All => self.counted_ns + WALK_NS,
            // So few slow calls are walked that it does not matter.
            Stacks::Slow | Stacks::None => self.counted_ns,
        }
    }
}

/// The programs, attached to some processes for a moment without an observation.
struct Moment {
    probes: Probes,
    _ground: (Ground, Vec<OwnedFd>),
}

impl Moment {
    fn attach(pids: &[u32], lists: bool) -> Result<Moment> {
        let follows = Follows { children: false, threads: true, beginnings: false };
        let ground = Ground::load(&Shape { max_stacks: 16, follows, tables: Vec::new() })?;
        let links = ground.attach()?;
        // Where single calls are listed, each call pays for finding its file, however short it is.
        let list_ns = if lists { u64::MAX - 1 } else { u64::MAX };
        let limits = Limits { threads: ROOM, cells: ROOM, max_stacks: 16, list_ns, ..Limits::default() };
        let probes = Probes::attach(limits, ground.shared())?;
        for pid in pids {
            let Some(number) = ground.take_space() else { break };
            ground.register(number, &Space::given(*pid))?;
        }
        Ok(Moment { probes, _ground: (ground, links) })
    }

    /// Calls so far, by thread id.
    fn calls(&self) -> Result<HashMap<u32, u64>> {
        let counted = Counted::read(&self.probes)?;
        Ok(counted.threads.iter().map(|thread| (thread.tid, thread.enters)).collect())
    }
}

/// What the short count has shown.
pub(super) struct Found {
    pub(super) per_call: PerCall,
    /// How long calls were counted, and what each thread did.
    pub(super) counted: (Duration, HashMap<u32, Made>),
}

/// What a thread did in that time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    calls: u64,
    had: Had,
}

/// Measures the price of a call, and counts the calls of processes at the same time. It takes less time if no processes are given.
/// `lists`: whether single calls will be listed.
///
/// # Errors
/// If the kernel refuses the programs.
pub(super) fn find_out(pids: &[u32], lists: bool) -> Result<Found> {
    let tried = || Error::new(ErrorKind::Limit, "tried to measure what a system call costs");
    let mut pair = UnixStream::pair().map_err(|e| tried().because_of(e))?;
    let mut series = || -> Result<f64> { per_call_ns(&mut pair).map_err(|e| tried().because_of(e)) };
    let before = shortest(MEASURING, &mut series)?;
    let own: Vec<u32> = pids.iter().copied().chain([std::process::id()]).collect();
    let moment = Moment::attach(&own, lists)?;
    let begun = Instant::now();
    let (calls, had) = (moment.calls()?, threads::of_processes(pids.iter().copied()));
    let observed = shortest(if pids.is_empty() { 2 * MEASURING } else { COUNTING }, &mut series)?;
    let (length, calls_after) = (begun.elapsed(), moment.calls()?);
    let made = calls_after.iter().filter_map(|(tid, after)| {
        let before = had.get(tid).copied().unwrap_or_default();
        let calls = after.saturating_sub(calls.get(tid).copied().unwrap_or(0));
        Some((*tid, Made { calls, had: threads::had(*tid)?.since(before) }))
    });
    let own_tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let counted = (length, made.filter(|(tid, _)| *tid != own_tid && had.contains_key(tid)).collect());
    drop(moment);
    let after = shortest(MEASURING, &mut series)?;
    let price = observed - before.min(after);
    let is_seen = calls_after.get(&own_tid).is_some_and(|calls| *calls >= MESSAGES.into());
    let per_call = match is_seen && price > 0.0 {
        true => PerCall { counted_ns: price, measured: true },
        false => PerCall::ASSUMED,
    };
    tracing::debug!(?per_call, "what a call costs");
    Ok(Found { per_call, counted })
}

/// The least of the measured prices, which is what a call costs: any disturbance makes a measurement higher. While it seems too
/// high, it is measured again, a few times, with pauses.
pub(super) fn least(
    first: PerCall,
    refuses: impl Fn(PerCall) -> bool,
    mut again: impl FnMut() -> Result<PerCall>,
) -> PerCall {
    let mut least = first;
    for _ in 0..AGAIN {
        if least.counted_ns < HIGH_NS && !refuses(least) {
            break;
        }
        let measured = again().inspect_err(|error| tracing::info!("a call is not priced again: {error}"));
        let Ok(measured) = measured else { break };
        let is_better = measured.measured && (!least.measured || measured.counted_ns < least.counted_ns);
        least = if is_better { measured } else { least };
    }
    least
}

/// Measures the price of a call again after a pause.
///
/// # Errors
/// As [`find_out`].
pub(super) fn later(lists: bool) -> Result<PerCall> {
    thread::sleep(ANOTHER_MOMENT);
    Ok(find_out(&[], lists)?.per_call)
}

fn shortest(during: Duration, series: &mut impl FnMut() -> Result<f64>) -> Result<f64> {
    let begun = Instant::now();
    let mut least = series()?;
    while begun.elapsed() < during {
        thread::sleep(BETWEEN);
        least = least.min(series()?);
    }
    Ok(least)
}

/// Mean time of one call, sending or receiving.
fn per_call_ns((to, from): &mut (UnixStream, UnixStream)) -> std::io::Result<f64> {
    let mut buffer = MESSAGE;
    let begun = Instant::now();
    for _ in 0..MESSAGES {
        to.write_all(&MESSAGE)?;
        from.read_exact(&mut buffer)?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(2 * MESSAGES))
}

impl Found {
    /// Replaces the price by the least measured one. It is measured again if it is high, or if a process would be refused because of it.
    pub(super) fn settle(
        &mut self,
        stacks: Stacks,
        max_cost: Option<f64>,
        again: impl FnMut() -> Result<PerCall>,
    ) {
        let refuses = |per_call| {
            let found = Found { per_call, counted: self.counted.clone() };
            found.forecast(stacks, max_cost).is_some_and(|forecast| max_cost.is_some() && forecast.is_over())
        };
        self.per_call = least(self.per_call, refuses, again);
    }

    /// What an observation would cost the thread that pays most; `None` if no thread ran long enough to say.
    pub(super) fn forecast(&self, stacks: Stacks, max_cost: Option<f64>) -> Option<Forecast> {
        let (length, threads) = &self.counted;
        let length_ns = length.as_nanos() as f64;
        let prices = threads.iter().filter_map(|(tid, made)| {
            let (calls, busy) = (made.calls as f64, made.had.busy_ns as f64);
            let own = (busy - calls * self.per_call.counted_ns).max(0.0);
            let ours = calls * self.per_call.expected_ns(stacks);
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
            calls_per_s: made.calls as f64 / (made.had.busy_ns as f64 / 1e9),
            limit: max_cost.unwrap_or(1.0),
        })
    }
}

/// What calls have cost each thread so far: counting, and walks.
///
/// # Errors
/// If a map cannot be read.
pub(super) fn paid(probes: &Probes, per_call: PerCall) -> Result<Priced> {
    // Records that were reused no longer have the cost of their thread's walks. The mean of the other threads is used instead.
    let gone = probes.counters()?[Counter::EnterHits.index()];
    let (mut priced, mut of_all) = (Priced { measured: per_call.measured, ..Priced::default() }, (0, 0));
    let mut add = |record: Seen| {
        if record.tid == 0 {
            return;
        }
        of_all = (of_all.0 + record.calls, of_all.1 + record.walk_ns);
        let ns = record.calls as f64 * per_call.counted_ns + record.walk_ns as f64;
        let paid = Paid { space: record.space as u16, tid: record.tid, hits: record.calls, ns };
        if record.state & HAS_ENDED == 0 {
            priced.threads.push(paid);
            priced.processes.insert(record.tgid);
        } else {
            priced.ended.hits += paid.hits;
            priced.ended.ns += paid.ns;
        }
    };
    for (_, thread) in probes.threads.up_to(probes.given_out("NEXT_THREAD")?) {
        // SAFETY: an element of the mapping; any bytes are valid.
        unsafe {
            add(Seen {
                space: (&raw const (*thread).space).read_volatile(),
                tid: (&raw const (*thread).tid).read_volatile(),
                tgid: (&raw const (*thread).tgid).read_volatile(),
                state: (&raw const (*thread).state).read_volatile(),
                calls: (&raw const (*thread).enters).read_volatile(),
                walk_ns: (&raw const (*thread).walk_ns).read_volatile(),
            });
        }
    }
    each(probes, "BEYOND", |_: u32, thread: Thread| {
        let Thread { space, tid, tgid, state, enters: calls, walk_ns, .. } = thread;
        add(Seen { space, tid, tgid, state, calls, walk_ns });
    })?;
    let (calls, walk_ns) = of_all;
    let each_ns = per_call.counted_ns + walk_ns as f64 / calls.max(1) as f64;
    priced.ended.hits += gone;
    priced.ended.ns += gone as f64 * each_ns;
    let [enters, exits] = sums::hits(probes)?;
    priced.hits = enters + exits;
    Ok(priced)
}

/// The fields that are read from the record of a thread.
struct Seen {
    space: u32,
    tid: u32,
    tgid: u32,
    state: u32,
    calls: u64,
    walk_ns: u64,
}

/// The refusal, if the predicted cost is over its limit.
pub(super) fn refused(forecast: &Forecast, stacks: Stacks, max_cost: Option<f64>) -> Option<Error> {
    let most = max_cost.filter(|_| forecast.is_over())?;
    let error = Error::new(ErrorKind::Safety, "tried to predict the cost").because(format_args!(
        "{} would lose ~{} of its time (it makes {} system calls per busy second), more than --max-cost {}; --max-cost off \
         observes it anyway",
        forecast.who(),
        units::percent(forecast.taken_share),
        units::count(forecast.calls_per_s),
        units::percentage(most)
    ));
    Some(error.hint(match stacks {
        Stacks::All => "--stacks slow costs less: a walk at every call is most of it",
        Stacks::Slow | Stacks::None => "observe it when it has less to do, or another process of its kind",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_CALL: PerCall = PerCall { counted_ns: 400.0, measured: true };

    /// A thread that makes this many calls in a part of a second in which it is busy.
    fn found(calls: u64, busy_ms: u64) -> Found {
        let had = Had { busy_ns: busy_ms * 1_000_000, waited_ns: 0, user_ns: 0 };
        let threads = HashMap::from([(u32::MAX / 2, Made { calls, had })]);
        Found { per_call: PER_CALL, counted: (Duration::from_secs(1), threads) }
    }

    #[test]
    fn a_thread_loses_what_its_calls_cost() {
        // Half of the time that it used was already spent on counting.
        let all = found(1_250_000, 1_000).forecast(Stacks::Slow, Some(0.3)).unwrap();
        assert!((all.taken_share - 0.5).abs() < 1e-9 && all.is_over(), "{all:?}");
        let idle = found(25_000, 20).forecast(Stacks::Slow, Some(0.3)).unwrap();
        assert!((idle.share - 0.5).abs() < 1e-9 && idle.taken_share < 0.02 && !idle.is_over(), "{idle:?}");
        assert!(found(10, 1).forecast(Stacks::Slow, Some(0.3)).is_none(), "it hardly runs");
    }

    #[test]
    fn a_price_is_the_least_that_was_measured_before_a_process_is_refused() {
        let price = |counted_ns| PerCall { counted_ns, measured: true };
        // 138,000 calls per busy second at 2.4 µs each are a third of the time; at 400 ns they are 6 %.
        let settled = |first: f64, max_cost, later: &[f64]| {
            let (mut found, mut measured) = (found(138_000, 1_000), later.iter());
            found.per_call = price(first);
            found.settle(Stacks::Slow, max_cost, || Ok(price(*measured.next().unwrap())));
            let is_over = found.forecast(Stacks::Slow, max_cost).unwrap().is_over();
            (found.per_call.counted_ns, is_over, measured.len())
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
        found.settle(Stacks::Slow, Some(0.3), || {
            tried += 1;
            Err(Error::new(ErrorKind::Kernel, "tried"))
        });
        assert_eq!((tried, found.per_call), (1, price(2_400.0)));
    }

    #[test]
    fn what_costs_too_much_is_refused_with_the_ways_out() {
        let of = |max_cost, stacks| {
            let forecast = found(1_250_000, 1_000).forecast(stacks, max_cost).unwrap();
            refused(&forecast, stacks, max_cost)
        };
        let error = of(Some(0.3), Stacks::All).unwrap();
        assert_eq!(error.exit_code(), crate::exit::ExitCode::SafetyStop);
        let end = "more than --max-cost 30%; --max-cost off observes it anyway";
        assert!(error.to_string().ends_with(end), "{error}");
        assert!(error.advice().unwrap().starts_with("--stacks slow"), "{error:?}");
        assert!(of(Some(0.3), Stacks::Slow).unwrap().advice().unwrap().starts_with("observe it when"));
        assert_eq!((of(None, Stacks::All), of(Some(0.6), Stacks::Slow)), (None, None));
    }
}
