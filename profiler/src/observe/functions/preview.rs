//! What an observation would probe in an address space, without probing it.
//!
//! It uses the plan of an observation, so that prediction and observation cannot differ.

use profiler_common::rate::{CALL, CALL_TO_RET, LOOK, class};

use super::{
    plan::{Fate, Functions, Planned},
    probes::{Part, Probes},
    refusals::{exceptions_may_pass, memory_is_rationed},
};
use crate::{
    capture::{
        rate::Passed,
        uprobe::{Method, ProbeSite},
    },
    error::{Error, Result},
    observe::{settings::Targets, space::Space},
    report::Probed,
    target::{modules::Modules, process::Process},
    text::Text,
    tool::foresight::{CallEnd, Foresight, Site},
};

/// What an observation would do.
#[derive(Debug, Default)]
struct Preview {
    sites: Vec<Site>,
    /// Why it would be refused.
    refused: Option<Error>,
}

impl Probes {
    /// What an observation would probe. `sessions`: whether the kernel has uprobe sessions.
    fn preview(
        &mut self,
        space: &mut Space,
        modules: &Modules,
        wanted: &dyn Functions,
        sessions: bool,
    ) -> Preview {
        let parts = self.parts(space, modules, wanted, space.mapped());
        let mut preview = Preview::default();
        for part in &parts {
            preview_part(part, space.process.pid(), modules, sessions, &mut preview);
        }
        self.coming.extend(parts);
        preview
    }

    /// The planned entries that the process calls, as far as they are not attached to yet. Their cookies are classes of
    /// [`profiler_common::rate`].
    pub(crate) fn passed(&self, pid: u32) -> Passed {
        let sites = |part: &Part| {
            let rationed = part.plan.throws() && memory_is_rationed(pid);
            let site = |planned: &Planned, kind| ProbeSite {
                offset: planned.file_offset(),
                cookie: class(kind, !planned.site.emulated),
            };
            let looks = part.plan.looks.iter().map(|planned| site(planned, LOOK));
            let calls = part.plan.calls.iter().filter_map(|planned| match planned.fate(rationed) {
                Fate::Plain | Fate::Throwing(_) => Some(site(planned, CALL)),
                Fate::ToRet(_) => Some(site(planned, CALL_TO_RET)),
                Fate::LeftOut(_) | Fate::Refused(_) => None,
            });
            (part.path.clone(), looks.chain(calls).collect())
        };
        Passed { pid, files: self.coming.iter().map(sites).collect() }
    }
}

/// What a tool would do with a process. It names the allocators, or whatever its functions belong to, by the sites. `check`
/// refuses processes that would be harmed or misread; `method`: the best way of attaching that works here, if any.
pub(crate) fn foresee(
    process: Process,
    modules: &mut Modules,
    method: Option<Method>,
    wanted: &dyn Functions,
    check: impl FnOnce(&Space, &Modules) -> Result<()>,
) -> Result<Foresight> {
    let pid = process.pid();
    let mut space = Space::new(0, process, modules)?;
    let mut probes = Probes::default();
    let checked = check(&space, modules);
    let has_sessions = method == Some(Method::Session);
    let Preview { sites, refused } = probes.preview(&mut space, modules, wanted, has_sessions);
    let none_is_left = sites.iter().all(|site| site.left_out.is_some());
    let nothing = || none_is_left.then(|| probes.nothing_to_probe(pid, wanted.wanted()));
    let targets = Targets::Pids(vec![pid]);
    let copies = || probes.refuse_what_copies_its_code(&space.process, modules, &targets).err();
    let refused: Option<Error> = checked.err().or(refused).or_else(nothing).or_else(copies);
    // A refused process is not probed.
    let sites = if refused.is_some() { Vec::new() } else { sites };
    let notes = std::mem::take(&mut space.notes);
    Ok(Foresight { sites, refused, notes, ..Foresight::default() })
}

fn preview_part(part: &Part, pid: u32, modules: &Modules, sessions: bool, preview: &mut Preview) {
    let module = modules.get(part.module).map_or_else(|| Text::from("?"), |m| m.name.clone());
    let rationed = part.plan.throws() && memory_is_rationed(pid);
    let looks = part.plan.looks.iter().map(|planned| site(planned, &module, CallEnd::Unseen));
    preview.sites.extend(looks);
    for planned in &part.plan.calls {
        let seen = |end| site(planned, &module, end);
        let left_out = |why: &str| Site { left_out: Some(why.to_owned()), ..seen(CallEnd::Unseen) };
        let site = match planned.fate(rationed) {
            Fate::Plain => seen(CallEnd::ReturnProbe),
            Fate::Throwing(_) if sessions => seen(CallEnd::ReturnProbeUnlessItThrows),
            Fate::Throwing(why) | Fate::LeftOut(why) => left_out(why),
            Fate::ToRet(returns) => Site { returns: returns.len() as u64, ..seen(CallEnd::RetInstructions) },
            Fate::Refused(why) => {
                preview.refused.get_or_insert(exceptions_may_pass(&planned.symbol.name, why));
                left_out(&why.to_string())
            }
        };
        preview.sites.push(site);
    }
}

fn site(planned: &Planned, module: &Text, end: CallEnd) -> Site {
    let Probed { function, module, offset_bytes, emulated, reason } = planned.probed(module);
    let file_offset = planned.file_offset();
    Site { function, module, file_offset, offset_bytes, emulated, reason, end, returns: 0, left_out: None }
}
