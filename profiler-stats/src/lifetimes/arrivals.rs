//! When did the items come that are still live, and have they stopped coming?
//!
//! Items that come together are one event: a server that leaks a thousand items in every tick leaks once per tick.
//! So time is cut into slots, and a slot in which any number of live items was born is *taken*. How long a silence
//! is has to be judged by the gaps between taken slots, never by the number of items.
//!
//! The typical gap is the one that a moment chosen at random falls into, `sum of gap^2 / sum of gaps`. It needs no
//! rule of what belongs to one burst: gaps within bursts are short, and hardly weigh. Of a fixed beat it is the
//! period; of births at random moments it is twice their mean gap.

use std::ops::RangeInclusive;

use super::growth::HALF_OLD;
use super::rows::Window;

/// Slots of a row, at most.
const SLOTS: usize = 4096;
/// Slots reach back this many ages: the rhythm of today counts, not that of last week.
const REACH_AGES: u64 = 32;
/// Ages of items may be too large by this much, in units: the kernel's clock of births goes by ticks of up to 10 ms.
const CLOCK_UNITS: f64 = 10.0;
/// Chance of taking a pause between births at random moments for their end.
const SILENT_TAIL: f64 = 1e-5;
/// The same where a leak was proved before: there are many looks, and each would have its chance.
const SILENT_AFTER_LEAK_TAIL: f64 = 1e-8;
/// Such a silence is longer than every gap by this factor.
const LONGEST: f64 = 2.0;
/// The same where a leak was proved before.
const LONGEST_AFTER_LEAK: f64 = 3.0;
/// A program may stand still for this share of the age before the look, on a busy machine or while it saves, and its beat
/// goes on: so much of a silence says nothing.
const STALL_OF_AGE: f64 = 0.1;
/// And for so long at least, in age units (half a second), up to half of the age.
const STALL_UNITS: f64 = 500.0;
/// A silence of one age and this many typical gaps ends a beat that was steady.
const GAPS: f64 = 2.0;
/// With fewer gaps than this a beat is not known, and a silence has to last an age longer.
const KNOWN_GAPS: f64 = 5.0;

/// In which slots of time items were born that are still live: a bit for each slot, counted from the end of the
/// observation backwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals([u64; SLOTS / 64]);

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals([0; SLOTS / 64])
    }
}

impl Arrivals {
    /// An item of this age is live. `slot_units` is [`Window::slot_units`], divided by here so that the caller does
    /// it once.
    pub fn mark(&mut self, age_units: u64, slot_units: u64) {
        let slot = (age_units / slot_units.max(1)) as usize;
        if let Some(word) = self.0.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Adds the births of another row of the same window: what came in one slot is one event.
    pub fn merge(&mut self, other: &Arrivals) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// The taken slots from `first` on, the youngest first.
    fn taken(&self, first: usize) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(move |(place, word)| {
            let from = place * 64;
            let skipped = first.saturating_sub(from).min(64) as u32;
            let mut left = if skipped == 64 { 0 } else { word >> skipped << skipped };
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(from + bit)
            })
        })
    }

    /// Number of slots taken by items of at least that age.
    pub(super) fn events(&self, age_units: u64, window: &Window) -> usize {
        self.taken((age_units / window.slot_units()) as usize).count()
    }

    /// At how many moments items of these ages were born: births that follow within `apart_units` of the youngest of a
    /// moment belong to it.
    pub(super) fn moments(&self, ages: RangeInclusive<u64>, apart_units: u64, window: &Window) -> usize {
        let slot = window.slot_units();
        let mut moments = 0;
        let mut next = 0;
        for taken in self.taken((ages.start() / slot) as usize) {
            let age = taken as u64 * slot;
            if age > *ages.end() {
                break;
            }
            if age >= next {
                moments += 1;
                next = age + apart_units.max(slot);
            }
        }
        moments
    }

    /// True if items have certainly stopped coming: none was born for so long that the gaps before would have to
    /// have gone on in between. Either no item at all, or none that is at least a third of the age by now: what is
    /// in use for a moment is always young.
    ///
    /// Only of a row that has old items: without a birth in reach, all of them are older than that. `was_leak`: an earlier
    /// look has proved that they came.
    pub(super) fn ended(&self, window: &Window, was_leak: bool) -> bool {
        let third = (window.older_units as f64 * HALF_OLD) as u64;
        let silent_from = |age_units| self.silence_ends(age_units, stall(window), window, was_leak);
        silent_from(0) || silent_from(third)
    }

    /// The same of the items of at least that age alone, with no allowance for a stall.
    pub(super) fn silent_from(&self, age_units: u64, window: &Window, was_leak: bool) -> bool {
        self.silence_ends(age_units, 0.0, window, was_leak)
    }

    fn silence_ends(&self, age_units: u64, stall: f64, window: &Window, was_leak: bool) -> bool {
        let slot = window.slot_units();
        Rhythm::of(self.taken((age_units / slot) as usize), slot).is_none_or(|rhythm| {
            let silence = rhythm.youngest_units - age_units as f64 - CLOCK_UNITS;
            rhythm.ended_after(silence, stall, window, was_leak)
        })
    }
}

impl Window {
    /// Length of a slot that births are told apart in, in age units.
    pub fn slot_units(&self) -> u64 {
        let reach = self.length_units.min(self.older_units.saturating_mul(REACH_AGES));
        (reach + 1).div_ceil(SLOTS as u64).max(1)
    }
}

/// How much of a silence just before the look may be a stall of the whole program, in age units.
fn stall(window: &Window) -> f64 {
    let older = window.older_units as f64;
    (STALL_OF_AGE * older).max(STALL_UNITS.min(older / 2.0))
}

/// How births follow each other. All times in age units.
struct Rhythm {
    /// Age of the youngest.
    youngest_units: f64,
    /// Age of the oldest.
    oldest_units: f64,
    /// The typical gap; 0 without a gap.
    typical: f64,
    /// The same of the later half of the time, if it is longer.
    recent: f64,
    /// The longest gap.
    longest: f64,
}

impl Rhythm {
    /// The rhythm of the taken slots, from the youngest on; nothing if there is none.
    fn of(taken: impl Iterator<Item = usize>, slot_units: u64) -> Option<Rhythm> {
        let slots: Vec<usize> = taken.collect();
        let (&youngest, &oldest) = (slots.first()?, slots.last()?);
        let middle = youngest.midpoint(oldest);
        let typical = |slots: &[usize]| {
            let gaps = || slots.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
            let sum: f64 = gaps().sum();
            if sum > 0.0 { gaps().map(|gap| gap * gap).sum::<f64>() / sum } else { 0.0 }
        };
        let later = slots.partition_point(|&slot| slot <= middle);
        let longest = slots.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        let unit = slot_units as f64;
        Some(Rhythm {
            youngest_units: youngest as f64 * unit,
            oldest_units: oldest as f64 * unit,
            typical: typical(&slots) * unit,
            recent: typical(&slots).max(typical(&slots[..later])) * unit,
            longest: longest as f64 * unit,
        })
    }

    /// How many gaps of that length were seen. Of the typical one: as many as there were if they are all alike, half
    /// of that at random moments.
    fn gaps(&self, gap: f64) -> f64 {
        if gap > 0.0 { (self.oldest_units - self.youngest_units) / gap } else { 0.0 }
    }

    /// True if a silence of that length is not a gap like the others, even if `stall` of it was one.
    fn ended_after(&self, silence: f64, stall: f64, window: &Window, was_leak: bool) -> bool {
        if silence <= 0.0 {
            return false;
        }
        let older = window.older_units as f64;
        let wait = (window.length_units as f64 - self.oldest_units).max(0.0);
        if self.gaps(self.typical) >= KNOWN_GAPS {
            // Of births at random moments the mean of n gaps is half the typical one, and the next gap is longer
            // than x such means with the chance (1 + x/n)^-n: it and the mean are not known apart.
            let gaps = self.gaps(self.recent);
            let beyond_stall = (silence - stall).max(0.0);
            let chance = (1.0 + beyond_stall / self.recent / gaps).powf(-2.0 * gaps);
            // Births that go on for long between rare pauses have short gaps, typically: the pauses count too, and
            // the time before the first birth may have been one.
            let (tail, times) =
                if was_leak { (SILENT_AFTER_LEAK_TAIL, LONGEST_AFTER_LEAK) } else { (SILENT_TAIL, LONGEST) };
            let unseen = beyond_stall >= times * self.longest.max(wait);
            return (chance < tail && unseen) || silence >= older + GAPS * self.typical;
        }
        // Of few births the wait before the first one tells as much as their gaps.
        silence >= 2.0 * older + GAPS * self.typical.max(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watched for four ages of 4096 units each: a slot is four units, and a clock's tick does not matter.
    const WINDOW: Window = Window { length_units: 4 * 4096 - 1, older_units: 4096 };

    fn arrivals(births: impl IntoIterator<Item = f64>) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for birth in births {
            let age = WINDOW.length_units as f64 - birth * WINDOW.older_units as f64;
            arrivals.mark(age as u64, WINDOW.slot_units());
        }
        arrivals
    }

    fn beat(period: f64, until: f64) -> Arrivals {
        arrivals((0..).map(|i| f64::from(i) * period).take_while(|&birth| birth < until))
    }

    #[test]
    fn slots_are_as_fine_as_the_window_allows() {
        assert_eq!(WINDOW.slot_units(), 4);
        assert_eq!(Window { length_units: 1_000, older_units: 500 }.slot_units(), 1);
        // The last 32 ages count.
        assert_eq!(Window { length_units: u64::MAX / 2, older_units: 4096 }.slot_units(), 33);
        assert_eq!(Window { length_units: 0, older_units: 0 }.slot_units(), 1);
    }

    #[test]
    fn taken_slots_come_from_the_youngest_on() {
        let mut arrivals = Arrivals::default();
        for age in [4_000, 0, 255, 256, 9, u64::MAX] {
            arrivals.mark(age, 1);
        }
        assert_eq!(arrivals.taken(0).collect::<Vec<_>>(), [0, 9, 255, 256, 4_000]);
        assert_eq!(arrivals.taken(10).collect::<Vec<_>>(), [255, 256, 4_000]);
        assert_eq!(arrivals.taken(256).collect::<Vec<_>>(), [256, 4_000]);
        let mut both = Arrivals::default();
        both.mark(7, 1);
        both.merge(&arrivals);
        assert_eq!(both.taken(0).take(3).collect::<Vec<_>>(), [0, 7, 9]);
    }

    #[test]
    fn a_beat_goes_on_until_its_silence_is_long() {
        assert!(!beat(0.02, 3.98).ended(&WINDOW, false));
        assert!(!beat(0.02, 3.90).ended(&WINDOW, false));
        // What may be a stall is left out.
        assert!(!beat(0.02, 3.80).ended(&WINDOW, false));
        assert!(beat(0.02, 3.60).ended(&WINDOW, false));
        // Two periods and an age of a slow one.
        assert!(!beat(0.25, 2.8).ended(&WINDOW, false));
        assert!(beat(0.25, 2.3).ended(&WINDOW, false));
    }

    #[test]
    fn a_pause_that_was_seen_before_is_no_end() {
        let runs = |until: f64| {
            arrivals((0..400).map(|i| f64::from(i) / 100.0).filter(|time| time % 1.0 < 0.7 && *time < until))
        };
        assert!(!runs(3.7).ended(&WINDOW, false));
        assert!(runs(2.7).ended(&WINDOW, false));
    }

    #[test]
    fn one_event_is_no_rhythm() {
        assert!(!arrivals([0.0]).ended(&Window { length_units: 4_000, older_units: 4_096 }, false));
        assert!(arrivals([0.0, 0.001]).ended(&WINDOW, false));
        assert!(!arrivals([1.7]).ended(&WINDOW, false));
        assert!(!arrivals([0.5, 2.5]).ended(&WINDOW, false));
    }

    #[test]
    fn what_is_in_use_for_a_moment_does_not_keep_growth_alive() {
        let mut filled = beat(0.01, 2.0);
        filled.merge(&arrivals([3.97, 3.98, 3.99]));
        assert!(filled.ended(&WINDOW, false));
    }

    #[test]
    fn births_beyond_reach_are_over() {
        assert!(Arrivals::default().ended(&WINDOW, false));
    }
}
