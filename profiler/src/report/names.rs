//! Where the names of functions come from, by file.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// What the names of the functions of one file were taken from, and why not from something better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileNames {
    /// The file, as the target sees it.
    pub module: Text,
    /// Its build id, in hex.
    pub build_id: Option<String>,
    /// What names are taken from, the best first.
    pub sources: Vec<String>,
    /// What is there and cannot be read, or is referred to and is not there, each with the reason. Names, inlined
    /// functions or lines are missing for it.
    pub problems: Vec<String>,
    /// What was looked for and is not there.
    pub absent: Vec<String>,
}
