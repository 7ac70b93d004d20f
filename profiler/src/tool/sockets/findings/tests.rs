mod of_calls;
mod of_states;

use super::*;
use crate::{
    observe::{
        io::{Lives, Sum},
        socket_state::{State, Tracked},
    },
    text::Text,
    tool::sockets::states::OfService,
};

const LENGTH: Duration = Duration::from_secs(10);
const NAME: &str = "tcp to 10.0.0.5:5432";

fn sum(count: u64) -> Sum {
    Sum { count, ..Sum::default() }
}

/// The rules that are found on one service with these threads.
fn rules_of(line: Line, alive: &[Alive]) -> Vec<String> {
    found(line, &[], alive).into_iter().map(|(rule, _)| rule).collect()
}

/// What is found on one service with these sockets and threads, without what is always said.
fn all_of(line: Line, tracked: &[&Tracked], alive: &[Alive]) -> Vec<Finding> {
    let what = What { space: 0, service: Label::Known(Text::from(NAME)) };
    let of = OfService { tracked: tracked.to_vec(), others: Vec::new() };
    let sockets = ByService::from([(what.clone(), of)]);
    let lines = Lines::from([(what, line)]);
    let files = Files::default();
    let facts = Facts {
        lines: &lines,
        sockets: &sockets,
        files: &files,
        alive,
        row: &|_| vec![RowRef { section: 0, row: 0 }],
        rows: &|_, _| vec![RowRef { section: 0, row: 0 }],
        function: &|_, _| None,
        length: LENGTH,
    };
    let mut found = findings(&facts);
    assert!(found.iter().all(|finding| rules::ALL.contains(&&*finding.rule) && !finding.rows.is_empty()));
    assert_eq!(found.pop().unwrap().rule, rules::TRAFFIC, "it comes last");
    found
}

/// The rules and sentences of them.
fn found(line: Line, tracked: &[&Tracked], alive: &[Alive]) -> Vec<(String, String)> {
    let all = all_of(line, tracked, alive).into_iter();
    all.map(|finding| (finding.rule.to_string(), finding.text)).collect()
}

/// A thread that was in so many turns, with so many answers in each, of this length.
fn thread(turns: u64, answers: u64, each_ns: u64) -> Alive {
    let mut own = [0; profiler_common::io::OWN_NUMBERS];
    own[TURNS] = turns;
    own[TURN_ANSWERS] = turns * answers;
    own[TURN_ANSWERS_NS] = turns * answers * each_ns;
    Alive {
        tid: 7,
        tgid: 7,
        space: 0,
        name: Text::from("tick"),
        calls: 0,
        operations: 0,
        walk_ns: 0,
        now: None,
        own,
        turns: crate::observe::io::TurnCounts::NONE,
    }
}

fn asked_by(thread: &str) -> Line {
    let key = (Operation::TurnAround, Text::from(thread));
    let waited = Sum { total_ns: 1_000_000, ..sum(100) };
    Line { side: Some(Side::Calls), threads: [(key, waited)].into(), ..Line::default() }
}

#[test]
fn many_round_trips_in_a_turn_are_found() {
    let of = |turns, answers, each_ns| rules_of(asked_by("tick"), &[thread(turns, answers, each_ns)]);
    assert_eq!(of(5, 10, 200_000), [rules::ROUND_TRIPS]);
    assert!(of(4, 10, 200_000).is_empty(), "too few turns to say");
    assert!(of(5, 9, 300_000).is_empty(), "few");
    assert!(of(5, 10, 190_000).is_empty(), "a cache on this machine answers fast");
    assert!(rules_of(asked_by("other"), &[thread(5, 10, 200_000)]).is_empty(), "no service is known");
    assert_eq!(
        of(5, 20, 25_000),
        [rules::ROUND_TRIPS],
        "they would take long with a service that is farther away"
    );
    assert!(of(5, 20, 24_000).is_empty() && of(5, 19, 100_000).is_empty());
}

#[test]
fn a_loop_that_waits_for_a_large_part_of_each_turn_is_found() {
    let of = |turns_of: crate::observe::io::TurnCounts, each_ns| {
        let looping = Alive { turns: turns_of, ..thread(200, 5, each_ns) };
        rules_of(asked_by("tick"), &[looping])
    };
    // 200 turns of 50 ms in 10 s, and 5 answers in each.
    let turns = || crate::observe::io::TurnCounts::NONE.and(200, 50_000_000);
    assert_eq!(of(turns(), 2_000_000), [rules::WAIT_IN_LOOP]);
    assert!(of(turns(), 1_999_000).is_empty(), "less than a fifth of a turn");
    assert!(of(crate::observe::io::TurnCounts::NONE, 8_000_000).is_empty(), "it does not work in turns");
    let short = crate::observe::io::TurnCounts::NONE.and(1_000, 10_000_000);
    assert!(of(short, 999_000).is_empty(), "less than 5 ms");
}

fn held(all: u64, delayed: u64, beside: u64) -> Line {
    let held_back = HeldBack { all, delayed, beside };
    Line { lives: Lives { held_back, ..Lives::default() }, ..Line::default() }
}

#[test]
fn answers_that_come_after_the_time_of_a_delayed_acknowledgement_are_found() {
    assert_eq!(rules_of(held(60, 20, 10), &[]), [rules::HELD_BACK]);
    assert!(rules_of(held(60, 19, 0), &[]).is_empty(), "few");
    assert!(rules_of(held(100, 29, 0), &[]).is_empty(), "most are not delayed");
    assert!(rules_of(held(60, 20, 11), &[]).is_empty(), "other times are as frequent");
}

/// Connections to a service, or from clients: how many, how many of those whose life was seen were short, and answers.
fn connections(side: Side, begun: u64, whole: u64, short: u64, answers: u64) -> Line {
    let lives = Lives { whole, short, turns: answers, life_ns: whole * 1_000_000, ..Lives::default() };
    let operation = if side == Side::Calls { Operation::Connect } else { Operation::Accept };
    Line {
        side: Some(side),
        operations: [(operation, sum(begun))].into(),
        closed: lives,
        lives,
        ..Line::default()
    }
}

#[test]
fn connections_that_are_not_reused_are_found() {
    let of =
        |begun, whole, short, answers| rules_of(connections(Side::Calls, begun, whole, short, answers), &[]);
    assert_eq!(of(200, 200, 180, 400), [rules::NOT_REUSED]);
    assert!(of(199, 199, 199, 199).is_empty(), "few per second");
    assert!(of(200, 200, 179, 200).is_empty(), "they live");
    assert!(of(300, 1, 1, 300).is_empty(), "only one of them has ended");
    assert!(of(200, 200, 200, 401).is_empty(), "they are used");
    let mut datagrams = connections(Side::Calls, 200, 200, 200, 200);
    datagrams.datagrams = true;
    assert!(rules_of(datagrams, &[]).is_empty(), "UDP has no connections");
}

#[test]
fn many_short_connections_of_clients_are_told() {
    let of = |begun, whole, short| rules_of(connections(Side::Serves, begun, whole, short, 0), &[]);
    assert_eq!(of(1_000, 1_000, 900), [rules::STORM]);
    assert!(of(999, 999, 999).is_empty() && of(1_000, 1_000, 899).is_empty());
    assert!(of(1_000, 0, 0).is_empty() && of(1_000, 3, 3).is_empty(), "nearly all are open");
}

#[test]
fn processes_that_serve_one_port_count_together() {
    let of = |space, name: &str| What { space, service: Label::Known(Text::from(name)) };
    let receives = |messages| {
        let sum = Sum { messages, ..Sum::default() };
        Line { operations: [(Operation::Receive, sum)].into(), ..Line::default() }
    };
    let lines = Lines::from([
        (of(0, "tcp :5432"), receives(30)),
        (of(1, "tcp :5432"), receives(30)),
        (of(0, "udp :53"), receives(40)),
    ]);
    let facts = Facts {
        lines: &lines,
        sockets: &ByService::default(),
        files: &Files::default(),
        alive: &[],
        row: &|what| vec![RowRef { section: 0, row: what.space.into() }],
        rows: &|_, _| Vec::new(),
        function: &|_, _| None,
        length: LENGTH,
    };
    let finding = traffic(&facts);
    assert_eq!(
        finding.text.to_string(),
        "100 receives (0 B) and 0 sends (0 B) in 10s; 60.0 % of them on tcp :5432."
    );
    assert_eq!(finding.rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 1]);
}
