//! What the first line calls the sites that leak: a function without a name once, whatever places of it leak, and the
//! function above several sites, where one cause is behind them.
//!
//! A server that keeps prepared statements keeps a plan, its list of columns and the text of the query, each allocated by
//! a function of its own. The first line has to name who makes the statements.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    analyze::Judged,
    own::{Own, beside},
    sites::JudgedSite,
    verdict::Verdict,
};
use crate::{naming, text::Text};

/// Share of the growth that is all but a remainder: what a function above must hold. With less it would be a helper, such as
/// one that copies lists, which has a large part of the growth but not the cause.
const NEARLY_ALL: f64 = 0.98;
/// Share from which on a single function is what leaks, whoever calls it.
const MOST: f64 = 0.9;
/// Through a function that more of the program's stacks share than this, such as its main loop, everything goes.
const MOST_STACKS: f64 = 0.75;
/// Share of the stacks through a function that must leak at least: else it is one that calls many things, some of which
/// leak.
const LEAST_LEAKING: f64 = 0.25;
/// Of a program of which fewer stacks were seen nobody can tell what its main loop is.
const LEAST_STACKS: usize = 12;

/// The function that nearly all growth leads through.
#[derive(Debug, PartialEq)]
pub(super) struct Caller {
    /// A stack through it, and which function of its path it is.
    at: (usize, usize),
    /// The sites that leak through it, in order.
    sites: Vec<usize>,
}

/// A site that leaks.
struct Leak {
    site: usize,
    /// Its stacks, each with its part of the growth in bytes per hour.
    stacks: Vec<(usize, f64)>,
}

/// What leads through a function.
#[derive(Default)]
struct Through {
    growth: f64,
    /// Distance from the innermost function, each weighted with its growth.
    depth: f64,
    leaking: usize,
    at: (usize, usize),
}

/// What the first line calls each site, given the labels of their rows. `owns` has what the sites are named by, `program`
/// the process and the address space of the stack at a place, and `path` the functions that it leads through, the innermost
/// first.
pub(super) fn spoken<'a>(
    stacks: &[Judged<'_>],
    sites: &[JudgedSite],
    labels: &[Option<Text>],
    owns: &[Option<&Own>],
    program: impl Fn(usize) -> (u32, u16),
    path: impl Fn(usize) -> &'a [Own],
) -> Vec<Option<Text>> {
    let mut spoken = by_function(sites, labels, owns);
    let functions = |place: usize| path(place).iter().map(|own| (&own.module, &own.function)).collect();
    let name = |site: usize| spoken.get(site)?.as_ref().map(|label| naming::apart(label).0.to_vec());
    let Some(caller) = caller(stacks, sites, name, program, functions) else { return spoken };
    let (place, nth) = caller.at;
    let Some(above) = path(place).get(nth) else { return spoken };
    for &site in &caller.sites {
        let Some(label) = spoken.get_mut(site) else { continue };
        let below = label.as_ref().map(|label| naming::apart(label).0.to_vec());
        *label =
            Some(below.map_or_else(|| above.label.clone(), |below| beside(&above.label, &Text::new(below))));
    }
    spoken
}

/// The labels, where several sites of one function without a name leak: the function with its places.
fn by_function(sites: &[JudgedSite], labels: &[Option<Text>], owns: &[Option<&Own>]) -> Vec<Option<Text>> {
    let begins = |site: usize| {
        let own = (*owns.get(site)?)?;
        Some((&own.module, own.begins.as_ref()?))
    };
    let mut places: BTreeMap<_, usize> = BTreeMap::new();
    for function in leaking(sites).filter_map(|(site, _)| begins(site)) {
        *places.entry(function).or_default() += 1;
    }
    let label = |(site, label): (usize, &Option<Text>)| {
        let function = begins(site).filter(|function| places.get(function).is_some_and(|places| *places > 1));
        let place = owns.get(site).copied().flatten().and_then(Own::place);
        match function.zip(place) {
            Some(((_, function), place)) => Some(beside(function, &place)),
            None => label.clone(),
        }
    };
    labels.iter().enumerate().map(label).collect()
}

fn leaking(sites: &[JudgedSite]) -> impl Iterator<Item = (usize, &JudgedSite)> {
    sites.iter().enumerate().filter(|(_, site)| site.judgement.verdict == Verdict::Leak)
}

/// The innermost function that nearly all growth leads through, if that is split over several functions. `name` is what a
/// site is called by.
fn caller<N: Ord, P: Ord, F: Ord>(
    stacks: &[Judged<'_>],
    sites: &[JudgedSite],
    name: impl Fn(usize) -> N,
    program: impl Fn(usize) -> P,
    path: impl Fn(usize) -> Vec<F>,
) -> Option<Caller> {
    let leaks: Vec<Leak> = leaking(sites).filter_map(|(at, site)| Leak::of(at, site, stacks)).collect();
    let all: f64 = leaks.iter().map(Leak::growth).sum();
    let mut by_name: BTreeMap<N, f64> = BTreeMap::new();
    for leak in &leaks {
        *by_name.entry(name(leak.site)).or_default() += leak.growth();
    }
    if by_name.values().any(|growth| *growth >= MOST * all) {
        return None;
    }
    let mut through: BTreeMap<F, Through> = BTreeMap::new();
    for &(place, growth) in leaks.iter().flat_map(|leak| &leak.stacks) {
        for (nth, function) in path(place).into_iter().enumerate() {
            let through = through.entry(function).or_default();
            through.growth += growth;
            through.depth += growth * nth as f64;
            through.leaking += 1;
            through.at = (place, nth);
        }
    }
    let holds = through.into_iter().filter(|(_, through)| through.growth >= NEARLY_ALL * all);
    let (function, innermost) = holds.min_by(|(_, a), (_, b)| a.mean_depth().total_cmp(&b.mean_depth()))?;
    let programs: BTreeSet<P> =
        leaks.iter().flat_map(|leak| &leak.stacks).map(|(place, _)| program(*place)).collect();
    let of_them: Vec<usize> = (0..stacks.len()).filter(|&place| programs.contains(&program(place))).collect();
    let leads = |place: usize| path(place).contains(&function);
    let leading = of_them.iter().filter(|&&place| leads(place)).count();
    let says_where = of_them.len() >= LEAST_STACKS
        && leading as f64 <= MOST_STACKS * of_them.len() as f64
        && innermost.leaking as f64 >= LEAST_LEAKING * leading as f64;
    let mostly = |leak: &&Leak| {
        let inside =
            leak.stacks.iter().filter(|(place, _)| leads(*place)).map(|(_, growth)| growth).sum::<f64>();
        2.0 * inside > leak.growth()
    };
    let sites = leaks.iter().filter(mostly).map(|leak| leak.site).collect();
    says_where.then_some(Caller { at: innermost.at, sites })
}

impl Leak {
    /// `None` if nothing is known of its growth.
    fn of(at: usize, site: &JudgedSite, stacks: &[Judged<'_>]) -> Option<Leak> {
        let growth =
            site.judgement.growth_bytes_per_hour.map(|growth| growth.value).filter(|growth| *growth > 0.0)?;
        let counts = |place: &usize| {
            let stack = stacks.get(*place)?;
            let leaks = site.leaks_at(*place) || stack.judgement.verdict == Verdict::Leak;
            let drawn = stack.row.weighted.as_ref().map(|weighted| weighted.old_bytes.0);
            leaks.then(|| (*place, drawn.unwrap_or(stack.row.old_bytes as f64)))
        };
        let mut stacks: Vec<(usize, f64)> =
            site.stacks.iter().filter_map(counts).filter(|(_, old)| *old > 0.0).collect();
        let old: f64 = stacks.iter().map(|(_, old)| old).sum();
        for (_, part) in &mut stacks {
            *part *= growth / old;
        }
        (!stacks.is_empty()).then_some(Leak { site: at, stacks })
    }

    fn growth(&self) -> f64 {
        self.stacks.iter().map(|(_, growth)| growth).sum()
    }
}

impl Through {
    fn mean_depth(&self) -> f64 {
        self.depth / self.growth
    }
}

#[cfg(test)]
mod tests;
