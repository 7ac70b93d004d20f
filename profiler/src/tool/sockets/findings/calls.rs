//! Calls that are far more than the work needs: small sends, and receives that find nothing.

use super::{Facts, called_from, name};
use crate::{
    io_tools::regular,
    observe::io::Sum,
    report::{Finding, Phrase, Severity, Unit, Value},
    text::Text,
    tool::sockets::{
        lines::{Line, What},
        operations::Operation,
        rules,
    },
    units,
};

/// A thread polls if it does at least this many receives per second that find nothing,
const EMPTY_PER_S: f64 = 1_000.0;
/// which are at least this share of its receives,
const EMPTY_SHARE: f64 = 0.9;
/// and a receive takes no longer than this on average, in nanoseconds: otherwise it waits until it times out.
const EMPTY_NS: f64 = 100e3;
/// A thread sends too small messages if there are at least this many in each of its turns,
const SENDS_PER_TURN: f64 = 100.0;
/// more than this many for each message that it receives there: otherwise they are answers,
const SENDS_PER_RECEIVE: u64 = 2;
/// with no more than this many bytes on average,
const SMALL_BYTES: f64 = 100.0;
/// which take at least this long together, in nanoseconds.
const SENDS_NS_PER_TURN: f64 = 1e6;
/// At most this share of what threads of the name did may be that of threads which have ended.
const OF_ENDED_THREADS: f64 = 0.01;
/// An answer is late if it takes at least this long, in nanoseconds,
const LATE_NS: f64 = 50e6;
/// and this many times the median.
const LATE_RATIO: f64 = 20.0;
/// Late answers are reported if there are at least this many,
const LEAST_LATE: u64 = 3;
/// and at least this share of all.
const LATE_SHARE: f64 = 0.01;

/// The findings of all services.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, line) in facts.lines {
        for ((operation, thread), sum) in &line.threads {
            match operation {
                Operation::Receive => findings.extend(polls(facts, what, thread, sum)),
                Operation::Send if !are_answers(line, thread, sum) => {
                    findings.extend(small_sends(facts, what, thread, sum));
                }
                _ => {}
            }
        }
        // A target may let its clients wait for news: that is no fault by itself.
        let kinds = [(Operation::TurnAround, Severity::Problem), (Operation::Answer, Severity::Info)];
        findings.extend(kinds.into_iter().filter_map(|kind| late_answers(facts, what, line, kind)));
    }
    findings
}

/// A thread asks a socket again and again whether there is something.
fn polls(facts: &Facts<'_>, what: &What, thread: &Text, sum: &Sum) -> Option<Finding> {
    let share = sum.not_ready as f64 / sum.count.max(1) as f64;
    let took_ns = sum.total_ns as f64 / sum.count.max(1) as f64;
    if facts.per_s(sum.not_ready) < EMPTY_PER_S || share < EMPTY_SHARE || took_ns > EMPTY_NS {
        return None;
    }
    let mut sentence = vec![
        Phrase::plain("Thread "),
        Phrase::Name(thread.clone()),
        Phrase::plain(" asks "),
        name(what),
        Phrase::Plain(format!(
            " without a pause: {} receives per second, {} of which find nothing",
            units::count(facts.per_s(sum.count)),
            units::percent(share)
        )),
    ];
    sentence.extend(called_from(facts, what, Operation::Receive, Some(thread)));
    sentence.push(Phrase::plain(" Let it wait (epoll, poll) until there is something."));
    let finding = Finding::new(rules::POLLS, Severity::Problem, sentence)
        .on((facts.rows)(what, Operation::Receive))
        .because("receives", Unit::Count, Value::Exact(sum.count))
        .because("not_ready", Unit::Count, Value::Exact(sum.not_ready));
    Some(finding)
}

/// Whether a thread sends at most [`SENDS_PER_RECEIVE`] messages for each that it receives: these are answers, and there is nothing to put together.
fn are_answers(line: &Line, thread: &Text, sent: &Sum) -> bool {
    let received = line.threads.get(&(Operation::Receive, thread.clone()));
    received.is_some_and(|received| sent.messages <= SENDS_PER_RECEIVE * received.messages)
}

/// A thread sends many small messages in each of its turns.
fn small_sends(facts: &Facts<'_>, what: &What, thread: &Text, sum: &Sum) -> Option<Finding> {
    // The sums are over all threads of the name, so all of them must work in turns.
    let threads = || facts.alive.iter().filter(|of| of.space == what.space && of.name == *thread);
    let turns = threads().map(|of| regular(&of.turns, facts.length));
    let turns: u64 = turns.map(|turns| turns.map(|turns| u64::from(turns.count))).sum::<Option<u64>>()?;
    if turns == 0 {
        return None;
    }
    let per_turn = |count: u64| count as f64 / turns as f64;
    let (sends, took_ns) = (per_turn(sum.messages), per_turn(sum.total_ns));
    let bytes = sum.bytes as f64 / sum.messages.max(1) as f64;
    if sends < SENDS_PER_TURN || bytes > SMALL_BYTES || took_ns < SENDS_NS_PER_TURN {
        return None;
    }
    // Threads that have ended had turns, too, which nobody knows any more.
    let living: u64 = threads().map(|of| of.operations).sum();
    if operations_of(facts, what.space, thread) as f64 > (1.0 + OF_ENDED_THREADS) * living as f64 {
        return None;
    }
    let mut sentence = vec![
        Phrase::plain("Thread "),
        Phrase::Name(thread.clone()),
        Phrase::Plain(format!(
            " sends {} small messages ({} on average) in each of its turns, which takes {}, on ",
            units::count(sends),
            units::bytes(bytes.round()),
            units::nanos(took_ns)
        )),
        name(what),
    ];
    sentence.extend(called_from(facts, what, Operation::Send, Some(thread)));
    sentence.push(Phrase::plain(" Send at once what goes to the same peer."));
    let finding = Finding::new(rules::SMALL_SENDS, Severity::Problem, sentence)
        .on((facts.rows)(what, Operation::Send))
        .because("turns", Unit::Count, Value::Exact(turns))
        .because("sent", Unit::Count, Value::Exact(sum.messages))
        .because("sent_bytes", Unit::Bytes, Value::Exact(sum.bytes))
        .because("sends_ns", Unit::Nanos, Value::Exact(sum.total_ns));
    Some(finding)
}

/// How often threads of a name, living and ended ones, did something with any service.
fn operations_of(facts: &Facts<'_>, space: u16, thread: &Text) -> u64 {
    let lines = facts.lines.iter().filter(|(what, _)| what.space == space);
    let sums = lines.flat_map(|(_, line)| &line.threads);
    let of = sums.filter(|((operation, name), _)| !operation.is_between() && name == thread);
    of.map(|(_, sum)| sum.count).sum()
}

/// Some answers take far longer than others: those of a service that is called, or those that the target gives.
fn late_answers(
    facts: &Facts<'_>,
    what: &What,
    line: &Line,
    (kind, severity): (Operation, Severity),
) -> Option<Finding> {
    let answers = line.of(kind);
    let durations = answers.durations()?;
    let usual_ns = durations.quantile(0.5)?.middle();
    let late_ns = LATE_NS.max(LATE_RATIO * usual_ns);
    let late = durations.at_least(late_ns as u64);
    let share = late as f64 / answers.count.max(1) as f64;
    if late < LEAST_LATE || share < LATE_SHARE {
        return None;
    }
    let thread = line.threads.iter().filter(|((operation, _), _)| *operation == kind);
    let thread = thread.max_by_key(|(_, sum)| sum.total_ns);
    let mut sentence = vec![
        Phrase::plain("Some answers of "),
        name(what),
        Phrase::Plain(format!(
            " take far longer than others: {} of {} take {} or more, half of all at most about {}",
            units::count(late as f64),
            units::count(answers.count as f64),
            units::nanos(late_ns),
            units::nanos(usual_ns)
        )),
    ];
    match thread {
        Some(((_, thread), sum)) => sentence.extend([
            // Those of several connections may be under way at the same time.
            Phrase::plain(match kind {
                Operation::Answer => ". Added up, those of thread ",
                _ => ". Added up, those for thread ",
            }),
            Phrase::Name(thread.clone()),
            Phrase::Plain(format!(" took {}.", units::nanos(sum.total_ns as f64))),
        ]),
        None => sentence.push(Phrase::plain(".")),
    }
    let finding = Finding::new(rules::LATE_ANSWERS, severity, sentence)
        .on((facts.rows)(what, kind))
        .because("late", Unit::Count, Value::Exact(late))
        .because("answers", Unit::Count, Value::Exact(answers.count))
        .because("answers_ns", Unit::Nanos, Value::Exact(answers.total_ns))
        .because("answer_max_ns", Unit::Nanos, Value::Exact(answers.max_ns));
    Some(finding)
}
