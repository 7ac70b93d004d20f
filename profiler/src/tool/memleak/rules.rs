//! The rules of `memleak`: the stable names of its findings. Scripts rely on them, and a name never changes its meaning.
//! `docs/memleak.md` lists them.

#[cfg(test)]
use crate::observe::rules::{COMMAND_FAILED, COMMAND_KILLED, GUARD, INCOMPLETE as NOT_ALL_OBSERVED, NOTE};

/// A target died under observation, most likely because of it.
pub const KILLED: &str = "memleak.killed";
/// Memory grew by much that followed allocations do not explain.
pub const UNEXPLAINED_GROWTH: &str = "memleak.unexplained_growth";
/// Nothing that could be judged leaks, but live blocks grew by much.
pub const LIVE_GROWTH: &str = "memleak.live_growth";
/// A target was stopped.
pub const HALTED: &str = "memleak.halted";
/// Children of a target do work, and are not observed.
pub const CHILDREN: &str = "memleak.children";
/// A target has become a program that is not observed.
pub const UNOBSERVED: &str = "memleak.unobserved";
/// Something leaks.
pub const LEAK: &str = "memleak.leak";
/// The sites that are not decided yet hold too much for "no leak".
pub const UNDECIDED: &str = "memleak.undecided";
/// The observation was too short to judge anything.
pub const TOO_EARLY: &str = "memleak.too_early";
/// Nothing leaks.
pub const CLEAN: &str = "memleak.clean";
/// Losses could change the answer.
pub const INCOMPLETE: &str = "memleak.incomplete";
/// No allocation was seen.
pub const NOTHING_SEEN: &str = "memleak.nothing_seen";
/// A target is young: whatever fills once after the start may still look like growth.
pub const FILLING: &str = "memleak.filling";
/// A target ended before the observation did: it is judged up to then.
pub const ENDED: &str = "memleak.ended";
/// A target freed what it held as it ended: it is judged as it was just before.
pub const FREED_AT_END: &str = "memleak.freed_at_end";

/// Every rule that a report of `memleak` may name.
#[cfg(test)]
const ALL: [&str; 20] = [
    KILLED,
    UNEXPLAINED_GROWTH,
    LIVE_GROWTH,
    GUARD,
    HALTED,
    CHILDREN,
    UNOBSERVED,
    LEAK,
    UNDECIDED,
    TOO_EARLY,
    CLEAN,
    INCOMPLETE,
    NOT_ALL_OBSERVED,
    NOTHING_SEEN,
    FILLING,
    ENDED,
    FREED_AT_END,
    NOTE,
    COMMAND_FAILED,
    COMMAND_KILLED,
];

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_names_every_rule() {
        let page = testbed::place::checkout().join("docs/memleak.md");
        let page = std::fs::read_to_string(page).unwrap();
        for rule in super::ALL {
            assert!(page.contains(&format!("`{rule}`")), "docs/memleak.md does not name {rule}");
        }
    }
}
