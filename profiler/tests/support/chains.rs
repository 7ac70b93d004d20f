//! The comparison of a report's stacks with the chains of functions that a workload has allocated along.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::account::{self, list};

/// A chain of calls, as a workload of `tests/workloads/unwinding` says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Chain {
    /// Function names, innermost first; `*` is any.
    pub(crate) functions: Vec<String>,
    /// Return addresses of what called the outermost of them, by another unwinder.
    pub(crate) tail: Vec<u64>,
    /// Why the stack may end behind the tail; else it has to be whole.
    pub(crate) may_end: Option<String>,
}

/// The frames of a stack of the report, innermost first.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    /// Function names, without those that are inlined; `?` where there is none.
    pub(crate) names: Vec<String>,
    /// Code addresses.
    pub(crate) addresses: Vec<u64>,
    /// Why there are not more of them.
    pub(crate) incomplete: Option<String>,
    /// Allocations from there.
    pub(crate) allocs: u64,
    /// Their bytes.
    pub(crate) alloc_bytes: u64,
}

impl Chain {
    fn is_of(&self, frames: &Frames) -> bool {
        let depth = self.functions.len();
        frames.names.len() == depth + self.tail.len()
            && self.functions.iter().zip(&frames.names).all(|(want, name)| want == "*" || want == name)
            && frames.addresses[depth..] == self.tail
            && (frames.incomplete.is_none() || frames.incomplete == self.may_end)
    }
}

/// The chains of the books, with the number of allocations along each.
pub(crate) fn of_books(books: &Value) -> BTreeMap<Chain, u64> {
    let numbers = |value: &Value| value.as_u64().expect("a number");
    let chain = |entry: &Value| {
        let functions = entry["chain"].as_str().expect("a chain").split(' ').map(str::to_owned).collect();
        let tail = list(entry, "tail").iter().map(numbers).collect();
        let may_end = entry["may_end"].as_str().map(str::to_owned);
        (Chain { functions, tail, may_end }, numbers(&entry["allocs"]))
    };
    list(books, "chains").iter().map(chain).collect()
}

/// The stack of every row.
pub(crate) fn stacks(report: &Value) -> Vec<Frames> {
    let section = account::stacks_section(report);
    let column = |name: &str| {
        let at = list(section, "columns").iter().position(|column| column["name"] == name);
        at.unwrap_or_else(|| panic!("the report has no column `{name}`"))
    };
    let (allocs, bytes) = (column("allocs"), column("alloc_bytes"));
    let of = |row: &Value| {
        let exact = |at: usize| list(row, "cells")[at]["exact"].as_u64().expect("an exact count");
        let index = |value: &Value| usize::try_from(value.as_u64().expect("an index")).expect("an index");
        let stack = &list(report, "stacks")[account::user_stack(row).expect("a stack")];
        let frames: Vec<&Value> =
            list(stack, "frames").iter().map(|frame| &list(report, "frames")[index(frame)]).collect();
        Frames {
            names: frames.iter().map(|frame| name(frame)).collect(),
            addresses: frames.iter().map(|frame| frame["address"].as_u64().expect("an address")).collect(),
            incomplete: stack["incomplete"].as_str().map(str::to_owned),
            allocs: exact(allocs),
            alloc_bytes: exact(bytes),
        }
    };
    list(section, "rows").iter().filter(|row| account::user_stack(row).is_some()).map(of).collect()
}

/// The function that a frame's code belongs to, inlined ones aside.
fn name(frame: &Value) -> String {
    let last = list(frame, "functions").last();
    last.and_then(|function| function["name"].as_str()).unwrap_or("?").to_owned()
}

/// Asserts that nothing was lost, that every stack is whole and ends where a thread begins, and that allocations went along
/// the chains of the books, so often, and along no others. Stacks that begin elsewhere, in the C library, only have to be
/// whole.
#[track_caller]
pub(crate) fn assert_chains(report: &Value, books: &Value) {
    account::assert_nothing_lost(report);
    let expected = of_books(books);
    let innermost: BTreeSet<&str> = expected.keys().map(|chain| chain.functions[0].as_str()).collect();
    let roots: BTreeSet<u64> = expected.keys().filter_map(|chain| chain.tail.last().copied()).collect();
    let mut found: BTreeMap<Chain, u64> = BTreeMap::new();
    for stack in stacks(report) {
        if !innermost.contains(stack.names[0].as_str()) {
            assert_eq!(stack.incomplete, None, "{stack:#x?}");
            assert!(roots.contains(stack.addresses.last().unwrap_or(&0)), "another root: {stack:#x?}");
            continue;
        }
        let chain = expected.keys().find(|chain| chain.is_of(&stack));
        let chain = chain.unwrap_or_else(|| panic!("not in the books: {stack:#x?}\n{books:#}"));
        *found.entry(chain.clone()).or_default() += stack.allocs;
    }
    assert_eq!(found, expected);
    if expected.keys().all(|chain| chain.may_end.is_none()) {
        assert_eq!(report["coverage"]["walks"]["cut"], serde_json::json!([]), "{}", report["coverage"]);
    }
}

/// How often each stack allocated, by raw addresses: innermost first.
pub(crate) type RawStacks = BTreeMap<Vec<u64>, u64>;

/// The stacks that a workload has seen with another unwinder, as `oracle.h` writes them: without the innermost frame, and
/// without the function that asked.
pub(crate) fn witnessed(text: &str) -> RawStacks {
    let stack = |line: &str| {
        let (count, addresses) = line.split_once(' ').expect("a count and addresses");
        let address = |word: &str| u64::from_str_radix(word, 16).expect("an address");
        (addresses.split(' ').map(address).collect(), count.parse().expect("a count"))
    };
    text.lines().map(stack).collect()
}

/// The stacks of the report that begin in `innermost`, without that frame.
pub(crate) fn raw(report: &Value, innermost: &str) -> RawStacks {
    let mut all = RawStacks::new();
    for stack in stacks(report).into_iter().filter(|stack| stack.names[0] == innermost) {
        assert_eq!(stack.incomplete, None, "{stack:#x?}");
        *all.entry(stack.addresses[1..].to_vec()).or_default() += stack.allocs;
    }
    all
}

/// As [`raw`], where stacks may end for a reason in a function: then what another unwinder has seen must begin with them.
pub(crate) fn raw_up_to(
    report: &Value,
    innermost: &str,
    (function, reason): (&str, &str),
    witnessed: &RawStacks,
) -> RawStacks {
    let mut all = RawStacks::new();
    for stack in stacks(report).into_iter().filter(|stack| stack.names[0] == innermost) {
        let seen = &stack.addresses[1..];
        if stack.incomplete.is_none() {
            *all.entry(seen.to_vec()).or_default() += stack.allocs;
            continue;
        }
        let outermost = stack.names.last().expect("a frame");
        assert_eq!(stack.incomplete.as_deref(), Some(reason), "{stack:#x?}");
        assert!(outermost.starts_with(function) || outermost == "?", "{stack:#x?}");
        let whole: Vec<_> = witnessed.iter().filter(|(whole, _)| whole.starts_with(seen)).collect();
        assert_eq!(stack.allocs, whole.iter().map(|(_, count)| **count).sum::<u64>(), "{stack:#x?}");
        all.extend(whole.into_iter().map(|(whole, count)| (whole.clone(), *count)));
    }
    all
}

/// Asserts that both are the same stacks, so often.
#[track_caller]
pub(crate) fn assert_same_stacks(report: &RawStacks, witnessed: &RawStacks) {
    let missing: Vec<_> =
        witnessed.iter().filter(|(stack, count)| report.get(*stack) != Some(count)).collect();
    let extra: Vec<_> = report.iter().filter(|(stack, count)| witnessed.get(*stack) != Some(count)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{} of {} stacks differ; seen by the other unwinder: {:x?}\nby the report: {:x?}",
        missing.len(),
        witnessed.len(),
        &missing[..missing.len().min(3)],
        &extra[..extra.len().min(3)]
    );
}
