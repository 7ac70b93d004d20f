//! Which functions of a file to probe, and where.
//!
//! Everything that hands out or takes back memory is probed, but nothing twice: a function with several names once,
//! and a function that only hands over to another (`operator new` on top of `malloc`) not at all.

use std::collections::BTreeMap;

use profiler_common::cookie::Cookie;

use super::{
    allocators::{self, Meaning, Role},
    custom::Custom,
};
use crate::{
    elf::{
        Image, Symbol, SymbolKind,
        caller_step::CallerStep,
        forwarding::{Callee, Targets},
        placement::{ArgUse, Obstacle, Site, SiteReason},
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
}

impl Planned {
    /// Offset of the site in the file.
    pub(crate) fn file_offset(&self) -> u64 {
        self.symbol.file_offset + self.site.offset
    }

    /// What the kernel side is told at each hit.
    pub(crate) fn cookie(&self, space: u16) -> u64 {
        let Meaning { size, count, block, old, fixed_size, .. } = self.meaning;
        Cookie { size, count, block, old, fixed_size, space, nests: self.nests }.pack()
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
    /// How to step out of functions that stand between an application and its allocator.
    pub(crate) steps: Vec<CallerStep>,
}

impl Plan {
    /// Whether there is nothing to probe.
    pub(crate) fn is_empty(&self) -> bool {
        self.allocs.is_empty() && self.frees.is_empty()
    }
}

/// Plans the probes of a file.
pub(crate) fn plan(image: &Image<'_>, custom: &[Custom], placement: Placement) -> Plan {
    let named = |name: &str| custom.iter().find(|c| c.name == name);
    let found = image.functions(&|name| allocators::meaning(name).is_some() || named(name).is_some());
    let mut by_address: BTreeMap<u64, (Symbol, Meaning, bool)> = BTreeMap::new();
    for symbol in found.into_iter().filter(|s| s.kind == SymbolKind::Function) {
        let own = named(&symbol.name);
        let Some(meaning) = own.map(|c| c.meaning).or_else(|| allocators::meaning(&symbol.name)) else {
            continue;
        };
        let better = |(_, kept, kept_own): &(Symbol, Meaning, bool)| {
            (!own.is_some(), meaning.operator) < (!kept_own, kept.operator)
        };
        let entry = by_address.entry(symbol.address);
        match entry {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((symbol, meaning, own.is_some()));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) if better(entry.get()) => {
                entry.insert((symbol, meaning, own.is_some()));
            }
            std::collections::btree_map::Entry::Occupied(_) => {}
        }
    }
    let forwarding = forwarders(image, &by_address);
    let mut plan = Plan { steps: steps(image, &by_address, &forwarding), ..Plan::default() };
    let allocs: Vec<u64> = of_role(&by_address, Role::Alloc).filter(|a| !forwarding.contains(a)).collect();
    let names = allocators::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (address, (symbol, meaning, own)) in by_address {
        if forwarding.contains(&address) {
            continue;
        }
        let site = choose_site(image, &symbol, &meaning, placement);
        let targets = Targets { addresses: &allocs, names: &names };
        let nests = own || meaning.role == Role::Alloc && image.forwards_to(&symbol, &targets).is_some();
        let list = if meaning.role == Role::Alloc { &mut plan.allocs } else { &mut plan.frees };
        list.push(Planned { symbol, meaning, site, nests });
    }
    plan
}

fn of_role(functions: &BTreeMap<u64, (Symbol, Meaning, bool)>, role: Role) -> impl Iterator<Item = u64> {
    functions.iter().filter(move |(_, (_, meaning, _))| meaning.role == role).map(|(address, _)| *address)
}

/// Addresses of the functions that hand every call over to another that is probed.
fn forwarders(image: &Image<'_>, functions: &BTreeMap<u64, (Symbol, Meaning, bool)>) -> Vec<u64> {
    let names = allocators::names();
    let mut forwarding: Vec<u64> = Vec::new();
    for role in [Role::Alloc, Role::Free] {
        let fits = |name: &&str| allocators::meaning(name).is_some_and(|m| m.role == role);
        let names: Vec<&str> = names.iter().map(String::as_str).filter(fits).collect();
        for (address, (symbol, meaning, own)) in functions.iter().filter(|(_, (_, m, _))| m.role == role) {
            let others: Vec<u64> = of_role(functions, role).filter(|other| other != address).collect();
            // A custom function is what the user asked for; it stays.
            if *own {
                continue;
            }
            let named: &[&str] = if meaning.operator { &names } else { &[] };
            let Some(found) = image.forwards_to(symbol, &Targets { addresses: &others, names: named }) else {
                continue;
            };
            let same = match found.to {
                Callee::Name(_) => true,
                Callee::Address(to) => functions.get(&to).is_some_and(|(_, other, _)| {
                    meaning.operator || (Meaning { operator: false, ..*other }) == *meaning
                }),
            };
            // Two functions that hand over to each other must not both be left out.
            let mutual =
                matches!(found.to, Callee::Address(to) if forwarding.contains(&to) && !meaning.operator);
            // An operator that leaves its file for `malloc` has no memory of its own, whatever else it does: it throws.
            let leaves = matches!(found.to, Callee::Name(_));
            if same && !mutual && (leaves || found.every_call) {
                forwarding.push(*address);
            }
        }
    }
    forwarding
}

/// Steps out of the operators that stand on top of another allocator: they keep no frame pointer.
fn steps(
    image: &Image<'_>,
    functions: &BTreeMap<u64, (Symbol, Meaning, bool)>,
    forwarding: &[u64],
) -> Vec<CallerStep> {
    let between = |(address, (symbol, meaning, _)): (&u64, &(Symbol, Meaning, bool))| {
        (meaning.operator && meaning.role == Role::Alloc && forwarding.contains(address))
            .then(|| symbol.clone())
    };
    let between: Vec<Symbol> = functions.iter().filter_map(between).collect();
    if between.is_empty() {
        return Vec::new();
    }
    image.caller_steps(&between).map(|found| found.steps).unwrap_or_default()
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
        eprintln!("SKIPPED: {name} is not installed");
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
            let (allocs, frees, _) = planned(&path);
            assert!(allocs.iter().any(|a| a.ends_with("malloc")), "{name}: {allocs:?}");
            assert!(!frees.is_empty(), "{name}");
            let operator = allocs.iter().any(|a| a.starts_with("_Zn"));
            assert!(operator || !new, "{name}: {allocs:?}");
        }
    }
}
