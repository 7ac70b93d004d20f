//! What counting operations on files and sockets costs the target.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use support::compile::Build;
use support::rounds::{assert_near, is_near, medians};
use support::turns::said_and_true;
use support::workload::Workload;

/// The programs that follow a connection through the kernel are in the price: they are as dear as those at the calls.
#[test]
fn the_reported_cost_of_sockets_is_what_the_program_loses() {
    let Some(_live) = support::live() else { return };
    let mut target = Workload::spawn(&Build::c("turns.c").build(), &["3000", "tcp"]);
    let [said, truth] =
        medians(|| said_and_true("sockets", &mut target), |[said, truth]| is_near(said, truth));
    target.quit();
    assert_near("the share", said, truth);
}
