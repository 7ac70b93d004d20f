//! Children that have ended: they were not observed, and only their usage is known.

use std::time::Duration;

use super::View;
use crate::{
    target::family::{Used, children_do_the_work},
    units,
};

/// Ended children are mentioned only if they took more time than this, and more than their parent.
const MATTERS: Duration = Duration::from_millis(100);
/// The same if their parent was idle. Times are known to a tick of 10 ms.
const MATTERS_BESIDE_IDLE: Duration = Duration::from_millis(10);
/// User and system time are each rounded down to a tick: this much may be missing.
const CUT: Duration = Duration::from_millis(20);
/// Or if they touched this much new memory, and more than their parent. A program that starts touches half a MiB.
const TOUCHES_BYTES: u64 = 4 << 20;

/// Whether the answer may lie with the ended children, because the targets did the smaller part. `idle`: the targets were idle.
pub(super) fn may_hold_the_answer(used: &Used, idle: bool) -> bool {
    let least = if idle { MATTERS_BESIDE_IDLE } else { MATTERS };
    let worked_more = used.of_ended_children > used.cpu && used.of_ended_children >= least;
    let (own, theirs) = (used.touched_bytes, used.touched_bytes_of_ended_children);
    // A server that works and has started a few short commands does the larger part itself.
    let touched_more = theirs > own
        && theirs >= TOUCHES_BYTES
        && !children_do_the_work(used.of_ended_children + CUT, used.cpu);
    worked_more || touched_more
}

/// Whether all children that have ended were observed while they lived.
pub(super) fn were_seen(view: &View<'_>) -> bool {
    let on = view.on;
    let ground = &on.ground;
    let missed = ground.missed();
    let has_room = (missed.forks, missed.no_memory) == (0, 0);
    // Children from before the observation that have ended since were not forked during it.
    let all_forked = || !view.families.has_ended_but(|pid| view.is_observed(pid));
    let joined = |pid| on.spaces.iter().any(|space| space.process.pid() == pid && !space.refused);
    let is_seen = |number| (view.sees)(number) || joined(ground.space(number).tgid);
    on.settings.children && has_room && all_forked() && (0..ground.taken_spaces()).all(is_seen)
}

/// Says how much the ended children, which were not observed, have worked.
pub(super) fn words(used: &Used, view: &View<'_>) -> String {
    say(used, view.terms.did, view.on.settings.children)
}

/// `followed`: children are observed, but some were missed.
fn say(used: &Used, did: &str, followed: bool) -> String {
    let cpu = units::duration(used.of_ended_children);
    let touched = match used.touched_bytes_of_ended_children {
        bytes if bytes >= TOUCHES_BYTES => format!(" and touched {} of memory", units::bytes(bytes as f64)),
        _ => String::new(),
    };
    let own = match used.cpu {
        Duration::ZERO => "hardly any".to_owned(),
        cpu => units::duration(cpu),
    };
    let (they, advice) = match followed {
        false => ("they", "Observe them, too: --children. Or observe"),
        true => ("some of them", "Observe"),
    };
    format!(
        "Children of the target that have ended used {cpu} of processor time{touched}, and the target {own}: what {they} \
         {did} was not seen. {advice} each by itself: start it directly after `--`, or use --name NAME while it lives."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(own_ms: u64, theirs_ms: u64, [own_bytes, their_bytes]: [u64; 2]) -> Used {
        Used {
            cpu: Duration::from_millis(own_ms),
            of_ended_children: Duration::from_millis(theirs_ms),
            touched_bytes: own_bytes,
            touched_bytes_of_ended_children: their_bytes,
            ..Used::default()
        }
    }

    #[test]
    fn children_that_did_more_than_their_parent_hold_the_answer() {
        assert!(may_hold_the_answer(&used(20, 1200, [0, 0]), false));
        assert!(may_hold_the_answer(&used(0, 20, [0, 0]), true), "a shell that only waits");
        assert!(!may_hold_the_answer(&used(0, 0, [0, 0]), true));
        assert!(!may_hold_the_answer(&used(60, 90, [0, 0]), false), "hardly more than ticks");
        assert!(!may_hold_the_answer(&used(5000, 1200, [0, 0]), false), "the parent did more");
    }

    #[test]
    fn a_child_that_fills_memory_holds_the_answer_however_little_it_works() {
        let filled = [400 << 10, 12 << 20];
        assert!(may_hold_the_answer(&used(60, 40, filled), false));
        assert!(may_hold_the_answer(&used(60, 0, filled), false), "less than a tick");
        assert!(!may_hold_the_answer(&used(5000, 40, filled), false), "a command beside long work");
        assert!(!may_hold_the_answer(&used(60, 40, [20 << 20, 12 << 20]), false));
        assert!(!may_hold_the_answer(&used(60, 40, [0, 1 << 20]), false), "programs that only start");
    }

    #[test]
    fn their_usage_is_reported() {
        let said = say(&used(20, 1200, [0, 12 << 20]), "allocated", false);
        let start = "Children of the target that have ended used 1.2s of processor time and touched 12 MiB of memory, and the \
                     target 20ms: what they allocated was not seen.";
        assert!(said.starts_with(start), "{said}");
        assert!(said.contains("--children"), "{said}");
        let said = say(&used(0, 20, [0, 0]), "allocated", true);
        assert!(said.contains(": what some of them allocated") && !said.contains("--children"), "{said}");
        assert!(!said.contains("touched") && said.contains("and the target hardly any: "), "{said}");
    }
}
