//! What the kernel counts for a network namespace as a whole: a check of what is counted by socket, and all there is of sockets that were
//! not seen.

use std::{collections::BTreeMap, fs};

/// Counters of a network namespace, such as `TcpExt.ListenOverflows`, by the names in `/proc/PID/net/snmp` and `netstat`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Those of the namespace of a process; empty if it has ended.
    pub(crate) fn of(pid: u32) -> Counters {
        let mut all = Counters::default();
        for file in ["snmp", "netstat"] {
            match fs::read_to_string(format!("/proc/{pid}/net/{file}")) {
                Ok(text) => all.parse(&text),
                Err(error) => tracing::debug!("no {file} of process {pid}: {error}"),
            }
        }
        all
    }

    /// Each group has a line with names and one with values. Values that are no counts, such as limits of -1, are left out.
    fn parse(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let Some((group, names)) = names.split_once(": ") else { continue };
            let Some((_, values)) = values.split_once(": ").filter(|(other, _)| *other == group) else {
                continue;
            };
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                if let Ok(value) = value.parse() {
                    self.0.insert(format!("{group}.{name}"), value);
                }
            }
        }
    }

    /// A counter; `None`: the kernel does not have it.
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// How much each has grown since an earlier moment, without those that have not.
    #[must_use]
    pub(crate) fn since(&self, before: &Counters) -> Counters {
        let grown = |(name, value): (&String, &u64)| {
            let more = value.checked_sub(before.get(name)?)?;
            (more > 0).then(|| (name.clone(), more))
        };
        Counters(self.0.iter().filter_map(grown).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Tcp: RtoAlgorithm MaxConn RetransSegs\nTcp: 1 -1 53\nUdp: InDatagrams RcvbufErrors\nUdp: 900 7\n";

    #[test]
    fn counters_have_the_names_of_their_groups() {
        let mut counters = Counters::default();
        counters.parse(TEXT);
        assert_eq!((counters.get("Tcp.RetransSegs"), counters.get("Udp.RcvbufErrors")), (Some(53), Some(7)));
        assert_eq!(counters.get("Tcp.MaxConn"), None, "it is no count");
        let mut later = Counters::default();
        later.parse(&TEXT.replace("53", "60"));
        let grown = later.since(&counters);
        assert_eq!(grown.get("Tcp.RetransSegs"), Some(7));
        assert_eq!(grown.get("Udp.RcvbufErrors"), None);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let mut counters = Counters::default();
        counters.parse("Tcp RetransSegs\nTcp 5\nUdp: A B\nIp: 3 4\nIcmp: A\n");
        assert_eq!(counters, Counters::default());
    }

    #[test]
    fn this_process_has_a_network() {
        let counters = Counters::of(std::process::id());
        assert!(
            counters.get("Tcp.RetransSegs").is_some() && counters.get("TcpExt.ListenOverflows").is_some()
        );
    }
}
