//! What a run of `memleak` is asked to do.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{
    admission::DEFAULT_MAX_COST,
    custom::Custom,
    plan::Placement,
    sentences::{needed, rounded_up},
};
use crate::{capture::uprobe::Method, stage::Stage, symbolize, target::launch, units};

/// Which processes to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// These processes.
    Pids(Vec<u32>),
    /// All processes of a name, or whose executable has it; a glob.
    Name(String),
    /// All processes of a cgroup, by its directory.
    Cgroup(PathBuf),
    /// A command, from its first allocation on.
    Command(Vec<OsString>),
}

/// Everything that can be set. `Options::new` has the defaults of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which processes.
    pub targets: Targets,
    /// How a command is launched and ended.
    pub launch: launch::Manner,
    /// Age from which a block counts as old.
    pub older: Duration,
    /// How long to observe; `None` until the targets end, or until told to stop.
    pub length: Option<Duration>,
    /// Interval of interim reports.
    pub every: Option<Duration>,
    /// Sample one allocation per so many bytes, in the mean.
    pub sample_bytes: Option<u64>,
    /// Stacks that hold less, and are no leaks, are left out of the report's rows, in bytes.
    pub min_bytes: u64,
    /// Live blocks that fit into the kernel's table; `None`: by the size of the targets.
    pub max_blocks: Option<u32>,
    /// Call stacks that can be told apart.
    pub max_stacks: u32,
    /// Allocators that the user names.
    pub custom: Vec<Custom>,
    /// Where else to look for names.
    pub names: symbolize::Settings,
    /// Where in a function to probe.
    pub placement: Placement,
    /// The best way of attaching that may be used.
    pub method: Method,
    /// Most that the probes may take of the time in which a thread can run, from 0 to 1; `None`: whatever it is.
    pub max_cost: Option<f64>,
    /// Where it is said what is being waited for.
    pub stage: Stage,
    /// The command line, which the report repeats; empty if there was none.
    pub command_line: Vec<OsString>,
}

/// The shortest age that can be told from none on every kernel: the clock of ages is the kernel's tick counter, of which a step
/// takes up to this (CONFIG_HZ=100).
pub const LEAST_AGE: Duration = Duration::from_millis(10);

impl Options {
    /// The defaults: blocks of 30 minutes, until told to stop.
    pub fn new(targets: Targets) -> Options {
        Options {
            targets,
            launch: launch::Manner::default(),
            older: Duration::from_secs(30 * 60),
            length: None,
            every: None,
            sample_bytes: None,
            min_bytes: 0,
            max_blocks: None,
            max_stacks: 1 << 14,
            custom: Vec::new(),
            names: symbolize::Settings::default(),
            placement: Placement::default(),
            method: Method::Session,
            max_cost: Some(DEFAULT_MAX_COST),
            stage: Stage::default(),
            command_line: Vec::new(),
        }
    }

    /// What to say at the start if the observation is too short to judge blocks of that age.
    pub(super) fn too_short(&self) -> Option<String> {
        let length = self.length?;
        let needed = needed(self.older);
        let comfortable = Some(self.older * 4).filter(|better| *better > needed);
        let better = comfortable.map(|better| format!(", better {}", units::exact_duration(better)));
        (length < needed).then(|| {
            format!(
                "{} is too short to judge blocks of {} (--older): that takes --for {} at least{}",
                units::exact_duration(length),
                units::exact_duration(self.older),
                rounded_up(needed),
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
            let mut options = Options::new(Targets::Pids(vec![1]));
            options.older = Duration::from_secs(1800);
            options.length = length.map(Duration::from_secs);
            options.too_short()
        };
        assert_eq!((of(None), of(Some(2250))), (None, None));
        let words = "37m29s is too short to judge blocks of 30m (--older): that takes --for 37m30s at least, better 2h";
        assert_eq!(of(Some(2249)).as_deref(), Some(words));
        let mut brief = Options::new(Targets::Pids(vec![1]));
        (brief.older, brief.length) = (Duration::from_millis(100), Some(Duration::from_millis(900)));
        let words = "900ms is too short to judge blocks of 100ms (--older): that takes --for 1s at least";
        assert_eq!(brief.too_short().as_deref(), Some(words));
    }
}
