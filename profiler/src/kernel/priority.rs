//! Standing back: our own work must not take the processor from the server that we look at.

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::gettid,
};

/// Nice value of a thread that nobody waits for. A thread of the target at 0 outweighs one at 10 by nine to one
/// (`sched_prio_to_weight`, kernel/sched/core.c). What the user waits for does not stand back: on a machine with six
/// times more work than processors, attaching at this value took up to 6 s.
const BACKGROUND: i32 = 10;

/// Lets the calling thread wait for a processor to become free, instead of taking it from whoever runs: a tick that
/// is under way is not interrupted when the thread wakes up. Its share stays the same. Children of the thread, and
/// threads that it starts, inherit this.
pub(crate) fn use_batch_scheduling() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes the calling thread alone; the parameters outlive the call. A thread may always do this; where a
    // filter forbids the call, we are merely less polite.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

/// Lets the calling thread stand back from now on: it interrupts nobody, and gets less of a busy processor.
fn stand_back() {
    use_batch_scheduling();
    if nice() < BACKGROUND {
        // As above: a thread may always lower its own priority.
        let _ = setpriority_process(None, BACKGROUND);
    }
}

fn nice() -> i32 {
    getpriority_process(None).unwrap_or(0)
}

/// A thread of ours that may be hurried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Helper {
    thread: Pid,
    usual: i32,
}

impl Helper {
    /// The calling thread, which stands back from now on.
    pub(crate) fn this_thread() -> Helper {
        let helper = Helper { thread: gettid(), usual: nice() };
        stand_back();
        helper
    }

    /// Gives the thread its usual priority again: somebody waits for it.
    pub(crate) fn hurry(self) {
        // Without CAP_SYS_NICE it stays as it is, and takes longer on a busy machine.
        let _ = setpriority_process(Some(self.thread), self.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: asks about the calling thread.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn only_the_thread_that_says_so_stands_back() {
        let before = (nice(), policy());
        let there = std::thread::spawn(|| {
            let helper = Helper::this_thread();
            (helper.usual, nice(), policy())
        });
        assert_eq!(there.join().unwrap(), (before.0, before.0.max(BACKGROUND), libc::SCHED_BATCH));
        assert_eq!((nice(), policy()), before);
    }
}
