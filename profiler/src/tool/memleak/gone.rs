//! Findings about targets that freed their memory as they ended.

use std::time::Duration;

use super::{rules, session::Session};
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    stats::lifetimes::recent::Released,
    units,
};

/// One finding for each target that freed most of what was old as it ended.
pub(super) fn freed<'a>(session: Session<'a>) -> impl Iterator<Item = Finding> + 'a {
    let estimated = session.tool.options.sample_bytes.is_some();
    let of = move |space: &'a Space| Some((space, session.tool.recent.released.get(&space.number)?));
    session.on.spaces.iter().filter_map(of).map(move |(space, freed)| {
        let words = freed_words(space.process.pid(), freed, estimated);
        Finding::new(
            rules::FREED_AT_END,
            Severity::Info,
            vec![Phrase::Name(space.process.name().clone()), Phrase::plain(words)],
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
