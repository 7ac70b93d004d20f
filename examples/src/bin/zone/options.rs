//! The command line, parsed and nothing else.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, value_parser};
use examples::duration;

use crate::faults;

/// Most bots.
const MOST_BOTS: i64 = 10_000;

/// A zone server of an online game with bots, and faults planted by flags.
#[derive(Debug, Clone, Parser)]
#[command(name = "zone", version, args_conflicts_with_subcommands = true, after_long_help = faults::help())]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,

    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

/// What this program can be beside the server, which starts both unless told otherwise.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Players and spectators for a server that runs already
    Bots(BotOptions),
    /// The stand-in for Redis
    Backend(BackendOptions),
}

/// Options of the server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOptions {
    /// UDP address for players; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// TCP address for spectators
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen_spectators: SocketAddr,

    /// A Redis server to keep players in, below the keys zone:*; without it, a stand-in is started
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) redis: Option<SocketAddr>,

    /// Where the world is saved, and loaded from if it is there; events.log and zone.toml are beside it. Without it, in a
    /// temporary directory that is removed at the end
    #[arg(long, value_name = "PATH")]
    pub(crate) world: Option<PathBuf>,

    /// How often the world is saved
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub(crate) autosave: Duration,

    /// Creatures of a new world
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = value_parser!(u32).range(0..=100_000))]
    pub(crate) creatures: u32,

    /// Size of the ground of a new world, in KiB: nearly all of what a save writes
    #[arg(long, value_name = "KIB", default_value_t = 8192, value_parser = value_parser!(u32).range(1..=262_144))]
    pub(crate) ground: u32,

    /// Places in a player's inventory
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u32).range(1..=200))]
    pub(crate) items: u32,

    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// End by itself after this time, counted from READY; without it, on SIGTERM or SIGINT
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) run_for: Option<Duration>,

    /// Print as JSON what these flags plant, and what an observer should say first, then end
    #[arg(long)]
    pub(crate) explain: bool,

    #[command(flatten)]
    pub(crate) crowd: CrowdOptions,

    #[command(flatten)]
    pub(crate) faults: FaultOptions,
}

/// Who is there.
#[derive(Debug, Clone, Args)]
pub(crate) struct CrowdOptions {
    /// Players to simulate over loopback, in a process of their own
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(0..=MOST_BOTS))]
    pub(crate) bots: u32,

    /// Spectators, in the same process as the players
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(0..=200))]
    pub(crate) spectators: u32,

    /// Mean length of a player's visit (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) visit_mean: Duration,

    /// Mean time before a player comes back (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms")]
    pub(crate) pause_mean: Duration,
}

/// What can be wrong. Everything is off by default.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultOptions {
    /// The loop saves the world itself, and waits for fsync
    #[arg(long)]
    pub(crate) autosave_on_tick: bool,

    /// A datagram for each entity, instead of one for each player
    #[arg(long)]
    pub(crate) chatty: bool,

    /// The loop asks the backend for each item of a player, one after the other
    #[arg(long)]
    pub(crate) n_plus_one: bool,

    /// One more spectator, who stops reading
    #[arg(long)]
    pub(crate) slow_reader: bool,

    /// A receive buffer for players that is too small, in bytes as given to SO_RCVBUF
    #[arg(long, value_name = "BYTES", require_equals = true, num_args = 0..=1, default_missing_value = "4608",
        value_parser = value_parser!(u32).range(1..=1 << 30))]
    pub(crate) small_rcvbuf: Option<u32>,

    /// The loop asks the socket again and again instead of sleeping
    #[arg(long)]
    pub(crate) busy_poll: bool,

    /// The stand-in for Redis holds every tenth answer back for so many milliseconds
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..=4_000), conflicts_with = "redis")]
    pub(crate) stall_io: Option<u64>,

    /// With --stall-io: every how many answers one is held back
    #[arg(long, value_name = "N", default_value_t = STALL_EVERY, value_parser = value_parser!(u64).range(1..))]
    pub(crate) stall_every: u64,

    /// Two small writes for each frame of a spectator, without TCP_NODELAY
    #[arg(long)]
    pub(crate) nagle: bool,

    /// The log is written and synced line by line
    #[arg(long)]
    pub(crate) small_appends: bool,

    /// The loop reads its configuration file in each turn
    #[arg(long)]
    pub(crate) reread_config: bool,

    /// Somebody connects to the spectators' port and closes again, so many times a second
    #[arg(long, value_name = "N", require_equals = true, num_args = 0..=1, default_missing_value = "200",
        value_parser = value_parser!(u32).range(1..=400))]
    pub(crate) storm: Option<u32>,
}

const STALL_EVERY: u64 = 10;

/// Options of `zone bots`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BotOptions {
    /// Where the server listens for players
    pub(crate) server: SocketAddr,

    /// Where the server listens for spectators; without it, there are none
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) spectators_at: Option<SocketAddr>,

    /// Players
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(0..=MOST_BOTS))]
    pub(crate) bots: u32,

    /// Spectators
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(0..=200))]
    pub(crate) spectators: u32,

    /// Mean length of a player's visit (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) visit_mean: Duration,

    /// Mean time before a player comes back (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms")]
    pub(crate) pause_mean: Duration,

    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// End by itself after this time; without it, on SIGTERM or SIGINT
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) run_for: Option<Duration>,

    /// One more spectator, who stops reading
    #[arg(long)]
    pub(crate) slow_reader: bool,

    /// Somebody connects to the spectators' port and closes again, so many times a second
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=400))]
    pub(crate) storm: Option<u32>,

    /// End when standard input ends
    #[arg(long, hide = true)]
    pub(crate) owned: bool,
}

/// Options of `zone backend`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackendOptions {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// End by itself after this time; without it, on SIGTERM or SIGINT
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) run_for: Option<Duration>,

    /// Hold an answer back for so many milliseconds
    #[arg(long, value_name = "MS", value_parser = value_parser!(u64).range(1..=4_000))]
    pub(crate) stall: Option<u64>,

    /// Every how many answers one is held back
    #[arg(long, value_name = "N", default_value_t = STALL_EVERY, value_parser = value_parser!(u64).range(1..))]
    pub(crate) stall_every: u64,

    /// End when standard input ends
    #[arg(long, hide = true)]
    pub(crate) owned: bool,
}

impl ServerOptions {
    /// The command line of the bots; `None` if there is nothing for them to do.
    pub(crate) fn for_bots(&self, server: SocketAddr, spectators_at: SocketAddr) -> Option<Vec<OsString>> {
        let (crowd, faults) = (&self.crowd, &self.faults);
        let is_empty =
            crowd.bots == 0 && crowd.spectators == 0 && !faults.slow_reader && faults.storm.is_none();
        if is_empty {
            return None;
        }
        let mut arguments = vec![
            "bots".to_owned(),
            server.to_string(),
            format!("--spectators-at={spectators_at}"),
            format!("--bots={}", crowd.bots),
            format!("--spectators={}", crowd.spectators),
            format!("--visit-mean={}s", crowd.visit_mean.as_secs_f64()),
            format!("--pause-mean={}s", crowd.pause_mean.as_secs_f64()),
            format!("--seed={}", self.seed),
            "--owned".to_owned(),
        ];
        arguments.extend(faults.slow_reader.then(|| "--slow-reader".to_owned()));
        arguments.extend(faults.storm.map(|per_s| format!("--storm={per_s}")));
        Some(arguments.into_iter().map(Into::into).collect())
    }

    /// The command line of the stand-in for Redis.
    pub(crate) fn for_backend(&self) -> Vec<OsString> {
        let mut arguments = vec!["backend".to_owned(), "--owned".to_owned()];
        if let Some(ms) = self.faults.stall_io {
            arguments.push(format!("--stall={ms}"));
            arguments.push(format!("--stall-every={}", self.faults.stall_every));
        }
        arguments.into_iter().map(Into::into).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_off_unless_asked_for() {
        let none = Options::parse_from(["zone"]).server.faults;
        assert!(!none.chatty && none.small_rcvbuf.is_none() && none.storm.is_none());
        let some = Options::parse_from(["zone", "--small-rcvbuf", "--storm", "--chatty"]).server.faults;
        assert_eq!((some.chatty, some.small_rcvbuf, some.storm), (true, Some(4608), Some(200)));
        let other = Options::parse_from(["zone", "--small-rcvbuf=9000", "--storm=7"]).server.faults;
        assert_eq!((other.small_rcvbuf, other.storm), (Some(9000), Some(7)));
    }

    #[test]
    fn bounds_are_kept() {
        for arguments in [
            &["--bots", "10001"][..],
            &["--storm=401"],
            &["--stall-io", "10", "--redis", "127.0.0.1:6379"],
            &["--items", "0"],
            &["bots"],
        ] {
            let parsed = Options::try_parse_from([&["zone"], arguments].concat());
            assert!(parsed.is_err(), "{arguments:?} was taken");
        }
    }

    #[test]
    fn children_understand_their_command_lines() {
        let line =
            "zone --bots 7 --spectators 0 --visit-mean 1.5s --slow-reader --storm=9 --stall-io 20 --seed 4";
        let server = Options::parse_from(line.split(' ')).server;
        let (at, spectators_at) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let parse = |arguments: Vec<OsString>| {
            Options::parse_from([vec!["zone".into()], arguments].concat()).role.unwrap()
        };
        let Role::Bots(bots) = parse(server.for_bots(at, spectators_at).unwrap()) else { panic!("not bots") };
        assert_eq!((bots.server, bots.spectators_at), (at, Some(spectators_at)));
        assert_eq!((bots.bots, bots.spectators, bots.seed, bots.storm), (7, 0, 4, Some(9)));
        assert_eq!(
            (bots.visit_mean, bots.slow_reader, bots.owned),
            (Duration::from_millis(1500), true, true)
        );
        let Role::Backend(backend) = parse(server.for_backend()) else { panic!("not a backend") };
        assert_eq!((backend.stall, backend.stall_every, backend.owned), (Some(20), STALL_EVERY, true));
        let nobody = Options::parse_from(["zone", "--bots", "0", "--spectators", "0"]).server;
        assert_eq!(nobody.for_bots(at, spectators_at), None);
    }
}
