//! `memleak` in an observation, for what is said in the end.

use std::time::Duration;

use profiler_common::{age::UNIT_NS, memleak::counters::Counter};

use super::tool::Memleak;
use crate::observe::{Observation, space::Space};

/// The tool and what it is part of.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) tool: &'a Memleak,
    pub(super) on: &'a Observation<'a>,
}

impl Session<'_> {
    /// How long a space was observed.
    pub(super) fn lasted(&self, space: &Space) -> Duration {
        let window = self.tool.moment_of(space, self.tool.moment(self.on)).window();
        Duration::from_nanos(window.length_units * UNIT_NS)
    }

    /// What was counted while all probes were attached. While they come and go, releases are seen of blocks whose allocation
    /// was not.
    pub(super) fn counts_while_all_attached(
        &self,
        counters: &[u64; Counter::COUNT],
    ) -> [u64; Counter::COUNT] {
        let until = self.tool.late.as_ref().unwrap_or(counters);
        std::array::from_fn(|at| until[at].saturating_sub(self.tool.early[at]))
    }
}
