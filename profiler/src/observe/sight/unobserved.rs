//! Targets that have become a program without probes.

use std::collections::BTreeMap;

use super::View;
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    target::process::name_of,
    text::Text,
};

/// One finding for each living target without probes: its program has nothing to probe, or could not be attached to in time.
pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    // Of several programs of one process, the last one counts.
    let last: BTreeMap<u32, &Space> =
        view.on.spaces.iter().map(|space| (space.process.pid(), space)).collect();
    let is_unobserved = |space: &&&Space| space.ended.is_some() || !(view.sees)(space.number);
    last.values()
        .filter(is_unobserved)
        .filter(|space| !space.process.ended())
        // Programs that began after the observation could not be observed.
        .filter(|space| !space.ended_after(view.on.end_ns))
        .map(|space| finding(view, space))
        .collect()
}

fn finding(view: &View<'_>, space: &Space) -> Finding {
    let pid = space.process.pid();
    let name = Text::from(name_of(pid).unwrap_or_default().as_slice());
    let why = if space.ended.is_some() {
        "it became another program by exec, which could not be attached to".to_owned()
    } else {
        (view.why_unseen)(space).to_string()
    };
    let words = format!(" (pid {pid}) goes on, and nothing is seen of it: {why}.");
    Finding::new(view.terms.unobserved, Severity::Limit, vec![Phrase::Name(name), Phrase::plain(words)])
}
