//! Where players wait for an opponent.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::court::{Court, Side};
use crate::room::{self, Seat};
use crate::server::World;

/// Where players wait for a match: new ones, and those whose match is over.
#[derive(Debug, Clone)]
pub(crate) struct Lobby(mpsc::UnboundedSender<Seat>);

impl Lobby {
    /// Lines up for a match. Unbounded is safe: there is one seat per connected player.
    pub(crate) fn enter(&self, seat: Seat) {
        // The receiver is gone only while the server shuts down.
        let _ = self.0.send(seat);
    }
}

/// The two ends of the line.
pub(crate) fn open() -> (Lobby, mpsc::UnboundedReceiver<Seat>) {
    let (enter, arrivals) = mpsc::unbounded_channel();
    (Lobby(enter), arrivals)
}

/// Opens a room for every two players who are here at the same time.
pub(crate) async fn pair_up(world: Arc<World>, mut arrivals: mpsc::UnboundedReceiver<Seat>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut waiting: Option<Seat> = None;
    let mut rooms = 0;
    while let Some(seat) = arrivals.recv().await {
        let Some(first) = waiting.take_if(|first| !first.has_left()) else {
            waiting = Some(seat);
            continue;
        };
        waiting = None;
        let serve_to = if rng.random() { Side::Left } else { Side::Right };
        let court = Court::new(serve_to, rng.random_range(-0.8..0.8));
        tokio::spawn(room::run(Arc::clone(&world), rooms, [first, seat], court));
        rooms += 1;
    }
}
