//! What is said of targets that ended before the observation did: what they did is judged up to then; and of those that died
//! of it.

use super::View;
use crate::{
    observe::{how_it_ended, observation::Observation, space::Space},
    report::{Finding, Phrase, Severity},
    units,
};

/// One finding for each target that a signal killed, and for each that ended or became another program by exec while
/// something is still observed. The latter only if it was observed for at least the age asked about: of less, nothing is
/// judged.
pub(crate) fn findings<'a>(view: View<'a>) -> impl Iterator<Item = Finding> + 'a {
    let on = view.on;
    let others_go_on = on.spaces.iter().any(|space| space.ended.is_none());
    let is_said = move |space: &&Space| match space.killed_by {
        // SIGTRAP, and the end of the command, are reported elsewhere.
        Some(signal) => signal != libc::SIGTRAP && !is_command(on, space),
        None => others_go_on && (view.lasted)(space) >= view.older,
    };
    let of = move |space: &'a Space| Some((space, space.ended.as_deref()?));
    on.spaces.iter().filter(is_said).filter_map(of).map(move |(space, how)| {
        let after = units::duration((view.lasted)(space));
        let words = format!(
            " (pid {}) {} after {after}: what it {} is judged up to then.",
            space.process.pid(),
            how_it_ended(how),
            view.terms.did
        );
        let sentence = vec![Phrase::Name(space.process.name().clone()), Phrase::plain(words)];
        Finding::new(view.terms.ended, Severity::Info, sentence)
    })
}

fn is_command(on: &Observation<'_>, space: &Space) -> bool {
    on.command().is_some_and(|command| command.pid() == space.process.pid())
}

/// One finding for each target that a breakpoint has killed: nothing is more important. `rule` is that of the tool that says
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
