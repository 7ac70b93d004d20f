//! Functions above sites: where a leak is spread over several sites of one function, or is that of one user of a site that
//! many share, the evidence is in all stacks that lead through the function.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use super::{
    analyze::Judged,
    before::Before,
    growth::{Growth, growth_within, outpaces_the_start},
    judge::judge_within,
    rows::{StackRow, Window},
    sites::JudgedSite,
    verdict::{Reason, Verdict},
};
use crate::interval::ALPHA;

/// With fewer old items than this, growth is not known to go on, and nothing is a leak.
const LEAST_OLD: u64 = 5;

/// All stacks through one function.
struct Group {
    /// Places, in order.
    stacks: Vec<usize>,
    /// How far the function is from the innermost one, in functions, at most.
    depth: usize,
    /// Which function of the path of the first stack it is.
    nth: usize,
}

/// The functions that leak while no site that they lead to does.
///
/// A function is judged by *all* its stacks, whatever each of them looks like alone, except those of sites that leak
/// already and of tables that were filled once. The more functions there are, the smaller is the chance of error that
/// each of them has. Of functions that share stacks the innermost counts.
pub(super) fn leaks<F: Ord>(
    stacks: &[Judged<'_>],
    sites: &[JudgedSite],
    window: &Window,
    before: &Before,
    path: impl Fn(usize) -> Vec<F>,
) -> Vec<JudgedSite> {
    let groups = candidates(stacks, sites, path);
    let alpha = ALPHA / groups.len().max(1) as f64;
    let mut taken = HashSet::new();
    let mut leaks = Vec::new();
    for group in groups {
        if group.stacks.iter().any(|place| taken.contains(place)) {
            continue;
        }
        let members = || group.stacks.iter().filter_map(|&place| stacks.get(place));
        let of = || members().map(|stack| stack.row);
        let row = StackRow::pool(of());
        let before = before.of_function(of().map(|row| row.stack));
        let judgement = judge_within(&row, window, before, alpha);
        // What was proved before takes less evidence, as everywhere.
        let grows = || before.is_some() || grows_together(members(), window, alpha);
        if judgement.verdict == Verdict::Leak && grows() {
            taken.extend(group.stacks.iter().copied());
            let through = Some(group.nth);
            leaks.push(JudgedSite { row, judgement, leaking: None, stacks: group.stacks, through });
        }
    }
    leaks
}

/// Whether the same items are kept and grows. A table that was filled once in one stack, and sessions that come and go in
/// another, must not add up to a leak: so growth is tested on the undecided stacks alone, and again without the one that
/// holds most.
fn grows_together<'a>(stacks: impl Iterator<Item = &'a Judged<'a>>, window: &Window, alpha: f64) -> bool {
    let open = stacks.filter(|stack| stack.judgement.verdict == Verdict::Young);
    let mut rows: Vec<&StackRow> = open.map(|stack| stack.row).collect();
    rows.sort_by_key(|row| Reverse(row.old));
    let grow = |rows: &[&StackRow]| {
        let row = StackRow::pool(rows.iter().copied());
        let window = &row.window(window);
        growth_within(&row, window, false, alpha) == Growth::Continues
            && outpaces_the_start(&row, window, alpha)
    };
    rows.len() > 1 && grow(&rows) && grow(&rows[1..])
}

/// Whether a stack shows by itself that its items are kept but do not grow in number. It could add nothing but time without releases, as
/// if others leaked.
fn is_filled_table(stack: &Judged<'_>) -> bool {
    let judgement = &stack.judgement;
    let kept = match judgement.reason {
        Reason::GrowthUnclear | Reason::StoppedGrowing => true,
        Reason::StillNone => judgement.verdict == Verdict::LongLived,
        _ => false,
    };
    kept && judgement.hazard.releases == 0
}

/// The functions that may say more than the sites, the innermost first, and of these the one that holds most.
fn candidates<F: Ord>(
    stacks: &[Judged<'_>],
    sites: &[JudgedSite],
    path: impl Fn(usize) -> Vec<F>,
) -> Vec<Group> {
    let open = sites.iter().filter(|site| site.judgement.verdict != Verdict::Leak);
    let mut places: Vec<usize> = open.flat_map(|site| site.stacks.iter().copied()).collect();
    places.retain(|&place| stacks.get(place).is_some_and(|stack| !is_filled_table(stack)));
    places.sort_unstable();
    let mut through: BTreeMap<F, Group> = BTreeMap::new();
    for &place in &places {
        for (nth, function) in path(place).into_iter().enumerate() {
            let group = through.entry(function).or_insert(Group { stacks: Vec::new(), depth: 0, nth });
            group.stacks.push(place);
            group.depth = group.depth.max(nth);
        }
    }
    let old = |group: &Group| -> u64 {
        group.stacks.iter().filter_map(|&place| stacks.get(place)).map(|stack| stack.row.old).sum()
    };
    // What all stacks lead through tells nothing, and what is a site was judged.
    let known: HashSet<&[usize]> = sites.iter().map(|site| &site.stacks[..]).chain([&places[..]]).collect();
    let says_more = |group: &Group| {
        group.stacks.len() > 1 && !known.contains(&group.stacks[..]) && old(group) >= LEAST_OLD
    };
    let mut innermost: HashMap<Vec<usize>, Group> = HashMap::new();
    for group in through.into_values().filter(says_more) {
        let same = innermost.get(&group.stacks);
        if same.is_none_or(|same| group.depth < same.depth) {
            innermost.insert(group.stacks.clone(), group);
        }
    }
    let mut groups: Vec<Group> = innermost.into_values().collect();
    groups.sort_by_cached_key(|group| (group.depth, Reverse(old(group)), group.stacks.clone()));
    groups
}
