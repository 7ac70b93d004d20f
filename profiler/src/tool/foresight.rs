//! What a tool would do with a process, found out without attaching anything: for `doctor`, and for renderers of its diagnosis.

use serde::{Deserialize, Serialize};

use crate::{capture::cost::named, error::Error, text::Text, units};

/// Mean gap between sampled bytes that is proposed if following everything costs too much.
pub(crate) const PROPOSED: &str = "512KiB";

/// What a tool would do with a process.
#[derive(Default)]
pub(crate) struct Foresight {
    /// The allocators that were found.
    pub(crate) allocators: Vec<AllocatorFound>,
    /// The functions that it would probe, and those that it would leave out.
    pub(crate) sites: Vec<Site>,
    /// Why it would refuse the process.
    pub(crate) refused: Option<Error>,
    /// Notes for the user about the process.
    pub(crate) notes: Vec<String>,
}

/// A function that a tool would probe, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Site {
    /// Function name.
    pub function: Text,
    /// File that defines it, as the target sees it.
    pub module: Text,
    /// Offset of the probed instruction in that file, in bytes.
    pub file_offset: u64,
    /// Bytes from the function's entry to the probe.
    pub offset_bytes: u64,
    /// Whether the kernel emulates the probed instruction (one trap) or single-steps it (two, and slow).
    pub emulated: bool,
    /// Why this place.
    pub reason: String,
    /// How the end of the call is observed.
    pub end: CallEnd,
    /// Number of `ret` instructions that are also probed; 0 unless `end` is `ret_instructions`.
    pub returns: u64,
    /// Why the function would be left out; absent if it would be probed.
    pub left_out: Option<String>,
}

/// How the end of a call is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// Not at all, because the entry is enough.
    Unseen,
    /// By a return probe.
    ReturnProbe,
    /// By a return probe that is left out when the call may throw an exception.
    ReturnProbeUnlessItThrows,
    /// At the function's own `ret` instructions.
    RetInstructions,
}

impl Site {
    /// How the end of the call is observed, for people; empty if it is not.
    pub fn end_words(&self) -> String {
        match self.end {
            CallEnd::Unseen => String::new(),
            CallEnd::ReturnProbe => "return probe".to_owned(),
            CallEnd::ReturnProbeUnlessItThrows => "return probe, not if it throws".to_owned(),
            CallEnd::RetInstructions => format!("{} ret instructions", self.returns),
        }
    }
}

/// An allocator in a process, or whatever else the functions of a file are to the tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllocatorFound {
    /// Its name, as far as symbols show.
    pub name: String,
    /// File that defines its functions, as the target sees it.
    pub module: Text,
    /// Functions of it that would be probed or left out.
    pub functions: u64,
}

/// The predicted cost of an observation to the thread that would lose most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// Id of the thread.
    pub thread: u32,
    /// Its name.
    pub name: Option<Text>,
    /// Share of its CPU time, from 0 to 1.
    pub share: f64,
    /// Share of all the time in which it can run, from 0 to 1, which `--max-cost` limits.
    pub taken_share: f64,
    /// The same with `--sample-bytes 512KiB`; absent if the tool does not sample bytes.
    pub sampled_share: Option<f64>,
    /// Calls that would be probed, per second of the thread's processor time.
    pub calls_per_s: f64,
    /// The share from which on the process is refused, unless another is asked for (`--max-cost`).
    pub limit: f64,
}

impl Forecast {
    /// The thread, for people.
    pub fn who(&self) -> String {
        self.name.as_ref().map_or_else(|| format!("thread {}", self.thread), |name| named(self.thread, name))
    }

    /// Whether it exceeds the limit.
    pub fn is_over(&self) -> bool {
        self.taken_share > self.limit
    }

    /// The prediction as a sentence.
    pub fn sentence(&self) -> String {
        let (share, taken) = (units::percent(self.share), units::percent(self.taken_share));
        let calls = units::count(self.calls_per_s);
        let mut words = format!(
            "{} would lose ~{share} of its busy time, ~{taken} of all its time ({calls} probed calls per busy second)",
            self.who()
        );
        if self.is_over() {
            words.push_str(&format!(", more than --max-cost {}", units::percentage(self.limit)));
        }
        if let Some(share) = self.sampled_share.filter(|_| self.is_over()) {
            let sampled = units::percent(share);
            words.push_str(&format!("; at least {sampled} with --sample-bytes {PROPOSED}"));
        }
        words
    }
}
