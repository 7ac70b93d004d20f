//! Players without patience: they come, play, chat, leave, and come back. Each is a real client over loopback.

pub(crate) mod books;
mod counted;
mod frames;
mod link;
mod polling;
mod requests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::books::{Books, Visiting};
use self::link::Link;
use crate::court::Side;
use crate::options::{Options, Pace, Transport};
use crate::protocol::{ClientMessage, ServerMessage, Snapshot};

/// What bots say.
pub(crate) const PHRASES: [&str; 8] = [
    "gg",
    "nice one!",
    "was that lag or was that me?",
    "my paddle is too small for this, can we have bigger paddles please",
    "again?",
    "the ball went straight through my paddle, I have it on video and I will post it in the forum tonight",
    "hello everybody",
    "who taught this bot to play? asking for a friend",
];

/// How far from the ball's height a bot may aim, in court units: a little more than a paddle covers.
const AIM_ERROR: f32 = 12.0;
/// A bot does not bother about less than this, in court units.
const DEAD_ZONE: f32 = 2.0;

/// Starts all bots.
pub(crate) fn spawn_all(address: SocketAddr, options: &Options, books: &Arc<Books>) -> JoinSet<()> {
    let home = Home { address: reachable(address), transport: options.transport, books: Arc::clone(books) };
    let mut bots = JoinSet::new();
    for bot in 0..options.pace.bots {
        bots.spawn(live(home.clone(), options.seed, bot, options.pace.clone()));
    }
    bots
}

/// Where bots play, and who keeps their books.
#[derive(Debug, Clone)]
struct Home {
    address: SocketAddr,
    transport: Transport,
    books: Arc<Books>,
}

/// A bot's name. It is the same at every visit, so that regulars have a place on the leaderboard.
pub(crate) fn name(bot: u32) -> String {
    format!("bot-{bot:04}")
}

/// A server that listens everywhere is reached over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn live(home: Home, seed: u64, bot: u32, pace: Pace) {
    let name = name(bot);
    for number in 0.. {
        let mut visit = Visit::plan(seed, bot, number, &pace);
        tokio::time::sleep(visit.pause).await;
        let visiting = Visiting::begin(&home.books);
        // A visit that breaks off is over; the bot comes back like everybody else.
        let outcome = visit.play(&home, &name).await;
        visiting.end(&outcome);
    }
}

/// One visit, planned from the seed alone: how it goes depends on no clock and no other player.
struct Visit {
    pause: Duration,
    stay: Duration,
    chat_every: Duration,
    rng: StdRng,
}

impl Visit {
    fn plan(seed: u64, bot: u32, number: u64, pace: &Pace) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&u64::from(bot).to_le_bytes());
        key[16..24].copy_from_slice(&number.to_le_bytes());
        let mut rng = StdRng::from_seed(key);
        let pause = exponential(&mut rng, pace.pause_mean);
        let stay = exponential(&mut rng, pace.session_mean);
        Self { pause, stay, chat_every: pace.chat_every, rng }
    }

    async fn play(&mut self, home: &Home, name: &str) -> anyhow::Result<()> {
        let mut link = Link::join(home.transport, home.address, name, &home.books).await?;
        let leave = tokio::time::sleep(self.stay);
        let talk = tokio::time::sleep(exponential(&mut self.rng, self.chat_every));
        tokio::pin!(leave, talk);
        let mut player = Player::default();
        loop {
            tokio::select! {
                () = &mut leave => return link.leave().await,
                () = &mut talk => {
                    let text = PHRASES[self.rng.random_range(0..PHRASES.len())].to_owned();
                    link.say(ClientMessage::Say { text }).await?;
                    talk.as_mut().reset(Instant::now() + exponential(&mut self.rng, self.chat_every));
                }
                heard = link.hear() => for message in heard? {
                    if let Some(dir) = player.react(message, &mut self.rng) {
                        link.say(ClientMessage::Stick { dir }).await?;
                    }
                }
            }
        }
    }
}

/// A bot's eye and hand.
#[derive(Debug, Default)]
struct Player {
    side: Option<Side>,
    stick: i8,
    /// Which way the ball flew when the bot last looked, and how badly it aims at this one.
    ball_flew_right: bool,
    aim_error: f32,
}

impl Player {
    /// Looks at a message and says where to push the stick, if elsewhere than now.
    fn react(&mut self, message: ServerMessage, rng: &mut StdRng) -> Option<i8> {
        match message {
            ServerMessage::Match { side, .. } => {
                self.side = Some(side);
                None
            }
            ServerMessage::State(state) => self.chase(&state, rng),
            ServerMessage::Welcome { .. } | ServerMessage::Chat { .. } | ServerMessage::Notices { .. } => {
                None
            }
        }
    }

    fn chase(&mut self, state: &Snapshot, rng: &mut StdRng) -> Option<i8> {
        let side = self.side?;
        let flies_right = state.ball.vx > 0.0;
        if flies_right != self.ball_flew_right {
            self.ball_flew_right = flies_right;
            self.aim_error = rng.random_range(-AIM_ERROR..AIM_ERROR);
        }
        let distance = state.ball.y + self.aim_error - state.paddles[side.index()];
        let stick = if distance.abs() < DEAD_ZONE { 0 } else { distance.signum() as i8 };
        (std::mem::replace(&mut self.stick, stick) != stick).then_some(stick)
    }
}

/// A time drawn from an exponential distribution.
fn exponential(rng: &mut StdRng, mean: Duration) -> Duration {
    let uniform: f64 = rng.random();
    mean.mul_f64(-(1.0 - uniform).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::court::Ball;

    #[test]
    fn the_same_seed_plans_the_same_visits() {
        let plan = |seed, bot, number| {
            let visit = Visit::plan(seed, bot, number, &Pace::default());
            (visit.pause, visit.stay)
        };
        assert_eq!(plan(1, 2, 3), plan(1, 2, 3));
        assert_ne!(plan(1, 2, 3), plan(2, 2, 3));
        assert_ne!(plan(1, 2, 3), plan(1, 3, 3));
        assert_ne!(plan(1, 2, 3), plan(1, 2, 4));
    }

    #[test]
    fn visits_have_the_mean_that_was_asked_for() {
        let visits = 20_000;
        let total: Duration =
            (0..visits).map(|number| Visit::plan(1, 0, number, &Pace::default()).stay).sum();
        let mean = total.as_secs_f64() / visits as f64;
        // Four standard errors of an exponential mean of 6 s.
        assert!((mean - 6.0).abs() < 4.0 * 6.0 / (visits as f64).sqrt(), "mean {mean}");
    }

    #[test]
    fn a_bot_pushes_towards_the_ball_and_only_says_so_once() {
        let mut player = Player { side: Some(Side::Right), ..Player::default() };
        let mut rng = StdRng::seed_from_u64(1);
        let ball = |y| Snapshot {
            tick: 0,
            at_ns: 0,
            ball: Ball { x: 80.0, y, vx: -1.0, vy: 0.0 },
            paddles: [45.0, 45.0],
            score: [0, 0],
            players: ["a".into(), "b".into()],
        };
        assert_eq!(player.react(ServerMessage::State(ball(80.0)), &mut rng), Some(1));
        assert_eq!(player.react(ServerMessage::State(ball(81.0)), &mut rng), None);
        assert_eq!(player.react(ServerMessage::State(ball(10.0)), &mut rng), Some(-1));
        assert_eq!(player.react(ServerMessage::State(ball(45.0)), &mut rng), Some(0));
    }

    #[test]
    fn bots_find_a_server_that_listens_everywhere() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(at("[::]:80"), "[::1]:80");
        assert_eq!(at("127.0.0.2:80"), "127.0.0.2:80");
    }
}
