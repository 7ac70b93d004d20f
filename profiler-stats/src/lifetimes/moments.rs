//! The time that is looked at: of all, and of parts that ended earlier or began later.

use super::rows::{Observed, Window};

/// When items are looked at, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Age units from the start of the clock to the beginning of the observation.
    pub began_units: u64,
    /// Age units from the start of the clock to now.
    pub now_units: u64,
    /// The age asked about.
    pub older_units: u64,
    /// Mean gap of a sampled run.
    pub sample_bytes: Option<u64>,
}

impl Moment {
    /// The window that verdicts are given for.
    pub fn window(&self) -> Window {
        Window {
            length_units: self.now_units.saturating_sub(self.began_units),
            older_units: self.older_units,
        }
    }
}

/// The moment of the whole observation, and those of parts of it (address spaces, say), each under its number.
#[derive(Debug)]
pub struct Moments {
    /// That of the whole observation.
    pub whole: Moment,
    of_parts: Vec<Option<(Moment, Observed)>>,
}

impl Moments {
    /// Nothing is known of parts yet.
    pub fn new(whole: Moment) -> Moments {
        Moments { whole, of_parts: Vec::new() }
    }

    /// Of a part that was not observed all the time. If it has `ended`, `moment` is its end.
    pub fn set(&mut self, part: u16, moment: Moment, ended: bool) {
        let place = usize::from(part);
        if self.of_parts.len() <= place {
            self.of_parts.resize(place + 1, None);
        }
        if let Some(of_part) = self.of_parts.get_mut(place) {
            *of_part = Some((moment, Observed { length_units: moment.window().length_units, ended }));
        }
    }

    /// The moment of a part, and its time where that is one of its own.
    pub fn of(&self, part: u16) -> (&Moment, Option<Observed>) {
        match self.of_parts.get(usize::from(part)) {
            Some(Some((moment, observed))) => (moment, Some(*observed)),
            _ => (&self.whole, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{live::Live, rows::StackRow};
    use super::*;

    const MOMENT: Moment = Moment { began_units: 100, now_units: 1700, older_units: 600, sample_bytes: None };

    #[test]
    fn a_part_that_was_not_there_all_the_time_has_a_moment_of_its_own() {
        let mut moments = Moments::new(MOMENT);
        let ended = Moment { now_units: 900, ..MOMENT };
        moments.set(3, ended, true);
        let (moment, observed) = moments.of(3);
        assert_eq!(observed, Some(Observed { length_units: 800, ended: true }));
        // Its items are as old as they were at its end.
        let mut row = StackRow::default();
        row.add_live(&Live::alone(10, 400), moment, 1);
        assert_eq!((row.old, row.lifetimes.live_age_units.iter().sum::<u64>()), (0, 500));
        for other in [2, 4] {
            assert_eq!((moments.of(other).0.now_units, moments.of(other).1), (1700, None));
        }
    }
}
