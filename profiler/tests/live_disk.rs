//! `disk` counts each operation on each file: as often, with as many bytes and errors, as the program itself has on its books.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::account;
use support::calls::number;
use support::compile::Build;
use support::observer::Observer;
use support::workload::{PATIENCE, Workload};

/// Count, bytes and errors, by file and operation.
type Books = BTreeMap<(String, String), (u64, u64, u64)>;

/// What a report has in its table of files.
fn counted(report: &Value, directory: &Path) -> Books {
    let section =
        account::list(report, "sections").iter().find(|section| section["name"] == "files").unwrap();
    let columns = account::list(section, "columns");
    let place = |name: &str| columns.iter().position(|column| column["name"] == name).unwrap();
    let mut books = Books::new();
    for row in account::list(section, "rows") {
        let cell = |name: &str| &row["cells"][place(name)];
        let exact = |name: &str| number(cell(name), "exact");
        let word = |cell: &Value| {
            let words = ["name", "word", "unknown"]
                .iter()
                .find_map(|kind| cell[*kind].as_str().or(cell[*kind]["utf8"].as_str()));
            words.unwrap_or_else(|| panic!("no words: {cell}")).to_owned()
        };
        let file = word(cell("file"));
        let own = format!("{}/", directory.display());
        let file = file.strip_prefix(&own).unwrap_or(&file).to_owned();
        let sums = books.entry((file, word(cell("operation")))).or_insert((0, 0, 0));
        sums.0 += exact("operations");
        sums.1 += exact("bytes");
        sums.2 += exact("errors");
    }
    books
}

/// Observes a workload that works in a folder, from "go" to "DONE". Returns the report and what it said.
fn observe(program: &Path, folder: &Path, arguments: &[&str]) -> (Value, Books) {
    let mut target = Workload::spawn(program, &[folder]);
    let pid = target.pid_argument();
    let common = ["disk", "--max-cost", "off", "--format", "json", "--pid", &pid];
    let mut observer = Observer::spawn(&[&common, arguments].concat());
    observer.wait_attached();
    target.say("go");
    let mut books = Books::new();
    loop {
        let line = target.expect_line("", PATIENCE);
        if line == "DONE" {
            break;
        }
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let key = (said["file"].as_str().unwrap().to_owned(), said["operation"].as_str().unwrap().to_owned());
        books.insert(key, (number(&said, "count"), number(&said, "bytes"), number(&said, "errors")));
    }
    let report = observer.interrupt().report(0);
    target.say("quit");
    target.quit();
    account::assert_nothing_lost(&report);
    (report, books)
}

#[test]
fn every_operation_is_counted_for_its_file() {
    let Some(_live) = support::live() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Build::c("disk.c").flags(&["-pthread"]).build();
    let (report, books) = observe(&program, folder.path(), &["--children"]);
    let counted = counted(&report, folder.path());
    let of_folder: Books = counted
        .iter()
        .filter(|((file, _), _)| !file.starts_with('/'))
        .map(|(key, sums)| (key.clone(), *sums))
        .collect();
    let missing: Vec<_> = books.iter().filter(|(key, sums)| of_folder.get(key) != Some(sums)).collect();
    let beyond: Vec<_> = of_folder.iter().filter(|(key, sums)| books.get(key) != Some(sums)).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "on the books: {missing:#?}\ncounted: {beyond:#?}");
}
