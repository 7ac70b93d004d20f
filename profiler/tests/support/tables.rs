//! The tables of a report, as any other program would read them: by the names of their columns.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;

use serde_json::Value;

use super::account;

/// The cells of a row, by the name of their column.
pub(crate) type Row<'r> = BTreeMap<&'r str, &'r Value>;

/// The rows of a table.
///
/// # Panics
/// If the report has no such table.
#[track_caller]
pub(crate) fn rows<'r>(report: &'r Value, table: &str) -> Vec<Row<'r>> {
    let found = account::list(report, "sections").iter().find(|of| of["name"] == table);
    let found = found.unwrap_or_else(|| panic!("no table {table}"));
    let names: Vec<&str> =
        account::list(found, "columns").iter().map(|column| column["name"].as_str().unwrap()).collect();
    let row = |row: &'r Value| names.iter().copied().zip(account::list(row, "cells")).collect();
    account::list(found, "rows").iter().map(row).collect()
}

/// A cell that is an exact number.
#[track_caller]
pub(crate) fn exact(row: &Row<'_>, column: &str) -> u64 {
    row[column]["exact"].as_u64().unwrap_or_else(|| panic!("{column} is {}", row[column]))
}

/// A cell that is a name or a word, or the reason why there is none.
#[track_caller]
pub(crate) fn word(cell: &Value) -> &str {
    let of = |kind: &&str| cell[*kind].as_str().or(cell[*kind]["utf8"].as_str());
    ["name", "word", "unknown"].iter().find_map(of).unwrap_or_else(|| panic!("no words: {cell}"))
}
