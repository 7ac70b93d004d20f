//! Findings from facts that are made up: each fault, and what looks like it and is none.

use profiler_common::io::OWN_NUMBERS;

use super::thresholds::{STALL_NS, STALL_SHARE, STUCK_FOR};
use super::*;
use crate::observe::io::{Moment, TurnCounts};

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// Nothing waits for anything but its file.
static NONE: BTreeSet<What> = BTreeSet::new();

fn what(file: &str, operation: Operation) -> What {
    What { space: 0, file: Label::Known(Text::from(file)), operation }
}

fn line(count: u64, bytes: u64, each_ns: u64) -> Line {
    let mut line = Line::default();
    (line.sum.count, line.sum.bytes) = (count, bytes);
    (line.sum.total_ns, line.sum.max_ns) = (count * each_ns, each_ns);
    line
}

/// A line with slow operations of thread 7 at these times.
fn slow(times_ns: impl Iterator<Item = u64>, duration_ns: u64) -> Line {
    let slow: Vec<Moment> = times_ns
        .map(|start_ns| Moment { start_ns, duration_ns, tid: 7, stack: 5, waits: true, is_fetched: false })
        .collect();
    Line { slow: slow.clone(), ..line(slow.len() as u64, 0, duration_ns) }
}

/// A thread that works in turns of 50 ms, for as many seconds.
fn in_turns(seconds: u32) -> Alive {
    Alive {
        tid: 7,
        tgid: 7,
        space: 0,
        name: Text::from("tick"),
        calls: 0,
        operations: 0,
        walk_ns: 0,
        now: None,
        own: [0; OWN_NUMBERS],
        turns: TurnCounts::NONE.and(20 * seconds, 50 * MS),
    }
}

/// The findings after an observation of a minute.
fn found(lines: &Lines, alive: &[Alive]) -> Vec<Finding> {
    findings(&Facts {
        lines,
        row: &|_| Vec::new(),
        caller: &|stack| stack.map(|number| Text::from(if number == 5 { "world::save" } else { "other" })),
        label: &|_| Label::Known(Text::from("/srv/world.db")),
        alive,
        span_ns: (S, 61 * S),
        before: &[],
        waits_elsewhere: &|_| false,
        elsewhere: &NONE,
        misses_slow: false,
    })
}

fn rules_of(lines: &Lines, alive: &[Alive]) -> Vec<String> {
    found(lines, alive).iter().map(|finding| finding.rule.to_string()).collect()
}

#[test]
fn a_sync_on_a_thread_that_works_in_turns_is_a_stall() {
    let every = |step_ms: u64| slow((0..12).map(move |beat| 2 * S + beat * step_ms * MS), 90 * MS);
    let of = |operation, line: Line| Lines::from([(what("/srv/world.db", operation), line)]);
    let periodic = found(&of(Operation::Fsync, every(5_000)), &[in_turns(60)]);
    assert_eq!(periodic[0].rule, rules::PERIODIC_STALL);
    assert!(
        periodic[0].text.starts_with("STALL: every 5.0 s thread tick, which works in turns of about 50 ms, waits 90 ms in fsync of /srv/world.db, called by world::save; "),
        "{}",
        periodic[0].text
    );
    let at = [2, 3, 11, 19, 20, 21, 48];
    let irregular = of(Operation::Fsync, slow(at.into_iter().map(|second| second * S), 90 * MS));
    assert_eq!(rules_of(&irregular, &[in_turns(60)]), [rules::WAIT_IN_LOOP, rules::TIME]);
    let of_pipes = BTreeSet::from([what("/srv/world.db", Operation::Fsync)]);
    let facts = Facts {
        lines: &irregular,
        row: &|_| Vec::new(),
        caller: &|_| None,
        label: &|_| Label::Known(Text::from("")),
        alive: &[in_turns(60)],
        span_ns: (S, 61 * S),
        before: &[],
        waits_elsewhere: &|_| false,
        elsewhere: &NONE,
        misses_slow: true,
    };
    let elsewhere = Facts { elsewhere: &of_pipes, ..facts };
    assert_eq!(findings(&elsewhere)[0].rule, rules::TIME, "it waits for something else");
    let facts = Facts { elsewhere: &NONE, ..elsewhere };
    let finding = &findings(&facts)[0];
    assert!(finding.text.starts_with("STALL: at least 7 times thread tick"), "{}", finding.text);
    assert_eq!(finding.evidence[0].value, Value::Estimate { value: 7.0, low: 7.0, high: None });
    // Another thread saves, or it takes no time, or it is no wait for a disk.
    let other = Alive { tid: 8, ..in_turns(60) };
    assert_eq!(rules_of(&of(Operation::Fsync, every(5_000)), &[other]), [rules::TIME]);
    let idle = Alive { turns: TurnCounts::NONE, ..in_turns(60) };
    let saver = found(&of(Operation::Fsync, every(5_000)), &[idle]);
    assert_eq!((saver[0].rule.as_ref(), saver[0].severity), (rules::PERIODIC, Severity::Info));
    let text = &saver[0].text;
    assert!(
        text.starts_with("Every 5.0 s thread tick waits 90 ms in fsync of /srv/world.db, called by"),
        "{text}"
    );
    assert_eq!(rules_of(&of(Operation::Stat, every(5_000)), &[in_turns(60)]), [rules::TIME]);
    let fast = slow((0..12).map(|beat| beat * 5 * S), STALL_NS - 1);
    assert_eq!(rules_of(&of(Operation::Fsync, fast), &[in_turns(60)]), [rules::TIME]);
    // What is read from memory is no wait for a disk.
    assert_eq!(rules_of(&of(Operation::Read, every(5_000)), &[in_turns(60)]), [rules::TIME]);
    let mut once = every(5_000);
    once.sum.from_device = 1;
    assert_eq!(rules_of(&of(Operation::Read, once), &[in_turns(60)]), [rules::TIME], "others were fetched");
    let mut fetched = every(5_000);
    fetched.slow.iter_mut().for_each(|moment| moment.is_fetched = true);
    assert_eq!(rules_of(&of(Operation::Read, fetched), &[in_turns(60)])[0], rules::PERIODIC_STALL);
}

#[test]
fn a_sync_after_each_small_write_is_write_amplification() {
    let of = |writes, bytes, syncs| {
        let lines = Lines::from([
            (what("log", Operation::Write), line(writes, bytes, 10_000)),
            (what("log", Operation::Fdatasync), line(syncs, 0, MS)),
        ]);
        rules_of(&lines, &[])
    };
    assert_eq!(of(600, 60_000, 600), [rules::SMALL_SYNCED_WRITES, rules::TIME]);
    assert_eq!(of(600, 600 * 8_192, 600), [rules::TIME], "whole pages");
    assert_eq!(of(6_000, 600_000, 600), [rules::TIME], "ten writes for each sync");
    assert_eq!(of(60, 6_000, 60), [rules::TIME], "one a second");
}

/// Files without a name may be thousands: what was done to all of them was not done to one.
#[test]
fn files_without_a_name_are_not_taken_for_one() {
    let unknown = |operation| What { file: Label::Unknown("too many".to_owned()), ..what("", operation) };
    let lines = Lines::from([
        (unknown(Operation::Write), line(600, 60_000, 10_000)),
        (unknown(Operation::Fdatasync), line(600, 0, MS)),
        (unknown(Operation::Open), line(1_200, 0, 10_000)),
        (unknown(Operation::Read), line(2_400, 240_000, 10_000)),
    ]);
    assert_eq!(rules_of(&lines, &[in_turns(60)]), [rules::TIME]);
}

#[test]
fn a_stall_has_the_caller_of_its_own_thread() {
    let mut both = slow((0..12).map(|beat| beat * 5 * S), 90 * MS);
    let of_other = Moment { tid: 8, stack: 6, duration_ns: 900 * MS, ..both.slow[0] };
    both.slow.extend([of_other; 20]);
    both.stack = Some(6);
    let lines = Lines::from([(what("/srv/world.db", Operation::Fsync), both)]);
    let text = found(&lines, &[in_turns(60)])[0].text.clone();
    assert!(text.contains("waits 90 ms in fsync of /srv/world.db, called by world::save"), "{text}");
}

#[test]
fn a_file_that_is_opened_and_read_again_and_again_is_named() {
    let by_thread = |thread: &str, file, opens, reads, writes| {
        let by = |thread: &str, line: Line| Line {
            threads: [(Text::from(thread), line.sum.clone())].into(),
            ..line
        };
        let mut lines = Lines::from([
            (what(file, Operation::Open), by(thread, line(opens, 0, 10_000))),
            (what(file, Operation::Read), line(reads, reads * 100, 10_000)),
        ]);
        if writes > 0 {
            lines.insert(what(file, Operation::Write), line(writes, 1, 10_000));
        }
        rules_of(&lines, &[in_turns(60)])
    };
    let of = |file, opens, reads, writes| by_thread("tick", file, opens, reads, writes);
    assert_eq!(
        by_thread("worker", "/srv/map", 1_200, 2_400, 0),
        [rules::TIME, rules::REREAD],
        "it may be asked for it each time"
    );
    assert_eq!(of("/srv/config", 1_200, 2_400, 0), [rules::REREAD, rules::TIME]);
    assert_eq!(of("/srv/config", 60, 120, 0), [rules::TIME], "once a second");
    assert_eq!(of("/srv/log", 1_200, 2_400, 9), [rules::TIME], "it is written, too");
    let replaced = |is_several| {
        let opened = Line { is_several, ..line(1_200, 0, 10_000) };
        let lines = Lines::from([
            (what("/srv/state", Operation::Open), opened),
            (what("/srv/state", Operation::Read), line(2_400, 100, 10_000)),
        ]);
        rules_of(&lines, &[])
    };
    assert_eq!(replaced(false), [rules::TIME, rules::REREAD]);
    assert_eq!(replaced(true), [rules::TIME], "another file was renamed to it");
    assert_eq!(of("/proc/self/stat", 1_200, 2_400, 0), [rules::TIME], "it changes by itself");
    assert_eq!(
        of("/dev/shm/state", 1_200, 2_400, 0),
        [rules::TIME],
        "other processes write to the same memory"
    );
}

#[test]
fn errors_and_operations_without_an_end_are_said() {
    let mut failed = line(5, 0, 10_000);
    (failed.sum.without_space, failed.sum.io_errors) = (3, 1);
    let lines = Lines::from([(what("/srv/world.db", Operation::Write), failed)]);
    let stuck = Alive { now: Some((Operation::Fsync.number(), 1, 50 * S)), ..in_turns(60) };
    let of_kernel = |_| Label::Known(Text::from("/proc/kmsg"));
    let facts = |label| Facts {
        lines: &lines,
        row: &|_| Vec::new(),
        caller: &|_| None,
        label,
        alive: std::slice::from_ref(&stuck),
        span_ns: (S, 61 * S),
        before: &[],
        waits_elsewhere: &|_| false,
        elsewhere: &NONE,
        misses_slow: false,
    };
    assert!(trouble::stuck(&facts(&of_kernel)).is_empty(), "it waits for the kernel to say something");
    let of_file = |_| Label::Known(Text::from("/srv/world.db"));
    let elsewhere = Facts { waits_elsewhere: &|tid| tid == stuck.tid, ..facts(&of_file) };
    assert!(trouble::stuck(&elsewhere).is_empty(), "it waits for its pipe");
    let found = found(&lines, std::slice::from_ref(&stuck));
    let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!(
        texts[..3],
        [
            "A device reported errors (EIO): write of /srv/world.db failed 1 time.",
            "No space is left (ENOSPC), or in a quota (EDQUOT): write of /srv/world.db failed 3 times.",
            "STUCK: thread tick has been in fsync of /srv/world.db for 11s.",
        ]
    );
}

/// Reading `/proc/PID/mem` at an address that is not mapped fails with `EIO`.
#[test]
fn errors_of_files_of_the_kernel_are_no_errors_of_devices() {
    let failed = |io_errors: u64| {
        let mut failed = line(5, 0, 10_000);
        failed.sum.io_errors = io_errors;
        failed
    };
    let of_kernel = (what("/proc/7/mem", Operation::Read), failed(9));
    assert_eq!(rules_of(&Lines::from([of_kernel.clone()]), &[])[0], rules::TIME);
    let lines = Lines::from([of_kernel, (what("/dev/sdb", Operation::Write), failed(4))]);
    let first = &found(&lines, &[])[0];
    assert_eq!(first.text, "A device reported errors (EIO): write of /dev/sdb failed 4 times.");
    assert_eq!(first.evidence[0].value, Value::Exact(4));
}

#[test]
fn nothing_is_said_of_nothing() {
    assert_eq!(rules_of(&Lines::new(), &[in_turns(60)]), [rules::NOTHING_SEEN]);
}

#[test]
fn the_documentation_has_every_rule_and_threshold() {
    let page = testbed::place::checkout().join("docs/disk.md");
    let page = std::fs::read_to_string(page).unwrap();
    for rule in rules::ALL {
        let short = rule.strip_prefix("disk.").unwrap();
        assert!(
            page.contains(&format!("`{rule}`")) || page.contains(&format!("`{short}`")),
            "docs/disk.md does not name {rule}"
        );
    }
    let row = |rule: &str| page.lines().find(|line| line.starts_with(&format!("| `{rule}`"))).unwrap();
    for (rule, words) in [
        (
            rules::WAIT_IN_LOOP,
            vec![format!("{} ms", STALL_NS / MS), format!("{} % of a turn", STALL_SHARE * 100.0)],
        ),
        (rules::STUCK, vec![format!("{} s", STUCK_FOR.as_secs())]),
        (
            rules::SMALL_SYNCED_WRITES,
            vec![
                format!("{LEAST_SMALL} syncs"),
                format!("{SMALL_PER_S} per second"),
                format!("{WRITES_PER_SYNC} writes"),
                format!("{} KiB", SMALL_BYTES / 1024.0),
            ],
        ),
        (rules::REREAD, vec![format!("{LEAST_OPENS} times"), format!("{OPENS_PER_S} per second")]),
    ] {
        for word in words {
            assert!(row(rule).contains(&word), "docs/disk.md does not have {word} for {rule}");
        }
    }
}

#[test]
fn processes_that_write_to_one_file_count_together() {
    let of = |space, file: &str| What { space, ..what(file, Operation::Write) };
    let lines = Lines::from([
        (of(0, "/srv/wal"), line(10, 0, 30 * MS)),
        (of(1, "/srv/wal"), line(10, 0, 30 * MS)),
        (of(0, "/srv/log"), line(10, 0, 40 * MS)),
    ]);
    let text = found(&lines, &[])[0].text.to_string();
    assert_eq!(
        text,
        "30 operations on files took 1.0 s (1.7 % of one thread's time); 60.0 % of it is write of /srv/wal."
    );
}
