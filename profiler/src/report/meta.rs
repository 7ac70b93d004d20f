//! What was observed, where, when, and what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Meta {
    /// Name of the tool, as on the command line.
    pub tool: String,
    /// Version of profiler.
    pub version: String,
    /// The command line of profiler.
    pub command: Vec<Text>,
    /// Host name.
    pub host: Text,
    /// Kernel release.
    pub kernel: String,
    /// Start of the observation, when all probes were attached, in nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// The same as RFC 3339, in milliseconds and UTC: `2026-11-22T08:02:14.000Z`.
    #[serde(default)]
    pub started: String,
    /// Length of the observation in nanoseconds, on the monotonic clock.
    pub length_ns: u64,
    /// The same in whole milliseconds.
    #[serde(default)]
    pub length_ms: u64,
    /// Why the observation ended.
    pub ended: Ended,
    /// The observed processes.
    pub targets: Vec<Target>,
    /// Settings that change the meaning of the numbers, by name.
    pub settings: BTreeMap<String, String>,
    /// What the observation cost.
    pub cost: Cost,
}

impl Meta {
    /// Length of the observation.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.length_ns)
    }
}

/// Why the observation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The observation is still running: this is an interim report (`--every`).
    Running,
    /// The requested time is over.
    Elapsed,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// Every target ended.
    TargetsGone,
    /// The safety guard removed the probes because they cost a thread more than `--max-cost`.
    StoppedByGuard,
}

/// One observed process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// Process id in profiler's own pid namespace.
    pub pid: u32,
    /// Its name.
    pub name: Text,
    /// Its executable as the target sees it; empty if the program ended before it could be looked at.
    pub exe: Text,
    /// Build id of the executable, in hex, if it has one.
    pub build_id: Option<String>,
    /// How it ended, in words; absent if it still runs: "ended with exit code 3", "killed by signal 9 (SIGKILL)", "ended by profiler
    /// (SIGTERM)", "replaced itself by exec"; "ended" if more is not known.
    pub ended: Option<String>,
    /// Number of the signal that killed it. Absent if no signal did, if it is not known, or if it was a SIGTRAP after the probes
    /// had been removed: a SIGTRAP here means that a breakpoint killed it.
    #[serde(default)]
    pub killed_by: Option<i32>,
    /// The probed functions.
    pub probes: Vec<Probed>,
    /// Remarks about this target, for people.
    pub notes: Vec<String>,
}

impl Target {
    /// Whether it was killed by a breakpoint that nobody handled, which may have been a probe of profiler.
    pub fn died_of_breakpoint(&self) -> bool {
        self.killed_by == Some(libc::SIGTRAP)
    }
}

/// One probed function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Probed {
    /// Function name.
    pub function: Text,
    /// File that defines it, as the target sees it.
    pub module: Text,
    /// Bytes from the function's entry to the probe.
    pub offset_bytes: u64,
    /// Whether the kernel emulates the probed instruction (one trap) or single-steps it (two, and slow).
    pub emulated: bool,
    /// Why this place was chosen.
    pub reason: String,
}

/// In place of a name: threads that have ended, together. No thread has a name of this length.
pub const THREADS_THAT_ENDED: &str = "threads that have ended";

/// What the observation cost. All shares are fractions of one CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// Probe hits over the whole observation.
    pub hits: u64,
    /// Hits per second; absent if the observation was too short to say.
    pub hits_per_s: Option<f64>,
    /// Share of the CPU time of the thread that the probes slowed down most, over the whole observation. Computed from the hits of
    /// the thread, the cost of a trap on this machine, and the measured time in BPF. Absent if no thread ran for a hundredth of
    /// the time.
    pub busiest_thread_share: Option<f64>,
    /// The highest share in one second.
    #[serde(default)]
    pub worst_second_share: Option<f64>,
    /// Share of the time in which that thread could run, asleep or not: the share that `--max-cost` limits.
    #[serde(default)]
    pub taken_share: Option<f64>,
    /// Name of the thread with the highest share, or `threads that have ended`.
    #[serde(default)]
    pub busiest_thread: Option<Text>,
    /// The share that was predicted from hits counted before the probes were attached. Absent if no hits were counted, or no
    /// thread ran long enough.
    #[serde(default)]
    pub predicted_share: Option<f64>,
    /// Mean run time of the BPF programs in nanoseconds per hit, without the trap, if it was measured.
    pub bpf_ns_per_hit: Option<f64>,
    /// Mean time of the trap of a hit, in nanoseconds.
    #[serde(default)]
    pub trap_ns_per_hit: Option<f64>,
    /// Estimated share of the hits that found the kernel's code for probes evicted from the nearest caches, from 0 to 1. It follows from the
    /// time between hits and from what ran in the kernel in between. Such hits take longer, which `trap_ns_per_hit` includes. Absent if
    /// there were no hits.
    #[serde(default)]
    pub cold_share: Option<f64>,
    /// Mean time that a system call takes longer, in nanoseconds, by tools that count those. Absent if none does.
    #[serde(default)]
    pub call_ns: Option<f64>,
    /// Whether the price of a trap and of a call were measured on this machine; otherwise they are assumed.
    #[serde(default)]
    pub calibrated: bool,
    /// CPU time of profiler itself, as a share of one CPU; absent if it could not be read.
    pub own_cpu_share: Option<f64>,
    /// Peak resident memory of profiler, in bytes.
    pub own_memory_bytes: u64,
    /// Kernel memory of the BPF maps, in bytes.
    pub map_memory_bytes: u64,
    /// Time from start to everything attached, in nanoseconds, without `count_ns`.
    pub attach_ns: u64,
    /// Time for which hits were counted before the probes were attached, in nanoseconds. Absent if no hits were counted.
    #[serde(default)]
    pub count_ns: Option<u64>,
    /// Time to detach, in nanoseconds; absent while attached.
    pub detach_ns: Option<u64>,
}
