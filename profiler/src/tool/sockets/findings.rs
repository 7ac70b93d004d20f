//! Findings: what was sent and received, and what is wrong with it. Every threshold is a constant here; `docs/sockets.md` gives the reasons.

mod calls;
mod states;

use std::{collections::BTreeMap, time::Duration};

use profiler_common::{
    file::socket::{DELAYED_END_NS, DELAYED_NS, Side},
    sockets::{MOST_ANSWERS, TURN_ANSWERS, TURN_ANSWERS_NS, TURNS},
};

use super::{
    lines::{Line, Lines, What},
    operations::Operation,
    rules,
    states::ByService,
};
use crate::{
    io_tools::{Label, regular},
    observe::{
        files::Files,
        io::{Alive, HeldBack, Sum},
    },
    report::{Finding, Phrase, RowRef, Severity, Unit, Value},
    text::Text,
    units,
};

/// A thread asks for one thing after another if it waits for at least this many answers in a turn on average,
const ANSWERS_PER_TURN: f64 = 10.0;
/// which take at least this long together,
const ANSWERS_NS_PER_TURN: f64 = 2e6;
/// or if there are so many that they would take long with a service that is farther away: this many,
const MANY_ANSWERS_PER_TURN: f64 = 20.0;
/// which take at least this long together.
const MANY_ANSWERS_NS_PER_TURN: f64 = 0.5e6;
/// Its turns are full of waiting if answers take at least this long in each, and at least this share of it.
const WAIT_NS_PER_TURN: f64 = 5e6;
const WAIT_SHARE: f64 = 0.2;
/// All of it in at least this many turns.
const LEAST_TURNS: u64 = 5;
/// Sends are held back if at least this many answers came after the time of a delayed acknowledgement,
const LEAST_DELAYED: u64 = 20;
/// which are at least this share of all answers to several sends in a row,
const DELAYED_SHARE: f64 = 0.3;
/// and this many for each answer that came somewhat earlier or later: otherwise the time is a coincidence.
const DELAYED_FOR_ONE_BESIDE: u64 = 2;
/// Connections are not reused if there are at least this many per second, and in all,
const RECONNECTS_PER_S: f64 = 20.0;
const LEAST_RECONNECTS: u64 = 100;
/// with at most this many answers each,
const ANSWERS_PER_CONNECTION: f64 = 2.0;
/// of which this share lives less than a second.
const SHORT_LIVED: f64 = 0.9;
/// Clients storm in if there are at least this many connections per second.
const STORM_PER_S: f64 = 100.0;

/// The function that most often does something is that of a thread which does at least this share of it.
const NEARLY_ALL: f64 = 0.9;

/// What findings are made from.
pub(super) struct Facts<'a> {
    pub(super) lines: &'a Lines,
    pub(super) sockets: &'a ByService<'a>,
    /// Names of peers.
    pub(super) files: &'a Files,
    /// Threads that have not ended.
    pub(super) alive: &'a [Alive],
    /// The row of a service.
    pub(super) row: &'a dyn Fn(&What) -> Vec<RowRef>,
    /// The row of an operation on a service, and that of the service.
    pub(super) rows: &'a dyn Fn(&What, Operation) -> Vec<RowRef>,
    /// The function that does an operation on a service most often, if that is known.
    pub(super) function: &'a dyn Fn(&What, Operation) -> Option<Text>,
    pub(super) length: Duration,
}

impl Facts<'_> {
    fn per_s(&self, count: u64) -> f64 {
        count as f64 / self.length.as_secs_f64().max(1e-9)
    }
}

/// All findings, the most important first.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = states::findings(facts);
    let in_turns = facts
        .alive
        .iter()
        .filter_map(|thread| one_after_another(facts, thread).or_else(|| waits_in_turns(facts, thread)));
    findings.extend(in_turns);
    for (what, line) in facts.lines {
        findings.extend(held_back(facts, what, line));
        findings.extend(not_reused(facts, what, line));
        findings.extend(storm(facts, what, line));
    }
    findings.extend(calls::findings(facts));
    findings.sort_by_key(|finding| finding.severity != Severity::Problem);
    findings.push(traffic(facts));
    findings
}

/// The name of a service in a sentence.
fn name(of: &What) -> Phrase {
    named(&of.service)
}

fn named(service: &Label) -> Phrase {
    match service {
        Label::Known(name) => Phrase::Name(name.clone()),
        Label::Unknown(_) => Phrase::plain("sockets that are not known"),
    }
}

/// Where a thread calls an operation on a service from, or all of them do, as the end of a sentence; only its point if that is not known.
fn called_from(facts: &Facts<'_>, what: &What, operation: Operation, thread: Option<&Text>) -> Vec<Phrase> {
    let is_known = thread.is_none_or(|thread| does_nearly_all(facts, what, operation, thread));
    match (facts.function)(what, operation).filter(|_| is_known) {
        Some(function) => {
            vec![Phrase::plain(", in "), Phrase::Name(function), Phrase::plain(".")]
        }
        None => vec![Phrase::plain(".")],
    }
}

/// Whether it is threads of this name that do an operation on a service: the stacks of all threads count together.
fn does_nearly_all(facts: &Facts<'_>, what: &What, operation: Operation, thread: &Text) -> bool {
    let Some(line) = facts.lines.get(what) else { return false };
    let own = line.threads.get(&(operation, thread.clone())).map_or(0, |sum| sum.count);
    own as f64 >= NEARLY_ALL * line.of(operation).count as f64
}

/// A thread waits for many answers in each of its turns, for one at a time.
fn one_after_another(facts: &Facts<'_>, thread: &Alive) -> Option<Finding> {
    let of = |place: usize| thread.own.get(place).copied().unwrap_or_default();
    let turns = of(TURNS);
    let per_turn = |count: u64| count as f64 / turns.max(1) as f64;
    let (answers, took_ns) = (per_turn(of(TURN_ANSWERS)), per_turn(of(TURN_ANSWERS_NS)));
    let take_long = answers >= ANSWERS_PER_TURN && took_ns >= ANSWERS_NS_PER_TURN;
    let are_many = answers >= MANY_ANSWERS_PER_TURN && took_ns >= MANY_ANSWERS_NS_PER_TURN;
    if turns < LEAST_TURNS || !(take_long || are_many) {
        return None;
    }
    let what = most_of(facts, thread, |answers| answers.count)?;
    let mut sentence = vec![
        Phrase::plain("Thread "),
        Phrase::Name(thread.name.clone()),
        Phrase::Plain(format!(
            " ({}) asks for one thing after another: {} round trips in each of its turns, {} of waiting, most of them to ",
            thread.tid,
            units::count(answers),
            units::nanos(took_ns),
        )),
        name(what),
    ];
    sentence.extend(called_from(facts, what, Operation::Send, Some(&thread.name)));
    sentence.push(Phrase::plain(" Ask for all of it at once."));
    let finding = Finding::new(rules::ROUND_TRIPS, Severity::Problem, sentence)
        .on((facts.rows)(what, Operation::Send))
        .because("turns", Unit::Count, Value::Exact(turns))
        .because("answers", Unit::Count, Value::Exact(of(TURN_ANSWERS)))
        .because("answers_ns", Unit::Nanos, Value::Exact(of(TURN_ANSWERS_NS)))
        .because("most_answers", Unit::Count, Value::Exact(of(MOST_ANSWERS)));
    Some(finding)
}

/// The service with the most of something, among the answers that threads of this name have waited for.
fn most_of<'a>(facts: &Facts<'a>, thread: &Alive, of: impl Fn(&Sum) -> u64) -> Option<&'a What> {
    let of_thread =
        |line: &Line| line.threads.get(&(Operation::TurnAround, thread.name.clone())).map_or(0, &of);
    let lines = facts.lines.iter().filter(|(what, line)| what.space == thread.space && of_thread(line) > 0);
    lines.max_by_key(|(_, line)| of_thread(line)).map(|(what, _)| what)
}

/// A thread that works in regular turns waits for answers for a large part of each.
fn waits_in_turns(facts: &Facts<'_>, thread: &Alive) -> Option<Finding> {
    let of = |place: usize| thread.own.get(place).copied().unwrap_or_default();
    let usual_ns = regular(&thread.turns, facts.length)?.usual_ns as f64;
    let turns = of(TURNS);
    let took_ns = of(TURN_ANSWERS_NS) as f64 / turns.max(1) as f64;
    if turns < LEAST_TURNS || took_ns < WAIT_NS_PER_TURN.max(WAIT_SHARE * usual_ns) {
        return None;
    }
    let what = most_of(facts, thread, |answers| answers.total_ns)?;
    let mut sentence = vec![
        Phrase::plain("Thread "),
        Phrase::Name(thread.name.clone()),
        Phrase::Plain(format!(
            " ({}) waits for answers in its turns of about {}: for {} in each turn in which it asks, most of that for ",
            thread.tid,
            units::nanos(usual_ns),
            units::nanos(took_ns),
        )),
        name(what),
    ];
    sentence.extend(called_from(facts, what, Operation::Send, Some(&thread.name)));
    sentence.push(Phrase::plain(" Let another thread ask."));
    let finding = Finding::new(rules::WAIT_IN_LOOP, Severity::Problem, sentence)
        .on((facts.rows)(what, Operation::TurnAround))
        .because("turns", Unit::Count, Value::Exact(turns))
        .because("answers", Unit::Count, Value::Exact(of(TURN_ANSWERS)))
        .because("answers_ns", Unit::Nanos, Value::Exact(of(TURN_ANSWERS_NS)))
        .because("turn_ns", Unit::Nanos, Value::known(usual_ns));
    Some(finding)
}

/// Small sends wait for the delayed acknowledgement of earlier ones.
fn held_back(facts: &Facts<'_>, what: &What, line: &Line) -> Option<Finding> {
    let HeldBack { all, delayed, beside } = line.lives.held_back;
    let share = delayed as f64 / all.max(1) as f64;
    if delayed < LEAST_DELAYED || share < DELAYED_SHARE || delayed < DELAYED_FOR_ONE_BESIDE * beside {
        return None;
    }
    let mut sentence = vec![
        Phrase::plain("Small sends on "),
        name(what),
        Phrase::Plain(format!(
            " are held back: the kernel kept a part until the peer had acknowledged the part before, and {} of {} answers to several \
             sends in a row came {} to {} later",
            units::count(delayed as f64),
            units::count(all as f64),
            units::nanos(DELAYED_NS as f64),
            units::nanos(DELAYED_END_NS as f64),
        )),
    ];
    sentence.extend(called_from(facts, what, Operation::Send, None));
    sentence.push(Phrase::plain(" Send at once what belongs together, or set TCP_NODELAY."));
    let finding = Finding::new(rules::HELD_BACK, Severity::Problem, sentence)
        .on((facts.rows)(what, Operation::Send))
        .because("delayed", Unit::Count, Value::Exact(delayed))
        .because("after_several_sends", Unit::Count, Value::Exact(all))
        .because("beside", Unit::Count, Value::Exact(beside));
    Some(finding)
}

/// Whether nearly all connections of so many that began lived less than a second. Those that are still open did not.
fn are_short_lived(line: &Line, begun: u64) -> bool {
    line.closed.short as f64 >= SHORT_LIVED * begun as f64
}

/// The target connects anew for each request.
fn not_reused(facts: &Facts<'_>, what: &What, line: &Line) -> Option<Finding> {
    let begun = line.of(Operation::Connect).begun();
    let answers = line.lives.turns as f64 / begun.max(1) as f64;
    if line.side != Some(Side::Calls)
        || line.datagrams
        || begun < LEAST_RECONNECTS
        || facts.per_s(begun) < RECONNECTS_PER_S
        || !are_short_lived(line, begun)
        || answers > ANSWERS_PER_CONNECTION
    {
        return None;
    }
    let sentence = vec![
        Phrase::plain("Connections are not reused: "),
        name(what),
        Phrase::Plain(format!(
            " gets {} new ones per second. Answers per connection: {}.",
            units::count(facts.per_s(begun)),
            units::plain(answers),
        )),
    ];
    let finding = Finding::new(rules::NOT_REUSED, Severity::Problem, sentence)
        .on((facts.row)(what))
        .because("connected", Unit::Count, Value::Exact(begun))
        .because("answers", Unit::Count, Value::Exact(line.lives.turns))
        .because("short_lived", Unit::Count, Value::Exact(line.closed.short));
    Some(finding)
}

/// Many clients connect, and soon leave again.
fn storm(facts: &Facts<'_>, what: &What, line: &Line) -> Option<Finding> {
    let accepted = line.of(Operation::Accept).done();
    if facts.per_s(accepted) < STORM_PER_S || !are_short_lived(line, accepted) {
        return None;
    }
    let life_ns = line.closed.life_ns as f64 / line.closed.whole.max(1) as f64;
    let sentence = vec![
        name(what),
        Phrase::Plain(format!(
            " accepts {} connections per second, which live {} on average.",
            units::count(facts.per_s(accepted)),
            units::nanos(life_ns),
        )),
    ];
    let finding = Finding::new(rules::STORM, Severity::Info, sentence)
        .on((facts.row)(what))
        .because("accepted", Unit::Count, Value::Exact(accepted))
        .because("short_lived", Unit::Count, Value::Exact(line.closed.short));
    Some(finding)
}

/// What was sent and received, and where most of it.
fn traffic(facts: &Facts<'_>) -> Finding {
    let sum = |of: fn(&Line) -> u64| facts.lines.values().map(of).sum::<u64>();
    let received = sum(|line| line.of(Operation::Receive).messages);
    let sent = sum(|line| line.of(Operation::Send).messages);
    let received_bytes = sum(|line| line.of(Operation::Receive).bytes);
    let sent_bytes = sum(|line| line.of(Operation::Send).bytes);
    // Processes that serve or call the same count together.
    let mut together: BTreeMap<&Label, (u64, u64, Vec<&What>)> = BTreeMap::new();
    for (what, line) in facts.lines {
        let (messages, bytes, rows) = together.entry(&what.service).or_default();
        *messages += line.messages();
        *bytes += line.bytes();
        rows.push(what);
    }
    let most = together.into_iter().max_by_key(|(_, (messages, bytes, _))| (*messages, *bytes));
    let Some((service, (messages, _, rows))) = most else {
        let words = format!("No operation on a socket ended in {}.", units::duration(facts.length));
        return Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words);
    };
    if received + sent == 0 {
        let words = format!("No message was sent or received in {}.", units::duration(facts.length));
        return Finding::new(rules::TRAFFIC, Severity::Info, vec![Phrase::Plain(words)])
            .on(rows.into_iter().flat_map(|what| (facts.row)(what)).collect());
    }
    let share = units::percent(messages as f64 / (received + sent) as f64);
    let sentence = vec![
        Phrase::Plain(format!(
            "{} receives ({}) and {} sends ({}) in {}; {share} of them on ",
            units::count(received as f64),
            units::bytes(received_bytes as f64),
            units::count(sent as f64),
            units::bytes(sent_bytes as f64),
            units::duration(facts.length),
        )),
        named(service),
        Phrase::plain("."),
    ];
    Finding::new(rules::TRAFFIC, Severity::Info, sentence)
        .on(rows.into_iter().flat_map(|what| (facts.row)(what)).collect())
        .because("received", Unit::Count, Value::Exact(received))
        .because("sent", Unit::Count, Value::Exact(sent))
        .because("received_bytes", Unit::Bytes, Value::Exact(received_bytes))
        .because("sent_bytes", Unit::Bytes, Value::Exact(sent_bytes))
}

#[cfg(test)]
mod tests;
