//! Targets that are stopped, or were for a while: what they would have done was not observed.

use std::time::Duration;

use super::{Terms, View};
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    target::{process::name_of, status::Status},
    text::Text,
    units,
};

/// If a target was stopped for this part of the age, its blocks aged while it did nothing: that limits the answer.
const PART_OF_AGE: f64 = 0.25;
/// If a target was stopped for this part of the observation, that limits the answer, too.
const PART_OF_LENGTH: f64 = 0.1;

/// The finding about a target that is stopped, or was for long.
pub(super) fn halted(view: &View<'_>, space: &Space) -> Option<Finding> {
    let View { terms, length, .. } = *view;
    let pid = space.process.pid();
    let stopped = if space.ended.is_some() { None } else { stopped_words(space, terms) };
    let halts = &space.seen.halts;
    if view.active.is_empty() {
        let sentence =
            vec![Phrase::plain(format!("{}: ", terms.nothing)), name(space), Phrase::plain(stopped?)];
        return Some(Finding::new(terms.nothing_seen, Severity::Limit, sentence));
    }
    let limited = limits(halts.total(), view.older, length);
    if !limited && (stopped.is_none() || halts.since_ns().is_none()) {
        return None;
    }
    let whole = units::duration(length);
    let words = if let Some(stopped) = stopped.filter(|_| halts.since_ns().is_some()) {
        let lasted = units::duration((view.lasted)(space));
        format!("{stopped} It was observed for {lasted} of {whole} only.")
    } else {
        let total = units::duration(halts.total());
        format!(
            " (pid {pid}) was stopped for at least {total} of {whole}: {}, and nothing it does could be observed. Observe it \
             again while it runs.",
            terms.aged
        )
    };
    let answer = (limited && !view.proved).then(|| Phrase::plain("Undecided: "));
    let sentence = answer.into_iter().chain([name(space), Phrase::plain(words)]).collect();
    Some(Finding::new(terms.halted, if limited { Severity::Limit } else { Severity::Info }, sentence))
}

fn name(space: &Space) -> Phrase {
    Phrase::Name(space.process.name().clone())
}

/// Whether a stop of this length limits the answer.
fn limits(stopped: Duration, older: Duration, length: Duration) -> bool {
    !stopped.is_zero() && stopped >= older.mul_f64(PART_OF_AGE).min(length.mul_f64(PART_OF_LENGTH))
}

/// Says that it is stopped now, and how to resume it; `None` if it runs.
fn stopped_words(space: &Space, terms: &Terms) -> Option<String> {
    let does = terms.does;
    let pid = space.process.pid();
    if let Some(group) = space.freezer.as_ref().filter(|freezer| freezer.is_frozen()) {
        let group = Text::from(group.directory()).terminal();
        return Some(format!(
            " (pid {pid}) is frozen with its control group {group}, so it {does} nothing. Thaw it: `systemctl thaw`, \
             `docker unpause`, or 0 into its cgroup.freeze."
        ));
    }
    let status = Status::read(pid).ok().filter(Status::is_stopped)?;
    Some(match status.tracer.filter(|tracer| *tracer != 0) {
        Some(tracer) => {
            let by = Text::from(name_of(tracer).unwrap_or_default().as_slice()).terminal();
            format!(" (pid {pid}) is stopped by {by} (pid {tracer}), which traces it: resume it there.")
        }
        None => {
            format!(" (pid {pid}) is stopped, so it {does} nothing. To resume it: kill -CONT {pid}.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_stop_does_not_limit_a_long_observation() {
        let second = Duration::from_secs(1);
        assert!(!limits(Duration::ZERO, second, second * 8));
        assert!(
            !limits(second * 4, second * 1800, second * 7200)
                && limits(second * 800, second * 1800, second * 7200)
        );
        assert!(limits(second / 2, second * 2, second * 60), "a quarter of the age");
        assert!(limits(second, second * 10, second * 8), "a tenth of the observation");
    }
}
