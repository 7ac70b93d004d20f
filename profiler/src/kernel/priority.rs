//! Priorities of our own threads: our work must not delay the server that we observe.

use rustix::{
    process::{Pid, getpriority_process, setpriority_process},
    thread::gettid,
};

/// Nice value of a thread that nobody waits for. A thread of the target at 0 outweighs one at 10 by nine to one
/// (`sched_prio_to_weight`, kernel/sched/core.c). Threads that the user waits for keep their priority: on a machine
/// with six times more work than processors, attaching at this value took up to 6 s.
const BACKGROUND: i32 = 10;

/// Gives the calling thread the policy `SCHED_BATCH`: when it wakes up, it waits for a free processor and does not
/// preempt the thread that runs, such as a server in the middle of its tick. Its share of the processor stays the same.
/// Children of the thread, and threads that it starts, inherit this.
pub(crate) fn use_batch_scheduling() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes the calling thread alone; the parameters outlive the call. A thread may always do this; where a
    // seccomp filter forbids the call, the policy stays as it was.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
}

/// Lowers the priority of the calling thread from now on: it preempts nobody, and gets less of a busy processor.
fn lower_priority() {
    use_batch_scheduling();
    if nice() < BACKGROUND {
        // As above: a thread may always lower its own priority.
        let _ = setpriority_process(None, BACKGROUND);
    }
}

fn nice() -> i32 {
    getpriority_process(None).unwrap_or(0)
}

/// A background thread whose priority can be restored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackgroundThread {
    thread: Pid,
    usual: i32,
}

impl BackgroundThread {
    /// The calling thread, with its priority lowered from now on.
    pub(crate) fn this_thread() -> BackgroundThread {
        let background = BackgroundThread { thread: gettid(), usual: nice() };
        lower_priority();
        background
    }

    /// Restores the priority that the thread had before: somebody waits for it now.
    pub(crate) fn restore_priority(self) {
        // Without CAP_SYS_NICE this fails: the thread keeps its low priority, and takes longer on a busy machine.
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
    fn only_the_thread_that_asks_for_it_gets_a_lower_priority() {
        let before = (nice(), policy());
        let there = std::thread::spawn(|| {
            let background = BackgroundThread::this_thread();
            (background.usual, nice(), policy())
        });
        assert_eq!(there.join().unwrap(), (before.0, before.0.max(BACKGROUND), libc::SCHED_BATCH));
        assert_eq!((nice(), policy()), before);
    }
}
