use super::*;

const LENGTH: Duration = Duration::from_secs(10);
const WHO: Who = Who { space: 0, tid: 7 };

/// Calls per second, each of so many nanoseconds, with the sum of their results per second.
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

/// The rules of what is said of a thread that makes these calls.
fn said(made: &[(u64, Sum)]) -> Vec<String> {
    let by = made.iter().map(|(call, sum)| ((WHO, *call), sum.clone())).collect();
    let calls: Vec<_> = made.iter().map(|(call, sum)| (*call, sum.clone(), None)).collect();
    let name = |_: Who| Some(Text::from("tick"));
    let facts = Facts { by: &by, calls: &calls, name: &name, length: LENGTH };
    findings(&facts)
        .into_iter()
        .map(|finding| finding.rule.trim_start_matches("syscalls.").to_owned())
        .collect()
}

#[test]
fn only_polls_that_do_not_wait_and_find_nothing_spin() {
    const EPOLL_WAIT: u64 = 232;
    assert_eq!(said(&[(EPOLL_WAIT, calls(5_000, 800, 10))]), ["poll_spin", "time"]);
    assert_eq!(said(&[(EPOLL_WAIT, calls(5_000, 800, 5_000))]), ["time"], "a busy server");
    assert_eq!(said(&[(EPOLL_WAIT, calls(5_000, 100_000, 10))]), ["time"], "it waits");
    assert_eq!(said(&[(EPOLL_WAIT, calls(60, 800, 0))]), ["time"], "once in a tick");
}

#[test]
fn transfers_are_tiny_by_their_mean() {
    assert_eq!(said(&[(0, calls(2_000, 500, 2_000))]), ["tiny_transfers", "time"]);
    assert_eq!(said(&[(0, calls(2_000, 500, 20_000))]), ["time"]);
    assert_eq!(said(&[(1, calls(10, 500, 10))]), ["time"], "a wake-up by a pipe now and then");
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
}

#[test]
fn sends_are_counted_by_turn() {
    const SENDTO: u64 = 44;
    let sends = || (SENDTO, calls(10_000, 3_000, 900_000));
    assert_eq!(said(&[sends(), (35, calls(60, 16_000_000, 0))]), ["unbatched_sends", "time"]);
    assert_eq!(said(&[sends(), (7, calls(9_000, 60_000, 9_000))]), ["time"], "one for each request");
}

#[test]
fn clocks_missing_files_and_syncs() {
    assert_eq!(said(&[(228, calls(3_000, 200, 0))]), ["clock_calls", "time"]);
    assert_eq!(said(&[(257, failing(calls(300, 2_000, 0), ENOENT, 290))]), ["missing_files", "time"]);
    assert_eq!(said(&[(257, failing(calls(300, 2_000, 0), ENOENT, 3))]), ["time"]);
    let sleeps = || (230, calls(60, 15_000_000, 0));
    assert_eq!(said(&[sleeps(), (74, calls(1, 90_000_000, 0))]), ["sync_in_loop", "time"]);
    assert_eq!(said(&[(74, calls(1, 90_000_000, 0))]), ["time"], "a thread for it");
}

#[test]
fn short_futex_calls_at_a_high_rate_are_a_storm() {
    assert_eq!(said(&[(FUTEX, calls(40_000, 1_000, 10_000))]), ["futex_storm", "time"]);
    assert_eq!(said(&[(FUTEX, calls(40_000, 100_000, 10_000))]), ["time"]);
    assert_eq!(said(&[(FUTEX, calls(2_000, 1_000, 10_000))]), ["time"]);
}

#[test]
fn the_documentation_names_every_rule() {
    let page = testbed::place::checkout().join("docs/syscalls.md");
    let page = std::fs::read_to_string(page).unwrap();
    for rule in rules::ALL {
        assert!(page.contains(&format!("`{rule}`")), "docs/syscalls.md does not name {rule}");
    }
}
