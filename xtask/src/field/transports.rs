//! `cargo xtask field --transports`: what long polling costs more than WebSocket, as `profiler sockets` sees it.
//!
//! pong plays the same visits over each transport, and is observed from its first instruction to its end. So what is counted from outside
//! and what its bots have counted has to agree. The bots are clients in the same process: `tcp :PORT` is the server, and
//! `tcp to 127.0.0.1:PORT` are the bots.

use std::{ffi::OsString, fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    observe::Rig,
    report::{Row, Table, unaccounted},
    server::Place,
    stop::Stop,
};
use crate::workspace;

/// Players.
const BOTS: &str = "40";
/// Most difference between what is counted from outside and by the bots, as a share.
const MOST_OFF: f64 = 0.01;

/// Name on pong's command line, and in the table.
const TRANSPORTS: [(&str, &str); 2] = [("websocket", "WebSocket"), ("longpoll", "long polling")];

/// One side of all connections: what a table of services has, and how old data was when it was read.
struct Side {
    connections: u64,
    sent: u64,
    sent_bytes: u64,
    received: u64,
    received_bytes: u64,
    /// The time from a message to the next one in the other direction.
    answer: Times,
    /// The time that data waited in the socket.
    age: Times,
}

/// Times in nanoseconds.
#[derive(Clone, Copy)]
struct Times {
    mean: f64,
    p50: f64,
    p99: f64,
}

/// What was seen of one transport.
struct Play {
    server: Side,
    bots: Side,
    /// What pong itself says.
    books: Value,
}

/// Observes pong with each transport, prints the tables, and writes the page if that is asked for.
pub(super) fn run(rig: &Rig, write_docs: bool, stop: &Stop) -> Result<()> {
    let [websocket, long_polling] = TRANSPORTS.map(|(word, _)| play(rig, word, stop));
    let plays = [websocket?, long_polling?];
    let tables = tables(&plays)?;
    println!("\n{tables}");
    let faults: Vec<String> =
        TRANSPORTS.iter().zip(&plays).flat_map(|((word, _), play)| play.faults(word)).collect();
    if !faults.is_empty() {
        bail!("not as expected: {}", faults.join("; "));
    }
    if write_docs {
        let file = workspace::root().join("docs/field-transports.md");
        let how = format!("{BOTS} bots for {} s:", rig.length.as_secs());
        fs::write(&file, format!("{HEAD}\n{how}\n\n{tables}"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

/// pong over one transport.
fn play(rig: &Rig, transport: &str, stop: &Stop) -> Result<Play> {
    println!("\n== pong, {transport}");
    let place = Place::new("pong", &rig.pong)?;
    let mut observation = rig.privilege.command(&rig.profiler, &[]);
    observation.args(["sockets", "--max-cost", "100%", "--stacks", "none"]);
    let (length, address) = (format!("{}s", rig.length.as_secs()), format!("127.0.0.1:{}", place.port));
    let words = ["--transport", transport, "--bots", BOTS, "--books", "--for", &length, "--listen", &address];
    let pong: Vec<OsString> =
        [place.pong.clone().into_os_string()].into_iter().chain(words.map(OsString::from)).collect();
    let name = format!("transports-{transport}");
    let status = rig.run_with(&name, observation, &pong, stop)?;
    if !status.success() {
        bail!("profiler ended with {status}");
    }
    let read = |kind: &str| {
        let file = rig.output.join(format!("{name}.{kind}"));
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let report: Value = serde_json::from_str(&read("json")?)?;
    if unaccounted(&report) > 0 || report.pointer("/coverage/complete") != Some(&Value::Bool(true)) {
        bail!("the report on {transport} is not complete");
    }
    let books =
        read("err")?.lines().rfind(|line| line.starts_with('{')).map(serde_json::from_str).transpose()?;
    Ok(Play {
        server: Side::of(&report, &format!("tcp :{}", place.port))?,
        bots: Side::of(&report, &format!("tcp to {address}"))?,
        books: books.context("pong has printed no books")?,
    })
}

impl Side {
    fn of(report: &Value, service: &str) -> Result<Self> {
        let (services, queues) = (Table::find(report, "services")?, Table::find(report, "queues")?);
        let (row, queue) = (services.row("service", service)?, queues.row("service", service)?);
        let times = |row: &Row<'_, '_>, column: &str| -> Result<Times> {
            let [p50, p99] = [0.5, 0.99].map(|quantile| row.quantile(column, quantile));
            Ok(Times { mean: row.mean(column)?, p50: p50?, p99: p99? })
        };
        Ok(Self {
            connections: row.exact("connections")?,
            sent: row.exact("sent")?,
            sent_bytes: row.exact("sent_bytes")?,
            received: row.exact("received")?,
            received_bytes: row.exact("received_bytes")?,
            answer: times(&row, "answer_ns")?,
            age: times(&queue, "data_age_ns")?,
        })
    }
}

impl Play {
    /// A number of the books.
    fn book(&self, pointer: &str) -> Result<f64> {
        let number = self.books.pointer(pointer).and_then(Value::as_f64);
        number.with_context(|| format!("the books have no number at {pointer}: {}", self.books))
    }

    /// What was counted from outside, and by the bots: its name, the two numbers, and whether they must agree. A receive may return
    /// several frames, or a part of one.
    fn compared(&self) -> Result<[(&'static str, u64, f64, bool); 4]> {
        let bots = &self.bots;
        Ok([
            ("sends; frames or requests sent", bots.sent, self.book("/exchanges/sent")?, true),
            ("bytes sent", bots.sent_bytes, self.book("/bytes/sent")?, true),
            ("receives; frames or answers received", bots.received, self.book("/exchanges/received")?, false),
            ("bytes received", bots.received_bytes, self.book("/bytes/received")?, true),
        ])
    }

    /// From the tick of the room to the last byte at a bot, by the books.
    fn delay(&self) -> Result<[f64; 2]> {
        Ok([self.book("/snapshots/delay_p50_us")? * 1e3, self.book("/snapshots/delay_p99_us")? * 1e3])
    }

    fn faults(&self, transport: &str) -> Vec<String> {
        let compared = match self.compared() {
            Ok(compared) => compared,
            Err(error) => return vec![format!("{error:#}")],
        };
        let is_off = |ours: u64, theirs: f64| (ours as f64 - theirs).abs() > MOST_OFF * theirs;
        let off = compared.iter().filter(|(_, ours, theirs, must)| *must && is_off(*ours, *theirs));
        off.map(|(what, ours, theirs, _)| format!("{transport}: {what}: {ours}, but {theirs} by the books"))
            .collect()
    }
}

/// A row of a table: its name, and what it has of each play.
type Figure<T> = (&'static str, fn(&Play) -> T);

/// All tables, in Markdown.
fn tables(plays: &[Play; 2]) -> Result<String> {
    Ok([counts(plays)?, times(plays)?, agreement(plays)?].join("\n"))
}

fn counts([websocket, polling]: &[Play; 2]) -> Result<String> {
    let bot_s = [websocket.book("/bot_s")?, polling.book("/bot_s")?];
    let of_each: [Figure<u64>; 7] = [
        ("sends of the bots", |play| play.bots.sent),
        ("receives of the bots", |play| play.bots.received),
        ("exchanges: both together", |play| play.bots.sent + play.bots.received),
        ("sends and receives of the server", |play| play.server.sent + play.server.received),
        ("bytes from the bots to the server", |play| play.bots.sent_bytes),
        ("bytes from the server to the bots", |play| play.bots.received_bytes),
        ("connections", |play| play.bots.connections),
    ];
    let mut table = header("per bot and second", "ratio");
    for (what, of) in of_each {
        let [one, other] = [of(websocket) as f64 / bot_s[0], of(polling) as f64 / bot_s[1]];
        let _ = writeln!(table, "| {what} | {} | {} | {:.1} |", count(one), count(other), other / one);
    }
    Ok(table)
}

fn times([websocket, polling]: &[Play; 2]) -> Result<String> {
    let of_each: [Figure<Times>; 4] = [
        ("what a bot was sent waits in its socket", |play| play.bots.age),
        ("what the server was sent waits in its socket", |play| play.server.age),
        ("server: from the last receive to the next send", |play| play.server.answer),
        ("bots: from the last send to the next receive", |play| play.bots.answer),
    ];
    let mut table = header("times, p50 and p99", "ratio of p50");
    let mut put = |what: &str, one: [f64; 2], other: [f64; 2]| {
        let _ = writeln!(table, "| {what} | {} | {} | {:.1} |", both(one), both(other), other[0] / one[0]);
    };
    for (what, of) in of_each {
        let [one, other] = [of(websocket), of(polling)].map(|times| [times.p50, times.p99]);
        put(what, one, other);
    }
    put("from the tick to the last byte at a bot, by the books", websocket.delay()?, polling.delay()?);
    // A state needs the way to the bot; over long polling also the way of the request that asks for it.
    let [one, other] = [websocket.bots.age.mean, polling.bots.answer.mean - polling.server.answer.mean];
    let _ = writeln!(
        table,
        "| on the way for each state, mean | {} | {} | {:.1} |",
        time(one),
        time(other),
        other / one
    );
    Ok(table)
}

fn agreement(plays: &[Play; 2]) -> Result<String> {
    let mut table = String::from("| in all | profiler sockets | pong's books |\n|---|---|---|\n");
    for ((_, transport), play) in TRANSPORTS.iter().zip(plays) {
        for (what, ours, theirs, _) in play.compared()? {
            let _ = writeln!(table, "| {transport}: {what} | {ours} | {theirs} |");
        }
    }
    Ok(table)
}

fn header(what: &str, ratio: &str) -> String {
    format!("| {what} | WebSocket | long polling | {ratio} |\n|---|---|---|---|\n")
}

/// A number with as many digits as matter.
fn count(number: f64) -> String {
    match number {
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

/// Two times.
fn both([p50, p99]: [f64; 2]) -> String {
    format!("{}, {}", time(p50), time(p99))
}

fn time(ns: f64) -> String {
    format!("{:.2} ms", ns / 1e6)
}

const HEAD: &str = "\
# What long polling costs more than WebSocket

Our [pong](../examples/README.md#pong-a-websocket-game-server) plays the same visits over WebSocket and over HTTP long polling, and
`profiler sockets` observes each from beginning to end:

    cargo xtask field --transports

The bots are clients in the same process: the service `tcp to 127.0.0.1:PORT` is their side of the connections, and `tcp :PORT` is the
server's. A send or a receive is a call that has moved bytes. The task fails if what is counted from outside differs by more than 1 % from
what the bots have counted themselves (`--books`).

With long polling a bot has to ask again for each state. So it sends four times as often, and some fifty times as many bytes, most of
which are the headers of its requests, and it needs a second connection for what it has to say. How long the server holds a poll is no cost:
over both transports, bots wait for the next tick. *On the way* is what a state has to wait for besides the tick: over WebSocket in the socket
of the bot, over long polling from the request to the answer, less the time for which the server has held it. Here that is the loopback
interface. To a player far away it is half a round trip over WebSocket, and up to one and a half over long polling: a state that comes just after
an answer has left has to wait for the next request.
";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn play(times: u64) -> Play {
        let side = || Side {
            connections: times,
            sent: 100 * times,
            sent_bytes: 1_000 * times,
            received: 300,
            received_bytes: 9_000,
            answer: Times { mean: 15e6, p50: 16e6, p99: 20e6 },
            age: Times { mean: 60e3, p50: 50e3 * times as f64, p99: 400e3 },
        };
        let books = json!({
            "bot_s": 10.0,
            "exchanges": {"sent": 100 * times, "received": 310},
            "bytes": {"sent": 1_000 * times, "received": 9_000},
            "snapshots": {"delay_p50_us": 100.0, "delay_p99_us": 400.0},
        });
        let server = Side { answer: Times { mean: 14.8e6, ..side().answer }, ..side() };
        Play { server, bots: side(), books }
    }

    #[test]
    fn the_tables_have_rates_ratios_and_what_has_to_agree() {
        let tables = tables(&[play(1), play(4)]).unwrap();
        for row in [
            "| sends of the bots | 10.0 | 40.0 | 4.0 |",
            "| exchanges: both together | 40.0 | 70.0 | 1.8 |",
            "| what a bot was sent waits in its socket | 0.05 ms, 0.40 ms | 0.20 ms, 0.40 ms | 4.0 |",
            "| on the way for each state, mean | 0.06 ms | 0.20 ms | 3.3 |",
            "| long polling: bytes sent | 4000 | 4000 |",
        ] {
            assert!(tables.lines().any(|line| line == row), "{row}:\n{tables}");
        }
    }

    #[test]
    fn what_differs_from_the_books_is_a_fault() {
        assert_eq!(play(1).faults("websocket"), [""; 0], "receives are compared, but may differ");
        let mut off = play(1);
        off.bots.sent_bytes += 11;
        assert_eq!(off.faults("websocket"), ["websocket: bytes sent: 1011, but 1000 by the books"]);
        off.books = json!({});
        assert_eq!(off.faults("websocket").len(), 1);
    }
}
