//! `memleak` and its observation, for the report.

use std::time::Duration;

use profiler_common::{age::UNIT_NS, memleak::counters::Counter};

use super::tool::Memleak;
use crate::observe::{Observation, space::Space};

/// The tool and the observation that it is part of.
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

    /// The counts of the time in which all probes were attached. While probes are being attached or detached, releases are seen
    /// of blocks whose allocation was not.
    pub(super) fn counts_while_all_attached(
        &self,
        counters: &[u64; Counter::COUNT],
    ) -> [u64; Counter::COUNT] {
        let until = self.tool.late.as_ref().unwrap_or(counters);
        std::array::from_fn(|at| until[at].saturating_sub(self.tool.early[at]))
    }
}
