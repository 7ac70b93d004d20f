//! Text that comes from the target: names of processes, files and functions, chosen by whoever wrote them.

use serde::{Deserialize, Serialize};

/// Untrusted text. It has no `Display`: every output format has to pick its own escape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Text(String);
