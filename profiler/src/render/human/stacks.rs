//! The call stacks of the rows, in words.

use super::cell;
use super::fit::{self, width};
use super::page::Page;
use super::style::Style;
use crate::naming;
use crate::report::{Frame, Function, Report, Role, Row, Section, Severity, Stack};
use crate::text::{Text, visible};

/// Most calls of a stack that are shown unless everything is asked for, from the function that names the row on.
const MAX_CALLS: usize = 12;
/// Calls that the function of the row made itself, shown before it.
const MADE_BY_IT: usize = 1;
/// Rows whose stacks are shown: of those that are problems, or if there is none.
const PROBLEMS: usize = 5;
const WITHOUT_PROBLEM: usize = 3;

/// Writes the stacks of the first rows that are problems; of the first rows if there is none; of all rows if
/// `verbose`.
pub(super) fn write(page: &mut Page, report: &Report, section: &Section, rows: &[&Row], verbose: bool) {
    let with_stack = || rows.iter().filter_map(|row| Some((*row, report.stack_of(row)?)));
    let problem = |row: &Row| row.severity == Some(Severity::Problem);
    let any_problem = with_stack().any(|(row, _)| problem(row));
    let wanted: Vec<(&Row, &Stack)> = with_stack()
        .filter(|(row, _)| verbose || !any_problem || problem(row))
        .take(match (verbose, any_problem) {
            (true, _) => usize::MAX,
            (false, true) => PROBLEMS,
            (false, false) => WITHOUT_PROBLEM,
        })
        .collect();
    if wanted.is_empty() {
        return;
    }
    page.blank();
    page.line(Style::Strong, "Call stacks, innermost call first");
    let several = report.meta.targets.len() > 1;
    let mut shown: Vec<Vec<Call>> = Vec::new();
    for (row, stack) in &wanted {
        page.blank();
        let style = if problem(row) { Style::Bad } else { Style::Strong };
        page.line(
            style,
            &format!("  {}", fit::name(&heading(section, row, several.then_some(stack.pid)), page.width - 2)),
        );
        let calls = calls(report, stack);
        if verbose {
            calls.iter().for_each(|call| write_whole(page, call));
        } else {
            write_part(page, part(calls, &key(section, row)), &mut shown);
        }
        if let Some(why) = &stack.incomplete {
            page.paragraph(Style::Warn, "      ", &format!("… its callers are unknown: {}", visible(why)));
        }
    }
    let rest = with_stack().count() - wanted.len();
    if rest > 0 {
        page.blank();
        page.paragraph(
            Style::Dim,
            "  ",
            &format!("{rest} more stacks: --verbose, or `-o FILE.json`, `-o FILE.svg`"),
        );
    }
}

/// The words of a row, and its first number: enough to find it in the table.
fn heading(section: &Section, row: &Row, pid: Option<u32>) -> String {
    let cells = || section.columns.iter().zip(&row.cells).filter(|(column, _)| column.shown);
    let word = |role: Role| {
        cells()
            .find(|(column, _)| column.role == role)
            .map(|(column, value)| cell::text(value, column.unit, false))
    };
    let number = cells().find(|(column, _)| !cell::is_word(column)).map(|(column, value)| {
        format!("{} {}", cell::text(value, column.unit, false), cell::title(column).to_lowercase())
    });
    let pid = pid.map(|pid| format!("pid {pid}"));
    let parts: Vec<String> =
        [word(Role::Label), pid, number, word(Role::Key)].into_iter().flatten().collect();
    parts.join("  ")
}

/// The name of a row.
fn key(section: &Section, row: &Row) -> String {
    let key = section.columns.iter().position(|column| column.role == Role::Key);
    let value = key.and_then(|key| Some((row.cells.get(key)?, section.columns.get(key)?.unit)));
    value.map(|(value, unit)| cell::text(value, unit, false)).unwrap_or_default()
}

/// One call: the function, whether it was inlined, and where it is.
#[derive(Clone, PartialEq)]
struct Call {
    name: String,
    mark: &'static str,
    place: String,
}

/// The calls of a stack, innermost first; inlined ones are calls too.
fn calls(report: &Report, stack: &Stack) -> Vec<Call> {
    let mut calls = Vec::new();
    for frame in report.frames_of(stack) {
        calls.extend(frame.functions.iter().map(|function| Call {
            name: function.name.terminal(),
            mark: if function.inlined { " (inlined)" } else { "" },
            place: place(function, frame),
        }));
        if frame.functions.is_empty() {
            let why = visible(frame.unresolved.as_deref().unwrap_or("no reason given"));
            calls.push(Call { name: naming::place(frame).terminal(), mark: "", place: format!("({why})") });
        }
    }
    calls
}

/// What is shown of a stack: the calls around the function that names its row.
struct Part {
    further_in: usize,
    calls: Vec<Call>,
    further_out: usize,
}

fn part(mut calls: Vec<Call>, key: &str) -> Part {
    // A line that says that one call is left out would take as much room as the call.
    let left_out = |calls: usize| if calls == 1 { 0 } else { calls };
    let named = calls.iter().position(|call| call.name == key).unwrap_or(0);
    let further_in = left_out(named.saturating_sub(MADE_BY_IT));
    calls.drain(..further_in);
    let further_out = left_out(calls.len().saturating_sub(MADE_BY_IT + MAX_CALLS));
    calls.truncate(calls.len() - further_out);
    Part { further_in, calls, further_out }
}

/// Writes a part of a stack, unless the same calls were `shown` before.
fn write_part(page: &mut Page, part: Part, shown: &mut Vec<Vec<Call>>) {
    if shown.contains(&part.calls) {
        let words = "the same calls as above; --verbose shows where the stacks differ";
        return page.paragraph(Style::Dim, "      ", words);
    }
    if part.further_in > 0 {
        page.line(Style::Dim, &format!("      … {} calls further in: --verbose", part.further_in));
    }
    for call in &part.calls {
        write_call(page, call);
    }
    if part.further_out > 0 {
        page.line(Style::Dim, &format!("      … {} calls further out: --verbose", part.further_out));
    }
    shown.push(part.calls);
}

/// A call in one line.
fn write_call(page: &mut Page, call: &Call) {
    let Call { name, mark, place } = call;
    let room = page.width - 6 - width(mark);
    if width(name) + 2 + width(place) <= room {
        return page.line(Style::Plain, &format!("      {name}{mark}  {place}"));
    }
    // The name is worth more than the directories of its file.
    let short = fit::path(place, room / 3);
    let name = fit::name(name, room - 2 - width(&short));
    page.line(Style::Plain, &format!("      {name}{mark}  {}", fit::path(place, room - 2 - width(&name))));
}

/// A call in as many lines as it takes.
fn write_whole(page: &mut Page, call: &Call) {
    let Call { name, mark, place } = call;
    if width(name) + width(mark) + 2 + width(place) <= page.width - 6 {
        return page.line(Style::Plain, &format!("      {name}{mark}  {place}"));
    }
    page.paragraph(Style::Plain, "      ", &format!("{name}{mark}"));
    page.paragraph(Style::Plain, "        ", place);
}

/// Where a function is: file and line, else the file that it was loaded from.
fn place(function: &Function, frame: &Frame) -> String {
    match (&function.file, function.line, &frame.module) {
        (Some(file), Some(line), _) => format!("{}:{line}", file.terminal()),
        (Some(file), None, _) => file.terminal(),
        (None, _, Some(module)) => base_name(module),
        (None, _, None) => String::new(),
    }
}

fn base_name(path: &Text) -> String {
    let path = path.terminal();
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&path).to_owned()
}
