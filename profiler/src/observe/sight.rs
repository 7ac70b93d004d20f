//! Explains why nothing was seen, or not what the user meant: targets that are stopped or idle, children that do the work,
//! programs without probes, and targets that ended.
//!
//! A tool gives its vocabulary as [`Terms`], and what it saw as a [`View`].

pub(crate) mod children;
mod ended;
pub(crate) mod gone;
mod halted;
mod unobserved;
pub(crate) mod whole;

use std::{collections::BTreeSet, time::Duration};

use self::{
    children::{Children, children, left_behind},
    halted::halted,
};
use super::{
    observation::Observation,
    space::{Came, Space},
    watch::LOOK,
};
use crate::{
    error::Error,
    report::{Finding, Phrase, Severity},
    target::family::{Families, Used, children_do_the_work},
    units,
};

/// A process is idle if it takes less than this share of a processor.
const IDLE_SHARE: f64 = 0.005;
/// A child works if it takes at least this share of a processor,
const WORKS_SHARE: f64 = 0.02;
/// and at least this much time (the kernel counts in ticks of 10 ms),
const WORKS_LEAST: Duration = Duration::from_millis(50);
/// or if its memory grew by this much.
const GROWS_BYTES: u64 = 1 << 20;
/// A target is called idle only after this long: ticks cannot measure less.
const TELLS_WAITING: Duration = Duration::from_millis(500);

/// The vocabulary of a tool.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Nothing was seen: "No allocation was seen".
    pub(crate) nothing: &'static str,
    /// What targets do that the tool sees: "allocates".
    pub(crate) does: &'static str,
    /// The same in the past tense: "allocated".
    pub(crate) did: &'static str,
    /// What a busy target calls of which nothing is seen, and what to do then: "none of the functions that ...".
    pub(crate) calls: &'static str,
    /// What happened while a target was stopped: "its blocks aged meanwhile".
    pub(crate) aged: &'static str,
    /// Rules of its findings: nothing was seen,
    pub(crate) nothing_seen: &'static str,
    /// a target was stopped,
    pub(crate) halted: &'static str,
    /// children work and are not observed,
    pub(crate) children: &'static str,
    /// a target has become a program that is not observed,
    pub(crate) unobserved: &'static str,
    /// a target ended before the observation did.
    pub(crate) ended: &'static str,
}

/// What a tool saw.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) on: &'a Observation<'a>,
    pub(crate) terms: &'a Terms,
    /// What targets and their children had used when the observation began.
    pub(crate) families: &'a Families,
    /// The targets of which something was seen.
    pub(crate) active: &'a BTreeSet<u32>,
    /// Whether the answer is proved, whatever was not seen.
    pub(crate) proved: bool,
    /// The age asked about.
    pub(crate) older: Duration,
    /// The length of the observation.
    pub(crate) length: Duration,
    /// How long a space was observed.
    pub(crate) lasted: &'a dyn Fn(&Space) -> Duration,
    /// Whether a space is observed.
    pub(crate) sees: &'a dyn Fn(u16) -> bool,
    /// The reason if it is not.
    pub(crate) why_unseen: &'a dyn Fn(&Space) -> Error,
}

impl View<'_> {
    /// Whether a process is a target, or was forked by one and is observed. Only the kernel side knows a process that was forked a moment
    /// ago.
    fn is_observed(&self, pid: u32) -> bool {
        self.on.spaces.iter().any(|space| space.process.pid() == pid)
            || self.on.ground.space_of(pid).is_some_and(self.sees)
    }

    /// "No allocation was seen in 10s".
    fn nothing(&self) -> String {
        format!("{} in {}", self.terms.nothing, units::duration(self.length))
    }
}

/// Findings about targets that are not what the user meant.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Instead of "nothing was seen".
    pub(crate) instead: Option<Finding>,
    /// Before the answer.
    pub(crate) before: Vec<Finding>,
    /// Before the answer, unless it is proved: these only limit what else could be said.
    pub(crate) before_unproved: Vec<Finding>,
    /// After the answer.
    pub(crate) behind: Vec<Finding>,
}

/// Looks at targets and children. `unrecorded` explains why nothing was recorded, if something was called.
pub(crate) fn sight(view: &View<'_>, unrecorded: impl FnOnce() -> Option<Finding>) -> Sight {
    let View { on, active, length, .. } = *view;
    let seen = !active.is_empty();
    let living: Vec<&Space> = on.spaces.iter().filter(|space| space.ended.is_none()).collect();
    let mut sight = Sight::default();
    for space in &on.spaces {
        let Some(finding) = halted(view, space) else { continue };
        match finding.severity {
            Severity::Info => sight.behind.push(finding),
            _ if seen => sight.before.push(finding),
            _ => sight.instead = Some(finding),
        }
    }
    if !seen && sight.instead.is_none() {
        sight.instead = unrecorded();
    }
    sight.before.extend(left_behind(view));
    sight.before_unproved.extend(unobserved::findings(view));
    if living.is_empty() {
        look_at_ended(&mut sight, view);
        return sight;
    }
    let from_the_start = living.iter().filter(|space| space.seen.came == Came::First).count();
    if seen && living.len() > 1 && from_the_start != 1 {
        // One by one: one may be idle while another works. If only one was there from the start, the others are its children.
        for target in living.chunks(1) {
            if target.iter().all(|space| !active.contains(&space.process.pid())) {
                let own = Own::of(view, target);
                look_at_children(&mut sight, &children(view, target, false), &own, view);
            }
        }
        return sight;
    }
    let own = Own::of(view, &living);
    look_at_children(&mut sight, &children(view, &living, view.proved), &own, view);
    if seen || sight.instead.is_some() {
        return sight;
    }
    if own.used.cpu >= WORKS_LEAST {
        sight.instead = Some(calls_nothing(view, &living, own.used.cpu));
    } else if length >= TELLS_WAITING {
        // A shorter observation does not show whether a process works.
        sight.instead = Some(if works(own.used.of_ended_children, 0, length) {
            let words = format!("{}. {}", view.nothing(), ended::words(&own.used, view));
            Finding::plain(view.terms.nothing_seen, Severity::Limit, words)
        } else {
            waits(view, &living)
        });
        sight.behind.retain(|finding| finding.rule != view.terms.children);
    }
    sight
}

/// Targets that have ended by themselves: children may have done their work.
fn look_at_ended(sight: &mut Sight, view: &View<'_>) {
    let View { on, families, length, .. } = *view;
    let seen = !view.active.is_empty();
    let pids: BTreeSet<u32> = on.spaces.iter().map(|space| space.process.pid()).collect();
    // The kernel keeps the usage of a process and its children until its parent reaps it. We reap our command, and have kept its
    // usage.
    let command = on.command().and_then(|command| Some((command.pid(), command.used()?)));
    let command = command.map(|(pid, used)| families.after(pid, used));
    let others = pids.iter().filter_map(|pid| families.since(*pid));
    let own = Own::by(command.into_iter().chain(others), view);
    let undecided = own.children_may_hold_the_answer();
    let words = ended::words(&own.used, view);
    if !seen && sight.instead.is_none() {
        if undecided || own.children_worked(length) {
            let words = format!("{}. {words}", view.nothing());
            sight.instead = Some(Finding::plain(view.terms.nothing_seen, Severity::Limit, words));
        }
    } else if undecided {
        let finding = Finding::plain(view.terms.children, Severity::Limit, words);
        match Weight::of(&own, None, length) {
            Weight::AllWork if seen && !view.proved => sight.before.push(finding),
            _ => sight.before_unproved.push(finding),
        }
    }
}

/// What targets used themselves, and their children that have ended.
struct Own {
    /// Without children that were observed.
    used: Used,
    /// Whether the targets were idle.
    idle: bool,
}

impl Own {
    fn of(view: &View<'_>, targets: &[&Space]) -> Own {
        let pids = targets.iter().map(|space| space.process.pid());
        Own::by(pids.filter_map(|pid| view.families.since(pid)), view)
    }

    /// Computed from what each has used.
    fn by(each: impl Iterator<Item = Used>, view: &View<'_>) -> Own {
        let mut used = each.fold(Used::default(), |sum, used| sum.with(&used));
        if ended::were_seen(view) {
            used.of_ended_children = Duration::ZERO;
            used.touched_bytes_of_ended_children = 0;
        }
        // Others may have been observed by their name or pid. Since the last look, each may have worked on.
        let (seen, count) = view.families.ended(|parent| view.is_observed(parent));
        let unseen = used.of_ended_children.saturating_sub(seen.cpu + LOOK * count);
        used.of_ended_children = if count > 0 { unseen } else { used.of_ended_children };
        let touched = &mut used.touched_bytes_of_ended_children;
        *touched = touched.saturating_sub(seen.touched_bytes);
        Own { used, idle: is_idle(used.cpu, used.anonymous_bytes, view.length) }
    }

    /// Whether children that have ended worked, and more than the targets.
    fn children_worked(&self, length: Duration) -> bool {
        works(self.used.of_ended_children, 0, length) && self.used.of_ended_children > self.used.cpu
    }

    fn children_may_hold_the_answer(&self) -> bool {
        ended::may_hold_the_answer(&self.used, self.idle)
    }
}

/// How much unobserved children matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// They do the targets' work.
    AllWork,
    /// Those that have ended did more than the targets, so the answer may lie with them.
    MayHoldIt,
    /// They work as well as the targets.
    SomeWork,
    None,
}

impl Weight {
    /// `living`: the processor time of living children, if any of them works. If many short-lived children follow one another, it
    /// is chance which one is alive now: so those that have ended count, too.
    fn of(own: &Own, living: Option<Duration>, length: Duration) -> Weight {
        let theirs = living.unwrap_or_default() + own.used.of_ended_children;
        let they_work = living.is_some() || own.children_worked(length);
        if they_work && (own.idle || children_do_the_work(own.used.cpu, theirs)) {
            Weight::AllWork
        } else if own.children_may_hold_the_answer() {
            Weight::MayHoldIt
        } else if living.is_some() {
            Weight::SomeWork
        } else {
            Weight::None
        }
    }
}

fn look_at_children(sight: &mut Sight, children: &Children<'_>, own: &Own, view: &View<'_>) {
    let seen = !view.active.is_empty();
    let instead = !seen && sight.instead.is_none();
    let living = children.work().then(|| children.cpu());
    if instead && (living.is_some() || own.idle && !children.is_empty()) {
        sight.instead = Some(children.finding(true));
        return;
    }
    // Ended children are mentioned only if they did more: living ones can be named.
    let of_living = living.is_some_and(|cpu| cpu >= own.used.of_ended_children);
    let finding = || match of_living || !seen {
        true => children.finding(false),
        false => Finding::plain(view.terms.children, Severity::Limit, ended::words(&own.used, view)),
    };
    match Weight::of(own, living, view.length) {
        Weight::None if own.idle && !children.is_empty() => {
            // They may do the same as slowly as they work; and an answer about a target that waits for them is not an
            // answer about them.
            sight.before_unproved.push(children.finding(false));
        }
        // Without an answer there is nothing to limit.
        _ if !seen && living.is_none() => {}
        Weight::AllWork if living.is_some() || !view.proved => sight.before.push(finding()),
        Weight::AllWork | Weight::MayHoldIt => sight.before_unproved.push(finding()),
        Weight::SomeWork => sight.behind.push(Finding { severity: Severity::Info, ..finding() }),
        Weight::None => {}
    }
}

/// Whether this usage counts as work.
fn works(cpu: Duration, grew_bytes: u64, length: Duration) -> bool {
    cpu >= WORKS_LEAST.max(length.mul_f64(WORKS_SHARE)) || grew_bytes >= GROWS_BYTES
}

/// Whether this usage counts as idle.
fn is_idle(cpu: Duration, grew_bytes: u64, length: Duration) -> bool {
    cpu < WORKS_LEAST.max(length.mul_f64(IDLE_SHARE)) && grew_bytes < GROWS_BYTES
}

/// Targets that are idle and have no children that work.
fn waits(view: &View<'_>, targets: &[&Space]) -> Finding {
    let nothing = view.nothing();
    let sentence = match targets {
        [one] => vec![
            Phrase::plain(format!("{nothing}: ")),
            Phrase::Name(one.process.name().clone()),
            Phrase::plain(format!(
                " (pid {}) was idle: it used almost no processor time, and has no child that works. Make it do something \
                 while it is observed: connect to it, send it a request.",
                one.process.pid()
            )),
        ],
        _ => vec![Phrase::plain(format!(
            "{nothing}: the targets were idle: they used almost no processor time, and have no \
             children that work. Make them do something while they are observed: connect to them, send them a request."
        ))],
    };
    Finding::new(view.terms.nothing_seen, Severity::Limit, sentence)
}

/// Targets that work, but do not call what is followed.
fn calls_nothing(view: &View<'_>, targets: &[&Space], cpu: Duration) -> Finding {
    let mut sentence = vec![Phrase::plain(format!("{}, though ", view.nothing()))];
    let it_calls = match targets {
        [one] => {
            sentence.push(Phrase::Name(one.process.name().clone()));
            sentence.push(Phrase::plain(format!(" (pid {})", one.process.pid())));
            "it calls"
        }
        _ => {
            sentence.push(Phrase::plain("the targets"));
            "they call"
        }
    };
    sentence.push(Phrase::plain(format!(
        " used {} of processor time: {it_calls} {}",
        units::duration(cpu),
        view.terms.calls
    )));
    Finding::new(view.terms.nothing_seen, Severity::Limit, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_time_or_growth() {
        let second = Duration::from_secs(1);
        assert!(works(Duration::from_millis(60), 0, second) && works(Duration::ZERO, GROWS_BYTES, second));
        assert!(!works(Duration::from_millis(40), 0, second), "a few ticks are not work");
        assert!(!works(Duration::from_secs(1), 0, Duration::from_secs(3600)));
    }

    #[test]
    fn it_does_not_matter_which_short_lived_child_is_alive_at_the_end() {
        let (ms, length) = (Duration::from_millis, Duration::from_secs(3));
        let weight = |own: u64, ended: u64, living: Option<u64>| {
            let used = Used { cpu: ms(own), of_ended_children: ms(ended), ..Used::default() };
            Weight::of(&Own { used, idle: false }, living.map(ms), length)
        };
        for living in [None, Some(60), Some(110)] {
            assert_eq!(weight(90, 2_800, living), Weight::AllWork, "{living:?}");
            assert_eq!(weight(900, 1_500, living), Weight::MayHoldIt, "{living:?}");
        }
        assert_eq!(weight(90, 0, Some(2_800)), Weight::AllWork);
        assert_eq!((weight(900, 0, Some(300)), weight(900, 300, None)), (Weight::SomeWork, Weight::None));
    }

    #[test]
    fn an_idle_process_takes_hardly_any_time_and_no_memory() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert!(is_idle(Duration::from_millis(40), 0, second) && is_idle(second * 17, 0, hour));
        assert!(!is_idle(Duration::from_millis(60), 0, second) && !is_idle(second * 19, 0, hour));
        assert!(!is_idle(Duration::ZERO, GROWS_BYTES, second));
    }
}
