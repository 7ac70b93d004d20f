//! What is said of targets that ended before the observation did: what they did is judged up to then.

use super::{
    rules,
    sentences::plain,
    session::{Session, how_it_ended},
    space::Space,
};
use crate::{
    report::{Finding, Phrase, Severity},
    units,
};

/// One finding for each target that a signal killed, and for each that ended or became another program by exec while
/// something is still observed. The latter only if it was observed for at least the age asked about: of less, nothing is
/// judged.
pub(super) fn findings<'a>(session: &'a Session<'_>) -> impl Iterator<Item = Finding> + 'a {
    let others_go_on = session.spaces.iter().any(|space| space.ended.is_none());
    let is_said = move |space: &&Space| match space.killed_by {
        // SIGTRAP, and the end of the command, are reported elsewhere.
        Some(signal) => signal != libc::SIGTRAP && !is_command(session, space),
        None => others_go_on && session.lasted(space) >= session.options.older,
    };
    let of = move |space: &'a Space| Some((space, space.ended.as_deref()?));
    session.spaces.iter().filter(is_said).filter_map(of).map(|(space, how)| {
        let after = units::duration(session.lasted(space));
        let words = format!(
            " (pid {}) {} after {after}: what it allocated is judged up to then.",
            space.process.pid(),
            how_it_ended(how)
        );
        let sentence = vec![Phrase::Name(space.process.name().clone()), plain(words)];
        Finding::new(rules::ENDED, Severity::Info, sentence)
    })
}

fn is_command(session: &Session<'_>, space: &Space) -> bool {
    session.command().is_some_and(|command| command.pid() == space.process.pid())
}
