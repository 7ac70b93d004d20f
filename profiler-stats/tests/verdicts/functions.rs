//! Functions above sites: a leak that is spread over several sites, or that one user of a shared site has.

use std::collections::BTreeMap;

use profiler_stats::lifetimes::analyze::analyze;
use profiler_stats::lifetimes::before::Before;
use profiler_stats::lifetimes::rows::{StackRow, Window};
use profiler_stats::lifetimes::sites::{JudgedSite, sites_and_functions};
use profiler_stats::lifetimes::verdict::Verdict;

use crate::model::{Rng, Site};
use crate::scenarios::HONEST;
use crate::{OLDER_NS, repetitions, tally};

/// Length of the observations in ages.
const AGES: f64 = 6.0;

/// A stack: what it does, the site that it allocates at, and the functions above, the innermost first.
struct Stack {
    row: StackRow,
    site: u32,
    path: Vec<u32>,
}

/// The functions that all stacks lead through.
const MAIN: u32 = 0;

struct Program {
    window: Window,
    rng: Rng,
    stacks: Vec<Stack>,
}

impl Program {
    fn new(seed: u64) -> Program {
        let window = Site::window(OLDER_NS[seed as usize % OLDER_NS.len()], AGES);
        Program { window, rng: Rng::new(seed), stacks: Vec::new() }
    }

    fn add(&mut self, site: u32, above: &[u32], fill: impl FnOnce(&mut Site, &mut Rng)) {
        let mut stack = Site::new(self.window);
        fill(&mut stack, &mut self.rng);
        let mut row = stack.finish().0;
        row.stack = self.stacks.len() as u32;
        let path = above.iter().copied().chain([MAIN]).collect();
        self.stacks.push(Stack { row, site, path });
    }

    /// A stack that does something honest, of which there may be little.
    fn add_honest(&mut self, site: u32, above: &[u32]) {
        let kinds: Vec<_> = HONEST.iter().filter(|scenario| scenario.ages <= AGES).collect();
        let kind = kinds[(self.rng.unit() * kinds.len() as f64) as usize];
        // A queue with few arrivals does not get full.
        let share = if kind.name.contains("queue") { 1.0 } else { self.rng.unit() };
        let rate = (kind.rate * share).max(1.0);
        self.add(site, above, |stack, rng| (kind.fill)(stack, rng, rate));
    }

    fn add_leak(&mut self, site: u32, above: &[u32], rate: f64) {
        self.add(site, above, |stack, rng| stack.steady(rng, rate, |_| f64::INFINITY));
    }

    /// The sites as they were judged, with the numbers of their stacks, in order.
    fn judged(&self) -> Vec<(JudgedSite, Vec<u32>)> {
        let rows: Vec<StackRow> = self.stacks.iter().map(|stack| stack.row.clone()).collect();
        let before = Before::default();
        let stacks = analyze(&rows, &self.window, &before);
        let of = |place: usize| &self.stacks[stacks[place].row.stack as usize];
        let site = |place| of(place).site;
        let path = |place| of(place).path.clone();
        let judged = sites_and_functions(&stacks, &self.window, &before, site, path);
        let all: usize = judged.iter().map(|site| site.stacks.len()).sum();
        assert_eq!(all, rows.len(), "each stack is in one row");
        let numbers = |site: &JudgedSite| {
            let mut numbers: Vec<u32> = site.stacks.iter().map(|&place| stacks[place].row.stack).collect();
            numbers.sort_unstable();
            numbers
        };
        judged.into_iter().map(|site| (site.clone(), numbers(&site))).collect()
    }

    /// What was found of a leak in the first `leaking` stacks: by a function that has no others, by sites, or not.
    fn found(&self, leaking: u32) -> &'static str {
        let judged = self.judged();
        let leaks = || judged.iter().filter(|(site, _)| site.judgement.verdict == Verdict::Leak);
        if leaks().any(|(site, stacks)| site.through.is_some() && stacks.iter().all(|stack| *stack < leaking))
        {
            "function"
        } else if leaks().any(|(_, stacks)| stacks.iter().any(|stack| *stack < leaking)) {
            "sites"
        } else {
            "missed"
        }
    }
}

/// Everything honest: 48 stacks with 30 functions above them.
fn honest(seed: u64) -> Program {
    let mut program = Program::new(seed);
    for stack in 0..48 {
        program.add_honest(stack, &[100 + stack / 2, 200 + stack / 6, 300 + stack / 24]);
    }
    program
}

/// A function that allocates at ten lines, and keeps one block of each in an age: one line proves nothing.
fn spread(seed: u64) -> Program {
    let mut program = Program::new(seed);
    for line in 0..10 {
        program.add_leak(line, &[1, 2], 1.0);
    }
    for stack in 10..30 {
        program.add_honest(stack, &[100 + stack / 2, 2 + stack / 10]);
    }
    program
}

/// One line that ten functions use: nine have sessions made there, and one keeps what it got, over ten stacks.
fn shared(seed: u64) -> Program {
    let mut program = Program::new(seed);
    for stack in 0..10 {
        program.add_leak(1, &[1, 50 + stack, 2], 1.0);
    }
    for user in 0..9 {
        for _ in 0..2 {
            program.add(1, &[100 + user, 2], |stack, rng| {
                stack.steady(rng, 20.0, |rng| rng.exponential(0.8));
            });
        }
    }
    program
}

fn count(counts: &BTreeMap<&'static str, u64>, of: &str) -> u64 {
    counts.get(of).copied().unwrap_or(0)
}

/// One of a hundred programs at most, however many functions it has.
#[test]
fn no_function_of_an_honest_program_leaks() {
    let repetitions = repetitions(200);
    let counts = tally(repetitions, |seed| {
        let judged = honest(seed).judged();
        let leaks = judged.iter().any(|(site, _)| site.through.is_some());
        if leaks { "leak" } else { "none" }
    });
    assert!(count(&counts, "leak") * 100 <= repetitions, "{counts:?}");
}

#[test]
fn a_leak_that_is_spread_over_sites_is_found_above_them() {
    let repetitions = repetitions(200);
    let counts = tally(repetitions, |seed| spread(seed).found(10));
    assert!(count(&counts, "missed") * 100 <= repetitions * 5, "{counts:?}");
    assert!(count(&counts, "function") * 100 >= repetitions * 80, "{counts:?}");
}

#[test]
fn one_leaking_user_of_a_shared_site_is_found() {
    let repetitions = repetitions(200);
    let counts = tally(repetitions, |seed| shared(seed).found(10));
    assert!(count(&counts, "missed") * 100 <= repetitions * 5, "{counts:?}");
    assert!(count(&counts, "function") * 100 >= repetitions * 50, "{counts:?}");
}
