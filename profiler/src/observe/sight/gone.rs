//! Findings about targets that ended before the observation did: they are judged up to then. And about targets that were killed
//! by it.

use super::View;
use crate::{
    observe::{
        how_it_ended,
        observation::Observation,
        space::{Came, Space},
    },
    report::{Finding, Phrase, Severity},
    units,
};

/// How many ended targets are named; if there are more, only their number is given.
const MOST_NAMED: usize = 3;

/// One finding for each target that a signal killed, and for each that ended or became another program by exec while something
/// else is still observed (one for all of the latter if there are many). Targets that were observed for less than the age asked
/// about are left out: nothing is judged of them. If a target that was there from the start was killed by a signal that does not ask to
/// end, that limits the answer.
pub(crate) fn findings(view: View<'_>) -> Vec<Finding> {
    let on = view.on;
    let others_go_on = on.spaces.iter().any(|space| space.ended.is_none());
    let ended = || on.spaces.iter().filter(|space| space.ended.is_some());
    // SIGTRAP, and the end of the command, are reported elsewhere.
    let was_killed = |space: &&Space| {
        space.killed_by.is_some_and(|signal| signal != libc::SIGTRAP) && !is_command(on, space)
    };
    let just_ended =
        |space: &&Space| others_go_on && space.killed_by.is_none() && (view.lasted)(space) >= view.older;
    let crashed = |space: &Space| {
        // These ask a server to end. Others mean that it crashed, or that it did not end when it was asked to.
        let was_asked = matches!(space.killed_by, Some(libc::SIGHUP | libc::SIGINT | libc::SIGTERM));
        space.seen.came == Came::First && !was_asked
    };
    let killed = |space: &Space| Finding {
        severity: if crashed(space) { Severity::Limit } else { Severity::Info },
        ..gone(view, space)
    };
    let mut findings: Vec<Finding> = ended().filter(was_killed).map(killed).collect();
    let others: Vec<&Space> = ended().filter(just_ended).collect();
    if others.len() > MOST_NAMED {
        let execed = others.iter().filter(|space| space.is_replaced()).count();
        let words = of_many(others.len() - execed, execed);
        findings.push(Finding::plain(view.terms.ended, Severity::Info, words));
    } else {
        findings.extend(others.into_iter().map(|space| gone(view, space)));
    }
    findings
}

/// The words for several targets. `execed`: how many became another program by exec; `ended`: how many ended otherwise.
fn of_many(ended: usize, execed: usize) -> String {
    let what = |number: usize, ends: &str| {
        let targets = if number == 1 { "target" } else { "targets" };
        format!("{} {targets} {ends}", units::grouped(number as u64))
    };
    let words = match (ended, execed) {
        (ended, 0) => what(ended, "ended before the observation did"),
        (0, execed) => what(execed, "became another program by exec"),
        (ended, execed) => format!(
            "{}, and {} became another program by exec",
            what(ended, "ended before the observation did"),
            units::grouped(execed as u64)
        ),
    };
    format!("{words}: each is judged up to then.")
}

fn gone(view: View<'_>, space: &Space) -> Finding {
    let after = units::duration((view.lasted)(space));
    let words = format!(
        " (pid {}) {} after {after}: what it {} is judged up to then.",
        space.process.pid(),
        how_it_ended(space.ended.as_deref().unwrap_or("ended")),
        view.terms.did
    );
    let sentence = vec![Phrase::Name(space.process.name().clone()), Phrase::plain(words)];
    Finding::new(view.terms.ended, Severity::Info, sentence)
}

fn is_command(on: &Observation<'_>, space: &Space) -> bool {
    on.command().is_some_and(|command| command.pid() == space.process.pid())
}

/// One finding for each target that a breakpoint has killed: nothing is more important. `rule` is that of the tool that reports
/// it.
pub(crate) fn killed<'a>(on: &'a Observation<'_>, rule: &'static str) -> impl Iterator<Item = Finding> + 'a {
    on.spaces
        .iter()
        .filter(|space| space.killed_by == Some(libc::SIGTRAP))
        .map(move |space| died(space, rule))
}

fn died(space: &Space, rule: &'static str) -> Finding {
    Finding::new(
        rule,
        Severity::Problem,
        vec![
            Phrase::Name(space.process.name().clone()),
            Phrase::plain(format!(
                " (pid {}) was killed by SIGTRAP (signal {}), most likely by our breakpoints: a program that copies its \
                 own code takes them along. Start it without huge pages for code, or observe it by --pid once it runs.",
                space.process.pid(),
                libc::SIGTRAP
            )),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::of_many;

    #[test]
    fn targets_that_ended_are_not_said_to_have_called_exec() {
        let ended = "302 targets ended before the observation did";
        assert_eq!(of_many(302, 0), format!("{ended}: each is judged up to then."));
        assert_eq!(
            of_many(302, 1),
            format!("{ended}, and 1 became another program by exec: each is judged up to then.")
        );
        assert_eq!(of_many(0, 4), "4 targets became another program by exec: each is judged up to then.");
    }
}
