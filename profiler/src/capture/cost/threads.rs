//! Processor time and names of threads, by their id.

use std::{collections::HashMap, fs, time::Duration};

use crate::text::Text;

/// Threads whose time is read at most, per reading: each takes some 10 µs of ours.
const MOST: usize = 1024;

/// What a thread has had so far, to a tick of the kernel (1 to 10 ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Had {
    /// Processor time.
    pub(crate) busy_ns: u64,
    /// Time for which it waited for a processor; 0 if the kernel does not say.
    pub(crate) waited_ns: u64,
}

impl Had {
    /// Since an earlier moment. Where that had more, another thread has the id by now.
    pub(crate) fn since(self, before: Had) -> Had {
        match self.busy_ns.checked_sub(before.busy_ns) {
            Some(busy_ns) => Had { busy_ns, waited_ns: self.waited_ns.saturating_sub(before.waited_ns) },
            None => self,
        }
    }
}

/// What a thread has had so far.
pub(crate) fn had(tid: u32) -> Option<Had> {
    // "time on the processor, time waited for one, turns": Documentation/scheduler/sched-stats.rst. A process directory
    // exists for every thread.
    let exact = fs::read_to_string(format!("/proc/{tid}/schedstat")).ok();
    let exact = exact.and_then(|line| {
        let mut words = line.split_ascii_whitespace().map(str::parse::<u64>);
        Some(Had { busy_ns: words.next()?.ok()?, waited_ns: words.next()?.ok()? })
    });
    // A kernel without CONFIG_SCHED_INFO says 0.
    let exact = exact.filter(|had| had.busy_ns > 0);
    exact.or_else(|| Some(Had { busy_ns: coarse_ns(tid)?, waited_ns: 0 }))
}

fn coarse_ns(tid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{tid}/task/{tid}/stat")).ok()?;
    // The name may hold spaces and parentheses; user and system time are fields 14 and 15 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let tick = Duration::from_secs(1).as_nanos() as u64 / rustix::param::clock_ticks_per_second().max(1);
    Some((ticks(11)? + ticks(12)?) * tick)
}

/// What every thread of these processes has had so far.
pub(crate) fn of_processes(pids: impl Iterator<Item = u32>) -> HashMap<u32, Had> {
    let tids = pids.flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok())
    });
    tids.take(MOST).filter_map(|tid| Some((tid, had(tid)?))).collect()
}

/// The name of a thread.
pub(crate) fn name(tid: u32) -> Option<Text> {
    let mut name = fs::read(format!("/proc/{tid}/comm")).ok()?;
    name.truncate(name.trim_ascii_end().len());
    Some(Text::from(name.as_slice()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_works_has_had_time() {
        let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let before = had(own).unwrap();
        let begun = Instant::now();
        // To a tick, which is 10 ms at most; a busy machine may let us wait.
        while had(own).unwrap().since(before).busy_ns < 30_000_000 {
            assert!(begun.elapsed() < Duration::from_secs(20), "its time stands still");
        }
        assert!(coarse_ns(own).unwrap() > 0);
        assert!(of_processes([std::process::id()].into_iter()).contains_key(&own));
        assert!(name(own).is_some());
        assert_eq!(had(u32::MAX / 2), None);
        let (old, new) = (Had { busy_ns: 9, waited_ns: 9 }, Had { busy_ns: 2, waited_ns: 1 });
        assert_eq!(new.since(old), new, "another thread has the id");
    }
}
