//! What all bots together have sent, received and waited for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use histogram::AtomicHistogram;
use serde::Serialize;

use crate::options::{Options, Transport};
use crate::protocol::{ServerMessage, Snapshot};
use crate::server::lock;

/// Buckets of the delays: 2^7 for each power of two, so 0.8 % wide, up to 2^40 ns, which is 18 minutes.
const GROUPING_POWER: u8 = 7;
const LONGEST_DELAY_POWER: u8 = 40;

/// The books, open. The memory they take does not grow.
#[derive(Debug)]
pub(crate) struct Books {
    pub(super) sent: Way,
    pub(super) received: Way,
    missed: AtomicU64,
    delays_ns: AtomicHistogram,
    longest_ns: AtomicU64,
    visits: Mutex<Visits>,
}

/// What has gone one way.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Requests or answers; frames; and of a WebSocket handshake its request or its answer.
    exchanges: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Who is here, and how long everybody has been.
#[derive(Debug)]
struct Visits {
    begun: u64,
    ended: u64,
    broken_off: u64,
    here: u32,
    /// Sum over all bots, up to `counted_at`.
    spent: Duration,
    counted_at: Instant,
}

impl Books {
    /// Opens empty books.
    #[inline(never)]
    pub(crate) fn open() -> anyhow::Result<Self> {
        let delays_ns =
            AtomicHistogram::new(GROUPING_POWER, LONGEST_DELAY_POWER).context("opening the books")?;
        Ok(Self {
            sent: Way::default(),
            received: Way::default(),
            missed: AtomicU64::new(0),
            delays_ns,
            longest_ns: AtomicU64::new(0),
            visits: Mutex::new(Visits {
                begun: 0,
                ended: 0,
                broken_off: 0,
                here: 0,
                spent: Duration::ZERO,
                counted_at: Instant::now(),
            }),
        })
    }

    /// Books what a bot heard at `at_ns`. `next_tick` is the bot's memory of its match: the tick that should come next.
    pub(super) fn hear(&self, message: &ServerMessage, at_ns: u64, next_tick: &mut u64) {
        self.received.add_message();
        match message {
            ServerMessage::Match { .. } => *next_tick = 1,
            ServerMessage::State(snapshot) => self.see(snapshot, at_ns, next_tick),
            ServerMessage::Welcome { .. } | ServerMessage::Chat { .. } | ServerMessage::Notices { .. } => {}
        }
    }

    fn see(&self, snapshot: &Snapshot, at_ns: u64, next_tick: &mut u64) {
        self.missed.fetch_add(snapshot.tick.saturating_sub(*next_tick), Ordering::Relaxed);
        *next_tick = snapshot.tick + 1;
        let delay_ns = at_ns.saturating_sub(snapshot.at_ns);
        self.longest_ns.fetch_max(delay_ns, Ordering::Relaxed);
        // Cannot be out of range: it is cut to what the last bucket holds.
        let _ = self.delays_ns.increment(delay_ns.min((1 << LONGEST_DELAY_POWER) - 1));
    }

    /// Closes the books. Whoever is still here counts up to now.
    pub(crate) fn close(&self, options: &Options) -> Account {
        let mut visits = lock(&self.visits);
        visits.count_up_to(Instant::now());
        let bot_s = visits.spent.as_secs_f64();
        let traffic = |of: fn(&Way) -> &AtomicU64| {
            let [sent, received] = [&self.sent, &self.received].map(|way| of(way).load(Ordering::Relaxed));
            let per_bot_s = |count: u64| (bot_s > 0.0).then(|| tenths(count as f64 / bot_s));
            let [sent_per_bot_s, received_per_bot_s] = [sent, received].map(per_bot_s);
            Traffic { sent, received, sent_per_bot_s, received_per_bot_s }
        };
        Account {
            transport: options.transport,
            seed: options.seed,
            bots: options.pace.bots,
            bot_s: tenths(bot_s),
            visits: VisitCounts { begun: visits.begun, ended: visits.ended, broken_off: visits.broken_off },
            snapshots: self.snapshots(),
            exchanges: traffic(|way| &way.exchanges),
            messages: traffic(|way| &way.messages),
            bytes: traffic(|way| &way.bytes),
        }
    }

    fn snapshots(&self) -> Snapshots {
        let delays_ns = self.delays_ns.load();
        let received: u64 = delays_ns.as_slice().iter().sum();
        let quantile_us =
            |q| delays_ns.quantile_bucket(q).ok().flatten().map(|bucket| tenths(bucket.end() as f64 / 1e3));
        Snapshots {
            received,
            missed: self.missed.load(Ordering::Relaxed),
            delay_p50_us: quantile_us(0.5),
            delay_p99_us: quantile_us(0.99),
            delay_max_us: (received > 0)
                .then(|| tenths(self.longest_ns.load(Ordering::Relaxed) as f64 / 1e3)),
        }
    }
}

impl Way {
    /// A request, an answer or a frame.
    pub(super) fn add_exchange(&self) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
    }

    /// A message of the game.
    pub(super) fn add_message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes on the connection.
    pub(super) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Visits {
    fn count_up_to(&mut self, now: Instant) {
        self.spent += now.saturating_duration_since(self.counted_at) * self.here;
        self.counted_at = now;
    }
}

/// A bot that is here. Dropped before it has ended, the visit was cut short by the end of the server.
#[derive(Debug)]
pub(super) struct Visiting(Arc<Books>);

impl Visiting {
    /// Begins a visit.
    pub(super) fn begin(books: &Arc<Books>) -> Self {
        let mut visits = lock(&books.visits);
        visits.count_up_to(Instant::now());
        visits.begun += 1;
        visits.here += 1;
        Self(Arc::clone(books))
    }

    /// Ends it, as planned or not.
    pub(super) fn end(self, outcome: &anyhow::Result<()>) {
        let mut visits = lock(&self.0.visits);
        match outcome {
            Ok(()) => visits.ended += 1,
            Err(_) => visits.broken_off += 1,
        }
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        let mut visits = lock(&self.0.visits);
        visits.count_up_to(Instant::now());
        visits.here -= 1;
    }
}

/// What `--books` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    transport: Transport,
    seed: u64,
    bots: u32,
    /// Seconds that bots were here, summed over all bots.
    bot_s: f64,
    visits: VisitCounts,
    snapshots: Snapshots,
    /// Requests sent and answers received; or frames, and the request and the answer that open a WebSocket.
    exchanges: Traffic,
    /// Messages of the game, however many of them an exchange carries.
    messages: Traffic,
    /// Bytes that TCP carried, without its own headers.
    bytes: Traffic,
}

/// Those that have neither ended nor broken off were under way when the server ended.
#[derive(Debug, Serialize)]
struct VisitCounts {
    begun: u64,
    ended: u64,
    broken_off: u64,
}

/// The snapshots that bots have seen, and how old they were then: from the room's tick to the last byte of what
/// carried them. Quantiles are the upper ends of buckets that are 0.8 % wide; the longest is exact. Null if there
/// were none.
#[derive(Debug, Serialize)]
struct Snapshots {
    received: u64,
    /// Left out by the server because the bot was too slow: gaps in the numbers of the ticks.
    missed: u64,
    delay_p50_us: Option<f64>,
    delay_p99_us: Option<f64>,
    delay_max_us: Option<f64>,
}

/// What bots have sent and received. Rates are per bot that is here and second; null if none ever was.
#[derive(Debug, Serialize)]
struct Traffic {
    sent: u64,
    received: u64,
    sent_per_bot_s: Option<f64>,
    received_per_bot_s: Option<f64>,
}

/// Rounds to one decimal.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::court::{Court, Side};

    fn account(books: &Books) -> Value {
        serde_json::to_value(books.close(&Options::parse_from(["pong", "--bots", "2"]))).unwrap()
    }

    fn state(tick: u64, at_ns: u64) -> ServerMessage {
        let Court { ball, paddles, score } = Court::new(Side::Left, 0.0);
        ServerMessage::State(Snapshot {
            tick,
            at_ns,
            ball,
            paddles,
            score,
            players: ["a".into(), "b".into()],
        })
    }

    #[test]
    fn books_without_bots_say_that_nothing_is_known() {
        let account = account(&Books::open().unwrap());
        assert_eq!(account["bot_s"], 0.0);
        assert_eq!(account["snapshots"]["delay_p99_us"], Value::Null);
        assert_eq!(account["bytes"]["sent_per_bot_s"], Value::Null);
    }

    #[test]
    fn delays_run_from_the_tick_and_gaps_are_missed_snapshots() {
        let books = Books::open().unwrap();
        let mut next_tick = 0;
        let opponent = String::new();
        let card = String::new();
        books.hear(&ServerMessage::Match { room: 1, side: Side::Left, opponent, card }, 0, &mut next_tick);
        for tick in [1, 2, 5] {
            books.hear(&state(tick, tick * 1_000_000), tick * 1_000_000 + 100_000, &mut next_tick);
        }
        let account = account(&books);
        assert_eq!(account["messages"]["received"], 4);
        let snapshots = &account["snapshots"];
        assert_eq!((&snapshots["received"], &snapshots["missed"]), (&json!(3), &json!(2)));
        assert_eq!(snapshots["delay_max_us"], 100.0);
        let median = snapshots["delay_p50_us"].as_f64().unwrap();
        assert!((100.0..100.9).contains(&median), "{median}");
    }

    #[test]
    fn a_new_match_begins_without_a_gap() {
        let books = Books::open().unwrap();
        let mut next_tick = 1;
        books.hear(&state(900, 0), 1, &mut next_tick);
        books.hear(&state(1, 0), 1, &mut next_tick);
        assert_eq!(account(&books)["snapshots"]["missed"], 899);
    }

    #[test]
    fn visits_end_break_off_or_are_cut_short() {
        let books = Arc::new(Books::open().unwrap());
        Visiting::begin(&books).end(&Ok(()));
        Visiting::begin(&books).end(&Err(anyhow::anyhow!("a cable was pulled")));
        drop(Visiting::begin(&books));
        let stays = Visiting::begin(&books);
        assert_eq!(account(&books)["visits"], json!({ "begun": 4, "ended": 1, "broken_off": 1 }));
        assert_eq!(lock(&books.visits).here, 1);
        drop(stays);
        assert_eq!(lock(&books.visits).here, 0);
    }

    #[test]
    fn time_is_counted_for_each_bot_that_is_here() {
        let start = Instant::now();
        let mut visits =
            Visits { begun: 0, ended: 0, broken_off: 0, here: 3, spent: Duration::ZERO, counted_at: start };
        visits.count_up_to(start + Duration::from_secs(2));
        visits.here = 1;
        visits.count_up_to(start + Duration::from_secs(5));
        assert_eq!(visits.spent, Duration::from_secs(9));
    }
}
