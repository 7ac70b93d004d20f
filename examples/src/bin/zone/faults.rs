//! What is planted where, and what healthy work stands beside it: the answers that an observer is tested against.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::options::{FaultOptions, ServerOptions};

/// Where things are in a run; nothing before it has begun.
#[derive(Debug, Default, Clone)]
pub(crate) struct Places {
    /// The directory of the world, the log and the configuration.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) world: Option<PathBuf>,
    /// The socket of the players, and that of the spectators.
    pub(crate) players: Option<SocketAddr>,
    pub(crate) spectators: Option<SocketAddr>,
    pub(crate) backend: Option<SocketAddr>,
    /// The spectator that does not read.
    pub(crate) slow_reader: Option<SocketAddr>,
}

/// What a fault shows at.
#[derive(Debug, Clone, Copy)]
enum At {
    /// The file that the world is written to before it is renamed.
    NewWorld,
    Log,
    Config,
    Players,
    Spectators,
    SlowReader,
    Backend,
}

/// A fault, as the table below has it.
struct Fault {
    flag: &'static str,
    is_on: fn(&FaultOptions) -> bool,
    /// The process and the thread that does it.
    process: &'static str,
    thread: &'static str,
    /// On each of its stacks: it is never inlined.
    function: &'static str,
    at: At,
    answer: &'static str,
}

/// A fault, as `--explain` and the books print it.
#[derive(Debug, Serialize)]
pub(crate) struct Planted {
    flag: &'static str,
    process: &'static str,
    thread: &'static str,
    function: &'static str,
    /// Its path; only its name before the run. Null if the fault is not about a file.
    file: Option<PathBuf>,
    /// The address of the socket, at the server or, for the backend and the slow reader, at the other end. Null before the run,
    /// and if the fault is not about a socket.
    address: Option<SocketAddr>,
    /// What an observer of the server should say first.
    answer: &'static str,
}

/// Work that must not be called a fault.
#[derive(Debug, Serialize)]
struct Healthy {
    thread: &'static str,
    function: &'static str,
    why: &'static str,
}

/// Everything that `--explain` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    planted: Vec<Planted>,
    healthy: Vec<Healthy>,
}

const FAULTS: [Fault; 11] = [
    Fault {
        flag: "--autosave-on-tick",
        is_on: |faults| faults.autosave_on_tick,
        process: "zone",
        thread: "zone-tick",
        function: "zone::tick::Loop::autosave_on_tick",
        at: At::NewWorld,
        answer: "zone-tick waits for fsync of world.db.tmp (world.db after the rename) once per autosave interval; its longest turns are these",
    },
    Fault {
        flag: "--chatty",
        is_on: |faults| faults.chatty,
        process: "zone",
        thread: "zone-tick",
        function: "zone::gateway::Gateway::send_each_entity_alone",
        at: At::Players,
        answer: "zone-tick sends many datagrams of 32 bytes to each player in each turn, where one would hold them all",
    },
    Fault {
        flag: "--n-plus-one",
        is_on: |faults| faults.n_plus_one,
        process: "zone",
        thread: "zone-tick",
        function: "zone::tick::Loop::get_items_one_by_one",
        at: At::Backend,
        answer: "zone-tick makes one round trip after the other to the backend in each turn, and waits for each",
    },
    Fault {
        flag: "--slow-reader",
        is_on: |faults| faults.slow_reader,
        process: "zone-bots",
        thread: "zone-bots",
        function: "zone::bots::watcher::Watcher::stop_reading",
        at: At::SlowReader,
        answer: "the send queue to one spectator grows and never shrinks: that peer has stopped reading",
    },
    Fault {
        flag: "--small-rcvbuf",
        is_on: |faults| faults.small_rcvbuf.is_some(),
        process: "zone",
        thread: "zone",
        function: "zone::gateway::shrink_receive_buffer",
        at: At::Players,
        answer: "the kernel drops datagrams of players because the receive buffer is full: it is far too small",
    },
    Fault {
        flag: "--busy-poll",
        is_on: |faults| faults.busy_poll,
        process: "zone",
        thread: "zone-tick",
        function: "zone::tick::Loop::spin_on_the_socket",
        at: At::Players,
        answer: "zone-tick reads the players' socket again and again and finds nothing: nearly all calls return EAGAIN, and a processor is busy with them",
    },
    Fault {
        flag: "--stall-io",
        is_on: |faults| faults.stall_io.is_some(),
        process: "zone-backend",
        thread: "backend-client",
        function: "zone::backend::answer_late",
        at: At::Backend,
        answer: "some answers of the backend take far longer than the others; what waits for them in the server is zone-store, and zone-tick with --n-plus-one",
    },
    Fault {
        flag: "--nagle",
        is_on: |faults| faults.nagle,
        process: "zone",
        thread: "zone-watch",
        function: "zone::spectators::Spectator::write_header_then_body",
        at: At::Spectators,
        answer: "zone-watch writes each frame in two parts without TCP_NODELAY: the second waits some 40 ms for a delayed acknowledgement",
    },
    Fault {
        flag: "--small-appends",
        is_on: |faults| faults.small_appends,
        process: "zone",
        thread: "zone-log",
        function: "zone::events::EventLog::append_line_and_sync",
        at: At::Log,
        answer: "zone-log writes some 30 bytes to events.log and waits for fdatasync each time: the device writes many times that",
    },
    Fault {
        flag: "--reread-config",
        is_on: |faults| faults.reread_config,
        process: "zone",
        thread: "zone-tick",
        function: "zone::tick::Loop::reread_config_in_tick",
        at: At::Config,
        answer: "zone-tick opens, reads and closes zone.toml in each turn, 20 times a second, and it never changes",
    },
    Fault {
        flag: "--storm",
        is_on: |faults| faults.storm.is_some(),
        process: "zone-bots",
        thread: "bots-storm",
        function: "zone::bots::storm::connect_and_close_again",
        at: At::Spectators,
        answer: "hundreds of connections a second to the spectators' port are closed at once without a byte from their clients",
    },
];

/// The faults that these options plant.
pub(crate) fn planted(options: &ServerOptions, places: &Places) -> Vec<Planted> {
    FAULTS.iter().filter(|fault| (fault.is_on)(&options.faults)).map(|fault| fault.planted(places)).collect()
}

/// What `--explain` prints.
pub(crate) fn explain(options: &ServerOptions) -> Explanation {
    Explanation { planted: planted(options, &Places::default()), healthy: healthy(&options.faults) }
}

impl Fault {
    fn planted(&self, places: &Places) -> Planted {
        let beside = |name: &str| {
            Some(places.directory.as_ref().map_or(name.into(), |directory| directory.join(name)))
        };
        let (file, address) = match self.at {
            At::NewWorld => {
                let mut path = places.world.clone().unwrap_or_else(|| "world.db".into()).into_os_string();
                path.push(".tmp");
                (Some(path.into()), None)
            }
            At::Log => (beside("events.log"), None),
            At::Config => (beside("zone.toml"), None),
            At::Players => (None, places.players),
            At::Spectators => (None, places.spectators),
            At::SlowReader => (None, places.slow_reader),
            At::Backend => (None, places.backend),
        };
        let Self { flag, process, thread, function, answer, .. } = *self;
        Planted { flag, process, thread, function, file, address, answer }
    }
}

fn healthy(faults: &FaultOptions) -> Vec<Healthy> {
    let mut healthy = vec![
        Healthy {
            thread: "zone-store",
            function: "zone::store::Store::refresh",
            why: "one round trip for everybody, every two seconds; the loop does not wait for it",
        },
        Healthy {
            thread: "zone-tick",
            function: "zone::tick::Loop::read_datagrams",
            why: "one receive that finds nothing ends each turn's reading",
        },
    ];
    if !faults.autosave_on_tick {
        healthy.push(Healthy {
            thread: "zone-save",
            function: "zone::save::save_in_background",
            why: "it waits for fsync, and nobody waits for it",
        });
    }
    if !faults.small_appends {
        healthy.push(Healthy {
            thread: "zone-log",
            function: "zone::events::EventLog::append_in_batches",
            why: "small writes twice a second, into the page cache",
        });
    }
    if !faults.nagle {
        healthy.push(Healthy {
            thread: "zone-watch",
            function: "zone::spectators::Spectator::write_at_once",
            why: "one write for each frame, at once on its way",
        });
    }
    healthy
}

/// What `--help` says about the answers.
pub(crate) fn help() -> String {
    "Each fault is in a function of its own name, which is on its stacks; --explain prints them, and the last line of a run\n\
     has them again with the paths and addresses of that run. The last line is JSON: what the server has counted, exactly."
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clap::{CommandFactory, Parser};

    fn of(line: &str) -> ServerOptions {
        Options::parse_from(line.split(' ')).server
    }

    #[test]
    fn nothing_is_planted_unless_asked_for() {
        assert!(planted(&of("zone"), &Places::default()).is_empty());
        assert_eq!(explain(&of("zone")).healthy.len(), 5);
    }

    #[test]
    fn every_flag_of_a_fault_plants_that_one() {
        let command = Options::command();
        let heading = Some("Faults");
        let flags = command.get_arguments().filter(|argument| argument.get_help_heading() == heading);
        let flags: Vec<_> = flags.filter_map(|argument| argument.get_long()).collect();
        assert_eq!(flags.len(), FAULTS.len() + 1, "all but --stall-every: {flags:?}");
        for fault in &FAULTS {
            assert!(flags.contains(&&fault.flag[2..]), "{}", fault.flag);
            let value = if fault.flag == "--stall-io" { " 9" } else { "" };
            let planted = planted(&of(&format!("zone {}{value}", fault.flag)), &Places::default());
            let flags: Vec<_> = planted.iter().map(|planted| planted.flag).collect();
            assert_eq!(flags, [fault.flag]);
        }
    }

    #[test]
    fn places_are_those_of_the_run() {
        let options = of("zone --autosave-on-tick --small-appends --slow-reader");
        let places = Places {
            directory: Some("/srv".into()),
            world: Some("/srv/w.db".into()),
            slow_reader: Some("127.0.0.1:9".parse().unwrap()),
            ..Places::default()
        };
        let json = serde_json::to_value(planted(&options, &places)).unwrap();
        assert_eq!(json[0]["file"], "/srv/w.db.tmp");
        assert_eq!(json[1]["address"], "127.0.0.1:9");
        assert_eq!(json[2]["file"], "/srv/events.log");
        let json = serde_json::to_value(planted(&options, &Places::default())).unwrap();
        assert_eq!(
            (&json[0]["file"], &json[1]["address"]),
            (&"world.db.tmp".into(), &serde_json::Value::Null)
        );
    }
}
