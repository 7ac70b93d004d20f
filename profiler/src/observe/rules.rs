//! The rules of findings that do not come from a tool: stable names for scripts.

/// The command ended by itself, and failed.
pub(crate) const COMMAND_FAILED: &str = "command.failed";
/// The command did not end when it was asked to.
pub(crate) const COMMAND_KILLED: &str = "command.killed";
/// The safety guard stopped the observation.
pub(crate) const GUARD: &str = "observation.guard";
/// Processes that should have been observed were not.
pub(crate) const INCOMPLETE: &str = "observation.incomplete";
/// A remark on targets that limits what can be known of them.
pub(crate) const NOTE: &str = "observation.note";
