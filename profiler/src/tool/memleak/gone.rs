//! What is said of targets that ended before the observation did: what they did is judged up to then.

use std::time::Duration;

use super::{rules, sentences::plain, session::Session};
use crate::{
    observe::{how_it_ended, space::Space},
    report::{Finding, Phrase, Severity},
    stats::lifetimes::lately::Released,
    units,
};

/// One finding for each target that a signal killed, and for each that ended or became another program by exec while
/// something is still observed. The latter only if it was observed for at least the age asked about: of less, nothing is
/// judged.
pub(super) fn findings<'a>(session: Session<'a>) -> impl Iterator<Item = Finding> + 'a {
    let others_go_on = session.on.spaces.iter().any(|space| space.ended.is_none());
    let is_said = move |space: &&Space| match space.killed_by {
        // SIGTRAP, and the end of the command, are reported elsewhere.
        Some(signal) => signal != libc::SIGTRAP && !is_command(session, space),
        None => others_go_on && session.lasted(space) >= session.tool.options.older,
    };
    let of = move |space: &'a Space| Some((space, space.ended.as_deref()?));
    session.on.spaces.iter().filter(is_said).filter_map(of).map(move |(space, how)| {
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

/// One finding for each target that freed most of what was old as it ended.
pub(super) fn freed<'a>(session: Session<'a>) -> impl Iterator<Item = Finding> + 'a {
    let estimated = session.tool.options.sample_bytes.is_some();
    let of = move |space: &'a Space| Some((space, session.tool.lately.released.get(&space.number)?));
    session.on.spaces.iter().filter_map(of).map(move |(space, freed)| {
        let words = freed_words(space.process.pid(), freed, estimated);
        Finding::new(
            rules::FREED_AT_END,
            Severity::Info,
            vec![Phrase::Name(space.process.name().clone()), plain(words)],
        )
    })
}

fn freed_words(pid: u32, freed: &Released, estimated: bool) -> String {
    let about = if estimated { "~" } else { "" };
    let bytes = units::bytes(freed.bytes);
    let when = match freed.before {
        Duration::ZERO => "just before".to_owned(),
        before => format!("{} before", units::duration(before)),
    };
    format!(" (pid {pid}) freed {about}{bytes} as it ended: judged as it was {when}.")
}

fn is_command(session: Session<'_>, space: &Space) -> bool {
    session.on.command().is_some_and(|command| command.pid() == space.process.pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_at_the_end_is_said_with_the_moment_that_is_judged() {
        let freed = |ms| Released { bytes: 12.0 * 1_048_576.0, before: Duration::from_millis(ms) };
        assert_eq!(
            freed_words(7, &freed(800), false),
            " (pid 7) freed 12 MiB as it ended: judged as it was 800ms before."
        );
        assert_eq!(
            freed_words(7, &freed(0), true),
            " (pid 7) freed ~12 MiB as it ended: judged as it was just before."
        );
    }
}
