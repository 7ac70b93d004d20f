//! Children of targets that are not observed: those that work, and those for which a target only waits.

use std::time::Duration;

use super::{GROWS_BYTES, View, works};
use crate::{
    observe::space::Space,
    report::{Finding, Phrase, Severity},
    target::{
        family::{self, MOST_NAMED, descendants, pid_options},
        process::name_of,
    },
    text::Text,
    units,
};

/// A child that is not observed.
#[derive(Clone, Debug, PartialEq)]
struct Child {
    pid: u32,
    name: Text,
    cpu: Duration,
    grew_bytes: u64,
    works: bool,
}

/// How children can be observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By their pids.
    Pid,
    /// They end with the command that we have started.
    OfCommand,
}

/// The children of targets that are not observed: only those that work, if some do.
pub(super) struct Children<'a> {
    view: View<'a>,
    targets: &'a [&'a Space],
    children: Vec<Child>,
    way: Way,
    /// Whether it is proved what the targets do: then they do not only wait.
    proved: bool,
}

/// Looks for the children of targets, the busiest first.
pub(super) fn children<'a>(view: &View<'a>, targets: &'a [&'a Space], proved: bool) -> Children<'a> {
    let on = view.on;
    let pids: Vec<u32> = targets.iter().map(|space| space.process.pid()).collect();
    let child = |pid: u32| {
        let used = view.families.since(pid)?;
        let name = Text::from(name_of(pid)?.as_slice());
        let works = works(used.cpu, used.anonymous_bytes, view.length);
        Some(Child { pid, name, cpu: used.cpu, grew_bytes: used.anonymous_bytes, works })
    };
    // A child may be a target itself, or be observed since it was forked.
    let others = descendants(&pids).into_iter().filter(|pid| !view.is_observed(*pid));
    let mut children: Vec<Child> = others.filter_map(child).collect();
    if children.iter().any(|child| child.works) {
        children.retain(|child| child.works);
    }
    children.sort_by_key(|child| std::cmp::Reverse((child.cpu, child.grew_bytes)));
    let ends = on.command().is_some_and(|command| !command.manner().leave_running);
    Children { view: *view, targets, children, way: if ends { Way::OfCommand } else { Way::Pid }, proved }
}

impl Children<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Whether any of them works.
    pub(super) fn work(&self) -> bool {
        self.children.iter().any(|child| child.works)
    }

    /// The processor time that they took.
    pub(super) fn cpu(&self) -> Duration {
        self.children.iter().map(|child| child.cpu).sum()
    }

    /// The finding, either `instead` of "nothing was seen" or on its own, with the names of the children.
    pub(super) fn finding(&self, instead: bool) -> Finding {
        let mut sentence = Vec::new();
        if instead {
            sentence.push(Phrase::plain(format!("{}: ", self.view.nothing())));
        }
        self.say_who(instead, &mut sentence);
        self.say_children(&mut sentence);
        // Children that begin later are observed.
        let why = if self.view.on.settings.children {
            ": --children follows only those that begin later"
        } else {
            ""
        };
        sentence.push(Phrase::plain(format!(", not observed{why}. {}", to_type(&self.children, self.way))));
        let terms = self.view.terms;
        let rule = if instead { terms.nothing_seen } else { terms.children };
        Finding::new(rule, Severity::Limit, sentence)
    }

    fn say_who(&self, instead: bool, sentence: &mut Vec<Phrase>) {
        let works = self.work();
        match self.targets {
            [one] => {
                let name = Phrase::Name(one.process.name().clone());
                let pid = one.process.pid();
                if works {
                    sentence.push(Phrase::plain(if instead { "the work of " } else { "Work of " }));
                    sentence.extend([name, Phrase::plain(format!(" (pid {pid}) is done by "))]);
                } else {
                    sentence.extend([name, Phrase::plain(format!(" (pid {pid}) {}", relation(self.proved)))]);
                }
            }
            _ => sentence.push(Phrase::plain(match (works, instead) {
                (true, true) => "the work is done by ",
                (true, false) => "Work of the targets is done by ",
                (false, true) => "the targets only wait for ",
                (false, false) => "The targets only wait for ",
            })),
        }
        let number = (self.targets.len(), self.children.len());
        sentence.push(Phrase::plain(match number {
            (1, 1) if self.proved && !works => "the child ",
            (1, _) if self.proved && !works => "the children ",
            (1, 1) => "its child ",
            (1, _) => "its children ",
            (_, 1) => "their child ",
            _ => "their children ",
        }));
    }

    fn say_children(&self, sentence: &mut Vec<Phrase>) {
        let seconds = self.view.length.as_secs_f64().max(1e-9);
        for (at, child) in self.children.iter().take(MOST_NAMED).enumerate() {
            sentence.extend((at > 0).then(|| Phrase::plain(", ")));
            sentence.push(Phrase::Name(child.name.clone()));
            let grew = match child.grew_bytes {
                bytes if bytes >= GROWS_BYTES => format!(", grew by {}", units::bytes(bytes as f64)),
                _ => String::new(),
            };
            let share = units::percent(child.cpu.as_secs_f64() / seconds);
            let of_cpu = if child.works { format!(", {share} of a CPU{grew}") } else { String::new() };
            sentence.push(Phrase::plain(format!(" (pid {}{of_cpu})", child.pid)));
        }
        if self.children.len() > MOST_NAMED {
            sentence.push(Phrase::plain(format!(" and {} more", self.children.len() - MOST_NAMED)));
        }
    }
}

/// How an idle target is related to its children.
fn relation(proved: bool) -> &'static str {
    if proved { "has " } else { "only waits for " }
}

/// How to observe them: by pid, and by name if they share one that needs no quotes in a shell.
fn to_type(children: &[Child], way: Way) -> String {
    let it = if children.len() == 1 { "it" } else { "them" };
    let pids = pid_options(children.iter().map(|child| child.pid));
    if way == Way::OfCommand {
        return format!(
            "To observe {it}: --children. Or let the command `exec` {it}, start {it} directly after `--`, or use --leave-running and then \
             --pid"
        );
    }
    let name = children.first().map(|first| &first.name);
    let shared = name.filter(|name| children.len() > 1 && children.iter().all(|child| child.name == **name));
    let plain_name = shared.map(Text::terminal).filter(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    });
    match plain_name {
        Some(name) => format!("Observe {it}: {pids}, or all of that name: --name {name}"),
        None => format!("Observe {it}: {pids}"),
    }
}

/// The finding about a command that has ended and left processes behind: it became a daemon, or was a script that
/// starts one.
pub(super) fn left_behind(view: &View<'_>) -> Option<Finding> {
    let on = view.on;
    let command = on.command()?;
    let ended = on.spaces.iter().rev().find(|space| space.process.pid() == command.pid())?;
    if ended.ended.is_none() || on.spaces.iter().any(|space| space.ended.is_none()) {
        return None;
    }
    let pids = command.left_behind();
    let first = *pids.first()?;
    let name = Text::from(name_of(first).unwrap_or_default().as_slice());
    let more = match pids.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let ends = !command.manner().leave_running && family::is_in_group(first, command.pid());
    let observe = || format!(", or observe it: {}", pid_options(pids.iter().copied()));
    let (fate, advice) = match ends {
        true => (
            "profiler ends what it started, which was not observed",
            "; --leave-running lets it go on".to_owned(),
        ),
        false => ("what it started goes on, not observed", observe()),
    };
    let sentence = vec![
        Phrase::Name(ended.process.name().clone()),
        Phrase::plain(format!(" (pid {}) has ended, and {fate}: ", command.pid())),
        Phrase::Name(name),
        Phrase::plain(format!(" (pid {first}){more}. Start it so that it stays in the foreground{advice}")),
    ];
    Some(Finding::new(view.terms.children, Severity::Limit, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, name: &str) -> Child {
        Child { pid, name: Text::from(name), cpu: Duration::from_secs(1), grew_bytes: 0, works: true }
    }

    #[test]
    fn the_advice_can_be_typed() {
        let of = |children: &[Child]| to_type(children, Way::Pid);
        assert_eq!(of(&[child(7, "pong")]), "Observe it: --pid 7");
        let workers = [child(7, "nginx"), child(8, "nginx")];
        assert_eq!(of(&workers), "Observe them: --pid 7 --pid 8, or all of that name: --name nginx");
        assert_eq!(of(&[child(7, "a b"), child(8, "a b")]), "Observe them: --pid 7 --pid 8");
        assert_eq!(of(&[child(7, "a"), child(8, "b")]), "Observe them: --pid 7 --pid 8");
    }

    #[test]
    fn a_target_with_an_answer_does_not_only_wait() {
        assert_eq!([relation(true), relation(false)], ["has ", "only waits for "]);
    }

    #[test]
    fn the_advice_has_no_pid_that_ends_with_us() {
        let words = to_type(&[child(7, "pong")], Way::OfCommand);
        assert!(
            !words.contains('7') && words.contains("`exec`") && words.contains("--leave-running"),
            "{words}"
        );
    }
}
