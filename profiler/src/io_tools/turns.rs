//! Threads that work in regular turns, such as the loop of a game: what they wait for delays every player.

use std::time::Duration;

use profiler_common::io::TURN_BUCKETS;

/// A thread works in turns if it does so at least this often,
const LEAST_PER_S: f64 = 4.0;
/// if its turns are at least so long: shorter ones are those of a loop that polls,
const LEAST_TURN_NS: u64 = 500_000;
/// if at least this share of its turns, and of the time that it was observed, is in turns of similar length: within a factor of four,
const REGULAR: f64 = 0.6;
/// and if there were at least so many.
const LEAST_TURNS: u32 = 5;

/// The turns of a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turns {
    /// Their usual length, in nanoseconds: within a factor of two.
    pub(crate) usual_ns: u64,
    /// How many there were.
    pub(crate) count: u32,
}

/// The turns of a thread that works in regular ones. `turns`: how many there were, by power of two of nanoseconds.
pub(crate) fn regular(turns: &[u32; TURN_BUCKETS], observed: Duration) -> Option<Turns> {
    // A loop that looks for input without waiting ends a turn each time.
    let mut turns = *turns;
    turns.iter_mut().take(LEAST_TURN_NS.ilog2() as usize).for_each(|count| *count = 0);
    let all: u64 = turns.iter().map(|count| u64::from(*count)).sum();
    let (at, pair) = turns
        .windows(2)
        .map(|pair| pair.iter().map(|count| u64::from(*count)).sum::<u64>())
        .enumerate()
        .max_by_key(|(at, count)| (*count, *at))?;
    let of = |bucket: usize| turns.get(bucket).copied().unwrap_or_default();
    // The middle of a bucket.
    let middle = |bucket: usize| (1.5 * 2f64.powi(bucket as i32)) as u64;
    let longer = of(at + 1) >= of(at);
    let usual_ns = middle(if longer { at + 1 } else { at });
    let in_turns_ns =
        u64::from(of(at)).saturating_mul(middle(at)) + u64::from(of(at + 1)).saturating_mul(middle(at + 1));
    let is_regular = pair >= LEAST_TURNS.into()
        && pair as f64 >= REGULAR * all as f64
        && usual_ns >= LEAST_TURN_NS
        && pair as f64 >= LEAST_PER_S * observed.as_secs_f64()
        && in_turns_ns as f64 >= REGULAR * observed.as_nanos() as f64 / 2.0;
    is_regular.then_some(Turns { usual_ns, count: pair as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(turns: &[(u64, u32)]) -> Option<Turns> {
        let mut buckets = [0; TURN_BUCKETS];
        for (ms, count) in turns {
            buckets[(ms * 1_000_000).ilog2() as usize] += count;
        }
        regular(&buckets, Duration::from_secs(10))
    }

    #[test]
    fn a_loop_at_a_fixed_rate_works_in_turns() {
        let turns = of(&[(50, 190), (120, 4)]).unwrap();
        assert!((25_000_000..100_000_000).contains(&turns.usual_ns) && turns.count == 194, "{turns:?}");
        // On both sides of a power of two.
        assert!(of(&[(33, 150), (34, 150)]).is_some());
        assert!(of(&[(16, 600)]).is_some() && of(&[(1, 9_000)]).is_some());
    }

    #[test]
    fn a_loop_that_looks_for_input_without_waiting_does_too() {
        let mut buckets = [0; TURN_BUCKETS];
        for (us, count) in [(20, 1_000), (50_000, 190)] {
            buckets[(us * 1_000u64).ilog2() as usize] += count;
        }
        let turns = regular(&buckets, Duration::from_secs(10)).unwrap();
        assert!((25_000_000..100_000_000).contains(&turns.usual_ns) && turns.count == 190, "{turns:?}");
        buckets[50_000_000u64.ilog2() as usize] = 0;
        assert_eq!(regular(&buckets, Duration::from_secs(10)), None, "it only polls");
    }

    #[test]
    fn other_threads_do_not() {
        assert_eq!(of(&[]), None, "it never waits");
        assert_eq!(of(&[(1_000, 9)]), None, "once a second");
        assert_eq!(of(&[(1, 100), (8, 100), (64, 30)]), None, "of any length");
        assert_eq!(of(&[(10, 50)]), None, "only now and then");
    }
}
