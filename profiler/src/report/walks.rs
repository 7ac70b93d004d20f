//! Quality of call stacks: how walks ended, which method they used, and how many of their frames have a name.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// How the walks of call stacks ended, and which method they used. `stacks` and `walks` are the sums over `complete` and `cut`.
///
/// Walks over the same frames are one stack, and count like the first walk of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Walks {
    /// Number of different stacks.
    pub stacks: u64,
    /// Number of walks: one for each recorded hit; in a sampled run, for each sampled hit.
    pub walks: u64,
    /// Walks that reached the start of a thread or process, by method, the most walks first.
    pub complete: Vec<Complete>,
    /// Walks that did not, by reason, the most walks first.
    pub cut: Vec<Cut>,
    /// Number of frames of all walks. A frame counts once for each walk over it.
    pub frames: u64,
    /// Number of those that have a name.
    pub named_frames: u64,
    /// Frames without a name, by file and reason, the most frequent first.
    pub unnamed: Vec<Unnamed>,
    /// Options of the target that would give more names or longer stacks.
    pub advice: Vec<String>,
}

/// Frames without a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unnamed {
    /// The file that contains them, as the target sees it; absent for code without a file.
    pub module: Option<Text>,
    /// Why they have no name.
    pub reason: String,
    /// Their number. A frame counts once for each walk over it.
    pub frames: u64,
}

/// Walks that reached the start of a thread or process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Complete {
    /// Which method they used.
    pub method: WalkMethod,
    /// Number of different stacks.
    pub stacks: u64,
    /// Number of walks.
    pub walks: u64,
}

/// How the frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WalkMethod {
    /// All frames by unwind tables.
    UnwindTables,
    /// At least one frame by its frame pointer, because its code has no unwind table or the table was not known yet.
    FramePointers,
}

impl WalkMethod {
    /// The name in human output.
    pub fn name(self) -> &'static str {
        match self {
            WalkMethod::UnwindTables => "unwind tables",
            WalkMethod::FramePointers => "with frame pointers",
        }
    }
}

/// Walks that did not reach the start of a thread or process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cut {
    /// Why.
    pub reason: String,
    /// Number of different stacks; 0 if these walks have no known stack.
    pub stacks: u64,
    /// Number of walks.
    pub walks: u64,
    /// The files in which they ended, the most walks first. Empty if the file has nothing to do with the reason.
    pub ended_in: Vec<EndedIn>,
}

/// A file in which walks ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndedIn {
    /// The file, as the target sees it; absent for code without a file.
    pub module: Option<Text>,
    /// Number of different stacks.
    pub stacks: u64,
    /// Number of walks.
    pub walks: u64,
}

impl Walks {
    /// Share of the walks that reached the start of a thread or process; absent if there were no walks.
    pub fn complete_ratio(&self) -> Option<f64> {
        let complete = self.complete.iter().map(|c| c.walks).fold(0, u64::saturating_add);
        ratio(complete, self.walks)
    }

    /// Share of the frames that have a name; absent if there were no frames.
    pub fn named_ratio(&self) -> Option<f64> {
        ratio(self.named_frames, self.frames)
    }

    /// Whether the sums are right.
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
