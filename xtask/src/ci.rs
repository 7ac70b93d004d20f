//! Rules that are stricter in CI.

use std::env;

/// Whether this runs in CI (`CI=true`): a test that was skipped although this machine could have been set up for it is a
/// failure there.
pub(crate) fn is_strict() -> bool {
    env::var_os("CI").is_some_and(|ci| ci == "true")
}
