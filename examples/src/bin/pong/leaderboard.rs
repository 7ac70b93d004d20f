//! Who plays best: a table of fixed size, made when the server starts and kept until it ends.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Places in the table. Players share a place when their names fall on the same one: good enough for a toy, and
/// the table never grows.
pub(crate) const ROWS: usize = 1024;

const FIRST_RATING: f64 = 1500.0;
/// How far one match moves a rating.
const K: f64 = 32.0;
/// Ratings remembered per place.
const RECENT: usize = 32;

#[derive(Debug)]
struct Row {
    rating: f64,
    /// Ratings after the last matches, in a ring. A block of its own, so that the table is many blocks.
    recent: Vec<f32>,
    played: usize,
}

/// Elo ratings.
#[derive(Debug)]
pub(crate) struct Leaderboard {
    rows: Vec<Row>,
}

impl Leaderboard {
    /// The table, with everybody at the first rating.
    #[inline(never)]
    pub(crate) fn open() -> Self {
        // A loop and not an iterator: the blocks are allocated in this function, under its name.
        let mut rows = Vec::with_capacity(ROWS);
        for _ in 0..ROWS {
            rows.push(Row { rating: FIRST_RATING, recent: vec![FIRST_RATING as f32; RECENT], played: 0 });
        }
        Self { rows }
    }

    /// Books a match.
    pub(crate) fn record(&mut self, winner: &str, loser: &str) {
        let expected = 1.0 / (1.0 + 10f64.powf((self.rating(loser) - self.rating(winner)) / 400.0));
        let gain = K * (1.0 - expected);
        self.change(winner, gain);
        self.change(loser, -gain);
    }

    /// The player's place, 1 is the best.
    pub(crate) fn rank(&self, name: &str) -> u32 {
        let rating = self.rating(name);
        1 + self.rows.iter().filter(|row| row.rating > rating).count() as u32
    }

    fn rating(&self, name: &str) -> f64 {
        self.rows[place(name)].rating
    }

    fn change(&mut self, name: &str, by: f64) {
        let row = &mut self.rows[place(name)];
        row.rating += by;
        row.recent[row.played % RECENT] = row.rating as f32;
        row.played += 1;
    }
}

fn place(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() as usize % ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_exchange_half_of_k() {
        let mut board = Leaderboard::open();
        board.record("ada", "bob");
        assert_eq!(board.rating("ada"), FIRST_RATING + K / 2.0);
        assert_eq!(board.rating("bob"), FIRST_RATING - K / 2.0);
        assert_eq!((board.rank("ada"), board.rank("bob")), (1, ROWS as u32));
    }

    #[test]
    fn the_sum_of_ratings_stays() {
        let mut board = Leaderboard::open();
        for n in 0..1000 {
            board.record(&format!("bot {}", n % 7), &format!("bot {}", 7 + n % 5));
        }
        let sum: f64 = board.rows.iter().map(|row| row.rating).sum();
        assert!((sum - FIRST_RATING * ROWS as f64).abs() < 1e-6);
    }
}
