//! How much of the growth of the targets' memory the followed blocks explain.

use std::time::Duration;

use profiler_common::space::{key_address, key_space};

use super::{rules, session::Session};
use crate::{
    error::Result,
    observe::memory::Grown,
    report::{Finding, Phrase, Severity},
    units,
};

/// How the memory of each target changed, as far as it was read.
pub(super) fn grown(session: Session<'_>) -> Result<Vec<Grown>> {
    let tool = session.tool;
    let mut explanation = tool.memory.explain(tool.options.sample_bytes);
    tool.blocks()?.for_each_placed(tool.object()?, |key, live| {
        if live.whole_bytes > 0 {
            explanation.add(key_space(key), key_address(key), live.whole_bytes);
        }
    })?;
    Ok(explanation.grown(&session.on.spaces, |space| ever(session, space)))
}

/// All bytes that a space ever allocated by followed functions.
fn ever(session: Session<'_>, space: u16) -> f64 {
    let sampled = session.tool.options.sample_bytes.is_some();
    let stacks = (0..session.on.settings.max_stacks)
        .filter(|&stack| session.on.stacks.get(stack).is_some_and(|s| s.space == space));
    let totals = stacks.filter_map(|stack| session.tool.totals().ok()?.of(stack as usize));
    totals.map(|total| if sampled { total.weight_bytes as f64 } else { total.alloc_bytes as f64 }).sum()
}

/// The finding instead of "no leak" if live blocks grew by much: it names the target whose live blocks grew most. A block that
/// grows by being moved to a new one is always young, however long its owner keeps it: a C++ vector, or `realloc` in a sampled
/// run.
pub(super) fn live_growth(grown: &[Grown], length: Duration) -> Option<Finding> {
    let grew = |grown: &Grown| {
        grown.growth().saturating_sub(grown.unexplained()).saturating_sub(grown.released as u64)
    };
    let matters = |grown: &&Grown| grown.is_more_than_slack(grew(grown));
    let most = grown.iter().filter(matters).max_by_key(|grown| grew(grown))?;
    let words = format!(
        " grew by {} in {}, and nothing that could be judged leaks: the blocks are too young. A buffer that moves \
         as it grows, like a C++ vector, or one that fills, looks like this. ",
        units::bytes(grew(most) as f64),
        units::duration(length),
    );
    let mut sentence = vec![
        Phrase::plain("Undecided: live memory of "),
        Phrase::Name(most.name.clone()),
        Phrase::plain(words),
    ];
    sentence.push(Phrase::plain("Observe for longer, or with a shorter --older."));
    let finding = Finding::new(rules::LIVE_GROWTH, Severity::Limit, sentence);
    Some(most.evidence(finding, length))
}
