//! The children of processes, and which of them work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{stat::Stat, status::Status};

/// Processes that are looked at, at most: a fork storm must not become one of ours.
const MOST: usize = 512;

/// Children do the work, not their parent, if they take more than so many times its processor time.
const TIMES_OF_PARENT: u32 = 4;
/// Children that are named to people, and that are to be typed.
pub(crate) const MOST_NAMED: usize = 4;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// CPU time of all its threads.
    pub(crate) cpu: Duration,
    /// CPU time of its children that have ended and were collected.
    pub(crate) of_ended_children: Duration,
    /// Its resident anonymous memory, in bytes.
    pub(crate) anonymous_bytes: u64,
}

impl Used {
    /// Of a process; `None` if it is gone.
    pub(crate) fn of(pid: u32) -> Option<Used> {
        let stat = Stat::of_process(pid)?;
        let anonymous_bytes = Status::read(pid).ok().and_then(|status| status.anonymous_bytes).unwrap_or(0);
        Some(Used { cpu: stat.cpu()?, of_ended_children: stat.cpu_of_ended_children()?, anonymous_bytes })
    }
}

/// Everything that descends from these processes, without themselves, by pid.
pub(crate) fn descendants(of: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    // One pass over all processes: the lists of children that the kernel keeps are one per thread, and optional.
    for pid in super::find::all() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    walk(of, &children)
}

/// Whether children that took `theirs` do the work of a parent that took `own`.
pub(crate) fn children_do_the_work(own: Duration, theirs: Duration) -> bool {
    theirs > own * TIMES_OF_PARENT
}

/// What is to be typed to observe the first [`MOST_NAMED`] of these: `--pid 7 --pid 8`.
pub(crate) fn pid_options(pids: impl Iterator<Item = u32>) -> String {
    pids.take(MOST_NAMED).map(|pid| format!("--pid {pid}")).collect::<Vec<String>>().join(" ")
}

fn walk(of: &[u32], children: &BTreeMap<u32, Vec<u32>>) -> Vec<u32> {
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut next: Vec<u32> = of.to_vec();
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if !of.contains(child) && found.len() < MOST && found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found.into_iter().collect()
}

fn parent(pid: u32) -> Option<u32> {
    Stat::of_process(pid)?.field(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_walked_once_whatever_its_shape() {
        let children = BTreeMap::from([(1, vec![2, 3]), (2, vec![4]), (4, vec![5, 1]), (9, vec![10])]);
        assert_eq!(walk(&[1], &children), [2, 3, 4, 5]);
        assert_eq!(walk(&[1, 2], &children), [3, 4, 5]);
        let storm = BTreeMap::from([(1, (2..9000).collect())]);
        assert_eq!(walk(&[1], &storm).len(), MOST);
    }

    #[test]
    fn children_do_the_work_if_they_take_much_more_than_their_parent() {
        let second = Duration::from_secs(1);
        assert!(children_do_the_work(second, second * 5) && children_do_the_work(Duration::ZERO, second));
        assert!(!children_do_the_work(second, second * 4));
        assert!(!children_do_the_work(Duration::ZERO, Duration::ZERO), "nobody works");
        assert_eq!(pid_options(1..9), "--pid 1 --pid 2 --pid 3 --pid 4");
        assert_eq!(pid_options(7..8), "--pid 7");
    }

    #[test]
    fn a_child_and_its_work_are_seen() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let own = std::process::id();
        let found = descendants(&[own]);
        let used = Used::of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()) && !found.contains(&own));
        assert!(used.is_some() && Used::of(u32::MAX / 2).is_none());
    }
}
