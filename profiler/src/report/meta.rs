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
    /// Start of the observation (everything attached), nanoseconds since the Unix epoch.
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
    /// The observation goes on: this is an interim report (`--every`).
    Running,
    /// The time asked for is over.
    Elapsed,
    /// Ctrl-C or a termination signal.
    Interrupted,
    /// Every target ended.
    TargetsGone,
    /// The safety guard took the probes away: they cost a thread more than `--max-cost`.
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
    /// Its executable as the target sees it.
    pub exe: Text,
    /// Build id of the executable, in hex, if it has one.
    pub build_id: Option<String>,
    /// How it ended, if it did, in words: "ended with exit code 3", "killed by signal 9 (SIGKILL)", "ended by profiler
    /// (SIGTERM)", "replaced itself by exec"; "ended" if more is not known.
    pub ended: Option<String>,
    /// The signal that killed it, by number; absent if none did, if that is not known, or if it was a SIGTRAP when the
    /// probes had been taken away: here a SIGTRAP means a breakpoint.
    #[serde(default)]
    pub killed_by: Option<i32>,
    /// What was probed in it, one line per site: function, module, site and why that site.
    pub probes: Vec<Probed>,
    /// What the user should know about this target.
    pub notes: Vec<String>,
}

impl Target {
    /// Whether it died of a breakpoint that nobody answered for, as ours would be.
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
    /// Why this site.
    pub reason: String,
}

/// What the observation cost. All shares are fractions of one CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cost {
    /// Probe hits over the whole observation.
    pub hits: u64,
    /// Hits per second; absent if the observation was too short to say.
    pub hits_per_s: Option<f64>,
    /// Share of its processor time that the probes took over the whole observation from the thread that paid most:
    /// how much longer everything took that it did. From hits by thread, what a trap costs here and the measured time in
    /// BPF. Absent if no thread ran for a hundredth of the time.
    pub busiest_thread_share: Option<f64>,
    /// The highest such share in one second.
    #[serde(default)]
    pub worst_second_share: Option<f64>,
    /// Share of all the time in which that thread could run: what `--max-cost` bounds.
    #[serde(default)]
    pub taken_share: Option<f64>,
    /// Name of the thread with the highest share.
    #[serde(default)]
    pub busiest_thread: Option<Text>,
    /// The share that was predicted from counted hits before the real probes came; absent if none was counted, or no
    /// thread ran long enough.
    #[serde(default)]
    pub predicted_share: Option<f64>,
    /// Mean run time of our BPF programs in nanoseconds per hit, without the trap, if it was measured.
    pub bpf_ns_per_hit: Option<f64>,
    /// Mean time of the kernel's part of a hit in nanoseconds: the trap.
    #[serde(default)]
    pub trap_ns_per_hit: Option<f64>,
    /// Whether the trap was measured on this machine; otherwise it is assumed.
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
    /// Time in which hits were counted before the real probes came, in nanoseconds; absent if none were.
    #[serde(default)]
    pub count_ns: Option<u64>,
    /// Time to detach, in nanoseconds; absent while attached.
    pub detach_ns: Option<u64>,
}
