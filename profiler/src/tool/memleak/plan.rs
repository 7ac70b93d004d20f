//! Which functions of a file to probe, and where.
//!
//! Everything that hands out or takes back memory is probed, but nothing twice: a function with several names is probed once, and
//! a function that only calls another one (`operator new` calling `malloc`) not at all.

use std::collections::{BTreeMap, btree_map::Entry};

use profiler_common::memleak::cookie::Cookie;

use super::{
    allocators::{self, Meaning, Role},
    custom::Custom,
    options::Options,
};
use crate::{
    elf::{
        Image, Symbol, SymbolKind,
        forwarding::{Callee, Callees},
    },
    observe::functions::{
        Functions, Plan, Planned, Return, Wanted,
        plan::{Placement, choose_site, steps},
    },
};

/// The note if `operator new` of an allocator cannot be followed.
const NEW_IS_NOT_FOLLOWED: &str = "operator new is not followed: it belongs to the allocator itself and throws when \
    memory is short, and here a return probe would turn that exception into a crash (it takes Linux 6.13 and memory \
    that is not rationed by RLIMIT_AS, RLIMIT_DATA or vm.overcommit_memory=2)";

/// The same if the program has an `operator new` of its own, whose returns cannot be found.
const OWN_NEW_IS_NOT_FOLLOWED: &str = "operator new is not followed: the program has its own, which may throw, and its \
    returns cannot be seen without a return probe, which would turn that exception into a crash";

/// The error if there is no allocator.
pub(super) const WANTED: Wanted = Wanted {
    what: "an allocator",
    because: "none of the files it maps defines malloc, operator new, or a known allocator's functions",
    hint: "name its functions: --alloc-fn 'pool_get:size=arg0,ptr=ret' --free-fn 'pool_put:ptr=arg0'",
};

/// The functions of every allocator that is known, and those that the user names.
pub(crate) struct Allocators<'a> {
    custom: &'a [Custom],
    placement: Placement,
}

impl Allocators<'_> {
    pub(crate) fn of(options: &Options) -> Allocators<'_> {
        Allocators { custom: &options.custom, placement: options.placement }
    }
}

impl Functions for Allocators<'_> {
    fn plan(&self, image: &Image<'_>, space: u16) -> Plan {
        plan(image, self.custom, self.placement, space)
    }

    fn wanted(&self) -> &'static Wanted {
        &WANTED
    }
}

/// A function that was found, with its best name.
struct Found {
    symbol: Symbol,
    meaning: Meaning,
    /// Named by the user.
    own: bool,
    /// Throws when it fails.
    throws: bool,
}

/// Plans the probes of a file.
fn plan(image: &Image<'_>, custom: &[Custom], placement: Placement, space: u16) -> Plan {
    let functions = find(image, custom);
    let of_allocator = !image.functions(&allocators::brings_new).is_empty();
    let forwarding = forwarders(image, &functions);
    let mut plan = Plan { steps: steps(image, &between(&functions, &forwarding)), ..Plan::default() };
    let allocs: Vec<u64> = of_role(&functions, Role::Alloc).filter(|a| !forwarding.contains(a)).collect();
    let names = allocators::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (address, found) in functions {
        if forwarding.contains(&address) {
            continue;
        }
        let Found { symbol, meaning, own, throws } = found;
        let site = choose_site(image, &symbol, meaning.arguments(), placement);
        let targets = Callees { addresses: &allocs, names: &names };
        let nests = own || meaning.role == Role::Alloc && image.forwards_to(&symbol, &targets).is_some();
        let ret = if image.may_unwind() && (own || throws && !of_allocator) {
            match image.returns(&symbol) {
                Ok(returns) => Return::Instructions(returns),
                Err(why) if own => Return::Hidden(why),
                Err(_) => Return::LeftOut(OWN_NEW_IS_NOT_FOLLOWED),
            }
        } else if throws {
            Return::ProbeUnlessItThrows(NEW_IS_NOT_FOLLOWED)
        } else {
            Return::Probe
        };
        let list = if meaning.role == Role::Alloc { &mut plan.calls } else { &mut plan.looks };
        let cookie = Cookie {
            size: meaning.size,
            count: meaning.count,
            block: meaning.block,
            old: meaning.old,
            fixed_size: meaning.fixed_size,
            space,
            nests,
            at_ret: matches!(ret, Return::Instructions(_)),
            throws: matches!(ret, Return::ProbeUnlessItThrows(_)),
            stepped: !site.emulated,
        };
        list.push(Planned { symbol, site, cookie: cookie.pack(), ret });
    }
    plan
}

/// The functions to consider. Each appears once, under one of its names: one that the user gave, else a plain one instead of an
/// operator, else the shortest.
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

/// Addresses of the functions that pass every call on to another one that is probed.
fn forwarders(image: &Image<'_>, functions: &BTreeMap<u64, Found>) -> Vec<u64> {
    let names = allocators::names();
    let mut forwarding: Vec<u64> = Vec::new();
    for role in [Role::Alloc, Role::Free] {
        let fits = |name: &&str| allocators::meaning(name).is_some_and(|m| m.role == role);
        let names: Vec<&str> = names.iter().map(String::as_str).filter(fits).collect();
        let is_allocator =
            functions.values().any(|f| f.meaning.role == role && !f.meaning.operator && !f.own);
        for (address, found) in functions.iter().filter(|(_, f)| f.meaning.role == role) {
            // If the user names a function, that is the one to show.
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
            // Of two functions that call each other, one must be kept.
            let mutual = matches!(handed.to, Callee::Address(to) if forwarding.contains(&to) && !operator);
            // An operator that calls `malloc` in another file has no memory of its own, even if it also throws.
            let leaves = matches!(handed.to, Callee::Name(_)) && !is_allocator;
            if same && !mutual && (leaves || handed.every_call) {
                forwarding.push(*address);
            }
        }
    }
    forwarding
}

/// The operators that call another allocator: they keep no frame pointer, and walks step over them.
fn between(functions: &BTreeMap<u64, Found>, forwarding: &[u64]) -> Vec<Symbol> {
    let between = |(address, found): (&u64, &Found)| {
        let stands_between = found.meaning.operator && found.meaning.role == Role::Alloc;
        (stands_between && forwarding.contains(address)).then(|| found.symbol.clone())
    };
    functions.iter().filter_map(between).collect()
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
        let plan = plan(&Image::parse(&bytes).unwrap(), &[], Placement::Cheapest, 0);
        let names = |list: &[Planned]| {
            let mut names: Vec<String> = list.iter().map(|p| p.symbol.name.clone()).collect();
            names.sort();
            names
        };
        (names(&plan.calls), names(&plan.looks), plan)
    }

    #[test]
    fn glibc_has_one_release_function_and_all_of_the_others() {
        let Some(libc) = library("libc.so.6") else { return };
        let (allocs, frees, plan) = planned(&libc);
        assert_eq!(frees.len(), 1, "{frees:?}");
        for name in ["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "valloc", "pvalloc"] {
            assert!(allocs.iter().any(|a| a == name), "{name} is not in {allocs:?}");
        }
        let of = |name: &str| plan.calls.iter().find(|p| p.symbol.name == name).unwrap();
        assert!(!Cookie::unpack(of("malloc").cookie).nests);
        assert!(Cookie::unpack(of("realloc").cookie).nests, "realloc(NULL, n) calls malloc");
        assert!(plan.looks[0].site.emulated && of("malloc").site.emulated);
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
        assert!(matches!(&plan.calls[0].ret, Return::Instructions(at) if !at.is_empty()));
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
            let throwing =
                plan.calls.iter().filter(|p| matches!(p.ret, Return::ProbeUnlessItThrows(_))).count();
            assert!(throwing >= 1, "{name}: an operator new that throws, or what stands in for it");
            let operator = allocs.iter().any(|a| a == "_Znwm" || a == "_Znam");
            assert!(operator || !new, "{name}: {allocs:?}");
        }
    }
}
