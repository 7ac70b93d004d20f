//! The tables of a report: sites, and the stacks of each site.

use std::time::Duration;

use profiler_common::memleak::counters::Counter;

use super::{
    coarse::Drawing,
    columns::{cells, site_columns, site_key, stack_columns, with_ends},
    sentences::{self, Facts},
    session::Session,
    spoken::spoken,
};
use crate::{
    naming,
    observe::processes::processes,
    report::{Finding, Folded, Row, RowRef, Section, Severity, Stack, StackRef, Value},
    stack::own::{Named, Own, labels},
    stats::lifetimes::{
        analyze::Judged,
        before::Before,
        rows::{StackRow, Window},
        sites::{JudgedSite, sites_and_functions},
        verdict::Verdict,
    },
    text::Text,
    units,
};

/// Where in the report the sites are.
const SITES: usize = 0;

/// Judged stacks and the sites that they belong to.
pub(super) struct Table<'a> {
    judged: &'a [Judged<'a>],
    /// The function that names each stack.
    owns: Vec<Option<&'a Own>>,
    /// The process and the address space of each of the stacks.
    programs: Vec<(u32, u16)>,
    /// All sites, the worst first.
    sites: Vec<JudgedSite>,
    /// The function that names each site.
    of_site: Vec<Option<&'a Own>>,
    /// For each site that is a function with its callees: how many stacks through it are judged elsewhere.
    elsewhere: Vec<usize>,
    /// The sites that have a row, in order: those that are summed up in one line come last.
    rows: Vec<usize>,
    /// How many of them are shown on a line of their own.
    unfolded: usize,
    /// The row of each site.
    row_of: Vec<Option<usize>>,
    /// Indices of the stacks that have a row, the worst first: all stacks of the sites that have one.
    pub(super) shown: Vec<usize>,
    /// For each of these, the row of its site.
    site_rows: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        session: Session<'_>,
        judged: &'a [Judged<'a>],
        named: &'a Named,
        window: &Window,
    ) -> Table<'a> {
        let programs: Vec<(u32, u16)> =
            judged.iter().map(|stack| session.on.program_of(stack.row.stack)).collect();
        let owns: Vec<Option<&Own>> = judged.iter().map(|stack| named.own(stack.row.stack)).collect();
        let site = |place: usize| {
            let own = owns[place].map(|own| (&own.module, &own.function, &own.file, own.line));
            // Stacks without a name are not related.
            let nameless = own.is_none().then_some(place);
            // The programs that one process executed in turn are kept apart.
            (programs[place], own, nameless)
        };
        let path = |place: usize| named.path(judged[place].row.stack);
        let functions = |place: usize| {
            let program = programs[place];
            path(place).iter().map(move |own| (program, &own.module, &own.function)).collect::<Vec<_>>()
        };
        let sites = sites_and_functions(judged, window, &session.tool.before, site, functions);
        let of_site: Vec<Option<&Own>> = sites
            .iter()
            .map(|site| match site.through {
                Some(nth) => path(site.stacks[0]).get(nth),
                None => owns[site.stacks[0]],
            })
            .collect();
        let elsewhere = sites.iter().map(|site| elsewhere(site, judged.len(), functions)).collect();
        let min_bytes = session.tool.options.min_bytes;
        let has_row =
            |site: &JudgedSite| site.judgement.verdict == Verdict::Leak || site.row.live_bytes >= min_bytes;
        let all = || (0..sites.len()).filter(|&at| has_row(&sites[at]));
        let mut rows: Vec<usize> = all().filter(|&at| !is_minor(&sites[at])).collect();
        let unfolded = rows.len();
        rows.extend(all().filter(|&at| is_minor(&sites[at])));
        let mut row_of = vec![None; sites.len()];
        let mut shown = Vec::new();
        for (row, &at) in rows.iter().enumerate() {
            row_of[at] = Some(row);
            shown.extend(sites[at].stacks.iter().map(|&place| (place, row)));
        }
        shown.sort_unstable();
        let (shown, site_rows) = shown.into_iter().unzip();
        Table { judged, owns, programs, sites, of_site, elsewhere, rows, unfolded, row_of, shown, site_rows }
    }

    /// The judgements on stacks and sites, for the next report.
    pub(super) fn said(&self, before: &Before) -> Before {
        before.after(self.judged, &self.sites)
    }

    /// The tables and findings. `stacks`: the indices in the report (`of_report`) of the stacks that have a row.
    pub(super) fn sections(
        &self,
        session: Session<'_>,
        of_report: &[Stack],
        stacks: &[Option<usize>],
        counters: &[u64; Counter::COUNT],
        complete: bool,
    ) -> (Vec<Section>, Vec<Finding>) {
        let age = units::duration(session.tool.options.older);
        let length = session.on.lasted();
        let several = session.on.spaces.len() > 1;
        let drawn = session.tool.options.sample_bytes.is_some();
        let owners = session.on.owners();
        let names = labels(&self.of_site);
        let refs: Vec<Option<RowRef>> =
            self.row_of.iter().map(|row| row.map(|row| RowRef { section: SITES, row })).collect();
        let program = |site: &JudgedSite| self.programs[site.stacks[0]];
        let programs: Vec<(u32, u16)> = self.sites.iter().map(program).collect();
        let spoken = spoken(&self.sites, &names, &self.of_site);
        let acquired = self.judged.iter().map(|stack| stack.row.acquired).sum();
        let facts = Facts {
            sites: &self.sites,
            names: &names,
            spoken: &spoken,
            programs: &programs,
            processes: &processes(session.on, |space| session.lasted(space)),
            rows: &refs,
            stacks: self.judged.len(),
            length,
            older: session.tool.options.older,
            drawing: Drawing::of(counters, session.tool.options.sample_bytes, acquired),
        };
        let findings = sentences::findings(&facts, complete);
        let site_rows = self.rows.iter().map(|&at| {
            let site = &self.sites[at];
            let first = site.stacks[0];
            let stack = self.shown.binary_search(&first).ok().and_then(|row| stacks.get(row).copied()?);
            let number = owner_of(&owners, self.programs[first]);
            let leaks = site.judgement.verdict == Verdict::Leak;
            let line = Line {
                judged: &site.judged(),
                leaking: site.leaking.as_ref().map(|leaking| &leaking.row),
                name: names[at].clone(),
                own: self.of_site[at],
                stack,
                leaks,
            };
            let mut last = vec![Value::Exact(site.stacks.len() as u64)];
            last.extend(site_key(self.of_site[at], site.through.is_some()));
            line.row(number, last, complete)
        });
        let hidden = self.sites.len() - self.rows.len();
        let title = "Where memory is allocated, the worst first";
        let mut sites = Section::new("sites", title, site_columns(&age, several, drawn), site_rows.collect());
        sites.notes = self.apart(&names).chain(notes(hidden, session.tool.options.min_bytes)).collect();
        sites.folded = self.folded(length, complete);
        let rows = self.stack_rows(&owners, of_report, stacks, complete);
        let columns = stack_columns(&age, several, drawn);
        let mut stacks = Section::new("stacks", "Call stacks, the worst first", columns, rows);
        stacks.detail = true;
        // Sites without a name have no other key; and if a library was loaded twice, two of its stacks have the same
        // id.
        sites.number_rows();
        stacks.number_rows();
        (vec![sites, stacks], findings)
    }

    fn stack_rows(
        &self,
        owners: &[(u32, u64)],
        of_report: &[Stack],
        stacks: &[Option<usize>],
        complete: bool,
    ) -> Vec<Row> {
        let owns: Vec<Option<&Own>> = self.shown.iter().map(|&place| self.owns[place]).collect();
        let shown = self.shown.iter().zip(&self.site_rows).zip(stacks).zip(labels(&owns));
        let row = |(((&place, &site), &stack), name)| {
            let judged: &Judged<'_> = &self.judged[place];
            let leaks = judged.judgement.verdict == Verdict::Leak || self.is_part_of_leak(site, place);
            let line = Line { judged, leaking: None, name, own: self.owns[place], stack, leaks };
            let id = stack.and_then(|stack| of_report.get(stack)).map(|stack| stack.id.clone());
            let id = id.map_or_else(|| Value::Unknown("its frames are not known".to_owned()), Value::Word);
            let number = owner_of(owners, self.programs[place]);
            line.row(number, vec![Value::Exact(site as u64), id], complete)
        };
        shown.map(row).collect()
    }

    /// Notes on functions that leak with their callees: which of their stacks do not belong to that leak.
    fn apart(&self, names: &[Option<Text>]) -> impl Iterator<Item = String> {
        let named = self.rows.iter().filter_map(|&at| Some((names[at].as_ref()?, self.elsewhere[at])));
        named.filter(|(_, elsewhere)| *elsewhere > 0).map(|(name, elsewhere)| {
            let (stacks, which_are) = match elsewhere {
                1 => ("1 call stack".to_owned(), "which is judged by its own site"),
                more => (format!("{more} call stacks"), "which are judged by their own sites"),
            };
            let name = naming::in_prose(name).terminal();
            format!("{name}: without {stacks} that lead through it, {which_are}")
        })
    }

    /// Whether a stack is part of the leak of its row's site: the proof holds for all of its leaking stacks together, whatever
    /// each shows alone.
    fn is_part_of_leak(&self, row: usize, place: usize) -> bool {
        let site = self.rows.get(row).and_then(|&at| self.sites.get(at));
        site.is_some_and(|site| site.leaks_at(place))
    }

    /// The sum of the sites that have no line of their own.
    fn folded(&self, length: Duration, complete: bool) -> Option<Folded> {
        let folded: Vec<&JudgedSite> = self.rows[self.unfolded..].iter().map(|&at| &self.sites[at]).collect();
        if folded.is_empty() || !complete {
            return None;
        }
        let weighted = |of: fn(&JudgedSite) -> f64| folded.iter().map(|site| of(site)).sum::<f64>();
        let rate = folded.iter().map(|site| {
            let seconds = site.row.lasted(length).as_secs_f64();
            let drawn = site.row.weighted.as_ref();
            let allocated = drawn.map_or(site.row.acquired_bytes as f64, |drawn| drawn.acquired_bytes.0);
            if seconds > 0.0 { allocated / seconds } else { 0.0 }
        });
        let live = weighted(|site| {
            site.row.weighted.as_ref().map_or(site.row.live_bytes as f64, |drawn| drawn.live_bytes.0)
        });
        let text = format!(
            "{} of short-lived memory: {}/s, {} live (--verbose shows them)",
            units::plural(folded.len(), "site", "sites"),
            units::bytes(rate.sum()),
            units::bytes(live)
        );
        Some(Folded { from_row: self.unfolded, text })
    }
}

/// How many stacks lead through the function of a site (with its callees) and do not belong to it: those of sites that leak by
/// themselves, and tables that were filled once. `path`: the functions of a stack.
fn elsewhere<F: PartialEq>(site: &JudgedSite, stacks: usize, path: impl Fn(usize) -> Vec<F>) -> usize {
    let Some(nth) = site.through else { return 0 };
    let Some(function) = site.stacks.first().and_then(|&first| path(first).into_iter().nth(nth)) else {
        return 0;
    };
    let through = (0..stacks).filter(|&place| path(place).contains(&function));
    through.filter(|place| !site.stacks.contains(place)).count()
}

/// The content of a row of either table.
struct Line<'a> {
    judged: &'a Judged<'a>,
    /// The stacks that leak, if not all do.
    leaking: Option<&'a StackRow>,
    name: Option<Text>,
    own: Option<&'a Own>,
    stack: Option<usize>,
    /// It is a leak, or a part of one.
    leaks: bool,
}

impl Line<'_> {
    fn row(self, program: (u32, u64), last: Vec<Value>, complete: bool) -> Row {
        let verdict = complete.then_some(self.judged.judgement.verdict);
        let severity = (complete && self.leaks).then_some(Severity::Problem);
        let cells = cells(self.judged, self.leaking, verdict, self.name, self.own.map(|own| &*own.skipped));
        Row { cells: with_ends(program, cells, last), stacks: StackRef::user(self.stack), severity }
    }
}

/// True if the memory is in use only briefly, or not at all.
fn is_minor(site: &JudgedSite) -> bool {
    site.judgement.verdict == Verdict::Churn || site.row.live == 0
}

/// The process of a stack, and how many spaces it had before.
fn owner_of(owners: &[(u32, u64)], (pid, space): (u32, u16)) -> (u32, u64) {
    let known = owners.get(usize::from(space)).filter(|(owner, _)| *owner == pid);
    known.copied().unwrap_or((pid, 0))
}

fn notes(hidden: usize, min_bytes: u64) -> Vec<String> {
    match hidden {
        0 => Vec::new(),
        n => {
            let hold = units::plural(n, "site holds", "sites hold");
            vec![format!("{hold} less than {} (--min-bytes)", units::bytes(min_bytes as f64))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JudgedSite, StackRow, Verdict, elsewhere, notes};
    use crate::stats::lifetimes::verdict::{Judgement, Reason};

    #[test]
    fn stacks_through_a_function_that_are_no_part_of_its_row_are_counted() {
        let path = |place: usize| match place {
            0 => vec!["push", "tick", "main"],
            1 => vec!["tick", "main"],
            2 => vec!["load", "main"],
            _ => vec!["join", "tick", "main"],
        };
        let site = |stacks: Vec<usize>, through| JudgedSite {
            row: StackRow::default(),
            judgement: Judgement::sample(Verdict::Leak, Reason::KeptAndGrowing, 1.0),
            leaking: None,
            stacks,
            through,
        };
        assert_eq!(elsewhere(&site(vec![0, 3], Some(1)), 4, path), 1, "the stack of tick itself");
        assert_eq!(elsewhere(&site(vec![0, 1, 3], Some(1)), 4, path), 0);
        assert_eq!(elsewhere(&site(vec![0], None), 4, path), 0, "a site is all of its stacks");
    }

    #[test]
    fn sites_that_are_left_out_are_counted() {
        assert_eq!(notes(0, 1 << 20), [""; 0]);
        assert_eq!(notes(1, 1 << 20), ["1 site holds less than 1.0 MiB (--min-bytes)"]);
        assert_eq!(notes(2, 1 << 20), ["2 sites hold less than 1.0 MiB (--min-bytes)"]);
    }
}
