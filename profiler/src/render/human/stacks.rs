//! The call stacks of rows.

use std::collections::HashSet;

use super::HumanOptions;
use super::cell;
use super::fit::{self, width};
use super::page::Page;
use super::style::Style;
use crate::naming::{self, Catalog};
use crate::report::{Column, Frame, Function, Report, Role, Row, RowRef, Section, Severity, Stack, Value};
use crate::text::{Text, visible};
use crate::units;

/// Most lines of a stack without `--verbose`.
const MAX_LINES: usize = 24;
/// Number of consecutive calls of one function (recursion) from which on they are counted instead of listed.
const MANY_ALIKE: usize = 4;
/// Innermost calls that are shown of a stack without own code.
const INNERMOST: usize = 3;
/// Number of rows whose stacks are shown: of problems, and if there is no problem.
const PROBLEMS: usize = 5;
const WITHOUT_PROBLEM: usize = 3;

/// Writes the stacks of the first problems, or of the first rows if there is no problem. With `verbose`, writes the stacks of all rows
/// except those that were already written.
pub(super) fn write(
    page: &mut Page,
    report: &Report,
    section: &Section,
    rows: &[&Row],
    options: &HumanOptions,
) {
    let verbose = options.verbose;
    let (wanted, rest) = wanted(report, section, rows, options);
    if wanted.is_empty() {
        return;
    }
    page.blank();
    page.line(Style::Strong, "Call stacks, innermost call first");
    let several = report.meta.targets.len() > 1;
    let mut shown: Vec<Vec<Line>> = Vec::new();
    let catalog = Catalog::new(&report.frames);
    for (at, row, stack) in &wanted {
        page.blank();
        let style = if is_problem(row) { Style::Bad } else { Style::Strong };
        let (own, others) = parts(report, *at, row);
        let number = own.and_then(|(detail, own)| number(detail, &[own])).or_else(|| number(section, &[row]));
        let heading = heading(section, row, several.then_some(stack.pid), number, page.width - 2);
        page.line(style, &format!("  {heading}"));
        let calls = calls(&catalog, stack);
        if verbose {
            remarks(page, section, row);
            calls.iter().for_each(|call| write_whole(page, call));
        } else {
            write_part(page, part(calls, &key(section, row), stack.incomplete.is_none()), &mut shown);
        }
        if let Some(why) = &stack.incomplete {
            page.paragraph(Style::Warn, "      ", &format!("… its callers are unknown: {}", visible(why)));
        }
        write_others(page, &others, verbose);
    }
    if rest > 0 {
        let more = units::plural(rest, "more stack", "more stacks");
        page.blank();
        page.paragraph(Style::Dim, "  ", &format!("{more}: --verbose, or `-o FILE.json`, `-o FILE.svg`"));
    }
}

fn is_problem(row: &Row) -> bool {
    row.severity == Some(Severity::Problem)
}

/// The rows whose stacks are written, and the number of other rows with stacks.
fn wanted<'a>(
    report: &'a Report,
    section: &Section,
    rows: &[&'a Row],
    options: &HumanOptions,
) -> (Vec<(RowRef, &'a Row, &'a Stack)>, usize) {
    let index = report.sections.iter().position(|other| std::ptr::eq(other, section)).unwrap_or_default();
    let above = stacks_above(report, index, options.top);
    let below =
        rows.iter().enumerate().filter(|(_, row)| row.stack().is_none_or(|stack| !above.contains(&stack)));
    // Rows that are not problems and have one stack, such as single calls from one place, show it once.
    let mut taken = HashSet::new();
    let with_stack: Vec<_> = below
        .filter_map(|(row, of)| Some((RowRef { section: index, row }, *of, report.stack_of(of)?)))
        .filter(|(_, row, _)| taken.insert(row.stack()) || is_problem(row))
        .collect();
    let any_problem = with_stack.iter().any(|(_, row, _)| is_problem(row));
    let most = match (options.verbose, any_problem) {
        (true, _) => usize::MAX,
        (false, true) => PROBLEMS,
        (false, false) => WITHOUT_PROBLEM,
    };
    let all = with_stack.len();
    let is_wanted = |row: &Row| options.verbose || !any_problem || is_problem(row);
    let wanted: Vec<_> = with_stack.into_iter().filter(|(_, row, _)| is_wanted(row)).take(most).collect();
    let rest = all - wanted.len();
    (wanted, rest)
}

/// The stacks of the parent rows of a detail section, which were already written.
fn stacks_above(report: &Report, index: usize, top: usize) -> HashSet<usize> {
    let is_detail = report.sections.get(index).is_some_and(|section| section.detail);
    let above = report.sections.iter().take(index).filter(|above| is_detail && !above.detail);
    above.flat_map(|above| above.rows.iter().take(top)).filter_map(|row| row.stack()).collect()
}

type Detail<'a> = (&'a Section, &'a Row);

/// The detail rows of a row: that of the stack that is shown, and the others.
fn parts<'a>(report: &'a Report, at: RowRef, row: &Row) -> (Option<Detail<'a>>, Vec<Detail<'a>>) {
    let mut others = report.details(at);
    if others.is_empty() {
        others = report.with_keys_of(at).into_iter().filter(|(_, row)| row.stack().is_some()).collect();
    }
    let shown =
        others.iter().position(|(_, detail)| detail.stack().is_some() && detail.stack() == row.stack());
    (shown.map(|shown| others.remove(shown)), others)
}

/// Writes the number of call stacks of a row that are not shown, and their total.
fn write_others(page: &mut Page, others: &[Detail<'_>], verbose: bool) {
    let Some((section, _)) = others.first() else { return };
    let rows: Vec<&Row> = others.iter().map(|(_, row)| *row).collect();
    let stacks = units::plural(rows.len(), "more call stack", "more call stacks");
    let hold = number(section, &rows).map_or_else(String::new, |number| format!(", {number}"));
    let where_they_are = if verbose { "below" } else { "--verbose" };
    page.paragraph(Style::Dim, "      … ", &format!("{stacks}{hold}: {where_they_are}"));
}

/// The total of rows in the first shown column of numbers: `412 MiB live > 30m`. `None` if a value is unknown.
fn number(section: &Section, rows: &[&Row]) -> Option<String> {
    let place = section.columns.iter().position(|column| column.shown && !cell::is_word(column))?;
    let column = section.columns.get(place)?;
    let cells: Option<Vec<&Value>> = rows.iter().map(|row| row.cells.get(place)).collect();
    let sum = match cells?.as_slice() {
        [only] => (*only).clone(),
        all => {
            let sum: f64 = all.iter().map(|value| value.number()).sum::<Option<f64>>()?;
            // A bound is not needed: no interval is shown.
            if all.iter().any(|value| value.is_estimated()) {
                Value::estimate(sum, sum, None)
            } else {
                Value::known(sum)
            }
        }
    };
    Some(format!("{} {}", cell::text(&sum, column.unit, false), cell::title(column).to_lowercase()))
}

/// Least width of the name in a heading, in columns.
const LEAST_NAME: usize = 8;

/// The heading of a row: its words and a number, so that it can be found in the table. Words are what was judged, which stands before
/// the name, and other keys; labels behind the name are details.
fn heading(section: &Section, row: &Row, pid: Option<u32>, number: Option<String>, room: usize) -> String {
    let name = section.name_column();
    let is_told = |index: usize, column: &Column, value: &Value| match column.role {
        Role::Label => name.is_none_or(|name| index < name),
        Role::Key => Some(index) != name && matches!(value, Value::Word(_)),
        _ => false,
    };
    let cells = section.columns.iter().zip(&row.cells).enumerate();
    let words = cells.filter(|(index, (column, value))| column.shown && is_told(*index, column, value));
    let words = words.map(|(_, (column, value))| cell::text(value, column.unit, false));
    let pid = pid.map(|pid| format!("pid {pid}"));
    let before: Vec<String> = words.chain([pid, number].into_iter().flatten()).collect();
    let name = key(section, row);
    if name.is_empty() {
        return fit::start(&before.join("  "), room);
    }
    let before: String = before.iter().flat_map(|part| [part, "  "]).collect();
    match room.checked_sub(width(&before)) {
        Some(left) if left >= LEAST_NAME => format!("{before}{}", fit::name(&name, left)),
        _ => fit::start(&format!("{before}{name}"), room),
    }
}

/// Writes the words of a row that the table does not show.
fn remarks(page: &mut Page, section: &Section, row: &Row) {
    for (column, value) in section.columns.iter().zip(&row.cells) {
        let is_word = !matches!(value, Value::Unknown(_) | Value::Exact(_));
        let is_remark = column.role == Role::Label && !column.shown && is_word;
        if is_remark {
            let words = format!("{}: {}", cell::title(column), cell::text(value, column.unit, false));
            page.paragraph(Style::Dim, "      ", &words);
        }
    }
}

/// The name of a row.
fn key(section: &Section, row: &Row) -> String {
    let name = section.name_column();
    let value = name.and_then(|name| Some((row.cells.get(name)?, section.columns.get(name)?.unit)));
    value.map(|(value, unit)| cell::text(value, unit, false)).unwrap_or_default()
}

/// One call: the function, whether it was inlined, and where it is.
#[derive(Clone, PartialEq)]
struct Call {
    name: String,
    /// The name without arguments, as in the names of rows.
    short: String,
    mark: &'static str,
    place: String,
    /// Whether it is library code, which is left out between other library code.
    foreign: bool,
    /// Whether it only starts a process or a thread.
    starts: bool,
}

/// The calls of a stack, innermost first, including inlined ones. The reason why a file has no names is given at its first call.
fn calls(catalog: &Catalog<'_>, stack: &Stack) -> Vec<Call> {
    let mut said = HashSet::new();
    let mut call = |call: &naming::Call<'_>| {
        let foreign = call.is_foreign();
        let starts = call.kind == naming::Kind::Startup;
        let (name, short) = (call.name.terminal(), naming::short(call.name).terminal());
        match call.function {
            Some(function) => {
                let mark = if function.inlined { " (inlined)" } else { "" };
                Call { name, short, mark, place: place(function, call.frame), foreign, starts }
            }
            None => {
                let why = visible(call.frame.unresolved.as_deref().unwrap_or("no reason given"));
                let is_new = said.insert((call.frame.module.clone(), call.frame.unresolved.clone()));
                let unloaded = if call.frame.unloaded { "unloaded; " } else { "" };
                let place = if is_new { format!("({unloaded}{why})") } else { String::new() };
                Call { name, short, mark: "", place, foreign, starts }
            }
        }
    };
    catalog.calls(stack).iter().map(&mut call).collect()
}

/// A line of a shortened stack.
#[derive(Clone, PartialEq)]
enum Line {
    /// A call, and whether the row is named by it.
    Call(Call, bool),
    /// A number of library calls.
    Foreign(usize),
    /// A number of further calls of the function in the line above (recursion).
    Again(usize),
    /// A number of outer calls.
    FurtherOut(usize),
}

/// Shortens a stack to the program's own calls, the library calls that they make, and the call that the row is named by. Without own
/// calls, as in an interpreter, to the innermost ones and, of a whole stack, the outermost one that does more than start the process.
fn part(calls: Vec<Call>, key: &str, whole: bool) -> Vec<Line> {
    // Take the longest name that the key starts with. The key may end in text that distinguishes it from other rows.
    let matches = |call: &Call| key.starts_with(&call.short);
    let longest = calls.iter().filter(|call| matches(call)).map(|call| call.short.len()).max();
    let named = calls.iter().position(|call| Some(call.short.len()) == longest && matches(call));
    let has_own = calls.iter().any(|call| !call.foreign);
    let outermost = calls.iter().rposition(|call| !call.starts).filter(|_| whole);
    let is_kept = |(index, call): (usize, &Call)| {
        if !has_own {
            return index < INNERMOST || Some(index) == outermost || Some(index) == named;
        }
        let called_by_own = calls.get(index + 1).is_some_and(|caller| !caller.foreign);
        !call.foreign || called_by_own || Some(index) == named
    };
    let kept: Vec<bool> = calls.iter().enumerate().map(is_kept).collect();
    let mut lines = Vec::new();
    let mut at = 0;
    while let (Some(call), Some(is_kept)) = (calls.get(at), kept.get(at)) {
        let alike = |(next, kept): &(&Call, &bool)| kept == &is_kept && (!*is_kept || next.name == call.name);
        let run = calls.iter().zip(&kept).skip(at).take_while(alike).count().max(1);
        let shown = match (is_kept, run) {
            (true, MANY_ALIKE..) | (false, 1) => 1,
            (true, _) => run,
            (false, _) => 0,
        };
        let of_run = calls.iter().enumerate().skip(at).take(shown);
        lines.extend(of_run.map(|(index, call)| Line::Call(call.clone(), Some(index) == named)));
        if run > shown {
            lines.push(if *is_kept { Line::Again(run - shown) } else { Line::Foreign(run - shown) });
        }
        at += run;
    }
    cut(lines)
}

/// Keeps the first lines, and counts the calls in the others.
fn cut(mut lines: Vec<Line>) -> Vec<Line> {
    let calls = |line: &Line| match line {
        Line::Call(..) => 1,
        Line::Foreign(calls) | Line::Again(calls) | Line::FurtherOut(calls) => *calls,
    };
    // Leaving out a single call would save no line.
    if lines.len() > MAX_LINES + 1 {
        let rest = lines.split_off(MAX_LINES);
        lines.push(Line::FurtherOut(rest.iter().map(calls).sum()));
    }
    lines
}

/// Writes a shortened stack, unless the same lines are in `shown`.
fn write_part(page: &mut Page, part: Vec<Line>, shown: &mut Vec<Vec<Line>>) {
    if shown.contains(&part) {
        let words = "the same calls as above; --verbose shows where the stacks differ";
        return page.paragraph(Style::Dim, "      ", words);
    }
    for line in &part {
        let left_out = match line {
            Line::Call(call, named) => {
                write_call(page, if *named { Style::Strong } else { Style::Plain }, call);
                continue;
            }
            Line::Foreign(calls) => format!("{calls} calls of libraries"),
            Line::Again(calls) => format!("{calls} more calls of it"),
            Line::FurtherOut(calls) => format!("{calls} calls further out"),
        };
        page.line(Style::Dim, &format!("      … {left_out}: --verbose"));
    }
    shown.push(part);
}

/// Columns that the place of a call may use on a page so narrow that a third of it is less.
const NARROW_PLACE: usize = 16;

/// Writes a call in one line.
fn write_call(page: &mut Page, style: Style, call: &Call) {
    let Call { name, mark, place, .. } = call;
    let room = page.width - 6 - width(mark);
    if width(name) + 2 + width(place) <= room {
        return page.line(style, &format!("      {name}{mark}  {place}"));
    }
    // The name matters more than the directories of its file, or the reason why it has none.
    let cut = |room| if place.starts_with('(') { fit::aside(place, room) } else { fit::path(place, room) };
    // On a narrow page, keep the whole file name unless it is long.
    let file = place.rsplit('/').next().map_or(0, |file| width(file) + width("…/"));
    let short = cut((room / 3).max(file.min(NARROW_PLACE)));
    let name = fit::name(name, room.saturating_sub(2 + width(&short)));
    page.line(style, &format!("      {name}{mark}  {}", cut(room.saturating_sub(2 + width(&name)))));
}

/// Writes a call without shortening it.
fn write_whole(page: &mut Page, call: &Call) {
    let Call { name, mark, place, .. } = call;
    if width(name) + width(mark) + 2 + width(place) <= page.width - 6 {
        return page.line(Style::Plain, &format!("      {name}{mark}  {place}"));
    }
    page.paragraph(Style::Plain, "      ", &format!("{name}{mark}"));
    if !place.is_empty() {
        page.paragraph(Style::Plain, "        ", place);
    }
}

/// The place of a function: source file and line, else the program file.
fn place(function: &Function, frame: &Frame) -> String {
    let place = match (&function.file, function.line, &frame.module) {
        (Some(file), Some(line), _) => format!("{}:{line}", file.terminal()),
        (Some(file), None, _) => file.terminal(),
        (None, _, Some(module)) => base_name(module),
        (None, _, None) => String::new(),
    };
    if frame.unloaded { format!("{place} (unloaded)") } else { place }
}

/// The last part of a path.
pub(super) fn base_name(path: &Text) -> String {
    let path = path.terminal();
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests;
