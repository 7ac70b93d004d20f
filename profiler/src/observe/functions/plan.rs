//! Which functions of a file are probed, where in them, and how their returns are seen.

use crate::{
    elf::{
        Image, Symbol,
        caller_step::CallerStep,
        placement::{ArgUse, Obstacle, Site, SiteReason},
        returns::HiddenReturn,
    },
    report::Probed,
    text::Text,
};

/// What a tool knows about the functions that it probes.
pub(crate) trait Functions {
    /// What to probe in a file, for an address space.
    fn plan(&self, image: &Image<'_>, space: u16) -> Plan;

    /// What is looked for, and what to do if it is missing.
    fn wanted(&self) -> &'static Wanted;
}

/// What is looked for in a process.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// "an allocator".
    pub(crate) what: &'static str,
    /// Why it is missing.
    pub(crate) because: &'static str,
    /// What to do then.
    pub(crate) hint: &'static str,
}

/// Where in a function a probe is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// At the first instruction that the kernel emulates, if that is safe.
    #[default]
    Cheapest,
    /// At the first instruction, as other tools do. For measurements.
    FirstInstruction,
}

/// A function to probe.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) symbol: Symbol,
    pub(crate) site: Site,
    /// The cookie, which the kernel side gets at each hit.
    pub(crate) cookie: u64,
    /// How its return is seen.
    pub(crate) ret: Return,
}

/// How the return of a function is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// By a return probe.
    Probe,
    /// By a return probe. It must be absent when the function fails, because the function throws. The text is for the user where
    /// that is not possible.
    ProbeUnlessItThrows(&'static str),
    /// At its `ret` instructions, by file offset: exceptions may pass.
    Instructions(Vec<u64>),
    /// Not at all, and why: the user's function must not be followed.
    Hidden(HiddenReturn),
    /// Not at all, for a function that the user did not name: it is left out, with this note.
    LeftOut(&'static str),
}

/// How a function is treated in an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// Followed by a return probe.
    Plain,
    /// Followed by a return probe that is left out when the call is about to throw. This needs sessions. The text is for the user
    /// where there are none.
    Throwing(&'static str),
    /// Followed to these `ret` instructions, by file offset.
    ToRet(&'a [u64]),
    /// Left out, with this note for the user.
    LeftOut(&'static str),
    /// The observation is refused: the user named this function, and it cannot be followed.
    Refused(HiddenReturn),
}

impl Planned {
    /// How it is treated. `rationed`: whether small requests may fail in the address space, so that functions that throw when
    /// memory is short may throw at any time.
    pub(crate) fn fate(&self, rationed: bool) -> Fate<'_> {
        match &self.ret {
            Return::Probe => Fate::Plain,
            Return::ProbeUnlessItThrows(why) if rationed => Fate::LeftOut(why),
            Return::ProbeUnlessItThrows(why) => Fate::Throwing(why),
            Return::Instructions(offsets) => Fate::ToRet(offsets),
            Return::Hidden(why) => Fate::Refused(*why),
            Return::LeftOut(why) => Fate::LeftOut(why),
        }
    }

    /// Offset of the site in the file.
    pub(crate) fn file_offset(&self) -> u64 {
        self.symbol.file_offset + self.site.offset
    }

    /// The line in the report.
    pub(crate) fn probed(&self, module: &Text) -> Probed {
        Probed {
            function: Text::from(self.symbol.name.as_str()),
            module: module.clone(),
            offset_bytes: self.site.offset,
            emulated: self.site.emulated,
            reason: self.site.reason.to_string(),
        }
    }
}

/// What to probe in one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Functions that are followed to their return.
    pub(crate) calls: Vec<Planned>,
    /// Functions whose return is not followed.
    pub(crate) looks: Vec<Planned>,
    /// How to step out of functions between the application and the probed ones, by the file offset of the return address in
    /// them.
    pub(crate) steps: Vec<(u64, CallerStep)>,
}

impl Plan {
    /// Whether there is nothing to probe.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.looks.is_empty()
    }

    /// Whether any of the functions throws when memory is short.
    pub(crate) fn throws(&self) -> bool {
        self.calls.iter().any(|planned| matches!(planned.ret, Return::ProbeUnlessItThrows(_)))
    }
}

/// Where to probe a function whose given arguments are read at its entry.
pub(crate) fn choose_site(
    image: &Image<'_>,
    symbol: &Symbol,
    arguments: impl Iterator<Item = u32>,
    placement: Placement,
) -> Site {
    let best = image.site(symbol, arguments.fold(ArgUse::NONE, ArgUse::and));
    match placement {
        Placement::Cheapest => best,
        Placement::FirstInstruction if best.offset == 0 => best,
        Placement::FirstInstruction => {
            Site { offset: 0, emulated: false, reason: SiteReason::EntryOnly(Obstacle::NothingEmulated) }
        }
    }
}

/// How to step out of these functions, which keep no frame pointer.
pub(crate) fn steps(image: &Image<'_>, out_of: &[Symbol]) -> Vec<(u64, CallerStep)> {
    if out_of.is_empty() {
        return Vec::new();
    }
    let steps = image.caller_steps(out_of).map(|found| found.steps).unwrap_or_default();
    let placed = |step: CallerStep| Some((image.file_offset(step.return_address)?, step));
    steps.into_iter().filter_map(placed).collect()
}
