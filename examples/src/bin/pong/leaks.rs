//! What is planted where, and what honest memory stands beside it: the answers a leak hunter is tested against.

use clap::ValueEnum;
use serde::Serialize;

use crate::bots::{self, PHRASES};
use crate::court::TICK_HZ;
use crate::options::{Options, Pace, Transport};
use crate::sessions;

/// A fault that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Leak {
    /// A player who has left keeps their session: `SessionStore::disconnect` marks it and drops nothing
    Sessions,
    /// Chat is never trimmed: `ChatHistory::trim` is off by one
    Chat,
}

/// Everything `--explain-leaks` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Expectations {
    /// The allocation sites of the faults, planted or not.
    leaks: Vec<LeakSite>,
    /// The allocation sites that must never be called a leak.
    honest: Vec<HonestSite>,
}

/// Where a fault allocates.
#[derive(Debug, Serialize)]
struct LeakSite {
    name: Leak,
    planted: bool,
    /// Functions on every leaking stack. They are never inlined, so the names are in the symbol table.
    functions: &'static [&'static str],
    /// Blocks that leak per second, once the bots are spread out. With the fault off: blocks that come and go.
    blocks_per_s: f64,
    /// The same in requested bytes per hour; the allocator adds its own headers.
    bytes_per_hour: u64,
    /// Mean life of a block with the fault off; null without bots.
    healthy_life_s: Option<f64>,
}

/// Where honest memory is allocated.
#[derive(Debug, Serialize)]
struct HonestSite {
    name: &'static str,
    functions: &'static [&'static str],
    /// Mean life of a block; null where it is the life of the server.
    life_s: Option<f64>,
    why: &'static str,
}

impl Expectations {
    /// What these options lead to.
    pub(crate) fn of(options: &Options) -> Self {
        let pace = &options.pace;
        let leaks = [Leak::Sessions, Leak::Chat].map(|leak| LeakSite {
            name: leak,
            planted: options.plants(leak),
            functions: leak.functions(),
            blocks_per_s: leak.blocks_per_s(pace),
            bytes_per_hour: leak.bytes_per_hour(pace).round() as u64,
            healthy_life_s: leak.healthy_life_s(pace),
        });
        Self { leaks: leaks.into(), honest: honest(options.transport, pace) }
    }
}

impl Leak {
    fn functions(self) -> &'static [&'static str] {
        match self {
            Leak::Sessions => &["SessionStore::connect"],
            Leak::Chat => &["ChatHistory::push"],
        }
    }

    fn blocks_per_s(self, pace: &Pace) -> f64 {
        match self {
            Leak::Sessions => pace.visits_per_s() * 3.0, // name, inbox, the session itself
            Leak::Chat => pace.chat_lines_per_s() * 2.0, // who, what
        }
    }

    fn bytes_per_hour(self, pace: &Pace) -> f64 {
        let name_bytes = bots::name(0).len();
        let phrase_bytes =
            PHRASES.iter().map(|phrase| phrase.len()).sum::<usize>() as f64 / PHRASES.len() as f64;
        let per_s = match self {
            Leak::Sessions => pace.visits_per_s() * sessions::heap_bytes(name_bytes) as f64,
            Leak::Chat => pace.chat_lines_per_s() * (name_bytes as f64 + phrase_bytes),
        };
        per_s * 3600.0
    }

    fn healthy_life_s(self, pace: &Pace) -> Option<f64> {
        let life = match self {
            Leak::Sessions => pace.session_mean.as_secs_f64(),
            Leak::Chat => pace.chat_keep as f64 / pace.chat_lines_per_s(),
        };
        (pace.bots > 0).then_some(life)
    }
}

fn honest(transport: Transport, pace: &Pace) -> Vec<HonestSite> {
    let (connections, messages, message_life_s): (&[_], &[_], _) = match transport {
        Transport::WebSocket => {
            (&["server::serve", "websocket::host", "Visit::play"], &["protocol::encode", "room::run"], 0.001)
        }
        // A message is kept until the next poll confirms it: for a tick.
        Transport::LongPoll => (
            &["server::serve", "longpoll::host", "Visit::play"],
            &["protocol::encode", "protocol::batch", "room::run"],
            1.0 / f64::from(TICK_HZ),
        ),
    };
    vec![
        HonestSite {
            name: "leaderboard",
            functions: &["Leaderboard::open"],
            life_s: None,
            why: "a table made at start and kept: it does not grow",
        },
        HonestSite {
            name: "restored_chat",
            functions: &["ChatHistory::restore"],
            life_s: None,
            why: "made at start; pushed out by new lines, unless the chat leaks",
        },
        HonestSite {
            name: "profile_cache",
            functions: &["ProfileCache::render"],
            life_s: Some(pace.profile_ttl.as_secs_f64()),
            why: "a cache with a time to live",
        },
        HonestSite {
            name: "books",
            functions: &["Books::open"],
            life_s: None,
            why: "a table made at start and kept: it does not grow",
        },
        HonestSite {
            name: "connections",
            functions: connections,
            life_s: Some(pace.session_mean.as_secs_f64()),
            why: "buffers of a connection, at both ends: they live as long as the visit",
        },
        HonestSite {
            name: "snapshots",
            functions: messages,
            life_s: Some(message_life_s),
            why: "churn: one message per room and tick, freed when it has arrived",
        },
    ]
}

/// What `--help` says about rates.
pub(crate) fn help() -> String {
    let forty = Pace { bots: 40, ..Pace::default() };
    let mib_per_hour = |leak: Leak| leak.bytes_per_hour(&forty) / f64::from(1 << 20);
    format!(
        "What leaks, with --bots 40 and everything else left alone:\n  \
         --leak sessions  {:5.1} blocks/s, {:5.1} MiB/h, from SessionStore::connect\n  \
         --leak chat      {:5.1} blocks/s, {:5.1} MiB/h, from ChatHistory::push\n\
         Both grow in proportion to --bots; --explain-leaks says it for any flags.\n\n\
         A tool that asks \"what is older than A?\" can tell a leak from an honest session only if sessions end\n\
         while it watches: keep --session-mean and --profile-ttl below about five times A.",
        Leak::Sessions.blocks_per_s(&forty),
        mib_per_hour(Leak::Sessions),
        Leak::Chat.blocks_per_s(&forty),
        mib_per_hour(Leak::Chat),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn expectations_follow_the_flags() {
        let options = Options::parse_from(["pong", "--bots", "65", "--leak", "chat"]);
        let json = serde_json::to_value(Expectations::of(&options)).unwrap();
        assert_eq!(json["leaks"][0]["name"], "sessions");
        assert_eq!(json["leaks"][0]["planted"], false);
        assert_eq!(json["leaks"][0]["blocks_per_s"], 30.0);
        assert_eq!(json["leaks"][1]["name"], "chat");
        assert_eq!(json["leaks"][1]["planted"], true);
        assert_eq!(json["leaks"][1]["blocks_per_s"], 60.0);
        assert_eq!(json["leaks"][0]["bytes_per_hour"], 21_024_000);
        assert_eq!(json["leaks"][1]["functions"][0], "ChatHistory::push");
        assert_eq!(json["honest"][2]["life_s"], 2.0);
    }

    #[test]
    fn rates_in_bytes_are_what_the_code_asks_for() {
        let pace = Options::parse_from(["pong", "--bots", "65"]).pace;
        // 10 visits/s of a name of 8 bytes, 64 notices of 8 and the session: two lists of 24, two counts, a flag.
        assert_eq!(Leak::Sessions.bytes_per_hour(&pace), 10.0 * (8.0 + 512.0 + 64.0) * 3600.0);
    }
}
