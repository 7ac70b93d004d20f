//! What is observed: who was asked for, their files, and where they are to be probed.

use std::{path::PathBuf, thread};

use super::{
    super::{
        blocks::Room,
        canary,
        options::{Options, Targets},
        refusals::check_image,
        space::Space,
    },
    load::load,
    setup::{joined, require_initial_namespace},
    targets,
};
use crate::{
    capture::object::Object,
    error::{Error, Result},
    kernel::priority::use_batch_scheduling,
    observe::ground::{Ground, Shape},
    target::{find, launch, maps, modules::Modules},
    unwind::{
        arena::Capacity,
        tracker::{Files, Tracker},
    },
};

/// Programs that targets may become by exec, with their stacks walked by tables.
const EXECS: usize = 16;

/// Who is observed.
pub(super) struct Found {
    /// The command, which waits.
    pub(super) launched: Option<launch::Waiting>,
    /// The files that it is going to map.
    ahead: Vec<PathBuf>,
    pub(super) spaces: Vec<Space>,
    /// Anonymous memory of the targets, in bytes.
    pub(super) bytes_before: u64,
}

/// Unwind tables that were made, and the room that they are to get.
pub(super) struct Tracking {
    files: Files,
    capacity: Capacity,
    spaces: u32,
}

impl Tracking {
    pub(super) fn map(self, object: &Object) -> Result<Tracker> {
        Tracker::map(object, self.files, self.capacity, self.spaces)
    }
}

impl Found {
    /// Finds the targets, or starts the command, and reads their files.
    pub(super) fn find(options: &Options, modules: &mut Modules) -> Result<Found> {
        let mut launched = None;
        let pids = match &options.targets {
            Targets::Pids(pids) => pids.clone(),
            Targets::Name(pattern) => find::by_name(pattern)?,
            Targets::Cgroup(directory) => find::by_cgroup(directory)?,
            Targets::Command(command) => {
                require_initial_namespace()?;
                let waiting = launch::start(command, &options.launch)?;
                let pid = waiting.pid();
                launched = Some(waiting);
                vec![pid]
            }
        };
        let ahead: Vec<PathBuf> =
            launched.as_ref().map(|w| w.images().into_iter().collect()).unwrap_or_default();
        for image in &ahead {
            check_image(image)?;
        }
        let mut spaces = targets::spaces(&pids, options, launched.is_some(), modules)?;
        if let (Some(waiting), Some(space)) = (&launched, spaces.first_mut()) {
            space.forget_layout(waiting.program());
            // One that outlives us must not stay stopped if we are killed meanwhile; others are woken and ended then.
            space.held = !options.launch.leave_running;
        }
        // A command may install a filter at any time; of a running process we see whether it has.
        let filtered = |space: &Space| space.process.seccomp().is_none_or(|mode| mode != 0);
        if launched.is_some() || spaces.iter().any(filtered) {
            canary::try_out(options.method)?;
        }
        let bytes_before = match launched {
            Some(_) => 0,
            None => pids.iter().filter_map(|pid| maps::anonymous_bytes(*pid).ok()).sum(),
        };
        Ok(Found { launched, ahead, spaces, bytes_before })
    }

    /// Decides where to probe, and makes unwind tables, while the object is loaded.
    pub(super) fn plan_and_load(
        &mut self,
        options: &Options,
        modules: &mut Modules,
        start_ns: u64,
        room: Room,
    ) -> Result<(Ground, Object, Tracking)> {
        // A command maps nothing yet: what its files hold is at least its text.
        let to_come = self.ahead.iter().filter_map(|image| Some(std::fs::metadata(image).ok()?.len())).sum();
        let capacity = Tracker::capacity(self.spaces.iter().map(|space| &space.layout), to_come);
        let tracked = (self.spaces.len() + EXECS) as u32;
        let mut files = Files::telling(options.stage.clone());
        let (ground, object) = thread::scope(|scope| {
            let loading = scope.spawn(|| {
                use_batch_scheduling();
                let tables = Tracker::entries(capacity, tracked).to_vec();
                let ground =
                    Ground::load(&Shape { max_stacks: options.max_stacks, children: false, tables })?;
                let object = load(options, start_ns, room, ground.shared())?;
                Ok::<_, Error>((ground, object))
            });
            for space in &mut self.spaces {
                // What a waiting child maps is our own executable, not yet the command.
                match self.launched {
                    Some(_) => {
                        let coming = space.plan_ahead(modules, options, &self.ahead);
                        files.prepare(coming.into_iter(), modules);
                    }
                    None => {
                        space.plan(modules, options);
                        files.prepare(space.layout.files().map(|(_, id)| id), modules);
                    }
                }
            }
            joined(loading)
        })?;
        Ok((ground, object, Tracking { files, capacity, spaces: tracked }))
    }

    /// Makes the targets known to the kernel side, and what they map.
    pub(super) fn register(
        &mut self,
        ground: &Ground,
        object: &Object,
        tracker: &mut Tracker,
        modules: &Modules,
        in_initial_namespace: bool,
    ) -> Result<()> {
        for space in &self.spaces {
            ground.take_space();
            space.register(ground, object, self.launched.is_some(), in_initial_namespace)?;
        }
        for space in &mut self.spaces {
            space.tell_mappings(object, tracker, modules)?;
        }
        Ok(())
    }
}
