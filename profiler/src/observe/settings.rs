//! What is asked of an observation, whatever its tools are.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use crate::{capture::uprobe::Method, stage::Stage, symbolize, target::launch};

/// Most of a thread's processor time that the probes may take, unless the user says otherwise.
pub const DEFAULT_MAX_COST: f64 = 0.30;

/// Which processes to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// These processes.
    Pids(Vec<u32>),
    /// All processes of a name, or whose executable has it; a glob.
    Name(String),
    /// All processes of a cgroup, by its directory.
    Cgroup(PathBuf),
    /// A command, from its start on.
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
    /// Interval of interim reports. With this or a length, processes of a name or a cgroup are waited for while there are none: the
    /// observation ends when its time is over, or by a signal.
    pub every: Option<Duration>,
    /// Most call stacks that get a number of their own.
    pub max_stacks: u32,
    /// Where else to look for names.
    pub names: symbolize::Settings,
    /// The best way of attaching that may be used.
    pub method: Method,
    /// Most that the probes may take of the time in which a thread can run, from 0 to 1; `None`: whatever it is.
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

    /// Whether the observation goes on while there is no target, for those that may begin.
    pub(crate) fn waits_for_others(&self) -> bool {
        !self.are_chosen_one_by_one() && (self.length.is_some() || self.every.is_some())
    }

    /// Whether the user named each process, and misses any that is left out.
    pub(crate) fn are_chosen_one_by_one(&self) -> bool {
        matches!(self.targets, Targets::Pids(_) | Targets::Command(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_waited_for_if_a_time_is_set() {
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
