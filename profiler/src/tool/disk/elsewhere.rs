//! Threads in an operation on a file that wait for something else: a `splice` for its pipe, a `sendfile` for its socket, an `open` of a named
//! pipe for the other end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{lines::What, operations::Operation, waits::Waits};
use crate::io_tools::Label;

/// Functions of the kernel that wait for a pipe or a socket, by how their names begin.
const WAITS: [&str; 10] =
    ["pipe_", "wait_for_partner", "fifo_", "sk_", "sock_", "unix_", "tcp_", "inet_", "skb_", "__skb_"];

/// Whether a thread waits so, by `/proc/TID/wchan`. Not, if the kernel does not say.
pub(super) fn waits(tid: u32) -> bool {
    fs::read_to_string(format!("/proc/{tid}/wchan")).is_ok_and(|function| is_elsewhere(&function))
}

/// Operations that wait for something else for at least half of the time that they wait. `label`: the label of a file by its number.
pub(super) fn most_of_the_time(waits: &Waits, label: impl Fn(u32) -> Label) -> BTreeSet<What> {
    let mut times: BTreeMap<What, [u64; 2]> = BTreeMap::new();
    for (place, waited) in waits {
        let Some(operation) = Operation::of_number(place.operation) else { continue };
        let what = What { space: place.space, file: label(place.file), operation };
        let [elsewhere, all] = times.entry(what).or_default();
        *all += waited.total_ns;
        *elsewhere += if is_elsewhere(&place.function) { waited.total_ns } else { 0 };
    }
    let most = times.into_iter().filter(|(_, [elsewhere, all])| *elsewhere > 0 && 2 * elsewhere >= *all);
    most.map(|(what, _)| what).collect()
}

fn is_elsewhere(function: &str) -> bool {
    WAITS.iter().any(|begin| function.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        text::Text,
        tool::disk::waits::{Cause, Place, Waited},
    };

    #[test]
    fn an_operation_waits_elsewhere_if_most_of_its_waits_do() {
        let wait = |file, function: &str, total_ns| {
            let (cause, operation) = (Cause::Other, Operation::Write.number());
            let place = Place { space: 0, file, operation, cause, function: function.to_owned() };
            (place, Waited { count: 1, total_ns, max_ns: total_ns })
        };
        let waits = Waits::from([
            wait(1, "pipe_wait_readable", 50),
            wait(1, "jbd2_log_wait_commit", 50),
            wait(2, "pipe_wait_readable", 49),
            wait(2, "folio_wait_bit_common", 50),
        ]);
        let name = |file: u32| Label::Known(Text::from(file.to_string().as_str()));
        let found: Vec<Label> = most_of_the_time(&waits, name).into_iter().map(|what| what.file).collect();
        assert_eq!(found, [name(1)]);
    }

    #[test]
    fn waits_for_pipes_and_sockets_are_no_waits_for_files() {
        for function in
            ["pipe_wait_readable", "wait_for_partner", "sk_stream_wait_memory", "unix_stream_read_generic"]
        {
            assert!(is_elsewhere(function), "{function}");
        }
        for function in [
            "jbd2_log_wait_commit",
            "io_schedule",
            "folio_wait_bit_common",
            "rwsem_down_read_slowpath",
            "0",
            "",
        ] {
            assert!(!is_elsewhere(function), "{function}");
        }
    }
}
