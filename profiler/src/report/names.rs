//! Where the names of functions come from, by file.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// The sources of function names for one file, and why better sources were not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileNames {
    /// The file, as the target sees it.
    pub module: Text,
    /// Its build id, in hex.
    pub build_id: Option<String>,
    /// The sources that were used, the best first.
    pub sources: Vec<String>,
    /// Sources that exist and cannot be read, or that the file refers to and are missing, each with the reason. Therefore
    /// names, inlined functions or lines are missing.
    pub problems: Vec<String>,
    /// Sources that were looked for and do not exist.
    pub absent: Vec<String>,
}
