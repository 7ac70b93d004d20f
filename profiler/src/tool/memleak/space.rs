//! One observed address space: a process between its start, or its last exec, and its next exec or its end.

mod identity;
mod preview;
mod reach;
mod seen;
mod told;

pub(crate) use preview::Preview;
pub use preview::{CallEnd, Site};
pub(crate) use seen::Seen;

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    made::Maker,
    options::Options,
    plan::{Fate, Plan, Return, plan},
    refusals::{
        NEW_IS_NOT_FOLLOWED, exceptions_may_pass, is_go, memory_is_rationed, not_understood, unreadable,
    },
};
use crate::{
    capture::{
        object::Object,
        uprobe::{Attacher, Links, ProbeSite},
    },
    elf::{Image, runtime::Runtime},
    error::Result,
    report::Probed,
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

/// An address space and the probes in it.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) number: u16,
    pub(crate) process: Process,
    /// Where the kernel tells whether its control group is frozen.
    pub(crate) freezer: Option<Freezer>,
    /// Which program it was when it was looked at.
    incarnation: Option<Incarnation>,
    /// The path that it was started by.
    pub(crate) exe: Text,
    /// Its executable, if that is mapped.
    pub(crate) program: Option<ModuleId>,
    /// The runtimes that are in it.
    pub(crate) runtimes: BTreeSet<Runtime>,
    /// Where its Java virtual machine has the option that makes compiled code keep a frame pointer.
    java_keeps_pointers: Option<Switch>,
    /// By what code is made in it.
    pub(crate) maker: Maker,
    pub(crate) build_id: Option<String>,
    pub(crate) layout: Layout,
    /// Where the process writes the names of code that it makes; `None` if it ended too early.
    pub(crate) made_code: Option<Location>,
    /// Whether the kernel side is to stop the process at its first call, or has done so and nobody has let it go on: see
    /// `profiler_common::space::HOLD_WANTED`.
    pub(crate) held: bool,
    /// Whether the layout was read anew since the kernel side was told.
    untold: bool,
    history: History,
    /// Where several files were mapped, one after the other, as far as nobody was told yet.
    pub(crate) turns: Vec<Range<u64>>,
    layout_read: Instant,
    planned: HashSet<ModuleId>,
    stepped: HashSet<ModuleId>,
    pub(crate) probed: Vec<Probed>,
    pub(crate) notes: Vec<String>,
    pub(crate) ended: Option<String>,
    pub(crate) killed_by: Option<i32>,
    pub(crate) seen: Seen,
    /// Found, and not attached to yet.
    coming: Vec<Part>,
    allocs: Vec<Links>,
    frees: Vec<Links>,
    free_sites: usize,
    /// Sites of functions that are planned for, but must not be followed here.
    unfollowed: HashSet<u64>,
    /// Functions that cannot be probed because their code was moved out of its file, and how many, by file.
    moved: Vec<(Text, usize)>,
}

/// What to probe in one module of a space.
#[derive(Debug)]
struct Part {
    module: ModuleId,
    path: PathBuf,
    plan: Plan,
}

/// Where probes would be put in one file.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    pub(crate) path: PathBuf,
    /// Entries of releases.
    pub(crate) frees: Vec<ProbeSite>,
    /// Allocations with a return probe.
    pub(crate) calls: Vec<ProbeSite>,
    /// Entries and `ret` instructions of those without.
    pub(crate) entries: Vec<ProbeSite>,
    pub(crate) returns: Vec<ProbeSite>,
}

impl Space {
    /// Readies a space for a process; nothing is attached yet.
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
            untold: true,
            history: History::default(),
            turns: Vec::new(),
            layout_read: Instant::now(),
            planned: HashSet::new(),
            stepped: HashSet::new(),
            probed: Vec::new(),
            notes: Vec::new(),
            ended: None,
            killed_by: None,
            seen: Seen::default(),
            coming: Vec::new(),
            allocs: Vec::new(),
            frees: Vec::new(),
            free_sites: 0,
            unfollowed: HashSet::new(),
            freezer: Freezer::of(pid),
            incarnation,
            moved: Vec::new(),
            process,
        };
        space.history.add(&space.layout);
        space.identify(modules);
        Ok(space)
    }

    /// Refuses what would be harmed or misread: Go moves its stacks, and 32-bit code passes arguments elsewhere.
    pub(crate) fn check(&mut self, modules: &Modules) -> Result<()> {
        let pid = self.process.pid();
        let exe = format!("/proc/{pid}/exe");
        let file = std::fs::File::open(&exe).map_err(|e| unreadable(&self.process, e))?;
        // SAFETY: the mapping is private and only read; the executable of a running process cannot be written.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| unreadable(&self.process, e))?;
        let tried = format!("tried to observe process {pid}");
        Image::parse(&bytes).map_err(|error| not_understood(&tried, error))?;
        for (mapping, id) in self.layout.files() {
            let Some(bytes) = modules.get(id).and_then(|module| module.bytes().ok()) else { continue };
            if Image::parse(&bytes).is_ok_and(|image| image.is_go()) {
                return Err(is_go(&tried, &Text::from(mapping.path.as_path())));
            }
        }
        Ok(())
    }

    /// Attaches to every allocator that is mapped and was not attached to before.
    pub(crate) fn attach(
        &mut self,
        object: &Object,
        attacher: &mut Attacher,
        modules: &mut Modules,
        options: &Options,
    ) -> Result<()> {
        self.plan(modules, options);
        self.attach_frees(object, attacher)?;
        self.attach_allocs(object, attacher, modules)
    }

    /// Looks for allocators in every file that is mapped and was not looked at before.
    pub(crate) fn plan(&mut self, modules: &Modules, options: &Options) {
        let mapped = self.layout.files().map(|(_, id)| id).collect::<Vec<_>>();
        let parts = self.parts(modules, options, mapped);
        self.coming.extend(parts);
    }

    /// Looks for allocators in files that the process is about to map.
    pub(crate) fn plan_ahead(
        &mut self,
        modules: &mut Modules,
        options: &Options,
        files: &[PathBuf],
    ) -> Vec<ModuleId> {
        let coming = files.iter().filter_map(|path| modules.of_file(path)).collect::<Vec<_>>();
        let parts = self.parts(modules, options, coming.clone());
        self.coming.extend(parts);
        coming
    }

    /// Attaches to the release functions that were found. They come first: a block that is recorded must not escape
    /// its release.
    pub(crate) fn attach_frees(&mut self, object: &Object, attacher: &mut Attacher) -> Result<()> {
        let parts = std::mem::take(&mut self.coming);
        for part in &parts {
            self.teach_steps(object, part)?;
            self.free_sites += part.plan.frees.len();
        }
        self.set_flags(object)?;
        let pid = self.process.pid();
        for part in &parts {
            let sites: Vec<ProbeSite> = part.plan.frees.iter().map(|p| self.site(p)).collect();
            if !sites.is_empty() {
                let links = attacher.look(object, &part.path, pid, &sites)?;
                self.note_refused(&links, &part.plan);
                self.frees.push(links);
            }
        }
        self.coming = parts;
        Ok(())
    }

    /// Attaches to the allocation functions of the same files. Call it after [`Space::attach_frees`].
    pub(crate) fn attach_allocs(
        &mut self,
        object: &Object,
        attacher: &mut Attacher,
        modules: &Modules,
    ) -> Result<()> {
        for part in &std::mem::take(&mut self.coming) {
            self.follow(object, attacher, part)?;
            let name = modules.get(part.module).map_or_else(|| Text::from("?"), |m| m.name.clone());
            let followed = part.plan.allocs.iter().filter(|p| !self.unfollowed.contains(&p.file_offset()));
            let probed = part.plan.frees.iter().chain(followed).map(|p| p.probed(&name));
            self.probed.extend(probed);
        }
        Ok(())
    }

    /// Follows the allocation functions of a part, each in the way that cannot harm it.
    fn follow(&mut self, object: &Object, attacher: &mut Attacher, part: &Part) -> Result<()> {
        let pid = self.process.pid();
        let (mut plain, mut throwing, mut entries, mut returns) = (vec![], vec![], vec![], vec![]);
        let rationed = part.plan.throws() && memory_is_rationed(pid);
        for planned in &part.plan.allocs {
            let site = self.site(planned);
            match planned.fate(rationed) {
                Fate::Plain => plain.push(site),
                Fate::Throwing => throwing.push(site),
                Fate::ToRet(offsets) => {
                    entries.push(site);
                    returns.extend(offsets.iter().map(|offset| ProbeSite { offset: *offset, ..site }));
                }
                Fate::Refused(why) => return Err(exceptions_may_pass(&planned.symbol.name, why)),
                Fate::LeftOut(why) => self.leave_out(site.offset, why),
            }
        }
        let mut attached = Vec::new();
        if !plain.is_empty() {
            attached.push(attacher.follow(object, &part.path, pid, &plain)?);
        }
        if !throwing.is_empty() {
            // Only a session can leave out the return probe of the very call that is going to throw.
            match attacher.follow_unless_skipped(object, &part.path, pid, &throwing)? {
                Some(links) => attached.push(links),
                None => throwing.iter().for_each(|site| self.leave_out(site.offset, NEW_IS_NOT_FOLLOWED)),
            }
        }
        if !entries.is_empty() {
            attached.push(attacher.follow_to_ret(object, &part.path, pid, &entries, &returns)?);
        }
        for links in attached {
            self.note_refused(&links, &part.plan);
            self.allocs.push(links);
        }
        Ok(())
    }

    fn leave_out(&mut self, site: u64, why: &str) {
        self.unfollowed.insert(site);
        if !self.notes.iter().any(|note| note == why) {
            self.notes.push(why.to_owned());
        }
    }

    /// The sites that [`Space::attach`] would take, by file. For measurements.
    pub(crate) fn sites(&mut self, modules: &Modules, options: &Options) -> Vec<Sites> {
        let mapped = self.layout.files().map(|(_, id)| id).collect::<Vec<_>>();
        let parts = self.parts(modules, options, mapped);
        let sites = |part: &Part| {
            let mut sites = Sites { path: part.path.clone(), ..Sites::default() };
            sites.frees.extend(part.plan.frees.iter().map(|p| self.site(p)));
            for planned in &part.plan.allocs {
                let site = self.site(planned);
                match &planned.ret {
                    Return::Probe | Return::ProbeUnlessItThrows => sites.calls.push(site),
                    Return::Instructions(offsets) => {
                        sites.entries.push(site);
                        sites.returns.extend(offsets.iter().map(|o| ProbeSite { offset: *o, ..site }));
                    }
                    Return::Hidden(_) | Return::LeftOut => {}
                }
            }
            sites
        };
        parts.iter().map(sites).collect()
    }

    fn site(&self, planned: &super::plan::Planned) -> ProbeSite {
        ProbeSite { offset: planned.file_offset(), cookie: planned.cookie(self.number) }
    }

    /// Plans for the modules that were not planned for before.
    fn parts(&mut self, modules: &Modules, options: &Options, wanted: Vec<ModuleId>) -> Vec<Part> {
        let mut parts = Vec::new();
        for module in wanted {
            if !self.planned.insert(module) {
                continue;
            }
            let Some(held) = modules.get(module) else { continue };
            let (Some(path), Ok(bytes)) = (held.path(), held.bytes()) else { continue };
            let Ok(image) = Image::parse(&bytes) else { continue };
            let plan = plan(&image, &options.custom, options.placement);
            let plan = self.within_reach(plan, module, &held.name);
            if !plan.is_empty() || !plan.steps.is_empty() {
                parts.push(Part { module, path, plan });
            }
        }
        parts
    }

    fn note_refused(&mut self, links: &Links, plan: &Plan) {
        for offset in &links.refused {
            let planned = plan.allocs.iter().chain(&plan.frees).find(|p| p.file_offset() == *offset);
            let name = planned.map_or("?", |p| p.symbol.name.as_str());
            self.notes.push(format!("the kernel cannot probe {name}: calls of it are not seen"));
        }
    }

    /// Whether anything is probed.
    pub(crate) fn has_probes(&self) -> bool {
        !self.probed.is_empty()
    }

    /// Reads the layout again; keeps the old one if the process is gone.
    pub(crate) fn refresh(&mut self, object: &Object, modules: &mut Modules) {
        // Read first: what was read before an exec is of this program.
        if let Ok(layout) = Layout::read(self.process.pid(), modules)
            && layout.files().next().is_some()
            && !self.replaced(object)
        {
            if layout != self.layout {
                self.turns.extend(self.history.add(&layout));
                self.layout = layout;
                self.untold = true;
            }
            self.identify(modules);
            if let Some(made_code) = &mut self.made_code {
                made_code.renew_owner(&self.process);
            }
        }
        self.layout_read = Instant::now();
    }

    /// Reads the layout again unless it was just read.
    pub(crate) fn refresh_if_stale(&mut self, object: &Object, modules: &mut Modules) {
        let unknown = self.layout.files().next().is_none();
        if self.ended.is_none() && (unknown || self.layout_read.elapsed() > LAYOUT_FRESH) {
            self.refresh(object, modules);
        }
    }

    /// Hands over the allocation probes, to be taken away with those of others
    /// ([`all_at_once`](crate::capture::detach::all_at_once)).
    pub(crate) fn take_allocs(&mut self) -> Vec<Links> {
        std::mem::take(&mut self.allocs)
    }

    /// Hands over the release probes, to be taken away when the allocation probes are gone.
    pub(crate) fn take_frees(&mut self) -> Vec<Links> {
        std::mem::take(&mut self.frees)
    }
}
