//! One player: joins, walks about, leaves, and comes back.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::clock;
use crate::protocol::{ClientMessage, DATAGRAM_BYTES, ServerHeader, ServerKind};

/// When a question that was not answered is asked again: a time between this and twice as long.
const ASK_AGAIN_NS: u64 = 300_000_000;
/// Between the arrivals of two players at the start.
const ARRIVAL_NS: u64 = 200_000;
/// A player who hears nothing for so long is not here any more, whatever they think, and asks again to come in.
const SILENCE_NS: u64 = 3_000_000_000;
/// How long a player who leaves waits for the server's goodbye.
const GOODBYE_WITHIN_NS: u64 = 2_000_000_000;

/// How long players stay and stay away, on average.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) visit_mean: Duration,
    pub(super) pause_mean: Duration,
}

/// What all players have counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Books {
    /// Visits that the server has answered.
    visits: u64,
    /// Visits that ended without a goodbye of the server.
    without_goodbye: u64,
    sent: u64,
    sent_bytes: u64,
    send_errors: u64,
    received: u64,
    received_bytes: u64,
    receive_errors: u64,
    /// Datagrams that are missing between others of the same visit, at least: none is missed before the welcome and after the
    /// last one that came.
    lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away { until_ns: u64 },
    Joining { ask_ns: u64 },
    Here { until_ns: u64 },
    Leaving { ask_ns: u64, give_up_ns: u64 },
}

/// A player.
#[derive(Debug)]
pub(super) struct Player {
    name: String,
    socket: UdpSocket,
    rng: SmallRng,
    state: State,
    /// Whether this is the end, not a pause.
    leaves_for_good: bool,
    session: u32,
    heard_ns: u64,
    /// Of this visit: the number before that of the welcome, the highest one, and how many datagrams there were.
    before: u32,
    highest: u32,
    received: u32,
    /// Inputs are sent every second time.
    is_even: bool,
    direction: (i8, i8),
    outgoing: Vec<u8>,
}

impl Player {
    /// A player who is about to come.
    ///
    /// # Errors
    /// If there is no socket to be had.
    pub(super) fn new(server: SocketAddr, seed: u64, number: u32, now_ns: u64) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            name: format!("bot-{number:04}"),
            socket,
            rng: SmallRng::seed_from_u64(seed ^ u64::from(number).rotate_left(32)),
            state: State::Away { until_ns: now_ns + u64::from(number) * ARRIVAL_NS },
            leaves_for_good: false,
            session: 0,
            heard_ns: 0,
            before: 0,
            highest: 0,
            received: 0,
            is_even: number.is_multiple_of(2),
            direction: (0, 0),
            outgoing: Vec::new(),
        })
    }

    /// Whether the server has let the player in.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.state, State::Here { .. })
    }

    /// Whether the player is not here and does not want to be.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.state, State::Away { .. })
    }

    /// Leaves and does not come back.
    pub(super) fn leave_for_good(&mut self, give_up_ns: u64) {
        self.leaves_for_good = true;
        // Who is about to come in may be in already, for the server: they leave when they know who they are.
        if matches!(self.state, State::Here { .. }) {
            self.state = State::Leaving { ask_ns: 0, give_up_ns };
        }
    }

    /// Reads what has arrived, then does what it is time for.
    pub(super) fn live(&mut self, manners: &Manners, books: &mut Books, now_ns: u64) {
        self.read(manners, books, now_ns);
        match self.state {
            State::Away { until_ns } if now_ns >= until_ns && !self.leaves_for_good => {
                self.ask_in(books, now_ns)
            }
            State::Joining { ask_ns } if now_ns >= ask_ns => self.ask_in(books, now_ns),
            State::Here { until_ns } if now_ns >= until_ns => {
                let give_up_ns = now_ns + GOODBYE_WITHIN_NS;
                self.state = State::Leaving { ask_ns: now_ns, give_up_ns };
            }
            State::Here { .. } if now_ns.saturating_sub(self.heard_ns) > SILENCE_NS => {
                books.without_goodbye += 1;
                self.forget_visit(books);
                self.ask_in(books, now_ns);
            }
            State::Here { .. } => self.play(books),
            State::Leaving { give_up_ns, .. } if now_ns >= give_up_ns => {
                books.without_goodbye += 1;
                self.end_visit(manners, books, now_ns);
            }
            State::Leaving { ask_ns, give_up_ns } if now_ns >= ask_ns => {
                self.send(&ClientMessage::Bye { session: self.session }, books);
                self.state = State::Leaving { ask_ns: self.ask_again_ns(now_ns), give_up_ns };
            }
            State::Away { .. } | State::Joining { .. } | State::Leaving { .. } => {}
        }
    }

    /// The end of the books: what is unread is read, and what is missing in this visit is lost.
    pub(super) fn close(&mut self, books: &mut Books) {
        let manners = Manners { visit_mean: Duration::MAX, pause_mean: Duration::MAX };
        self.read(&manners, books, 0);
        if matches!(self.state, State::Leaving { .. }) {
            books.without_goodbye += 1;
        }
        self.count_lost(books);
    }

    fn ask_in(&mut self, books: &mut Books, now_ns: u64) {
        self.send(&ClientMessage::Join { name: self.name.clone() }, books);
        self.state = State::Joining { ask_ns: self.ask_again_ns(now_ns) };
    }

    fn ask_again_ns(&mut self, now_ns: u64) -> u64 {
        now_ns + self.rng.random_range(ASK_AGAIN_NS..2 * ASK_AGAIN_NS)
    }

    fn play(&mut self, books: &mut Books) {
        self.is_even = !self.is_even;
        if self.is_even {
            return;
        }
        if self.rng.random_bool(0.1) {
            self.direction = (self.rng.random_range(-1..=1), self.rng.random_range(-1..=1));
        }
        let action = match self.rng.random_range(0..100) {
            0..10 => 1,
            10..12 => 2,
            _ => 0,
        };
        let (dx, dy) = self.direction;
        self.send(&ClientMessage::Input { session: self.session, dx, dy, action }, books);
    }

    fn send(&mut self, message: &ClientMessage, books: &mut Books) {
        message.encode(&mut self.outgoing);
        match self.socket.send(&self.outgoing) {
            Ok(length) => {
                books.sent += 1;
                books.sent_bytes += length as u64;
            }
            Err(_) => books.send_errors += 1,
        }
    }

    fn read(&mut self, manners: &Manners, books: &mut Books, now_ns: u64) {
        let mut bytes = [0; DATAGRAM_BYTES];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    books.received += 1;
                    books.received_bytes += length as u64;
                    if let Some(header) = bytes.get(..length).and_then(ServerHeader::decode) {
                        self.react(header, manners, books, now_ns);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The server has gone, as a rule: nothing to read either.
                Err(_) => {
                    books.receive_errors += 1;
                    return;
                }
            }
        }
    }

    fn react(&mut self, header: ServerHeader, manners: &Manners, books: &mut Books, now_ns: u64) {
        let is_new = header.session != self.session;
        if is_new && header.kind == ServerKind::Welcome && matches!(self.state, State::Joining { .. }) {
            books.visits += 1;
            self.count_lost(books);
            self.session = header.session;
            // Not 0 if the server knew us still from before.
            self.before = header.sequence.saturating_sub(1);
            let stay = exponential(&mut self.rng, manners.visit_mean);
            let stay_ns = if self.leaves_for_good { 0 } else { clock::ns(stay) };
            self.state = State::Here { until_ns: now_ns.saturating_add(stay_ns) };
        }
        if header.session == self.session && header.sequence > self.before {
            self.highest = self.highest.max(header.sequence);
            self.received += 1;
            self.heard_ns = now_ns;
        }
        let is_leaving = matches!(self.state, State::Leaving { .. });
        if is_leaving && header.session == self.session && header.kind == ServerKind::Goodbye {
            self.end_visit(manners, books, now_ns);
        }
    }

    fn end_visit(&mut self, manners: &Manners, books: &mut Books, now_ns: u64) {
        self.forget_visit(books);
        let pause = exponential(&mut self.rng, manners.pause_mean);
        self.state = State::Away { until_ns: now_ns.saturating_add(clock::ns(pause)) };
    }

    /// What comes late belongs to no visit.
    fn forget_visit(&mut self, books: &mut Books) {
        self.count_lost(books);
        self.session = 0;
    }

    fn count_lost(&mut self, books: &mut Books) {
        books.lost += u64::from(self.highest.saturating_sub(self.before).saturating_sub(self.received));
        (self.highest, self.received) = (0, 0);
    }
}

/// A time drawn from an exponential distribution.
fn exponential(rng: &mut SmallRng, mean: Duration) -> Duration {
    let uniform: f64 = rng.random();
    Duration::try_from_secs_f64(mean.as_secs_f64() * -(1.0 - uniform).ln()).unwrap_or(Duration::MAX)
}
