//! Stacks at allocations, compared with those of another unwinder in the program itself: all of them, by raw addresses.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use support::account;
use support::chains::{assert_same_stacks, raw, witnessed};
use support::compile::Build;
use support::observer::Observer;
use support::workload::Workload;

/// 10^5 allocations along random chains through callbacks, `std::function`, virtual functions, exceptions and recursion.
#[test]
fn a_hundred_thousand_stacks() {
    const ALLOCATIONS: u64 = 100_000;
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let program = Build::cpp("unwinding/oracle.cpp").flags(&["-fomit-frame-pointer"]).build();
    let mut target = Workload::spawn(&program, &[&seen]);
    let observer = Observer::attach("memleak", target.pid(), &[]);
    target.say("go");
    target.books();
    let report = observer.interrupt().report(0);
    target.quit();
    account::assert_nothing_lost(&report);
    let witnessed = witnessed(&std::fs::read_to_string(&seen).unwrap());
    assert_eq!(witnessed.values().sum::<u64>(), ALLOCATIONS);
    assert!(witnessed.len() > 1000, "only {} different stacks", witnessed.len());
    assert_same_stacks(&raw(&report, "take"), &witnessed);
    println!("{ALLOCATIONS} stacks, {} different ones: equal", witnessed.len());
}
