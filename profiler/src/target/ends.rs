//! Waiting for the ends of processes.

use std::{io, os::fd::OwnedFd};

use rustix::event::{Timespec, epoll};
use tokio::io::unix::AsyncFd;

use super::process::Process;

/// Reports when one of several processes ends.
#[derive(Debug)]
pub(crate) struct Ends(AsyncFd<OwnedFd>);

impl Ends {
    /// The ends of these processes. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// If the system has no room for another descriptor.
    pub(crate) fn of<'a>(processes: impl Iterator<Item = &'a Process>) -> io::Result<Ends> {
        let all = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for process in processes {
            add(&all, process)?;
        }
        // SAFETY: the descriptor is owned by the value that is registered, and closed only with it.
        let registered = unsafe { AsyncFd::register(all) };
        registered.map(Ends).map_err(io::Error::from)
    }

    /// Also reports the end of this process.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn add(&self, process: &Process) -> io::Result<()> {
        add(self.0.get_ref(), process)
    }

    /// Ready when another process has ended.
    pub(crate) async fn next(&self) {
        // Without a reactor this never returns; callers also look at intervals.
        while let Ok(mut ready) = self.0.readable().await {
            let mut ended = Vec::with_capacity(1);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(self.0.get_ref(), rustix::buffer::spare_capacity(&mut ended), Some(&now)) {
                Ok(1..) => return,
                Ok(0) | Err(_) => ready.clear_ready(),
            }
        }
        std::future::pending().await
    }
}

fn add(all: &OwnedFd, process: &Process) -> io::Result<()> {
    // Report each end once: the descriptor of a process that has ended stays readable.
    let events = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
    let Some(handle) = process.handle() else { return Ok(()) };
    Ok(epoll::add(all, handle, epoll::EventData::new_u64(0), events)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_end_is_reported_once_and_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut children = [(); 2].map(|()| std::process::Command::new("sleep").arg("1000").spawn().unwrap());
        let processes = children.each_ref().map(|child| Process::open(child.id()).unwrap());
        runtime.block_on(async {
            let ends = Ends::of(processes.iter()).unwrap();
            let soon = Duration::from_millis(50);
            assert!(tokio::time::timeout(soon, ends.next()).await.is_err(), "both run");
            for child in &mut children {
                child.kill().unwrap();
                tokio::time::timeout(Duration::from_secs(20), ends.next()).await.unwrap();
                assert!(tokio::time::timeout(soon, ends.next()).await.is_err(), "it is reported once");
                child.wait().unwrap();
            }
        });
    }
}
