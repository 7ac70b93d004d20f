//! The Pong server as a player and an operator meet it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod players;

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::place;
use tokio_tungstenite::tungstenite::Message;

use players::{Http, LongPoll, Player, TRANSPORTS, hello, web_socket};

/// A server that ends with the test.
struct Pong {
    process: Child,
    address: SocketAddr,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Pong {
    fn start(flags: &str) -> Self {
        let mut process = Command::new(place::program("pong"))
            .args(flags.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || stdout.next().unwrap().unwrap();
        let address = line().strip_prefix("listening on ").unwrap().parse().unwrap();
        assert_eq!(line(), format!("pid {}", process.id()));
        Self { process, address, stdout }
    }

    fn stop_by(mut self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success(), "{signal} is a clean end");
    }
}

impl Drop for Pong {
    fn drop(&mut self) {
        // Gone already in every test that has not failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two players over `transport` meet, play and talk, and one leaves.
fn meet_play_and_talk(transport: &str) {
    let pong = Pong::start(&format!("--seed 3 --transport {transport}"));
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| Player::join(transport, pong.address, name));
    assert_eq!(ada.hear("welcome")["type"], "welcome");
    let (met_by_ada, met_by_bob) = (ada.hear("match"), bob.hear("match"));
    assert_eq!(met_by_ada["opponent"], "bob");
    assert_eq!(met_by_bob["opponent"], "ada");
    assert_ne!(met_by_ada["side"], met_by_bob["side"]);

    let side = usize::from(met_by_ada["side"] == "right");
    let before = ada.hear("state")["paddles"][side].as_f64().unwrap();
    ada.say(json!({ "type": "stick", "dir": -1 }));
    for _ in 0..30 {
        ada.hear("state");
    }
    let after = ada.hear("state")["paddles"][side].as_f64().unwrap();
    assert!(after < before, "the paddle went from {before} to {after}");

    bob.say(json!({ "type": "say", "text": "gg" }));
    let told = std::iter::repeat_with(|| ada.hear("chat"))
        .find_map(|chat| chat["lines"].as_array().unwrap().iter().find(|line| line["text"] == "gg").cloned());
    assert_eq!(told, Some(json!({ "from": "bob", "text": "gg" })));

    bob.leave();
    // The one who stays wins, whatever happened on the court before.
    while ada.hear("notices")["notices"].as_array().unwrap().iter().all(|notice| notice["won"].is_null()) {}
    pong.stop_by("-TERM");
}

#[test]
fn two_players_meet_play_and_talk() {
    TRANSPORTS.into_iter().for_each(meet_play_and_talk);
}

#[test]
fn nonsense_costs_only_the_one_who_sends_it() {
    let pong = Pong::start("--bots 1 --session-mean 1h --pause-mean 1ms");
    let mut rude = web_socket(pong.address);
    rude.send(Message::text("not json")).unwrap();
    assert!(rude.read().is_err() || rude.read().is_err(), "no name, no play");

    let mut guest = web_socket(pong.address);
    for text in [&hello(&"g".repeat(100)), r#"{"type":"no such type"}"#, "[[[["] {
        guest.send(Message::text(text)).unwrap();
    }
    let mut guest = Player::WebSocket(Box::new(guest));
    assert_eq!(guest.hear("match")["opponent"], "bot-0000");
    let names = guest.hear("state")["players"].clone();
    assert!(names.as_array().unwrap().contains(&json!("g".repeat(24))), "{names}");
    pong.stop_by("-INT");
}

#[test]
fn ends_by_itself_with_bots_and_leaks() {
    for transport in TRANSPORTS {
        let mut pong = Pong::start(&format!(
            "--transport {transport} --bots 6 --session-mean 100ms --chat-every 20ms --leak chat --leak sessions --for 1s"
        ));
        assert!(pong.process.wait().unwrap().success());
        assert!(pong.stdout.next().is_none(), "nothing but address and pid on stdout");
    }
}

#[test]
fn explains_its_leaks_as_json() {
    for transport in TRANSPORTS {
        let flags = ["--explain-leaks", "--leak", "chat", "--transport", transport];
        let run = Command::new(place::program("pong")).args(flags).output().unwrap();
        assert!(run.status.success());
        let explained: Value = serde_json::from_slice(&run.stdout).unwrap();
        let planted: Vec<_> =
            explained["leaks"].as_array().unwrap().iter().filter(|leak| leak["planted"] == true).collect();
        assert_eq!(planted.len(), 1);
        assert_eq!(planted[0]["functions"], json!(["ChatHistory::push"]));
        let honest = explained["honest"].to_string();
        assert!(honest.contains(&format!("{transport}::host")), "{honest}");
    }
}

/// The books after a while of play over `transport`.
fn books(transport: &str) -> Value {
    let mut pong = Pong::start(&format!(
        "--transport {transport} --bots 4 --session-mean 1s --pause-mean 100ms --for 3s --books"
    ));
    let books = serde_json::from_str(&pong.stdout.next().unwrap().unwrap()).unwrap();
    assert!(pong.stdout.next().is_none(), "the books are the last line");
    assert!(pong.process.wait().unwrap().success());
    books
}

#[test]
fn books_tell_what_long_polling_costs_more_for_the_same_game() {
    let [frames, polls] = TRANSPORTS.map(books);
    let number = |books: &Value, table: &str, cell: &str| {
        books[table][cell].as_f64().unwrap_or_else(|| panic!("no {table}.{cell} in {books}"))
    };
    for books in [&frames, &polls] {
        assert_eq!(number(books, "visits", "broken_off"), 0.0, "{books}");
        assert!(number(books, "visits", "ended") > 0.0, "{books}");
        assert!(number(books, "snapshots", "received") > 0.0, "{books}");
        let delay = |cell| number(books, "snapshots", cell);
        assert!(delay("delay_p50_us") > 0.0 && delay("delay_p50_us") <= delay("delay_p99_us"), "{books}");
    }
    // A frame for each message, a handshake for each visit and a goodbye for each that has ended. Of those that were
    // cut short, one may not be in all of these books.
    let [begun, ended] = ["begun", "ended"].map(|visits| number(&frames, "visits", visits));
    let sent = |table| number(&frames, table, "sent");
    let difference = sent("exchanges") - (sent("messages") + begun + ended);
    assert!(difference.abs() <= begun - ended, "{difference}: {frames}");

    // A request for each answer, with the fields that a browser sends.
    let per_bot_s = |books, table, way: &str| number(books, table, &format!("{way}_per_bot_s"));
    assert!(
        per_bot_s(&polls, "exchanges", "sent") > 2.0 * per_bot_s(&frames, "exchanges", "sent"),
        "{polls}"
    );
    for way in ["sent", "received"] {
        assert!(per_bot_s(&polls, "bytes", way) > 1.2 * per_bot_s(&frames, "bytes", way), "{polls} {frames}");
    }
    let requests = number(&polls, "exchanges", "sent");
    assert!(number(&polls, "bytes", "sent") > 300.0 * requests, "{polls}");
}

/// A server for long polling, with one player who waits in the lobby.
fn with_longpoll() -> (Pong, LongPoll) {
    let pong = Pong::start("--transport longpoll");
    let player = LongPoll::join(pong.address, "ada");
    (pong, player)
}

/// What Ada has said, as this player hears it next.
fn lines(player: &mut LongPoll, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let message = player.next();
        let lines = message["lines"].as_array().map_or(&[][..], Vec::as_slice);
        let said_by_ada = lines.iter().filter(|line| line["from"] == "ada");
        texts.extend(said_by_ada.map(|line| line["text"].as_str().unwrap().to_owned()));
    }
    texts
}

#[test]
fn long_polling_delivers_each_line_once_and_in_order() {
    let (pong, mut ada) = with_longpoll();
    let mut bob = LongPoll::join(pong.address, "bob");
    for round in 0..12 {
        let said: Vec<_> = (0..7).map(|number| format!("line {}", round * 7 + number)).collect();
        let messages: Vec<_> = said.iter().map(|text| json!({ "type": "say", "text": text })).collect();
        ada.say(&messages);
        assert_eq!(lines(&mut ada, said.len()), said, "to the one who said it");
        // Bob loses answers: some come and are not read, some do not come any more.
        let target = bob.target(bob.since);
        bob.polls.send("GET", &target, "");
        if round % 2 == 0 {
            bob.polls.answer();
        }
        bob.polls = Http::open(pong.address);
        assert_eq!(lines(&mut bob, said.len()), said, "to the other");
    }
    pong.stop_by("-TERM");
}

#[test]
fn who_asks_for_nothing_any_more_has_left() {
    let (pong, mut ada) = with_longpoll();
    let bob = LongPoll::join(pong.address, "bob");
    ada.hear("state");
    let (session, asked) = (bob.session, Instant::now());
    drop(bob);
    let mut other = Http::open(pong.address);
    let is_here = |other: &mut Http| match other.ask("POST", &format!("/input?session={session}"), "[]") {
        (204, _) => true,
        (404, _) => false,
        answer => panic!("{answer:?}"),
    };
    assert!(is_here(&mut other), "a connection may break");
    while is_here(&mut other) {
        ada.listen();
        assert!(asked.elapsed() < Duration::from_secs(20), "Bob is still here");
    }
    while ada.hear("notices")["notices"].as_array().unwrap().iter().all(|notice| notice["won"].is_null()) {}
    let mut eve = LongPoll::join(pong.address, "eve");
    assert_eq!(eve.hear("welcome")["online"], 2, "Ada and Eve");
    assert_eq!(eve.hear("match")["opponent"], "ada", "who has lined up again");
    pong.stop_by("-TERM");
}

#[test]
fn what_is_malformed_is_refused_and_loses_nothing() {
    let (pong, mut ada) = with_longpoll();
    let mut rude = Http::open(pong.address);
    for body in ["", "{", "[]", r#"{"type":"stick","dir":1}"#, r#"{"type":"hello"}"#] {
        assert_eq!(rude.ask("POST", "/join", body).0, 400, "{body}");
    }
    for (target, status) in [
        ("/poll", 400),
        ("/poll?session=x&since=0", 400),
        ("/poll?session=18446744073709551615&since=0", 404),
        ("/", 404),
    ] {
        assert_eq!(rude.ask("GET", target, "").0, status, "{target}");
    }
    assert_eq!(rude.ask("POST", "/join", &hello("rude")).0, 200, "the connection is as good as before");

    // Of a list with one wrong message, nothing is done; and the player hears everything all the same.
    let wrong = r#"[{"type":"say","text":"never said"},{"type":"no such type"}]"#;
    for body in [wrong, "", "[", "{}", "[1]"] {
        assert_eq!(ada.input(body).0, 400, "{body}");
    }
    ada.hear("state");
    let since = ada.since;
    for wrong in [since + 100_000, u64::MAX] {
        assert_eq!(ada.poll(wrong).0, 400, "{wrong}");
    }
    ada.say(&[json!({ "type": "say", "text": "said" })]);
    assert_eq!(lines(&mut ada, 1), ["said"]);

    // Where a request ends that cannot be read is unknown: the answer comes, and then the end.
    let head = "POST /join HTTP/1.1\r\nhost: here\r\n";
    let long = "x".repeat(1 << 20);
    for bytes in [
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("{head}content-length: -1\r\n\r\n{{}}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}content-length: {}\r\n\r\n{long}", long.len()),
        format!("{head}x: {}", "x".repeat(10_000)),
    ] {
        let mut rude = Http::open(pong.address);
        rude.write(&bytes);
        let (status, answer) = rude.answer();
        assert_eq!(status, 400, "{answer}");
        assert_eq!(rude.rest(), b"", "and nothing else");
    }
    ada.hear("state");
    pong.stop_by("-TERM");
}
