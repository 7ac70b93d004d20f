//! Standing back: our own work must not take the processor from the server that we look at.

use rustix::{
    process::{Pid, setpriority_process},
    thread::gettid,
};

/// Nice value of threads that prepare, verify and look up names. A thread of the target at 0 outweighs one at 10 by
/// nine to one (`sched_prio_to_weight`, kernel/sched/core.c), and preempts it when it wakes up; where all processors
/// are busy, we still get on.
const BACKGROUND: i32 = 10;

/// Lets the calling thread stand back from now on.
pub(crate) fn stand_back() {
    // A thread may always lower its own priority; where a filter forbids the call, we are merely less polite.
    let _ = setpriority_process(None, BACKGROUND);
}

/// A thread of ours that may be hurried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Helper(Pid);

impl Helper {
    /// The calling thread, which stands back from now on.
    pub(crate) fn this_thread() -> Helper {
        stand_back();
        Helper(gettid())
    }

    /// Gives the thread the usual priority: somebody waits for it.
    pub(crate) fn hurry(self) {
        // Without CAP_SYS_NICE it stays as it is, and takes longer on a busy machine.
        let _ = setpriority_process(Some(self.0), 0);
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_the_thread_that_says_so_stands_back() {
        let before = getpriority_process(None).unwrap();
        let there = std::thread::spawn(|| {
            stand_back();
            getpriority_process(None).unwrap()
        });
        assert_eq!(there.join().unwrap(), BACKGROUND.max(before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
