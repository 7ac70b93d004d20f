//! Threads that have been in an operation since before the observation began: no program has seen them enter it.

use std::{collections::HashSet, fs};

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

/// Finds them among the threads of the targets: they have made no call, and are in one on a file. None before they are [`STUCK_FOR`] long.
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
    let path = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    // A socket or a pipe has no path.
    let file = path.is_absolute().then(|| Text::new(path.as_os_str().as_encoded_bytes()))?;
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
    use super::*;

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
