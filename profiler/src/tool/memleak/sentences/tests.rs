//! The exact words of the sentences.

use profiler_common::memleak::counters::Counter;

use super::*;
use crate::stats::lifetimes::{
    rows::{Observed, StackRow},
    sites::Leaking,
    survivors::Kept,
    verdict::Judgement,
};

use Reason::{
    BoundedAge, FewItemHours, FewItems, GrowthUnclear, Inherited, KeptAndGrowing, ReleasedSoon, SomeStay,
    StillKeptAndGrowing, StillNone, StillReleased, StoppedGrowing, TooShort,
};

const MIB: f64 = (1 << 20) as f64;

/// A site whose blocks hold `kib` of old memory and as much that is younger.
pub(super) fn site(reason: Reason, mib_per_hour: f64, kib: u64, stacks: usize) -> JudgedSite {
    let verdict = match reason {
        KeptAndGrowing | StillKeptAndGrowing => Verdict::Leak,
        StillReleased | StoppedGrowing | StillNone => Verdict::LongLived,
        BoundedAge => Verdict::Cache,
        ReleasedSoon => Verdict::Churn,
        TooShort | FewItems | FewItemHours | SomeStay | GrowthUnclear | Inherited => Verdict::Young,
    };
    let judgement = Judgement {
        judged_after: (verdict == Verdict::Young).then(|| Duration::from_millis(14_200)),
        ..Judgement::sample(verdict, reason, mib_per_hour * MIB)
    };
    let row = StackRow { old_bytes: kib << 10, live_bytes: kib << 11, ..StackRow::default() };
    JudgedSite { row, judgement, leaking: None, stacks: (0..stacks).collect(), through: None }
}

pub(super) fn said(sites: &[JudgedSite], names: &[&str], change: impl FnOnce(&mut Facts<'_>)) -> Finding {
    said_of(&vec![(1, 1); sites.len()], sites, names, change)
}

pub(super) fn said_of(
    programs: &[(u32, u16)],
    sites: &[JudgedSite],
    names: &[&str],
    change: impl FnOnce(&mut Facts<'_>),
) -> Finding {
    let names: Vec<Option<Text>> =
        names.iter().map(|name| (!name.is_empty()).then(|| Text::from(*name))).collect();
    let rows: Vec<_> = (0..sites.len()).map(|row| Some(RowRef { section: 0, row })).collect();
    let seconds = Duration::from_secs;
    let mut facts = Facts {
        sites,
        names: &names,
        spoken: &names,
        programs,
        processes: &[],
        rows: &rows,
        stacks: 417,
        length: seconds(10),
        older: seconds(2),
        drawing: None,
    };
    change(&mut facts);
    answer(&facts)
}

/// A sampled run that has sampled enough.
fn sampled(facts: &mut Facts<'_>) {
    facts.drawing = Drawing::of(&[1_000_000; Counter::COUNT], Some(4096), 1_000);
}

#[test]
fn a_leak_is_named_with_what_was_seen_of_it_and_no_more() {
    let sites = [site(KeptAndGrowing, 11.0, 42, 2), site(ReleasedSoon, 0.0, 0, 9)];
    let finding = said(&sites, &["connect", "x"], |_| {});
    assert_eq!(
        finding.text,
        "LEAK: connect grows by ~11 MiB/h. It has freed none of what got older than 2s, in 10s of observation: \
         42 KiB, from 2 of 417 call stacks."
    );
    assert_eq!((finding.severity, finding.rows), (Severity::Problem, vec![RowRef { section: 0, row: 0 }]));
    let mut freed = site(KeptAndGrowing, 11.0, 42, 2);
    freed.judgement.hazard.releases = 3;
    assert!(
        said(&[freed], &["connect"], |_| {})
            .text
            .contains("It has freed hardly any of what got older than 2s, in")
    );
}

/// Beside a cache, the age that counts is that from which on nothing is freed.
#[test]
fn a_leak_beside_what_is_freed_names_the_age_that_counts() {
    let mut beside = site(KeptAndGrowing, 11.0, 42, 2);
    let from_units = 4_600 * 1_000_000 / profiler_common::age::UNIT_NS;
    let kept = |released_before| Some(Kept { from_units, items: 7, bytes: 9.0 * 1024.0, released_before });
    beside.judgement.kept = kept(312);
    assert_eq!(
        said(std::slice::from_ref(&beside), &["connect"], |_| {}).text,
        "LEAK: connect grows by ~11 MiB/h. It has freed none of what got older than 4.6s, in 10s of observation: \
         9.0 KiB, from 2 of 417 call stacks; 312 blocks were freed at ages between 2s and 4.6s."
    );
    beside.judgement.kept = kept(1);
    let both = [beside, site(KeptAndGrowing, 3.0, 1, 1)];
    let text = said(&both, &["connect", "push"], sampled).text;
    assert!(text.contains("older than 2s to 4.6s, in 10s of observation: ~10 KiB, from 3 of 417"), "{text}");
    assert!(text.ends_with("stacks; 1 drawn block was freed at ages between 2s and 4.6s."), "{text}");
}

#[test]
fn the_fastest_functions_are_named_once_and_the_others_counted() {
    let mut sites = vec![
        site(KeptAndGrowing, 9.0, 20, 2),
        site(KeptAndGrowing, 2.0, 8, 1),
        site(KeptAndGrowing, 1.0, 20, 1),
    ];
    assert_eq!(
        said(&sites, &["push", "connect", "connect"], sampled).text,
        "LEAK: push grows by ~9.0 MiB/h and connect by ~3.0 MiB/h. They have freed none of what got older than \
         2s, in 10s of observation: ~48 KiB, from 4 of 417 call stacks."
    );
    sites.extend([site(KeptAndGrowing, 0.5, 0, 1), site(KeptAndGrowing, 0.2, 0, 1)]);
    let text = said(&sites, &["push", "connect", "", "d", "e"], |_| {}).text;
    assert!(text.starts_with(
        "LEAK: push grows by ~9.0 MiB/h, connect by ~2.0 MiB/h, a function without a name by ~1.0 MiB/h and 2 \
         more functions. They"
    ));
}

#[test]
fn a_function_that_leaks_at_several_places_is_named_once_with_them() {
    let sites: Vec<JudgedSite> = (0..5).map(|_| site(KeptAndGrowing, 2.0, 8, 1)).collect();
    let labels = ["push  chat.c:7", "tick", "push  chat.c:9", "push  chat.c:12", "push  chat.c:31"];
    let text = said(&sites, &labels, |_| {}).text;
    assert!(
        text.starts_with(
            "LEAK: push (chat.c:7, chat.c:9, chat.c:12 and 1 more) grows by ~8.0 MiB/h and tick by ~2.0 MiB/h. \
             They"
        ),
        "{text}"
    );
}

#[test]
fn of_a_cache_with_a_leak_the_leak_counts() {
    let mut cache = site(KeptAndGrowing, 1.0, 9_000, 2);
    let row = StackRow { old_bytes: 3 << 10, ..StackRow::default() };
    cache.leaking = Some(Box::new(Leaking { row, stacks: vec![0] }));
    assert!(said(&[cache], &["get"], |_| {}).text.ends_with(": 3.0 KiB, from 1 of 417 call stacks."));
}

#[test]
fn what_is_undecided_is_said_if_it_holds_a_tenth() {
    let sites = |kib| {
        [site(StillReleased, 0.0, 900, 1), site(FewItemHours, 0.0, kib, 1), site(GrowthUnclear, 0.0, 1, 1)]
    };
    let finding = said(&sites(200), &["a", "b", "c"], |_| {});
    assert_eq!(
        finding.text,
        "Undecided: b and 1 more site hold 201 KiB of the 1.1 MiB that are older than 2s, and whether they leak \
         is not known yet: old blocks were not watched for long enough to see whether they are freed. Observe \
         for 15s: this was 10s."
    );
    assert_eq!((finding.rule.as_ref(), finding.severity), (rules::UNDECIDED, Severity::Limit));
    assert_eq!(finding.rows.iter().map(|at| at.row).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        said(&sites(80), &["a", "b", "c"], |_| {}).text,
        "No leak found: 417 call stacks looked at for 10s, age 2s. 2 sites cannot be judged yet; together they \
         hold 162 KiB of the 1.9 MiB allocated since the start and not freed."
    );
    // All that is there.
    let alone = [site(GrowthUnclear, 0.0, 8, 3), site(BoundedAge, 0.0, 0, 3)];
    assert!(said(&alone, &["", ""], |_| {}).text.starts_with(
        "Undecided: a function without a name holds 8.0 KiB older than 2s, and whether it leaks is not known yet"
    ));
    // A few blocks are not suspicion.
    assert_eq!(said(&[site(FewItems, 0.0, 8, 1)], &["a"], |_| {}).rule, rules::CLEAN);
}

#[test]
fn programs_that_a_process_was_in_turn_never_grew_at_once() {
    let sites = [8.0, 2.0, 3.0, 4.0].map(|mib| site(KeptAndGrowing, mib, 8, 1));
    let of = |programs: &[(u32, u16); 4]| said_of(programs, &sites, &["push"; 4], |_| {}).text;
    // Two sites of one program, then the same of the next.
    assert!(of(&[(7, 0), (7, 0), (7, 1), (7, 1)]).starts_with("LEAK: push grows by ~10 MiB/h."));
    assert!(of(&[(7, 0), (7, 0), (8, 1), (8, 1)]).starts_with("LEAK: push grows by ~17 MiB/h."));
}

/// A site of a program that was observed for this long.
pub(super) fn seen_for(site: JudgedSite, ms: u64, ended: bool) -> JudgedSite {
    let length_units = ms * 1_000_000 / profiler_common::age::UNIT_NS;
    let row = StackRow { observed: Some(Observed { length_units, ended }), ..site.row };
    JudgedSite { row, ..site }
}

#[test]
fn each_program_is_spoken_of_by_its_own_time() {
    let leak = || site(KeptAndGrowing, 11.0, 42, 2);
    let text = said(&[seen_for(leak(), 3_520, true)], &["connect"], |_| {}).text;
    assert!(text.contains("freed none of what got older than 2s, in 3.5s of observation: 42 KiB"), "{text}");
    let two = [leak(), seen_for(leak(), 3_520, true), seen_for(leak(), 5_010, false)];
    let text = said(&two, &["a", "b", "c"], |_| {}).text;
    assert!(
        text.contains("They have freed none of what got older than 2s, in 3.5s to 10s of observation: "),
        "{text}"
    );
    let empty = site(KeptAndGrowing, 0.0, 0, 1);
    let mut empty = seen_for(empty, 5_001, false);
    empty.row.old = 12;
    let text = said(&[empty], &["connect"], |facts| facts.older = Duration::from_secs(2)).text;
    assert!(text.starts_with("LEAK: connect grows by ~14k blocks/h."), "{text}");
}

#[test]
fn of_what_has_ended_no_more_will_be_known() {
    let ended = |reason, ms| seen_for(site(reason, 0.0, 8, 1), ms, true);
    assert_eq!(
        said(&[ended(FewItemHours, 4_010)], &["a"], |_| {}).text,
        "Undecided: a holds 8.0 KiB older than 2s, and whether it leaks is not known: old blocks were not watched \
         for long enough to see whether they are freed. Its program ended after 4s: ask about a shorter age (--older)."
    );
    let going = site(FewItemHours, 0.0, 8, 1);
    let text = said(&[ended(FewItemHours, 4_010), going], &["a", "b"], |_| {}).text;
    assert!(text.ends_with("Observe for 15s: this was 10s."), "{text}");
    // What a shell left that became the program does not matter more than that.
    let brief = |kib| seen_for(site(TooShort, 0.0, kib, 1), 20, true);
    assert_eq!(
        said(&[brief(8), site(ReleasedSoon, 0.0, 1, 1)], &["a", "b"], |_| {}).text,
        "No leak found: 417 call stacks looked at for 10s, age 2s. 1 site of a program that ended cannot be judged; it \
         holds 16 KiB of the 18 KiB allocated since the start and not freed."
    );
    assert_eq!(said(&[brief(40_000)], &["a"], |_| {}).rule, rules::UNDECIDED);
    // A target that died held all of this, in two sites; a live one holds eight times more.
    let dead = || [brief(55), brief(55)];
    assert_eq!(said(&dead(), &["a", "b"], |_| {}).rule, rules::UNDECIDED);
    let [one, two] = dead();
    let beside = [one, two, site(ReleasedSoon, 0.0, 1_000, 1)];
    assert_eq!(said(&beside, &["a", "b", "c"], |_| {}).rule, rules::CLEAN);
}

#[test]
fn lengths_are_never_the_same_words() {
    let early = |length: u64, older: u64| {
        let facts = |facts: &mut Facts<'_>| {
            facts.length = Duration::from_millis(length);
            facts.older = Duration::from_millis(older);
        };
        said(&[site(TooShort, 0.0, 0, 1)], &["a"], facts).text
    };
    assert_eq!(
        early(6_000, 8_000),
        "Too early to say: blocks of 8s can be judged once observed for 10s; this was 6s."
    );
    assert_eq!(
        early(12_400, 10_000),
        "Too early to say: blocks of 10s can be judged once observed for 13s; this was 12s."
    );
    assert_eq!(
        early(14_960, 12_000),
        "Too early to say: blocks of 12s can be judged once observed for 15s; this was 14s."
    );
    assert_eq!(
        early(300, 100),
        "Too early to say: blocks of 100ms can be judged once observed for 1s; this was 300ms."
    );
}

#[test]
fn no_advice_is_shorter_than_what_was_had() {
    let mut site = site(GrowthUnclear, 0.0, 8, 3);
    site.judgement.judged_after = Some(Duration::from_millis(897));
    let text = said(&[site], &["a"], |facts| {
        (facts.length, facts.older) = (Duration::from_millis(1_020), Duration::from_millis(700));
    })
    .text;
    assert!(text.ends_with("Observe for longer than 1s."), "{text}");
}

#[test]
fn one_site_is_singular() {
    let text = said(&[site(FewItems, 0.0, 8, 1)], &["a"], |_| {}).text;
    assert!(text.ends_with("1 site cannot be judged yet; it holds 16 KiB of the 16 KiB allocated since the start and not freed."), "{text}");
}

#[test]
fn a_drawing_of_next_to_nothing_is_undecided_whatever_it_shows() {
    let coarse = |facts: &mut Facts<'_>| {
        facts.drawing = Drawing::of(&[9_000; Counter::COUNT], Some(1 << 30), 2);
    };
    let finding = said(&[site(ReleasedSoon, 0.0, 0, 1)], &["a"], coarse);
    assert_eq!((finding.rule.as_ref(), finding.severity), (rules::UNDECIDED, Severity::Limit));
    assert!(finding.text.contains("has drawn 2 of 9.0k calls"), "{}", finding.text);
    let enough = said(&[site(ReleasedSoon, 0.0, 0, 1)], &["a"], sampled);
    assert_eq!(enough.rule, rules::CLEAN);
    assert!(
        enough.text.ends_with(" Sampled: leaks of less than ~21 MiB/h can go unseen."),
        "{}",
        enough.text
    );
}

#[test]
fn blocks_of_no_size_are_counted() {
    let mut empty = site(KeptAndGrowing, 0.0, 0, 1);
    empty.row.old = 12;
    let text = said(&[empty], &["connect"], |facts| facts.older = Duration::from_secs(4)).text;
    assert_eq!(
        text,
        "LEAK: connect grows by ~7.2k blocks/h. It has freed none of what got older than 4s, in 10s of \
         observation: 12 blocks of 0 B, from 1 of 417 call stacks."
    );
}

#[test]
fn nothing_seen_is_no_answer() {
    assert_eq!(said(&[], &[], |facts| facts.stacks = 0).text, "No allocation was seen in 10s.");
}

#[test]
fn what_tells_a_name_apart_stands_in_brackets() {
    let sites = [site(KeptAndGrowing, 3.0, 20, 1), site(KeptAndGrowing, 2.0, 8, 1)];
    let text = said(&sites, &["push  chat.c:7", "push  called by tick"], |_| {}).text;
    let expected = "LEAK: push (chat.c:7, called by tick) grows by ~5.0 MiB/h. It has";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_was_seen_for_moments_is_not_said_to_leak() {
    let brief = |facts: &mut Facts<'_>| {
        (facts.length, facts.older) = (Duration::from_millis(900), Duration::from_millis(2));
    };
    let finding = said(&[site(KeptAndGrowing, 3.0, 20, 1)], &["push  chat.c:7"], brief);
    assert_eq!((finding.rule.as_ref(), finding.severity), (rules::TOO_EARLY, Severity::Limit));
    assert_eq!(
        finding.text,
        "Too early to say: push (chat.c:7) looks like a leak, but was observed for 900ms only. Observe for longer than 1s."
    );
    // Beside one that was seen for longer, it is not named.
    let sites = [seen_for(site(KeptAndGrowing, 9.0, 20, 1), 3, false), site(KeptAndGrowing, 2.0, 8, 1)];
    let finding = said(&sites, &["tick", "push"], |_| {});
    assert!(finding.text.starts_with("LEAK: push grows by ~2.0 MiB/h. It"), "{}", finding.text);
    assert_eq!(finding.rows, [RowRef { section: 0, row: 1 }]);
}
