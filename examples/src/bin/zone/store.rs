//! What players own, kept in the backend, and the thread `zone-store` that talks to it. The loop never waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::books::Books;
use crate::clock;
use crate::redis::{Redis, Requests};
use crate::resp::Value;

/// How often the inventories of all players are read again.
pub(crate) const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// What the loop asks of the thread.
#[derive(Debug)]
pub(crate) enum Order {
    /// A player has come: who are they?
    Load { address: SocketAddr, session: u32, name: String },
    /// A player has picked up something.
    Loot { name: String, item: usize, count: u32 },
    /// A player has left.
    Save { name: String, score: u32, x: f32, y: f32 },
}

/// What is known of a player who has come.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) address: SocketAddr,
    pub(crate) session: u32,
    /// What the player had at the end of the last visit; 0 for a new one.
    pub(crate) score: u32,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) redis: Redis,
    pub(crate) orders: Receiver<Order>,
    pub(crate) loaded: Sender<Loaded>,
    pub(crate) books: Arc<Books>,
    /// Places in an inventory.
    pub(crate) items: usize,
    /// Whether this thread reads the inventories; with the fault `--n-plus-one` the loop does.
    pub(crate) refreshes: bool,
    /// Clock time after which nobody is saved any more: the server is about to end, and the backend is too slow.
    pub(crate) give_up_ns: Arc<AtomicU64>,
}

/// Everybody who is here, and what they have picked up since the last round trip.
#[derive(Debug, Default)]
struct Known {
    online: BTreeSet<String>,
    loot: BTreeMap<(String, usize), u32>,
}

impl Store {
    /// The body of the thread: does what it is asked to, until nobody is left to ask.
    #[inline(never)]
    pub(crate) fn run(mut self) {
        // An error is in the books, and the next round trip connects again.
        let _ = self.redis.ask_one(&[b"PING"], &self.books.backend.commands.ping);
        let mut known = Known::default();
        let mut refresh_at = clock::now_ns() + clock::ns(REFRESH_EVERY);
        loop {
            let patience = Duration::from_nanos(refresh_at.saturating_sub(clock::now_ns()));
            match self.orders.recv_timeout(patience) {
                Ok(order) => self.execute(order, &mut known),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if clock::now_ns() >= refresh_at {
                self.refresh(&mut known);
                refresh_at = clock::now_ns() + clock::ns(REFRESH_EVERY);
            }
        }
    }

    fn execute(&mut self, order: Order, known: &mut Known) {
        match order {
            Order::Load { address, session, name } => {
                let score = self.load(&name);
                known.online.insert(name);
                // The loop may have ended.
                let _ = self.loaded.send(Loaded { address, session, score });
            }
            Order::Loot { name, item, count } => {
                known.loot.insert((name, item), count);
            }
            Order::Save { name, score, x, y } => {
                known.online.remove(&name);
                self.save(&name, score, [x, y]);
            }
        }
    }

    /// One round trip: the player's hash. A player whom the backend does not know, or cannot tell of, begins with nothing.
    #[inline(never)]
    fn load(&mut self, name: &str) -> u32 {
        let answer = self
            .redis
            .ask_one(&[b"HGETALL", player_key(name).as_bytes()], &self.books.backend.commands.hgetall);
        let Ok(Value::Array(fields)) = answer else { return 0 };
        let score = fields.chunks_exact(2).find_map(|pair| match pair {
            [Value::Bulk(Some(field)), Value::Bulk(Some(value))] if field == b"score" => {
                str::from_utf8(value).ok()?.parse().ok()
            }
            _ => None,
        });
        score.unwrap_or(0)
    }

    /// One round trip: the player's hash is written.
    #[inline(never)]
    fn save(&mut self, name: &str, score: u32, position: [f32; 2]) {
        if clock::now_ns() >= self.give_up_ns.load(Ordering::Relaxed) {
            self.books.backend.players_not_saved.one();
            return;
        }
        let (key, score) = (player_key(name), score.to_string());
        let [x, y] = position.map(|units| format!("{units:.1}"));
        let words: [&[u8]; 8] =
            [b"HSET", key.as_bytes(), b"score", score.as_bytes(), b"x", x.as_bytes(), b"y", y.as_bytes()];
        match self.redis.ask_one(&words, &self.books.backend.commands.hset) {
            Ok(Value::Integer(_)) => {}
            _ => self.books.backend.players_not_saved.one(),
        }
    }

    /// One round trip for everybody: what was picked up is written, then all inventories are read.
    #[inline(never)]
    fn refresh(&mut self, known: &mut Known) {
        let mut requests = Requests::default();
        let commands = &self.books.backend.commands;
        for ((name, item), count) in std::mem::take(&mut known.loot) {
            let (key, count) = (item_key(&name, item), count.to_string());
            requests.add(&[b"SET", key.as_bytes(), count.as_bytes()], &commands.set);
        }
        if self.refreshes && !known.online.is_empty() {
            let places = || 0..self.items;
            let places = known.online.iter().flat_map(|name| places().map(move |item| item_key(name, item)));
            let keys: Vec<_> = places.collect();
            let words: Vec<_> =
                [&b"MGET"[..]].into_iter().chain(keys.iter().map(|key| key.as_bytes())).collect();
            requests.add(&words, &commands.mget);
        }
        if !requests.is_empty() {
            // An error is in the books; inventories are read again next time.
            let _ = self.redis.ask(&requests);
        }
    }
}

/// The hash of a player.
fn player_key(name: &str) -> String {
    format!("zone:player:{name}")
}

/// One place of a player's inventory.
pub(crate) fn item_key(name: &str, item: usize) -> String {
    format!("zone:item:{name}:{item}")
}
