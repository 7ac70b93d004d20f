//! Processor time and names of threads, by their id.

use std::{collections::HashMap, fs};

use crate::{
    target::{process::threads_of, stat::Stat},
    text::Text,
};

/// Most threads whose time [`of_processes`] reads: each takes some 10 µs of ours.
const MOST: usize = 1024;

/// What a thread has used so far, to a tick of the kernel (1 to 10 ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Had {
    /// Processor time.
    pub(crate) busy_ns: u64,
    /// Time for which it waited for a processor; 0 if the kernel does not say.
    pub(crate) waited_ns: u64,
    /// The part of its processor time outside of the kernel, as the kernel's ticks found it.
    pub(crate) user_ns: u64,
}

impl Had {
    /// Since an earlier moment. If the earlier values are higher, another thread has the id by now.
    pub(crate) fn since(self, before: Had) -> Had {
        match self.busy_ns.checked_sub(before.busy_ns) {
            Some(busy_ns) => Had {
                busy_ns,
                waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
                user_ns: self.user_ns.saturating_sub(before.user_ns),
            },
            None => self,
        }
    }
}

/// What a thread has used so far.
pub(crate) fn had(tid: u32) -> Option<Had> {
    // "time on the processor, time waited for one, turns": Documentation/scheduler/sched-stats.rst. A process directory
    // exists for every thread.
    let exact = fs::read_to_string(format!("/proc/{tid}/schedstat")).ok();
    let exact = exact.and_then(|line| {
        let mut words = line.split_ascii_whitespace().map(str::parse::<u64>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    });
    let ticks = Stat::of_thread(tid)?;
    let user_ns = ticks.user()?.as_nanos() as u64;
    // A kernel without CONFIG_SCHED_INFO says 0.
    let (busy_ns, waited_ns) = match exact.filter(|(busy_ns, _)| *busy_ns > 0) {
        Some(exact) => exact,
        None => (ticks.cpu()?.as_nanos() as u64, 0),
    };
    Some(Had { busy_ns, waited_ns, user_ns })
}

/// Whether a thread began after a moment ([`ticks_now`](crate::target::stat::ticks_now)). One that began in the very
/// tick counts as earlier.
pub(crate) fn began_after(tid: u32, ticks: u64) -> bool {
    Stat::of_thread(tid).and_then(|stat| stat.started_ticks()).is_some_and(|started| started > ticks)
}

/// What the threads of these processes have used so far: of all of them, or of the first 1024.
pub(crate) fn of_processes(pids: impl Iterator<Item = u32>) -> HashMap<u32, Had> {
    pids.flat_map(threads_of).take(MOST).filter_map(|tid| Some((tid, had(tid)?))).collect()
}

/// The name of a thread.
pub(crate) fn name(tid: u32) -> Option<Text> {
    let mut name = fs::read(format!("/proc/{tid}/comm")).ok()?;
    name.truncate(name.trim_ascii_end().len());
    Some(Text::from(name.as_slice()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

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
        let worked = had(own).unwrap().since(before);
        assert!(worked.user_ns <= had(own).unwrap().busy_ns, "{worked:?}");
        assert!(of_processes([std::process::id()].into_iter()).contains_key(&own));
        assert!(name(own).is_some());
        assert_eq!(had(u32::MAX / 2), None);
        let (old, new) =
            (Had { busy_ns: 9, waited_ns: 9, user_ns: 9 }, Had { busy_ns: 2, waited_ns: 1, user_ns: 1 });
        assert_eq!(new.since(old), new, "another thread has the id");
    }
}
