//! Threads that work in regular turns, such as the loop of a game: what they wait for delays every player.

use std::time::Duration;

use profiler_common::io::CallUse;
use sysno::x86_64::Sysno;

use crate::observe::io::TurnCounts;

/// Calls that wait for time to pass, or for something to do: between two of them, a thread works.
const WAITS: [Sysno; 11] = [
    Sysno::nanosleep,
    Sysno::clock_nanosleep,
    Sysno::epoll_wait,
    Sysno::epoll_pwait,
    Sysno::epoll_pwait2,
    Sysno::poll,
    Sysno::ppoll,
    Sysno::select,
    Sysno::pselect6,
    Sysno::rt_sigtimedwait,
    Sysno::pause,
];

/// How a call is counted that may end a turn.
pub(crate) fn wait(call: Sysno) -> Option<CallUse> {
    match call {
        // Most calls of it wake others, or wait for a lock: only one that times out has waited for time to pass.
        Sysno::futex => Some(CallUse::waiting().timing_out()),
        _ => WAITS.contains(&call).then(CallUse::waiting),
    }
}

/// A thread works in turns if it does so at least this often,
const LEAST_PER_S: f64 = 4.0;
/// if its turns are at least so long on average; those in shorter buckets (under 2^18 ns) are of a loop that polls, and are left out,
const LEAST_TURN_NS: u64 = 500_000;
/// if at least this share of its turns, and half this share of the observed time, is in turns of similar length: within a factor of four,
const REGULAR: f64 = 0.6;
/// and if there were at least so many.
const LEAST_TURNS: u32 = 5;

/// The turns of a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turns {
    /// Their mean length, in nanoseconds, without those that are far longer or shorter than most.
    pub(crate) usual_ns: u64,
    /// How many there were.
    pub(crate) count: u32,
}

/// The turns of a thread that works in regular ones.
pub(crate) fn regular(turns: &TurnCounts, observed: Duration) -> Option<Turns> {
    // A loop that looks for input without waiting ends a turn each time: those are left out.
    let first = LEAST_TURN_NS.ilog2() as usize;
    let count = turns.count.get(first..)?;
    let ns = turns.ns.get(first..)?;
    let all: u64 = count.iter().map(|count| u64::from(*count)).sum();
    let pairs = count.windows(2).zip(ns.windows(2));
    let (most, took_ns) = pairs
        .map(|(count, ns)| (count.iter().map(|count| u64::from(*count)).sum::<u64>(), ns.iter().sum::<u64>()))
        .max_by_key(|(count, ns)| (*count, *ns))?;
    let is_regular = most >= LEAST_TURNS.into()
        && most as f64 >= REGULAR * all as f64
        && took_ns >= LEAST_TURN_NS * most
        && most as f64 >= LEAST_PER_S * observed.as_secs_f64()
        && took_ns as f64 >= REGULAR * observed.as_nanos() as f64 / 2.0;
    is_regular.then_some(Turns { usual_ns: took_ns / most.max(1), count: most as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn of_us(turns: &[(u64, u32)]) -> Option<Turns> {
        let counts = turns.iter().fold(TurnCounts::NONE, |counts, (us, count)| counts.and(*count, us * US));
        regular(&counts, Duration::from_secs(10))
    }

    fn of(turns: &[(u64, u32)]) -> Option<Turns> {
        let turns: Vec<(u64, u32)> = turns.iter().map(|(ms, count)| (ms * 1_000, *count)).collect();
        of_us(&turns)
    }

    #[test]
    fn a_loop_at_a_fixed_rate_works_in_turns() {
        // Those that are a little longer count, those that are far longer do not.
        assert_eq!(of(&[(50, 190), (100, 10)]), Some(Turns { usual_ns: 52_500 * US, count: 200 }));
        assert_eq!(of(&[(50, 190), (150, 4)]), Some(Turns { usual_ns: 50_000 * US, count: 190 }));
        // On both sides of a power of two.
        assert_eq!(of(&[(33, 150), (34, 150)]), Some(Turns { usual_ns: 33_500 * US, count: 300 }));
        assert_eq!(of_us(&[(16_667, 600)]), Some(Turns { usual_ns: 16_667 * US, count: 600 }));
        assert!(of(&[(1, 9_000)]).is_some());
    }

    #[test]
    fn a_loop_that_looks_for_input_without_waiting_does_too() {
        let turns = of_us(&[(20, 1_000), (50_000, 190)]);
        assert_eq!(turns, Some(Turns { usual_ns: 50_000 * US, count: 190 }));
        assert_eq!(of_us(&[(20, 400_000)]), None, "it only polls");
    }

    #[test]
    fn other_threads_do_not() {
        assert_eq!(of(&[]), None, "it never waits");
        assert_eq!(of(&[(1_000, 9)]), None, "once a second");
        assert_eq!(of(&[(1, 100), (8, 100), (64, 30)]), None, "of any length");
        assert_eq!(of(&[(10, 50)]), None, "only now and then");
    }
}
