//! Tests of rows with several call stacks.

use super::super::{HumanOptions, human};
use crate::report::{Value, sample};

fn page(report: &crate::report::Report, verbose: bool) -> String {
    human(report, &HumanOptions { verbose, width: 120, ..HumanOptions::default() })
}

#[test]
fn a_stack_has_its_own_figures_and_the_others_are_counted() {
    let report = sample::grouped();
    let short = page(&report, false);
    // The table shows the total of the three stacks, and the heading of the stack its own figure.
    let row = short.lines().find(|line| line.contains("room::Room::tick and what it calls")).unwrap();
    assert!(row.contains("60 MiB"), "{short}");
    let block = short.split("Call stacks, innermost call first").nth(1).unwrap();
    assert!(block.contains("  LEAK  30 MiB live > 30m  room::Room::tick and what it calls\n"), "{short}");
    assert!(block.contains("      … 2 more call stacks, 30 MiB live > 30m: --verbose\n"), "{short}");
    // A site with one stack has no others.
    assert!(block.contains("  LEAK  5.0 MiB live > 30m  room::Room::tick  room.rs:43\n"), "{short}");
    assert_eq!(block.matches("more call stack").count(), 1, "{short}");
    assert!(page(&report, true).contains("      … 2 more call stacks, 30 MiB live > 30m: below\n"));
}

#[test]
fn an_unknown_value_makes_the_total_unknown() {
    let mut report = sample::grouped();
    report.sections[1].rows[2].cells[2] = Value::Unknown("no".to_owned());
    let page = page(&report, false);
    assert!(page.contains("      … 2 more call stacks: --verbose\n"), "{page}");
}

#[test]
fn no_stack_is_written_twice() {
    let report = sample::grouped();
    let long = page(&report, true);
    let blocks = long.split("Call stacks, innermost call first").skip(1);
    let written: usize = blocks.map(|block| block.matches("\n\n  LEAK  ").count()).sum();
    let leaks = report.sections.iter().flat_map(|section| &section.rows);
    let stacks: std::collections::BTreeSet<usize> = leaks.filter_map(|row| row.stack()).collect();
    assert!(stacks.len() > 1 && written == stacks.len(), "{written} of {stacks:?}: {long}");
    assert!(!long.contains("Site: "), "the place of a row in another table tells people nothing: {long}");
}
