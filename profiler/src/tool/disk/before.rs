//! Threads that have been in an operation since before the observation began: no program has seen them enter it.

use std::{collections::HashSet, fs, os::unix::fs::FileTypeExt as _};

use super::{
    findings::thresholds::STUCK_FOR,
    operations::{Operation, use_of},
};
use crate::{
    capture::cost::threads,
    observe::{Observation, io::Alive},
    target::process::threads_of,
    text::Text,
};

/// Threads that are looked at, at most.
const MOST: usize = 4_096;

/// Such a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) thread: Text,
    pub(super) operation: Operation,
    /// The file of its descriptor.
    pub(super) file: Text,
}

/// Finds the threads of the targets that have entered no call since the observation began, and are in one on a file. Finds none before the
/// observation has lasted [`STUCK_FOR`].
pub(super) fn find(on: &Observation<'_>, alive: &[Alive]) -> Vec<Stuck> {
    if on.lasted() < STUCK_FOR {
        return Vec::new();
    }
    let seen: HashSet<u32> = alive.iter().map(|thread| thread.tid).collect();
    let threads = on.living().flat_map(|pid| threads_of(pid).map(move |tid| (pid, tid)));
    let unseen = threads.filter(|(_, tid)| !seen.contains(tid)).take(MOST);
    unseen.filter_map(|(pid, tid)| stuck(pid, tid)).collect()
}

fn stuck(pid: u32, tid: u32) -> Option<Stuck> {
    let call = fs::read_to_string(format!("/proc/{tid}/syscall")).ok()?;
    let (operation, descriptor) = parse(&call)?;
    let link = format!("/proc/{pid}/fd/{descriptor}");
    // Sockets, pipes and terminals may wait for any time. They do not count, as for other operations.
    let kind = fs::metadata(&link).ok()?.file_type();
    let path = fs::read_link(link).ok()?;
    let counts = kind.is_file() || kind.is_dir() || kind.is_block_device();
    let file = counts.then(|| Text::new(path.as_os_str().as_encoded_bytes()))?;
    Some(Stuck { thread: threads::name(tid)?, operation, file })
}

/// The operation of a line of `/proc/TID/syscall` (the number of the call and its arguments), and its descriptor.
fn parse(line: &str) -> Option<(Operation, u64)> {
    let mut words = line.split_ascii_whitespace();
    let used = use_of(words.next()?.parse().ok()?);
    let operation = Operation::of_number(used.operation())?;
    let place = (used.files().descriptor() as usize).checked_sub(1)?;
    let descriptor = u64::from_str_radix(words.nth(place)?.strip_prefix("0x")?, 16).ok()?;
    Some((operation, descriptor))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    use rustix::fs::Mode;

    use super::*;

    /// A named pipe has a path, like a terminal: whoever reads it waits for others.
    #[test]
    fn a_thread_that_waits_for_a_pipe_is_not_stuck() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        // Both ends, so that opening it does not wait.
        let mut pipe = fs::File::options().read(true).write(true).open(&path).unwrap();
        let mut other = pipe.try_clone().unwrap();
        let (say, hear) = mpsc::channel();
        let reader = thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            other.read_exact(&mut [0]).unwrap();
        });
        let tid = hear.recv().unwrap();
        let begun = Instant::now();
        while fs::read_to_string(format!("/proc/{tid}/syscall")).ok().and_then(|line| parse(&line)).is_none()
        {
            assert!(begun.elapsed() < Duration::from_secs(10), "it does not read");
            thread::yield_now();
        }
        assert_eq!(stuck(std::process::id(), tid), None);
        pipe.write_all(&[0]).unwrap();
        reader.join().unwrap();
    }

    #[test]
    fn calls_on_files_are_read_from_their_line() {
        let of = |number: u32| parse(&format!("{number} 0x7 0x55d0c0 0xa 0x0 0x0 0x0 0x7ffd10 0x7f1200\n"));
        assert_eq!(of(1), Some((Operation::Write, 7)));
        assert_eq!(of(74), Some((Operation::Fsync, 7)));
        assert_eq!(of(35), None, "it sleeps");
        assert_eq!(of(87), None, "it names a path");
        for line in ["running", "-1 0x7ffd10 0x7f1200", "", "1"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
