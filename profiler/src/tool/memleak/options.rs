//! The settings of `memleak`.

use std::time::Duration;

use super::{custom::Custom, sentences::needed};
use crate::{observe::functions::plan::Placement, units};

/// Everything that can be set. The defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Age from which a block counts as old.
    pub older: Duration,
    /// Sample one allocation per this many bytes, on average.
    pub sample_bytes: Option<u64>,
    /// Stacks that hold less, and are not leaks, are left out of the report's rows, in bytes.
    pub min_bytes: u64,
    /// Live blocks that fit into the kernel's table; `None`: by the size of the targets.
    pub max_blocks: Option<u32>,
    /// Allocators that the user names.
    pub custom: Vec<Custom>,
    /// Where in a function to probe.
    pub placement: Placement,
}

/// The shortest age that can be distinguished from 0 on every kernel: the clock for ages is the kernel's tick counter, whose step
/// is at most this long (CONFIG_HZ=100).
pub const LEAST_AGE: Duration = Duration::from_millis(10);

impl Default for Options {
    /// Blocks of 30 minutes, all of them.
    fn default() -> Options {
        Options {
            older: Duration::from_secs(30 * 60),
            sample_bytes: None,
            min_bytes: 0,
            max_blocks: None,
            custom: Vec::new(),
            placement: Placement::default(),
        }
    }
}

impl Options {
    /// The warning at the start if the observation is too short to judge blocks of that age.
    pub(super) fn too_short(&self, length: Option<Duration>) -> Option<String> {
        let length = length?;
        let needed = needed(self.older);
        let comfortable = Some(self.older * 4).filter(|better| *better > needed);
        let better = comfortable.map(|better| format!(", better {}", units::exact_duration(better)));
        (length < needed).then(|| {
            format!(
                "{} is too short to judge blocks of {} (--older): that takes --for {} at least{}",
                units::exact_duration(length),
                units::exact_duration(self.older),
                units::rounded_up(needed),
                better.unwrap_or_default()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_that_can_decide_nothing_is_announced() {
        let of = |length: Option<u64>| {
            let options = Options { older: Duration::from_secs(1800), ..Options::default() };
            options.too_short(length.map(Duration::from_secs))
        };
        assert_eq!((of(None), of(Some(2250))), (None, None));
        let words = "37m29s is too short to judge blocks of 30m (--older): that takes --for 37m30s at least, better 2h";
        assert_eq!(of(Some(2249)).as_deref(), Some(words));
        let brief = Options { older: Duration::from_millis(100), ..Options::default() };
        let length = Some(Duration::from_millis(900));
        let words = "900ms is too short to judge blocks of 100ms (--older): that takes --for 1s at least";
        assert_eq!(brief.too_short(length).as_deref(), Some(words));
    }
}
