//! Where the names of functions come from.

use std::collections::BTreeSet;

use super::page::Page;
use super::stacks::base_name;
use super::style::Style;
use crate::naming::{self, Catalog};
use crate::report::{Coverage, FileNames, Report, Row, Value};
use crate::text::visible;
use crate::units;

const INDENT: &str = "          ";
/// The options that name further sources.
const WITH: &str = "use --debug-dir DIR or --debuginfod";

/// Writes what would give names to rows that are named by addresses.
pub(super) fn write_advice(page: &mut Page, report: &Report, rows: &[&Row]) {
    let catalog = Catalog::new(&report.frames);
    let files: BTreeSet<String> = rows.iter().filter_map(|row| nameless_in(report, &catalog, row)).collect();
    if files.is_empty() {
        return;
    }
    let files = files.into_iter().collect::<Vec<_>>().join(", ");
    let words = format!("names for {files}: install debug symbols, or {WITH} (docs/names.md)");
    page.paragraph(Style::Warn, "  ", &words);
}

/// The file of the nameless frame that a row is named by; `None` if it has a name.
fn nameless_in(report: &Report, catalog: &Catalog<'_>, row: &Row) -> Option<String> {
    let key = row.cells.iter().find_map(|cell| match cell {
        Value::Name(name) => Some(name.terminal()),
        _ => None,
    })?;
    let calls = catalog.calls(report.stack_of(row)?);
    let is_it = |call: &&naming::Call<'_>| key.starts_with(&call.name.terminal());
    let call = calls.iter().find(is_it).filter(|call| call.function.is_none())?;
    call.frame.module.as_ref().map(base_name)
}

/// Writes which sources of names could not be read; with `verbose`, also which were used.
pub(super) fn write(page: &mut Page, coverage: &Coverage, verbose: bool) {
    for (problem, files) in problems(&coverage.files) {
        let words = format!("names of {}: {}", list(&files), visible(problem));
        page.paragraph(Style::Warn, INDENT, &words);
    }
    for file in coverage.files.iter().filter(|_| verbose) {
        page.paragraph(Style::Plain, INDENT, &sources(file));
    }
}

/// Each problem with the files that have it.
fn problems(files: &[FileNames]) -> Vec<(&str, Vec<&FileNames>)> {
    let mut found: Vec<(&str, Vec<&FileNames>)> = Vec::new();
    for (file, problem) in files.iter().flat_map(|file| file.problems.iter().map(move |of| (file, of))) {
        match found.iter_mut().find(|(known, _)| known == problem) {
            Some((_, files)) => files.push(file),
            None => found.push((problem, vec![file])),
        }
    }
    found
}

/// `server`, `server and libfoo.so`, `server, libfoo.so and 3 more files`.
fn list(files: &[&FileNames]) -> String {
    match files {
        [first, second] => format!("{} and {}", base_name(&first.module), base_name(&second.module)),
        [first, second, more @ ..] => {
            let more = units::plural(more.len() as u64, "more file", "more files");
            format!("{}, {} and {more}", base_name(&first.module), base_name(&second.module))
        }
        files => files.iter().map(|file| base_name(&file.module)).collect(),
    }
}

/// `names of libfoo.so: from exported symbols (.dynsym); not there: a debug file (build id 0123)`.
fn sources(file: &FileNames) -> String {
    let list = |words: &[String]| words.iter().map(|w| visible(w)).collect::<Vec<_>>().join(", ");
    let from = if file.sources.is_empty() {
        "from nothing".to_owned()
    } else {
        format!("from {}", list(&file.sources))
    };
    let absent = match file.absent.as_slice() {
        [] => String::new(),
        absent => format!("; not there: {}", list(absent)),
    };
    format!("names of {}: {from}{absent}", base_name(&file.module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::HumanOptions;
    use crate::report::sample;
    use crate::text::Text;

    #[test]
    fn rows_named_by_addresses_come_with_advice() {
        let mut report = sample::pong();
        let advice = |report: &Report| {
            let mut page = Page::new(&HumanOptions { width: 200, ..HumanOptions::default() });
            write_advice(&mut page, report, &report.sections[0].rows.iter().collect::<Vec<_>>());
            page.finish()
        };
        assert_eq!(advice(&report), "", "all have names");
        let first = report.stacks[0].frames[1];
        report.frames[first].functions.clear();
        let name = Catalog::new(&report.frames).calls(&report.stacks[0])[1].name.clone();
        report.sections[0].rows[0].cells[1] = Value::Name(name);
        let file = report.frames[first].module.as_ref().unwrap().terminal();
        let file = file.rsplit('/').next().unwrap();
        let words = format!("  names for {file}: install debug symbols, or {WITH} (docs/names.md)\n");
        assert_eq!(advice(&report), words);
    }

    #[test]
    fn sources_and_problems_are_shown() {
        let file = FileNames {
            module: Text::from("/srv/server"),
            build_id: None,
            sources: vec!["exported symbols (.dynsym)".to_owned()],
            problems: vec![
                ".debug_info of the file itself cannot be read: it is truncated or damaged".to_owned(),
            ],
            absent: vec!["a debug file (build id 0123)".to_owned()],
        };
        let coverage = Coverage { files: vec![file], ..Coverage::default() };
        let shown = |verbose| {
            let mut page = Page::new(&HumanOptions { width: 200, ..HumanOptions::default() });
            write(&mut page, &coverage, verbose);
            page.finish()
        };
        let short = shown(false);
        assert!(short.contains("names of server: .debug_info of the file itself cannot be read"), "{short}");
        assert!(!short.contains(".dynsym"), "{short}");
        let long = shown(true);
        let expected =
            "names of server: from exported symbols (.dynsym); not there: a debug file (build id 0123)";
        assert!(long.contains(expected), "{long}");
    }

    #[test]
    fn files_with_one_problem_share_a_line() {
        let file = |module: &str, problems: &[&str]| FileNames {
            module: Text::from(module),
            build_id: None,
            sources: vec![],
            problems: problems.iter().map(|words| (*words).to_owned()).collect(),
            absent: vec![],
        };
        let none = "http://symbols: no debug file for this build (404)";
        let files = [file("/srv/server", &[none, "damaged"]), file("/lib/libm.so", &[none])];
        let shown = |files: &[FileNames]| {
            let coverage = Coverage { files: files.to_vec(), ..Coverage::default() };
            let mut page = Page::new(&HumanOptions { width: 200, ..HumanOptions::default() });
            write(&mut page, &coverage, false);
            page.finish().lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let two = [format!("names of server and libm.so: {none}"), "names of server: damaged".to_owned()];
        assert_eq!(shown(&files), two);
        let more = [file("/a", &[none]), file("/b", &[none]), file("/c", &[none]), file("/d", &[none])];
        assert_eq!(shown(&more), [format!("names of a, b and 2 more files: {none}")]);
    }
}
