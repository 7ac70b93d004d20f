//! Why nothing, or not what was meant, is in sight: targets that are stopped or only wait, children that do the work or are
//! all that a target waits for, and calls that gave no block.

mod children;
mod ended;
mod halted;
mod unobserved;
mod unrecorded;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use profiler_common::memleak::counters::Counter;

use self::{
    children::{Children, children, left_behind},
    halted::halted,
};
use super::{rules, sentences::plain, session::Session};
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    target::family::{Used, descendants},
    units,
};

/// A process does next to nothing if it takes less than this share of a processor.
const IDLE_SHARE: f64 = 0.005;
/// A child works if it takes this share of a processor,
const WORKS_SHARE: f64 = 0.02;
/// and this much time at least (ticks of 10 ms are all that there is to see),
const WORKS_LEAST: Duration = Duration::from_millis(50);
/// or if its memory grew by this much.
const GROWS_BYTES: u64 = 1 << 20;
/// A target that takes no time is said to wait after so long: ticks are no measure of less.
const TELLS_WAITING: Duration = Duration::from_millis(500);

/// What the targets and their children had used when the observation began.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<u32, Used>);

impl Families {
    /// Looks at the targets and their children.
    pub(super) fn of(pids: &[u32]) -> Families {
        let all = descendants(pids).into_iter().chain(pids.iter().copied());
        Families(all.filter_map(|pid| Some((pid, Used::of(pid)?))).collect())
    }

    /// What a process has used since; all of it, if it was not there then.
    fn since(&self, pid: u32) -> Option<Used> {
        Some(self.after(pid, Used::of(pid)?))
    }

    /// The same of a process that had used this much in all.
    fn after(&self, pid: u32, now: Used) -> Used {
        now.without(&self.0.get(&pid).copied().unwrap_or_default())
    }
}

/// What there is to say of targets that are not what was meant.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// In place of "no allocation was seen".
    pub(super) instead: Option<Finding>,
    /// Before the answer.
    pub(super) before: Vec<Finding>,
    /// Before the answer, unless that is a leak: they limit only what else could be said.
    pub(super) before_no_leak: Vec<Finding>,
    /// Behind it.
    pub(super) behind: Vec<Finding>,
}

/// Looks at targets and children. `allocating`: the targets of which blocks were recorded; `leak`: whether one leaks.
pub(super) fn sight(
    session: Session<'_>,
    counters: &[u64; Counter::COUNT],
    allocating: &BTreeSet<u32>,
    leak: bool,
    length: Duration,
) -> Sight {
    let seen = !allocating.is_empty();
    let living: Vec<&Space> = session.on.spaces.iter().filter(|space| space.ended.is_none()).collect();
    let mut sight = Sight::default();
    for space in &session.on.spaces {
        let Some(finding) = halted(session, space, [seen, leak], length) else { continue };
        match finding.severity {
            Severity::Info => sight.behind.push(finding),
            _ if seen => sight.before.push(finding),
            _ => sight.instead = Some(finding),
        }
    }
    if !seen && sight.instead.is_none() {
        sight.instead = unrecorded::finding(
            counters,
            &session.counts_while_all_attached(counters),
            session.tool.options.sample_bytes,
            length,
        );
    }
    sight.before.extend(left_behind(session));
    sight.before_no_leak.extend(unobserved::findings(session));
    if living.is_empty() {
        look_at_ended(&mut sight, session, seen, length);
        return sight;
    }
    if seen && living.len() > 1 {
        // Each by itself: one may only wait while another allocates.
        for target in living.chunks(1) {
            if target.iter().all(|space| !allocating.contains(&space.process.pid())) {
                let own = Own::of(session, target, length);
                look_at_children(&mut sight, &children(session, target, false, length), &own, seen);
            }
        }
        return sight;
    }
    let own = Own::of(session, &living, length);
    look_at_children(&mut sight, &children(session, &living, leak, length), &own, seen);
    if seen || sight.instead.is_some() {
        return sight;
    }
    if own.used.cpu >= WORKS_LEAST {
        sight.instead = Some(calls_nothing(&living, own.used.cpu, length));
    } else if length >= TELLS_WAITING {
        // In less time nobody can be seen to work.
        sight.instead = Some(if works(own.used.of_ended_children, 0, length) {
            let words =
                format!("No allocation was seen in {}. {}", units::duration(length), ended::words(&own.used));
            Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words)
        } else {
            waits(&living, length)
        });
        sight.behind.retain(|finding| finding.rule != rules::CHILDREN);
    }
    sight
}

/// Targets that have ended by themselves: children may have done their work.
fn look_at_ended(sight: &mut Sight, session: Session<'_>, seen: bool, length: Duration) {
    let pids: BTreeSet<u32> = session.on.spaces.iter().map(|space| space.process.pid()).collect();
    // The kernel tells what a process and its children have used until its parent collects it. Ours is collected, and what
    // it had used was kept.
    let command = session.on.command().and_then(|command| Some((command.pid(), command.used()?)));
    let command = command.map(|(pid, used)| session.tool.memory.families.after(pid, used));
    let others = pids.iter().filter_map(|pid| session.tool.memory.families.since(*pid));
    let own = Own::by(command.into_iter().chain(others), length);
    let undecided = own.children_may_hold_the_answer();
    let words = ended::words(&own.used);
    if !seen && sight.instead.is_none() {
        if undecided || own.children_worked(length) {
            let words = format!("No allocation was seen in {}. {words}", units::duration(length));
            sight.instead = Some(Finding::plain(rules::NOTHING_SEEN, Severity::Limit, words));
        }
    } else if undecided {
        sight.before_no_leak.push(Finding::plain(rules::CHILDREN, Severity::Limit, words));
    }
}

/// What targets did themselves, and their children that have ended.
struct Own {
    used: Used,
    /// Next to nothing.
    idle: bool,
}

impl Own {
    fn of(session: Session<'_>, targets: &[&Space], length: Duration) -> Own {
        let pids = targets.iter().map(|space| space.process.pid());
        Own::by(pids.filter_map(|pid| session.tool.memory.families.since(pid)), length)
    }

    /// By what each has used.
    fn by(each: impl Iterator<Item = Used>, length: Duration) -> Own {
        let used = each.fold(Used::default(), |sum, used| sum.with(&used));
        Own { used, idle: is_idle(used.cpu, used.anonymous_bytes, length) }
    }

    /// Whether children that have ended work, and more than the targets.
    fn children_worked(&self, length: Duration) -> bool {
        works(self.used.of_ended_children, 0, length) && self.used.of_ended_children > self.used.cpu
    }

    fn children_may_hold_the_answer(&self) -> bool {
        ended::may_hold_the_answer(&self.used, self.idle)
    }
}

fn look_at_children(sight: &mut Sight, children: &Children<'_>, own: &Own, seen: bool) {
    let instead = !seen && sight.instead.is_none();
    if children.work() {
        let finding = children.finding(instead);
        if instead {
            sight.instead = Some(finding);
        } else if own.idle || children.do_the_work_of(own.used.cpu) {
            sight.before.push(finding);
        } else {
            sight.behind.push(Finding { severity: Severity::Info, ..finding });
        }
    } else if seen && own.children_may_hold_the_answer() {
        sight.before_no_leak.push(Finding::plain(rules::CHILDREN, Severity::Limit, ended::words(&own.used)));
    } else if own.idle && !children.is_empty() {
        // They may leak as slowly as they work, and an answer about who waits for them is no answer about them.
        let finding = children.finding(instead);
        if instead { sight.instead = Some(finding) } else { sight.before_no_leak.push(finding) }
    }
}

/// Whether something with this use works.
fn works(cpu: Duration, grew_bytes: u64, length: Duration) -> bool {
    cpu >= WORKS_LEAST.max(length.mul_f64(WORKS_SHARE)) || grew_bytes >= GROWS_BYTES
}

/// Whether something with this use does next to nothing.
fn is_idle(cpu: Duration, grew_bytes: u64, length: Duration) -> bool {
    cpu < WORKS_LEAST.max(length.mul_f64(IDLE_SHARE)) && grew_bytes < GROWS_BYTES
}

/// Targets without work and without children that work.
fn waits(targets: &[&Space], length: Duration) -> Finding {
    let length = units::duration(length);
    let sentence = match targets {
        [one] => vec![
            plain(format!("No allocation was seen in {length}: ")),
            Phrase::Name(one.process.name().clone()),
            plain(format!(
                " (pid {}) was idle: it used almost no processor time, and has no child that works. Make it do something \
                 while it is observed: connect to it, send it a request.",
                one.process.pid()
            )),
        ],
        _ => vec![plain(format!(
            "No allocation was seen in {length}: the targets were idle: they used almost no processor time, and have no \
             children that work. Make them do something while they are observed: connect to them, send them a request."
        ))],
    };
    Finding::new(rules::NOTHING_SEEN, Severity::Limit, sentence)
}

/// Targets that work, and call nothing that is followed.
fn calls_nothing(targets: &[&Space], cpu: Duration, length: Duration) -> Finding {
    let mut sentence = vec![plain(format!("No allocation was seen in {}, though ", units::duration(length)))];
    let it_calls = match targets {
        [one] => {
            sentence.push(Phrase::Name(one.process.name().clone()));
            sentence.push(plain(format!(" (pid {})", one.process.pid())));
            "it calls"
        }
        _ => {
            sentence.push(plain("the targets"));
            "they call"
        }
    };
    sentence.push(plain(format!(
        " used {} of processor time: {it_calls} none of the functions that are followed. Observe for longer, or name the \
         functions of a pool: --alloc-fn, --free-fn.",
        units::duration(cpu)
    )));
    Finding::new(rules::NOTHING_SEEN, Severity::Limit, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_time_or_growth() {
        let second = Duration::from_secs(1);
        assert!(works(Duration::from_millis(60), 0, second) && works(Duration::ZERO, GROWS_BYTES, second));
        assert!(!works(Duration::from_millis(40), 0, second), "a few ticks are no work");
        assert!(!works(Duration::from_secs(1), 0, Duration::from_secs(3600)));
    }

    #[test]
    fn who_only_waits_takes_hardly_any_time_and_no_memory() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert!(is_idle(Duration::from_millis(40), 0, second) && is_idle(second * 17, 0, hour));
        assert!(!is_idle(Duration::from_millis(60), 0, second) && !is_idle(second * 19, 0, hour));
        assert!(!is_idle(Duration::ZERO, GROWS_BYTES, second));
    }
}
