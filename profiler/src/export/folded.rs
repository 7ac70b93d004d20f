//! Folded stacks: one line per stack, `root;caller;callee weight`. FlameGraph, inferno and speedscope read it.

use std::collections::BTreeMap;
use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::naming;
use crate::report::{Column, Frame, Report, Role, Row, Section, Stack, Unit, Value};
use crate::text::Text;

/// Folded stacks and the meaning of their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Name of the column with the weights.
    pub weight: String,
    /// Title of that column, not escaped.
    pub title: String,
    /// Its unit.
    pub unit: Unit,
    /// Number of rows without a weight, because the value is unknown or not a number.
    pub without_weight: usize,
    /// The lines without newlines, sorted, each stack once. Stacks with weight 0 are left out.
    pub lines: Vec<String>,
}

impl Folded {
    /// The file: a comment with the meaning of the weights, which readers skip, and the lines.
    pub fn to_file(&self) -> String {
        let unit = unit_name(self.unit);
        let mut out = format!("# weight: {} ({unit})\n", Text::from(self.weight.as_str()).terminal());
        for line in &self.lines {
            out.push_str(line);
            out.push('\n');
        }
        out
    }
}

/// Folds the stacks of the section that has most stacks; of the last such section.
///
/// The weight is the column named `weight`. By default it is the first shown column of unit bytes with role sum or gauge that has a value
/// above 0, else the first column with role sum that has one; a column of zeroes would give an empty graph. With several
/// processes the root frame is `name (pid)`. Frames without a name are `file+address` (`[unknown]` without a file). Inlined functions
/// are frames of their own.
///
/// # Errors
/// [`ErrorKind::Usage`] if there is no such column, or no section with stacks.
pub fn folded(report: &Report, weight: Option<&str>) -> Result<Folded> {
    let weighed = Weighed::of(report, weight)?;
    let several = has_several(report);
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    for Heavy { stack, weight, .. } in weighed.rows(report) {
        let sum = weights.entry(fold(report, stack, several)).or_default();
        *sum = sum.saturating_add(weight);
    }
    Ok(Folded {
        weight: weighed.column.name.clone(),
        title: weighed.column.title.clone(),
        unit: weighed.column.unit,
        without_weight: weighed.without_weight(report),
        lines: weights.into_iter().map(|(stack, weight)| format!("{stack} {weight}")).collect(),
    })
}

/// The section whose stacks are drawn, and the column that they are weighted by.
pub(super) struct Weighed<'a> {
    pub(super) section: &'a Section,
    pub(super) column: &'a Column,
    index: usize,
}

/// A row with a stack and a weight above 0.
pub(super) struct Heavy<'a> {
    pub(super) row: &'a Row,
    pub(super) stack: &'a Stack,
    pub(super) weight: u64,
}

impl<'a> Weighed<'a> {
    /// Chooses them as [`folded`] describes.
    pub(super) fn of(report: &'a Report, weight: Option<&str>) -> Result<Weighed<'a>> {
        let tried = || Error::new(ErrorKind::Usage, "tried to fold the stacks of the report");
        // One with weights if there is one: a table of single calls has none.
        let stacks = |section: &&Section| section.rows.iter().filter(|row| !row.stacks.is_empty()).count();
        let has_weights = |section: &&Section| weight_column(section, weight).is_some();
        let section = report
            .sections
            .iter()
            .max_by_key(|section| (has_weights(section), stacks(section)))
            .ok_or_else(|| tried().because("it has no section"))?;
        let (index, column) = weight_column(section, weight).ok_or_else(|| {
            let numbers = section.columns.iter().filter(|column| column.unit != Unit::None);
            let names: Vec<&str> = numbers.map(|column| column.name.as_str()).collect();
            let missing = weight.map_or_else(
                || "no column is a size or a sum".to_owned(),
                |name| format!("no column `{name}`"),
            );
            tried().because(missing).hint(format_args!("the columns are {}", names.join(", ")))
        })?;
        Ok(Weighed { section, column, index })
    }

    /// The rows with a weight above 0.
    pub(super) fn rows<'b>(&'b self, report: &'a Report) -> impl Iterator<Item = Heavy<'a>> + 'b {
        self.section.rows.iter().filter_map(move |row| {
            let weight = amount(row.cells.get(self.index)?).filter(|weight| *weight > 0)?;
            Some(Heavy { row, stack: report.stack_of(row)?, weight })
        })
    }

    /// Number of rows whose weight is unknown or not a number.
    pub(super) fn without_weight(&self, report: &Report) -> usize {
        let rows = self.section.rows.iter().filter(|row| report.stack_of(row).is_some());
        rows.filter(|row| row.cells.get(self.index).and_then(amount).is_none()).count()
    }
}

/// Whether there are stacks of several processes.
pub(super) fn has_several(report: &Report) -> bool {
    let pids: HashSet<u32> = report.stacks.iter().map(|stack| stack.pid).collect();
    report.meta.targets.len() > 1 || pids.len() > 1
}

/// Name of a unit of weights, in the plural.
pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytes per second",
        Unit::BytesPerHour => "bytes per hour",
        Unit::Nanos => "ns",
        Unit::NanosPerSecond => "ns per second",
        Unit::PerSecond => "per second",
        Unit::PerHour => "per hour",
        Unit::None | Unit::Count | Unit::Ratio => "count",
    }
}

fn weight_column<'a>(section: &'a Section, name: Option<&str>) -> Option<(usize, &'a Column)> {
    let mut columns = section.columns.iter().enumerate();
    if let Some(name) = name {
        return columns.find(|(_, column)| column.name == name && column.unit != Unit::None);
    }
    let size = |column: &Column| {
        column.shown && column.unit == Unit::Bytes && matches!(column.role, Role::Sum | Role::Gauge)
    };
    let sizes = columns.clone().filter(|(_, column)| size(column));
    let sums = columns.filter(|(_, column)| column.role == Role::Sum);
    let candidates: Vec<_> = sizes.chain(sums).collect();
    let weighs = |index: usize| {
        section.rows.iter().filter_map(|row| amount(row.cells.get(index)?)).any(|weight| weight > 0)
    };
    candidates.iter().find(|(index, _)| weighs(*index)).or(candidates.first()).copied()
}

/// The weight of a value: estimates are rounded, negative ones have no weight, and a histogram has its sum.
fn amount(value: &Value) -> Option<u64> {
    match value {
        Value::Exact(exact) => Some(*exact),
        Value::Estimate { value, .. } if *value >= 0.0 => Some(value.round() as u64),
        Value::Histogram(histogram) => Some(histogram.sum),
        _ => None,
    }
}

fn fold(report: &Report, stack: &Stack, several: bool) -> String {
    let mut frames = beginning(report, stack, several);
    for frame in report.frames_of(stack).rev() {
        // Functions are listed innermost first, and the file needs them outermost first.
        frames.extend(frame.functions.iter().rev().map(|function| function.name.folded()));
        if frame.functions.is_empty() {
            frames.push(nameless(frame));
        }
    }
    if frames.is_empty() {
        frames.push("[no stack]".to_owned());
    }
    frames.join(";")
}

/// The outermost frames: the process, and a frame for unknown callers.
pub(super) fn beginning(report: &Report, stack: &Stack, several: bool) -> Vec<String> {
    let mut frames = Vec::new();
    if several {
        let target = report.meta.targets.iter().find(|target| target.pid == stack.pid);
        let name = target.map_or_else(|| "unknown".to_owned(), |target| target.name.folded());
        frames.push(format!("{name} ({})", stack.pid));
    }
    if stack.incomplete.is_some() {
        frames.push("[callers unknown]".to_owned());
    }
    frames
}

/// The name of a frame without a function: file and address. An address without a file means nothing outside the process.
pub(super) fn nameless(frame: &Frame) -> String {
    match frame.module {
        Some(_) => naming::place(frame).folded(),
        None => "[unknown]".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::text::is_hidden;

    #[test]
    fn root_comes_first_and_weights_are_bytes() {
        let folded = folded(&sample::pong(), None).unwrap();
        assert_eq!(
            folded.to_file(),
            "# weight: old_bytes (bytes)\n\
             main;net::accept;player::Session::new;alloc::vec::Vec<T,A>::push;malloc 199229440\n\
             main;room::Room::tick;room::Room::broadcast;chat::History::push;alloc::vec::Vec<T,A>::push;malloc 432013312\n"
        );
        assert_eq!((folded.without_weight, folded.unit), (0, Unit::Bytes));
    }

    #[test]
    fn a_column_without_weights_is_skipped() {
        let mut report = sample::pong();
        for row in &mut report.sections[0].rows {
            row.cells[2] = Value::Exact(0);
        }
        assert_eq!(folded(&report, None).unwrap().weight, "live_bytes");
        assert_eq!(folded(&report, Some("old_bytes")).unwrap().lines, Vec::<String>::new());
        assert_eq!(folded(&sample::many(0), None).unwrap().weight, "old_bytes");
    }

    #[test]
    fn a_table_without_weights_is_not_drawn() {
        let mut report = sample::pong();
        let mut single = report.sections[0].clone();
        single.columns.iter_mut().for_each(|column| column.role = Role::Key);
        single.rows.push(single.rows[0].clone());
        report.sections.insert(0, single);
        assert_eq!(folded(&report, None).unwrap().weight, "old_bytes");
    }

    #[test]
    fn frames_without_names_and_incomplete_stacks_are_marked() {
        let folded = folded(&sample::pong(), Some("allocs")).unwrap();
        assert_eq!(
            folded.lines[0],
            "[callers unknown];[unknown];libfoo.so+0x5a0f;main;asset::TextureCache::insert;alloc::vec::Vec<T,A>::push;malloc 9103"
        );
    }

    #[test]
    fn each_of_several_processes_has_its_own_root() {
        let mut report = sample::pong();
        report.meta.targets[0].name = "srv;1".into();
        report.stacks[1].pid = 7;
        let folded = folded(&report, None).unwrap();
        assert!(folded.lines[0].starts_with(r"srv\x3b1 (4242);main;"), "{folded:?}");
        assert!(folded.lines[1].starts_with("unknown (7);main;"), "{folded:?}");
    }

    #[test]
    fn rows_with_the_same_stack_add_up_and_unknown_weights_are_counted() {
        let folded = folded(&sample::many(30), None).unwrap();
        assert_eq!(folded.lines.len(), 2);
        let growth = super::folded(&sample::pong(), Some("growth_bytes_per_hour")).unwrap();
        assert_eq!((growth.lines.len(), growth.without_weight), (1, 1));
    }

    #[test]
    fn a_hostile_name_is_one_frame_of_one_line() {
        let folded = folded(&sample::hostile(), None).unwrap();
        let file = folded.to_file();
        assert_eq!(file.lines().count(), 3, "{file}");
        assert!(!file.replace('\n', "").contains(is_hidden));
        for line in &folded.lines {
            assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().is_ok());
            assert!([5, 7].contains(&line.split(';').count()), "{line}");
        }
    }

    #[test]
    fn a_wrong_weight_is_refused_with_the_names_that_exist() {
        let error = folded(&sample::pong(), Some("why")).unwrap_err();
        assert_eq!(error.to_string(), "tried to fold the stacks of the report: no column `why`");
        assert!(error.advice().unwrap().starts_with("the columns are old_bytes, live_bytes"));
        let mut report = sample::pong();
        report.sections.clear();
        assert!(folded_error(&report).contains("no section"));
    }

    fn folded_error(report: &Report) -> String {
        folded(report, None).unwrap_err().to_string()
    }
}
