//! Findings of calls.

use super::*;
use crate::{observe::io::TurnCounts, stats::Histogram};

/// What a thread has done with one service in the time of the observation.
fn done(operation: Operation, sum: Sum) -> Line {
    Line { threads: [((operation, Text::from("tick")), sum)].into(), ..Line::default() }
}

#[test]
fn a_thread_that_receives_nothing_all_the_time_is_found() {
    let of = |count, not_ready| {
        rules_of(done(Operation::Receive, Sum { count, not_ready, ..Sum::default() }), &[])
    };
    assert_eq!(of(11_000, 10_000), [rules::POLLS]);
    assert!(of(11_000, 9_999).is_empty(), "less than 1,000 per second");
    assert!(of(11_200, 10_000).is_empty(), "many find something");
}

/// A thread with so many turns of 50 ms, which has done all that is done here.
fn turning(turns: u32) -> Alive {
    Alive { turns: TurnCounts::NONE.and(turns, 50_000_000), operations: 100_000, ..thread(0, 0, 0) }
}

/// A burst of requests to a server that is idle otherwise: it answers each of them.
#[test]
fn up_to_two_sends_for_each_message_received_are_answers() {
    let of = |received| {
        let sum = |messages| Sum {
            count: messages,
            messages,
            bytes: 5 * messages,
            total_ns: 200_000_000,
            ..Sum::default()
        };
        let mut line = done(Operation::Send, sum(20_000));
        line.threads.insert((Operation::Receive, Text::from("tick")), sum(received));
        rules_of(line, &[turning(200)])
    };
    assert!(of(10_000).is_empty());
    assert_eq!(of(9_999), [rules::SMALL_SENDS], "it sends more than it is asked for");
}

#[test]
fn many_small_sends_in_each_turn_are_found() {
    let of = |messages, bytes, total_ns, turns| {
        let sum = Sum { count: messages, messages, bytes, total_ns, ..Sum::default() };
        rules_of(done(Operation::Send, sum), &[turning(turns)])
    };
    assert_eq!(of(20_000, 640_000, 200_000_000, 200), [rules::SMALL_SENDS]);
    assert!(of(19_999, 640_000, 200_000_000, 200).is_empty(), "fewer than 100 in a turn");
    assert!(of(20_000, 2_000_001, 200_000_000, 200).is_empty(), "they are no longer small");
    assert!(of(20_000, 640_000, 199_999_999, 200).is_empty(), "they take less than 1 ms");
    assert!(of(20_000, 640_000, 200_000_000, 20).is_empty(), "it does not work in turns");
}

/// A thread for each match, of the same name: the sends of those that have ended are not those of the living one's turns.
#[test]
fn sends_of_threads_that_have_ended_do_not_count_for_the_turns_of_others() {
    let of = |operations| {
        let sum =
            Sum { count: 20_000, messages: 20_000, bytes: 640_000, total_ns: 200_000_000, ..Sum::default() };
        rules_of(done(Operation::Send, sum), &[Alive { operations, ..turning(200) }])
    };
    assert_eq!(of(19_802), [rules::SMALL_SENDS]);
    assert!(of(19_801).is_empty(), "1 % are those of ended threads");
    assert!(of(1_000).is_empty());
}

/// Answers of this kind: so many take 100 us, and the others as long as is said.
fn answers(kind: Operation, usual: u64, late: u64, late_ns: u64) -> Vec<Finding> {
    let mut durations = Histogram::from_kernel(&[], 0, 0);
    (0..usual).for_each(|_| durations.record(100_000));
    (0..late).for_each(|_| durations.record(late_ns));
    let answers = Sum { count: usual + late, histogram: Some(durations), ..Sum::default() };
    let line = Line { operations: [(kind, answers)].into(), ..Line::default() };
    all_of(line, &[], &[])
}

#[test]
fn late_answers_of_the_target_itself_are_no_problem_by_themselves() {
    let first = &answers(Operation::Answer, 97, 3, 100_000_000)[0];
    assert_eq!((first.rule.as_ref(), first.severity), (rules::LATE_ANSWERS, Severity::Info));
}

#[test]
fn answers_that_take_far_longer_than_others_are_found() {
    let of = |usual, late, late_ns| {
        let all = answers(Operation::TurnAround, usual, late, late_ns).into_iter();
        all.map(|finding| finding.rule.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(97, 3, 100_000_000), [rules::LATE_ANSWERS]);
    assert!(of(97, 2, 100_000_000).is_empty(), "two may be chance");
    assert!(of(298, 3, 100_000_000).is_empty(), "less than one in a hundred");
    assert!(of(97, 3, 40_000_000).is_empty(), "less than 50 ms");
    assert!(of(3, 97, 100_000_000).is_empty(), "all of them are slow");
}
