//! The zone server as an operator meets it: it starts, ends, and its books are right; each fault changes them in its direction.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testbed::place;
use testbed::running::{Running, Stream};
use testbed::skip;
use testbed::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(60);

fn zone(flags: &str) -> Command {
    let mut command = Command::new(place::program("zone"));
    command.args(flags.split_whitespace());
    command
}

/// A server that is ready.
fn start(flags: &str) -> Workload {
    Workload::start(&mut zone(flags), PATIENCE).unwrap()
}

/// Its books, when it has ended well.
#[track_caller]
fn books_of(mut server: Workload) -> Value {
    let books = server.json(PATIENCE).unwrap();
    assert!(server.wait(PATIENCE).unwrap().unwrap().success());
    books
}

/// The books of a run of two seconds.
#[track_caller]
fn run(flags: &str) -> Value {
    books_of(start(&format!("--for 2s --autosave 500ms {flags}")))
}

/// A number of the books.
#[track_caller]
fn number(books: &Value, path: &str) -> u64 {
    let value = books.pointer(path).unwrap_or_else(|| panic!("the books have no {path}: {books}"));
    value.as_u64().unwrap_or_else(|| panic!("{path} is {value}"))
}

/// What holds whatever the flags are: both ends of each connection have counted the same.
#[track_caller]
fn assert_consistent(books: &Value) {
    let number = |path| number(books, path);
    // What the players sent was received, or the kernel dropped it and says so.
    assert_eq!(
        number("/udp/received") + number("/kernel_drops"),
        number("/bots/players/sent") - number("/bots/players/send_errors"),
        "{books}"
    );
    assert!(
        number("/bots/players/received") + number("/bots/players/lost") <= number("/udp/sent"),
        "{books}"
    );
    assert!(number("/bots/spectators/bytes") <= number("/spectators/bytes_sent"), "{books}");
    assert!(number("/players/joined") >= number("/players/left") + number("/players/timed_out"), "{books}");
    assert_eq!(number("/save/fsyncs"), 2 * number("/save/saves"), "{books}");
    assert_eq!(number("/save/renames"), number("/save/saves"), "{books}");
    assert_eq!(
        number("/save/failed") + number("/log/lines_failed") + number("/log/lines_left_out"),
        0,
        "{books}"
    );
    let commands = books.pointer("/backend/commands").unwrap().as_object().unwrap();
    let commands: u64 = commands.values().map(|count| count.as_u64().unwrap()).sum();
    assert!(number("/backend/round_trips") <= commands, "{books}");
    assert_eq!(number("/backend/errors") + number("/backend/players_not_saved"), 0, "{books}");
    assert_eq!(number("/udp/send_errors"), 0, "{books}");
}

#[test]
fn a_healthy_server_ends_by_itself_and_its_books_add_up() {
    let server = start("--for 2s --autosave 500ms");
    let world = server.told("world").unwrap();
    assert!(Path::new(&world).parent().unwrap().is_dir());
    let books = books_of(server);
    assert_consistent(&books);
    assert!(!Path::new(&world).parent().unwrap().exists(), "the temporary directory is removed");
    let number = |path| number(&books, path);
    assert!(number("/ticks/done") >= 5, "{books}");
    assert!(number("/players/joined") >= 50, "{books}");
    assert_eq!(number("/players/left"), number("/players/joined"), "{books}");
    assert_eq!(number("/bots/players/visits"), number("/players/joined"), "{books}");
    assert_eq!(
        number("/bots/players/received") + number("/bots/players/lost"),
        number("/udp/sent"),
        "{books}"
    );
    assert_eq!(number("/bots/spectators/bytes"), number("/spectators/bytes_sent"), "{books}");
    assert_eq!(number("/spectators/accepted"), 2, "{books}");
    assert_eq!(number("/kernel_drops") + number("/udp/strays") + number("/udp/receive_errors"), 0, "{books}");
    assert!(number("/save/saves") >= 2 && number("/save/saves_on_tick") == 0, "{books}");
    assert!(number("/log/appends") * 5 < number("/log/lines") && number("/log/fsyncs") == 0, "{books}");
    assert_eq!(number("/backend/round_trips_on_tick") + number("/backend/commands/get"), 0, "{books}");
    assert_eq!(number("/backend/commands/hset"), number("/players/joined"), "{books}");
    assert_eq!(number("/config/reads"), 1, "{books}");
    assert_eq!(books["planted"], Value::Array(Vec::new()));
}

#[test]
fn ends_by_signals_with_its_books() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = start("--bots 5");
        assert_eq!(server.told("pid").unwrap(), server.id().to_string());
        let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        let mut names: Vec<_> =
            tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect();
        names.sort();
        assert_eq!(names.concat(), "zone\nzone-log\nzone-save\nzone-store\nzone-tick\nzone-watch\n");
        let bots = server.told("bots pid").unwrap();
        assert_eq!(fs::read_to_string(format!("/proc/{bots}/comm")).unwrap(), "zone-bots\n");
        server.signal(signal);
        assert_consistent(&books_of(server));
        assert!(!Path::new(&format!("/proc/{bots}")).exists(), "the bots have ended");
    }
}

#[test]
fn a_saved_world_is_loaded_again_and_one_that_is_damaged_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world.db");
    let flags = format!("--for 1s --bots 3 --ground 64 --world {}", path.display());
    let first = books_of(start(&flags));
    assert_consistent(&first);
    assert!(first["loaded_tick"].is_null());
    let size = fs::metadata(&path).unwrap().len();
    assert_eq!(size * number(&first, "/save/saves"), number(&first, "/save/bytes"));
    let log = directory.path().join("events.log");
    assert_eq!(fs::metadata(&log).unwrap().len(), number(&first, "/log/bytes"));
    assert_eq!(fs::read_to_string(log).unwrap().lines().count() as u64, number(&first, "/log/lines"));

    let second = books_of(start(&flags));
    assert_eq!(number(&second, "/loaded_tick"), number(&first, "/ticks/done"));

    let mut damaged = fs::read(&path).unwrap();
    damaged[1000] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let refused = zone(&flags).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("its checksum is wrong"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), damaged, "it is left alone");
}

#[test]
fn strangers_are_counted_and_passed_over() {
    let server = start("--bots 0 --spectators 0");
    let player = UdpSocket::bind("127.0.0.1:0").unwrap();
    for nonsense in [&b""[..], b"nonsense", &[0xff; 1000], b"NZ\x02\0\x07\0\0\0\x01\x01\x01"] {
        player.send_to(nonsense, server.told("listening on").unwrap()).unwrap();
    }
    let mut spectator = TcpStream::connect(server.told("spectators on").unwrap()).unwrap();
    spectator.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    spectator.read_exact(&mut [0; 100]).unwrap();
    server.signal(Signal::TERM);
    let books = books_of(server);
    assert_eq!((number(&books, "/udp/received"), number(&books, "/udp/strays")), (4, 4));
    assert_eq!((number(&books, "/players/joined"), number(&books, "/udp/sent")), (0, 0));
    assert_eq!(
        (number(&books, "/spectators/accepted"), number(&books, "/spectators/bytes_received")),
        (1, 18)
    );
    assert!(books["bots"].is_null());
}

#[test]
fn its_parts_can_be_started_by_hand() {
    let mut backend = Running::start(&mut zone("backend"), &[Stream::Stdout]).unwrap();
    let line =
        backend.wait_for("its address", PATIENCE, |line| line.text.starts_with("backend on ")).unwrap();
    let address = line.text.strip_prefix("backend on ").unwrap();
    let server = start(&format!("--redis {address} --bots 0 --spectators 0"));
    let [players, spectators] = ["listening on", "spectators on"].map(|what| server.told(what).unwrap());
    let flags = format!("bots {players} --spectators-at {spectators} --bots 5 --spectators 1 --for 1s");
    let bots = zone(&flags).output().unwrap();
    assert!(bots.status.success(), "{}", String::from_utf8_lossy(&bots.stderr));
    let bots = String::from_utf8(bots.stdout).unwrap();
    assert!(bots.starts_with("joined 5 of 5\n"), "{bots}");
    let bots: Value = serde_json::from_str(bots.lines().last().unwrap()).unwrap();
    server.signal(Signal::TERM);
    let books = books_of(server);
    assert_eq!(number(&books, "/udp/received"), number(&bots, "/players/sent"));
    assert_eq!(number(&books, "/backend/commands/hset"), number(&books, "/players/left"));
    backend.signal(Signal::TERM);
    assert!(backend.wait(PATIENCE).unwrap().unwrap().success());
}

/// Redis counts on its own.
#[test]
fn redis_has_counted_the_same() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    let Ok(mut redis) = Running::start(&mut command, &[Stream::Stdout]) else {
        return skip::skip("redis-server is not installed");
    };
    redis.wait_for("that it is ready", PATIENCE, |line| line.text.contains("Ready to accept")).unwrap();
    let books = run(&format!("--bots 10 --redis 127.0.0.1:{port}"));
    assert_consistent(&books);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"INFO commandstats\r\nINFO stats\r\nQUIT\r\n").unwrap();
    let mut info = String::new();
    client.read_to_string(&mut info).unwrap();
    for (command, count) in books["backend"]["commands"].as_object().unwrap() {
        let line = format!("cmdstat_{command}:calls={count},");
        let is_there = info.contains(&line) || count == 0 && !info.contains(&format!("cmdstat_{command}:"));
        assert!(is_there, "no `{line}` in {info}");
    }
    assert!(number(&books, "/backend/commands/hset") >= 10, "{books}");
}

#[test]
fn autosave_on_tick_saves_on_the_tick() {
    let books = run("--autosave-on-tick");
    assert_consistent(&books);
    assert!(number(&books, "/save/saves") >= 2, "{books}");
    assert_eq!(number(&books, "/save/saves_on_tick"), number(&books, "/save/saves"), "{books}");
    assert!(books["planted"][0]["file"].as_str().unwrap().ends_with("/world.db.tmp"));
}

#[test]
fn chatty_sends_many_small_datagrams() {
    let (healthy, chatty) = (run(""), run("--chatty"));
    assert_consistent(&chatty);
    let per_player_and_turn =
        |books| number(books, "/udp/sent") as f64 / 50.0 / number(books, "/ticks/done") as f64;
    assert!(per_player_and_turn(&healthy) < 1.5, "{healthy}");
    assert!(per_player_and_turn(&chatty) > 5.0, "{chatty}");
    assert!(number(&chatty, "/udp/sent_bytes") <= 32 * number(&chatty, "/udp/sent"), "{chatty}");
}

#[test]
fn n_plus_one_asks_for_each_item() {
    let books = run("--n-plus-one --items 7");
    assert_consistent(&books);
    let gets = number(&books, "/backend/commands/get");
    assert_eq!(gets, number(&books, "/backend/round_trips_on_tick"), "{books}");
    // Each turn asks for one player, if there is one.
    let of_all_turns = 7 * number(&books, "/ticks/done");
    assert!(gets * 2 >= of_all_turns && gets <= of_all_turns && gets.is_multiple_of(7), "{books}");
    assert_eq!(number(&books, "/backend/commands/mget"), 0, "{books}");
}

#[test]
fn a_slow_reader_does_not_read() {
    let server = start("--for 2s --slow-reader");
    let peer = server.told("slow reader").unwrap();
    let books = books_of(server);
    assert_consistent(&books);
    assert_eq!(books["planted"][0]["address"], peer);
    assert_eq!(number(&books, "/spectators/accepted"), 3, "{books}");
    // Three get the same frames, and two read them.
    let (sent, read) = (number(&books, "/spectators/bytes_sent"), number(&books, "/bots/spectators/bytes"));
    assert!(read * 4 > sent && read * 5 < sent * 4, "{books}");
}

#[test]
fn a_small_receive_buffer_drops() {
    let books = run("--small-rcvbuf");
    assert_consistent(&books);
    assert_eq!(number(&books, "/udp/receive_buffer_bytes"), 2 * 4608, "{books}");
    assert!(number(&books, "/kernel_drops") > 20, "{books}");
}

#[test]
fn busy_poll_finds_nothing_again_and_again() {
    let books = run("--busy-poll");
    assert_consistent(&books);
    assert!(number(&books, "/udp/empty_receives") > 100 * number(&books, "/ticks/done"), "{books}");
}

#[test]
fn stalls_of_the_backend_reach_the_store_and_not_the_loop() {
    let books = run("--stall-io 300 --stall-every 3 --bots 4");
    assert_consistent(&books);
    assert!(number(&books, "/backend/longest_ns") >= 300_000_000, "{books}");
    assert!(number(&books, "/backend/waited_ns") >= 600_000_000, "{books}");
    assert_eq!(number(&books, "/backend/round_trips_on_tick"), 0, "{books}");
}

#[test]
fn nagle_makes_frames_late() {
    let books = run("--nagle");
    assert_consistent(&books);
    assert!(number(&books, "/spectators/writes") > number(&books, "/spectators/frames") * 3 / 2, "{books}");
    let frames = number(&books, "/bots/spectators/frames");
    assert!(frames >= 20 && number(&books, "/bots/spectators/late_frames") > frames / 2, "{books}");
}

#[test]
fn small_appends_sync_each_line() {
    let books = run("--small-appends");
    assert_consistent(&books);
    let lines = number(&books, "/log/lines");
    assert!(lines >= 100, "{books}");
    assert_eq!((number(&books, "/log/appends"), number(&books, "/log/fsyncs")), (lines, lines), "{books}");
}

#[test]
fn reread_config_reads_it_in_each_turn() {
    let books = run("--reread-config");
    assert_consistent(&books);
    assert_eq!(number(&books, "/config/reads"), 1 + number(&books, "/ticks/done"), "{books}");
}

#[test]
fn a_storm_connects_and_closes() {
    let books = run("--storm");
    assert_consistent(&books);
    let storm = number(&books, "/bots/storm_connections");
    assert!(storm >= 100, "{books}");
    assert_eq!(number(&books, "/spectators/accepted"), storm + 2, "{books}");
    assert_eq!(number(&books, "/spectators/closed"), storm + 2, "{books}");
}

/// The functions of the answers are in the program: the compiler has not put them into others.
#[test]
fn explains_what_is_planted_and_the_functions_are_there() {
    let flags = "--explain --autosave-on-tick --chatty --n-plus-one --slow-reader --small-rcvbuf --busy-poll \
                 --stall-io 9 --nagle --small-appends --reread-config --storm";
    let explained = zone(flags).output().unwrap();
    assert!(explained.status.success());
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    let planted = explained["planted"].as_array().unwrap();
    assert_eq!(planted.len(), 11);
    let program = fs::read(place::program("zone")).unwrap();
    let program = String::from_utf8_lossy(&program);
    for answer in planted.iter().chain(explained["healthy"].as_array().unwrap()) {
        let name = answer["function"].as_str().unwrap().rsplit("::").next().unwrap();
        // As it is in a mangled name: after its length.
        let mangled = format!("{}{name}", name.len());
        assert!(program.contains(&mangled), "{answer}");
    }
}
