//! The report: everything an observation found, in one value that all output formats are made from.
//!
//! A report knows no tool. Its sections declare their columns with unit and role, so renderers, exporters and
//! comparisons work for tools that do not exist yet. `schema/report.schema.json` is the published form.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// Version of the report format. Adding a field keeps it; removing one or changing a meaning raises it.
pub const SCHEMA: u32 = 1;

/// One observation, complete: what was asked, what was found, and how far it can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format.
    pub schema: u32,
    /// What was observed, where, when, and what it cost.
    pub meta: Meta,
    /// The answer: one sentence per finding, the most important first. Never empty.
    pub findings: Vec<Finding>,
    /// The evidence as tables.
    pub sections: Vec<Section>,
    /// The call stacks that rows refer to by index.
    pub stacks: Vec<Stack>,
    /// Where every hit went, and how good the stacks and names are.
    pub coverage: Coverage,
}

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Length of the observation in nanoseconds, on the monotonic clock.
    pub length_ns: u64,
    /// Why the observation ended.
    pub ended: Ended,
    /// The observed processes.
    pub targets: Vec<Target>,
    /// Settings that change the meaning of the numbers, as `name: value`.
    pub settings: Vec<(String, String)>,
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
}

/// One observed process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Process id in profiler's own pid namespace.
    pub pid: u32,
    /// Its name.
    pub name: Text,
    /// Its executable as the target sees it.
    pub exe: Text,
    /// Build id of the executable, in hex, if it has one.
    pub build_id: Option<String>,
    /// How it ended, if it did: "exit code 3", "killed by signal 9", "replaced itself by exec", "ended".
    pub ended: Option<String>,
    /// What was probed in it, one line per site: function, module, site and why that site.
    pub probes: Vec<Probed>,
    /// What the user should know about this target.
    pub notes: Vec<String>,
}

/// One probed function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
pub struct Cost {
    /// Probe hits over the whole observation.
    pub hits: u64,
    /// Hits per second.
    pub hits_per_s: f64,
    /// Modelled share of the busiest thread's time that went into our probes, if it could be modelled.
    pub busiest_thread_share: Option<f64>,
    /// Mean run time of our BPF programs in nanoseconds per hit, without the trap, if it was measured.
    pub bpf_ns_per_hit: Option<f64>,
    /// CPU time of profiler itself, as a share of one CPU.
    pub own_cpu_share: f64,
    /// Peak resident memory of profiler, in bytes.
    pub own_memory_bytes: u64,
    /// Kernel memory of the BPF maps, in bytes.
    pub map_memory_bytes: u64,
    /// Time from start to everything attached, in nanoseconds.
    pub attach_ns: u64,
    /// Time to detach, in nanoseconds; absent while attached.
    pub detach_ns: Option<u64>,
}

/// One sentence of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The sentence, in parts, so that untrusted names inside it are escaped by each format.
    pub sentence: Vec<Phrase>,
}

/// Part of a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phrase {
    /// Our own words.
    Plain(String),
    /// A name from the target.
    Name(Text),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// What was asked about was found.
    Problem,
    /// The answer is limited: too early, incomplete, out of sight.
    Limit,
    /// Good to know.
    Info,
}

/// One table of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Stable name for programs.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// The rows, the most important first. Complete: limits such as `--top` are applied by renderers.
    pub rows: Vec<Row>,
    /// Remarks below the table.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Stable name for programs, with the unit at its end.
    pub name: String,
    /// Short title for people; the unit comes from `unit`.
    pub title: String,
    /// Unit of the values.
    pub unit: Unit,
    /// What the values are to the table.
    pub role: Role,
    /// Whether the narrow human table shows it.
    pub shown: bool,
}

/// Unit of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// No unit: a word.
    None,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes per hour.
    BytesPerHour,
    /// Nanoseconds.
    Nanos,
    /// Events per second.
    PerSecond,
    /// Events per hour.
    PerHour,
    /// A fraction of 1.
    Ratio,
}

/// What a column is to its table: tells comparison, merge, export and live view what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Identifies the row.
    Key,
    /// Adds up over rows and time.
    Sum,
    /// The largest counts.
    Max,
    /// A state at one moment, or a rate.
    Gauge,
    /// A word about the row.
    Label,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// One value per column.
    pub cells: Vec<Value>,
    /// The row's call stack: index into [`Report::stacks`].
    pub stack: Option<usize>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Not available, and why.
    Unknown(String),
    /// Our own word.
    Word(String),
    /// A name from the target.
    Name(Text),
    /// An exact whole number.
    Exact(u64),
    /// An estimate with its 95 % interval. Shown with `~`.
    Estimate {
        /// Best value.
        value: f64,
        /// Lower end.
        low: f64,
        /// Upper end; absent if unbounded.
        high: Option<f64>,
    },
}

/// A call stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// The pid of the process it belongs to.
    pub pid: u32,
    /// The frames.
    pub frames: Vec<Frame>,
    /// Whether the end of the stack was reached, else why not.
    pub incomplete: Option<String>,
}

/// One frame: a code address, and the function or functions (inlined ones first) that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// Address in the target.
    pub address: u64,
    /// File that was mapped there, as the target sees it.
    pub module: Option<Text>,
    /// Build id of that file, in hex.
    pub build_id: Option<String>,
    /// Offset of the address in that file.
    pub file_offset: Option<u64>,
    /// Functions, innermost inlined first. Empty if unresolved.
    pub functions: Vec<Function>,
    /// Why there is no function.
    pub unresolved: Option<String>,
}

/// A function name with its place in the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Demangled name.
    pub name: Text,
    /// Source file, where there is DWARF.
    pub file: Option<Text>,
    /// Line in it.
    pub line: Option<u32>,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

/// Where every hit went, and the quality of stacks and names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// False if losses could change the answer. No verdict rests on an incomplete report.
    pub complete: bool,
    /// Why it is not complete, each with what to do.
    pub incomplete_because: Vec<String>,
    /// One entry per kind of probe.
    pub ledger: Vec<Ledger>,
    /// Remarks of the kernel side on quality, by name; zero counts are left out.
    pub quality: Vec<(String, u64)>,
    /// Share of stacks whose end was reached, weighted by blocks.
    pub complete_stacks_ratio: Option<f64>,
    /// How stacks were walked.
    pub stack_method: String,
    /// Share of frames that have a name.
    pub named_frames_ratio: Option<f64>,
    /// What was there before we looked, and is therefore out of sight.
    pub before_attach: Option<String>,
}

/// The ledger of one kind of probe: `hits` = sum of `outcomes` + `unaccounted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Name of the probe.
    pub probe: String,
    /// Firings.
    pub hits: u64,
    /// Where they went. Zero counts are kept, so that the list of causes is the same in every report.
    pub outcomes: Vec<Outcome>,
    /// Hits without an outcome. Anything but 0 is a defect of profiler.
    pub unaccounted: i64,
}

/// One way for a hit to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the cause.
    pub name: String,
    /// `recorded`, `filtered`, `sampled_out` or `lost`.
    pub class: String,
    /// Number of hits.
    pub count: u64,
}
