//! Finds the targets, reads their files, and plans where they are probed.

use std::{collections::BTreeSet, path::PathBuf, thread};

use profiler_common::record::RECORD_OF_TOOL;

use super::{
    ground::{Follows, Ground, Shape},
    observation::monotonic_ns,
    settings::{Settings, Targets},
    setup::{joined, require_what_commands_need},
    space::Space,
    targets,
};
use crate::{
    capture::object::Object,
    error::{Error, Result},
    kernel::priority::use_batch_scheduling,
    target::{find, launch, modules::Modules},
    tool::Tool,
    unwind::{
        arena::Capacity,
        tracker::{Files, Tracker},
    },
};

/// How many programs, which targets become by exec, can have their stacks walked by tables.
const EXECS: usize = 16;
/// The same if other processes may join. Each takes 24 KiB, and is free again when its process has ended.
const CHILDREN: usize = 128;

/// The processes to observe.
pub(super) struct Found {
    /// The command, which waits to be released.
    pub(super) launched: Option<launch::Waiting>,
    /// The files that it is going to map.
    ahead: Vec<PathBuf>,
    pub(super) spaces: Vec<Space>,
    /// Pids of all that the user asked for.
    pub(super) met: BTreeSet<u32>,
    /// Whether probes are safe for processes with a seccomp filter, if that was tested.
    pub(super) trial: Option<Result<()>>,
}

/// What a tool may want to know of the targets before anything is attached.
pub(crate) struct Beginning<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) spaces: &'a [Space],
    /// Whether they are a command that does not run yet.
    pub(crate) launched: bool,
    /// Now, on the monotonic clock.
    pub(crate) start_ns: u64,
    /// The kind of the tool's own records in the ring.
    pub(crate) record_kind: u8,
}

/// Unwind tables, and how large the maps for them are to be.
pub(super) struct Tracking {
    files: Files,
    capacity: Capacity,
    spaces: u32,
}

impl Tracking {
    pub(super) fn map(self, ground: &Ground) -> Result<Tracker> {
        Tracker::map(ground.object(), self.files, self.capacity, self.spaces)
    }
}

impl Found {
    /// Finds the targets, or starts the command, and reads their files.
    pub(super) fn find(settings: &Settings, tools: &[Box<dyn Tool>], modules: &mut Modules) -> Result<Found> {
        let mut launched = None;
        let pids = match &settings.targets {
            Targets::Pids(pids) => pids.clone(),
            Targets::Name(pattern) => find::by_name(pattern)?,
            Targets::Cgroup(directory) => find::by_cgroup(directory)?,
            Targets::Command(command) => {
                require_what_commands_need()?;
                let waiting = launch::start(command, &settings.launch)?;
                let pid = waiting.pid();
                launched = Some(waiting);
                vec![pid]
            }
        };
        let ahead: Vec<PathBuf> =
            launched.as_ref().map(|w| w.images().into_iter().collect()).unwrap_or_default();
        for (image, tool) in ahead.iter().flat_map(|image| tools.iter().map(move |tool| (image, tool))) {
            tool.check_file(image)?;
        }
        let mut spaces = targets::spaces(&pids, settings, tools, launched.is_some(), modules)?;
        if let (Some(waiting), Some(space)) = (&launched, spaces.first_mut()) {
            space.forget_layout(waiting.program());
            // A command that may outlive us must not stay stopped if we are killed. Any other is resumed and ended
            // then.
            space.held = !settings.launch.leave_running;
        }
        // A process that starts may install a filter at any time; of a running one we see whether it has one.
        let filtered = |space: &Space| space.process.seccomp().is_none_or(|mode| mode != 0);
        let mut trial = None;
        if launched.is_some() || settings.others_may_join() || spaces.iter().any(filtered) {
            let mut with_probes = tools.iter().map(|tool| tool.about()).filter(|about| about.has_uprobes);
            let tried = with_probes.try_for_each(|about| (about.trial)(settings.method).map(drop));
            // Processes that join are refused one by one.
            if launched.is_some() || spaces.iter().any(filtered) {
                tried.clone()?;
            }
            trial = Some(tried);
        }
        Ok(Found { launched, ahead, spaces, met: pids.into_iter().collect(), trial })
    }

    /// Decides where to probe, and makes unwind tables, while the objects are loaded. One object for each tool.
    pub(super) fn plan_and_load(
        &mut self,
        settings: &Settings,
        tools: &mut [Box<dyn Tool>],
        modules: &mut Modules,
    ) -> Result<(Ground, Vec<Object>, Tracking)> {
        let launched = self.launched.is_some();
        let start_ns = monotonic_ns();
        let spaces = &self.spaces;
        let begin = |(record_kind, tool): (u8, &mut Box<dyn Tool>)| {
            tool.begin(&Beginning { settings, spaces, launched, start_ns, record_kind })
        };
        let loadings: Vec<_> = (RECORD_OF_TOOL..).zip(tools.iter_mut()).map(begin).collect();
        // A command maps nothing yet. Its files hold at least its text.
        let to_come = self.ahead.iter().filter_map(|image| Some(std::fs::metadata(image).ok()?.len())).sum();
        let capacity = Tracker::capacity(self.spaces.iter().map(|space| &space.layout), to_come);
        let to_come_later = if settings.others_may_join() { CHILDREN } else { EXECS };
        let tracked = (self.spaces.len() + to_come_later) as u32;
        let mut files = Files::reporting(settings.stage.clone());
        let threads = tools.iter().any(|tool| tool.about().probes_calls);
        let beginnings = !settings.are_chosen_one_by_one();
        let follows = Follows { children: settings.children, threads, beginnings };
        let (ground, objects) = thread::scope(|scope| {
            let loading = scope.spawn(move || {
                use_batch_scheduling();
                let tables = Tracker::entries(capacity, tracked).to_vec();
                let ground = Ground::load(&Shape { max_stacks: settings.max_stacks, follows, tables })?;
                let load = |loading: crate::tool::Loading| loading(ground.shared());
                let objects = loadings.into_iter().map(load).collect::<Result<Vec<_>>>()?;
                Ok::<_, Error>((ground, objects))
            });
            // What a waiting child maps is our own executable, not the command yet.
            let ahead = launched.then_some(self.ahead.as_slice());
            for space in &mut self.spaces {
                for tool in &mut *tools {
                    let coming = tool.plan(space, modules, ahead);
                    files.prepare(coming.into_iter(), modules);
                }
                if !launched {
                    files.prepare(space.mapped().into_iter(), modules);
                }
            }
            joined(loading)
        })?;
        Ok((ground, objects, Tracking { files, capacity, spaces: tracked }))
    }

    /// Registers the targets and their mappings with the kernel side.
    pub(super) fn register(
        &mut self,
        ground: &Ground,
        tracker: &mut Tracker,
        modules: &Modules,
        in_initial_namespace: bool,
    ) -> Result<()> {
        for space in &self.spaces {
            ground.take_space();
            space.register(ground, self.launched.is_some(), in_initial_namespace)?;
        }
        for space in &mut self.spaces {
            space.publish_mappings(ground, tracker, modules);
        }
        Ok(())
    }
}
