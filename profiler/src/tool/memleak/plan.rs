//! Which functions of a file to probe, and where.
//!
//! Everything that hands out or takes back memory is probed, but nothing twice: a function with several names once,
//! and a function that only hands over to another (`operator new` on top of `malloc`) not at all.

use std::collections::{BTreeMap, btree_map::Entry};

use profiler_common::memleak::cookie::Cookie;

use super::{
    allocators::{self, Meaning, Role},
    custom::Custom,
    refusals::{NEW_IS_NOT_FOLLOWED, OWN_NEW_IS_NOT_FOLLOWED},
};
use crate::{
    elf::{
        Image, Symbol, SymbolKind,
        caller_step::CallerStep,
        forwarding::{Callee, Callees},
        placement::{ArgUse, Obstacle, Site, SiteReason},
        returns::HiddenReturn,
    },
    report::Probed,
    text::Text,
};

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
    pub(crate) meaning: Meaning,
    pub(crate) site: Site,
    /// Whether it may call another probed allocation function.
    pub(crate) nests: bool,
    /// How its return is seen.
    pub(crate) ret: Return,
}

/// How the return of an allocation function is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// By a return probe.
    Probe,
    /// By a return probe, which must not be there when the function fails: it throws.
    ProbeUnlessItThrows,
    /// At its `ret` instructions, by file offset: exceptions may pass.
    Instructions(Vec<u64>),
    /// Not at all, and why: the user's function must not be followed.
    Hidden(HiddenReturn),
    /// The same of a function that nobody named: it is left out.
    LeftOut,
}

/// What becomes of an allocation function in an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// Followed by a return probe.
    Plain,
    /// Followed by a return probe that is left out when the call is going to throw: it takes sessions.
    Throwing,
    /// Followed to these `ret` instructions, by file offset.
    ToRet(&'a [u64]),
    /// Left out, and what the user is told.
    LeftOut(&'static str),
    /// The observation is refused: the user named it, and it cannot be followed.
    Refused(HiddenReturn),
}

impl Planned {
    /// What becomes of it. `rationed`: whether small requests may fail in the address space, so that what throws when
    /// memory is short may throw at any time.
    pub(crate) fn fate(&self, rationed: bool) -> Fate<'_> {
        match &self.ret {
            Return::Probe => Fate::Plain,
            Return::ProbeUnlessItThrows if rationed => Fate::LeftOut(NEW_IS_NOT_FOLLOWED),
            Return::ProbeUnlessItThrows => Fate::Throwing,
            Return::Instructions(offsets) => Fate::ToRet(offsets),
            Return::Hidden(why) => Fate::Refused(*why),
            Return::LeftOut => Fate::LeftOut(OWN_NEW_IS_NOT_FOLLOWED),
        }
    }

    /// Offset of the site in the file.
    pub(crate) fn file_offset(&self) -> u64 {
        self.symbol.file_offset + self.site.offset
    }

    /// What the kernel side is told at each hit.
    pub(crate) fn cookie(&self, space: u16) -> u64 {
        let Meaning { size, count, block, old, fixed_size, .. } = self.meaning;
        Cookie {
            size,
            count,
            block,
            old,
            fixed_size,
            space,
            nests: self.nests,
            at_ret: matches!(self.ret, Return::Instructions(_)),
            throws: self.ret == Return::ProbeUnlessItThrows,
            stepped: !self.site.emulated,
        }
        .pack()
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
    pub(crate) allocs: Vec<Planned>,
    pub(crate) frees: Vec<Planned>,
    /// How to step out of functions that stand between an application and its allocator, by the file offset of the
    /// return address in them.
    pub(crate) steps: Vec<(u64, CallerStep)>,
}

impl Plan {
    /// Whether there is nothing to probe.
    pub(crate) fn is_empty(&self) -> bool {
        self.allocs.is_empty() && self.frees.is_empty()
    }

    /// Whether something in it throws when memory is short.
    pub(crate) fn throws(&self) -> bool {
        self.allocs.iter().any(|planned| planned.ret == Return::ProbeUnlessItThrows)
    }
}

/// A function that was found, under the best of its names.
struct Found {
    symbol: Symbol,
    meaning: Meaning,
    /// Named by the user.
    own: bool,
    /// Throws when it fails.
    throws: bool,
}

/// Plans the probes of a file.
pub(crate) fn plan(image: &Image<'_>, custom: &[Custom], placement: Placement) -> Plan {
    let functions = find(image, custom);
    let of_allocator = !image.functions(&allocators::brings_new).is_empty();
    let forwarding = forwarders(image, &functions);
    let mut plan = Plan { steps: steps(image, &functions, &forwarding), ..Plan::default() };
    let allocs: Vec<u64> = of_role(&functions, Role::Alloc).filter(|a| !forwarding.contains(a)).collect();
    let names = allocators::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (address, found) in functions {
        if forwarding.contains(&address) {
            continue;
        }
        let Found { symbol, meaning, own, throws } = found;
        let site = choose_site(image, &symbol, &meaning, placement);
        let targets = Callees { addresses: &allocs, names: &names };
        let nests = own || meaning.role == Role::Alloc && image.forwards_to(&symbol, &targets).is_some();
        let ret = if image.may_unwind() && (own || throws && !of_allocator) {
            match image.returns(&symbol) {
                Ok(returns) => Return::Instructions(returns),
                Err(why) if own => Return::Hidden(why),
                Err(_) => Return::LeftOut,
            }
        } else if throws {
            Return::ProbeUnlessItThrows
        } else {
            Return::Probe
        };
        let list = if meaning.role == Role::Alloc { &mut plan.allocs } else { &mut plan.frees };
        list.push(Planned { symbol, meaning, site, nests, ret });
    }
    plan
}

/// The functions to consider, each once however many names it has: one that the user gave, else a plain one rather
/// than an operator, else the shortest.
fn find(image: &Image<'_>, custom: &[Custom]) -> BTreeMap<u64, Found> {
    let named = |name: &str| custom.iter().find(|c| c.name == name);
    let symbols = image.functions(&|name| allocators::meaning(name).is_some() || named(name).is_some());
    let mut functions: BTreeMap<u64, Found> = BTreeMap::new();
    for symbol in symbols.into_iter().filter(|s| s.kind == SymbolKind::Function) {
        let own = named(&symbol.name);
        let known = allocators::meaning(&symbol.name);
        let Some(meaning) = own.map(|c| c.meaning).or(known) else { continue };
        let throws = allocators::throws(&symbol.name);
        let found = Found { symbol, meaning, own: own.is_some(), throws };
        match functions.entry(found.symbol.address) {
            Entry::Vacant(entry) => {
                entry.insert(found);
            }
            Entry::Occupied(mut entry) => {
                let kept = entry.get_mut();
                kept.throws |= found.throws;
                let rank = |f: &Found| (!f.own, f.meaning.operator, f.symbol.name.len());
                if rank(&found) < rank(kept) {
                    *kept = Found { throws: kept.throws, ..found };
                }
            }
        }
    }
    functions
}

fn of_role(functions: &BTreeMap<u64, Found>, role: Role) -> impl Iterator<Item = u64> {
    functions.iter().filter(move |(_, f)| f.meaning.role == role).map(|(address, _)| *address)
}

/// Addresses of the functions that hand every call over to another that is probed.
fn forwarders(image: &Image<'_>, functions: &BTreeMap<u64, Found>) -> Vec<u64> {
    let names = allocators::names();
    let mut forwarding: Vec<u64> = Vec::new();
    for role in [Role::Alloc, Role::Free] {
        let fits = |name: &&str| allocators::meaning(name).is_some_and(|m| m.role == role);
        let names: Vec<&str> = names.iter().map(String::as_str).filter(fits).collect();
        let is_allocator =
            functions.values().any(|f| f.meaning.role == role && !f.meaning.operator && !f.own);
        for (address, found) in functions.iter().filter(|(_, f)| f.meaning.role == role) {
            // A function that the user names is what the user wants to see.
            if found.own {
                continue;
            }
            let operator = found.meaning.operator;
            let others: Vec<u64> = of_role(functions, role).filter(|other| other != address).collect();
            let named: &[&str] = if operator { &names } else { &[] };
            let targets = Callees { addresses: &others, names: named };
            let Some(handed) = image.forwards_to(&found.symbol, &targets) else { continue };
            let same = match handed.to {
                Callee::Name(_) => true,
                Callee::Address(to) => functions.get(&to).is_some_and(|other| {
                    operator || Meaning { operator: false, ..other.meaning } == found.meaning
                }),
            };
            // Two functions that hand over to each other must not both be left out.
            let mutual = matches!(handed.to, Callee::Address(to) if forwarding.contains(&to) && !operator);
            // An operator that leaves its file for `malloc` has no memory of its own, whatever else it does: it throws.
            let leaves = matches!(handed.to, Callee::Name(_)) && !is_allocator;
            if same && !mutual && (leaves || handed.every_call) {
                forwarding.push(*address);
            }
        }
    }
    forwarding
}

/// Steps out of the operators that stand on top of another allocator: they keep no frame pointer.
fn steps(image: &Image<'_>, functions: &BTreeMap<u64, Found>, forwarding: &[u64]) -> Vec<(u64, CallerStep)> {
    let between = |(address, found): (&u64, &Found)| {
        let stands_between = found.meaning.operator && found.meaning.role == Role::Alloc;
        (stands_between && forwarding.contains(address)).then(|| found.symbol.clone())
    };
    let between: Vec<Symbol> = functions.iter().filter_map(between).collect();
    if between.is_empty() {
        return Vec::new();
    }
    let steps = image.caller_steps(&between).map(|found| found.steps).unwrap_or_default();
    let placed = |step: CallerStep| Some((image.file_offset(step.return_address)?, step));
    steps.into_iter().filter_map(placed).collect()
}

fn choose_site(image: &Image<'_>, symbol: &Symbol, meaning: &Meaning, placement: Placement) -> Site {
    let uses = meaning.arguments().fold(ArgUse::NONE, ArgUse::and);
    let best = image.site(symbol, uses);
    match placement {
        Placement::Cheapest => best,
        Placement::FirstInstruction if best.offset == 0 => best,
        Placement::FirstInstruction => {
            Site { offset: 0, emulated: false, reason: SiteReason::EntryOnly(Obstacle::NothingEmulated) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn library(name: &str) -> Option<PathBuf> {
        let path = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
        if path.exists() {
            return Some(path);
        }
        testbed::skip::skip(&format!("{name} is not installed"));
        None
    }

    fn planned(path: &Path) -> (Vec<String>, Vec<String>, Plan) {
        let bytes = std::fs::read(path).unwrap();
        let plan = plan(&Image::parse(&bytes).unwrap(), &[], Placement::Cheapest);
        let names = |list: &[Planned]| {
            let mut names: Vec<String> = list.iter().map(|p| p.symbol.name.clone()).collect();
            names.sort();
            names
        };
        (names(&plan.allocs), names(&plan.frees), plan)
    }

    #[test]
    fn glibc_has_one_release_function_and_all_of_the_others() {
        let Some(libc) = library("libc.so.6") else { return };
        let (allocs, frees, plan) = planned(&libc);
        assert_eq!(frees.len(), 1, "{frees:?}");
        for name in ["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "valloc", "pvalloc"] {
            assert!(allocs.iter().any(|a| a == name), "{name} is not in {allocs:?}");
        }
        let of = |name: &str| plan.allocs.iter().find(|p| p.symbol.name == name).unwrap();
        assert!(!of("malloc").nests);
        assert!(of("realloc").nests, "realloc(NULL, n) calls malloc");
        assert!(plan.frees[0].site.emulated && of("malloc").site.emulated);
    }

    #[test]
    fn an_operator_of_the_program_itself_may_throw_at_any_time() {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("new.cpp"), folder.path().join("new"));
        let code = "#include <new>\n#include <cstddef>\nstatic char arena[99];\n\
            __attribute__((noinline)) void *operator new(size_t n) { if (n > 9) throw std::bad_alloc(); return arena; }\n\
            int main(int n, char **) { return ::operator new(n) == nullptr; }\n";
        std::fs::write(&source, code).unwrap();
        let built =
            std::process::Command::new("g++").arg("-O1").arg(&source).arg("-o").arg(&program).status();
        if !built.is_ok_and(|status| status.success()) {
            testbed::skip::skip("g++ is not installed");
            return;
        }
        let (allocs, _, plan) = planned(&program);
        assert_eq!(allocs, ["_Znwm"]);
        assert!(matches!(&plan.allocs[0].ret, Return::Instructions(at) if !at.is_empty()));
    }

    #[test]
    fn operators_on_top_of_malloc_are_stepped_over_not_probed() {
        let Some(libstdcxx) = library("libstdc++.so.6") else { return };
        let (allocs, frees, plan) = planned(&libstdcxx);
        assert!(allocs.is_empty(), "{allocs:?}");
        assert!(frees.is_empty(), "{frees:?}");
        assert!(!plan.steps.is_empty());
    }

    #[test]
    fn allocators_with_operators_of_their_own_have_them_probed() {
        for (name, new) in
            [("libjemalloc.so.2", true), ("libtcmalloc_minimal.so.4", true), ("libmimalloc.so.2", false)]
        {
            let Some(path) = library(name) else { continue };
            let (allocs, frees, plan) = planned(&path);
            assert!(allocs.iter().any(|a| a.ends_with("malloc")), "{name}: {allocs:?}");
            assert!(!frees.is_empty(), "{name}");
            let throwing = plan.allocs.iter().filter(|p| p.ret == Return::ProbeUnlessItThrows).count();
            assert!(throwing >= 1, "{name}: an operator new that throws, or what stands in for it");
            let operator = allocs.iter().any(|a| a == "_Znwm" || a == "_Znam");
            assert!(operator || !new, "{name}: {allocs:?}");
        }
    }
}
