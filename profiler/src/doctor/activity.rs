//! Whether a process works itself, is stopped, or has children that do its work.

use std::time::Duration;

use super::check::{Answer, Area, Check, Need, Question};
use crate::{
    target::{
        family::{MOST_NAMED, Used, children_do_the_work, descendants, pid_options},
        process::name_of,
        status::Status,
    },
    text::Text,
    units,
};

const RUNS: Question = Question {
    name: "not_stopped",
    area: Area::Target,
    title: "not stopped",
    need: Need::Useful,
    disables: "every tool, as long as it is stopped: it does nothing",
    remedy: "let it go on; if it is traced, in the debugger",
    fix: Some("kill -CONT PID"),
};
const OWN_WORK: Question = Question {
    name: "own_work",
    area: Area::Target,
    title: "work of its own",
    need: Need::Useful,
    disables: "sight of the work: children are not observed with their parent",
    remedy: "observe the children that work",
    fix: None,
};
/// Children do the work only if they took at least this much processor time.
const LEAST: Duration = Duration::from_secs(1);

/// The checks of a process.
pub(super) fn checks(pid: u32, status: &Status) -> [Check; 2] {
    let used = |pid| Some((pid, Used::of(pid)?.cpu));
    let children: Vec<(u32, Duration)> = descendants(&[pid]).into_iter().filter_map(used).collect();
    [stopped(status.state), own_work(Used::of(pid).map(|used| used.cpu), children)]
}

fn stopped(state: Option<char>) -> Check {
    match state {
        Some('T') => RUNS.answered(Answer::No, "it is stopped by a signal"),
        Some('t') => RUNS.answered(Answer::No, "it is stopped by the process that traces it"),
        Some(_) => RUNS.answered(Answer::Yes, "it is not stopped"),
        None => RUNS.answered(Answer::CannotTell, "its status cannot be read"),
    }
}

/// `own`: its processor time; `children`: the living ones, with theirs.
fn own_work(own: Option<Duration>, mut children: Vec<(u32, Duration)>) -> Check {
    let Some(own) = own else { return OWN_WORK.answered(Answer::CannotTell, "its use cannot be read") };
    let theirs: Duration = children.iter().map(|(_, cpu)| *cpu).sum();
    let seen = format!(
        "it took {} of processor time; {} took {}",
        units::duration(own),
        units::plural(children.len(), "living child", "living children"),
        units::duration(theirs)
    );
    if theirs < LEAST || !children_do_the_work(own, theirs) {
        return OWN_WORK.answered(Answer::Yes, seen);
    }
    children.sort_by_key(|(_, cpu)| std::cmp::Reverse(*cpu));
    children.truncate(MOST_NAMED);
    let named = |(pid, _): &(u32, Duration)| {
        let name = Text::from(name_of(*pid).unwrap_or_default().as_slice()).terminal();
        format!("{name} (pid {pid})")
    };
    let names: Vec<String> = children.iter().map(named).collect();
    let pids = pid_options(children.iter().map(|(pid, _)| *pid));
    let mut check = OWN_WORK.answered(Answer::No, format!("{seen}: {}", names.join(", ")));
    check.fix = Some(format!("sudo profiler TOOL {pids}"));
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_does_nothing() {
        assert!(stopped(Some('T')).limits() && stopped(Some('t')).limits());
        assert_eq!(stopped(Some('S')).answer, Answer::Yes);
        assert_eq!(stopped(None).answer, Answer::CannotTell);
    }

    #[test]
    fn children_that_do_the_work_are_to_be_observed() {
        let own = Duration::from_millis(30);
        let second = Duration::from_secs(1);
        let check = own_work(Some(own), vec![(u32::MAX - 1, second), (u32::MAX - 2, second * 2)]);
        assert!(check.limits());
        let pids = format!("sudo profiler TOOL --pid {} --pid {}", u32::MAX - 2, u32::MAX - 1);
        assert_eq!(check.fix, Some(pids));
        for (own, theirs) in [(second, second), (own, own), (Duration::ZERO, Duration::ZERO)] {
            assert_eq!(own_work(Some(own), vec![(u32::MAX - 1, theirs)]).answer, Answer::Yes);
        }
    }
}
