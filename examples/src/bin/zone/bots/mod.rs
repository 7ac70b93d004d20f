//! Players and spectators, in a process of their own: `zone bots`. One thread drives them all, with sockets that do not block.

mod player;
mod storm;
mod watcher;

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::bots::player::{Manners, Player};
use crate::bots::storm::Storm;
use crate::bots::watcher::Watcher;
use crate::clock;
use crate::options::BotOptions;
use crate::print_line;
use crate::stop::Stop;
use crate::threads;

/// A slice of time: in each, a part of the players is looked after.
const SLICE_NS: u64 = 5_000_000;
/// Slices until it is the same player's turn again: 20 times a second.
const SLICES: usize = 10;
/// How long we wait until everybody is in.
const JOIN_WITHIN_NS: u64 = 5_000_000_000;
/// How long we wait until everybody is out.
const LEAVE_WITHIN_NS: u64 = 3_000_000_000;
/// Descriptors that are needed beside those of the players.
const OTHER_DESCRIPTORS: u64 = 64;

/// What the bots have counted, at the end.
#[derive(Debug, Serialize)]
struct Books {
    players: player::Books,
    spectators: watcher::Books,
    /// Connections that were made and closed at once.
    storm_connections: u64,
    /// Those that could not be made.
    storm_errors: u64,
}

/// `zone bots`: plays until it is told to end, then prints its books as one line of JSON.
pub(crate) fn run(options: &BotOptions) -> anyhow::Result<()> {
    threads::name_process(c"zone-bots");
    let mut stop = Stop::listen(options.owned)?;
    raise_limit(u64::from(options.bots) + OTHER_DESCRIPTORS)?;
    let mut crowd = Crowd::arrive(options)?;
    let storm = match (options.storm, options.spectators_at) {
        (Some(per_s), Some(address)) => Some(Storm::begin(address, per_s)?),
        _ => None,
    };

    let patience = clock::now_ns() + JOIN_WITHIN_NS;
    while !crowd.are_all_in() && clock::now_ns() < patience {
        if stop.wait_until(crowd.next_slice_ns) {
            break;
        }
        crowd.live_a_slice();
    }
    print_line(&format!("joined {} of {}", crowd.count_in(), options.bots))?;

    stop.after(options.run_for);
    while !stop.wait_until(crowd.next_slice_ns) {
        crowd.live_a_slice();
    }

    let patience = clock::now_ns() + LEAVE_WITHIN_NS;
    crowd.leave(patience);
    while !crowd.are_all_out() && clock::now_ns() < patience {
        clock::sleep_until(crowd.next_slice_ns);
        crowd.live_a_slice();
    }
    let (storm_connections, storm_errors) = storm.map_or(Ok((0, 0)), Storm::end)?;
    let printed = print_line(&serde_json::to_string(&crowd.books(storm_connections, storm_errors))?);
    // A server that was killed does not read it.
    if options.owned { Ok(()) } else { printed }
}

/// Everybody.
struct Crowd {
    players: Vec<Player>,
    watchers: Vec<Watcher>,
    manners: Manners,
    player_books: player::Books,
    watcher_books: watcher::Books,
    slice: usize,
    next_slice_ns: u64,
}

impl Crowd {
    fn arrive(options: &BotOptions) -> anyhow::Result<Self> {
        let now_ns = clock::now_ns();
        let players = (0..options.bots)
            .map(|number| Player::new(options.server, options.seed, number, now_ns))
            .collect::<Result<_, _>>()
            .context("opening the sockets of players")?;
        let (watchers, slow_reader) = watchers(options)?;
        Ok(Self {
            players,
            watchers,
            manners: Manners { visit_mean: options.visit_mean, pause_mean: options.pause_mean },
            player_books: player::Books::default(),
            watcher_books: watcher::Books::new(slow_reader),
            slice: 0,
            next_slice_ns: now_ns,
        })
    }

    fn live_a_slice(&mut self) {
        let now_ns = clock::now_ns();
        for player in self.players.iter_mut().skip(self.slice).step_by(SLICES) {
            player.live(&self.manners, &mut self.player_books, now_ns);
        }
        for watcher in &mut self.watchers {
            watcher.watch(&mut self.watcher_books);
        }
        self.slice = (self.slice + 1) % SLICES;
        // A slice that took too long moves the others: there is no hurry.
        self.next_slice_ns = (self.next_slice_ns + SLICE_NS).max(now_ns);
    }

    fn leave(&mut self, give_up_ns: u64) {
        self.players.iter_mut().for_each(|player| player.leave_for_good(give_up_ns));
        self.watchers.iter_mut().for_each(Watcher::leave);
    }

    fn count_in(&self) -> usize {
        self.players.iter().filter(|player| player.is_in()).count()
    }

    fn are_all_in(&self) -> bool {
        self.players.iter().all(Player::is_in)
    }

    fn are_all_out(&self) -> bool {
        self.players.iter().all(Player::is_out) && self.watchers.iter().all(Watcher::is_out)
    }

    fn books(mut self, storm_connections: u64, storm_errors: u64) -> Books {
        for player in &mut self.players {
            player.close(&mut self.player_books);
        }
        Books { players: self.player_books, spectators: self.watcher_books, storm_connections, storm_errors }
    }
}

/// The spectators, and the address of the one that will stop reading.
fn watchers(options: &BotOptions) -> anyhow::Result<(Vec<Watcher>, Option<SocketAddr>)> {
    let Some(address) = options.spectators_at else { return Ok((Vec::new(), None)) };
    let mut watchers = (0..options.spectators)
        .map(|_| Watcher::connect(address))
        .collect::<Result<Vec<_>, _>>()
        .context("connecting spectators")?;
    if !options.slow_reader {
        return Ok((watchers, None));
    }
    let mut slow = Watcher::connect(address).context("connecting the slow reader")?;
    slow.stop_reading();
    let at = slow.address().context("asking for the slow reader's port")?;
    print_line(&format!("slow reader {at}"))?;
    watchers.push(slow);
    Ok((watchers, Some(at)))
}

/// Makes sure that so many files can be open.
fn raise_limit(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "{wanted} open files are needed for so many bots, and at most {} are allowed: use fewer, or ulimit -Hn",
        limit.maximum.unwrap_or(0)
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
        .context("raising the limit of open files")
}
