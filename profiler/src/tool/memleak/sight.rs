//! Why nothing, or not what was meant, is in sight: targets that are stopped or only wait, and children that do the work.

use std::{collections::BTreeMap, time::Duration};

use super::{rules, sentences::plain, session::Session, space::Space};
use crate::{
    report::{Finding, Phrase, Severity},
    target::{
        family::{MOST_NAMED, Used, children_do_the_work, descendants, pid_options},
        process::name_of,
        status::Status,
    },
    text::Text,
    units,
};

/// A child works if it takes this share of a processor,
const WORKS_SHARE: f64 = 0.02;
/// and this much time at least (ticks of 10 ms are all that there is to see),
const WORKS_LEAST: Duration = Duration::from_millis(50);
/// or if its memory grew by this much.
const GROWS_BYTES: u64 = 1 << 20;

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
        let now = Used::of(pid)?;
        let before = self.0.get(&pid).copied().unwrap_or_default();
        Some(Used {
            cpu: now.cpu.saturating_sub(before.cpu),
            of_ended_children: now.of_ended_children.saturating_sub(before.of_ended_children),
            anonymous_bytes: now.anonymous_bytes.saturating_sub(before.anonymous_bytes),
        })
    }
}

/// A child that works, and is not observed.
#[derive(Clone, Debug, PartialEq)]
struct Child {
    pid: u32,
    name: Text,
    cpu: Duration,
    grew_bytes: u64,
}

/// What there is to say of targets that are not what was meant.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// In place of "no allocation was seen".
    pub(super) instead: Option<Finding>,
    /// Before the answer.
    pub(super) before: Vec<Finding>,
    /// Behind it.
    pub(super) behind: Vec<Finding>,
}

/// Looks at targets and children. `seen`: whether any allocation was.
pub(super) fn sight(session: &Session<'_>, seen: bool, length: Duration) -> Sight {
    let living: Vec<&Space> = session.spaces.iter().filter(|space| space.ended.is_none()).collect();
    let mut sight = Sight::default();
    for space in &living {
        let Some(finding) = halted(space, seen) else { continue };
        if seen { sight.before.push(finding) } else { sight.instead = Some(finding) }
    }
    let pids: Vec<u32> = living.iter().map(|space| space.process.pid()).collect();
    let children = working(session, &pids, length);
    let own: Vec<Used> = pids.iter().filter_map(|pid| session.memory.families.since(*pid)).collect();
    let own_cpu: Duration = own.iter().map(|used| used.cpu).sum();
    let ended: Duration = own.iter().map(|used| used.of_ended_children).sum();
    if !children.is_empty() {
        let cpu: Duration = children.iter().map(|child| child.cpu).sum();
        let finding = |instead: bool| children_work(&living, &children, instead, length);
        if !seen && sight.instead.is_none() {
            sight.instead = Some(finding(true));
        } else if children_do_the_work(own_cpu, cpu) {
            sight.before.push(finding(false));
        } else {
            sight.behind.push(Finding { severity: Severity::Info, ..finding(false) });
        }
    } else if works(ended, 0, length) && ended > own_cpu {
        let words = format!(
            "Children of the target that have ended since took {} of processor time, and were not observed: they live too \
             short to be attached to.",
            units::duration(ended)
        );
        sight.behind.push(Finding::plain(rules::CHILDREN, Severity::Info, words));
    }
    if !seen && sight.instead.is_none() && !living.is_empty() && own_cpu < WORKS_LEAST {
        sight.instead = Some(waits(&living, length));
    }
    sight
}

/// Whether something with this use works.
fn works(cpu: Duration, grew_bytes: u64, length: Duration) -> bool {
    cpu >= WORKS_LEAST.max(length.mul_f64(WORKS_SHARE)) || grew_bytes >= GROWS_BYTES
}

/// The children that work, the busiest first.
fn working(session: &Session<'_>, pids: &[u32], length: Duration) -> Vec<Child> {
    let mut children: Vec<Child> = Vec::new();
    for pid in descendants(pids) {
        let Some(used) = session.memory.families.since(pid) else { continue };
        if works(used.cpu, used.anonymous_bytes, length) {
            let name = Text::from(name_of(pid).unwrap_or_default().as_slice());
            children.push(Child { pid, name, cpu: used.cpu, grew_bytes: used.anonymous_bytes });
        }
    }
    children.sort_by_key(|child| std::cmp::Reverse((child.cpu, child.grew_bytes)));
    children
}

/// What is to be said of a target that does not run.
fn halted(space: &Space, seen: bool) -> Option<Finding> {
    let pid = space.process.pid();
    let status = Status::read(pid).ok()?;
    let name = Phrase::Name(space.process.name().clone());
    let tracer = status.tracer.filter(|tracer| *tracer != 0);
    let words = match (status.state?, tracer) {
        ('t', Some(tracer)) | ('T', Some(tracer)) => {
            let by = Text::from(name_of(tracer).unwrap_or_default().as_slice()).terminal();
            format!(" (pid {pid}) is stopped by {by} (pid {tracer}), which traces it: let it go on there.")
        }
        ('T', None) => {
            format!(" (pid {pid}) is stopped, so it allocates nothing. Let it go on: kill -CONT {pid}")
        }
        _ => return None,
    };
    let sentence = if seen {
        vec![name, plain(words)]
    } else {
        vec![plain("No allocation was seen: "), name, plain(words)]
    };
    let rule = if seen { rules::HALTED } else { rules::NOTHING_SEEN };
    Some(Finding::new(rule, Severity::Limit, sentence))
}

/// "No allocation was seen in `instead`", if so, and which children work.
fn children_work(targets: &[&Space], children: &[Child], instead: bool, length: Duration) -> Finding {
    let mut sentence = Vec::new();
    if instead {
        sentence.push(plain(format!("No allocation was seen in {}: ", units::duration(length))));
    }
    match targets {
        [one] => {
            sentence.push(plain(if instead { "the work of " } else { "Work of " }));
            sentence.push(Phrase::Name(one.process.name().clone()));
            sentence.push(plain(format!(" (pid {}) is done by ", one.process.pid())));
        }
        _ => sentence.push(plain(if instead {
            "the work is done by "
        } else {
            "Work of the targets is done by "
        })),
    }
    sentence.push(plain(match (targets.len(), children.len()) {
        (1, 1) => "its child ",
        (1, _) => "its children ",
        (_, 1) => "their child ",
        _ => "their children ",
    }));
    for (at, child) in children.iter().take(MOST_NAMED).enumerate() {
        sentence.extend((at > 0).then(|| plain(", ")));
        sentence.push(Phrase::Name(child.name.clone()));
        let share = child.cpu.as_secs_f64() / length.as_secs_f64().max(1e-9);
        let grew = match child.grew_bytes {
            bytes if bytes >= GROWS_BYTES => format!(", grew by {}", units::bytes(bytes as f64)),
            _ => String::new(),
        };
        sentence.push(plain(format!(" (pid {}, {} of a CPU{grew})", child.pid, units::percent(share))));
    }
    if children.len() > MOST_NAMED {
        sentence.push(plain(format!(" and {} more", children.len() - MOST_NAMED)));
    }
    sentence.push(plain(format!(", not observed. {}", to_type(children))));
    let rule = if instead { rules::NOTHING_SEEN } else { rules::CHILDREN };
    Finding::new(rule, Severity::Limit, sentence)
}

/// What observes them: their name, if they share one that no shell has to be told of, else their pids.
fn to_type(children: &[Child]) -> String {
    let pids = pid_options(children.iter().map(|child| child.pid));
    let name = children.first().map(|first| &first.name);
    let shared = name.filter(|name| children.len() > 1 && children.iter().all(|child| child.name == **name));
    let plain_name = shared.map(Text::terminal).filter(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    });
    match plain_name {
        Some(name) => format!("Observe them: {pids}, or all of that name: --name {name}"),
        None if children.len() == 1 => format!("Observe it: {pids}"),
        None => format!("Observe them: {pids}"),
    }
}

/// A target without work and without children that work.
fn waits(targets: &[&Space], length: Duration) -> Finding {
    let length = units::duration(length);
    let sentence = match targets {
        [one] => vec![
            plain(format!("No allocation was seen in {length}: ")),
            Phrase::Name(one.process.name().clone()),
            plain(format!(
                " (pid {}) has used almost no processor time, and has no child that works: it only waits. `pgrep -af \
                 NAME` finds the process that does the work.",
                one.process.pid()
            )),
        ],
        _ => vec![plain(format!(
            "No allocation was seen in {length}: the targets have used almost no processor time, and have no children that \
             work: they only wait."
        ))],
    };
    Finding::new(rules::NOTHING_SEEN, Severity::Limit, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, name: &str) -> Child {
        Child { pid, name: Text::from(name), cpu: Duration::from_secs(1), grew_bytes: 0 }
    }

    #[test]
    fn what_to_type_can_be_typed() {
        assert_eq!(to_type(&[child(7, "pong")]), "Observe it: --pid 7");
        let workers = [child(7, "nginx"), child(8, "nginx")];
        assert_eq!(to_type(&workers), "Observe them: --pid 7 --pid 8, or all of that name: --name nginx");
        assert_eq!(to_type(&[child(7, "a b"), child(8, "a b")]), "Observe them: --pid 7 --pid 8");
        assert_eq!(to_type(&[child(7, "a"), child(8, "b")]), "Observe them: --pid 7 --pid 8");
    }

    #[test]
    fn work_is_time_or_growth() {
        let second = Duration::from_secs(1);
        assert!(works(Duration::from_millis(60), 0, second) && works(Duration::ZERO, GROWS_BYTES, second));
        assert!(!works(Duration::from_millis(40), 0, second), "a few ticks are no work");
        assert!(!works(Duration::from_secs(1), 0, Duration::from_secs(3600)));
    }
}
