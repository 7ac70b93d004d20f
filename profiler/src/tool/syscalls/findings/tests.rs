use profiler_common::syscalls::COMPAT;

use super::*;
use crate::tool::syscalls::kinds::FUTEX;

const EAGAIN: u64 = 11;
const ENOENT: u64 = 2;

const LENGTH: Duration = Duration::from_secs(10);
const WHO: Who = Who { space: 0, tid: 7 };

/// So many calls per second, of this length each, with this sum of results per second.
fn calls(per_s: u64, each_ns: u64, results: u64) -> Sum {
    let returned = per_s * 10;
    let mut counts = vec![0; profiler_common::histogram::BUCKETS];
    counts[profiler_common::histogram::bucket(each_ns)] = returned;
    let (total_ns, results) = (returned * each_ns, results * 10);
    Sum { returned, total_ns, max_ns: each_ns, results, counts, ..Sum::default() }
}

fn failing(mut sum: Sum, error: u64, per_s: u64) -> Sum {
    sum.errors.insert(error, per_s * 10);
    sum
}

/// The same calls, so many of which return 0 per second.
fn with_zeros(mut sum: Sum, per_s: u64) -> Sum {
    sum.zeros = per_s * 10;
    sum
}

/// The findings on threads of several address spaces that make these calls.
fn of_spaces(made: &[(u16, u64, Sum)], kernel_clocks: u64, has_datagrams: bool) -> Vec<Finding> {
    let who = |space: u16| Who { space, ..WHO };
    let by = made.iter().map(|(space, call, sum)| ((who(*space), *call), sum.clone())).collect();
    let row =
        |(row, (space, call, _)): (usize, &(u16, u64, Sum))| ((*space, *call), RowRef { section: 0, row });
    let rows = made.iter().enumerate().map(row).collect();
    let several = made.iter().any(|(space, ..)| *space != 0);
    let facts = Facts {
        by: &by,
        rows: &rows,
        kernel_clocks: &[(WHO, kernel_clocks * 10)].into(),
        name: &|_| Some(Text::from("tick")),
        pid: &|space| several.then(|| 4000 + u32::from(space)),
        has_datagrams: &|_| has_datagrams,
        asked: None,
        length: LENGTH,
    };
    findings(&facts)
}

/// The findings on threads selected by `--thread` that make these calls.
fn of_asked(made: &[(u64, Sum)], pattern: &str, names: &[&str]) -> Vec<Finding> {
    let asked = Asked {
        pattern: pattern.into(),
        is_there: names.contains(&pattern),
        names: names.iter().map(|name| Text::from(*name)).collect(),
    };
    findings(&Facts {
        by: &made.iter().map(|(call, sum)| ((WHO, *call), sum.clone())).collect(),
        rows: &BTreeMap::new(),
        kernel_clocks: &BTreeMap::new(),
        name: &|_| Some(Text::from(pattern)),
        pid: &|_| None,
        has_datagrams: &|_| true,
        asked: Some(&asked),
        length: LENGTH,
    })
}

fn rules_of(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| finding.rule.trim_start_matches("syscalls.").to_owned()).collect()
}

/// The rules of the findings on a thread that makes these calls.
fn said(made: &[(u64, Sum)]) -> Vec<String> {
    let made: Vec<_> = made.iter().map(|(call, sum)| (0, *call, sum.clone())).collect();
    rules_of(&of_spaces(&made, 0, true))
}

#[test]
fn only_polls_that_do_not_wait_and_find_nothing_spin() {
    const EPOLL_WAIT: u64 = 232;
    let spins = || with_zeros(calls(5_000, 800, 10_000), 4_800);
    assert_eq!(said(&[(EPOLL_WAIT, spins())]), ["poll_spin", "time"], "one of many finds fifty");
    assert_eq!(said(&[(COMPAT | 168, spins())]), ["poll_spin", "time"], "poll of i386");
    assert_eq!(said(&[(EPOLL_WAIT, calls(5_000, 800, 5_000))]), ["time"], "a busy server");
    assert_eq!(said(&[(EPOLL_WAIT, calls(5_000, 800, 40_000))]), ["time"], "each finds eight");
    assert_eq!(said(&[(EPOLL_WAIT, with_zeros(calls(5_000, 100_000, 10), 4_990))]), ["time"], "it waits");
    assert_eq!(said(&[(EPOLL_WAIT, with_zeros(calls(60, 800, 0), 60))]), ["time"], "once in a tick");
}

#[test]
fn transfers_are_tiny_if_their_mean_is() {
    assert_eq!(said(&[(0, calls(2_000, 500, 2_000))]), ["tiny_transfers", "time"]);
    assert_eq!(said(&[(0, calls(2_000, 500, 20_000))]), ["time"]);
    assert_eq!(said(&[(1, calls(10, 500, 10))]), ["time"], "a wake-up by a pipe now and then");
    let polls = || (232, calls(2_000, 100_000, 2_000));
    assert_eq!(said(&[(0, calls(2_000, 500, 2_000)), polls()]), ["time"], "a wake-up for each poll");
    assert_eq!(said(&[(0, calls(2_000, 400_000, 2_000))]), ["time"], "it waits in the read");
    assert_eq!(said(&[(0, calls(90_000, 500, 90_000)), polls()]), ["tiny_transfers", "time"]);
}

#[test]
fn a_call_that_nearly_always_finds_nothing_is_a_storm() {
    assert_eq!(said(&[(45, failing(calls(5_000, 400, 0), EAGAIN, 4_900))]), ["eagain_storm", "time"]);
    assert_eq!(
        said(&[(45, failing(calls(5_000, 400, 90_000), EAGAIN, 2_500))]),
        ["time"],
        "read until it is empty"
    );
    assert_eq!(said(&[(FUTEX, failing(calls(5_000, 400, 0), EAGAIN, 4_900))]), ["time"]);
    const SEMTIMEDOP: u64 = 220;
    assert_eq!(
        said(&[(SEMTIMEDOP, failing(calls(2_000, 400_000, 0), EAGAIN, 2_000))]),
        ["time"],
        "time-outs"
    );
}

#[test]
fn sends_are_counted_by_turn() {
    const SENDTO: u64 = 44;
    let sends = || (SENDTO, calls(10_000, 3_000, 900_000));
    assert_eq!(said(&[sends(), (35, calls(60, 16_000_000, 0))]), ["unbatched_sends", "time"]);
    assert_eq!(said(&[sends(), (7, calls(9_000, 60_000, 9_000))]), ["time"], "one for each request");
    let made = [(0, SENDTO, sends().1), (0, 35, calls(60, 16_000_000, 0))];
    assert_eq!(rules_of(&of_spaces(&made, 0, false)), ["time"], "to streams");
}

#[test]
fn clocks_missing_files_and_syncs() {
    assert_eq!(said(&[(228, calls(3_000, 200, 0))]), ["clock_calls", "time"]);
    let cpu_clocks = of_spaces(&[(0, 228, calls(3_000, 200, 0))], 2_990, true);
    assert_eq!(rules_of(&cpu_clocks), ["time"], "no vDSO has the clock of a thread's processor time");
    assert_eq!(said(&[(257, failing(calls(300, 2_000, 0), ENOENT, 290))]), ["missing_files", "time"]);
    assert_eq!(said(&[(257, failing(calls(300, 2_000, 0), ENOENT, 3))]), ["time"]);
    let asked_for = [(257, failing(calls(300, 2_000, 0), ENOENT, 290)), (45, calls(100, 2_000, 100))];
    assert_eq!(said(&asked_for), ["time"], "clients ask for files that a server does not have");
    let sleeps = || (230, calls(60, 15_000_000, 0));
    assert_eq!(said(&[sleeps(), (74, calls(1, 90_000_000, 0))]), ["sync_in_loop", "time"]);
    let saver = [(230, calls(10, 15_000_000, 0)), (74, calls(10, 30_000_000, 0))];
    assert_eq!(said(&saver), ["time"], "a thread that does nothing else");
    assert_eq!(said(&[(74, calls(1, 90_000_000, 0))]), ["time"], "a thread for it");
}

#[test]
fn short_futex_calls_at_a_high_rate_are_a_storm() {
    let in_vain = |per_s, each_ns| (FUTEX, with_zeros(calls(per_s, each_ns, per_s / 10), per_s * 8 / 10));
    assert_eq!(said(&[in_vain(40_000, 1_000)]), ["futex_storm", "time"]);
    assert_eq!(said(&[in_vain(40_000, 100_000)]), ["time"]);
    assert_eq!(said(&[in_vain(2_000, 1_000)]), ["time"]);
    let handed_over = |per_s: u64| (FUTEX, with_zeros(calls(per_s, 1_000, per_s / 2), per_s / 2));
    assert_eq!(said(&[handed_over(40_000)]), ["time"], "each call wakes a thread, or is woken");
    // What a Node.js server does that answers 15,000 requests a second from its thread pool.
    assert_eq!(said(&[(FUTEX, with_zeros(calls(174_000, 1_700, 73_000), 102_000))]), ["time"]);
}

#[test]
fn findings_on_selected_threads_name_the_selection() {
    let words = |found: &[Finding]| found.iter().map(|finding| finding.text.to_string()).collect::<Vec<_>>();
    let write = (1, calls(100, 2_000_000, 9_000));
    let found = of_asked(std::slice::from_ref(&write), "tick", &["tick", "main"]);
    assert!(words(&found)[0].starts_with("Threads named tick: write takes 100 % of the time"), "{found:?}");
    assert_eq!(
        words(&of_asked(&[], "tick", &["tick"])),
        ["Threads named tick: no system call returned in 10s."]
    );
    // A typo.
    let found = of_asked(&[], "tcik", &["tick", "main"]);
    assert_eq!(
        words(&found),
        ["No thread matches --thread 'tcik'. The threads are named 'main', 'tick'."],
        "in place of an answer"
    );
    assert_eq!((found[0].severity, found[0].rule.as_ref()), (Severity::Limit, rules::NOTHING_SEEN));
    let many: Vec<String> = (0..11).map(|number| format!("t{number:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(words(&of_asked(&[], "x", &many))[0].ends_with(", 't07' and 3 more names."), "{many:?}");
    assert_eq!(words(&of_asked(&[], "x", &[])), ["No thread matches --thread 'x'."]);
    let found = of_asked(&[], "x", &["", "a, b"]);
    assert_eq!(words(&found), ["No thread matches --thread 'x'. The threads are named '', 'a, b'."]);
    // Threads outside the selection wake them, or are woken by them.
    let woken = (FUTEX, with_zeros(calls(40_000, 1_000, 0), 40_000));
    assert_eq!(rules_of(&of_asked(&[woken], "tick", &["tick"])), ["time"]);
}

#[test]
fn each_process_has_its_own_sentence_and_row() {
    let storm = || with_zeros(calls(40_000, 1_000, 0), 40_000);
    let found = of_spaces(&[(0, FUTEX, storm()), (3, FUTEX, storm())], 0, true);
    let said: Vec<(String, Vec<RowRef>)> =
        found.iter().take(2).map(|finding| (finding.text.to_string(), finding.rows.clone())).collect();
    for ((words, rows), (pid, row)) in said.iter().zip([(4000, 0), (4003, 1)]) {
        assert!(words.contains(&format!("of process {pid} ")), "{words}");
        assert_eq!(rows.as_slice(), [RowRef { section: 0, row }]);
    }
    let found = of_spaces(&[(1, 230, calls(60, 9_000, 0)), (3, 0, calls(2_000, 500, 2_000))], 0, true);
    assert_eq!(found[0].rows, [RowRef { section: 0, row: 1 }], "{found:?}");
}

#[test]
fn calls_of_probes_in_the_target_are_not_its_own() {
    let (uretprobe, uprobe) = (335, 336);
    let slow = || calls(50_000, 9_000, 0);
    let found =
        of_spaces(&[(0, uretprobe, slow()), (0, uprobe, slow()), (0, 1, calls(100, 800, 0))], 0, true);
    assert!(found[0].text.contains("write takes 100 % of it"), "{}", found[0].text);
    assert!(found[0].text.ends_with("of 1.0k calls failed."), "{}", found[0].text);
    let found = of_spaces(&[(0, uretprobe, slow())], 0, true);
    assert_eq!(found[0].text, "No system call returned in 10s.");
}

#[test]
fn time_in_calls_that_are_meant_to_wait_does_not_count() {
    let words = |made: &[(u64, Sum)]| {
        let made: Vec<_> = made.iter().map(|(call, sum)| (0, *call, sum.clone())).collect();
        of_spaces(&made, 0, true).last().unwrap().text.to_string()
    };
    let works = (1, calls(100, 2_000_000, 9_000));
    let i386_poll = (COMPAT | 168, calls(60, 16_000_000, 60));
    assert!(
        words(&[works.clone(), i386_poll])
            .starts_with("write takes 100 % of the time in calls that are not meant to wait")
    );
    let accept = (43, calls(1, 900_000_000, 0));
    assert!(words(&[works.clone(), accept]).starts_with("write takes 100 %"));
    let blocked = (45, calls(1, 900_000_000, 100));
    assert!(words(&[works, blocked]).contains("meant to wait (this may include waiting for data): "));
}

#[test]
fn a_target_whose_calls_take_little_time_is_said_to_mostly_wait() {
    let made = [(0, 1, calls(100, 2_000, 9_000)), (0, 7, calls(60, 16_000_000, 0))];
    let found = of_spaces(&made, 0, true);
    let words = found.last().unwrap().text.to_string();
    assert!(
        words.starts_with("Calls that are not meant to wait take little time (<0.1 % of one thread's); "),
        "{words}"
    );
    assert!(words.contains("write takes 100 % of it: 100/s"), "{words}");
}

#[test]
fn the_documentation_names_every_rule() {
    let page = testbed::place::checkout().join("docs/syscalls.md");
    let page = std::fs::read_to_string(page).unwrap();
    for rule in rules::ALL {
        assert!(page.contains(&format!("`{rule}`")), "docs/syscalls.md does not name {rule}");
    }
}

#[test]
fn the_documentation_has_the_thresholds() {
    use super::{of_process::*, of_thread::*};
    let page = testbed::place::checkout().join("docs/syscalls.md");
    let page = std::fs::read_to_string(page).unwrap();
    let count = |count: f64| units::grouped(count as u64);
    let share = |share: f64| format!("{} %", share * 100.0);
    let time = |ns: u64| match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        _ => format!("{} ms", ns / 1_000_000),
    };
    for (rule, numbers) in [
        (rules::POLL_SPIN, vec![count(SPIN_PER_S), share(SPIN_EMPTY), share(SHORT), time(SHORT_NS)]),
        (
            rules::TINY_TRANSFERS,
            vec![count(TINY_PER_S), TINY_BYTES.to_string(), count(TINY_PER_WAIT), time(TINY_READ_NS)],
        ),
        (rules::UNBATCHED_SENDS, vec![count(SENDS_PER_S), count(SENDS_PER_TURN)]),
        (rules::EAGAIN_STORM, vec![count(EAGAIN_PER_S), share(EAGAIN_SHARE), share(SHORT), time(SHORT_NS)]),
        (rules::CLOCK_CALLS, vec![count(CLOCKS_PER_S)]),
        (
            rules::FUTEX_STORM,
            vec![count(FUTEX_PER_S), share(FUTEX_IN_VAIN), share(FUTEX_SHORT), time(FUTEX_SHORT_NS)],
        ),
        (
            rules::MISSING_FILES,
            vec![count(MISSING_PER_S), count(MISSING_LEAST as f64), MISSING_PER_RECEIVED.to_string()],
        ),
        (rules::SYNC_IN_LOOP, vec![count(REGULAR_PER_S), SLEEPS_PER_SYNC.to_string(), time(SYNC_NS)]),
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{rule}` |"))).unwrap();
        for number in numbers {
            assert!(row.contains(&number), "{rule} has {number}, the page: {row}");
        }
    }
}
