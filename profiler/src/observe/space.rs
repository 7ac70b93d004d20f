//! One observed address space: a process from its start, or its last exec, to its next exec or its end.

mod identity;
mod published;
mod seen;

use identity::Names;
pub(crate) use seen::{Came, Seen};

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

use super::{brief::REPLACED, ground::Ground, refusals::unreadable};
use crate::{
    elf::runtime::Runtime,
    error::Result,
    stack::made::Maker,
    symbolize::Location,
    target::{
        freezer::Freezer,
        history::History,
        hotspot::Switch,
        incarnation::Incarnation,
        modules::{Layout, ModuleId, Modules},
        process::Process,
    },
    text::Text,
};

/// A layout younger than this is not read again for a new stack.
const LAYOUT_FRESH: Duration = Duration::from_millis(100);

/// A program that has run for longer has mapped its libraries, and has moved or copied its code if it ever does: all known
/// programs do that before `main` or at its very beginning.
pub(super) const STARTING: Duration = Duration::from_secs(1);

/// An address space.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) number: u16,
    pub(crate) process: Process,
    /// Its control group, which shows whether it is frozen.
    pub(crate) freezer: Option<Freezer>,
    /// The program that it was when it was examined.
    incarnation: Option<Incarnation>,
    /// The program that its names were read from; `None` if that is not known, or as long as a launched process is not its command yet.
    identified: Option<Incarnation>,
    /// The path of its program.
    pub(crate) exe: Text,
    /// Its executable, if that is mapped.
    pub(crate) program: Option<ModuleId>,
    /// The runtimes in it.
    pub(crate) runtimes: BTreeSet<Runtime>,
    /// Where its Java virtual machine has the option that makes compiled code keep a frame pointer.
    java_keeps_pointers: Option<Switch>,
    /// The kind of run-time compiler in it.
    pub(crate) maker: Maker,
    pub(crate) build_id: Option<String>,
    pub(crate) layout: Layout,
    /// Where the process writes the names of code that it makes at run time; `None` if it ended too early.
    pub(crate) made_code: Option<Location>,
    /// Whether the kernel side is to stop the process at its first call, or has done so and it was not resumed yet: see
    /// `profiler_common::space::HOLD_WANTED`.
    pub(crate) held: bool,
    /// Whether the layout was read again since it was published.
    dirty: bool,
    history: History,
    /// Where several files were mapped one after the other, as far as the stacks have not learnt of it.
    pub(crate) reused: Vec<Range<u64>>,
    layout_read: Instant,
    /// When the process, or its present program, was seen to start; `None` if that was before it was observed.
    pub(crate) begun: Option<Instant>,
    /// Whether a tool must not put probes into it.
    pub(crate) refused: bool,
    pub(crate) notes: Vec<String>,
    pub(crate) ended: Option<String>,
    pub(crate) killed_by: Option<i32>,
    pub(crate) seen: Seen,
}

impl Space {
    /// Creates a space for a process; nothing is attached yet.
    pub(crate) fn new(number: u16, process: Process, modules: &mut Modules) -> Result<Space> {
        let pid = process.pid();
        let incarnation = process.settled_incarnation();
        let layout = Layout::read(pid, modules).map_err(|e| unreadable(&process, e))?;
        let exe = process.exe().map_err(|e| unreadable(&process, e))?;
        let mut space = Space {
            number,
            exe: Text::from(exe.as_path()),
            program: None,
            runtimes: BTreeSet::new(),
            java_keeps_pointers: None,
            maker: Maker::default(),
            build_id: None,
            layout,
            made_code: Location::of(&process).ok(),
            held: false,
            dirty: true,
            history: History::default(),
            reused: Vec::new(),
            layout_read: Instant::now(),
            begun: None,
            refused: false,
            notes: Vec::new(),
            ended: None,
            killed_by: None,
            seen: Seen::default(),
            freezer: Freezer::of(pid),
            incarnation,
            identified: incarnation,
            process,
        };
        space.history.add(&space.layout);
        if let Some(names) = Names::of(&space.process) {
            space.identify(names, modules);
        }
        Ok(space)
    }

    /// Whether it is still starting: it maps libraries, and may copy its code.
    pub(crate) fn has_just_begun(&self) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() < STARTING)
    }

    /// Whether its process became another program by exec.
    pub(crate) fn is_replaced(&self) -> bool {
        self.ended.as_deref() == Some(REPLACED)
    }

    /// Closes the descriptors of a space that has ended.
    pub(super) fn release(&mut self) {
        self.process.release();
        // Names of code that was made at run time are looked up at the end, if there can be such code.
        if self.seen.since_ns.is_some() && self.maker.runtime.is_none() {
            self.made_code = None;
        }
    }

    /// Whether the process became another program after it was examined. If so, everything that was learnt is about the previous
    /// one, most importantly what must not be probed. Call this once the kernel side knows the space and notices execs.
    pub(crate) fn is_another_program(&self) -> bool {
        self.process.incarnation().is_some_and(|now| self.incarnation != Some(now))
    }

    /// The files that it maps.
    pub(crate) fn mapped(&self) -> Vec<ModuleId> {
        self.layout.files().map(|(_, id)| id).collect()
    }

    /// Reads the layout again; keeps the old one if the process is gone.
    pub(crate) fn refresh(&mut self, ground: &Ground, modules: &mut Modules) {
        if self.identified.is_none() && ground.space(self.number).execs_to_come == 0 {
            self.identified = self.process.incarnation();
        }
        let names = Names::of(&self.process);
        // During an exec, a process has the names of its next program before the kernel side reports the exec.
        let names = names.filter(|_| !self.identified.is_some_and(|known| self.process.is_no_longer(known)));
        // Read before the check for an exec: then it is of this program.
        if let Ok(layout) = Layout::read(self.process.pid(), modules)
            && layout.files().next().is_some()
            && !ground.is_replaced(self.number)
        {
            if layout != self.layout {
                self.reused.extend(self.history.add(&layout));
                self.layout = layout;
                self.dirty = true;
            }
            if let Some(names) = names {
                self.identify(names, modules);
            }
            if let Some(made_code) = &mut self.made_code {
                made_code.renew_owner(&self.process);
            }
        }
        self.layout_read = Instant::now();
    }

    /// Reads the layout again, unless it was read a moment ago.
    pub(crate) fn refresh_if_stale(&mut self, ground: &Ground, modules: &mut Modules) {
        let unknown = self.layout.files().next().is_none();
        if self.ended.is_none() && (unknown || self.layout_read.elapsed() > LAYOUT_FRESH) {
            self.refresh(ground, modules);
        }
    }
}
