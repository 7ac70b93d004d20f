//! The comparison of a report with the books of a workload.
//!
//! Reports are read here as any other program would read them: as JSON, by the names that the format promises.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a call site did, by whichever side says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Successful allocations.
    pub(crate) allocs: u64,
    /// Their requested sizes.
    pub(crate) alloc_bytes: u64,
    /// Releases of blocks that came from the site.
    pub(crate) frees: u64,
    /// Blocks live at the end.
    pub(crate) live: u64,
    /// Their requested sizes.
    pub(crate) live_bytes: u64,
}

/// Accounts by name of the site.
pub(crate) type Accounts = BTreeMap<String, Account>;

/// What the workload says.
pub(crate) fn from_books(books: &Value) -> Accounts {
    list(books, "sites").iter().map(site).collect()
}

/// What the workload says about the blocks that it had before `go`.
pub(crate) fn before(books: &Value) -> Accounts {
    std::iter::once(site(&books["before"])).collect()
}

fn site(entry: &Value) -> (String, Account) {
    let number = |name: &str| entry[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {entry}"));
    let account = Account {
        allocs: number("allocs"),
        alloc_bytes: number("alloc_bytes"),
        frees: number("frees"),
        live: number("live"),
        live_bytes: number("live_bytes"),
    };
    (entry["function"].as_str().expect("a site has a name").to_owned(), account)
}

/// What the report says about process `pid`: rows added up by the `site_...` function in their stack.
pub(crate) fn from_report(report: &Value, pid: u32) -> Accounts {
    let section = stacks_section(report);
    let columns = list(section, "columns");
    let mut accounts = Accounts::new();
    for row in list(section, "rows") {
        let Some(site) = site_of(report, row, pid) else { continue };
        let exact = |name: &str| {
            let at = columns.iter().position(|column| column["name"] == name);
            let at = at.unwrap_or_else(|| panic!("the report has no column `{name}`"));
            let cell = &list(row, "cells")[at];
            cell["exact"].as_u64().unwrap_or_else(|| panic!("`{name}` of {site} is not exact: {cell}"))
        };
        let account = accounts.entry(site.to_owned()).or_default();
        account.allocs += exact("allocs");
        account.alloc_bytes += exact("alloc_bytes");
        account.frees += exact("frees");
        account.live += exact("live_blocks");
        account.live_bytes += exact("live_bytes");
    }
    accounts
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    /// Best value.
    pub(crate) value: f64,
    /// Square of the standard error, from the width of the interval.
    variance: f64,
}

impl Estimate {
    /// Whether the true value is in the interval.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a test run are far below 2^53")]
    pub(crate) fn contains(&self, truth: u64) -> bool {
        (truth as f64 - self.value).abs() <= 1.96 * self.variance.sqrt()
    }
}

/// The estimate of the bytes allocated at a site of process `pid`, over all its rows; `None` if it has no row.
pub(crate) fn estimated_bytes(report: &Value, pid: u32, site: &str) -> Option<Estimate> {
    let section = stacks_section(report);
    let at = list(section, "columns").iter().position(|column| column["name"] == "alloc_bytes")?;
    let rows = list(section, "rows").iter().filter(|row| site_of(report, row, pid) == Some(site));
    rows.map(|row| {
        let cell = &list(row, "cells")[at]["estimate"];
        let number = |name: &str| cell[name].as_f64().unwrap_or_else(|| panic!("no {name}: not an estimate"));
        let standard_error = (number("high") - number("low")) / (2.0 * 1.96);
        Estimate { value: number("value"), variance: standard_error * standard_error }
    })
    .reduce(|a, b| Estimate { value: a.value + b.value, variance: a.variance + b.variance })
}

/// The innermost `site_...` function of a row's stack, if the stack is of process `pid` and has one.
fn site_of<'r>(report: &'r Value, row: &Value, pid: u32) -> Option<&'r str> {
    let index = user_stack(row)?;
    let stack = list(report, "stacks").get(index).unwrap_or_else(|| panic!("no stack {index}"));
    if stack["pid"].as_u64() != Some(u64::from(pid)) {
        return None;
    }
    let names = frame_names(report, stack);
    names.filter(|name| name.starts_with("site_")).map(without_clone_suffix).next()
}

/// The index of the user stack of a row, if it has one.
pub(crate) fn user_stack(row: &Value) -> Option<usize> {
    let stack = list(row, "stacks").iter().find(|of| of["role"] == "user")?;
    Some(as_index(&stack["stack"]))
}

/// The function names of the user stack of the row that a finding refers to, innermost first; empty if it has none.
pub(crate) fn stack_of<'r>(report: &'r Value, of: &Value) -> Vec<&'r str> {
    let row = &report["sections"][as_index(&of["section"])]["rows"][as_index(&of["row"])];
    let stack = user_stack(row).map(|stack| &report["stacks"][stack]);
    stack.into_iter().flat_map(|stack| frame_names(report, stack)).collect()
}

/// The function names of a stack, innermost first. Stacks refer to the report's frames by index.
fn frame_names<'r>(report: &'r Value, stack: &'r Value) -> impl Iterator<Item = &'r str> {
    let frames = list(stack, "frames").iter().map(|index| &report["frames"][as_index(index)]);
    frames.flat_map(|frame| list(frame, "functions")).filter_map(|function| function["name"].as_str())
}

fn as_index(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|index| usize::try_from(index).ok())
        .unwrap_or_else(|| panic!("no index: {value}"))
}

/// Compilers add `.constprop.0` and the like to the names of copies.
fn without_clone_suffix(name: &str) -> &str {
    name.split_once('.').map_or(name, |(function, _)| function)
}

/// Names of all functions in the report's stacks of process `pid`.
pub(crate) fn function_names(report: &Value, pid: u32) -> Vec<String> {
    let of_process = |stack: &&Value| stack["pid"].as_u64() == Some(u64::from(pid));
    let stacks = list(report, "stacks").iter().filter(of_process);
    stacks.flat_map(|stack| frame_names(report, stack)).map(str::to_owned).collect()
}

/// Names of all functions in the stack of a row, innermost first.
pub(crate) fn stack_functions(report: &Value, row: &Value) -> Vec<String> {
    let stack = user_stack(row).map(|index| &list(report, "stacks")[index]);
    stack.into_iter().flat_map(|stack| frame_names(report, stack)).map(str::to_owned).collect()
}

/// The functions that the rows of the section `stacks` are named by; empty for one without.
pub(crate) fn row_names(report: &Value) -> Vec<String> {
    let section = stacks_section(report);
    let at = list(section, "columns")
        .iter()
        .position(|column| column["name"] == "function")
        .expect("a column of functions");
    let name = |row: &Value| row["cells"][at]["name"].as_str().unwrap_or_default().to_owned();
    list(section, "rows").iter().map(name).collect()
}

/// Number of rows of the section `stacks`.
pub(crate) fn row_count(report: &Value) -> usize {
    list(stacks_section(report), "rows").len()
}

/// The section with one row per stack.
pub(crate) fn stacks_section(report: &Value) -> &Value {
    let found = list(report, "sections").iter().find(|section| section["name"] == "stacks");
    found.expect("the report has a section `stacks`")
}

/// Asserts that the report says of process `pid` exactly what the workload's books say, and that nothing was lost.
pub(crate) fn assert_books(report: &Value, pid: u32, books: &Value) {
    assert_accounts(report, pid, &from_books(books));
    assert_nothing_lost(report);
}

/// As [`assert_books`], where the allocator's own `operator new` throws. A kernel without sessions cannot follow it
/// without harm: then the report must say so, and account for all that it saw.
pub(crate) fn assert_books_unless_new_is_left_out(report: &Value, pid: u32, books: &Value) {
    if super::kernel::has(super::kernel::Feature::Session) {
        return assert_books(report, pid, books);
    }
    let notes = report["meta"]["targets"][0]["notes"].to_string();
    assert!(
        notes.contains("operator new is not followed"),
        "the report is silent about operator new: {notes}"
    );
    assert_nothing_lost(report);
}

/// Asserts that the report's sites of process `pid` are these, with these numbers, and no others.
pub(crate) fn assert_accounts(report: &Value, pid: u32, expected: &Accounts) {
    let reported = from_report(report, pid);
    let mut differences = String::new();
    for name in expected.keys().chain(reported.keys().filter(|name| !expected.contains_key(*name))) {
        // A site without any call has no row.
        let (want, got) = (expected.get(name).copied(), reported.get(name).copied());
        if want.unwrap_or_default() != got.unwrap_or_default() {
            differences += &format!("\n  {name}\n    books  {want:?}\n    report {got:?}");
        }
    }
    assert!(
        differences.is_empty(),
        "books and report differ:{differences}\ncoverage: {:#}\nsites in stacks: {:?}",
        report["coverage"],
        reported.keys()
    );
}

/// Asserts that every hit is accounted for and none was lost.
pub(crate) fn assert_nothing_lost(report: &Value) {
    assert_all_accounted(report);
    assert_keys(report);
    let coverage = &report["coverage"];
    for entry in list(coverage, "ledger") {
        for outcome in list(entry, "outcomes").iter().filter(|outcome| outcome["class"] == "lost") {
            assert_eq!(outcome["count"], 0, "{} lost hits: {outcome}", entry["probe"]);
        }
    }
    assert_eq!(coverage["complete"], true, "{:#}", coverage["incomplete_because"]);
}

/// Asserts that no two rows of a section have the same key.
pub(crate) fn assert_keys(report: &Value) {
    for section in list(report, "sections") {
        let columns = list(section, "columns").iter();
        let keys: Vec<usize> =
            columns.enumerate().filter(|(_, column)| column["role"] == "key").map(|(at, _)| at).collect();
        let mut seen = std::collections::HashSet::new();
        for row in list(section, "rows") {
            let key: Vec<String> = keys.iter().map(|&at| row["cells"][at].to_string()).collect();
            assert!(seen.insert(key.clone()), "two rows of {} have the key {key:?}", section["name"]);
        }
    }
}

/// Asserts the identity of the ledger: hits = sum of the outcomes. Holds for every report, complete or not.
pub(crate) fn assert_all_accounted(report: &Value) {
    let ledger = list(&report["coverage"], "ledger");
    assert!(!ledger.is_empty(), "a report without a ledger");
    for entry in ledger {
        let sum: u64 = list(entry, "outcomes").iter().map(|o| o["count"].as_u64().expect("a count")).sum();
        assert_eq!(entry["unaccounted"], 0, "{entry:#}");
        assert_eq!(entry["hits"].as_u64(), Some(sum), "{entry:#}");
    }
}

/// Asserts that the ledger saw every call that the books count, not only the calls at the sites: for workloads whose
/// process makes no other call to the allocator, summed over `books`.
pub(crate) fn assert_every_call(report: &Value, books: &[Value]) {
    let sum = |name: &str| -> u64 { books.iter().map(|b| b[name].as_u64().expect("a count")).sum() };
    let allocs: u64 = books.iter().flat_map(from_books).map(|(_, account)| account.allocs).sum();
    assert_eq!(outcome(report, "alloc_return", "recorded"), allocs, "recorded allocations");
    assert_eq!(outcome(report, "free", "null"), sum("null_frees"), "releases of NULL");
    assert_eq!(outcome(report, "free", "untracked"), sum("untracked_frees"), "releases of older blocks");
    // Books of languages that cannot see a failing resize have no such count.
    let failures: u64 = books.iter().filter_map(|b| b["untracked_resize_failures"].as_u64()).sum();
    assert_eq!(
        quality(report, "realloc_of_untracked"),
        sum("untracked_reallocs") + failures,
        "reallocs of older blocks, failing ones included"
    );
}

/// Count of one outcome of the ledger.
pub(crate) fn outcome(report: &Value, probe: &str, name: &str) -> u64 {
    let ledger = list(&report["coverage"], "ledger").iter().find(|entry| entry["probe"] == probe);
    let outcomes = list(ledger.unwrap_or_else(|| panic!("no ledger of {probe}")), "outcomes");
    let found = outcomes.iter().find(|outcome| outcome["name"] == name);
    found.unwrap_or_else(|| panic!("{probe} has no outcome `{name}`"))["count"].as_u64().expect("a count")
}

/// A remark on quality. Zero counts are left out of reports.
pub(crate) fn quality(report: &Value, name: &str) -> u64 {
    report["coverage"]["quality"].get(name).map_or(0, |count| count.as_u64().expect("a count"))
}

/// An array by its name.
pub(crate) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("`{name}` is missing or no list")).as_slice()
}
