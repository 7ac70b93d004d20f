//! A room: two players, one task, 60 ticks per second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI8, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::clock;
use crate::court::{Court, Side, TICK_HZ};
use crate::protocol::{ServerMessage, Snapshot, encode};
use crate::server::{World, lock};
use crate::sessions::{Notice, SessionId};

/// A player as a room sees them.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) session: SessionId,
    pub(crate) name: String,
    /// What the player's stick says now; the connection writes it, the room reads it.
    pub(crate) stick: Arc<AtomicI8>,
    /// To the player's connection. Closed when the player has left.
    pub(crate) outbox: mpsc::Sender<Utf8Bytes>,
}

impl Seat {
    /// Whether the connection has ended.
    pub(crate) fn has_left(&self) -> bool {
        self.outbox.is_closed()
    }

    /// Sends if there is room. A player who is too slow for 60 snapshots a second misses some: the next one says
    /// it all again, and the room never waits for anybody.
    fn push(&self, message: Utf8Bytes) {
        let _ = self.outbox.try_send(message);
    }
}

/// Plays one match, until somebody has won or left; then everybody who is still here lines up again.
pub(crate) async fn run(world: Arc<World>, room: u64, seats: [Seat; 2], mut court: Court) {
    introduce(&world, room, &seats);
    let mut interval = tokio::time::interval(Duration::from_secs(1) / TICK_HZ);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);

    let mut tick = 0;
    let winner = loop {
        interval.tick().await;
        let at_ns = clock::now_ns();
        match [seats[0].has_left(), seats[1].has_left()] {
            [false, false] => {}
            [true, false] => break Some(Side::Right),
            [false, true] => break Some(Side::Left),
            [true, true] => break None,
        }
        court.step(seats.each_ref().map(|seat| seat.stick.load(Ordering::Relaxed)), 1.0 / TICK_HZ as f32);
        tick += 1;
        let snapshot = encode(&ServerMessage::State(snapshot(&court, tick, at_ns, &seats)));
        seats.iter().for_each(|seat| seat.push(snapshot.clone()));
        if let Some(winner) = court.winner() {
            break Some(winner);
        }
    };

    if let Some(winner) = winner {
        settle(&world, &seats[winner.index()], &seats[winner.other().index()]);
    }
    for seat in seats {
        if !seat.has_left() {
            world.lobby.enter(seat);
        }
    }
}

/// Sends each player their side and the card of their opponent.
fn introduce(world: &World, room: u64, seats: &[Seat; 2]) {
    for side in [Side::Left, Side::Right] {
        let opponent = &seats[side.other().index()].name;
        let card = lock(&world.profiles).card(opponent, Instant::now());
        let message =
            ServerMessage::Match { room, side, opponent: opponent.clone(), card: card.as_ref().to_owned() };
        seats[side.index()].push(encode(&message));
    }
}

fn snapshot(court: &Court, tick: u64, at_ns: u64, seats: &[Seat; 2]) -> Snapshot {
    Snapshot {
        tick,
        at_ns,
        ball: court.ball,
        paddles: court.paddles,
        score: court.score,
        players: seats.each_ref().map(|seat| seat.name.clone()),
    }
}

/// Books the match on the leaderboard, and lets both players know where they stand.
fn settle(world: &World, winner: &Seat, loser: &Seat) {
    let (won, lost) = {
        let mut board = lock(&world.leaderboard);
        board.record(&winner.name, &loser.name);
        (board.rank(&winner.name), board.rank(&loser.name))
    };
    let mut sessions = lock(&world.sessions);
    sessions.notify(winner.session, Notice::Won { rank: won });
    sessions.notify(loser.session, Notice::Lost { rank: lost });
}
