//! The players over long polling. A visit outlives its connections: it ends when the player says so, or asks for
//! nothing any more.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicI8;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::feed::Feed;
use super::{World, lock};
use crate::protocol::batch;
use crate::sessions::SessionId;

/// How long a poll is held if nothing happens. Well below a minute, after which proxies give up.
const HELD_FOR: Duration = Duration::from_secs(5);
/// A player who has asked for nothing for so long has left.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// The players who are here.
#[derive(Debug, Default)]
pub(crate) struct Guests(HashMap<SessionId, Arc<Guest>>);

impl Guests {
    /// Adds a player who has come.
    pub(super) fn add(&mut self, guest: Guest) {
        self.0.insert(guest.session, Arc::new(guest));
    }

    /// The player, unless they have left.
    pub(super) fn find(&self, session: SessionId) -> Option<Arc<Guest>> {
        self.0.get(&session).cloned()
    }

    /// Forgets a player who has left. Polls that are held are let go.
    pub(super) fn end(&mut self, session: SessionId) {
        if let Some(guest) = self.0.remove(&session) {
            guest.left.send_replace(true);
        }
    }

    /// The players who have not asked for anything for [`GONE_AFTER`].
    pub(super) fn gone(&self, now: Instant) -> Vec<SessionId> {
        self.0.values().filter(|guest| guest.is_gone(now)).map(|guest| guest.session).collect()
    }
}

/// A player who is here.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) session: SessionId,
    /// What the player's stick says; the room reads it.
    pub(super) stick: Arc<AtomicI8>,
    outbox: tokio::sync::Mutex<Outbox>,
    polls: Mutex<Polls>,
    left: watch::Sender<bool>,
}

/// Whether anybody still asks.
#[derive(Debug)]
struct Polls {
    held: u32,
    last_ended: Instant,
}

impl Guest {
    /// Begins a visit: the player lines up for a match.
    pub(super) fn begin(world: &World, session: SessionId, name: String) -> Self {
        let stick = Arc::new(AtomicI8::new(0));
        let feed = Feed::open(world, session, name, Arc::clone(&stick));
        Self {
            session,
            stick,
            outbox: tokio::sync::Mutex::new(Outbox { feed, unconfirmed: VecDeque::new(), next: 0 }),
            polls: Mutex::new(Polls { held: 0, last_ended: Instant::now() }),
            left: watch::Sender::new(false),
        }
    }

    /// All messages from number `since` on, as a [`batch`]: at once if there are any, otherwise when there are; an
    /// empty one after [`HELD_FOR`]. Which numbers are right to ask for, [`Outbox::confirm`] says.
    pub(super) async fn poll(&self, world: &World, since: u64) -> Result<String, Refused> {
        let _held = Held::new(&self.polls);
        let mut left = self.left.subscribe();
        let news = async { self.outbox.lock().await.since(since, world).await };
        tokio::select! {
            batch = news => batch,
            _ = left.wait_for(|left| *left) => Err(Refused::HasLeft),
            () = tokio::time::sleep(HELD_FOR) => Ok(batch(since, [].iter())),
        }
    }

    fn is_gone(&self, now: Instant) -> bool {
        let polls = lock(&self.polls);
        polls.held == 0 && now.saturating_duration_since(polls.last_ended) >= GONE_AFTER
    }
}

/// Why a poll has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The number is not one to ask for.
    WrongNumber,
    /// The visit has ended.
    HasLeft,
}

/// A poll that is held. However it ends, this is when the player was last heard of.
struct Held<'a>(&'a Mutex<Polls>);

impl<'a> Held<'a> {
    fn new(polls: &'a Mutex<Polls>) -> Self {
        lock(polls).held += 1;
        Self(polls)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut polls = lock(self.0);
        polls.held -= 1;
        polls.last_ended = Instant::now();
    }
}

/// Messages for one player, numbered from 0. They are kept until the player asks for what comes after them: an
/// answer may be lost with its connection.
#[derive(Debug)]
struct Outbox {
    feed: Feed,
    unconfirmed: VecDeque<Utf8Bytes>,
    /// Number of the message that comes next.
    next: u64,
}

impl Outbox {
    /// What is unconfirmed after `since` is confirmed, or the next messages if that is nothing. It takes no more from
    /// the feed before that: a player who confirms nothing costs no memory, and misses snapshots like a slow one.
    async fn since(&mut self, since: u64, world: &World) -> Result<String, Refused> {
        self.confirm(since)?;
        if self.unconfirmed.is_empty() {
            self.feed.next(world, &mut self.unconfirmed).await;
            self.feed.ready(&mut self.unconfirmed);
            self.next += self.unconfirmed.len() as u64;
        }
        Ok(batch(self.next, self.unconfirmed.iter()))
    }

    /// Drops the messages before number `since`. It is refused, and nothing is dropped, if `since` was confirmed
    /// before or was never sent.
    fn confirm(&mut self, since: u64) -> Result<(), Refused> {
        let first = self.next - self.unconfirmed.len() as u64;
        let confirmed = since.checked_sub(first).and_then(|count| usize::try_from(count).ok());
        let confirmed = confirmed.filter(|&count| count <= self.unconfirmed.len());
        self.unconfirmed.drain(..confirmed.ok_or(Refused::WrongNumber)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::lobby;
    use crate::options::Options;
    use crate::room::Seat;

    /// A guest, the world that they are in, and their seat in the lobby. Nobody has ever said anything.
    async fn begun() -> (World, Arc<Guest>, Seat) {
        let (lobby, mut arrivals) = lobby::open();
        let world = World::new(&Options::parse_from(["pong", "--chat-keep", "0"]), lobby);
        lock(&world.guests).add(Guest::begin(&world, 7, "ada".to_owned()));
        let guest = lock(&world.guests).find(7).unwrap();
        (world, guest, arrivals.recv().await.unwrap())
    }

    fn push(seat: &Seat, messages: &[&'static str]) {
        messages.iter().for_each(|&text| seat.outbox.try_send(Utf8Bytes::from_static(text)).unwrap());
    }

    async fn held(guest: &Guest) {
        while lock(&guest.polls).held == 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_is_given_again_until_it_is_confirmed() {
        let (world, guest, seat) = begun().await;
        push(&seat, &["1", "2"]);
        let first = r#"{"next":2,"messages":[1,2]}"#;
        assert_eq!(guest.poll(&world, 0).await.unwrap(), first);
        push(&seat, &["3"]);
        assert_eq!(guest.poll(&world, 0).await.unwrap(), first);
        assert_eq!(guest.poll(&world, 1).await.unwrap(), r#"{"next":2,"messages":[2]}"#);
        assert_eq!(guest.poll(&world, 2).await.unwrap(), r#"{"next":3,"messages":[3]}"#);
    }

    #[tokio::test]
    async fn a_wrong_number_loses_nothing() {
        let (world, guest, seat) = begun().await;
        push(&seat, &["1", "2"]);
        assert_eq!(guest.poll(&world, 1).await, Err(Refused::WrongNumber), "not sent yet");
        let first = guest.poll(&world, 0).await.unwrap();
        for wrong in [3, u64::MAX] {
            assert_eq!(guest.poll(&world, wrong).await, Err(Refused::WrongNumber));
        }
        assert_eq!(guest.poll(&world, 0).await.unwrap(), first);
        push(&seat, &["3"]);
        guest.poll(&world, 2).await.unwrap();
        assert_eq!(guest.poll(&world, 1).await, Err(Refused::WrongNumber), "confirmed before");
    }

    #[tokio::test]
    async fn a_poll_is_held_until_there_is_something() {
        let (world, guest, seat) = begun().await;
        let later = async {
            held(&guest).await;
            push(&seat, &["1"]);
        };
        let (answer, ()) = tokio::join!(guest.poll(&world, 0), later);
        assert_eq!(answer.unwrap(), r#"{"next":1,"messages":[1]}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_is_not_held_for_ever() {
        let (world, guest, _seat) = begun().await;
        let asked = tokio::time::Instant::now();
        assert_eq!(guest.poll(&world, 0).await.unwrap(), r#"{"next":0,"messages":[]}"#);
        assert_eq!(asked.elapsed().as_secs(), HELD_FOR.as_secs());
    }

    #[tokio::test]
    async fn the_end_of_a_visit_lets_its_polls_go_and_frees_the_seat() {
        let (world, guest, seat) = begun().await;
        let later = async {
            held(&guest).await;
            lock(&world.guests).end(7);
        };
        let (answer, ()) = tokio::join!(guest.poll(&world, 0), later);
        assert_eq!(answer, Err(Refused::HasLeft));
        assert!(lock(&world.guests).find(7).is_none());
        drop(guest);
        assert!(seat.has_left());
    }

    #[tokio::test]
    async fn a_player_is_gone_who_has_not_asked_for_a_while() {
        let (world, guest, _seat) = begun().await;
        let later = |from: Instant, after| lock(&world.guests).gone(from + after);
        let begun = lock(&guest.polls).last_ended;
        assert!(later(begun, GONE_AFTER - Duration::from_nanos(1)).is_empty());
        assert_eq!(later(begun, GONE_AFTER), [7]);

        let poll = Held::new(&guest.polls);
        assert!(later(begun, GONE_AFTER * 100).is_empty(), "a poll is held");
        drop(poll);
        let ended = lock(&guest.polls).last_ended;
        assert!(ended > begun && later(ended, GONE_AFTER / 2).is_empty());
        assert_eq!(later(ended, GONE_AFTER), [7]);
    }

    #[tokio::test]
    async fn a_player_who_confirms_nothing_misses_snapshots_and_costs_no_memory() {
        let (world, guest, seat) = begun().await;
        let mut sent = 0;
        for _ in 0..10 {
            while seat.outbox.try_send(Utf8Bytes::from_static("0")).is_ok() {
                sent += 1;
            }
            guest.poll(&world, 0).await.unwrap();
        }
        assert!(guest.outbox.lock().await.unconfirmed.len() <= sent / 2, "the rest is in the feed, and full");
        assert_eq!(sent, 2 * seat.outbox.max_capacity());
    }
}
