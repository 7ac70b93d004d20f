//! The probes of a tool in one address space.

use std::{
    collections::{BTreeSet, HashSet},
    mem::take,
    path::PathBuf,
};

use profiler_common::{
    space::{CALLER_STEPS, address_key},
    unwind::CallerStep,
};

use super::{
    plan::{Fate, Functions, Plan, Planned},
    refusals::{exceptions_may_pass, memory_is_rationed},
};
use crate::{
    capture::{
        object::Object,
        uprobe::{Attacher, Links, ProbeSite},
    },
    elf::{Image, runtime::Runtime},
    error::Result,
    observe::{ground::Ground, space::Space},
    report::Probed,
    target::{
        modules::{ModuleId, Modules},
        start::Start,
    },
    text::Text,
};

/// What is probed in an address space, or will be.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    planned: HashSet<ModuleId>,
    /// Runtimes that were looked at.
    runtimes: BTreeSet<Runtime>,
    stepped: HashSet<ModuleId>,
    pub(crate) probed: Vec<Probed>,
    /// Found, but not attached to yet.
    pub(super) coming: Vec<Part>,
    calls: Vec<Links>,
    looks: Vec<Links>,
    look_sites: usize,
    /// Sites of functions that are planned, but must not be followed here.
    unfollowed: HashSet<u64>,
    /// Functions that cannot be probed because their code was moved out of its file, and how many, by file.
    pub(super) moved: Vec<(Text, usize)>,
}

/// What to probe in one module of a space.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) module: ModuleId,
    pub(super) path: PathBuf,
    pub(super) plan: Plan,
}

/// Where probes would be put in one file.
#[cfg(feature = "lab")]
#[derive(Debug, Default)]
pub(crate) struct Sites {
    pub(crate) path: PathBuf,
    /// Entries of functions whose return is not followed.
    pub(crate) looks: Vec<ProbeSite>,
    /// Calls with a return probe.
    pub(crate) calls: Vec<ProbeSite>,
    /// Entries and `ret` instructions of those without.
    pub(crate) entries: Vec<ProbeSite>,
    pub(crate) returns: Vec<ProbeSite>,
}

/// What it takes to attach.
pub(crate) struct At<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) object: &'a Object,
    pub(crate) attacher: &'a mut Attacher,
    /// Flag of the space if several functions are probed at their entry only: one may call another.
    pub(crate) looks_nest: u32,
}

impl Probes {
    /// Looks for functions to probe in every file that is mapped and was not looked at before.
    pub(crate) fn plan(&mut self, space: &mut Space, modules: &Modules, wanted: &dyn Functions) {
        let parts = self.parts(space, modules, wanted, space.mapped());
        self.coming.extend(parts);
    }

    /// Looks for them in files that the process is about to map.
    pub(crate) fn plan_ahead(
        &mut self,
        space: &mut Space,
        modules: &mut Modules,
        wanted: &dyn Functions,
        files: &[PathBuf],
    ) -> Vec<ModuleId> {
        let coming = files.iter().filter_map(|path| modules.of_file(path)).collect::<Vec<_>>();
        let parts = self.parts(space, modules, wanted, coming.clone());
        self.coming.extend(parts);
        coming
    }

    /// Attaches to functions of which only the entry is seen. They come first: a recorded block must not escape its release.
    pub(crate) fn attach_looks(&mut self, space: &mut Space, at: &mut At<'_>) -> Result<()> {
        let parts = take(&mut self.coming);
        for part in &parts {
            self.teach_steps(space, at.ground, part)?;
            self.look_sites += part.plan.looks.len();
        }
        let flags = if self.look_sites > 1 { at.looks_nest } else { 0 }
            | if self.stepped.is_empty() { 0 } else { CALLER_STEPS };
        at.ground.change_flags(space.number, |others| others | flags);
        let pid = space.process.pid();
        for part in &parts {
            let sites: Vec<ProbeSite> = part.plan.looks.iter().map(site).collect();
            if !sites.is_empty() {
                let links = at.attacher.look(at.object, &part.path, pid, &sites)?;
                note_refused(space, &links, &part.plan);
                self.looks.push(links);
            }
        }
        self.coming = parts;
        Ok(())
    }

    /// Attaches to functions of the same files that are followed to their return. Call it after
    /// [`Probes::attach_looks`].
    pub(crate) fn attach_calls(
        &mut self,
        space: &mut Space,
        at: &mut At<'_>,
        modules: &Modules,
    ) -> Result<()> {
        for part in &take(&mut self.coming) {
            self.follow(space, at, part)?;
            let name = modules.get(part.module).map_or_else(|| Text::from("?"), |m| m.name.clone());
            let followed = part.plan.calls.iter().filter(|p| !self.unfollowed.contains(&p.file_offset()));
            let probed = part.plan.looks.iter().chain(followed).map(|p| p.probed(&name));
            self.probed.extend(probed);
        }
        Ok(())
    }

    /// Follows the functions of a part, each in the way that cannot harm it.
    fn follow(&mut self, space: &mut Space, at: &mut At<'_>, part: &Part) -> Result<()> {
        let At { object, attacher, .. } = at;
        let pid = space.process.pid();
        let (mut plain, mut throwing, mut entries, mut returns) = (vec![], vec![], vec![], vec![]);
        let rationed = part.plan.throws() && memory_is_rationed(pid);
        for planned in &part.plan.calls {
            let site = site(planned);
            match planned.fate(rationed) {
                Fate::Plain => plain.push(site),
                Fate::Throwing(why) => throwing.push((site, why)),
                Fate::ToRet(offsets) => {
                    entries.push(site);
                    returns.extend(offsets.iter().map(|offset| ProbeSite { offset: *offset, ..site }));
                }
                Fate::Refused(why) => return Err(exceptions_may_pass(&planned.symbol.name, why)),
                Fate::LeftOut(why) => self.leave_out(space, site.offset, why),
            }
        }
        let mut attached = Vec::new();
        if !plain.is_empty() {
            attached.push(attacher.follow(object, &part.path, pid, &plain)?);
        }
        if !throwing.is_empty() {
            // Only a session can leave out the return probe of the very call that is about to throw.
            let sites: Vec<ProbeSite> = throwing.iter().map(|(site, _)| *site).collect();
            match attacher.follow_unless_skipped(object, &part.path, pid, &sites)? {
                Some(links) => attached.push(links),
                None => throwing.iter().for_each(|(site, why)| self.leave_out(space, site.offset, why)),
            }
        }
        if !entries.is_empty() {
            attached.push(attacher.follow_to_ret(object, &part.path, pid, &entries, &returns)?);
        }
        for links in attached {
            note_refused(space, &links, &part.plan);
            self.calls.push(links);
        }
        Ok(())
    }

    fn leave_out(&mut self, space: &mut Space, site: u64, why: &str) {
        self.unfollowed.insert(site);
        if !space.notes.iter().any(|note| note == why) {
            space.notes.push(why.to_owned());
        }
    }

    /// The sites that an observation would take, by file.
    #[cfg(feature = "lab")]
    pub(crate) fn sites(
        &mut self,
        space: &mut Space,
        modules: &Modules,
        wanted: &dyn Functions,
    ) -> Vec<Sites> {
        use super::plan::Return;

        let parts = self.parts(space, modules, wanted, space.mapped());
        let sites = |part: &Part| {
            let mut sites = Sites { path: part.path.clone(), ..Sites::default() };
            sites.looks.extend(part.plan.looks.iter().map(site));
            for planned in &part.plan.calls {
                let site = site(planned);
                match &planned.ret {
                    Return::Probe | Return::ProbeUnlessItThrows(_) => sites.calls.push(site),
                    Return::Instructions(offsets) => {
                        sites.entries.push(site);
                        sites.returns.extend(offsets.iter().map(|o| ProbeSite { offset: *o, ..site }));
                    }
                    Return::Hidden(_) | Return::LeftOut(_) => {}
                }
            }
            sites
        };
        parts.iter().map(sites).collect()
    }

    /// Plans for the modules that were not planned for before.
    pub(super) fn parts(
        &mut self,
        space: &mut Space,
        modules: &Modules,
        wanted: &dyn Functions,
        files: Vec<ModuleId>,
    ) -> Vec<Part> {
        self.note_runtimes(space);
        let mut parts = Vec::new();
        for module in files {
            if !self.planned.insert(module) {
                continue;
            }
            let Some(held) = modules.get(module) else { continue };
            let (Some(path), Ok(bytes)) = (held.path(), held.bytes()) else { continue };
            let Ok(image) = Image::parse(&bytes) else { continue };
            let plan = wanted.plan(&image, space.number);
            let plan = self.within_reach(space, plan, module, &held.name);
            if !plan.is_empty() || !plan.steps.is_empty() {
                parts.push(Part { module, path, plan });
            }
        }
        parts
    }

    /// Notes what allocator probes cannot see of the runtimes in a process.
    fn note_runtimes(&mut self, space: &mut Space) {
        let new: Vec<_> =
            space.runtimes.iter().copied().filter(|runtime| self.runtimes.insert(*runtime)).collect();
        if !new.is_empty() {
            let start = Start::of_process(space.process.pid());
            space.notes.extend(new.into_iter().filter_map(|runtime| start.limit(runtime)).map(str::to_owned));
        }
    }

    /// Whether anything is probed.
    pub(crate) fn has_probes(&self) -> bool {
        !self.probed.is_empty()
    }

    /// Gives the kernel side the steps out of functions in between, where they are mapped.
    fn teach_steps(&mut self, space: &Space, ground: &Ground, part: &Part) -> Result<()> {
        if part.plan.steps.is_empty() {
            return Ok(());
        }
        let mut written = false;
        for (mapping, _) in space.layout.files().filter(|(_, id)| *id == part.module) {
            for (offset, step) in &part.plan.steps {
                let Some(into) = offset.checked_sub(mapping.offset) else { continue };
                if into >= mapping.end - mapping.start {
                    continue;
                }
                let key = address_key(space.number, mapping.start + into);
                let value = CallerStep {
                    cfa_from_rsp_bytes: step.cfa_from_rsp.into(),
                    rbp_below_cfa_bytes: step.rbp_saved_at.unwrap_or(0).into(),
                };
                ground.write("CALLER_STEPS", &key, &value)?;
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

    /// Hands over the probes of functions that are followed, to be detached together with those of other spaces
    /// ([`all_at_once`](crate::capture::detach::all_at_once)).
    pub(crate) fn take_calls(&mut self) -> Vec<Links> {
        take(&mut self.calls)
    }

    /// Hands over the other probes, to be detached after those.
    pub(crate) fn take_looks(&mut self) -> Vec<Links> {
        take(&mut self.looks)
    }
}

fn site(planned: &Planned) -> ProbeSite {
    ProbeSite { offset: planned.file_offset(), cookie: planned.cookie }
}

fn note_refused(space: &mut Space, links: &Links, plan: &Plan) {
    for offset in &links.refused {
        let planned = plan.calls.iter().chain(&plan.looks).find(|p| p.file_offset() == *offset);
        let name = planned.map_or("?", |p| p.symbol.name.as_str());
        space.notes.push(format!("the kernel cannot probe {name}: calls of it are not seen"));
    }
}
