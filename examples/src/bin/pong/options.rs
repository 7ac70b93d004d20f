//! The command line, parsed and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use examples::duration;
use serde::Serialize;

use crate::leaks::{self, Leak};

/// A Pong server for WebSocket or long polling, with bots, and faults planted by flags.
#[derive(Debug, Clone, Parser)]
#[command(name = "pong", version, after_long_help = leaks::help())]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// How players and server talk
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Transport::WebSocket)]
    pub(crate) transport: Transport,

    /// Seed of everything that is drawn: the same seed plans the same visits
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// End by itself after this time; without it, on SIGTERM or SIGINT
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) run_for: Option<Duration>,

    /// Plant a fault; may repeat
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) leak: Vec<Leak>,

    /// Print as JSON which functions leak and which only look like it, with these flags, then end
    #[arg(long)]
    pub(crate) explain_leaks: bool,

    /// Print at the end, as one line of JSON, what the bots sent and received, and how old the state was that they saw
    #[arg(long)]
    pub(crate) books: bool,

    #[command(flatten)]
    pub(crate) pace: Pace,
}

impl Options {
    /// Whether this fault was asked for.
    pub(crate) fn plants(&self, leak: Leak) -> bool {
        self.leak.contains(&leak)
    }
}

/// How the messages of the game travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[value(rename_all = "lower")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A connection per visit, which both sides write to
    WebSocket,
    /// HTTP/1.1 requests, which the server answers when there is something new
    LongPoll,
}

/// How much happens, and how long things live.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pace {
    /// Players to simulate over loopback, in this process
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) bots: u32,

    /// Mean length of a bot's visit (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "6s")]
    pub(crate) session_mean: Duration,

    /// Mean time before a bot comes back (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms")]
    pub(crate) pause_mean: Duration,

    /// Mean time between two chat lines of a bot (exponential)
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    pub(crate) chat_every: Duration,

    /// Chat lines kept for those who come later
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) chat_keep: usize,

    /// How long a rendered player card stays in its cache
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    pub(crate) profile_ttl: Duration,
}

impl Default for Pace {
    /// What the flags say when none is given.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            pace: Pace,
        }
        Alone::parse_from(["pong"]).pace
    }
}

impl Pace {
    /// Visits that begin per second, over all bots, once they are spread out.
    pub(crate) fn visits_per_s(&self) -> f64 {
        let cycle = self.session_mean + self.pause_mean;
        f64::from(self.bots) / cycle.as_secs_f64()
    }

    /// Chat lines per second, over all bots: only who is here can talk.
    pub(crate) fn chat_lines_per_s(&self) -> f64 {
        self.visits_per_s() * self.session_mean.as_secs_f64() / self.chat_every.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_the_means() {
        let options = Options::parse_from(["pong", "--bots", "65"]);
        assert_eq!(options.pace.visits_per_s(), 10.0);
        assert_eq!(options.pace.chat_lines_per_s(), 30.0);
    }

    #[test]
    fn players_use_web_sockets_unless_told_otherwise() {
        let transport = |flags: &[&str]| Options::try_parse_from(flags).map(|options| options.transport).ok();
        assert_eq!(transport(&["pong"]), Some(Transport::WebSocket));
        assert_eq!(transport(&["pong", "--transport", "websocket"]), Some(Transport::WebSocket));
        assert_eq!(transport(&["pong", "--transport", "longpoll"]), Some(Transport::LongPoll));
        assert_eq!(transport(&["pong", "--transport", "pigeons"]), None);
    }

    #[test]
    fn leaks_are_off_unless_asked_for() {
        let none = Options::parse_from(["pong"]);
        assert!(!none.plants(Leak::Chat) && !none.plants(Leak::Sessions));
        let both = Options::parse_from(["pong", "--leak", "chat", "--leak", "sessions"]);
        assert!(both.plants(Leak::Chat) && both.plants(Leak::Sessions));
    }
}
