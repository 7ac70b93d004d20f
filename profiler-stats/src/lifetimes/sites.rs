//! Sites: the function and line that acquires, with all call stacks that lead to it, judged as one.
//!
//! A leak that a hundred stacks share leaves too few items in each of them to be proved. So all stacks of a site are
//! judged together: all, whatever each of them looks like alone. To leave out those that happened to release would make a
//! leak of any site. And since the releases of a large cache can hide a small leak of another stack, a site leaks too if
//! one of its stacks does by itself.

use std::collections::{BTreeMap, HashSet};

use super::{
    above,
    analyze::{Judged, compare},
    before::Before,
    judge::{judge, judge_again},
    rows::{StackRow, Window},
    verdict::{Judgement, Verdict},
};

/// All stacks through one site, with the judgement on them together.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedSite {
    /// What they did together. It has the number of the worst stack.
    pub row: StackRow,
    /// What that means. If the site leaks because some of its stacks do, it is that on those stacks.
    pub judgement: Judgement,
    /// Those stacks, then.
    pub leaking: Option<Box<Leaking>>,
    /// Its stacks, the worst first: places in what the stacks were judged to.
    pub stacks: Vec<usize>,
    /// For all stacks through one function, whatever their sites: which function of the path of the first stack it is.
    pub through: Option<usize>,
}

/// The stacks of a site that leak, if not all of them do.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaking {
    /// What they did together.
    pub row: StackRow,
    /// Which they are: places in what the stacks were judged to.
    pub stacks: Vec<usize>,
}

/// Judges every site. `stacks` is in the order of [`analyze`](super::analyze::analyze), `before` as there, and `site` returns the
/// site of the stack at a place. The result is in the same order.
pub fn sites<K: Ord>(
    stacks: &[Judged<'_>],
    window: &Window,
    before: &Before,
    site: impl Fn(usize) -> K,
) -> Vec<JudgedSite> {
    sorted(of_places(stacks, window, before, &site, 0..stacks.len()))
}

/// The same, and the functions above sites that leak where the sites leave it open: these have their stacks for themselves.
/// `path` returns the functions that the stack at a place leads through, the innermost first, none of them twice.
pub fn sites_and_functions<K: Ord, F: Ord>(
    stacks: &[Judged<'_>],
    window: &Window,
    before: &Before,
    site: impl Fn(usize) -> K,
    path: impl Fn(usize) -> Vec<F>,
) -> Vec<JudgedSite> {
    let sites = of_places(stacks, window, before, &site, 0..stacks.len());
    let leaks = above::leaks(stacks, &sites, window, before, path);
    if leaks.is_empty() {
        return sorted(sites);
    }
    let taken: HashSet<usize> = leaks.iter().flat_map(|leak| leak.stacks.iter().copied()).collect();
    let rest = (0..stacks.len()).filter(|place| !taken.contains(place));
    let mut all = of_places(stacks, window, before, &site, rest);
    all.extend(leaks);
    sorted(all)
}

fn of_places<K: Ord>(
    stacks: &[Judged<'_>],
    window: &Window,
    before: &Before,
    site: impl Fn(usize) -> K,
    places: impl Iterator<Item = usize>,
) -> Vec<JudgedSite> {
    let mut members: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for place in places {
        members.entry(site(place)).or_default().push(place);
    }
    members.into_values().map(|members| judge_site(stacks, window, before, members)).collect()
}

fn sorted(mut sites: Vec<JudgedSite>) -> Vec<JudgedSite> {
    sites.sort_by(|a, b| compare(&a.judged(), &b.judged()));
    sites
}

fn judge_site(stacks: &[Judged<'_>], window: &Window, before: &Before, members: Vec<usize>) -> JudgedSite {
    let of = || members.iter().filter_map(|&place| stacks.get(place));
    if let [only] = members[..]
        && let Some(stack) = stacks.get(only)
    {
        let (row, judgement) = (stack.row.clone(), stack.judgement.clone());
        return JudgedSite { row, judgement, leaking: None, stacks: members, through: None };
    }
    let row = StackRow::pool(of().map(|stack| stack.row));
    let before = before.of_site(of().map(|stack| stack.row.stack));
    let mut judgement = judge_again(&row, window, before);
    let mut leaking = None;
    if judgement.verdict == Verdict::Leak {
        // What is known to be short-lived is not part of it: its releases would make survival that of something else.
        let is_short =
            |stack: &Judged<'_>| matches!(stack.judgement.verdict, Verdict::Churn | Verdict::Cache);
        if of().any(is_short) {
            let (rest, together) = chosen(stacks, &members, |stack| !is_short(stack));
            let proved = judge_again(&together, window, before);
            if proved.verdict == Verdict::Leak {
                judgement = proved;
                leaking = Some(Box::new(Leaking { row: together, stacks: rest }));
            }
        }
    } else {
        let leaks = |stack: &Judged<'_>| stack.judgement.verdict == Verdict::Leak;
        let (leaks, together) = chosen(stacks, &members, leaks);
        // Leaks of different ages can be less than proved together: then the worst of them speaks for all.
        let proved = judge(&together, window);
        if let Some((&place, worst)) = leaks.first().and_then(|place| Some((place, stacks.get(*place)?))) {
            let together_leak = proved.verdict == Verdict::Leak;
            judgement = if together_leak { proved } else { worst.judgement.clone() };
            leaking = Some(Box::new(if together_leak {
                Leaking { row: together, stacks: leaks }
            } else {
                Leaking { row: worst.row.clone(), stacks: vec![place] }
            }));
        }
    }
    JudgedSite { row, judgement, leaking, stacks: members, through: None }
}

/// Those of the stacks at these places that are wanted: where they are, and what they did together.
fn chosen(
    stacks: &[Judged<'_>],
    places: &[usize],
    wanted: impl Fn(&Judged<'_>) -> bool,
) -> (Vec<usize>, StackRow) {
    let is_wanted = |place: &usize| stacks.get(*place).is_some_and(&wanted);
    let chosen: Vec<usize> = places.iter().copied().filter(is_wanted).collect();
    let row = StackRow::pool(chosen.iter().filter_map(|&place| stacks.get(place)).map(|stack| stack.row));
    (chosen, row)
}

impl JudgedSite {
    /// Whether the stack at a place, which is one of its, is a part of its leak.
    pub fn leaks_at(&self, place: usize) -> bool {
        self.judgement.verdict == Verdict::Leak
            && self.leaking.as_ref().is_none_or(|leaking| leaking.stacks.contains(&place))
    }

    /// The site as if it were one stack.
    pub fn judged(&self) -> Judged<'_> {
        Judged { row: &self.row, judgement: self.judgement.clone() }
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::age;

    use super::super::{analyze::analyze, rows::Observed, verdict::Reason};
    use super::*;

    const OLDER: u64 = 1 << 12;

    fn window() -> Window {
        Window { length_units: 5 * OLDER, older_units: OLDER }
    }

    /// Items born every `period` ages from `first` on, that live for `lifetime` ages.
    fn row(stack: u32, first: f64, period: f64, lifetime: f64) -> StackRow {
        let window = window();
        let mut row = StackRow { stack, ..StackRow::default() };
        let births = (0..).map(|i| first + f64::from(i) * period).take_while(|&birth| birth < 5.0);
        for birth in births {
            row.acquire(((5.0 - birth) * OLDER as f64) as u64, (lifetime * OLDER as f64) as u64, &window);
        }
        row
    }

    #[test]
    fn one_leak_of_many_stacks_is_found_with_its_whole_growth() {
        let rows: Vec<StackRow> =
            (0..100u32).map(|stack| row(stack, f64::from(stack) * 0.03, 3.0, 1e9)).collect();
        let stacks = analyze(&rows, &window(), &Before::default());
        assert!(stacks.iter().all(|stack| stack.judgement.verdict != Verdict::Leak));
        let sites = sites(&stacks, &window(), &Before::default(), |_| "parse_node");
        let [site] = &sites[..] else { panic!("{} sites", sites.len()) };
        assert_eq!((site.judgement.verdict, site.stacks.len()), (Verdict::Leak, 100));
        assert_eq!(site.row.old_bytes, rows.iter().map(|row| row.old_bytes).sum::<u64>());
        let hours = 4.0 * OLDER as f64 * age::UNIT_NS as f64 / 3.6e12;
        let growth = site.judgement.growth_bytes_per_hour.unwrap().value;
        assert!((growth * hours / site.row.old_bytes as f64 - 1.0).abs() < 1e-3, "{growth}");
    }

    /// Its row is evidence of the leak, and not of what another line of a stripped function does.
    #[test]
    fn what_is_in_use_for_moments_is_no_part_of_the_leak_beside_it() {
        let rows = [row(1, 0.0, 0.05, 1e9), row(2, 0.0, 0.0005, 0.001)];
        let stacks = analyze(&rows, &window(), &Before::default());
        assert_eq!(stacks[1].judgement.verdict, Verdict::Churn, "or this tests nothing");
        let together = judge(&StackRow::pool(&rows), &window());
        assert_eq!(together.verdict, Verdict::Leak, "or this tests nothing");
        assert!(together.survival.unwrap().value < 0.02);
        let sites = sites(&stacks, &window(), &Before::default(), |_| ());
        let judgement = &sites[0].judgement;
        assert_eq!((judgement.verdict, judgement.survival.unwrap().value), (Verdict::Leak, 1.0));
        assert_eq!(judgement.growth_bytes_per_hour, judge(&rows[0], &window()).growth_bytes_per_hour);
        assert_eq!(sites[0].leaking.as_ref().unwrap().row.old, rows[0].old);
        assert_eq!(sites[0].row.acquired, rows[0].acquired + rows[1].acquired);
    }

    #[test]
    fn a_large_cache_does_not_hide_the_leak_of_another_stack() {
        // Entries of 3 ages: their releases outweigh the leak at every age.
        let rows = [row(1, 0.0, 0.002, 3.0), row(2, 0.0, 0.05, 1e9)];
        let stacks = analyze(&rows, &window(), &Before::default());
        let together = judge(&StackRow::pool(&rows), &window());
        assert_ne!(together.verdict, Verdict::Leak, "or this tests nothing");
        let sites = sites(&stacks, &window(), &Before::default(), |_| ());
        assert_eq!(sites[0].judgement.verdict, Verdict::Leak);
        let growth = |judgement: &Judgement| judgement.growth_bytes_per_hour.unwrap().value;
        assert_eq!(growth(&sites[0].judgement), growth(&judge(&rows[1], &window())));
        assert_eq!(sites[0].row.acquired, rows[0].acquired + rows[1].acquired);
        let leaking = sites[0].leaking.as_ref().unwrap();
        assert_eq!((leaking.stacks.len(), leaking.row.old_bytes), (1, rows[1].old_bytes), "of one set");
    }

    /// Each stack alone has too few releases to be honest, and those without any must not be picked out.
    #[test]
    fn sessions_that_many_stacks_share_are_honest_together() {
        let rows: Vec<StackRow> =
            (0..60u32).map(|stack| row(stack, f64::from(stack) * 0.05, 1.7, 2.0)).collect();
        let stacks = analyze(&rows, &window(), &Before::default());
        let sites = sites(&stacks, &window(), &Before::default(), |_| ());
        let judgement = &sites[0].judgement;
        assert_eq!((judgement.verdict, judgement.reason), (Verdict::LongLived, Reason::StillReleased));
    }

    /// A program that leaked and ended long ago leaks no less, alone or in a site, and no more can be known of it.
    #[test]
    fn what_has_ended_is_judged_up_to_its_end() {
        let length = 4 * window().length_units;
        let whole = Window { length_units: length, ..window() };
        let observed = Some(Observed { length_units: window().length_units, ended: true });
        let ended = |row: StackRow| StackRow { observed, ..row };
        let rows =
            [ended(row(1, 0.0, 0.05, 1e9)), ended(row(2, 0.01, 0.05, 1e9)), ended(row(3, 3.0, 1.0, 1e9))];
        let stacks = analyze(&rows, &whole, &Before::default());
        let judged = sites(&stacks, &whole, &Before::default(), |place| stacks[place].row.stack == 3);
        let alone = StackRow { observed: None, ..StackRow::pool(&rows[..2]) };
        assert_eq!(judged[0].judgement, judge(&alone, &window()));
        assert_eq!(judged[0].judgement.verdict, Verdict::Leak);
        let young = &judged[1].judgement;
        assert_eq!((young.verdict, young.judged_after), (Verdict::Young, None));
        assert!(judge(&StackRow { observed: None, ..rows[2].clone() }, &window()).judged_after.is_some());
    }

    #[test]
    fn sites_are_apart_and_the_worst_comes_first() {
        let rows = [row(1, 0.0, 0.01, 0.001), row(2, 0.0, 0.05, 1e9), row(3, 0.0, 0.02, 1e9)];
        let stacks = analyze(&rows, &window(), &Before::default());
        let sites = sites(&stacks, &window(), &Before::default(), |place| stacks[place].row.stack == 1);
        assert_eq!(sites.len(), 2);
        assert_eq!((sites[0].judgement.verdict, sites[0].stacks.len()), (Verdict::Leak, 2));
        assert_eq!(sites[0].row.stack, 3, "the worst of its stacks");
        assert_eq!(sites[1].judgement, stacks[2].judgement);
    }
}
