//! One observed address space: a process between its start, or its last exec, and its next exec or its end.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use profiler_common::memleak::{CALLER_STEPS, CallerStep, FREES_NEST, Space as WireSpace, block_key};

use super::{
    options::Options,
    plan::{Plan, plan},
    totals,
};
use crate::{
    capture::{
        object::Object,
        uprobe::{Attacher, Links, ProbeSite},
    },
    elf::{Image, runtime::Runtime},
    error::{Error, ErrorKind, Result},
    report::Probed,
    target::{
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
    pub(crate) exe: Text,
    pub(crate) build_id: Option<String>,
    pub(crate) layout: Layout,
    layout_read: Instant,
    planned: HashSet<ModuleId>,
    stepped: HashSet<ModuleId>,
    pub(crate) probed: Vec<Probed>,
    pub(crate) notes: Vec<String>,
    pub(crate) ended: Option<String>,
    allocs: Vec<Links>,
    frees: Vec<Links>,
    free_sites: usize,
}

/// What to probe in one module of a space.
struct Part {
    module: ModuleId,
    path: PathBuf,
    plan: Plan,
}

impl Space {
    /// Readies a space for a process; nothing is attached yet.
    pub(crate) fn new(number: u16, process: Process, modules: &mut Modules) -> Result<Space> {
        let pid = process.pid();
        let layout = Layout::read(pid, modules).map_err(|e| unreadable(&process, &e))?;
        let exe = process.exe().map_err(|e| unreadable(&process, &e))?;
        let mut space = Space {
            number,
            exe: Text::from(exe.as_path()),
            build_id: None,
            layout,
            layout_read: Instant::now(),
            planned: HashSet::new(),
            stepped: HashSet::new(),
            probed: Vec::new(),
            notes: Vec::new(),
            ended: None,
            allocs: Vec::new(),
            frees: Vec::new(),
            free_sites: 0,
            process,
        };
        let own = space.layout.files().find(|(mapping, _)| mapping.path == exe).map(|(_, id)| id);
        space.build_id = own.and_then(|id| modules.get(id)?.build_id.clone());
        Ok(space)
    }

    /// Refuses what would be harmed or misread: Go moves its stacks, and 32-bit code passes arguments elsewhere.
    pub(crate) fn check(&mut self, modules: &Modules) -> Result<()> {
        let pid = self.process.pid();
        let refuse = |cause: &str, hint: &str| {
            Error::new(ErrorKind::UnsupportedTarget, format_args!("tried to observe process {pid}"))
                .because(cause)
                .hint(hint)
        };
        let exe = format!("/proc/{pid}/exe");
        let file = std::fs::File::open(&exe).map_err(|e| unreadable(&self.process, &e))?;
        // SAFETY: the mapping is private and only read; the executable of a running process cannot be written.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| unreadable(&self.process, &e))?;
        let image = Image::parse(&bytes)
            .map_err(|error| refuse(&format!("it is {error}"), "run a 64-bit build of the server"))?;
        for (mapping, id) in self.layout.files() {
            let Some(bytes) = modules.get(id).and_then(|module| module.bytes().ok()) else { continue };
            if Image::parse(&bytes).is_ok_and(|image| image.is_go()) {
                let name = Text::from(mapping.path.as_path()).terminal().to_string();
                return Err(refuse(
                    &format!("{name} is {}", Runtime::Go.limit()),
                    "go tool pprof http://HOST/debug/pprof/heap",
                ));
            }
        }
        let mut runtimes = Runtime::of_files(self.layout.files().map(|(mapping, _)| mapping.path.as_path()));
        runtimes.extend(image.runtimes());
        runtimes.sort_unstable();
        runtimes.dedup();
        self.notes.extend(runtimes.into_iter().map(|runtime| runtime.limit().to_owned()));
        Ok(())
    }

    /// Attaches to every allocator that is mapped and was not attached to before; `ahead` names files that will be
    /// mapped. Releases first: a block that is recorded must not escape its release.
    pub(crate) fn attach(
        &mut self,
        object: &mut Object,
        attacher: &mut Attacher,
        modules: &mut Modules,
        options: &Options,
        ahead: &[PathBuf],
    ) -> Result<()> {
        let parts = self.parts(modules, options, ahead);
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
        for part in &parts {
            let sites: Vec<ProbeSite> = part.plan.allocs.iter().map(|p| self.site(p)).collect();
            if !sites.is_empty() {
                let links = attacher.follow(object, &part.path, pid, &sites)?;
                self.note_refused(&links, &part.plan);
                self.allocs.push(links);
            }
            let name = modules.get(part.module).map_or_else(|| Text::from("?"), |m| m.name.clone());
            let probed = part.plan.frees.iter().chain(&part.plan.allocs).map(|p| p.probed(&name));
            self.probed.extend(probed);
        }
        Ok(())
    }

    /// The sites that [`Space::attach`] would take, by file: of allocations, and of releases.
    pub(crate) fn sites(
        &mut self,
        modules: &mut Modules,
        options: &Options,
    ) -> Vec<(PathBuf, Vec<ProbeSite>, Vec<ProbeSite>)> {
        let parts = self.parts(modules, options, &[]);
        let of = |planned: &[super::plan::Planned]| planned.iter().map(|p| self.site(p)).collect();
        parts.iter().map(|part| (part.path.clone(), of(&part.plan.allocs), of(&part.plan.frees))).collect()
    }

    fn site(&self, planned: &super::plan::Planned) -> ProbeSite {
        ProbeSite { offset: planned.file_offset(), cookie: planned.cookie(self.number) }
    }

    /// Plans for the modules that were not planned for before.
    fn parts(&mut self, modules: &mut Modules, options: &Options, ahead: &[PathBuf]) -> Vec<Part> {
        let mapped = self.layout.files().map(|(_, id)| id).collect::<Vec<_>>();
        let coming = ahead.iter().filter_map(|path| modules.of_file(path)).collect::<Vec<_>>();
        let mut parts = Vec::new();
        for module in mapped.into_iter().chain(coming) {
            if !self.planned.insert(module) {
                continue;
            }
            let Some(held) = modules.get(module) else { continue };
            let (Some(path), Ok(bytes)) = (held.path(), held.bytes()) else { continue };
            let Ok(image) = Image::parse(&bytes) else { continue };
            let plan = plan(&image, &options.custom, options.placement);
            if !plan.is_empty() || !plan.steps.is_empty() {
                parts.push(Part { module, path, plan });
            }
        }
        parts
    }

    /// Tells the kernel side how to step out of `operator new`, where it is mapped.
    fn teach_steps(&mut self, object: &Object, part: &Part) -> Result<()> {
        if part.plan.steps.is_empty() {
            return Ok(());
        }
        let Ok(bytes) = std::fs::read(&part.path) else { return Ok(()) };
        let Ok(image) = Image::parse(&bytes) else { return Ok(()) };
        let mut written = false;
        for (mapping, _) in self.layout.files().filter(|(_, id)| *id == part.module) {
            for step in &part.plan.steps {
                let Some(offset) = image.file_offset(step.return_address) else { continue };
                if offset < mapping.offset || offset - mapping.offset >= mapping.end - mapping.start {
                    continue;
                }
                let key = block_key(self.number, mapping.start + offset - mapping.offset);
                let value = CallerStep {
                    cfa_from_rsp_bytes: step.cfa_from_rsp.into(),
                    rbp_below_cfa_bytes: step.rbp_saved_at.unwrap_or(0).into(),
                };
                totals::write(object, "CALLER_STEPS", &key, &value)?;
                written = true;
            }
        }
        if written {
            self.stepped.insert(part.module);
        } else {
            // Not mapped yet: plan again when it is.
            self.planned.remove(&part.module);
        }
        Ok(())
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
    pub(crate) fn refresh(&mut self, modules: &mut Modules) {
        if let Ok(layout) = Layout::read(self.process.pid(), modules)
            && layout.files().next().is_some()
        {
            self.layout = layout;
        }
        self.layout_read = Instant::now();
    }

    /// Reads the layout again unless it was just read.
    pub(crate) fn refresh_if_stale(&mut self, modules: &mut Modules) {
        if self.ended.is_none() && self.layout_read.elapsed() > LAYOUT_FRESH {
            self.refresh(modules);
        }
    }

    /// Takes the allocation probes away.
    pub(crate) fn detach_allocs(&mut self, object: &mut Object) {
        for links in self.allocs.drain(..) {
            links.detach(object);
        }
    }

    /// Takes the release probes away. Call it after [`Space::detach_allocs`].
    pub(crate) fn detach_frees(&mut self, object: &mut Object) {
        for links in self.frees.drain(..) {
            links.detach(object);
        }
    }

    /// What the kernel side is told of this space. `launched`: the process will become its command by one exec.
    pub(crate) fn register(&self, object: &Object, launched: bool, in_initial_namespace: bool) -> Result<()> {
        let space = WireSpace {
            tgid: if in_initial_namespace { self.process.pid() } else { 0 },
            execs_to_ignore: u32::from(launched),
            replaced: 0,
            flags: 0,
        };
        totals::set_space(object, self.number, &space)
    }

    /// Tells the kernel side what it has to watch for here.
    fn set_flags(&self, object: &Object) -> Result<()> {
        let mut space = totals::space(object, self.number)?;
        let flags = if self.free_sites > 1 { FREES_NEST } else { 0 }
            | if self.stepped.is_empty() { 0 } else { CALLER_STEPS };
        if space.flags != flags {
            space.flags = flags;
            totals::set_space(object, self.number, &space)?;
        }
        Ok(())
    }
}

fn unreadable(process: &Process, error: &std::io::Error) -> Error {
    let pid = process.pid();
    if process.ended() {
        return Error::new(ErrorKind::NoSuchProcess, format_args!("tried to observe process {pid}"))
            .because("it ended meanwhile")
            .hint("to observe a command from its start: profiler memleak -- COMMAND");
    }
    Error::new(ErrorKind::Permission, format_args!("tried to read what process {pid} maps"))
        .because_of(error)
        .hint("run as root: sudo profiler ...")
}
