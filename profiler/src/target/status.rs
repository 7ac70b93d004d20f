//! Reading `/proc/PID/status`.

/// Fields of a status file; `None` if the file has no such field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its process (thread group).
    pub(crate) leader: Option<u32>,
    /// Effective user id.
    pub(crate) uid: Option<u32>,
    pub(crate) threads: Option<u64>,
    /// The process that traces it; 0 if there is none.
    pub(crate) tracer: Option<u32>,
    /// 0 none, 1 strict, 2 filter.
    pub(crate) seccomp: Option<u32>,
    /// Its pids, from our pid namespace inwards.
    pub(crate) namespace_pids: Vec<u32>,
    /// Effective capabilities, one bit each.
    pub(crate) capabilities: Option<u64>,
    /// Anonymous memory that is resident, in bytes.
    pub(crate) anonymous_bytes: Option<u64>,
    /// Shared memory that is resident, in bytes.
    pub(crate) shared_bytes: Option<u64>,
    /// Anonymous memory that is swapped out, in bytes.
    pub(crate) swapped_bytes: Option<u64>,
    /// Its state, as a letter: `R` runs, `S` sleeps, `T` is stopped, `t` is stopped by a tracer.
    pub(crate) state: Option<char>,
    /// The most that was ever resident, in bytes.
    pub(crate) peak_bytes: Option<u64>,
    /// How often its first thread gave up its processor, or was preempted.
    pub(crate) switches: Option<u64>,
}

impl Status {
    /// Of a process that runs.
    pub(crate) fn read(pid: u32) -> std::io::Result<Status> {
        // The name in it may contain any bytes.
        let bytes = std::fs::read(format!("/proc/{pid}/status"))?;
        Ok(Status::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// From the text of the file. Malformed lines are skipped.
    pub(crate) fn parse(text: &str) -> Status {
        let mut status = Status::default();
        for (field, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let mut words = value.split_ascii_whitespace();
            let mut number = || words.next()?.parse::<u64>().ok();
            match field {
                // The line has the real, effective, saved and file system ids.
                "Uid" => status.uid = value.split_ascii_whitespace().nth(1).and_then(|id| id.parse().ok()),
                "Threads" => status.threads = number(),
                "TracerPid" => status.tracer = number().map(|pid| pid as u32),
                "Seccomp" => status.seccomp = number().map(|mode| mode as u32),
                "NSpid" => status.namespace_pids = words.filter_map(|pid| pid.parse().ok()).collect(),
                "CapEff" => status.capabilities = u64::from_str_radix(value.trim(), 16).ok(),
                "Tgid" => status.leader = number().map(|pid| pid as u32),
                "RssShmem" => status.shared_bytes = number().map(|kib| kib * 1024),
                "VmHWM" => status.peak_bytes = number().map(|kib| kib * 1024),
                "VmSwap" => status.swapped_bytes = number().map(|kib| kib * 1024),
                "State" => status.state = value.trim().chars().next(),
                "voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches" => {
                    status.switches = number().map(|more| more + status.switches.unwrap_or(0));
                }
                "RssAnon" => status.anonymous_bytes = number().map(|kib| kib * 1024),
                _ => {}
            }
        }
        status
    }

    /// Whether it is stopped, by a signal or by a tracer.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, Some('T' | 't'))
    }

    /// Whether a capability is effective.
    pub(crate) fn has(&self, capability: u32) -> bool {
        self.capabilities.is_some_and(|set| set >> capability & 1 == 1)
    }

    /// Its pid in its own pid namespace.
    pub(crate) fn own_pid(&self) -> Option<u32> {
        self.namespace_pids.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Name:\tsrv: 7\nState:\tt (tracing stop)\nVmSwap:\t       8 kB\nUmask:\t0022\nTgid:\t4242\nVmHWM:\t     9 kB\nUid:\t1000\t33\t1000\t33\nThreads:\t38\nTracerPid:\t0\n\
        NSpid:\t4242\t17\nSeccomp:\t2\nCapEff:\t000000c000080000\nRssAnon:\t    1436 kB\nCapBnd:\tzz\n\
        voluntary_ctxt_switches:\t31\nnonvoluntary_ctxt_switches:\t7\n";

    #[test]
    fn fields_are_those_of_the_process() {
        let status = Status::parse(TEXT);
        assert_eq!((status.uid, status.threads, status.tracer), (Some(33), Some(38), Some(0)));
        assert_eq!(
            (status.leader, status.peak_bytes, status.shared_bytes),
            (Some(4242), Some(9 * 1024), None)
        );
        assert_eq!((status.seccomp, status.own_pid()), (Some(2), Some(17)));
        assert_eq!(status.anonymous_bytes, Some(1436 * 1024));
        assert_eq!((status.state, status.swapped_bytes), (Some('t'), Some(8 * 1024)));
        assert_eq!((status.is_stopped(), status.switches), (true, Some(38)));
        let (ptrace, perfmon, bpf, admin) = (19, 38, 39, 21);
        assert!(status.has(ptrace) && status.has(perfmon) && status.has(bpf) && !status.has(admin));
    }

    #[test]
    fn missing_and_malformed_fields_are_none() {
        let status = Status::parse("Uid:\nSeccomp:\tmany\nNSpid:\nCapEff:\tg\n:\n\n");
        assert_eq!(status, Status::default());
        assert!(!status.has(0));
    }

    #[test]
    fn knows_itself() {
        let own = Status::read(std::process::id()).unwrap();
        assert_eq!(own.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(own.threads.unwrap() >= 1);
    }
}
