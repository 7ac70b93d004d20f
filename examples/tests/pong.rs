//! The Pong server as a player and an operator meet it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::place;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

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

struct Player(WebSocket<TcpStream>);

impl Player {
    fn connect(pong: &Pong) -> Self {
        let stream = TcpStream::connect(pong.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(tungstenite::client(format!("ws://{}/", pong.address), stream).unwrap().0)
    }

    fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    /// The next message of this type.
    fn hear(&mut self, kind: &str) -> Value {
        loop {
            let message: Value = serde_json::from_str(self.0.read().unwrap().to_text().unwrap()).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }
}

#[test]
fn two_players_meet_play_and_talk() {
    let pong = Pong::start("--seed 3");
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| {
        let mut player = Player::connect(&pong);
        player.say(json!({ "type": "hello", "name": name }));
        player
    });
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

    bob.0.close(None).unwrap();
    bob.0.flush().unwrap();
    drop(bob);
    // The one who stays wins, whatever happened on the court before.
    while ada.hear("notices")["notices"].as_array().unwrap().iter().all(|notice| notice["won"].is_null()) {}
    pong.stop_by("-TERM");
}

#[test]
fn nonsense_costs_only_the_one_who_sends_it() {
    let pong = Pong::start("--bots 1 --session-mean 1h --pause-mean 1ms");
    let mut rude = Player::connect(&pong);
    rude.0.send(Message::text("not json")).unwrap();
    assert!(rude.0.read().is_err() || rude.0.read().is_err(), "no name, no play");

    let mut guest = Player::connect(&pong);
    guest.say(json!({ "type": "hello", "name": "g".repeat(100) }));
    guest.say(json!({ "type": "no such type" }));
    guest.0.send(Message::text("[[[[")).unwrap();
    assert_eq!(guest.hear("match")["opponent"], "bot-0000");
    let names = guest.hear("state")["players"].clone();
    assert!(names.as_array().unwrap().contains(&json!("g".repeat(24))), "{names}");
    pong.stop_by("-INT");
}

#[test]
fn ends_by_itself_with_bots_and_leaks() {
    let mut pong =
        Pong::start("--bots 6 --session-mean 100ms --chat-every 20ms --leak chat --leak sessions --for 1s");
    assert!(pong.process.wait().unwrap().success());
    assert!(pong.stdout.next().is_none(), "nothing but address and pid on stdout");
}

#[test]
fn explains_its_leaks_as_json() {
    let run =
        Command::new(place::program("pong")).args(["--explain-leaks", "--leak", "chat"]).output().unwrap();
    assert!(run.status.success());
    let explained: Value = serde_json::from_slice(&run.stdout).unwrap();
    let planted: Vec<_> =
        explained["leaks"].as_array().unwrap().iter().filter(|leak| leak["planted"] == true).collect();
    assert_eq!(planted.len(), 1);
    assert_eq!(planted[0]["functions"], json!(["ChatHistory::push"]));
}
