//! The call stacks of the rows, in words.

use super::cell;
use super::fit::{self, width};
use super::page::Page;
use super::style::Style;
use crate::report::{Frame, Function, Report, Role, Row, Section, Severity, Stack};
use crate::text::{Text, visible};

/// Most frames of a stack that are shown unless everything is asked for.
const MAX_FRAMES: usize = 32;
/// Rows whose stacks are shown if no row is a problem.
const WITHOUT_PROBLEM: usize = 3;

/// Writes the stacks of the rows that are problems; of the first rows if there is none; of all rows if `verbose`.
pub(super) fn write(page: &mut Page, report: &Report, section: &Section, rows: &[&Row], verbose: bool) {
    let with_stack = || rows.iter().filter_map(|row| Some((*row, report.stack_of(row)?)));
    let problem = |row: &Row| row.severity == Some(Severity::Problem);
    let any_problem = with_stack().any(|(row, _)| problem(row));
    let wanted: Vec<(&Row, &Stack)> = with_stack()
        .filter(|(row, _)| verbose || !any_problem || problem(row))
        .take(if verbose || any_problem { usize::MAX } else { WITHOUT_PROBLEM })
        .collect();
    if wanted.is_empty() {
        return;
    }
    page.blank();
    page.line(Style::Strong, "Call stacks, innermost call first");
    let several = report.meta.targets.len() > 1;
    for (row, stack) in &wanted {
        page.blank();
        let style = if problem(row) { Style::Bad } else { Style::Strong };
        page.line(
            style,
            &format!("  {}", fit::name(&heading(section, row, several.then_some(stack.pid)), page.width - 2)),
        );
        write_stack(page, report, stack, verbose);
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

fn write_stack(page: &mut Page, report: &Report, stack: &Stack, verbose: bool) {
    let limit = if verbose { usize::MAX } else { MAX_FRAMES };
    for frame in report.frames_of(stack).take(limit) {
        for function in &frame.functions {
            let inlined = if function.inlined { " (inlined)" } else { "" };
            write_call(page, &function.name.terminal(), inlined, &place(function, frame), verbose);
        }
        if frame.functions.is_empty() {
            let why = visible(frame.unresolved.as_deref().unwrap_or("no reason given"));
            write_call(page, &address(frame), "", &format!("({why})"), verbose);
        }
    }
    let left = stack.frames.len().saturating_sub(limit);
    if left > 0 {
        page.line(Style::Dim, &format!("      … {left} more frames: --verbose"));
    }
    if let Some(why) = &stack.incomplete {
        page.paragraph(Style::Warn, "      ", &format!("… its callers are unknown: {}", visible(why)));
    }
}

/// One call: the name with a mark, and behind or below it the place.
fn write_call(page: &mut Page, name: &str, mark: &str, place: &str, verbose: bool) {
    let room = page.width - 6 - width(mark);
    if width(name) + 2 + width(place) <= room {
        return page.line(Style::Plain, &format!("      {name}{mark}  {place}"));
    }
    if verbose {
        page.paragraph(Style::Plain, "      ", &format!("{name}{mark}"));
        return page.paragraph(Style::Plain, "        ", place);
    }
    // The name is worth more than the directories of its file.
    let short = fit::path(place, room / 3);
    let name = fit::name(name, room - 2 - width(&short));
    page.line(Style::Plain, &format!("      {name}{mark}  {}", fit::path(place, room - 2 - width(&name))));
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

/// A frame without a name.
fn address(frame: &Frame) -> String {
    match (&frame.module, frame.file_offset) {
        (Some(module), Some(offset)) => format!("{}+{offset:#x}", base_name(module)),
        (Some(module), None) => format!("{} at {:#x}", base_name(module), frame.address),
        (None, _) => format!("{:#x}", frame.address),
    }
}

fn base_name(path: &Text) -> String {
    let path = path.terminal();
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&path).to_owned()
}
