//! The rules of findings that do not come from a tool: stable names, by which scripts decide.

/// The command ended by itself, and not well.
pub(crate) const COMMAND_FAILED: &str = "command.failed";
/// The command did not end when it was asked to.
pub(crate) const COMMAND_KILLED: &str = "command.killed";
