//! The settings of an observation that do not depend on the tool.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{capture::uprobe::Method, stage::Stage, symbolize, target::launch};

/// The share of a thread's processor time that the probes may take by default.
pub const DEFAULT_MAX_COST: f64 = 0.30;

/// Which processes to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// These processes.
    Pids(Vec<u32>),
    /// All processes with this name, or whose executable has it; a glob.
    Name(String),
    /// All processes of a cgroup, given by its directory.
    Cgroup(PathBuf),
    /// A command, from its start.
    Command(Vec<OsString>),
}

/// Everything that can be set. [`Settings::new`] has the defaults of the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which processes.
    pub targets: Targets,
    /// How a command is launched and ended.
    pub launch: launch::Manner,
    /// Whether processes that targets fork are observed too.
    pub children: bool,
    /// How long to observe; `None`: until the targets end or a signal stops it. See [`Settings::every`].
    pub length: Option<Duration>,
    /// Interval of interim reports. If this or a length is set, and no process has the name or is in the cgroup, the observation
    /// waits for one. It ends when its time is over, or by a signal.
    pub every: Option<Duration>,
    /// Most call stacks that get a number of their own.
    pub max_stacks: u32,
    /// Where else to look for names.
    pub names: symbolize::Settings,
    /// The best way of attaching that may be used.
    pub method: Method,
    /// Share of the time in which a thread can run that the probes may take, from 0 to 1; `None`: no limit.
    pub max_cost: Option<f64>,
    /// The command line, which the report repeats; empty if there was none.
    pub command_line: Vec<OsString>,
    /// Where progress is reported while the user waits.
    pub stage: Stage,
}

impl Settings {
    /// The defaults, which observe until the targets end or a signal stops it.
    pub fn new(targets: Targets) -> Settings {
        Settings {
            targets,
            launch: launch::Manner::default(),
            children: false,
            length: None,
            every: None,
            max_stacks: 1 << 14,
            names: symbolize::Settings::default(),
            method: Method::Session,
            max_cost: Some(DEFAULT_MAX_COST),
            command_line: Vec::new(),
            stage: Stage::default(),
        }
    }

    /// Whether processes may join the targets.
    pub(crate) fn others_may_join(&self) -> bool {
        self.children || !self.are_chosen_one_by_one()
    }

    /// Whether the observation goes on while there is no target, because one may start.
    pub(crate) fn waits_for_others(&self) -> bool {
        !self.are_chosen_one_by_one() && (self.length.is_some() || self.every.is_some())
    }

    /// Whether the user named each process, so that leaving one out would be missed.
    pub(crate) fn are_chosen_one_by_one(&self) -> bool {
        matches!(self.targets, Targets::Pids(_) | Targets::Command(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_with_a_time_waits_for_processes() {
        let time = Some(Duration::from_secs(3600));
        let waits = |targets: &Targets, length, every| {
            Settings { length, every, ..Settings::new(targets.clone()) }.waits_for_others()
        };
        for targets in [Targets::Name("match-*".into()), Targets::Cgroup("/sys/fs/cgroup/a".into())] {
            assert!(waits(&targets, time, None) && waits(&targets, None, time), "{targets:?}");
            assert!(!waits(&targets, None, None), "{targets:?}");
        }
        for targets in [Targets::Pids(vec![7]), Targets::Command(vec!["server".into()])] {
            assert!(!waits(&targets, time, time), "{targets:?}");
        }
    }
}
