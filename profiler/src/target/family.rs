//! The children of processes, and which of them work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{stat::Stat, status::Status};

/// The parent, the process group and the session of a process, by their numbers in proc(5).
const PARENT: usize = 4;
const GROUP: usize = 5;
const SESSION: usize = 6;

/// Most processes that are looked at: bounds the work when a target forks without end.
const MOST: usize = 512;

/// Children do the work, not their parent, if they take more than this many times its processor time.
const TIMES_OF_PARENT: u32 = 4;
/// Most children that are named in a message, and in an option to type.
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
    /// Memory that it touched for the first time, in bytes, by its page faults. A page that was given back and touched
    /// again counts again.
    pub(crate) touched_bytes: u64,
    /// The same of its children that have ended and were collected.
    pub(crate) touched_bytes_of_ended_children: u64,
}

impl Used {
    /// Of a process; `None` if it is gone.
    pub(crate) fn of(pid: u32) -> Option<Used> {
        let stat = Stat::of_process(pid)?;
        let anonymous_bytes = Status::read(pid).ok().and_then(|status| status.anonymous_bytes).unwrap_or(0);
        let of_pages = |faults: u64| faults.saturating_mul(rustix::param::page_size() as u64);
        Some(Used {
            cpu: stat.cpu()?,
            of_ended_children: stat.cpu_of_ended_children()?,
            anonymous_bytes,
            touched_bytes: of_pages(stat.minor_faults()?),
            touched_bytes_of_ended_children: of_pages(stat.minor_faults_of_ended_children()?),
        })
    }

    /// What was used since `before`.
    pub(crate) fn without(&self, before: &Used) -> Used {
        self.each(before, Duration::saturating_sub, u64::saturating_sub)
    }

    /// The sum of both.
    pub(crate) fn with(&self, other: &Used) -> Used {
        self.each(other, Duration::saturating_add, u64::saturating_add)
    }

    fn each(
        &self,
        other: &Used,
        of_times: fn(Duration, Duration) -> Duration,
        of_bytes: fn(u64, u64) -> u64,
    ) -> Used {
        Used {
            cpu: of_times(self.cpu, other.cpu),
            of_ended_children: of_times(self.of_ended_children, other.of_ended_children),
            anonymous_bytes: of_bytes(self.anonymous_bytes, other.anonymous_bytes),
            touched_bytes: of_bytes(self.touched_bytes, other.touched_bytes),
            touched_bytes_of_ended_children: of_bytes(
                self.touched_bytes_of_ended_children,
                other.touched_bytes_of_ended_children,
            ),
        }
    }
}

/// What processes and their children had used at some moment.
#[derive(Debug, Default)]
pub(crate) struct Families {
    before: BTreeMap<u32, Used>,
    /// What they had used when they were last looked at, and who their parents were: for those that are gone.
    last: BTreeMap<u32, (Used, u32)>,
}

impl Families {
    /// Looks at processes and their children now.
    pub(crate) fn of(pids: &[u32]) -> Families {
        let all = descendants(pids).into_iter().chain(pids.iter().copied());
        let before = all.filter_map(|pid| Some((pid, Used::of(pid)?))).collect();
        let mut families = Families { before, last: BTreeMap::new() };
        families.look(pids.iter().copied());
        families
    }

    /// Looks at processes again, at a bounded number of them. One that ends and is collected by its parent can no longer be asked.
    pub(crate) fn look(&mut self, pids: impl Iterator<Item = u32>) {
        let look = |pid| Some((pid, (Used::of(pid)?, living(pid)?.field(PARENT)?)));
        self.last.extend(pids.take(MOST).filter_map(look));
    }

    /// Whether one of them has ended, but for those that are `observed`.
    pub(crate) fn has_ended_but(&self, observed: impl Fn(u32) -> bool) -> bool {
        self.before.keys().any(|pid| !observed(*pid) && living(*pid).is_none())
    }

    /// Those that have ended since the last look: what they had used in all, and how many they were. `parent`: whether this process
    /// is one of their parents.
    pub(crate) fn ended(&self, parent: impl Fn(u32) -> bool) -> (Used, u32) {
        let ended = self.last.iter().filter(|(pid, (_, of))| parent(*of) && living(**pid).is_none());
        ended.fold((Used::default(), 0), |(sum, count), (_, (used, _))| (sum.with(used), count + 1))
    }

    /// What a process has used since; all of it, if it was not there then. If it is gone, up to the last look.
    pub(crate) fn since(&self, pid: u32) -> Option<Used> {
        let used = Used::of(pid).or_else(|| self.last.get(&pid).map(|(used, _)| *used))?;
        Some(self.after(pid, used))
    }

    /// The same of a process that had used this much in all.
    pub(crate) fn after(&self, pid: u32, now: Used) -> Used {
        now.without(&self.before.get(&pid).copied().unwrap_or_default())
    }
}

/// All living descendants of these processes, without the processes themselves, by pid. If they started us, we and our
/// ancestors (`sudo`) are left out.
pub(crate) fn descendants(of: &[u32]) -> Vec<u32> {
    let own = std::process::id();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    // One pass over all processes: the kernel's lists of children are one per thread, and optional.
    for pid in super::find::all().into_iter().filter(|pid| *pid != own) {
        if let Some(parent) = living(pid).and_then(|stat| stat.field(PARENT)) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let ours = ancestors(own);
    let mut found = walk(of, &children);
    found.retain(|pid| !ours.contains(pid));
    found
}

/// What an ended command has left behind: living processes of its process group or session, and processes that lost
/// their parent, which are our children then ([`launch::start`](super::launch::start)). Children of ours that run our
/// own executable, or are older than the command, which began at `began_ticks`, are left out: a shell that becomes
/// profiler may have some.
pub(crate) fn left_behind(command: u32, began_ticks: u64) -> Vec<u32> {
    let own = std::process::id();
    let exe = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let ours = exe(own);
    // A process that is ending has no executable any more.
    let is_of_another = |pid: u32| exe(pid).is_some_and(|of| Some(of) != ours);
    let left = |pid: &u32| {
        let Some(stat) = living(*pid) else { return false };
        if stat.started_ticks().is_none_or(|ticks| ticks < began_ticks) {
            return false;
        }
        let is = |field, number| stat.field::<u32>(field) == Some(number);
        is(GROUP, command) || is(SESSION, command) || is(PARENT, own) && is_of_another(*pid)
    };
    let mut found: Vec<u32> =
        super::find::all().into_iter().filter(|pid| *pid != command).filter(left).collect();
    found.sort_unstable();
    found
}

/// Whether a process is in this process group.
pub(crate) fn is_in_group(pid: u32, group: u32) -> bool {
    Stat::of_process(pid).and_then(|stat| stat.field(GROUP)) == Some(group)
}

/// The parent of a process, its parent, and so on, up to the first process.
fn ancestors(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut pid = of;
    while let Some(parent) = Stat::of_process(pid).and_then(|stat| stat.field::<u32>(PARENT)) {
        if parent == 0 || !found.insert(parent) {
            break;
        }
        pid = parent;
    }
    found
}

/// Whether children that took `theirs` do the work of a parent that took `own`.
pub(crate) fn children_do_the_work(own: Duration, theirs: Duration) -> bool {
    theirs > own * TIMES_OF_PARENT
}

/// The options that observe the first [`MOST_NAMED`] of these processes: `--pid 7 --pid 8`.
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

/// Facts of a process that has not ended.
pub(super) fn living(pid: u32) -> Option<Stat> {
    Stat::of_process(pid).filter(|stat| !matches!(stat.state(), Some(b'Z' | b'X')))
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

    #[test]
    fn we_do_not_count_as_work_of_those_who_started_us() {
        let ours = ancestors(std::process::id());
        let above: Vec<u32> = ours.iter().copied().collect();
        assert!(!above.is_empty());
        let found = descendants(&above);
        assert!(!found.contains(&std::process::id()) && !found.iter().any(|pid| ours.contains(pid)));
    }

    #[test]
    fn what_an_ended_command_leaves_behind_is_found() {
        use std::{
            io::{BufRead as _, BufReader},
            os::unix::process::CommandExt as _,
            process::{Command, Stdio},
        };
        let script = "sleep 1000 >&- & echo $!";
        let mut shell =
            Command::new("sh").args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        shell.wait().unwrap();
        let left: u32 = line.trim().parse().unwrap();
        // Tests beside this one have children, too.
        let began = |pid| Stat::of_process(pid).and_then(|stat| stat.started_ticks()).unwrap();
        let found = left_behind(shell.id(), began(left));
        let of_group: Vec<u32> = found.into_iter().filter(|pid| is_in_group(*pid, shell.id())).collect();
        assert_eq!(of_group, [left]);
        assert!(is_in_group(left, shell.id()));
        assert!(!left_behind(shell.id(), began(left) + 1).contains(&left), "it is older than the command");
        let kill = |pid: u32| {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid as i32).unwrap(),
                rustix::process::Signal::KILL,
            )
        };
        kill(left).unwrap();
    }
}
