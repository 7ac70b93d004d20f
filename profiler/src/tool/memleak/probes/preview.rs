//! What an observation would probe in an address space, without probing it.
//!
//! It follows the same plan as an observation does, so that what is predicted and what is done cannot differ.

use profiler_common::rate::{CALL, CALL_TO_RET, FREE, class};

use super::{Part, Probes, Space};
use crate::{
    capture::{rate::Passed, uprobe::ProbeSite},
    error::Error,
    report::Probed,
    target::modules::Modules,
    text::Text,
    tool::{
        foresight::{CallEnd, Site},
        memleak::{
            options::Options,
            plan::{Fate, Planned},
            refusals::{NEW_IS_NOT_FOLLOWED, exceptions_may_pass, memory_is_rationed},
        },
    },
};

/// What an observation would do.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    pub(crate) sites: Vec<Site>,
    /// Why it would be refused.
    pub(crate) refused: Option<Error>,
}

impl Probes {
    /// What an observation with these options would probe. `sessions`: whether the kernel has uprobe sessions.
    pub(crate) fn preview(
        &mut self,
        space: &mut Space,
        modules: &Modules,
        options: &Options,
        sessions: bool,
    ) -> Preview {
        let parts = self.parts(space, modules, options, space.mapped());
        let mut preview = Preview::default();
        for part in &parts {
            preview_part(part, space.process.pid(), modules, sessions, &mut preview);
        }
        self.coming.extend(parts);
        preview
    }

    /// The entries that the process passes, of what was planned and is not attached to yet. Their cookies are classes
    /// of [`profiler_common::rate`].
    pub(crate) fn passed(&self, pid: u32) -> Passed {
        let sites = |part: &Part| {
            let rationed = part.plan.throws() && memory_is_rationed(pid);
            let site = |planned: &Planned, kind| ProbeSite {
                offset: planned.file_offset(),
                cookie: class(kind, !planned.site.emulated),
            };
            let frees = part.plan.frees.iter().map(|planned| site(planned, FREE));
            let calls = part.plan.allocs.iter().filter_map(|planned| match planned.fate(rationed) {
                Fate::Plain | Fate::Throwing => Some(site(planned, CALL)),
                Fate::ToRet(_) => Some(site(planned, CALL_TO_RET)),
                Fate::LeftOut(_) | Fate::Refused(_) => None,
            });
            (part.path.clone(), frees.chain(calls).collect())
        };
        Passed { pid, files: self.coming.iter().map(sites).collect() }
    }
}

fn preview_part(part: &Part, pid: u32, modules: &Modules, sessions: bool, preview: &mut Preview) {
    let module = modules.get(part.module).map_or_else(|| Text::from("?"), |m| m.name.clone());
    let rationed = part.plan.throws() && memory_is_rationed(pid);
    let frees = part.plan.frees.iter().map(|planned| site(planned, &module, CallEnd::Unseen));
    preview.sites.extend(frees);
    for planned in &part.plan.allocs {
        let seen = |end| site(planned, &module, end);
        let left_out = |why: &str| Site { left_out: Some(why.to_owned()), ..seen(CallEnd::Unseen) };
        let site = match planned.fate(rationed) {
            Fate::Plain => seen(CallEnd::ReturnProbe),
            Fate::Throwing if sessions => seen(CallEnd::ReturnProbeUnlessItThrows),
            Fate::Throwing => left_out(NEW_IS_NOT_FOLLOWED),
            Fate::ToRet(returns) => Site { returns: returns.len() as u64, ..seen(CallEnd::RetInstructions) },
            Fate::LeftOut(why) => left_out(why),
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
