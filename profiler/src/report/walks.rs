//! How good the call stacks are: how the walks ended, by which method, and how many of their frames have a name.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// Every walk of a call stack: how it ended, and by which method it was made. `stacks` and `walks` are the sums of
/// those in `complete` and in `cut`.
///
/// Walks that lead over the same frames are one stack, and all of them count as the first one did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Walks {
    /// Different stacks.
    pub stacks: u64,
    /// Recorded hits: each has the stack of one walk. In a sampled run these are the drawn hits.
    pub walks: u64,
    /// Those that lead to where a thread or process begins, by method, the most walks first.
    pub complete: Vec<Complete>,
    /// Those that do not, by reason, the most walks first.
    pub cut: Vec<Cut>,
    /// Frames of all walks: a frame counts as often as it was walked over.
    pub frames: u64,
    /// How many of these have a name.
    pub named_frames: u64,
    /// The others, by file and reason, the most frequent first.
    pub unnamed: Vec<Unnamed>,
    /// What the user can switch on in the target for more names or longer stacks.
    pub advice: Vec<String>,
}

/// Frames without a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unnamed {
    /// The file that they are in, as the target sees it; absent for code without a file.
    pub module: Option<Text>,
    /// Why they have no name.
    pub reason: String,
    /// Their number: a frame counts as often as it was walked over.
    pub frames: u64,
}

/// Walks that lead to where a thread or process begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Complete {
    /// How they were made.
    pub method: Method,
    /// Different stacks.
    pub stacks: u64,
    /// Walks.
    pub walks: u64,
}

/// How the frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Method {
    /// Every frame by an unwind table.
    UnwindTables,
    /// Some frames or all by their frame pointers alone: their code has no table, or none that was known yet.
    FramePointers,
}

impl Method {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Method::UnwindTables => "unwind tables",
            Method::FramePointers => "with frame pointers",
        }
    }
}

/// Walks that do not lead to where a thread or process begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cut {
    /// Why.
    pub reason: String,
    /// Different stacks; 0 if no stack is known of these walks.
    pub stacks: u64,
    /// Walks.
    pub walks: u64,
    /// Where they ended, the most walks first. Empty if the place says nothing about the reason.
    pub ended_in: Vec<EndedIn>,
}

/// A file in whose code walks ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndedIn {
    /// The file, as the target sees it; absent for code without a file.
    pub module: Option<Text>,
    /// Different stacks.
    pub stacks: u64,
    /// Walks.
    pub walks: u64,
}

impl Walks {
    /// Share of the walks that lead to where a thread or process begins; absent if there were none.
    pub fn complete_ratio(&self) -> Option<f64> {
        let complete = self.complete.iter().map(|c| c.walks).fold(0, u64::saturating_add);
        ratio(complete, self.walks)
    }

    /// Share of the frames that have a name, each as often as it was walked over; absent if there were none.
    pub fn named_ratio(&self) -> Option<f64> {
        ratio(self.named_frames, self.frames)
    }

    /// Whether the parts are the whole.
    pub(super) fn adds_up(&self) -> bool {
        let pairs = || {
            let complete = self.complete.iter().map(|c| (c.stacks, c.walks));
            complete.chain(self.cut.iter().map(|c| (c.stacks, c.walks)))
        };
        let stacks: u128 = pairs().map(|(stacks, _)| u128::from(stacks)).sum();
        let walks: u128 = pairs().map(|(_, walks)| u128::from(walks)).sum();
        let unnamed: u128 = self.unnamed.iter().map(|unnamed| u128::from(unnamed.frames)).sum();
        stacks == self.stacks.into()
            && walks == self.walks.into()
            && u128::from(self.frames) == u128::from(self.named_frames) + unnamed
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
