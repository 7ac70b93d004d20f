//! The children of processes, and which of them work.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use super::{process::behind_name, status::Status};

/// Processes that are looked at, at most: a fork storm must not become one of ours.
const MOST: usize = 512;

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
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let fields = behind_name(&stat)?;
        let ticks_per_s = rustix::param::clock_ticks_per_second().max(1);
        let time = |first: usize| {
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
            Duration::from_nanos(
                (ticks(first) + ticks(first + 1)).saturating_mul(1_000_000_000 / ticks_per_s),
            )
        };
        let anonymous_bytes = Status::read(pid).ok().and_then(|status| status.anonymous_bytes).unwrap_or(0);
        // utime, stime, cutime, cstime: fields 14 to 17 of proc(5)
        Some(Used { cpu: time(11), of_ended_children: time(13), anonymous_bytes })
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
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    behind_name(&stat)?.get(1)?.parse().ok()
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
